"""The state that the display shows: the trials in runs/ now, or at a moment of a replay."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resexp import config, runs
from resexp.config import Experiment, Trial


@dataclass(frozen=True)
class TrialRow:
    """One trial on the display: completed steps, validation accuracy, and gradient norms by block at the latest logging step.

    diverged: the step of the first non-finite loss; the trial then has no accuracy.
    """

    trial: Trial
    cell: str
    state: str
    step: int
    steps: int
    epoch: int
    val_accuracy: float | None
    gradient_norms: tuple[float, ...] = ()
    diverged: int | None = None

    @property
    def is_training(self) -> bool:
        """Whether the trial is in training; a diverged one only waits for the others of its stack."""
        return self.state == "running" and self.diverged is None


@dataclass(frozen=True)
class Snapshot:
    """Everything that is displayed at one moment."""

    name: str
    question: str | None
    rows: tuple[TrialRow, ...]
    elapsed: float
    done_before: float  # share of the work that was done when `elapsed` began


# ---- reading ------------------------------------------------------------------------------------------------------------


def read_row(folder: Path, experiment: Experiment, trial: Trial, until: int | None = None) -> TrialRow:
    """The row of a trial from its files, now or after `until` steps; -1 is before it started."""
    trial_path = runs.trial_folder(folder, trial.name)
    label = " ".join(config.cell_label(trial.settings, experiment.axes))
    try:
        state, result, _ = runs.read_state(trial_path)
        status = runs.status(trial_path)
        diverged = result.diverged_at if result else status.diverged
        step, steps = status.step, status.steps
        if until is not None:
            state = "waiting" if until < 0 else "running" if until < step else state
            step = max(0, min(step, until))
            diverged = None if diverged is None or until < diverged else diverged
        metrics = [row for row in runs.read_rows(trial_path / "metrics.csv") if int(row["step"]) <= step]
        norms = _latest_gradient_norms(trial_path, step) if state == "running" else ()
    except runs.RunsError:
        return TrialRow(trial, label, "damaged", 0, 0, 0, None)
    last = metrics[-1] if metrics and state != "waiting" else None
    accuracy = float(last["val_accuracy"]) if last and diverged is None else None
    return TrialRow(trial, label, state, step, steps, int(last["epoch"]) if last else 0, accuracy, norms, diverged)


def _latest_gradient_norms(trial_path: Path, step: int) -> tuple[float, ...]:
    rows = [row for row in runs.read_rows(trial_path / "signals.csv") if int(row["step"]) <= step]
    return tuple(float(row["activation_grad_norm"]) for row in rows if row["step"] == rows[-1]["step"])


def snapshot(
    folder: Path,
    experiment: Experiment,
    elapsed: float,
    finished: dict[str, TrialRow],
    done_before: float = 0.0,
    until: Mapping[str, int] | None = None,
) -> Snapshot:
    """The state of the experiment; `finished` caches rows that cannot change.

    until: completed steps of each trial at a moment of a replay; None for now.
    """
    rows = []
    for trial in experiment.trials:
        row = finished.get(trial.name)
        if row is None:
            row = read_row(folder, experiment, trial, until.get(trial.name, -1) if until is not None else None)
            if row.state == "finished":
                finished[trial.name] = row
        rows.append(row)
    return Snapshot(experiment.name, experiment.question, tuple(rows), elapsed, done_before)


def work_done(rows: Sequence[TrialRow]) -> float:
    """The completed share of all steps, weighted by network depth; failed and diverged trials count as complete."""
    default_steps = max((row.steps for row in rows), default=0) or 1
    weights = [(row.steps or default_steps) * row.trial.settings.network.depth for row in rows]
    done = [
        row.step * row.trial.settings.network.depth
        if row.diverged is None and row.state not in ("failed", "damaged")
        else weight
        for row, weight in zip(rows, weights, strict=True)
    ]
    return math.fsum(done) / math.fsum(weights) if weights else 1.0


def snapshot_reader(folder: Path, experiment: Experiment) -> Callable[[], Snapshot]:
    """Returns a function that reads the current snapshot; elapsed time and completed work count from now."""
    finished: dict[str, TrialRow] = {}
    started = time.monotonic()
    before = work_done(snapshot(folder, experiment, 0.0, finished).rows)
    return lambda: snapshot(folder, experiment, time.monotonic() - started, finished, before)


def live(folder: Path, experiment: Experiment) -> Iterator[Snapshot]:
    """Snapshots of the experiment until no process trains it."""
    current = snapshot_reader(folder, experiment)
    while True:
        yield current()
        if not runs.is_training(folder):
            return


def replay(folder: Path, experiment: Experiment, speed: float) -> Iterator[Snapshot]:
    """Snapshots of a finished experiment as if it were trained now, two trials at a time, `speed` times as fast."""
    started = time.monotonic()
    schedule = _schedule(folder, experiment)
    end = max((points[-1][0] for points in schedule.values()), default=0.0)
    while True:
        now = (time.monotonic() - started) * speed
        until = {
            name: max((step for seconds, step in points if seconds <= now), default=-1) for name, points in schedule.items()
        }
        yield snapshot(folder, experiment, now, {}, until=until)
        if now > end:
            return


def _schedule(folder: Path, experiment: Experiment) -> dict[str, list[tuple[float, int]]]:
    """(seconds, completed steps) of each finished trial, from timing.csv, with two trials at a time."""
    lanes = [0.0, 0.0]
    schedule = {}
    for trial in experiment.trials:
        lane = lanes.index(min(lanes))
        trial_path, points = runs.trial_folder(folder, trial.name), []
        for row in runs.read_rows(trial_path / "timing.csv"):
            lanes[lane] += float(row["train_seconds"]) + float(row["evaluation_seconds"])
            points.append((lanes[lane], int(row["step"])))
        if points:
            result = runs.read_state(trial_path)[1]
            diverged = result.diverged_at if result else None  # during the epoch after the last one in timing.csv
            schedule[trial.name] = points if diverged is None else [*points, (lanes[lane], diverged)]
    return schedule


# ---- lines of text for output that is not a terminal ------------------------------------------------------------------------


def percent(value: float | None) -> str:
    """A share in percent with one decimal; '' for None and nan."""
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def epoch_lines(folder: Path, shown: Sequence[TrialRow], printed: dict[str, int]) -> list[str]:
    """One line for each epoch completed since the last call, and one for each trial that has diverged since.

    printed: number of lines printed so far for each trial, updated here; -1 if no more will follow.
    """
    lines = []
    for trial_row in shown:
        name = trial_row.trial.name
        if printed.get(name) == -1:
            continue
        rows = runs.read_rows(runs.trial_folder(folder, name) / "metrics.csv")
        lines += [
            f"{name}  epoch {row['epoch']}  train loss {float(row['train_loss']):.4g}  "
            f"train {percent(float(row['train_accuracy']))}%  val {percent(float(row['val_accuracy'])) or '-'}%"
            for row in rows[printed.get(name, 0) :]
        ]
        lines += [f"{name}  diverged at step {trial_row.diverged}"] if trial_row.diverged is not None else []
        printed[name] = -1 if trial_row.state == "finished" or trial_row.diverged is not None else len(rows)
    return lines
