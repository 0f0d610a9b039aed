"""Who writes: one process an experiment, one worker a cohort. No torch."""

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from resexp.runs.files import RunsError, naming, write_json
from resexp.runs.records import read_record

NAMING_ROUNDS = 50  # of 0.02 seconds, in which lock.json should follow the lock
ORPHAN_SECONDS = 10.0  # that a worker whose parent has died may take to notice it


@contextmanager
def lock(folder: Path, *, break_lock: bool = False) -> Iterator[None]:
    """Holds the experiment for this process; lock.json says who does.

    The system drops the lock of a process that dies, so what such a one left behind on this host is taken over. Whether a
    process of another host still lives cannot be seen from here: only `break_lock` takes over from it.

    Raises:
        RunsError: another process holds it; there is no such place.
        OSError: nowhere to write.
    """
    if folder.is_symlink():
        raise RunsError(f"{folder}: a link; name the folder that it leads to with --runs")
    held = filelock.FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with naming(folder / ".lock"):
            held.acquire(timeout=0)
    except filelock.Timeout:
        raise RunsError(f"{folder}: {_first(folder)} is training here; wait for it, or choose another name=...") from None
    except (NotADirectoryError, FileExistsError) as error:
        raise RunsError(f"{folder}: cannot be written ({error.strerror}); choose another place with --runs") from None
    try:
        left = holder(folder)
        if left and left["host"] != platform.node() and not break_lock:
            raise RunsError(f"{folder}: {_named(left)} is training here; if it runs no more, add --break-lock")
        write_json(folder / "lock.json", _ourselves())
        with _removed_after(folder / "lock.json"):
            yield
    finally:
        held.release()


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
    """Who trains here, as lock.json has it: host, process, time; None for nobody."""
    try:
        found: dict[str, Any] | None = read_record(folder / "lock.json")
    except RunsError:  # what cannot be read names nobody
        return None
    return found


def is_training(folder: Path) -> bool:
    """Whether somebody may be training here: not, if it was a process of this host that is gone."""
    found = holder(folder)
    return found is not None and (found["host"] != platform.node() or _lives(found["process"]))


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
