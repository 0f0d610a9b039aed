"""Checks of a cluster node before training: whether it shares the results folder, and which versions it has."""

import platform
from collections.abc import Sequence
from pathlib import Path

import resexp


def versions() -> list[str]:
    from importlib.metadata import version  # noqa: PLC0415 - used only here

    return [resexp.__version__, version("torch"), platform.python_version()]


def reply_path(path: Path, node: str) -> Path:
    """The path of a node's reply: .probe.<node>.<token> next to .probe.<token>."""
    return path.with_name(f"{path.stem}.{node}{path.suffix}")


def probe(path: Path, token: str, node: str) -> list[str]:
    """What this node reads from the file, and its versions; writes its reply next to the file."""
    try:
        content = path.read_text(encoding="utf-8")
        if content == token:
            reply_path(path, node).write_text(token, encoding="utf-8")
    except OSError as error:
        content = f"{type(error).__name__}: {error.strerror}"
    return [content, *versions()]


def mismatch_message(address: str, folder: Path, token: str, reply: Sequence[str]) -> str:
    if reply[0] != token:
        advice = "--runs must be on storage that all nodes share, at the same path"
        return f"node {address} does not share {folder} ({reply[0]}); {advice}"
    pairs = zip(("resexp", "torch", "Python"), reply[1:], versions(), strict=True)
    differing = [f"{name} {there}, not {here}" for name, there, here in pairs if there != here]
    return f"node {address} has {' and '.join(differing)}"
