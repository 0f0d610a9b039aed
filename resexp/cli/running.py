"""Code that `train` and `reproduce` share: processes and how they stop, the live display, and the summary."""

import os
import shlex
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.live import Live

from resexp import config, runs
from resexp.cli.program import FAILED, log

DeviceOption = Annotated[str | None, typer.Option(help="Device: auto, cpu, cuda, cuda:1 or mps.")]
JobsOption = Annotated[str, typer.Option(help="Number of parallel processes, or auto (from the number of cores).")]
BreakLockOption = Annotated[bool, typer.Option("--break-lock", help="Take over the lock of a dead process on another host.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Print one line per trial and epoch.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Hide progress output.")]


LINE_SECONDS = 10.0  # between two lines of progress
MAX_WARNINGS = 4  # about pairs, printed before training
FIRST_LAUNCH_OPTIONS = ("--fresh", "--break-lock")  # left out of the command that resumes


def processes(text: str) -> int | None:
    """The value of --jobs as a number; None for auto."""
    if text == "auto":
        return None
    if not text.isdecimal() or text == "0":
        raise config.ConfigError(f"{text!r} is neither auto nor a number of processes, 1 or more", where="--jobs")
    return int(text)


@contextmanager
def stopping(pool: Any) -> Iterator[list[int]]:
    """Yields the list of received stop signals. The first one asks the workers to save and stop, the second one kills them."""
    from resexp import executors  # noqa: PLC0415 - as above

    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            pool.kill()
            os._exit(_exit_code(number))
        threading.Thread(target=pool.stopping.set).start()  # the interrupted code may hold its lock
        log("stopping after this step; press Ctrl-C again to stop immediately")

    handled = [number for number in executors.STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
    previous = {number: signal.signal(number, handle) for number in handled}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class WithoutRay:
    """A stream that drops the output of Ray's threads, which print pages of a node's log between results."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if threading.current_thread().name.startswith("ray_") else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def shard_of(text: str | None) -> tuple[int, int] | None:
    """(i, n) of --shard i/n, with i from 1 to n."""
    if text is None:
        return None
    number, slash, shards = text.partition("/")
    if not (slash and number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise config.ConfigError(f"{text!r} is not i/n with i from 1 to n, such as 1/8", where="--shard")
    return int(number), int(shards)


def prepare(executor: Any, experiment: config.Experiment, plan: config.Plan | None, *, quiet: bool) -> dict[str, Any]:
    """Data, pairs and device, checked before anything is written; prints remarks and warnings."""
    from resexp import tables  # noqa: PLC0415 - `--help` starts without it

    if experiment.shared.data.download and not quiet:
        log(f"{experiment.shared.data.name}: downloading its files first, unless they already exist")
    prepared: dict[str, Any] = executor.prepare(experiment, plan)
    for remark in [*prepared["remarks"], *config.limits(experiment.shared)]:
        log(remark)
    labels = tables.cell_labels(experiment)
    warnings = list(
        dict.fromkeys(
            f"{tables.cell_text(summary.cell, labels)}, {line}"
            for summary in prepared["pair_summaries"]
            for line in tables.pair_warnings(summary)
        )
    )
    for line in warnings[:MAX_WARNINGS]:
        log(line)
    if len(warnings) > MAX_WARNINGS:
        log(f"and {len(warnings) - MAX_WARNINGS} more warnings; --dry-run prints all of them")
    return prepared


def with_data(experiment: config.Experiment, data_option: str | None) -> config.Experiment:
    """A finished experiment whose data.root is the folder with its images on this machine.

    The folder is the first of: --data; the stored data.root, if it exists; $RESEXP_DATA, or the folder of the same name in it
    for an image folder.
    """
    data = experiment.shared.data
    if data_option is not None:
        root = config.expanded(data_option, "--data")
        if not root.is_dir():
            raise config.ConfigError(f"{root}: no such folder", where="--data")
        return config.with_data_root(experiment, str(root))
    if data.root is None or data.download or Path(os.path.expandvars(Path(data.root).expanduser())).exists():
        return experiment
    if not (variable := os.environ.get("RESEXP_DATA")):
        hint = "name their folder with --data DIR, or set RESEXP_DATA"
        raise config.ConfigError(
            f"{data.root}: no such folder on this machine, although the images were read from it; {hint}", where="data.root"
        )
    root = config.expanded(variable, "RESEXP_DATA")
    if data.name == "image-folder" and (root / Path(data.root).name).is_dir():
        root /= Path(data.root).name
    log(f"data.root is {data.root}, which does not exist here; images are read from {root} (RESEXP_DATA)")
    return config.with_data_root(experiment, str(root))


def carry_out(
    executor: Any,
    folder: Path,
    experiment: config.Experiment,
    prepared: dict[str, Any],
    *,
    plan: config.Plan | None = None,
    shard: tuple[int, int] | None = None,
    break_lock: bool,
    quiet: bool,
    verbose: bool,
    watch: Callable[[Path, Iterable[str]], Callable[[], None]] | None = None,
    write_tables: Callable[[runs.Results], object] | None = None,
) -> set[str]:
    """Trains an experiment or shard with messages and a display, see `executors.training`; returns the names of its trials.

    watch: returns, for a folder and the names of trials, a function that is called regularly and at the end.
    write_tables: default is `tables.write_accuracy`.
    """
    from resexp import executors, tables  # noqa: PLC0415 - `--help` starts without them

    command = ["resexp", *sys.argv[1:]]
    write = write_tables or tables.write_accuracy
    session = executors.training(
        executor, folder, experiment, prepared, command, write, plan=plan, shard=shard, break_lock=break_lock
    )
    with _resume_hint(), session as training:
        for remark in training.remarks:
            log(remark)
        names = {trial.name for trial in training.experiment.trials}
        ticks = _watched(training.ticks, watch(folder, names), folder) if watch else training.ticks
        _follow(ticks, folder, training.experiment, quiet=quiet, verbose=verbose)
    return names


def _watched(ticks: Iterator[None], watcher: Callable[[], None], folder: Path) -> Iterator[None]:
    """The same ticks; a watcher that fails is no longer called, and training continues."""
    active = True
    for tick in chain(ticks, [None]):
        try:
            if active:
                watcher()
        except (runs.RunsError, OSError) as error:
            active = False
            command = shlex.join(["resexp", "export", "tensorboard", str(folder)])
            log(f"cannot write TensorBoard curves: {error}. Training continues; run `{command}` later to write them")
        yield tick


def print_summary(
    folder: Path,
    experiment: config.Experiment,
    interrupted: Sequence[int],
    names: Collection[str] | None = None,
    *,
    lead: str = "",
) -> int:
    """Prints a summary that begins with `lead`; returns the exit code.

    names: the trials to summarize; None means all.
    """
    from resexp import tables  # noqa: PLC0415 - as above

    records = [record for record in runs.trial_records(folder, experiment) if names is None or record.trial.name in names]
    failed = [record for record in records if record.state in ("failed", "damaged")]
    part = "" if len(records) == len(experiment.trials) else " of this shard"
    log(f"{lead}{tables.progress_text(records, f'trials{part}')}; results in {folder}")
    for record in failed:
        log(f"{record.state}: {record.trial.name}: {record.reason or 'unknown reason'}")
    for line in tables.dead_trials(records):
        log(line)
    if interrupted:
        log(f"interrupted; continue with: {_resume_command()}")
        return _exit_code(interrupted[0])
    return FAILED if failed else 0


@contextmanager
def _resume_hint() -> Iterator[None]:
    """Adds to an error of the disk that nothing is lost, and the command that resumes."""
    try:
        yield
    except OSError as error:
        error.add_note(f"everything written before is intact; continue with: {_resume_command()}")
        raise


def _exit_code(number: int) -> int:
    """130 for Ctrl-C, 143 for all other stop signals."""
    return 130 if number == signal.SIGINT else 143


def _resume_command() -> str:
    """The command that resumes this one."""
    return shlex.join(["resexp", *(argument for argument in sys.argv[1:] if argument not in FIRST_LAUNCH_OPTIONS)])


def _follow(ticks: Iterator[None], folder: Path, experiment: config.Experiment, *, quiet: bool, verbose: bool) -> None:
    """Shows the state of the trials during training: live on a terminal, elsewhere one line now and then."""
    from resexp import screen  # noqa: PLC0415 - as above

    if quiet:
        deque(ticks, maxlen=0)  # trains to the end
        return
    current, console, shown_at = screen.snapshot_reader(folder, experiment), Console(stderr=True), time.monotonic()
    if verbose:
        printed = {row.trial.name: -1 for row in current().rows if row.state == "finished"}
        for _ in ticks:
            for line in screen.epoch_lines(folder, current().rows, printed):
                log(line)
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for _ in ticks:
                live.update(screen.render(current(), *console.size), refresh=True)
    else:
        for _ in ticks:
            if time.monotonic() - shown_at >= LINE_SECONDS:
                shown_at = time.monotonic()
                log(screen.progress_line(current()))
