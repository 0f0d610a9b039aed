"""Training costs: costs of each arm are consistent, forecasts follow the plan, and measurements write no files."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from resexp import config, costs, runs, training
from resexp.costs import forecasts, steps
from resexp.networks import count

pytestmark = pytest.mark.usefixtures("torch_state")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "ROUNDS", 3)
    monkeypatch.setattr(steps, "ROUND_SECONDS", 0.0)


# ---- single arms --------------------------------------------------------------------------------------------------------


def test_every_arm_of_every_cell_is_timed_individually(quick: None, tiny: Any):
    experiment = tiny("network.depth=[4, 6]", "network.shortcut=[identity, gate]", "seeds=3")
    measured = costs.measure(experiment, "cpu")

    assert [(cost.cell, cost.arm) for cost in measured] == [
        (cell, arm) for cell in ("d4", "d6") for arm in ("plain", "identity", "gate")
    ]
    assert all(0 < cost.step_low <= cost.step_seconds <= cost.step_high for cost in measured)
    assert [cost.relative for cost in measured if cost.arm == "plain"] == [1.0, 1.0]
    assert all(cost.epoch_seconds == cost.step_seconds * 4 for cost in measured)  # 64 images in batches of 16


@pytest.mark.parametrize(("optimizer", "states"), [("adam", 2), ("sgd", 0)])
def test_memory_consists_of_weights_gradients_optimizer_state_and_saved_activations(
    optimizer: str, states: int, quick: None, tiny: Any
):
    experiment = tiny(f"training.optimizer={optimizer}")
    for cost, trial in zip(costs.measure(experiment, "cpu"), experiment.trials, strict=True):
        counted = count(training.build(trial, (1, 8, 8), 10), (1, 8, 8))
        steps = 4 * 8 if states else 0  # Adam counts its steps once for each of 8 tensors, in float32

        assert cost.activation_bytes == counted.activation_bytes
        assert cost.memory_bytes == 4 * (2 + states) * counted.parameters + 16 * counted.activation_bytes + steps


def test_timing_writes_no_files_and_logs_no_gradients(quick: None, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training.loop, "write_probe_rows", pytest.fail)
    costs.measure(tiny("gradients.every=1"), "cpu")

    assert list(tmp_path.iterdir()) == []


# ---- forecasts of a plan ------------------------------------------------------------------------------------------------


def forecast(experiment: config.Experiment, jobs: int, cores: int = 1) -> costs.Forecast:
    return costs.forecast(experiment, config.make_plan(experiment, "cpu", cores), jobs)


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sets the seconds for 8 layers of one trial: step 1, logging step 3, evaluation 10, test images 5, opening 20.

    For one trial of any depth: 0.5 for the files of an epoch, 0.25 for a checkpoint, 2 for its results. Returns the names of
    measured trials.
    """
    measured: list[str] = []

    def pace(trials: list[config.Trial], _device: str) -> costs.Pace:
        measured.append(trials[0].name)
        depth = trials[0].settings.network.depth
        scale = len(trials) * depth / 8
        return costs.Pace(
            trials=len(trials),
            depth=depth,
            opening=20 * scale,
            step=scale,
            logged_step=3 * scale,
            evaluation=10 * scale,
            test=5 * scale,
            epoch_files=0.5 * len(trials),
            saving=0.25 * len(trials),
            closing=2.0 * len(trials),
            logged_bytes=100 * depth,
        )

    monkeypatch.setattr(forecasts, "_pace", pace)
    return measured


def test_a_forecast_adds_up_steps_logging_steps_and_evaluations_of_all_trials(paced: list[str], tiny: Any):
    every = "training.checkpoint_every=3"
    experiment = tiny("network.depth=[8, 16]", "training.steps=20", "gradients.every=5", "seeds=2", every)
    predicted = forecast(experiment, 1)
    logged = len({*range(11), 15, 3})  # steps 0 to 10, every fifth, the last of the first epoch
    one = 20 + (20 - logged) + 3 * logged + 10 * (1 + 5) + 5  # five epochs of four steps
    files = 0.5 * (1 + 5) + 0.25 * 6 + 2
    weights = 2 * sum(4 * sum(p.numel() for p in training.build(t, (1, 8, 8), 10).parameters()) for t in experiment.trials)

    assert predicted.seconds == pytest.approx(4 * (one * (1 + 2) + files * 2))
    assert predicted.disk_bytes == 4 * logged * 100 * (8 + 16) + weights
    assert len(paced) == 1  # only the deepest stack of a kind is timed
    assert "d16" in paced[0]


def test_the_start_up_time_is_included_once_in_each_wall_time(paced: list[str], tiny: Any):
    experiment = tiny("network.depth=[4, 8, 16]", "training.stack=1")
    plan = config.make_plan(experiment, "cpu", 1)
    before, after = costs.forecast(experiment, plan, 2), costs.forecast(experiment, plan, 2, startup=100.0)

    assert after.startup == 100.0
    assert after.seconds == pytest.approx(before.seconds + 100)
    assert after.longest == pytest.approx(before.longest + 100)
    assert after.walls == pytest.approx({at_once: seconds + 100 for at_once, seconds in before.walls.items()})


@pytest.mark.parametrize(("every", "count"), [(7, 2), (20, 1), (21, 0), ("60s", 5), ("2m", 2), ("1h", 0)])
def test_checkpoints_are_counted_by_steps_or_by_time(every: str | int, count: int):
    assert training.checkpoint_count(every, steps=20, seconds=301.5) == count


def test_a_network_with_a_non_finite_initial_loss_has_a_forecast(tiny: Any):
    predicted = forecast(tiny("network.init_scale=1.0e30", "network.init=he", "network.norm=none", "network.depth=[8]"), 1)

    assert math.isfinite(predicted.seconds)


def test_each_kind_of_network_is_timed_separately(paced: list[str], tiny: Any):
    forecast(tiny("network.depth=[4, 8]", "network.norm=[none, layer]", "network.shortcut=[identity, gate]"), 1)

    assert len(paced) == 4
    assert all("d8" in name for name in paced)


def test_jobs_share_the_stacks_in_the_order_of_the_plan(paced: list[str], tiny: Any):
    experiment = tiny("network.depth=[4, 8, 16]", "training.stack=50")
    one, two, many = (forecast(experiment, jobs) for jobs in (1, 2, 8))
    shallow = one.seconds - many.longest

    assert one.seconds > two.seconds == pytest.approx(max(many.longest, shallow))  # depth 16 in parallel with 8 + 4
    assert many.seconds == pytest.approx(two.seconds)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("seeds=2",), id="mlp"),
        pytest.param(("network.family=cnn", "network.depth=[8]", "network.norm=batch"), id="cnn"),
        pytest.param(("gradients.probes=[]", "data.validation=0"), id="without logging steps"),
    ],
)
def test_a_real_forecast_is_finite_and_writes_no_files(
    overrides: tuple[str, ...], tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    predicted = forecast(tiny(*overrides), 2)

    assert 0 < predicted.seconds < 60
    assert math.isfinite(predicted.disk_bytes)
    assert predicted.memory_bytes == 2 * runs.peak_memory()
    assert list(tmp_path.iterdir()) == []


def test_a_large_step_is_timed_on_few_images(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    batch_sizes: list[int] = []
    update = training.update
    monkeypatch.setattr(forecasts, "MAX_OPERATIONS", 20_000)
    monkeypatch.setattr(training, "update", lambda run, x, labels: (batch_sizes.append(len(x)), update(run, x, labels)))
    forecast(tiny("network.width=32", "seeds=1", "network.plain=false"), 1)

    assert set(batch_sizes) == {2}
    assert torch.is_grad_enabled()
