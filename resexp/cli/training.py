"""`resexp train`: plans, starts workers, shows what they write, and says how it went."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from resexp import config, runs
from resexp.cli.program import FAILED, ConfigArgument, Overrides, Runs, app, note, say


@app.command()
def train(
    source: ConfigArgument,
    overrides: Overrides = None,
    *,
    runs_dir: Runs = Path("runs"),
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
    jobs: Annotated[str, typer.Option(help="Processes that train at once: a number, or auto by the cores.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be trained, write nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Set an older experiment of that name aside first.")] = False,
    break_lock: Annotated[
        bool, typer.Option("--break-lock", help="Take over from a process of another host that runs no more.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Train every trial of an experiment; the same command continues one that was stopped."""
    from resexp import executors, tables  # noqa: PLC0415 - `--help` starts without them

    experiment = config.load(source, [*(overrides or []), *([f"device={device}"] if device else [])])
    folder = runs_dir / experiment.name
    if not fresh:
        runs.check_unchanged(experiment, folder)
    asked = _jobs(jobs)
    with executors.Pool(asked or min(2, executors.cores())) as pool, _stopping(pool) as interrupted:
        if experiment.shared.data.download and not (quiet or as_json):
            note(f"{experiment.shared.data.name}: fetched first, unless its files are there")
        existing = None if fresh else runs.read_plan(folder)
        prepared = executors.prepare(pool, experiment, existing)
        plan = config.make_plan(experiment, prepared["device"], executors.cores(), existing)
        cards = config.with_rounds(prepared["cards"], experiment, plan)
        pool.resize(executors.jobs_for(plan.threads, asked, plan.device))
        if dry_run:
            forecast = executors.forecast(pool, experiment, plan)
            say(_plan_text(experiment, plan, {**prepared, "cards": cards}, forecast))
            return
        aside = runs.set_aside(folder) if fresh else None
        if aside:
            note(f"the older experiment is now {aside}")
        with _continuable(), runs.lock(folder, break_lock=break_lock):
            start = runs.start_entry(prepared, ["resexp", *sys.argv[1:]])
            runs.begin(experiment, folder, plan, start, cards)
            for message in runs.damaged_checkpoints(folder):
                note(message)
            _follow(executors.train_cohorts(pool, folder, experiment, plan), folder, experiment, quiet=quiet or as_json)
            tables.write_accuracy(runs.results_of(folder, experiment))
    _conclude(folder, experiment, interrupted, as_json=as_json)


def _jobs(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or text == "0":
        raise config.ConfigError(f"{text!r} is neither auto nor a number of processes, 1 or more", where="--jobs")
    return int(text)


def _conclude(folder: Path, experiment: config.Experiment, interrupted: list[int], *, as_json: bool) -> None:
    from resexp import tables  # noqa: PLC0415 - as above

    states = runs.states(folder, experiment)
    if as_json:
        say(tables.as_json(runs.results_of(folder, experiment)))
    finished = sum(state.state == "finished" for state in states)
    bad = [state for state in states if state.state in ("failed", "damaged")]
    note(f"{finished} of {len(states)} trials finished; results in {folder}")
    for state in bad:
        note(f"{state.state}: {state.trial.name}: {state.reason or 'unknown reason'}")
    if interrupted:
        note(f"interrupted; continue with: {_command()}")
        sys.exit(_code(interrupted[0]))
    if bad:
        sys.exit(FAILED)


@contextmanager
def _continuable() -> Iterator[None]:
    """Where a disk fails, says that nothing is lost."""
    try:
        yield
    except OSError as error:
        error.add_note(f"what was written before is whole; continue with: {_command()}")
        raise


def _code(number: int) -> int:
    """130 for Ctrl-C, 143 for all other ways of being told to stop."""
    return 130 if number == signal.SIGINT else 143


def _command() -> str:
    return shlex.join(["resexp", *sys.argv[1:]])


@contextmanager
def _stopping(pool: Any) -> Iterator[list[int]]:
    """The first signal to stop asks the workers to save and stop, the second ends them; yields the signals seen."""
    from resexp import executors  # noqa: PLC0415 - as above

    seen: list[int] = []

    def heard(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            pool.kill()
            os._exit(_code(number))
        pool.stopping.set()
        note("stopping after this step; once more to stop at once")

    heeded = [number for number in executors.STOPPING if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, heard) for number in heeded}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _follow(ticks: Iterator[None], folder: Path, experiment: config.Experiment, *, quiet: bool) -> None:
    """Shows what lies in runs/ while the trials are being trained."""
    from resexp import screen  # noqa: PLC0415 - as above

    finished: dict[str, screen.Row] = {}
    begun = time.monotonic()
    before = screen.work_done(screen.snapshot(folder, experiment, 0.0, finished).rows)
    console = Console(stderr=True)
    if quiet:
        for _ in ticks:
            pass
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for _ in ticks:
                shot = screen.snapshot(folder, experiment, time.monotonic() - begun, finished, before)
                live.update(screen.render(shot), refresh=True)
    else:
        printed = dict.fromkeys(finished, -1)
        for _ in ticks:
            screen.snapshot(folder, experiment, 0.0, finished)
            for line in screen.epoch_lines(folder, experiment, printed, finished):
                note(line)


def _plan_text(
    experiment: config.Experiment, plan: config.Plan, prepared: dict[str, Any], forecast: tuple[float, float, float]
) -> str:
    from resexp import screen, tables  # noqa: PLC0415 - as above

    seconds, disk, memory = forecast
    largest = max(len(cohort.trials) for cohort in plan.cohorts)
    lines = [f"{experiment.name}: {len(experiment.trials)} trials in {len(plan.cohorts)} cohorts of up to {largest}"]
    lines += [experiment.question] if experiment.question else []
    lines += [f"{plan.device}, {plan.threads} thread(s) a process: about {screen.clock(seconds)} of training"]
    lines += [f"about {disk / 1e6:,.0f} MB on disk and {memory / 1e9:.1f} GB of memory"]
    lines += [f"  {trial.name}  {prepared['steps'][trial.name]} steps" for trial in experiment.trials]
    return "\n".join(tables.fitted([*lines, *tables.card_lines(prepared["cards"])]))
