"""Atomic save and load of tensors: weights, and the state from which a stack continues."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from resexp import runs


def packed(state: dict[str, Any]) -> bytes:
    """What torch writes of a state; the same state gives the same bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def save_tensors(path: Path, state: dict[str, Any]) -> None:
    """Writes weights, whole or not at all; tensors are moved to the CPU by torch on loading, not here."""
    runs.write_bytes(path, packed(state))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint with its checksum, whole or not at all; the one before it is kept."""
    path.parent.mkdir(exist_ok=True)
    runs.write_with_digest(path, packed(state))


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The state in a checkpoint, or in the one before it where that is missing or damaged; None while there is none.

    Raises:
        RunsError: damaged, both of them.
    """
    damaged: list[runs.RunsError] = []
    for file in (path, runs.previous_path(path)):
        try:
            content = runs.read_with_digest(file)
            state = None if content is None else _unpacked(file, content, device)
        except runs.RunsError as error:
            damaged.append(error)
            continue
        if state is not None:
            if damaged:
                path.unlink()  # lest the next checkpoint keep it in the place of the sound one
            return state
    if damaged:
        raise damaged[0]
    return None


def _unpacked(file: Path, content: bytes, device: torch.device) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except (EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
        raise runs.RunsError(f"{file}: damaged (no checkpoint)") from None
    return state
