"""`resexp dissect`: ablation of trained networks."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from resexp import config, runs
from resexp.cli.printing import FormatOption, JsonOption, check_format, print_parts
from resexp.cli.program import (
    FAILED,
    DataOption,
    ImportOption,
    RunArgument,
    RunsOption,
    app,
    experiment_folder,
    fail,
    import_variants,
    log,
    reading,
    stages,
)
from resexp.cli.running import with_data
from resexp.runs import Results, TrialRecord
from resexp.runs.files import CsvValue

PARTS = ("lesion", "scale", "surface")


@app.command(epilog="Example: resexp dissect digits --parts lesion")
def dissect(
    source: RunArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    trials: Annotated[list[str] | None, typer.Option("--trial", help="Ablate only this trial. Repeatable.")] = None,
    parts: Annotated[
        str, typer.Option(help="Comma-separated: lesion, scale, surface (which takes GRID x GRID evaluations).")
    ] = "lesion,scale",
    grid: Annotated[int, typer.Option(min=3, help="Points of the loss surface along each direction; an odd number.")] = 21,
    data: DataOption = None,
    device: Annotated[
        str | None, typer.Option(help="Device: auto, cpu, cuda, cuda:1 or mps. Default: the device of training.")
    ] = None,
    imports: ImportOption = None,
    show_tables: Annotated[bool, typer.Option("--all", help="Print the tables as well, not only sentences.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Hide progress output.")] = False,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Ablate trained networks: remove blocks, scale down shortcuts, scan the loss surface.

    All errors are measured on the validation images. Each part writes one CSV file per trial.
    """
    from resexp import extensions, tables  # noqa: PLC0415 - `--help` starts without them

    form, selected_parts = check_format(form, as_json=as_json), _selected_parts(parts)
    if not grid % 2:
        raise config.ConfigError(
            f"{grid} is even, so no grid point would be the trained weights; write {grid + 1}", where="--grid"
        )
    folder = experiment_folder(source, runs_dir)
    import_variants(imports)
    experiment = with_data(runs.read_experiment(folder), data)
    extensions.use_as_recorded(experiment, folder)
    data_set = experiment.shared.data
    has_own_validation = data_set.name == "image-folder" and runs.launches(folder)[-1].images[1]  # a validation folder
    if not (data_set.validation or has_own_validation):
        raise runs.RunsError(
            f"{folder}: data.validation is 0, so there are no validation images; train again with data.validation above 0"
        )
    with reading(quiet=quiet) as track:
        results = runs.results_of(folder, experiment, ("weights.pt",), track)
    records = _selected_records(results, trials)
    trained, damaged = _trained(records), [record for record in records if record.state == "damaged"]
    if not (trained or damaged):
        raise runs.RunsError(f"{folder}: {_reason_for_none(records)}")
    if trained:
        _measure(trained, results, selected_parts, grid, device, quiet=quiet)
        dissection = tables.dissection(trained, results, selected_parts, show_tables=show_tables or form != "table")
        print_parts(dissection, form, "dissect", name=results.name)
    for record in damaged[1:]:
        log(f"left out: {record.reason}")
    if damaged:
        fail(f"left out: {damaged[0].reason}", FAILED)


def _reason_for_none(records: Sequence[TrialRecord]) -> str:
    """The reason why none of these trials can be dissected, and what to do."""
    if any(record.result is None for record in records):
        return "no trained network to dissect; finish the training first"
    if any(record.diverged_at is not None for record in records):
        return "no network to dissect, because training diverged; train with a lower training.lr or with training.clip_norm"
    return "no network to dissect with built-in shortcuts; for custom shortcuts, add --import FILE.py, or call resexp.dissect"


def _selected_parts(text: str) -> list[str]:
    names = text.split(",")
    for part in names:
        if part not in PARTS:
            raise config.ConfigError(f"{part!r} is not one of {', '.join(PARTS)}", where="--parts")
    return [part for part in PARTS if part in names]


def _selected_records(results: Results, trials: list[str] | None) -> list[TrialRecord]:
    names = [record.trial.name for record in results.records]
    for name in trials or []:
        if name not in names:
            raise config.ConfigError(
                f"{name!r} is not a trial of {results.name}{config.did_you_mean(name, names)}", where="--trial"
            )
    return [record for record in results.records if not trials or record.trial.name in trials]


def _trained(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trials with a trained network that the command line can build; prints which of the others are left out."""
    trained, unfinished = [], 0
    for record in records:
        name, shortcut = record.trial.name, config.shortcut_name(record.trial.settings.network.shortcut)
        if not record.result:
            unfinished += record.state != "damaged"
        elif record.diverged_at is not None:
            log(f"left out: {name} diverged at step {record.diverged_at}")
        elif shortcut not in (*config.SHORTCUT_NAMES, *config.CUSTOM_NAMES.get("shortcut", ())):
            log(f"left out: {name}: {shortcut} is a custom shortcut; add --import FILE.py, or call resexp.dissect from Python")
        else:
            trained.append(record)
    if unfinished:
        log(f"left out: {unfinished} not finished")
    return trained


# ---- measuring ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A table that is measured in `lines` pieces; `evaluations` and estimated `seconds` are those of one piece."""

    record: TrialRecord
    part: str
    lines: int
    evaluations: int
    seconds: float


def _measure(
    records: Sequence[TrialRecord], results: Results, parts: list[str], grid: int, device: str | None, *, quiet: bool
) -> None:
    """Writes the tables of every trial; prints the estimated time first."""
    from resexp import executors, screen  # noqa: PLC0415 - `--help` starts without them
    from resexp.executors import workers  # noqa: PLC0415 - as above

    plan = runs.read_plan(results.sources[0][0])
    machine = (plan.threads if plan else 1, device or (plan.device if plan else "auto"))
    with ExitStack() as starting, executors.Pool(1, starting.enter_context(stages(quiet=quiet))) as pool:
        cost = partial(pool.call, "timing an evaluation of each network", workers.dissection_cost)
        tasks = _tasks(records, results, parts, grid, lambda record: cost(record.folder, record.trial, *machine))
        starting.close()
        seconds, evaluations = (
            sum(task.lines * getattr(task, field) for task in tasks) for field in ("seconds", "evaluations")
        )
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
                    arguments = (record.folder, record.trial, *machine, task.part, grid, line)
                    rows += pool.call(f"{task.part} of {record.trial.name}", workers.dissect_trial, *arguments)
                    progress.advance(bar, task.seconds)
                runs.write_rows(record.folder / runs.ABLATION_FILES[task.part], rows)
                if not (quiet or console.is_terminal):
                    log(f"{task.part} of {record.trial.name}")
                _check_images(task, rows)


def _check_images(task: Task, rows: Sequence[Sequence[CsvValue]]) -> None:
    """Prints a warning if the error of the intact network differs by more than a point from the error after training."""
    intact = rows[len(rows) // 2 if task.part == "surface" else 0]
    column = runs.COLUMNS[runs.ABLATION_FILES[task.part]].index("val_error")
    accuracy = task.record.result.val_accuracy if task.record.result else None
    current, original = float(intact[column] or 0), 1 - (accuracy or 0.0)
    if abs(current - original) > 0.01:
        name = task.record.trial.name
        log(
            f"{name}: validation error {100 * current:.1f}% now, {100 * original:.1f}% after training; "
            "are these the same images?"
        )


def _tasks(
    records: Sequence[TrialRecord],
    results: Results,
    parts: Iterable[str],
    grid: int,
    cost: Callable[[TrialRecord], tuple[float, dict[str, int]]],
) -> list[Task]:
    """All tables to measure. Networks of one arm and cell cost the same."""
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
