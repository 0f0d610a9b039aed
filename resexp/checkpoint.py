"""Atomic saving and loading of tensors: weights, and checkpoints from which a stack resumes."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from resexp import runs


def serialize(state: dict[str, Any]) -> bytes:
    """The bytes that torch.save writes; equal states give equal bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def save_tensors(path: Path, state: dict[str, Any]) -> None:
    """Writes weights atomically; torch moves tensors to the CPU on loading, not here."""
    runs.write_bytes(path, serialize(state))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint with its checksum atomically, and keeps the previous one."""
    path.parent.mkdir(exist_ok=True)
    runs.write_with_digest(path, serialize(state))


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The state in a checkpoint, or in the previous one if that is missing or damaged; None if there is no checkpoint.

    Raises:
        RunsError: no valid checkpoint is left.
    """
    damaged: list[runs.RunsError] = []
    for file in (path, runs.previous_path(path)):
        try:
            if (content := runs.read_with_digest(file)) is None:
                continue
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        except runs.RunsError as error:
            damaged.append(error)
        except (EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
            damaged.append(runs.RunsError(f"{file}: damaged (not a checkpoint)"))
        else:
            if damaged:
                path.unlink()  # otherwise the next checkpoint would replace the valid previous one with the damaged one
            return state
    if damaged:
        raise damaged[0]
    return None
