"""`resexp train`: plans, trains, and says how it went."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from resexp import config, runs
from resexp.cli.program import ConfigArgument, Overrides, Runs, app, check_choice, log, print_result, stages
from resexp.cli.running import (
    BreakLock,
    Device,
    Jobs,
    Quiet,
    WithoutRay,
    bring_up_to_date,
    carry_out,
    prepare,
    print_summary,
    processes,
    shard_of,
    stopping,
)

EXECUTORS = {"local": "processes of this machine", "ray": "a Ray cluster"}


@app.command()
def train(
    source: ConfigArgument,
    overrides: Overrides = None,
    *,
    runs_dir: Runs = Path("runs"),
    device: Device = None,
    jobs: Jobs = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be trained, write nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Set an older experiment of that name aside first.")] = False,
    break_lock: BreakLock = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    executor: Annotated[str, typer.Option(help="local, or ray: a cluster, see docs/cluster.md.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster; default RAY_ADDRESS, else this machine.")] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Train every N-th stack only, from the I-th on.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files as it goes on.")] = False,
) -> None:
    """Train every trial of an experiment; the same command continues one that was stopped."""
    from resexp import trackers  # noqa: PLC0415 - `--help` starts without them

    of_shard, asked = _asked(executor, shard, jobs, fresh=fresh)
    changes = [*(overrides or []), *([f"device={device}"] if device else [])]
    experiment, folder, other = runs.target(source, changes, runs_dir, fresh=fresh)
    if other:
        log(f"{other} has other settings or more trials; this experiment is trained as {folder.name}")
    if not fresh:
        runs.check_unchanged(experiment, folder)
    if tensorboard:
        trackers.need_tensorboard()
    if not (fresh or dry_run or tensorboard) and runs.is_complete(experiment, folder):
        ours = bring_up_to_date(folder, experiment, of_shard, break_lock=break_lock)
        _end(experiment, folder, ours, as_json=as_json, lead="nothing to train: ")
    with (
        ExitStack() as starting,
        redirect_stdout(WithoutRay(sys.stdout)),
        _executor(executor, address, asked, starting.enter_context(stages(quiet=quiet or as_json))) as pool,
        stopping(pool) as interrupted,
    ):
        existing_plan = None if fresh else runs.read_plan(folder)
        prepared = prepare(pool, experiment, existing_plan, quiet=quiet or as_json)

        def planned(existing: config.Plan | None) -> config.Plan:
            shards = of_shard[1] if of_shard else None
            return config.make_plan(experiment, prepared["device"], prepared["cores"], existing, shards)

        if dry_run:
            plan = planned(existing_plan)
            forecast = pool.forecast(experiment, plan)
            starting.close()
            print_result(_plan_text(experiment, plan, prepared, forecast, executor))
            return
        starting.close()
        aside = runs.archive(folder) if fresh else None
        if aside:
            log(f"the older experiment is now {aside}")
        ours = carry_out(
            pool, folder, experiment, planned, prepared,
            shard=of_shard, break_lock=break_lock, quiet=quiet or as_json, watch=trackers.live if tensorboard else None,
        )  # fmt: skip
    _end(experiment, folder, ours, interrupted, as_json=as_json)


def _executor(executor: str, address: str | None, jobs: int | None, announce: Callable[[str], None]) -> Any:
    from resexp import executors  # noqa: PLC0415 - as above

    return executors.Cluster(address, announce) if executor == "ray" else executors.Pool(jobs, announce)


def _end(
    experiment: config.Experiment,
    folder: Path,
    ours: set[str],
    interrupted: Sequence[int] = (),
    *,
    as_json: bool,
    lead: str = "",
) -> NoReturn:
    """Prints a summary and ends the program with its exit code."""
    from resexp import comparison, tables  # noqa: PLC0415 - as above

    if as_json:
        print_result(tables.TABLES["json"](comparison.compare_results(runs.results_of(folder, experiment))))
    sys.exit(print_summary(folder, experiment, interrupted, ours, lead=lead))


def _asked(executor: str, shard: str | None, jobs: str, *, fresh: bool) -> tuple[tuple[int, int] | None, int | None]:
    """(shard, processes) as they were asked for; refuses what does not go together."""
    check_choice("--executor", executor, EXECUTORS)
    of_shard, asked = shard_of(shard), processes(jobs)
    if executor == "ray" and (of_shard or asked):
        option = "--shard" if of_shard else "--jobs"
        raise config.ConfigError(f"{option} means nothing beside it: Ray decides who trains what", where="--executor ray")
    if of_shard and fresh:
        raise config.ConfigError("other shards would lose their folder; rename it, or choose name=...", where="--fresh")
    return of_shard, asked


def _plan_text(
    experiment: config.Experiment, plan: config.Plan, prepared: dict[str, Any], forecast: dict[str, Any], executor: str
) -> str:
    from resexp import screen, tables  # noqa: PLC0415 - as above

    pair_summaries = config.with_rounds(prepared["pair_summaries"], experiment, plan)
    largest = max(len(stack.trials) for stack in plan.stacks)
    lines = [f"{experiment.name}: {len(experiment.trials)} trials in {len(plan.stacks)} stacks of up to {largest}"]
    lines += [experiment.question] if experiment.question else []
    if executor == "ray":
        lines += [f"{plan.device}, {plan.threads} thread(s) a task; wall time by tasks at once:"]
        lines += [f"  {at_once:>5}  {screen.clock(seconds)}" for at_once, seconds in forecast["walls"].items()]
        lines += [f"  the longest stack takes {screen.clock(forecast['longest'])}: nothing makes the whole shorter"]
    else:
        seconds, startup = (screen.clock(forecast[key]) for key in ("seconds", "startup"))
        lines += [f"{plan.device}, {plan.threads} thread(s) a process: about {seconds}, {startup} of it to start"]
    lines += [f"about {forecast['disk_bytes'] / 1e6:,.0f} MB on disk and {forecast['memory_bytes'] / 1e9:.1f} GB of memory"]
    lines += [f"{forecast['multiply_adds']:.3g} multiply-adds in all, backward counted as two forward"]
    lines += [f"  {trial.name}  {prepared['steps'][trial.name]} steps" for trial in experiment.trials]
    return "\n".join(tables.fitted([*lines, *tables.pair_summary_lines(pair_summaries)]))
