"""Fencing of a stack, across hosts: the latest attempt to train it takes over, and an earlier one stops before it writes."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resexp.runs.files import RunsError, with_filename, write_guard, write_text
from resexp.runs.locks import Lease, assert_held, removed_after


class SupersededError(RunsError):
    """Another attempt trains this stack now."""


@contextmanager
def attempt(lease: Lease, stack: str) -> Iterator[None]:
    """Makes this the current attempt: its token is stored next to the checkpoints and is checked before every write.

    A lock is not enough: it works on one host only, and a process that is cut off from its cluster can hold it indefinitely.

    Raises:
        SupersededError: another attempt has taken over, possibly an older one that started late.
        RunsError: the lease is no longer held. In both cases this attempt writes nothing more.
    """
    assert_held(lease)
    path, token = attempt_file(lease.folder, stack), uuid.uuid4().hex
    with with_filename(path.parent):
        path.parent.mkdir(exist_ok=True)
    write_text(path, token, durable=False)

    def guard() -> None:
        assert_held(lease)
        if not _is_current(path, token):
            raise SupersededError(f"{path}: another attempt trains this stack; this one has stopped writing")

    with removed_after(path, lambda: _is_current(path, token)), write_guard(guard):
        yield


def attempt_file(folder: Path, stack: str) -> Path:
    return folder / "checkpoints" / f".{stack}.attempt"


def _is_current(path: Path, token: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == token
    except FileNotFoundError:  # the attempt that took over has finished
        return False
