"""resexp: a laboratory for one question, what does a shortcut change?

import resexp
resexp.SHORTCUTS["mine"] = Mine                                 # (a, S) of your own, see resexp.shortcuts
folder = resexp.train("digits", "network.shortcut=identity,mine")
print(resexp.load(folder).compare())                            # the comparison
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resexp.api import ExperimentResults

__version__ = "0.1.0"

_EXPORTS = {"SHORTCUTS": "shortcuts", "NORMS": "networks", "INITS": "networks", "DATASETS": "datasets", "PROBES": "probes"}


def __getattr__(name: str) -> Any:
    """The dicts of variants, imported when they are asked for: `import resexp` alone stays without torch."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'resexp' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as the docstring says

    return getattr(import_module(f"resexp.{_EXPORTS[name]}"), name)


def train(source: str | Path, *overrides: str, runs_dir: str | Path = "runs") -> Path:
    """Trains every trial of an experiment in this process, one after another, and returns its folder.

    A shipped config is trained as NAME, or as the first of NAME-2, NAME-3, ... that is free or that it continues, where
    another experiment has that name: see `runs.target`.

    Args:
        source: a YAML file, the name of a shipped config, or an experiment in `runs_dir` by name or path, to continue it.
        overrides: such as "seeds=3".
        runs_dir: the results folder.

    Raises:
        ConfigError: a config, a device or images that cannot be used.
        RunsError: a results folder that cannot be used.
    """
    from resexp import config, executors, runs, shortcuts, tables  # noqa: PLC0415 - as above

    experiment, folder, _ = runs.target(source, overrides, config.expanded(runs_dir, "runs_dir"), shortcuts.SHORTCUTS)
    runs.check_unchanged(experiment, folder)
    executors.train_here(experiment, folder)
    tables.write_accuracy(runs.results_of(folder, experiment))
    return folder


def load(*sources: str | Path, runs_dir: str | Path = "runs") -> "ExperimentResults":
    """What has been trained: frames, comparison and charts; several experiments are read side by side.

    Args:
        sources: folders, such as `train` returns, or names in `runs_dir`; none is the experiment that was started last.
        runs_dir: the results folder.

    Raises:
        RunsError: nothing there; a damaged or missing file, by name.
    """
    from resexp import api, config  # noqa: PLC0415 - as above

    return api.load(sources, config.expanded(runs_dir, "runs_dir"))
