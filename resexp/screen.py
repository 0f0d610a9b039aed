"""Rows of runs/ -> the live display: `snapshot` reads, `render` is a pure function of what was read."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from resexp import config, runs
from resexp.config import Experiment, Trial
from resexp.tables.lines import BAR_WIDTH, shade, shade_levels

RUNNING_ROWS = 8
FRAME_SECONDS = 0.25


@dataclass(frozen=True)
class Row:
    """One trial as the display has it: completed steps, validation accuracy and gradient flow at its latest reading."""

    trial: Trial
    cell: str
    state: str
    step: int
    steps: int
    epoch: int
    val_accuracy: float | None
    flow: tuple[float, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """Everything on the screen at one moment."""

    name: str
    question: str | None
    rows: tuple[Row, ...]
    elapsed: float
    done_before: float  # share of the work that was done when `elapsed` began


# ---- reading ------------------------------------------------------------------------------------------------------------


def read_row(folder: Path, experiment: Experiment, trial: Trial, until: int | None = None) -> Row:
    """A trial as its files have it, or as they had it when it had completed `until` steps."""
    place = runs.trial_folder(folder, trial.name)
    label = " ".join(config.cell_label(trial.settings, experiment.axes))
    try:
        state, _, _ = runs.standing(place)
        status = runs.status(place)
        step, steps = int(status.get("step", 0)), int(status.get("steps", 0))
        if until is not None:
            state = "waiting" if until < 0 else "running" if until < step else state
            step = max(0, min(step, until))
        metrics = [row for row in runs.read_rows(place / "metrics.csv") if int(row["step"]) <= step]
        flow = _latest_flow(place, step) if state == "running" else ()
    except runs.RunsError:
        return Row(trial, label, "damaged", 0, 0, 0, None)
    last = metrics[-1] if metrics and state != "waiting" else None
    accuracy = float(last["val_accuracy"]) if last else None
    return Row(trial, label, state, step, steps, int(last["epoch"]) if last else 0, accuracy, flow)


def _latest_flow(place: Path, step: int) -> tuple[float, ...]:
    rows = [row for row in runs.read_rows(place / "signals.csv") if int(row["step"]) <= step]
    return tuple(float(row["activation_grad_norm"]) for row in rows if row["step"] == rows[-1]["step"])


def snapshot(
    folder: Path,
    experiment: Experiment,
    elapsed: float,
    finished: dict[str, Row],
    done_before: float = 0.0,
    until: Mapping[str, int] | None = None,
) -> Snapshot:
    """The experiment now; `finished` keeps rows that cannot change, so that they are read once."""
    rows = []
    for trial in experiment.trials:
        row = finished.get(trial.name)
        if row is None:
            row = read_row(folder, experiment, trial, until.get(trial.name, -1) if until is not None else None)
            if row.state == "finished":
                finished[trial.name] = row
        rows.append(row)
    return Snapshot(experiment.name, experiment.question, tuple(rows), elapsed, done_before)


def work_done(rows: Sequence[Row]) -> float:
    """Share of all steps done, each weighted with its network's depth."""
    known = max((row.steps for row in rows), default=0) or 1
    weights = [(row.steps or known) * row.trial.settings.network.depth for row in rows]
    done = [
        row.step * row.trial.settings.network.depth if row.state not in ("failed", "damaged") else w
        for row, w in zip(rows, weights, strict=True)
    ]
    return math.fsum(done) / math.fsum(weights)


def live(folder: Path, experiment: Experiment) -> Iterator[Snapshot]:
    """The experiment as it is, again and again until nothing runs any more."""
    finished: dict[str, Row] = {}
    begun = time.monotonic()
    before = work_done(snapshot(folder, experiment, 0.0, finished).rows)
    while True:
        shot = snapshot(folder, experiment, time.monotonic() - begun, finished, before)
        yield shot
        if not runs.is_training(folder):
            return


def replay(folder: Path, experiment: Experiment, speed: float) -> Iterator[Snapshot]:
    """A finished experiment as if it were trained now, two trials at a time, `speed` times as fast."""
    begun = time.monotonic()
    schedule = _schedule(folder, experiment)
    end = max((starts[-1][0] for starts in schedule.values()), default=0.0)
    while True:
        now = (time.monotonic() - begun) * speed
        until = {name: max((step for at, step in points if at <= now), default=-1) for name, points in schedule.items()}
        yield snapshot(folder, experiment, now, {}, until=until)
        if now > end:
            return


def _schedule(folder: Path, experiment: Experiment) -> dict[str, list[tuple[float, int]]]:
    """For each finished trial when it had completed which step, from timing.csv, in two lanes."""
    lanes = [0.0, 0.0]
    schedule = {}
    for trial in experiment.trials:
        lane = lanes.index(min(lanes))
        points = []
        for row in runs.read_rows(runs.trial_folder(folder, trial.name) / "timing.csv"):
            lanes[lane] += float(row["train_seconds"]) + float(row["evaluation_seconds"])
            points.append((lanes[lane], int(row["step"])))
        if points:
            schedule[trial.name] = points
    return schedule


# ---- drawing ------------------------------------------------------------------------------------------------------------


def gradient_bar(flow: Sequence[float]) -> Text:
    """Gradient at each block relative to the last one, input on the left: full is 1 or more, dark is 1e-6 or less."""
    bar = Text()
    for level in shade_levels(flow, flow[-1] if flow else 0.0):
        colour = 60 + round(195 * level)
        bar.append(shade(level), style=f"rgb({colour},{colour // 2 + 60},60)")
    return bar


def clock(seconds: float) -> str:
    """1:02:03, or 2:03."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def render(shot: Snapshot) -> RenderableType:
    """The display for 80 columns: progress, trials in training, and each cell's arms side by side."""
    running = [row for row in shot.rows if row.state == "running"]
    return Group(_head(shot), _running(running), *_cells(shot.rows))


def _head(shot: Snapshot) -> RenderableType:
    states = [row.state for row in shot.rows]
    share = work_done(shot.rows)
    left = ""
    if share > shot.done_before and shot.elapsed > 0 and share < 1:
        left = f"  {clock(shot.elapsed * (1 - share) / (share - shot.done_before))} left"
    bad = "".join(f"  {states.count(state)} {state}" for state in ("failed", "damaged") if state in states)
    text = f"{states.count('finished')} of {len(states)} trials  {states.count('running')} running{bad}{left}"
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=1.0, completed=share, width=30), text)
    return Group(Text(f"{shot.name}  {shot.question or ''}", style="bold", overflow="ellipsis", no_wrap=True), grid)


def _running(rows: Sequence[Row]) -> RenderableType:
    table = Table(box=None, padding=(0, 1, 0, 0), width=80)
    for name, width in (("in training", 14), ("", 32), ("epoch", 5), ("val %", 5), ("gradient, input→", BAR_WIDTH)):
        table.add_column(name, width=width, no_wrap=True, header_style="dim")
    for row in rows[:RUNNING_ROWS]:
        label = f"{row.cell} s{row.trial.seed}"
        table.add_row(row.trial.arm, label, str(row.epoch), _percent(row.val_accuracy), gradient_bar(row.flow))
    if len(rows) > RUNNING_ROWS:
        table.add_row("...", f"{len(rows) - RUNNING_ROWS} more", style="dim")
    return table


def _percent(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _cells(rows: Sequence[Row]) -> list[RenderableType]:
    """Mean validation accuracy so far, one line a cell, one column an arm; trials of a stack end together, so not only then."""
    arms = list(dict.fromkeys(row.trial.arm for row in rows))[:4]
    grouped: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row.state in ("finished", "running"):
            grouped.setdefault(row.cell, {}).setdefault(row.trial.arm, []).append(row)
    if not grouped:
        return []
    table = Table(box=None, padding=(0, 1, 0, 0), width=80)
    table.add_column("validation accuracy % so far", width=34, no_wrap=True, header_style="dim")
    for arm in arms:
        table.add_column(arm, no_wrap=True, header_style="dim")
    for cell, found in list(grouped.items())[-16:]:
        table.add_row(cell, *(_mean_bar(found.get(arm, [])) for arm in arms))
    return [table]


def _mean_bar(rows: Sequence[Row]) -> Text:
    values = [row.val_accuracy for row in rows if row.val_accuracy is not None and not math.isnan(row.val_accuracy)]
    if not values:
        return Text("")
    mean = math.fsum(values) / len(values)
    return Text(f"{100 * mean:5.1f} ({len(values)}) ") + Text("█" * round(8 * mean), style="cyan")


# ---- plain lines for everything that is not a terminal ----------------------------------------------------------------------


def epoch_lines(folder: Path, experiment: Experiment, printed: dict[str, int], finished: Mapping[str, Row]) -> list[str]:
    """One line for every epoch that came to an end since the last call; `printed` counts the lines of each trial."""
    lines = []
    for trial in experiment.trials:
        if printed.get(trial.name) == -1:
            continue
        rows = runs.read_rows(runs.trial_folder(folder, trial.name) / "metrics.csv")
        lines += [
            f"{trial.name}  epoch {row['epoch']}  train loss {float(row['train_loss']):.4g}  "
            f"train {_percent(float(row['train_accuracy']))} %  val {_percent(float(row['val_accuracy'])) or '-'} %"
            for row in rows[printed.get(trial.name, 0) :]
        ]
        printed[trial.name] = -1 if trial.name in finished else len(rows)
    return lines
