"""Line endings of an experiment's text files: git with core.autocrlf rewrites them on checkout. No torch."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from resexp.runs.files import TEXT_SUFFIXES, write_bytes, write_text

ATTRIBUTES = ".gitattributes"
CHANGED = "line endings were changed (git autocrlf)"


def write_attributes(folder: Path) -> None:
    """Writes the file that makes git store and check out an experiment byte for byte."""
    if not (folder / ATTRIBUTES).exists():
        write_text(folder / ATTRIBUTES, "* -text\n", durable=False)


def line_endings_changed(folder: Path) -> bool:
    """Whether git has rewritten an experiment, by its own files and those of one trial."""
    trial_path = next((folder / "trials").glob("*"), None)
    folders = [folder, *([trial_path] if trial_path else [])]
    return any(_is_changed(path) for parent in folders for path in parent.glob("*") if path.suffix in TEXT_SUFFIXES)


def restore_line_endings(folder: Path) -> int:
    """Restores the original line endings of all text files and returns their number; no other process may be writing."""
    changed = list(_changed(folder))
    for path in changed:
        write_bytes(path, path.read_bytes().replace(b"\r\n", b"\n"))
    return len(changed)


def _changed(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix in TEXT_SUFFIXES and _is_changed(path))


def _is_changed(path: Path) -> bool:
    return path.is_file() and b"\r\n" in path.read_bytes()


def text_sha256(path: Path) -> str:
    """The SHA-256 digest of a text file with its original line endings."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
