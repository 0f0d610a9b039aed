"""What the tests of commands share: what a command answers, and the files of an experiment."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

FREE = {"timing.csv", "status.json", "environment.json"}  # what may differ between two trainings of one plan


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Program = Callable[..., Answer]


def files(folder: Path) -> dict[str, bytes]:
    """Every file of an experiment that two trainings of one plan have in common."""
    common = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in common
        if path.name not in FREE and not path.name.lstrip(".").startswith("lock")
    }


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and modification time of every file, except the lock file, which an older filelock truncates."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}
