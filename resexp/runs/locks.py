"""Locks: one writing process for each experiment or shard, one worker for each stack. No torch."""

import os
import platform
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import filelock

from resexp.runs.files import RunsError, with_filename, write_guard, write_json
from resexp.runs.records import HOLDER, Holder, read_record

EXPERIMENT_RECORD = "lock.json"  # the record of the process that trains the whole experiment
RECORD_POLLS = 50  # of 0.02 seconds, while lock.json may not have been written yet
BEGIN_SECONDS = 60.0  # wait of a shard for others that write the plan
ORPHAN_SECONDS = 10.0  # wait for a worker whose parent has died to end


class Lease(NamedTuple):
    """Exclusive access to an experiment or a shard of it, valid as long as its record in `folder` contains this token."""

    folder: Path
    record: str
    token: str


def assert_held(lease: Lease) -> None:
    """Checks that a lease is still held, from any host.

    Raises:
        RunsError: another process has taken over; nothing more may be written.
    """
    process = _read(lease.folder / lease.record)
    if not _has_token(process, lease):
        reason = f"{_description(process)} has taken over" if process else f"{lease.record} no longer exists"
        raise RunsError(f"{lease.folder}: {reason}; this process has stopped writing")


def _has_token(process: Holder | None, lease: Lease) -> bool:
    return process is not None and process.token == lease.token


@contextmanager
def lock(
    folder: Path, begin: Callable[[], None] = lambda: None, *, shard: tuple[int, int] | None = None, break_lock: bool = False
) -> Iterator[Lease]:
    """Locks the experiment, or a shard such as (2, 60), for this process; lock.json or lock.2-of-60.json records the process.

    `begin` writes the files that all shards share, under the lock of the whole experiment, after any other shard that does so.

    The operating system releases the lock of a process that dies, so its experiment can be taken over on this host. Whether a
    process on another host is still running is unknown here. Only `break_lock` takes over from it; if it is still running, it
    stops writing.

    Raises:
        RunsError: another process holds the experiment, this shard, or a shard of another n; the folder cannot be created.
        OSError: the folder is not writable.
    """
    record = f"lock.{shard[0]}-of-{shard[1]}.json" if shard else EXPERIMENT_RECORD
    with _experiment_lock(folder, BEGIN_SECONDS if shard else 0.0) as file_lock:
        others = [name for name in _shards(folder) if not (shard and name.endswith(f"-of-{shard[1]}.json"))]
        _take_over(folder, dict.fromkeys([EXPERIMENT_RECORD, record, *others]), break_lock=break_lock)
        with (
            _shard_lock(folder, record).acquire(timeout=0) if shard else nullcontext(),
            _recorded(folder, record) as lease,
        ):
            begin()
            if shard:
                file_lock.release()
            yield lease


def experiment_lock(lease: Lease) -> AbstractContextManager[object]:
    """The lock for files that all shards share: meanwhile no other shard starts or writes them.

    Raises:
        RunsError: another process has held the lock for too long.
    """
    return nullcontext() if lease.record == EXPERIMENT_RECORD else _experiment_lock(lease.folder, BEGIN_SECONDS)


def _experiment_lock(folder: Path, timeout: float) -> AbstractContextManager[filelock.BaseFileLock]:
    if folder.is_symlink():
        raise RunsError(f"{folder}: is a symbolic link; specify the folder that it points to with --runs")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with with_filename(folder / ".lock"):
            return filelock.FileLock(folder / ".lock").acquire(timeout=timeout)
    except filelock.Timeout:
        raise RunsError(f"{folder}: {_occupant(folder)} is training here; wait for it, or choose another name=...") from None
    except (NotADirectoryError, FileExistsError) as error:
        raise RunsError(f"{folder}: cannot be written ({error.strerror}); choose another folder with --runs") from None


def _take_over(folder: Path, records: Iterable[str], *, break_lock: bool) -> None:
    """Removes records of dead processes; refuses if a process is running or, without `break_lock`, may be on another host.

    The caller holds the lock of the whole experiment, so no process on this host trains it. Each shard has a lock of its own.
    """
    for record in records:
        process = _read(folder / record)
        if record != EXPERIMENT_RECORD and not _is_free(_shard_lock(folder, record)):
            shard = record.removeprefix("lock.").removesuffix(".json").replace("-of-", "/")
            advice = "wait for it, choose another name=..., or another shard with the same N"
            raise RunsError(f"{folder}: {_description(process)} trains shard {shard} here; {advice}")
        if process and process.host != platform.node() and not break_lock:
            advice = "if it is no longer running, add --break-lock"
            raise RunsError(f"{folder}: {_description(process)} is training here; {advice}")
        (folder / record).unlink(missing_ok=True)


def _shards(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("lock.*-of-*.json"))


def _shard_lock(folder: Path, record: str) -> filelock.BaseFileLock:
    return filelock.FileLock(folder / f".{record.removesuffix('.json')}")


def _is_free(shard_lock: filelock.BaseFileLock) -> bool:
    try:
        shard_lock.acquire(timeout=0).lock.release()
    except filelock.Timeout:
        return False
    return True


@contextmanager
def _recorded(folder: Path, record: str) -> Iterator[Lease]:
    """Records this process as the holder; once the record names another one, nothing more is written here."""
    lease = Lease(folder, record, uuid.uuid4().hex)
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    path = folder / record
    write_json(path, Holder(host=platform.node(), process=os.getpid(), time=stamp, token=lease.token).content)
    with removed_after(path, lambda: _has_token(_read(path), lease)), write_guard(lambda: assert_held(lease)):
        yield lease


@contextmanager
def lock_stack(folder: Path, stack: str) -> Iterator[None]:
    """Locks a stack for this worker; a worker that has lost its parent may need a moment to end.

    Raises:
        RunsError: an earlier worker does not end.
    """
    path = stack_lock(folder, stack)
    path.parent.mkdir(exist_ok=True)
    file_lock = filelock.FileLock(path)
    try:
        with with_filename(path):
            file_lock.acquire(timeout=ORPHAN_SECONDS)
    except filelock.Timeout:
        raise RunsError(f"{path}: a worker of an earlier start still trains this stack; end that process first") from None
    try:
        with removed_after(path):  # by then this worker has stopped writing, and left a checkpoint or results
            yield
    finally:
        file_lock.release()


def stack_lock(folder: Path, stack: str) -> Path:
    return folder / "checkpoints" / f".{stack}.lock"


@contextmanager
def removed_after(path: Path, still_ours: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Removes a file at the end; an OSError of the removal does not hide an earlier exception."""
    errors: AbstractContextManager[None] = suppress(OSError)
    try:
        yield
        errors = nullcontext()
    finally:
        with errors:
            if still_ours():
                path.unlink()


def holder(folder: Path) -> Holder | None:
    """The process that trains the whole experiment, from lock.json; None if there is none."""
    return _read(folder / EXPERIMENT_RECORD)


def _read(path: Path) -> Holder | None:
    try:
        return read_record(path, HOLDER)
    except RunsError:  # a damaged record names no process
        return None


def is_training(folder: Path) -> bool:
    """Whether a process may be training the experiment or a shard; False if the recorded processes of this host have ended."""
    return any(_running(folder))


def is_sole_process(folder: Path) -> bool:
    """Whether no process other than this one may be training here."""
    return all(process.host == platform.node() and process.process == os.getpid() for process in _running(folder))


def _running(folder: Path) -> Iterator[Holder]:
    """The records of processes that may be running: those of other hosts cannot be checked."""
    for path in folder.glob("lock*.json"):
        process = _read(path)
        if process is not None and (process.host != platform.node() or _is_running(process.process)):
            yield process


def _occupant(folder: Path) -> str:
    """The process that holds the lock; it may not have written its record yet."""
    for _ in range(RECORD_POLLS):
        if is_training(folder):
            break
        time.sleep(0.02)
    return _description(holder(folder))


def _is_running(process: int) -> bool:
    """Whether a process of this host is running; True if the system does not provide this information."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _description(process: Holder | None) -> str:
    if process is None:
        return "another resexp process"
    return f"process {process.process} on {process.host}, since {process.time},"
