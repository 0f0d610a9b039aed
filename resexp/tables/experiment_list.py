"""The table of `resexp ls`: the experiments in a results folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resexp import runs
from resexp.runs import RunsError
from resexp.tables.model import Column, Table, Tone

NOT_STARTED, DAMAGED = "not started", "damaged"
TONES = {"finished": Tone.GOOD, "failed": Tone.BAD, DAMAGED: Tone.BAD}


@dataclass(frozen=True)
class ListedExperiment:
    """One experiment. when: UTC time of its last start, '' if it has not started. reason: why it cannot be read, or ''."""

    name: str
    state: str
    finished: int
    trials: int
    when: str
    question: str
    reason: str = ""


def listed_experiment(folder: Path) -> ListedExperiment:
    """The state of an experiment: that of its trials, 'running' while a process trains it."""
    try:
        experiment = runs.read_experiment(folder)
        states = [record.state for record in runs.trial_records(folder, experiment)]
        launches = runs.launches(folder)
    except RunsError as error:
        return ListedExperiment(folder.name, DAMAGED, 0, 0, "", "", str(error))
    finished = sum(state == "finished" for state in states)
    worst = next((state for state in ("damaged", "failed", "running", "interrupted") if state in states), NOT_STARTED)
    state = "finished" if finished == len(states) else "running" if runs.is_training(folder) else worst
    when = launches[-1].time if launches else ""
    return ListedExperiment(folder.name, state, finished, len(states), when, experiment.question or "")


def experiment_list(experiments: Sequence[ListedExperiment]) -> Table[ListedExperiment]:
    """One row for each experiment, the one that was started last first."""
    return Table(
        title="Experiments",
        key="experiments",
        columns=[
            Column("name", lambda row: row.name, data={"name": lambda row: row.name}),
            Column(
                "state", lambda row: row.state, tone=lambda row: TONES.get(row.state, Tone.OPEN),
                data={"state": lambda row: row.state},
            ),
            Column(
                "trials", lambda row: f"{row.finished}/{row.trials}", "Finished trials and all trials.", number=True,
                data={"finished": lambda row: row.finished, "trials": lambda row: row.trials},
            ),
            Column("last start", lambda row: row.when[:16].replace("T", " "), data={"when": lambda row: row.when}),
            Column(
                "question", lambda row: row.reason or row.question, below="",
                data={"question": lambda row: row.question, "reason": lambda row: row.reason},
            ),
        ],
        rows=sorted(experiments, key=lambda row: row.when, reverse=True),
    )  # fmt: skip
