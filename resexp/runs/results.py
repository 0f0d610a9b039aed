"""Trials and results of one experiment, or of several that are compared. No torch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from resexp import config
from resexp.config import Experiment
from resexp.runs.folders import orphaned_trials, read_experiment
from resexp.runs.locks import is_training
from resexp.runs.records import LAUNCHES, PLAN, Result, launches, read_present, read_record
from resexp.runs.trials import read_state, trial_folder

MAX_LISTED = 3  # experiments that are listed by name and folder


@dataclass(frozen=True)
class TrialRecord:
    """The state of one trial: finished, failed, damaged, interrupted, running or waiting.

    reason: why it failed, or which file is damaged; the trial then has no result.
    conditions: everything except shortcut and seed that determines the result, by dotted key. These are the settings, the
        device that was chosen, and the checksum of the images.
    """

    trial: config.Trial
    folder: Path
    state: str
    result: Result | None
    conditions: dict[str, Any]
    reason: str = ""

    @property
    def diverged_at(self) -> int | None:
        """The step at which training diverged; None if it did not."""
        return self.result.diverged_at if self.result else None


@dataclass(frozen=True)
class TableSource:
    """Result files of other programs that contain the runs.

    metric, pair: names of columns. better: 1 if a higher metric is better, otherwise -1. margin: the smallest effect of
    interest. has_outcomes: whether a column states the outcome of each run; otherwise every run counts as above chance.
    """

    files: tuple[str, ...]
    metric: str
    pair: str
    baseline: str
    better: int
    margin: float | None
    has_outcomes: bool


@dataclass(frozen=True)
class Results:
    """The trials of one experiment, or of several.

    axes: dotted keys that distinguish cells. An experiment varies them (the shortcut is not one), or several experiments
        differ in them.
    repeated: number of trials that occur in more than one folder. Each is counted once, from a folder in which it is finished.
    table: the result files that the runs are from; there are no sources then.
    """

    sources: tuple[tuple[Path, Experiment], ...]
    axes: tuple[str, ...]
    records: tuple[TrialRecord, ...]
    repeated: int = 0
    table: TableSource | None = None

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with."""
        return self.table.baseline if self.table else "plain"

    @property
    def name(self) -> str:
        """The names of the experiments; equal names are followed by their folders, many by the numbers of folders and seeds."""
        if self.table:
            return " + ".join(self.table.files)
        names = [experiment.name for _, experiment in self.sources]
        if len(names) > MAX_LISTED:
            distinct = list(dict.fromkeys(names))
            more = f" and {len(distinct) - MAX_LISTED} more" if len(distinct) > MAX_LISTED else ""
            counts = f"{len(names)} folders, {len({record.trial.seed for record in self.records})} seeds"
            repeated = f", {self.repeated} trials given twice" if self.repeated else ""
            return f"{' + '.join(distinct[:MAX_LISTED])}{more} ({counts}{repeated})"
        named = zip(names, self.sources, strict=True)
        return " + ".join(f"{name} ({folder})" if names.count(name) > 1 else name for name, (folder, _) in named)

    @property
    def questions(self) -> list[str]:
        """The questions of the experiments, without duplicates."""
        return list(dict.fromkeys(experiment.question for _, experiment in self.sources if experiment.question))

    @property
    def orphaned_trials(self) -> list[str]:
        """Trials in the folders that are no longer part of the experiments."""
        return [name for folder, experiment in self.sources for name in orphaned_trials(folder, experiment)]

    @property
    def damaged(self) -> list[str]:
        """Trials that count as missing because one of their files is damaged."""
        return [record.trial.name for record in self.records if record.state == "damaged"]

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The columns that distinguish cells: the depth, and those with more than one value."""
        values = [{config.format_value(record.conditions.get(key)) for record in self.records} for key in self.axes]
        columns = zip(self.axes, self.columns, values, strict=True)
        return tuple(column for key, column, distinct in columns if key == "network.depth" or len(distinct) > 1)

    @property
    def common(self) -> dict[str, str]:
        """The other columns, with their single value."""
        if not self.records:
            return {}
        return {column: value for column, value in self._columns_of(self.records[0]).items() if column not in self.shown}

    @property
    def columns(self) -> list[str]:
        """The axes by their short names: depth, norm, data.name."""
        return [key.split(".")[1] if key in config.AXES else key for key in self.axes]

    def label(self, record: TrialRecord) -> dict[str, str]:
        """The values that distinguish the cell of a trial from others: {'depth': '64', 'norm': 'layer'}."""
        key = tuple(repr(record.conditions.get(axis)) for axis in self.axes)
        if key not in self._labels:
            self._labels[key] = {column: value for column, value in self._columns_of(record).items() if column in self.shown}
        return dict(self._labels[key])

    @cached_property
    def _labels(self) -> dict[tuple[str, ...], dict[str, str]]:
        """The labels of the cells that were asked for, because the values are formatted slowly."""
        return {}

    def _columns_of(self, record: TrialRecord) -> dict[str, str]:
        values = (config.format_value(record.conditions.get(key)) for key in self.axes)
        return dict(zip(self.columns, values, strict=True))


Track = Callable[[Sequence[config.Trial]], Iterable[config.Trial]]


def trial_records(folder: Path, experiment: Experiment, files: Sequence[str] = (), track: Track = iter) -> list[TrialRecord]:
    """Every trial of the experiment.

    files: files of finished trials that are compared with their digests, because the caller reads them. track: yields the
    trials, and can show the progress.
    """
    plan, starts = read_record(folder / "plan.json", PLAN), read_record(folder / "environment.json", LAUNCHES)
    shared = {"device": plan and plan.device, "images": starts and starts[-1].data_sha256[:12]}
    training = is_training(folder)
    records = []
    for trial in track(experiment.trials):
        trial_path = trial_folder(folder, trial.name)
        state, result, reason = read_state(trial_path, files)
        state = "interrupted" if state == "running" and not training else state
        records.append(TrialRecord(trial, trial_path, state, result, {**config.conditions(trial.settings), **shared}, reason))
    return records


def results_of(folder: Path, experiment: Experiment, files: Sequence[str] = (), track: Track = iter) -> Results:
    """The results of one experiment; `files` and `track` as in `trial_records`."""
    axes = tuple(key for key in experiment.axes if key != "network.shortcut")
    return Results(((folder, experiment),), axes, tuple(trial_records(folder, experiment, files, track)))


def read_results(folders: Sequence[Path], files: Sequence[str] = (), track: Track = iter) -> Results:
    """The results in all folders together, each folder once; `files` and `track` as in `trial_records`.

    Raises:
        RunsError: a damaged or missing file.
    """
    distinct = {folder.resolve(): folder for folder in folders}.values()
    sources = [(folder, read_experiment(folder)) for folder in distinct]
    for folder, _ in sources:  # device and images distinguish cells, so both files are required
        read_present(folder / "plan.json", PLAN)
        launches(folder)
    parts = [results_of(*source, files, track) for source in sources]
    copies: dict[tuple[str, ...], list[TrialRecord]] = {}
    for record in (record for part in parts for record in part.records):
        copies.setdefault(_identity(record), []).append(record)
    records = [min(same, key=_preference) for same in copies.values()]
    axes = _differing(records).union(*(part.axes for part in parts))
    order = [*(key for key in config.AXES if key in axes), *sorted(axes - config.AXES.keys())]
    return Results(tuple(sources), tuple(order), tuple(records), sum(len(same) > 1 for same in copies.values()))


def _identity(record: TrialRecord) -> tuple[str, ...]:
    """Equal for copies of one trial in several folders."""
    conditions = (f"{key} {config.format_value(value)}" for key, value in sorted(record.conditions.items()))
    return (record.trial.arm, str(record.trial.seed), *conditions)


def _preference(record: TrialRecord) -> tuple[bool, str]:
    """Smallest for the copy of a trial that is used: a finished one, whatever the order of the folders."""
    return record.result is None, str(record.folder.resolve())


def _differing(records: Sequence[TrialRecord]) -> set[str]:
    """Every key in which trials differ."""
    values: dict[str, set[str]] = {}
    for record in records:
        for key, value in record.conditions.items():
            values.setdefault(key, set()).add(config.format_value(value))
    return {key for key, distinct in values.items() if len(distinct) > 1}
