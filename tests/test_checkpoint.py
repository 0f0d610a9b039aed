"""Tensors saved whole or not at all, and read back as they were."""

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
    """What a stack's checkpoint holds, after two steps."""
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


def test_there_is_nothing_to_take_up_before_anything_was_kept(tmp_path: Path):
    assert checkpoint.load_checkpoint(tmp_path / "checkpoints" / "x.pt", CPU) is None
    assert list(tmp_path.iterdir()) == []


def test_a_state_comes_back_bit_for_bit_and_the_one_before_is_kept(tmp_path: Path):
    path = tmp_path / "checkpoints" / "x.pt"
    checkpoint.save_checkpoint(path, state())
    checkpoint.save_checkpoint(path, {**state(), "best": None})

    assert same(checkpoint.load_checkpoint(path, CPU), {**state(), "best": None})
    assert not same(checkpoint.load_checkpoint(path, CPU), state())
    assert sorted(path.parent.iterdir()) == [path.with_suffix(".previous"), path]
    path.unlink()
    assert same(checkpoint.load_checkpoint(path, CPU), state())


def test_a_checkpoint_is_not_written_where_its_experiment_has_vanished(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        checkpoint.save_checkpoint(tmp_path / "vanished" / "checkpoints" / "x.pt", state())

    assert list(tmp_path.iterdir()) == []


def test_the_same_state_gives_the_same_bytes(tmp_path: Path):
    for name in ("a.pt", "b.pt"):
        checkpoint.save_tensors(tmp_path / name, state())

    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def shortened(path: Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])


@pytest.mark.parametrize("kept", [0, 1, 30, 0.1, 0.5, 0.9, -1])
def test_in_the_place_of_a_file_cut_short_the_one_before_is_taken_up_and_stays(kept: float, tmp_path: Path):
    path = tmp_path / "x.pt"
    checkpoint.save_checkpoint(path, {**state(), "step": 1})
    checkpoint.save_checkpoint(path, state())
    shortened(path, kept)

    assert same(checkpoint.load_checkpoint(path, CPU), {**state(), "step": 1})
    checkpoint.save_checkpoint(path, {**state(), "step": 3})
    shortened(path, kept)
    assert same(checkpoint.load_checkpoint(path, CPU), {**state(), "step": 1})


@pytest.mark.parametrize("kept", [0, 30, 0.5, -1])
def test_files_cut_short_are_named(kept: float, tmp_path: Path):
    path = tmp_path / "x.pt"
    checkpoint.save_checkpoint(path, state())
    shortened(path, kept)
    with pytest.raises(RunsError, match=f"{path}: damaged"):
        checkpoint.load_checkpoint(path, CPU)
    path.rename(runs.previous_path(path))
    checkpoint.save_checkpoint(path, state())
    shortened(path, kept)
    with pytest.raises(RunsError, match=f"{path}: damaged"):
        checkpoint.load_checkpoint(path, CPU)


class _Harm:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("harm",)


def test_a_file_that_holds_code_is_refused_and_the_code_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "network": _Harm()}, tmp_path / "harmful")
    runs.write_with_digest(tmp_path / "x.pt", (tmp_path / "harmful").read_bytes())
    with pytest.raises(RunsError, match="damaged"):
        checkpoint.load_checkpoint(tmp_path / "x.pt", CPU)

    assert not (tmp_path / "harm").exists()


def test_a_failing_write_leaves_the_last_checkpoint_and_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
