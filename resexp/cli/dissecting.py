"""`resexp dissect`: what trained networks do without a block, with weaker shortcuts, beside their weights."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from resexp import config, runs
from resexp.cli.program import FAILED, RunArgument, Runs, app, note, say, stop
from resexp.runs import Results, State
from resexp.runs.files import Cell

Rows = list[dict[str, str]]


@app.command()
def dissect(
    source: RunArgument = None,
    *,
    runs_dir: Runs = Path("runs"),
    trials: Annotated[list[str] | None, typer.Option("--trial", help="Only this trial; may be repeated.")] = None,
    parts: Annotated[
        str, typer.Option(help="lesion, dose, surface (comma-separated); a surface takes GRID x GRID evaluations.")
    ] = "lesion,dose",
    grid: Annotated[int, typer.Option(min=3, help="Points of a surface along each direction, an odd number.")] = 21,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps; default the one of training.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Remove blocks, weaken shortcuts, move the weights of trained networks, and measure them on the validation images."""
    wanted = _parts(parts)
    if not grid % 2:
        raise config.ConfigError(
            f"{grid} is even: the trained weights would not be a point of it; take {grid + 1}", where="--grid"
        )
    folder = runs.find(source, runs_dir)
    experiment = runs.read_experiment(folder)
    if not experiment.shared.data.validation:
        raise runs.RunsError(f"{folder}: data.validation is 0, so there are no images to measure on; train with some held out")
    results = runs.results_of(folder, experiment, ("weights.pt",))
    asked = _asked(results, trials)
    sound, damaged = _sound(asked), [state for state in asked if state.state == "damaged"]
    if not (sound or damaged):
        raise runs.RunsError(f"{folder}: no trained network to dissect; train it to its end first")
    if sound:
        _measure(sound, results, wanted, grid, device, quiet=quiet)
        say("\n".join(_text(sound, results, wanted)))
    for state in damaged[1:]:
        note(f"left out: {state.reason}")
    if damaged:
        stop(f"left out: {damaged[0].reason}", FAILED)


def _parts(text: str) -> list[str]:
    named = text.split(",")
    for part in named:
        if part not in TEXTS:
            raise config.ConfigError(f"{part!r} is not one of {', '.join(TEXTS)}", where="--parts")
    return [part for part in TEXTS if part in named]


def _asked(results: Results, trials: list[str] | None) -> list[State]:
    names = [state.trial.name for state in results.states]
    for name in trials or []:
        if name not in names:
            raise config.ConfigError(f"{name!r} is no trial of {results.name}{config.nearest(name, names)}", where="--trial")
    return [state for state in results.states if not trials or state.trial.name in trials]


def _sound(states: Iterable[State]) -> list[State]:
    """Trained networks that can be built here; what else is left out is named."""
    found, unfinished = [], 0
    for state in states:
        name, shortcut = state.trial.name, config.shortcut_name(state.trial.settings.network.shortcut)
        if not state.result:
            unfinished += state.state != "damaged"
        elif state.result["outcome"] == "diverged":
            note(f"left out: {name} diverged")
        elif shortcut not in config.SHORTCUT_NAMES:
            note(f"left out: {name}: {shortcut} is a shortcut of your own; resexp.dissect takes it apart from Python")
        else:
            found.append(state)
    if unfinished:
        note(f"left out: {unfinished} not finished")
    return found


# ---- measuring ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A table that is measured in `lines` pieces, each of so many evaluations and about so many seconds."""

    state: State
    part: str
    lines: int
    evaluations: int
    seconds: float


def _measure(
    states: Sequence[State], results: Results, parts: list[str], grid: int, device: str | None, *, quiet: bool
) -> None:
    """Writes the tables of every trial; how long that takes is said first."""
    from resexp import executors, screen  # noqa: PLC0415 - `--help` starts without them
    from resexp.executors import pool as pools  # noqa: PLC0415 - as above

    plan = runs.read_plan(results.sources[0][0])
    machine = (plan.threads if plan else 1, device or (plan.device if plan else "auto"))
    with executors.Pool() as pool:
        tasks = _tasks(states, results, parts, grid, lambda of: pools.dissection_cost(pool, of.folder, of.trial, *machine))
        seconds, evaluations = (sum(task.lines * getattr(task, of) for task in tasks) for of in ("seconds", "evaluations"))
        if not quiet:
            trials = f"{len(states)} trial{'s' if len(states) > 1 else ''}"
            note(f"{', '.join(parts)} of {trials}: {evaluations:,} evaluations, about {screen.clock(seconds)}")
        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
            bar = progress.add_task("", total=seconds)
            for task in tasks:
                state, rows = task.state, list[tuple[Cell, ...]]()
                progress.update(bar, description=f"{task.part} of {state.trial.name}")
                for line in range(task.lines):
                    rows += pools.dissect(pool, state.folder, state.trial, *machine, task.part, grid, line)
                    progress.advance(bar, task.seconds)
                if rows:
                    runs.write_rows(state.folder / f"{task.part}.csv", rows)
                if not (quiet or console.is_terminal):
                    note(f"{task.part} of {state.trial.name}")


def _tasks(
    states: Sequence[State],
    results: Results,
    parts: Iterable[str],
    grid: int,
    cost: Callable[[State], tuple[float, dict[str, int]]],
) -> list[Task]:
    """All that is to be done; networks of one arm and cell cost the same."""
    costs: dict[tuple[str, ...], tuple[float, dict[str, int]]] = {}
    tasks = []
    for state in states:
        kind = (state.trial.arm, *results.label(state).values())
        if kind not in costs:
            costs[kind] = cost(state)
        seconds, counts = costs[kind]
        for part in parts:
            lines, points = (grid, grid) if part == "surface" else (1, counts[part])
            tasks += [Task(state, part, lines, points, points * seconds)] if points else []
    return tasks


# ---- text, for a terminal of 80 columns -------------------------------------------------------------------------------------

Seeds = list[Rows]  # the rows of each seed of an arm


def _text(states: Sequence[State], results: Results, parts: Iterable[str]) -> list[str]:
    """A table for each part and cell, means over seeds, and a sentence for each arm."""
    from resexp import tables  # noqa: PLC0415 - as above

    lines = [f"{results.name}: measured on the validation images; means over seeds"]
    for part in parts:
        cells: dict[str, dict[str, list[State]]] = {}
        for state in states:
            label = ", ".join(f"{key} {value}" for key, value in results.label(state).items())
            cells.setdefault(label, {}).setdefault(state.trial.arm, []).append(state)
        title, text = TEXTS[part]
        for label, arms in cells.items():
            read = {arm: [runs.read_rows(of.folder / f"{part}.csv") for of in members] for arm, members in arms.items()}
            lines += ["", f"{title}; {label}" if label else title, *text(read), *_stuck(arms)]
    return tables.fitted(lines)


def _stuck(arms: dict[str, list[State]]) -> Iterator[str]:
    for arm, states in arms.items():
        stuck = sum(state.result is not None and state.result["outcome"] == "stuck" for state in states)
        if stuck:
            yield f"  {arm}: {stuck} of {len(states)} stuck at the most frequent class: no change there says anything"


def _columns(first: str, names: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """A table with a column for each name; those that do not fit into 80 columns have a table of their own below it."""
    wide = max(16, *(len(name) + 2 for name in names))
    many, rows, lines = max(1, 66 // wide), list(rows), list[str]()
    for start in range(0, len(names), many):
        shown = slice(start, start + many)
        for head, cells in [(first, names), *rows]:
            lines.append(f"  {head:<12}" + "".join(f"{cell:>{wide}}" for cell in cells[shown]))
    return lines


def _means(seeds: Seeds, key: str, column: str) -> dict[str, float]:
    """The mean over seeds of a column in percent, by the value of `key`."""
    return {row[key]: 100 * fmean(float(rows[n][column]) for rows in seeds) for n, row in enumerate(seeds[0])}


def _points(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"


def _lesion_text(arms: dict[str, Seeds]) -> list[str]:
    errors = {arm: _means(seeds, "block", "val_error") for arm, seeds in arms.items()}
    changes = {arm: _means(seeds, "block", "error_increase") for arm, seeds in arms.items()}
    rows = []
    for block in next(iter(errors.values())):
        cells = [(errors[arm][block], changes[arm][block]) for arm in arms]
        rows.append((block, ["-" if math.isnan(error) else f"{error:.1f} ({_points(change)})" for error, change in cells]))
    sentences = [f"  {arm}: {_lesion_sentence(seeds[0], changes[arm])}" for arm, seeds in arms.items()]
    return [*_columns("without", list(arms), rows), *sentences]


def _lesion_sentence(rows: Rows, changes: dict[str, float]) -> str:
    left = {row["block"]: row["left"] for row in rows[1:]}
    removed = {block: changes[block] for block, of in left.items() if of != "nothing"}
    fixed = [block for block, of in left.items() if of == "nothing"]
    words = [f"{', '.join(fixed)} cannot be removed: shapes change and S is 0"] if fixed else []
    if removed:
        least, most = min(removed, key=removed.__getitem__), max(removed, key=removed.__getitem__)
        middle = median(removed.values())
        words.insert(
            0,
            f"removing one block changes the error by {_points(removed[least])} ({least}) to "
            f"{_points(removed[most])} points ({most}), median {_points(middle)}",
        )
    words += ["S is 0, so the identity took the block's place"] if "identity" in left.values() else []
    return "; ".join(words) or "no blocks"


def _dose_text(arms: dict[str, Seeds]) -> list[str]:
    errors = {arm: _means(seeds, "dose", "val_error") for arm, seeds in arms.items() if seeds[0]}
    unscaled = [f"  {arm}: nothing to scale, S is 0" for arm in arms if arm not in errors]
    if not errors:
        return unscaled
    doses = next(iter(errors.values()))
    rows = [(dose, [f"{of[dose]:.1f}" for of in errors.values()]) for dose in doses]
    return [*_columns("s", list(errors), rows), *(f"  {arm}: {_dose_sentence(of)}" for arm, of in errors.items()), *unscaled]


def _dose_sentence(errors: dict[str, float]) -> str:
    (_, trained), *weaker = errors.items()
    beyond = next((f"from s = {dose} on" for dose, error in weaker if error > trained + 1), "nowhere")
    return f"error {trained:.1f} as trained, more than a point above that {beyond}, {weaker[-1][1]:.1f} at s = 0"


def _surface_text(arms: dict[str, Seeds]) -> list[str]:
    names = ("as trained", "lowest", "median at edge", "not finite")
    rows, sentences = [], []
    for arm, seeds in arms.items():
        losses = [[_loss(row) for row in of] for of in seeds]
        edges = [_loss(row) for of in seeds for row in of if 1 in (abs(float(row["alpha"])), abs(float(row["beta"])))]
        trained, lost = [of[len(of) // 2] for of in losses], [loss for of in losses for loss in of if loss == math.inf]
        values = (fmean(trained), fmean(map(min, losses)), median(edges))
        rows.append((arm, [*(f"{value:.4g}" for value in values), f"{100 * len(lost) / sum(map(len, losses)):.0f} %"]))
        at_lowest = sum(loss == min(of) for loss, of in zip(trained, losses, strict=True))
        sentences.append(f"  {arm}: in {at_lowest} of {len(seeds)} the loss is lowest at the trained weights")
    return [*_columns("loss", names, rows), *sentences]


def _loss(row: dict[str, str]) -> float:
    value = float(row["val_loss"])
    return math.inf if math.isnan(value) else value


TEXTS: dict[str, tuple[str, Callable[[dict[str, Seeds]], list[str]]]] = {
    "lesion": ("lesion: error in % without one block's branch", _lesion_text),
    "dose": ("dose: error in % with every shortcut scaled by s", _dose_text),
    "surface": ("surface: loss around the trained weights", _surface_text),
}
