"""What has been trained, of one experiment or of several read side by side. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from resexp import config
from resexp.config import Experiment
from resexp.runs.folders import orphaned_trials, read_experiment
from resexp.runs.locks import is_training
from resexp.runs.records import read_present, read_record
from resexp.runs.trials import diverged_at, read_state, trial_folder


@dataclass(frozen=True)
class TrialRecord:
    """Where one trial stands: finished, failed, damaged, interrupted, running or waiting.

    `reason` says why it failed or what is damaged; it has no result then. `conditions` are everything that decides what a
    trial becomes but its shortcut and its seed, by dotted key: its settings, the device that they became, the checksum of the
    images.
    """

    trial: config.Trial
    folder: Path
    state: str
    result: dict[str, Any] | None
    conditions: dict[str, Any]
    reason: str = ""

    @property
    def diverged_at(self) -> int | None:
        """The step at which training diverged; None where it did not."""
        return diverged_at(self.result)


@dataclass(frozen=True)
class Results:
    """The trials of one experiment, or of several.

    `axes` are the dotted keys that tell cells apart: those that an experiment varies (the shortcut apart), and every key in
    which several experiments differ. `repeated` counts trials that stand in more than one folder; each is taken once, from a
    folder where it is finished.
    """

    sources: tuple[tuple[Path, Experiment], ...]
    axes: tuple[str, ...]
    records: tuple[TrialRecord, ...]
    repeated: int = 0

    @property
    def name(self) -> str:
        """The names of the experiments; of several with one name, with the folder of each."""
        names = [experiment.name for _, experiment in self.sources]
        named = zip(names, self.sources, strict=True)
        return " + ".join(f"{name} ({folder})" if names.count(name) > 1 else name for name, (folder, _) in named)

    @property
    def questions(self) -> list[str]:
        """The question of each source, each once."""
        return list(dict.fromkeys(experiment.question for _, experiment in self.sources if experiment.question))

    @property
    def orphaned_trials(self) -> list[str]:
        """Trials that lie in the folders but are no longer part of the experiments."""
        return [name for folder, experiment in self.sources for name in orphaned_trials(folder, experiment)]

    @property
    def damaged(self) -> list[str]:
        """Trials that count as missing because a file of theirs is damaged."""
        return [record.trial.name for record in self.records if record.state == "damaged"]

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The columns that tell cells apart here: the depth, and those with more than one value."""
        values = [{config.format_value(record.conditions.get(key)) for record in self.records} for key in self.axes]
        named = zip(self.axes, self.columns, values, strict=True)
        return tuple(column for key, column, of in named if key == "network.depth" or len(of) > 1)

    @property
    def common(self) -> dict[str, str]:
        """The other columns, with the value that they have everywhere."""
        if not self.records:
            return {}
        return {key: of for key, of in self._columns_of(self.records[0]).items() if key not in self.shown}

    @property
    def columns(self) -> list[str]:
        """The axes by their short names: depth, norm, data.name."""
        return [key.split(".")[1] if key in config.AXES else key for key in self.axes]

    def label(self, record: TrialRecord) -> dict[str, str]:
        """What names the cell of a trial, as far as it differs: {'depth': '64', 'norm': 'layer'}."""
        return {key: of for key, of in self._columns_of(record).items() if key in self.shown}

    def _columns_of(self, record: TrialRecord) -> dict[str, str]:
        values = (config.format_value(record.conditions.get(key)) for key in self.axes)
        return dict(zip(self.columns, values, strict=True))


def trial_records(folder: Path, experiment: Experiment, read: Sequence[str] = ()) -> list[TrialRecord]:
    """Every trial of the experiment; the files that are going to be `read` of finished ones are compared with their digests."""
    plan, launches = read_record(folder / "plan.json"), read_record(folder / "environment.json")
    ground = {"device": plan and plan["device"], "images": launches and launches[-1]["data_sha256"][:12]}
    alive = is_training(folder)
    found = []
    for trial in experiment.trials:
        place = trial_folder(folder, trial.name)
        record, done, reason = read_state(place, read)
        record = "interrupted" if record == "running" and not alive else record
        found.append(TrialRecord(trial, place, record, done, {**config.conditions(trial.settings), **ground}, reason))
    return found


def results_of(folder: Path, experiment: Experiment, read: Sequence[str] = ()) -> Results:
    """What has been trained of one experiment; `read` as in `states`."""
    axes = tuple(key for key in experiment.axes if key != "network.shortcut")
    return Results(((folder, experiment),), axes, tuple(trial_records(folder, experiment, read)))


def read_results(folders: Sequence[Path], read: Sequence[str] = ()) -> Results:
    """What has been trained in each of the folders, side by side; a folder that is named twice is one. `read` as in `states`.

    Raises:
        RunsError: a damaged or missing file, by name.
    """
    sources = [(folder, read_experiment(folder)) for folder in {of.resolve(): of for of in folders}.values()]
    for folder, _ in sources:  # what a trial stood on tells cells apart: it must be known
        read_present(folder / "plan.json")
        read_present(folder / "environment.json")
    parts = [results_of(*source, read) for source in sources]
    copies: dict[tuple[str, ...], list[TrialRecord]] = {}
    for record in (record for part in parts for record in part.records):
        copies.setdefault(_identity(record), []).append(record)
    found = [min(same, key=_preference) for same in copies.values()]
    axes = _differing(found).union(*(part.axes for part in parts))
    order = [*(key for key in config.AXES if key in axes), *sorted(axes - config.AXES.keys())]
    return Results(tuple(sources), tuple(order), tuple(found), sum(len(same) > 1 for same in copies.values()))


def _identity(record: TrialRecord) -> tuple[str, ...]:
    """Equal for one trial in several folders."""
    conditions = (f"{key} {config.format_value(value)}" for key, value in sorted(record.conditions.items()))
    return (record.trial.arm, str(record.trial.seed), *conditions)


def _preference(record: TrialRecord) -> tuple[bool, str]:
    """Smallest for the copy of a trial that counts, whatever the order of the folders: a finished one."""
    return record.result is None, str(record.folder.resolve())


def _differing(found: Sequence[TrialRecord]) -> set[str]:
    """Every key in which trials differ."""
    values: dict[str, set[str]] = {}
    for record in found:
        for key, value in record.conditions.items():
            values.setdefault(key, set()).add(config.format_value(value))
    return {key for key, of in values.items() if len(of) > 1}
