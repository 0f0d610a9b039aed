"""Who writes: one process an experiment, one worker a stack. No torch."""

import os
import platform
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from resexp.runs.files import RunsError, with_filename, write_guard, write_json
from resexp.runs.records import read_record

WHOLE = "lock.json"  # the record of who trains the whole
NAMING_ROUNDS = 50  # of 0.02 seconds, in which lock.json should follow the lock
BEGIN_SECONDS = 60.0  # that a shard waits for others to have written the plan
ORPHAN_SECONDS = 10.0  # that a worker whose parent has died may take to notice it


class Lease(NamedTuple):
    """What a process holds: an experiment, or a shard of it, for as long as its record says this word."""

    folder: Path
    record: str
    token: str


def assert_held(lease: Lease) -> None:
    """Looks whether it is still held, on whatever host this runs.

    Raises:
        RunsError: another process has taken over; nothing is to be written any more.
    """
    found = _read(lease.folder / lease.record)
    if not _says(found, lease):
        by = f"{_named(found)} has taken over" if found else f"{lease.record} is not there any more"
        raise RunsError(f"{lease.folder}: {by}; this process writes no more")


def _says(found: dict[str, Any] | None, lease: Lease) -> bool:
    return found is not None and found.get("word") == lease.token


@contextmanager
def lock(folder: Path, *, break_lock: bool = False) -> Iterator[Lease]:
    """Holds the experiment for this process; lock.json says who does.

    The system drops the lock of a process that dies, so what such a one left behind on this host is taken over. Whether a
    process of another host still lives cannot be seen from here: only `break_lock` takes over from it, and if it does live
    it writes nothing any more.

    Raises:
        RunsError: another process holds it, or a shard of it; there is no such place.
        OSError: nowhere to write.
    """
    with _whole(folder, 0.0):
        _take_over(folder, [WHOLE, *_shards(folder)], break_lock=break_lock)
        with _recorded(folder, WHOLE) as lease:
            yield lease


@contextmanager
def lock_shard(folder: Path, shard: tuple[int, int], begin: Callable[[], None], *, break_lock: bool = False) -> Iterator[Lease]:
    """Holds one shard of the experiment, (2, 60), beside other shards of 60; lock.2-of-60.json says who does.

    `begin` writes what all shards share while this one has the whole, which it waits for as long as others do so.

    Raises:
        RunsError: a process trains the whole, this shard, or one of another number of shards; there is no such place.
        OSError: nowhere to write.
    """
    record = f"lock.{shard[0]}-of-{shard[1]}.json"
    with _whole(folder, BEGIN_SECONDS) as held:
        others = [name for name in _shards(folder) if not name.endswith(f"-of-{shard[1]}.json")]
        _take_over(folder, [WHOLE, record, *others], break_lock=break_lock)
        with _shard_lock(folder, record).acquire(timeout=0), _recorded(folder, record) as lease:
            begin()
            held.release()
            yield lease


def whole_lock(lease: Lease) -> AbstractContextManager[object]:
    """For what all shards share: nobody else begins, or writes of that, meanwhile.

    Raises:
        RunsError: another process has had the whole for too long.
    """
    return nullcontext() if lease.record == WHOLE else _whole(lease.folder, BEGIN_SECONDS)


def _whole(folder: Path, patience: float) -> AbstractContextManager[filelock.BaseFileLock]:
    if folder.is_symlink():
        raise RunsError(f"{folder}: a link; name the folder that it leads to with --runs")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with with_filename(folder / ".lock"):
            return filelock.FileLock(folder / ".lock").acquire(timeout=patience)
    except filelock.Timeout:
        raise RunsError(f"{folder}: {_first(folder)} is training here; wait for it, or choose another name=...") from None
    except (NotADirectoryError, FileExistsError) as error:
        raise RunsError(f"{folder}: cannot be written ({error.strerror}); choose another place with --runs") from None


def _take_over(folder: Path, records: Iterable[str], *, break_lock: bool) -> None:
    """Removes what dead processes have left; refuses where one runs, or may run: of another host, unless `break_lock`.

    The caller has the whole, so nobody on this host trains it; of a shard its own lock says whether its process lives.
    """
    for record in records:
        left = _read(folder / record)
        if record != WHOLE and not _is_free(_shard_lock(folder, record)):
            shard = record.removeprefix("lock.").removesuffix(".json").replace("-of-", "/")
            advice = "wait for it, choose another name=..., or another shard of as many"
            raise RunsError(f"{folder}: {_named(left)} trains shard {shard} here; {advice}")
        if left and left["host"] != platform.node() and not break_lock:
            raise RunsError(f"{folder}: {_named(left)} is training here; if it runs no more, add --break-lock")
        (folder / record).unlink(missing_ok=True)


def _shards(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("lock.*-of-*.json"))


def _shard_lock(folder: Path, record: str) -> filelock.BaseFileLock:
    return filelock.FileLock(folder / f".{record.removesuffix('.json')}")


def _is_free(held: filelock.BaseFileLock) -> bool:
    try:
        held.acquire(timeout=0).lock.release()
    except filelock.Timeout:
        return False
    return True


@contextmanager
def _recorded(folder: Path, record: str) -> Iterator[Lease]:
    """The record says that this process holds it; nothing is written here once it says something else."""
    lease = Lease(folder, record, uuid.uuid4().hex)
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / record, {"host": platform.node(), "process": os.getpid(), "time": stamp, "word": lease.token})
    with _removed_after(folder / record, lambda: _says(_read(folder / record), lease)), write_guard(lambda: assert_held(lease)):
        yield lease


@contextmanager
def lock_stack(folder: Path, stack: str) -> Iterator[None]:
    """Holds a stack for this worker: one that has lost its parent may need a moment to go.

    Raises:
        RunsError: it does not go.
    """
    place = stack_lock(folder, stack)
    place.parent.mkdir(exist_ok=True)
    held = filelock.FileLock(place)
    try:
        with with_filename(place):
            held.acquire(timeout=ORPHAN_SECONDS)
    except filelock.Timeout:
        raise RunsError(f"{place}: a worker of an earlier start still trains this stack; end it first") from None
    try:
        with _removed_after(place):  # nothing will be written any more: whoever comes now finds a checkpoint or results
            yield
    finally:
        held.release()


def stack_lock(folder: Path, stack: str) -> Path:
    return folder / "checkpoints" / f".{stack}.lock"


@contextmanager
def _removed_after(path: Path, still_ours: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Removes a file in the end; when something else has gone wrong by then, that is what is told."""
    told: AbstractContextManager[None] = suppress(OSError)
    try:
        yield
        told = nullcontext()
    finally:
        with told:
            if still_ours():
                path.unlink()


def holder(folder: Path) -> dict[str, Any] | None:
    """Who trains the whole here, as lock.json has it: host, process, time; None for nobody."""
    return _read(folder / WHOLE)


def _read(place: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] | None = read_record(place)
    except RunsError:  # what cannot be read names nobody
        return None
    return found


def is_training(folder: Path) -> bool:
    """Whether somebody may be training here, a shard too: not, if it was a process of this host that is gone."""
    return any((found := _read(place)) is not None and _may_live(found) for place in folder.glob("lock*.json"))


def is_alone(folder: Path) -> bool:
    """Whether nobody but this process may be training here, whatever it holds itself."""
    held = [found for place in folder.glob("lock*.json") if (found := _read(place)) is not None and _may_live(found)]
    return all(found["host"] == platform.node() and found["process"] == os.getpid() for found in held)


def _may_live(found: dict[str, Any]) -> bool:
    return bool(found["host"] != platform.node() or _lives(found["process"]))


def _first(folder: Path) -> str:
    """Who came first; it may not have had the time to say so."""
    for _ in range(NAMING_ROUNDS):
        if is_training(folder):
            break
        time.sleep(0.02)
    return _named(holder(folder))


def _lives(process: int) -> bool:
    """Whether a process of this host runs; yes where that cannot be asked."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _named(found: dict[str, Any] | None) -> str:
    return f"process {found['process']} on {found['host']}, since {found['time']}," if found else "another resexp"
