"""Worker processes: messages about how one ended, or why one could not be started."""

import multiprocessing
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import pytest
from commands import Program

from resexp import executors
from resexp.executors import processes, workers
from resexp.executors.processes import EndedError, Worker, how_it_ended

MEMORY = ("memory ran out", "memory runs out")


# ---- messages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "before", "now", "start"),
    [
        (1, {}, {}, "ended with exit code 1"),
        (-11, {}, {}, "was ended by SIGSEGV (a crash in native code"),
        (-6, {}, {}, "was ended by SIGABRT (native code called abort()"),
        (-15, {}, {}, "was ended by SIGTERM"),
        (-99, {}, {}, "was ended by signal 99"),
        (0xC0000005, {}, {}, "ended with exit code 0xc0000005 (access violation"),
        (None, {}, {}, "ended, its exit code is unknown"),
        (-9, {}, {}, "was ended by SIGKILL (by the system when memory runs out, or from outside"),
        (-9, {"vmstat": 2}, {"vmstat": 2}, "was ended by SIGKILL (from outside"),
        (-9, {"vmstat": 2}, {"vmstat": 3}, "was ended by SIGKILL as memory ran out"),
        (-9, {"vmstat": 2, "group": 0}, {"vmstat": 2, "group": 1}, "was ended by SIGKILL as memory ran out"),
    ],
    ids=str,
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_the_end_of_a_process_is_described_as_far_as_known(
    code: int | None, before: dict[str, int], now: dict[str, int], start: str
):
    assert how_it_ended(code, now, before).startswith(start)


@pytest.mark.parametrize("code", [-number for number in signal.Signals if number.name != "SIGKILL"] + [0, 1, 137])
def test_memory_is_mentioned_only_if_a_process_was_killed(code: int):
    message = how_it_ended(code, {"vmstat": 7}, {"vmstat": 2})

    assert [phrase for phrase in MEMORY if phrase in message] == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these counts")
def test_out_of_memory_kills_are_counted_by_the_kernel():
    counted = [line.split()[1] for line in Path("/proc/vmstat").read_text().splitlines() if line.startswith("oom_kill ")]

    assert processes.memory_kills().get("/proc/vmstat") == (int(counted[0]) if counted else None)


# ---- processes that end ---------------------------------------------------------------------------------------------------


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Worker]]:
    """Starts workers with another function in place of `warm_up`, which would import torch."""
    context, started = multiprocessing.get_context("spawn"), []

    def new_worker(warm_up: Any) -> Worker:
        monkeypatch.setattr(processes.workers, "warm_up", warm_up)
        started.append(Worker(context, context.Event()))
        return started[-1]

    yield new_worker
    for worker in started:
        worker.shutdown(wait=True)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])
def test_a_signal_that_ends_a_worker_is_named(name: str, start: Callable[[Any], Worker]):
    worker = start(os.getpid)
    with pytest.raises(BrokenProcessPool):
        worker.submit(signal.raise_signal, signal.Signals[name]).result()
    death = worker.death()

    assert isinstance(death, EndedError)
    assert str(death).startswith(f"was ended by {name}")


def test_the_exit_code_is_named_each_time(start: Callable[[Any], Worker]):
    worker = start(os.getpid)
    with pytest.raises(BrokenProcessPool):
        worker.submit(os._exit, 41).result()

    assert [str(worker.death()) for _ in range(3)] == ["ended with exit code 41"] * 3


def test_a_worker_that_ends_during_its_warm_up_could_not_be_started(start: Callable[[Any], Worker]):
    worker = start(os.abort)
    with pytest.raises(BrokenProcessPool):
        worker.arrival.result()
    death = worker.death()

    assert isinstance(death, ChildProcessError)
    assert str(death).startswith(f"a worker process could not be started ({sys.executable}): it was ended by SIGABRT")


class _Dead:
    """A worker whose process has crashed."""

    def __init__(self, worker: Any) -> None:
        self.arrival, self.shutdown = worker.arrival, worker.shutdown

    def submit(self, *_task: Any) -> Any:
        raise BrokenProcessPool

    def death(self) -> EndedError:
        return EndedError("was ended by SIGSEGV")


@pytest.mark.parametrize("command", ["probe", "time", "train", "dry run"])
def test_every_command_names_the_signal_that_ended_a_worker(
    command: str, in_process: None, call: Program, tiny_file: Path, monkeypatch: Any
):
    new_worker = executors.Pool._worker
    monkeypatch.setattr(executors.Pool, "_worker", lambda pool: _Dead(new_worker(pool)))
    arguments = {"dry run": ["train", tiny_file, "--dry-run"]}.get(command, [command, tiny_file])
    answer = call(*arguments)

    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("resexp: ")
    assert answer.err.endswith(": the worker process was ended by SIGSEGV\n")
    assert answer.err.count("\n") == 1


# ---- processes that cannot be started ---------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="programs of POSIX")
@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        pytest.param("#!/bin/sh\nexit 1\n", 0o755, "it ended with exit code 1", id="ends immediately"),
        pytest.param(
            "#!/bin/sh\necho 'not today' >&2\nexit 5\n", 0o755, "it ended with exit code 5: not today", id="prints a reason"
        ),
        pytest.param("#!/bin/sh\nkill -SEGV $$\n", 0o755, "it was ended by SIGSEGV", id="crashes"),
        pytest.param("#!/bin/sh\n", stat.S_IRUSR, "Permission denied", id="not executable"),
        pytest.param(None, 0, "No such file or directory", id="missing"),
    ],
)
def test_a_pool_names_the_program_that_cannot_be_started_and_the_reason(
    text: str | None, mode: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    python = tmp_path / "python"
    if text is not None:
        python.write_text(text)
        python.chmod(mode)
    monkeypatch.setattr(spawn, "_python_exe", os.fsencode(python))
    with pytest.raises(ChildProcessError) as caught:
        executors.Pool(1)

    assert str(caught.value).startswith(f"a worker process could not be started ({python}): {reason}")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BlockingIOError(11, "Resource temporarily unavailable"), "Resource temporarily unavailable"),
        (OSError(12, "Cannot allocate memory"), "Cannot allocate memory"),
        (BrokenPipeError(32, "Broken pipe"), "it ended before it had read its task"),
    ],
)
def test_if_the_system_refuses_to_start_a_process_its_reason_is_named(
    error: OSError, reason: str, start: Any, monkeypatch: Any
):
    def refuse(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr(processes.ProcessPoolExecutor, "submit", refuse)
    with pytest.raises(ChildProcessError, match=f"could not be started .*: {reason}"):
        start(os.getpid)


def test_a_broken_pipe_other_than_stdout_is_reported(in_process: None, call: Program, tiny_file: Path, monkeypatch: Any):
    def broken(*_arguments: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(workers, "initial_diagnostics", broken)
    answer = call("probe", tiny_file)

    assert (answer.code, answer.out, answer.err.count("\n")) == (1, "", 1)
    assert "BrokenPipeError" in answer.err
