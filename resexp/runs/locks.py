"""Who writes: one process an experiment, one worker a cohort. No torch."""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from resexp.runs.files import RunsError, naming, write_json
from resexp.runs.records import read_record

NAMING_ROUNDS = 50  # of 0.02 seconds, in which lock.json should follow the lock
BEGIN_SECONDS = 60.0  # that a shard waits for others to have written the plan
ORPHAN_SECONDS = 10.0  # that a worker whose parent has died may take to notice it


@contextmanager
def lock(folder: Path, *, break_lock: bool = False) -> Iterator[None]:
    """Holds the experiment for this process; lock.json says who does.

    The system drops the lock of a process that dies, so what such a one left behind on this host is taken over. Whether a
    process of another host still lives cannot be seen from here: only `break_lock` takes over from it.

    Raises:
        RunsError: another process holds it, or a shard of it; there is no such place.
        OSError: nowhere to write.
    """
    with _held(folder, 0.0):
        _refuse(folder, "lock*.json", break_lock=break_lock)
        write_json(folder / "lock.json", _ourselves())
        with _removed_after(folder / "lock.json"):
            yield


@contextmanager
def lock_shard(folder: Path, shard: str, begin: Callable[[], None], *, break_lock: bool = False) -> Iterator[None]:
    """Holds one shard of the experiment, `2-of-60`, beside other shards; lock.2-of-60.json says who does.

    `begin` writes what all shards share while this one holds the whole, which it waits for as long as others begin.

    Raises:
        RunsError: a process trains the whole, or this shard; there is no such place.
        OSError: nowhere to write.
    """
    record = folder / f"lock.{shard}.json"
    own = filelock.FileLock(folder / f".lock.{shard}")
    with _held(folder, BEGIN_SECONDS):
        _refuse(folder, "lock.json", break_lock=break_lock)
        try:
            own.acquire(timeout=0)
        except filelock.Timeout:
            raise RunsError(f"{folder}: {_named(_read(record))} trains shard {shard}; wait for it") from None
        _refuse(folder, record.name, break_lock=break_lock)
        begun = False
        try:
            write_json(record, _ourselves())
            begin()
            begun = True
        finally:
            if not begun:
                with suppress(OSError):
                    record.unlink()
                own.release()
    try:
        with _removed_after(record):
            yield
    finally:
        own.release()


@contextmanager
def _held(folder: Path, patience: float) -> Iterator[None]:
    if folder.is_symlink():
        raise RunsError(f"{folder}: a link; name the folder that it leads to with --runs")
    held = filelock.FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with naming(folder / ".lock"):
            held.acquire(timeout=patience)
    except filelock.Timeout:
        raise RunsError(f"{folder}: {_first(folder)} is training here; wait for it, or choose another name=...") from None
    except (NotADirectoryError, FileExistsError) as error:
        raise RunsError(f"{folder}: cannot be written ({error.strerror}); choose another place with --runs") from None
    try:
        yield
    finally:
        held.release()


def _refuse(folder: Path, records: str, *, break_lock: bool) -> None:
    """Refuses where one of these processes runs, or may run: of another host, unless `break_lock`."""
    for place in sorted(folder.glob(records)):
        left = _read(place)
        if left is None or not _may_live(left):
            continue
        if left["host"] != platform.node():
            if not break_lock:
                raise RunsError(f"{folder}: {_named(left)} is training here; if it runs no more, add --break-lock")
        elif place.name != "lock.json":  # the lock itself says that nobody on this host trains the whole
            raise RunsError(f"{folder}: {_named(left)} trains a shard here; wait for it, or choose another name=...")


@contextmanager
def lock_cohort(folder: Path, cohort: str) -> Iterator[None]:
    """Holds a cohort for this worker: one that has lost its parent may need a moment to go.

    Raises:
        RunsError: it does not go.
    """
    place = cohort_lock(folder, cohort)
    place.parent.mkdir(exist_ok=True)
    held = filelock.FileLock(place)
    try:
        with naming(place):
            held.acquire(timeout=ORPHAN_SECONDS)
    except filelock.Timeout:
        raise RunsError(f"{place}: a worker of an earlier start still trains this cohort; end it first") from None
    try:
        with _removed_after(place):  # nothing will be written any more: whoever comes now finds a checkpoint or results
            yield
    finally:
        held.release()


def cohort_lock(folder: Path, cohort: str) -> Path:
    return folder / "checkpoints" / f".{cohort}.lock"


@contextmanager
def _removed_after(path: Path) -> Iterator[None]:
    """Removes a file in the end; when something else has gone wrong by then, that is what is told."""
    told: AbstractContextManager[None] = suppress(OSError)
    try:
        yield
        told = nullcontext()
    finally:
        with told:
            path.unlink()


def holder(folder: Path) -> dict[str, Any] | None:
    """Who trains the whole here, as lock.json has it: host, process, time; None for nobody."""
    return _read(folder / "lock.json")


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


def _ourselves() -> dict[str, Any]:
    return {"host": platform.node(), "process": os.getpid(), "time": datetime.now(UTC).isoformat(timespec="seconds")}


def _named(found: dict[str, Any] | None) -> str:
    return f"process {found['process']} on {found['host']}, since {found['time']}," if found else "another resexp"
