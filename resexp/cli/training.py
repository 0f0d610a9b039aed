"""`resexp train`: plans, trains, and says how it went."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from resexp import config, runs
from resexp.cli.program import ConfigArgument, Overrides, Runs, app, note, say
from resexp.cli.running import BreakLock, Device, Jobs, Quiet, carry_out, conclude, prepare, processes, stopping


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
) -> None:
    """Train every trial of an experiment; the same command continues one that was stopped."""
    from resexp import comparison, executors, tables  # noqa: PLC0415 - `--help` starts without them

    experiment = config.load(source, [*(overrides or []), *([f"device={device}"] if device else [])])
    folder = runs_dir / experiment.name
    if not fresh:
        runs.check_unchanged(experiment, folder)
    asked = processes(jobs)
    with executors.Pool(asked or min(2, executors.cores())) as pool, stopping(pool) as interrupted:
        existing = None if fresh else runs.read_plan(folder)
        prepared = prepare(pool, experiment, existing, quiet=quiet or as_json)
        plan = config.make_plan(experiment, prepared["device"], executors.cores(), existing)
        pool.resize(executors.jobs_for(plan.threads, asked, plan.device))
        if dry_run:
            say(_plan_text(experiment, plan, prepared, executors.forecast(pool, experiment, plan)))
            return
        aside = runs.set_aside(folder) if fresh else None
        if aside:
            note(f"the older experiment is now {aside}")
        carry_out(pool, folder, experiment, plan, prepared, break_lock=break_lock, quiet=quiet or as_json)
    if as_json:
        say(tables.TABLES["json"](comparison.compared(runs.results_of(folder, experiment))))
    sys.exit(conclude(folder, experiment, interrupted))


def _plan_text(
    experiment: config.Experiment, plan: config.Plan, prepared: dict[str, Any], forecast: tuple[float, float, float]
) -> str:
    from resexp import screen, tables  # noqa: PLC0415 - as above

    seconds, disk, memory = forecast
    cards = config.with_rounds(prepared["cards"], experiment, plan)
    largest = max(len(cohort.trials) for cohort in plan.cohorts)
    lines = [f"{experiment.name}: {len(experiment.trials)} trials in {len(plan.cohorts)} cohorts of up to {largest}"]
    lines += [experiment.question] if experiment.question else []
    lines += [f"{plan.device}, {plan.threads} thread(s) a process: about {screen.clock(seconds)} of training"]
    lines += [f"about {disk / 1e6:,.0f} MB on disk and {memory / 1e9:.1f} GB of memory"]
    lines += [f"  {trial.name}  {prepared['steps'][trial.name]} steps" for trial in experiment.trials]
    return "\n".join(tables.fitted([*lines, *tables.card_lines(cards)]))
