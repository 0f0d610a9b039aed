"""resexp: measures what skip connections (shortcuts) change in matched plain and residual networks.

import resexp
resexp.SHORTCUTS["mine"] = Mine                                 # a custom shortcut, see resexp.shortcuts
folder = resexp.train("digits", "network.shortcut=identity,mine")
print(resexp.load(folder).compare())                            # the comparison of plain and residual networks
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from resexp.api import ComparisonView, ExperimentResults, ProbedModule

__version__ = "0.1.0"

_EXPORTS = {
    "SHORTCUTS": "shortcuts",
    "SHORTCUT_PROPERTIES": "config",
    "ShortcutProperties": "config",
    "constant": "shortcuts",
    "NORMS": "networks",
    "INITS": "networks",
    "ACTIVATIONS": "networks",
    "DATASETS": "datasets",
    "PROBES": "probes",
    "FIGURES": "figures",
    "TABLES": "tables.comparison_tables",
    "load_weights": "weights",
}


def __getattr__(name: str) -> Any:
    """Imports the dicts of variants and `load_weights` at first use, so that `import resexp` does not import torch."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'resexp' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see the docstring

    return getattr(import_module(f"resexp.{_EXPORTS[name]}"), name)


def train(source: str | Path, *overrides: str, runs_dir: str | Path = "runs") -> Path:
    """Trains all trials of an experiment in this process, one after another, and returns the folder.

    A shipped config is trained as NAME. If another experiment has this name, it is trained as the first of NAME-2, NAME-3, ...
    that is free or that it continues, see `runs.target`.

    Args:
        source: a YAML file, the name of a shipped config, or the name in `runs_dir` or the path of an experiment to
            continue.
        overrides: config keys and values, such as "seeds=3".
        runs_dir: the results folder.

    Raises:
        ConfigError: the config, the device or the images cannot be used.
        RunsError: the results folder cannot be used.
    """
    from resexp import config, datasets, executors, networks, probes, runs, shortcuts, tables  # noqa: PLC0415 - as above

    variants: dict[str, Iterable[str]] = {
        "name": datasets.DATASETS,
        "norm": networks.NORMS,
        "init": networks.INITS,
        "activation": networks.ACTIVATIONS,
    }
    config.CUSTOM_NAMES.update({field: set(names) for field, names in variants.items()})
    runs_folder = config.expanded(runs_dir, "runs_dir")
    experiment, folder, _ = runs.target(source, overrides, runs_folder, shortcuts.SHORTCUTS, probes.PROBES)
    runs.check_unchanged(experiment, folder)
    executors.train_here(experiment, folder, tables.write_accuracy)
    return folder


def load(*sources: str | Path, runs_dir: str | Path = "runs") -> "ExperimentResults":
    """The results of one or several experiments: data frames, comparison and charts.

    Args:
        sources: folders, as returned by `train`, or names in `runs_dir`. Default: the experiment that was started last.
        runs_dir: the results folder.

    Raises:
        RunsError: there are no results, or a file is damaged or missing; the message names it.
    """
    from resexp import api, config  # noqa: PLC0415 - as above

    return api.load(sources, config.expanded(runs_dir, "runs_dir"))


def probe(
    module: "nn.Module",
    x: "Tensor",
    y: "Tensor | None" = None,
    *,
    at: str | Sequence[str] = (),
    loss: str | Callable[..., Any] = "cross-entropy",
    seed: int = 0,
) -> "ProbedModule":
    """Gradients and activations of any network at initialization, as in `resexp probe MODULE:FACTORY`, for one network.

    The network stays as it was: a copy in training mode is measured, on the device of its parameters.

    Args:
        module: the network; its weights are used as they are.
        x: inputs (B, ...), B >= 2.
        y: targets. Default: random classes for cross-entropy, otherwise standard normal values.
        at: globs of names of submodules whose outputs are the boundaries. Default: see docs/your-network.md.
        loss: cross-entropy, mse, or a function of the output and the targets that returns the mean loss.
        seed: seeds dropout, other random parts of the forward pass, and default targets.

    Returns:
        Verdicts, `boundaries`, `layers`, `frames` and `chart`; it prints as the command does.

    Raises:
        ConfigError: the network cannot be measured; the message states why.
    """
    from resexp import api, modules  # noqa: PLC0415 - as above

    function = modules.find_loss(loss) if isinstance(loss, str) else loss
    globs = (at,) if isinstance(at, str) else tuple(at)
    targets = modules.targets_of(module, x, function, None, seed) if y is None else y
    measurement = modules.measure(module, x, targets, function, globs, seed)
    return api.ProbedModule(type(module).__name__, [measurement])


def compare_frame(
    frame: "pd.DataFrame",
    *,
    arm: str,
    pair: str,
    metric: str,
    baseline: str | None = None,
    by: Sequence[str] = (),
    outcome: str | None = None,
    last: str | None = None,
    ignore: Sequence[str] = (),
    lower_is_better: bool = False,
    margin: float | None = None,
    missing: bool = False,
) -> "ComparisonView":
    """The paired comparison of results of any program, with the options of `resexp compare FILE.csv`.

    Args:
        frame: a row per run, or several with `last`.
        arm: the column of arms.
        pair: the column of pairs, such as the seed.
        metric: the column of numbers to compare.
        baseline: the arm to compare with. Default: plain, baseline or control.
        by: columns that distinguish configurations.
        outcome: the column of outcomes: above_chance, at_chance or diverged.
        last: take the row of each run with the largest value of this column; the best row if it is the metric.
        ignore: columns that may differ within a configuration because they are not settings.
        lower_is_better: whether lower values of the metric are better.
        margin: the smallest effect of interest.
        missing: whether to leave out pairs without a row in every arm.

    Raises:
        ConfigError: the rows cannot be compared; the message names the column or the row.
    """
    from resexp import api, result_files  # noqa: PLC0415 - as above

    columns = result_files.Columns(
        arm, pair, metric, baseline, tuple(by), outcome, last, tuple(ignore), lower_is_better, margin, missing
    )
    return api.compare_frame(frame, columns)
