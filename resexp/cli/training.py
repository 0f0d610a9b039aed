"""`resexp train`: plans an experiment, trains it and prints a summary."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from resexp import config, runs
from resexp.cli.asking import asked
from resexp.cli.program import (
    ConfigArgument,
    ImportOption,
    OverridesArgument,
    RunsOption,
    app,
    check_choice,
    import_variants,
    log,
    print_result,
    stages,
)
from resexp.cli.running import (
    BreakLockOption,
    DeviceOption,
    JobsOption,
    QuietOption,
    VerboseOption,
    WithoutRay,
    carry_out,
    prepare,
    print_summary,
    processes,
    shard_of,
    stopping,
)

if TYPE_CHECKING:
    from resexp.comparison import Comparison

EXECUTORS = {"local": "processes of this machine", "ray": "a Ray cluster"}
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan with time, disk and memory estimates, then exit.")]
Predict = Annotated[
    bool, typer.Option("--predict", help="Ask three questions first; print the answers next to the measured ones at the end.")
]
Address = Annotated[str | None, typer.Option(help="Address of the Ray cluster. Default: $RAY_ADDRESS, else this machine.")]
Shard = Annotated[
    str | None, typer.Option(metavar="I/N", help="Train only part I of N, for job arrays. Parts may run at the same time.")
]


@app.command(epilog="Example: resexp train digits network.depth=8,64 seeds=3")
def train(
    source: ConfigArgument,
    overrides: OverridesArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    device: DeviceOption = None,
    jobs: JobsOption = "auto",
    dry_run: DryRun = False,
    predict: Predict = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Rename an existing experiment of this name and start over.")] = False,
    break_lock: BreakLockOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    executor: Annotated[str, typer.Option(help="Where to train: local, or ray (a cluster, see docs/cluster.md).")] = "local",
    address: Address = None,
    shard: Shard = None,
    imports: ImportOption = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard event files during training.")] = False,
) -> None:
    """Train all trials of an experiment. Run the same command again to resume."""
    from resexp import executors, trackers  # noqa: PLC0415 - `--help` starts without them

    shard_numbers, workers = _parsed(executor, shard, jobs, fresh=fresh, predict=predict)
    import_variants(imports)
    changes = [*(overrides or []), *([f"device={device}"] if device else [])]
    experiment, folder, existing = runs.target(source, changes, runs_dir, fresh=fresh)
    if existing:
        log(f"{existing} has other settings or more trials; training this experiment as {folder.name}")
    imported = _imported(experiment, folder, fresh=fresh)
    guesses = asked(experiment, folder, predict=predict and not dry_run, fresh=fresh)
    if tensorboard:
        trackers.need_tensorboard()
    comparisons: list[Comparison] = []
    write_tables = partial(_write_tables, comparisons)
    if not (fresh or dry_run or tensorboard) and runs.is_complete(experiment, folder):
        names = executors.bring_up_to_date(folder, experiment, shard_numbers, write_tables, break_lock=break_lock)
        _end(comparisons[-1], experiment, folder, names, as_json=as_json, quiet=quiet, lead="nothing to train: ")
    with (
        ExitStack() as starting,
        redirect_stdout(WithoutRay(sys.stdout)),
        _executor(executor, address, workers, starting.enter_context(stages(quiet=quiet or as_json))) as pool,
        stopping(pool) as interrupted,
    ):
        existing_plan = None if fresh else runs.read_plan(folder)
        prepared = {**prepare(pool, experiment, existing_plan, quiet=quiet or as_json), "imports": imported}
        if dry_run:
            shards = shard_numbers and shard_numbers[1]
            text = _plan_text(pool, experiment, prepared, None if fresh else folder, existing_plan, shards, executor)
            starting.close()
            print_result(text)
            return
        starting.close()
        _make_room(folder, guesses, fresh=fresh)
        names = carry_out(
            pool, folder, experiment, prepared, shard=shard_numbers, break_lock=break_lock,
            quiet=quiet or as_json, verbose=verbose, watch=trackers.live if tensorboard else None,
            write_tables=write_tables,
        )  # fmt: skip
    _end(comparisons[-1], experiment, folder, names, interrupted, as_json=as_json, quiet=quiet)


def _make_room(folder: Path, guesses: Sequence[runs.Guess], *, fresh: bool) -> None:
    """Renames an existing experiment if `fresh`, and stores the guesses."""
    if fresh and (archived := runs.archive(folder)):
        log(f"the existing experiment was renamed to {archived}")
    if guesses:
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_json(folder / "guesses.json", [guess.content for guess in guesses])


def _imported(experiment: config.Experiment, folder: Path, *, fresh: bool) -> list[runs.ImportRecord]:
    """Imports what the experiment uses; unless `fresh`, refuses settings and imports that differ from those of its folder."""
    from resexp import extensions  # noqa: PLC0415 - as above

    if fresh:
        return extensions.use(experiment)
    runs.check_unchanged(experiment, folder)
    return extensions.use_as_recorded(experiment, folder)


def _write_tables(comparisons: "list[Comparison]", results: runs.Results) -> None:
    """Writes the tables of an experiment, and adds its comparison to a list."""
    from resexp import tables  # noqa: PLC0415 - as above

    comparisons.append(tables.write_accuracy(results))


def _executor(executor: str, address: str | None, jobs: int | None, announce: Callable[[str], None]) -> Any:
    from resexp import executors  # noqa: PLC0415 - as above

    return executors.Cluster(address, announce) if executor == "ray" else executors.Pool(jobs, announce)


def _end(
    comparison: "Comparison",
    experiment: config.Experiment,
    folder: Path,
    names: set[str],
    interrupted: Sequence[int] = (),
    *,
    as_json: bool,
    quiet: bool,
    lead: str = "",
) -> NoReturn:
    """Prints a summary and ends the program with its exit code."""
    from resexp import tables  # noqa: PLC0415 - as above

    if as_json:
        print_result(tables.FORMATS["json"](comparison))
    code = print_summary(folder, experiment, interrupted, names, lead=lead)
    if not (as_json or quiet or interrupted) and (lines := tables.trained_lines(comparison)):
        print_result("\n".join(lines))
    sys.exit(code)


def _parsed(
    executor: str, shard: str | None, jobs: str, *, fresh: bool, predict: bool
) -> tuple[tuple[int, int] | None, int | None]:
    """(shard, processes) from the options; refuses options that exclude each other."""
    check_choice("--executor", executor, EXECUTORS)
    shard_numbers, workers = shard_of(shard), processes(jobs)
    if executor == "ray" and (shard_numbers or workers):
        option = "--shard" if shard_numbers else "--jobs"
        raise config.ConfigError(f"{option} has no effect with Ray, which assigns the trials; omit it", where="--executor ray")
    if shard_numbers and fresh:
        raise config.ConfigError(
            "would rename the folder of the other shards; rename it yourself first, or choose another name=...", where="--fresh"
        )
    if shard_numbers and predict:
        raise config.ConfigError("asks before a whole experiment is trained; omit --shard", where="--predict")
    return shard_numbers, workers


def _plan_text(
    pool: Any,
    experiment: config.Experiment,
    prepared: dict[str, Any],
    folder: Path | None,
    existing_plan: config.Plan | None,
    shards: int | None,
    executor: str,
) -> str:
    """All trials, and estimates for the stacks that are not finished. folder: that of an existing experiment."""
    from resexp import tables  # noqa: PLC0415 - as above

    plan = config.make_plan(experiment, prepared["device"], prepared["cores"], existing_plan, shards)
    names = [trial.name for trial in experiment.trials]
    finished = {name for name in names if folder and runs.has_result(runs.trial_folder(folder, name))}
    unfinished = {*names} - finished
    remaining = plan.model_copy(update={"stacks": tuple(stack for stack in plan.stacks if unfinished & {*stack.trials})})
    pair_summaries = runs.with_rounds(prepared["pair_summaries"], experiment, plan)
    largest = max(len(stack.trials) for stack in plan.stacks)
    count = f", {len(finished)} trials finished" if finished else ""
    lines = [f"{experiment.name}: {len(names)} trials in {len(plan.stacks)} stacks of up to {largest}{count}"]
    lines += [experiment.question] if experiment.question else []
    lines += _forecast_lines(pool.forecast(experiment, remaining), plan, executor) if unfinished else []
    lines += [f"  {name}  {prepared['steps'][name]} steps{', finished' if name in finished else ''}" for name in names]
    table = tables.matched_pairs(pair_summaries, tables.cell_labels(experiment))
    return tables.as_lines([*lines, *([table] if pair_summaries else [])])


def _forecast_lines(forecast: dict[str, Any], plan: config.Plan, executor: str) -> list[str]:
    from resexp import screen  # noqa: PLC0415 - as above

    if executor == "ray":
        lines = [f"{plan.device}, {plan.threads} thread(s) per task; wall time by number of parallel tasks:"]
        lines += [f"  {tasks:>5}  {screen.clock(seconds)}" for tasks, seconds in forecast["walls"].items()]
        lines += [f"  longest stack: {screen.clock(forecast['longest'])} (lower bound on the wall time, however many tasks)"]
    else:
        seconds, startup = (screen.clock(forecast[key]) for key in ("seconds", "startup"))
        lines = [f"{plan.device}, {plan.threads} thread(s) per process: about {seconds}, of which {startup} for startup"]
    lines += [f"about {forecast['disk_bytes'] / 1e6:,.0f} MB on disk and {forecast['memory_bytes'] / 1e9:.1f} GB of memory"]
    return [*lines, f"{forecast['multiply_adds']:.3g} multiply-adds in total, counting a backward pass as two forward passes"]
