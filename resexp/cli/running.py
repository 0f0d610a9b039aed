"""What `train` and `reproduce` share: processes and how they are stopped, the display, and how it went."""

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.live import Live

from resexp import config, runs
from resexp.cli.program import FAILED, log

Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Jobs = Annotated[str, typer.Option(help="Processes that train at once: a number, or auto by the cores.")]
BreakLock = Annotated[bool, typer.Option("--break-lock", help="Take over from a process of another host that runs no more.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


WARNINGS = 4  # about pairs, printed before training
FIRST_LAUNCH_OPTIONS = ("--fresh", "--break-lock")  # options of a start that its continuation must not repeat


def processes(text: str) -> int | None:
    """The number behind --jobs, None for auto."""
    if text == "auto":
        return None
    if not text.isdecimal() or text == "0":
        raise config.ConfigError(f"{text!r} is neither auto nor a number of processes, 1 or more", where="--jobs")
    return int(text)


@contextmanager
def stopping(pool: Any) -> Iterator[list[int]]:
    """The first signal to stop asks the workers to save and stop, the second ends them; yields the signals seen."""
    from resexp import executors  # noqa: PLC0415 - as above

    seen: list[int] = []

    def heard(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            pool.kill()
            os._exit(_code(number))
        threading.Thread(target=pool.stopping.set).start()  # this may have come while we look at it, and hold its lock
        log("stopping after this step; once more to stop at once")

    heeded = [number for number in executors.STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, heard) for number in heeded}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class WithoutRay:
    """A stream that drops what Ray's own threads print: pages of a node's log, in the middle of results."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if threading.current_thread().name.startswith("ray_") else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def shard_of(text: str | None) -> tuple[int, int] | None:
    """(i, n) behind --shard i/n, i from 1 to n."""
    if text is None:
        return None
    number, slash, shards = text.partition("/")
    if not (slash and number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise config.ConfigError(f"{text!r} is not i/n with i from 1 to n, such as 1/8", where="--shard")
    return int(number), int(shards)


def prepare(executor: Any, experiment: config.Experiment, plan: config.Plan | None, *, quiet: bool) -> dict[str, Any]:
    """What must be known before anything is written; says so where images are fetched for it."""
    from resexp import tables  # noqa: PLC0415 - `--help` starts without it

    if experiment.shared.data.download and not quiet:
        log(f"{experiment.shared.data.name}: fetched first, unless its files are there")
    found: dict[str, Any] = executor.prepare(experiment, plan)
    for remark in [*found["remarks"], *config.limits(experiment.shared)]:
        log(remark)
    warnings = list(
        dict.fromkeys(
            f"{pair_summary['cell']}, {line}"
            for pair_summary in found["pair_summaries"]
            for line in tables.pair_warnings(pair_summary)
        )
    )
    for line in warnings[:WARNINGS]:
        log(line)
    if len(warnings) > WARNINGS:
        log(f"and {len(warnings) - WARNINGS} more such lines; --dry-run prints all")
    return found


def with_data(experiment: config.Experiment, asked: str | None) -> config.Experiment:
    """A finished experiment with its images where they are on this machine.

    In the folder that is `asked` for (--data); else where they were; else in RESEXP_DATA, an image folder under its own name
    there.

    Raises:
        ConfigError: no such folder.
    """
    data = experiment.shared.data
    if asked is not None:
        root = config.expanded(asked, "--data")
        if not root.is_dir():
            raise config.ConfigError(f"{root}: no such folder", where="--data")
        return config.with_data_root(experiment, str(root))
    if data.root is None or data.download or Path(os.path.expandvars(Path(data.root).expanduser())).exists():
        return experiment
    if not (named := os.environ.get("RESEXP_DATA")):
        cure = "name their folder with --data DIR, or set RESEXP_DATA"
        raise config.ConfigError(
            f"{data.root}: no such folder on this machine; the images were read from there; {cure}", where="data.root"
        )
    root = config.expanded(named, "RESEXP_DATA")
    if data.name == "image-folder" and (root / Path(data.root).name).is_dir():
        root /= Path(data.root).name
    log(f"data.root is {data.root}, which does not exist here; images are read from {root} (RESEXP_DATA)")
    return config.with_data_root(experiment, str(root))


def carry_out(
    executor: Any,
    folder: Path,
    experiment: config.Experiment,
    plan: Callable[[config.Plan | None], config.Plan],
    prepared: dict[str, Any],
    *,
    shard: tuple[int, int] | None = None,
    break_lock: bool,
    quiet: bool,
    watch: Callable[[Path, Iterable[str]], Callable[[], None]] | None = None,
) -> set[str]:
    """Trains what is not finished, shown as it goes on, and writes down how accurate it became; returns whose turn it was.

    plan: makes it from the one that stands in the folder, once that is held. watch: what it gives for the trials in a folder
    is called now and then, and at the end.
    """
    from resexp import executors, tables  # noqa: PLC0415 - `--help` starts without them

    made: list[config.Plan] = []

    def begin() -> None:
        made.append(plan(runs.read_plan(folder)))
        if made[0].device != prepared["device"]:
            there, here = made[0].device, prepared["device"]
            raise runs.RunsError(
                f"{folder}: was planned for {there}, and this is {here}; type the same command again to train on {there}"
            )
        executor.attach(folder, made[0], prepared)
        pair_summaries = config.with_rounds(prepared["pair_summaries"], experiment, made[0])
        restored = runs.begin(
            experiment, folder, made[0], runs.launch_entry(prepared, ["resexp", *sys.argv[1:]]), pair_summaries
        )
        if restored:
            log(f"{folder}: {runs.CHANGED}; restored in {restored} files")

    with _continuable(), _held(folder, begin, shard, break_lock=break_lock) as lease:
        stacks = executors.of_shard(made[0], shard)
        ours = {name for stack in stacks for name in stack.trials}
        for message in runs.damaged_checkpoints(folder, [stack.name for stack in stacks]):
            log(message)
        ticks = executors.train_stacks(executor, lease, experiment, made[0], shard)
        shown = replace(experiment, trials=tuple(trial for trial in experiment.trials if trial.name in ours))
        shown = replace(shown, name=f"{shown.name}, shard {shard[0]} of {shard[1]}") if shard else shown
        _follow(_watched(ticks, watch(folder, ours), folder) if watch else ticks, folder, shown, quiet=quiet)
        with runs.whole_lock(lease):
            tables.write_accuracy(runs.results_of(folder, experiment))
    return ours


@contextmanager
def _held(folder: Path, begin: Callable[[], None], shard: tuple[int, int] | None, *, break_lock: bool) -> Iterator[runs.Lease]:
    """The folder for this process alone, or a shard of it beside others."""
    if shard is None:
        with runs.lock(folder, break_lock=break_lock) as lease:
            begin()
            yield lease
    else:
        with runs.lock_shard(folder, shard, begin, break_lock=break_lock) as lease:
            yield lease


def _watched(ticks: Iterator[None], watcher: Callable[[], None], folder: Path) -> Iterator[None]:
    """The same ticks; a watcher that fails is given up, and training goes on."""
    fine = True
    for tick in chain(ticks, [None]):
        try:
            if fine:
                watcher()
        except (runs.RunsError, OSError) as error:
            fine = False
            command = shlex.join(["resexp", "export", "tensorboard", str(folder)])
            log(f"curves: {error}; training continues without them; `{command}` writes what is missing")
        yield tick


def bring_up_to_date(
    folder: Path, experiment: config.Experiment, shard: tuple[int, int] | None, *, break_lock: bool
) -> set[str]:
    """Writes what follows from the results of an experiment that `runs.is_complete`; returns whose turn it was."""
    from resexp import executors, tables  # noqa: PLC0415 - as above

    plan = runs.read_plan(folder)
    with _held(folder, lambda: None, shard, break_lock=break_lock) as lease, runs.whole_lock(lease):
        if shard is None:
            runs.remove_temporary_files(folder)
        tables.write_accuracy(runs.results_of(folder, experiment))
    return {name for stack in executors.of_shard(plan, shard) for name in stack.trials} if plan else set()


def print_summary(
    folder: Path,
    experiment: config.Experiment,
    interrupted: Sequence[int],
    ours: Collection[str] | None = None,
    *,
    lead: str = "",
) -> int:
    """Prints a summary that begins with `lead`; returns the exit code for these trials.

    ours: the trials whose turn it was, all where it is None.
    """
    from resexp import tables  # noqa: PLC0415 - as above

    records = [record for record in runs.trial_records(folder, experiment) if ours is None or record.trial.name in ours]
    bad = [record for record in records if record.state in ("failed", "damaged")]
    whose = "" if len(records) == len(experiment.trials) else " of this shard"
    log(f"{lead}{tables.progress_text(records, f'trials{whose}')}; results in {folder}")
    for record in bad:
        log(f"{record.state}: {record.trial.name}: {record.reason or 'unknown reason'}")
    for line in tables.dead_trials(records):
        log(line)
    if interrupted:
        log(f"interrupted; continue with: {_command()}")
        return _code(interrupted[0])
    return FAILED if bad else 0


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
    """The command that continues this one."""
    return shlex.join(["resexp", *(argument for argument in sys.argv[1:] if argument not in FIRST_LAUNCH_OPTIONS)])


def _follow(ticks: Iterator[None], folder: Path, experiment: config.Experiment, *, quiet: bool) -> None:
    """Shows the state of the experiment's trials in runs/ while they are being trained."""
    from resexp import screen  # noqa: PLC0415 - as above

    finished: dict[str, screen.TrialRow] = {}
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
                live.update(screen.render(shot, *console.size), refresh=True)
    else:
        printed = dict.fromkeys(finished, -1)
        for _ in ticks:
            rows = screen.snapshot(folder, experiment, 0.0, finished).rows
            for line in screen.epoch_lines(folder, rows, printed):
                log(line)
