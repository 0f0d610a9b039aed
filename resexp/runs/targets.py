"""The folder in which an experiment is trained: by its name, as given, or under a new name. No torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from resexp import config
from resexp.config import Experiment
from resexp.runs.folders import numbered, read_experiment

DEFAULT = Path("runs")  # the default results folder
MAX_CHARACTERS = 255  # of a path component


def stored(source: str | Path, runs: Path) -> Path | None:
    """The folder of the trained experiment that a source names, by its experiment.yaml, its folder or its name in `runs`.

    None for a config: the name of a shipped config means that config, even if an experiment has the same name.
    """
    path = Path(source)
    if str(source) in config.shipped() or any(len(part) > MAX_CHARACTERS for part in path.parts):
        return None
    folders = [path.parent] if path.name == "experiment.yaml" else [path, runs / path]
    return next((folder for folder in folders if (folder / "experiment.yaml").is_file() and (folder / "trials").is_dir()), None)


def readable(source: str | Path, runs: Path) -> str | Path:
    """A source that `config.load` reads: the experiment.yaml of a trained experiment, or the source itself.

    Raises:
        RunsError: see `read_experiment`.
    """
    folder = stored(source, runs)
    if folder:
        read_experiment(folder)
    return folder / "experiment.yaml" if folder else source


class Target(NamedTuple):
    """An experiment, the folder in which it is trained, and the folder of another one that has the name of its config."""

    experiment: Experiment
    folder: Path
    other: Path | None = None


def target(
    source: str | Path,
    overrides: Sequence[str],
    runs: Path,
    shortcuts: Iterable[str] = config.SHORTCUT_NAMES,
    probes: Iterable[str] = config.PROBE_NAMES,
    *,
    fresh: bool = False,
) -> Target:
    """The experiment that a source and its overrides describe, and where it is trained.

    An override of `name` decides. Without one:
    - An experiment that is named by its path, or by its name in `runs`, continues in its folder. If that folder is not in
      `runs`, and `runs` is not the default, its config is trained in `runs` like any YAML file.
    - A YAML file has the name that it contains; the default is the name of the file.
    - A shipped config has the first of NAME, NAME-2, NAME-3, ... that is free or that it continues. It continues an experiment
      with the same settings and no other trials. Without overrides it also continues an experiment that has more trials.

    fresh: the experiment to rename is the one that would be continued, otherwise NAME.

    Raises:
        ConfigError: see `config.load`.
        RunsError: an experiment of one of these names cannot be read.
    """
    own_folder, names = stored(source, runs), (list(shortcuts), list(probes))
    file = own_folder / "experiment.yaml" if own_folder and fresh else readable(source, runs)
    experiment = config.load(file, overrides, *names)
    if any(override.partition("=")[0].strip() == "name" for override in overrides):
        return Target(experiment, runs / experiment.name)
    if own_folder and runs != DEFAULT and own_folder.parent.resolve() != runs.resolve():
        own_folder = None
    if own_folder or str(source) not in config.shipped():
        return Target(experiment, own_folder or runs / experiment.name)
    unnumbered = runs / experiment.name
    for folder in numbered(unnumbered):
        existing = read_experiment(folder) if (folder / "experiment.yaml").exists() else None
        if existing and not overrides and config.continues(existing, experiment):
            return Target(existing, folder, None if folder == unnumbered else unnumbered)
        if existing is None and fresh:
            break
        if existing is None or config.continues(experiment, existing):
            if folder == unnumbered:
                break
            return Target(config.load(source, [*overrides, f"name={folder.name}"], *names), folder, unnumbered)
    return Target(experiment, unnumbered)
