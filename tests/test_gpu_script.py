"""benchmarks/gpu.py, which measures a CUDA card, with tiny networks on the CPU."""

import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resexp import config, datasets, training

pytestmark = pytest.mark.usefixtures("torch_state")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The script as a module, which the process that it starts imports as well."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    monkeypatch.setitem(datasets.DATASETS, "cifar10", None)
    import gpu  # noqa: PLC0415 - a script outside the package

    yield gpu
    for name in ("gpu", "tables"):
        sys.modules.pop(name)
    training.load_training_data.cache_clear()
    training.test_images.cache_clear()


def test_checks_and_speeds_of_tiny_networks(gpu: Any, tmp_path: Path):
    sizes = replace(gpu.SMALL, width=4, batch=8, images=80, steps=8, seconds=0.001)
    text = gpu.measured(sizes, "cpu", ["eager"], tmp_path / "gpu.csv", lambda: True)

    assert "| eager: two trainings | byte-identical |" in text
    assert "| eager: resumed after SIGKILL | byte-identical |" in text
    with (tmp_path / "gpu.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["mode"], row["networks in a stack"]) for row in rows] == [
        ("ResNet-8", "eager", "1"), ("ResNet-8", "eager", "2"),
    ]  # fmt: skip
    assert rows[0]["relative to eager, one network"] == "1.00"
    for row in rows:
        speed, total = float(row["it/s"]), float(row["networks x it/s"])
        assert total == pytest.approx(int(row["networks in a stack"]) * speed, abs=0.11)


def test_a_check_that_fails_does_not_end_the_others(gpu: Any):
    def fails() -> list[tuple[str, str]]:
        raise RuntimeError("CUDA error: an illegal memory access\nmore")

    assert gpu.attempted("cuda-graph", fails) == [("cuda-graph", "FAILED: CUDA error: an illegal memory access")]


def test_compilation_is_measured_last_and_rows_after_the_end_are_left_out(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gpu, "checks", lambda *_arguments: [])
    text = gpu.measured(gpu.SMALL, "cpu", ["eager", "compiled"], tmp_path / "gpu.csv", lambda: False)

    assert "ResNet-8, eager, 1 in a stack; ResNet-8, eager, 2 in a stack; ResNet-8, compiled, 1 in a stack" in text


@pytest.mark.parametrize(("networks", "share"), [(1, 1.0), (5, 0.2)])
def test_the_projection_adds_the_steps_and_evaluations_of_all_trials(gpu: Any, networks: int, share: float):
    """A step takes depth ms and an evaluation depth / 10 s, for the whole stack."""
    speeds = [gpu.Speed(depth, "eager", networks, 1e3 / depth, depth / 10) for depth in (20, 56, 110)]
    depths = [20, 32, 44, 56]
    seconds = 2 * 5 * sum(64_000 * depth / 1e3 + 64_000 // 390 * depth / 10 for depth in depths)

    assert len(config.load(gpu.CONFIG).trials) == 2 * 5 * len(depths)
    assert gpu.projected_hours(speeds) == pytest.approx(share * seconds / 3600)
    assert gpu.projected_hours(speeds[:1]) is None
    assert gpu.projection(speeds) == [["eager", str(networks), f"{share * seconds / 3600:.1f}"]]
