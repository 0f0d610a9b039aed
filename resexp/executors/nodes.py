"""What a node of a cluster is asked before anything is trained there: whether it shares the folder, and what is installed."""

import platform
from collections.abc import Sequence
from pathlib import Path

import resexp


def versions() -> list[str]:
    from importlib.metadata import version  # noqa: PLC0415 - needed here alone

    return [resexp.__version__, version("torch"), platform.python_version()]


def answer(place: Path, node: str) -> Path:
    """.probe.<node>.<word> beside .probe.<word>."""
    return place.with_name(f"{place.stem}.{node}{place.suffix}")


def probe(place: Path, word: str, node: str) -> list[str]:
    """What this node reads there, and its versions; it answers beside what it read."""
    try:
        found = place.read_text(encoding="utf-8")
        if found == word:
            answer(place, node).write_text(word, encoding="utf-8")
    except OSError as error:
        found = f"{type(error).__name__}: {error.strerror}"
    return [found, *versions()]


def mismatch_message(address: str, folder: Path, word: str, told: Sequence[str]) -> str:
    if told[0] != word:
        advice = "--runs must lie on storage that all nodes share, at one path"
        return f"node {address} does not share {folder} ({told[0]}); {advice}"
    pairs = zip(("resexp", "torch", "Python"), told[1:], versions(), strict=True)
    differing = [f"{name} {there}, not {here}" for name, there, here in pairs if there != here]
    return f"node {address} has {' and '.join(differing)}"
