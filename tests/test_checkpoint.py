"""Tensors are saved atomically and loaded bit for bit."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from resexp import checkpoint, runs
from resexp.runs import RunsError

CPU = torch.device("cpu")


def state() -> dict[str, Any]:
    """The content of the checkpoint of a stack after two steps."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    optimizer = torch.optim.Adam(network.parameters())
    for _ in range(2):
        network(torch.randn(5, 3, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    best = {"epoch": 1, "accuracy": 0.5, "loss": 1.25, "weights": network.state_dict()}
    return {"step": 2, "best": best, "network": network.state_dict(), "optimizer": optimizer.state_dict()}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a.dtype == b.dtype and torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_without_a_checkpoint_nothing_is_loaded(tmp_path: Path):
    assert checkpoint.load_checkpoint(tmp_path / "checkpoints" / "x.pt", CPU) is None
    assert list(tmp_path.iterdir()) == []


def test_a_state_is_loaded_bit_for_bit_and_the_previous_one_is_kept(tmp_path: Path):
    path = tmp_path / "checkpoints" / "x.pt"
    checkpoint.save_checkpoint(path, state())
    checkpoint.save_checkpoint(path, {**state(), "best": None})

    assert same(checkpoint.load_checkpoint(path, CPU), {**state(), "best": None})
    assert not same(checkpoint.load_checkpoint(path, CPU), state())
    assert sorted(path.parent.iterdir()) == [path.with_suffix(".previous"), path]
    path.unlink()
    assert same(checkpoint.load_checkpoint(path, CPU), state())


def test_a_checkpoint_is_not_written_if_its_experiment_was_deleted(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        checkpoint.save_checkpoint(tmp_path / "vanished" / "checkpoints" / "x.pt", state())

    assert list(tmp_path.iterdir()) == []


def test_equal_states_give_equal_bytes(tmp_path: Path):
    for name in ("a.pt", "b.pt"):
        checkpoint.save_tensors(tmp_path / name, state())

    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def truncate(path: Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])


@pytest.mark.parametrize("kept", [0, 1, 30, 0.1, 0.5, 0.9, -1])
def test_the_previous_checkpoint_replaces_a_truncated_one_and_is_kept(kept: float, tmp_path: Path):
    path = tmp_path / "x.pt"
    checkpoint.save_checkpoint(path, {**state(), "step": 1})
    checkpoint.save_checkpoint(path, state())
    truncate(path, kept)

    assert same(checkpoint.load_checkpoint(path, CPU), {**state(), "step": 1})
    checkpoint.save_checkpoint(path, {**state(), "step": 3})
    truncate(path, kept)
    assert same(checkpoint.load_checkpoint(path, CPU), {**state(), "step": 1})


@pytest.mark.parametrize("kept", [0, 30, 0.5, -1])
def test_truncated_checkpoints_are_named(kept: float, tmp_path: Path):
    path = tmp_path / "x.pt"
    checkpoint.save_checkpoint(path, state())
    truncate(path, kept)
    with pytest.raises(RunsError, match=f"{path}: damaged"):
        checkpoint.load_checkpoint(path, CPU)
    path.rename(runs.previous_path(path))
    checkpoint.save_checkpoint(path, state())
    truncate(path, kept)
    with pytest.raises(RunsError, match=f"{path}: damaged"):
        checkpoint.load_checkpoint(path, CPU)


class _Harm:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("harm",)


def test_code_in_a_checkpoint_is_refused_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "network": _Harm()}, tmp_path / "harmful")
    runs.write_with_digest(tmp_path / "x.pt", (tmp_path / "harmful").read_bytes())
    with pytest.raises(RunsError, match="damaged"):
        checkpoint.load_checkpoint(tmp_path / "x.pt", CPU)

    assert not (tmp_path / "harm").exists()


def test_a_failing_write_leaves_the_last_checkpoint_and_the_previous_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.pt"
    for step in (1, 2):
        checkpoint.save_checkpoint(path, {**state(), "step": step})
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def refuse(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save_checkpoint(path, {**state(), "step": 99})

    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
