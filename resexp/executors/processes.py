"""A worker process: how it is started, and the reason why it could not start or has ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import spawn
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from resexp.executors import workers

HINT = "; PYTHONFAULTHANDLER=1 in the environment prints where"
MEANINGS = {  # of signals: signal(7), and their usual cause in numerical libraries
    "SIGABRT": f"native code called abort(){HINT}",
    "SIGBUS": f"a crash in native code{HINT}",
    "SIGFPE": f"a crash in native code{HINT}",
    "SIGILL": f"native code uses an instruction that this processor does not have{HINT}",
    "SIGSEGV": f"a crash in native code{HINT}",
    "SIGSYS": "the system forbids a call that native code made",
    "SIGXCPU": "the limit of processor time was exceeded",
}
NT_STATUS = {  # exit codes by which Windows names a crash, NTSTATUS values of ntstatus.h
    0xC0000005: f"access violation, a crash in native code{HINT}",
    0xC0000017: "not enough memory",
    0xC000001D: "native code uses an instruction that this processor does not have",
    0xC00000FD: f"stack overflow in native code{HINT}",
    0xC0000409: f"native code called abort(){HINT}",
}
LESS_MEMORY = "train fewer at once (--jobs 1, a smaller training.stack), or use a smaller network or training.batch_size"
START_SECONDS = 60.0  # for an interpreter to start
EXIT_CODE_SECONDS = 10.0  # until the exit code of a process that has ended is known


class EndedError(Exception):
    """A worker process ended during a task. The message is a predicate such as "was ended by SIGSEGV"."""


# ---- messages -----------------------------------------------------------------------------------------------------------


def how_it_ended(code: int | None, kills: dict[str, int], kills_at_start: dict[str, int]) -> str:
    """Describes the end of a process: "was ended by SIGSEGV (a crash in native code; ...)".

    code: as in `multiprocessing.Process.exitcode`, negative for a signal; None if unknown.
    kills: `memory_kills` now, and as it was when the process started.
    """
    if code is None:
        return "ended, its exit code is unknown"
    if code >= 0:
        meaning = f" ({NT_STATUS[code]})" if code in NT_STATUS else ""
        return f"ended with exit code {code if code < 0x80000000 else hex(code)}{meaning}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"was ended by signal {-code}"
    if name != "SIGKILL":
        return f"was ended by {name}" + (f" ({MEANINGS[name]})" if name in MEANINGS else "")
    more = max((kills[file] - kills_at_start.get(file, 0) for file in kills), default=None)
    if more is None:
        return "was ended by SIGKILL (by the system when memory runs out, or from outside: the kernel does not report which)"
    if more:
        counted = f"the kernel has counted {more} out-of-memory kill{'s' if more > 1 else ''} since it began"
        return f"was ended by SIGKILL as memory ran out ({counted}); {LESS_MEMORY}"
    return "was ended by SIGKILL (from outside: the kernel has counted no out-of-memory kill since it began)"


def memory_kills() -> dict[str, int]:
    """How many processes the kernel has killed since boot because memory ran out, by the file that has the count.

    On this machine, and in the control group of this process; empty if the system does not provide it.
    """
    files = [Path("/proc/vmstat")]
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, group = line.split(":", 2)
        if not controllers:  # version 2
            files.append(Path(f"/sys/fs/cgroup{group}/memory.events"))
        elif "memory" in controllers.split(","):
            files.append(Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control"))
    counts = {}
    for file in files:
        for key, _, value in (line.partition(" ") for line in _lines(file)):
            if key == "oom_kill":
                counts[str(file)] = int(value)
    return counts


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def not_started(reason: str) -> ChildProcessError:
    """A worker process that cannot be started: which program, and why."""
    return ChildProcessError(f"a worker process could not be started ({os.fsdecode(spawn.get_executable())}): {reason}")


def check_start() -> None:
    """Starts the interpreter of the workers once, with an empty program.

    A pool cannot report why it fails: it only detects that its pipes have no reader.

    Raises:
        ChildProcessError: it cannot be started, or ends with an error.
    """
    command = [spawn.get_executable(), "-I", "-S", "-c", ""]
    kills = memory_kills()
    try:
        done = subprocess.run(command, capture_output=True, timeout=START_SECONDS, check=False)  # noqa: S603 - the interpreter
    except subprocess.TimeoutExpired:
        raise not_started(f"it has not answered within {START_SECONDS:.0f} s") from None
    except OSError as error:
        raise not_started(error.strerror or str(error)) from None
    if done.returncode:
        errors = done.stderr.decode(errors="replace").split("\n")
        last = next((" ".join(line.split()) for line in reversed(errors) if line.strip()), "")
        how = how_it_ended(done.returncode, memory_kills(), kills)
        raise not_started(f"it {how}{f': {last}' if last else ''}")


# ---- workers --------------------------------------------------------------------------------------------------------------


@contextmanager
def block_signals() -> Iterator[None]:
    """Blocks signals: a process that starts meanwhile inherits the mask until it ignores them."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, workers.STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker:
    """A process that runs one task after another, in a separate executor, so that its death affects no other process."""

    def __init__(self, context: SpawnContext, stopping: Event) -> None:
        """Starts the process, which first imports what tasks need; then the future `arrival` is done.

        Raises:
            ChildProcessError: the system refuses to start another process.
        """
        self._kills = memory_kills()
        self._executor = ProcessPoolExecutor(1, context, initializer=workers.init_worker, initargs=(stopping,))
        try:
            with block_signals():
                self.arrival: Future[None] = self._executor.submit(workers.warm_up)
        except BrokenPipeError:
            raise not_started("it ended before it had read its task") from None
        except OSError as error:
            raise not_started(error.strerror or str(error)) from None
        (self._process,) = (self._executor._processes or {}).values()  # noqa: SLF001 - it hides how its process ended

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        return self._executor.submit(function, *arguments)

    def shutdown(self, *, wait: bool, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)

    def death(self) -> EndedError | ChildProcessError:
        """The exception for a process that broke its executor: ChildProcessError if it never started."""
        # A thread of the executor also waits for the process, and only one of the two receives the exit code at once.
        until = time.monotonic() + EXIT_CODE_SECONDS
        while (code := self._process.exitcode) is None and time.monotonic() < until:
            time.sleep(0.01)
        how = how_it_ended(code, memory_kills(), self._kills)
        arrived = self.arrival.done() and self.arrival.exception() is None
        return EndedError(how) if arrived else not_started(f"it {how}")
