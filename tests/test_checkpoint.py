"""Tensors saved whole or not at all, and read back as they were."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from resexp import checkpoint
from resexp.runs import RunsError

CPU = torch.device("cpu")


def state() -> dict[str, Any]:
    """What a cohort's checkpoint holds, after two steps."""
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


def test_there_is_nothing_to_load_before_anything_was_saved(tmp_path: Path):
    assert checkpoint.load(tmp_path / "checkpoints" / "x.pt", CPU) is None
    assert list(tmp_path.iterdir()) == []


def test_a_state_comes_back_bit_for_bit(tmp_path: Path):
    path = tmp_path / "checkpoints" / "x.pt"
    checkpoint.save(path, state())
    checkpoint.save(path, {**state(), "best": None})

    assert same(checkpoint.load(path, CPU), {**state(), "best": None})
    assert not same(checkpoint.load(path, CPU), state())
    assert list(path.parent.iterdir()) == [path]


def test_the_same_state_gives_the_same_bytes(tmp_path: Path):
    for name in ("a.pt", "b.pt"):
        checkpoint.save(tmp_path / name, state())

    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


@pytest.mark.parametrize("kept", [0, 1, 30, 0.1, 0.5, 0.9, -1])
def test_a_file_cut_short_is_named_with_what_to_do(kept: float, tmp_path: Path):
    path = tmp_path / "x.pt"
    checkpoint.save(path, state())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(RunsError) as caught:
        checkpoint.load(path, CPU)

    assert str(caught.value).startswith(f"{path}: damaged checkpoint")
    assert "delete it" in str(caught.value)


class _Harm:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("harm",)


def test_a_file_that_holds_code_is_refused_and_the_code_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "network": _Harm()}, tmp_path / "x.pt")
    with pytest.raises(RunsError, match="damaged checkpoint"):
        checkpoint.load(tmp_path / "x.pt", CPU)

    assert not (tmp_path / "harm").exists()


def test_a_failing_save_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.pt"
    checkpoint.save(path, state())

    def refuse(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {**state(), "step": 99})

    assert same(checkpoint.load(path, CPU), state())
    assert list(tmp_path.iterdir()) == [path]
