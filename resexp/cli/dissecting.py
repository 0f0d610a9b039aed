"""`resexp dissect`: what trained networks do without a block, with weaker shortcuts, beside their weights."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from resexp import config, runs
from resexp.cli.program import FAILED, Data, RunArgument, Runs, app, fail, log, named, print_result, stages
from resexp.cli.running import with_data
from resexp.runs import Results, TrialRecord
from resexp.runs.files import CsvValue

PARTS = ("lesion", "scale", "surface")


@app.command()
def dissect(
    source: RunArgument = None,
    *,
    runs_dir: Runs = Path("runs"),
    trials: Annotated[list[str] | None, typer.Option("--trial", help="Only this trial; may be repeated.")] = None,
    parts: Annotated[
        str, typer.Option(help="lesion, scale, surface (comma-separated); a surface takes GRID x GRID evaluations.")
    ] = "lesion,scale",
    grid: Annotated[int, typer.Option(min=3, help="Points of a surface along each direction, an odd number.")] = 21,
    data: Data = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps; default the one of training.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Remove blocks, weaken shortcuts, move the weights of trained networks, and measure them on the validation images."""
    from resexp import tables  # noqa: PLC0415 - `--help` starts without them

    wanted = _parts(parts)
    if not grid % 2:
        raise config.ConfigError(
            f"{grid} is even: the trained weights would not be a point of it; take {grid + 1}", where="--grid"
        )
    folder = named(source, runs_dir)
    experiment = with_data(runs.read_experiment(folder), data)
    data_set = experiment.shared.data
    own = data_set.name == "image-folder" and runs.launches(folder)[-1]["images"][1]  # a validation set that came with the data
    if not (data_set.validation or own):
        raise runs.RunsError(f"{folder}: data.validation is 0, so there are no images to measure on; train with some held out")
    results = runs.results_of(folder, experiment, ("weights.pt",))
    asked = _asked(results, trials)
    sound, damaged = _sound(asked), [record for record in asked if record.state == "damaged"]
    if not (sound or damaged):
        raise runs.RunsError(f"{folder}: {_nothing(asked)}")
    if sound:
        _measure(sound, results, wanted, grid, device, quiet=quiet)
        print_result("\n".join(tables.dissection_lines(sound, results, wanted)))
    for record in damaged[1:]:
        log(f"left out: {record.reason}")
    if damaged:
        fail(f"left out: {damaged[0].reason}", FAILED)


def _nothing(asked: Sequence[TrialRecord]) -> str:
    """Why none of these trials can be dissected, and what to do."""
    if any(record.result is None for record in asked):
        return "no trained network to dissect; finish its training first"
    if any(record.diverged_at is not None for record in asked):
        return "no network to dissect, training diverged; train with a lower training.lr or with training.clip_norm"
    return "no network that can be built here; call resexp.dissect from Python"


def _parts(text: str) -> list[str]:
    named = text.split(",")
    for part in named:
        if part not in PARTS:
            raise config.ConfigError(f"{part!r} is not one of {', '.join(PARTS)}", where="--parts")
    return [part for part in PARTS if part in named]


def _asked(results: Results, trials: list[str] | None) -> list[TrialRecord]:
    names = [record.trial.name for record in results.records]
    for name in trials or []:
        if name not in names:
            raise config.ConfigError(
                f"{name!r} is no trial of {results.name}{config.did_you_mean(name, names)}", where="--trial"
            )
    return [record for record in results.records if not trials or record.trial.name in trials]


def _sound(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trained networks that can be built here; what else is left out is named."""
    found, unfinished = [], 0
    for record in records:
        name, shortcut = record.trial.name, config.shortcut_name(record.trial.settings.network.shortcut)
        if not record.result:
            unfinished += record.state != "damaged"
        elif record.diverged_at is not None:
            log(f"left out: {name} diverged at step {record.diverged_at}")
        elif shortcut not in config.SHORTCUT_NAMES:
            log(f"left out: {name}: {shortcut} is a shortcut of your own; resexp.dissect takes it apart from Python")
        else:
            found.append(record)
    if unfinished:
        log(f"left out: {unfinished} not finished")
    return found


# ---- measuring ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A table that is measured in `lines` pieces, each of so many evaluations and about so many seconds."""

    record: TrialRecord
    part: str
    lines: int
    evaluations: int
    seconds: float


def _measure(
    records: Sequence[TrialRecord], results: Results, parts: list[str], grid: int, device: str | None, *, quiet: bool
) -> None:
    """Writes the tables of every trial; how long that takes is said first."""
    from resexp import executors, screen  # noqa: PLC0415 - `--help` starts without them
    from resexp.executors import pool as pools  # noqa: PLC0415 - as above

    plan = runs.read_plan(results.sources[0][0])
    machine = (plan.threads if plan else 1, device or (plan.device if plan else "auto"))
    with ExitStack() as starting, executors.Pool(1, starting.enter_context(stages(quiet=quiet))) as pool:
        tasks = _tasks(records, results, parts, grid, lambda of: pools.dissection_cost(pool, of.folder, of.trial, *machine))
        starting.close()
        seconds, evaluations = (sum(task.lines * getattr(task, of) for task in tasks) for of in ("seconds", "evaluations"))
        if not quiet:
            trials = f"{len(records)} trial{'s' if len(records) > 1 else ''}"
            log(f"{', '.join(parts)} of {trials}: {evaluations:,} evaluations, about {screen.clock(seconds)}")
        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
            bar = progress.add_task("", total=seconds)
            for task in tasks:
                record, rows = task.record, list[tuple[CsvValue, ...]]()
                progress.update(bar, description=f"{task.part} of {record.trial.name}")
                for line in range(task.lines):
                    rows += pools.dissect(pool, record.folder, record.trial, *machine, task.part, grid, line)
                    progress.advance(bar, task.seconds)
                runs.write_rows(record.folder / runs.ABLATION_FILES[task.part], rows)
                if not (quiet or console.is_terminal):
                    log(f"{task.part} of {record.trial.name}")
                _doubt(task, rows)


def _doubt(task: Task, rows: Sequence[Sequence[CsvValue]]) -> None:
    """Says so where the whole network errs by a point more or less than when it was trained: its images are others now."""
    whole, column = (
        rows[len(rows) // 2 if task.part == "surface" else 0],
        runs.COLUMNS[runs.ABLATION_FILES[task.part]].index("val_error"),
    )
    now, then = float(whole[column] or 0), 1 - (task.record.result or {})["val_accuracy"]
    if abs(now - then) > 0.01:
        name = task.record.trial.name
        log(f"{name}: validation error {100 * now:.1f} % here, {100 * then:.1f} % when trained; are these the same images?")


def _tasks(
    records: Sequence[TrialRecord],
    results: Results,
    parts: Iterable[str],
    grid: int,
    cost: Callable[[TrialRecord], tuple[float, dict[str, int]]],
) -> list[Task]:
    """All that is to be done; networks of one arm and cell cost the same."""
    costs: dict[tuple[str, ...], tuple[float, dict[str, int]]] = {}
    tasks = []
    for record in records:
        kind = (record.trial.arm, *results.label(record).values())
        if kind not in costs:
            costs[kind] = cost(record)
        seconds, counts = costs[kind]
        for part in parts:
            lines, points = (grid, grid) if part == "surface" else (1, counts[part])
            tasks += [Task(record, part, lines, points, points * seconds)] if points else []
    return tasks
