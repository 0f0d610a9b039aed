"""One attempt at a stack, on whatever host: who comes later takes over, and the earlier one stops before it writes again."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from resexp.runs.files import RunsError, with_filename, write_guard, write_text
from resexp.runs.locks import Lease, assert_held


class SupersededError(RunsError):
    """Another attempt trains this stack now."""


@contextmanager
def attempt(lease: Lease, stack: str) -> Iterator[None]:
    """Makes this the attempt that counts: its token lies beside the checkpoints, and is asked for before every write.

    A lock does not do that: it holds on one host, and a process that is cut off from its cluster may hold one for ever.

    Raises:
        SupersededError: another attempt has taken over, maybe one that is older and was slow to begin.
        RunsError: what it trains for is not held any more. Either way nothing of this attempt is written from then on.
    """
    assert_held(lease)
    place, token = attempt_file(lease.folder, stack), uuid.uuid4().hex
    with with_filename(place.parent):
        place.parent.mkdir(exist_ok=True)
    write_text(place, token, durable=False)

    def guard() -> None:
        assert_held(lease)
        if not _holds(place, token):
            raise SupersededError(f"{place}: another attempt trains this stack; this one writes no more")

    try:
        with write_guard(guard):
            yield
    finally:
        with suppress(OSError):  # what broke before is what is to be told
            if _holds(place, token):
                place.unlink()


def attempt_file(folder: Path, stack: str) -> Path:
    return folder / "checkpoints" / f".{stack}.attempt"


def _holds(place: Path, token: str) -> bool:
    try:
        return place.read_text(encoding="utf-8") == token
    except FileNotFoundError:  # the attempt that took over has finished
        return False
