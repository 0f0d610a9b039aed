"""Atomic save and load of tensors: weights, and the state from which a cohort continues."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from resexp import runs


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes the state whole or not at all; tensors are moved to the CPU by torch on loading, not here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    runs.write_bytes(path, buffer.getvalue())


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The state in a file, None while there is none.

    Raises:
        RunsError: damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
        raise runs.RunsError(f"{path}: damaged checkpoint; delete it to train its trials from the start") from None
    return state
