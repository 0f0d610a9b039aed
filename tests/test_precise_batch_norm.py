"""Batch norms are evaluated with statistics of the current weights; training keeps its running ones."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resexp import checkpoint, config, datasets, runs, streams, training
from resexp.config import Experiment, Trial
from resexp.costs import forecasts
from resexp.networks import Network, build_network
from resexp.shortcuts import SHORTCUTS, BlockSpec
from resexp.training import measures, precise

pytestmark = pytest.mark.usefixtures("torch_state")

CNN = ("network.family=cnn", "network.depth=[5]", "network.width=4", "network.block_layers=1")
ARMS = {
    "mlp": (),
    "pre": ("network.placement=pre", "network.shortcut=[projection-all]"),
    "post-norm": ("network.placement=post-norm",),
    "a wider plain network": ("network.shortcut=[gate]", "network.plain_width=parameters"),
    "stochastic depth": ("network.shortcut=[stochastic-depth]",),
    "dropout": ("network.shortcut=[dropout]",),
    "cnn": CNN,
    "cnn of option B": (*CNN, "network.placement=post", "network.shortcut=[projection]"),
}
BN_SHORT = """
data: {name: digits}
network: {family: mlp, depth: [20], width: 64, norm: batch, init: he}
training: {steps: 20, batch_size: 64, lr: 0.03}
gradients: {every: 1000}
seeds: 2
device: cpu
"""


def train(experiment: Experiment, folder: Path) -> None:
    """Trains every trial, in the stacks of its plan."""
    trials = {trial.name: trial for trial in experiment.trials}
    for planned in config.make_plan(experiment, "cpu", 1).stacks:
        assert training.train_stack([trials[name] for name in planned.trials], folder, planned.name, "cpu") == "finished"


def metrics(folder: Path, trial: Trial) -> list[dict[str, float]]:
    with (runs.trial_folder(folder, trial.name) / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def result_of(folder: Path, trial: Trial) -> dict[str, Any]:
    result = runs.result(runs.trial_folder(folder, trial.name))
    assert result
    return result


def stored(folder: Path, trial: Trial, name: str = "weights.pt") -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(runs.trial_folder(folder, trial.name) / name, weights_only=True)
    return state


def material_of(trial: Trial) -> training.TrainingData:
    return training.load_training_data(trial.settings.data, "cpu", training.DTYPES[trial.settings.precision])


def built(trial: Trial, state: dict[str, Tensor] | None = None) -> Network:
    material = material_of(trial)
    network = training.build(trial, material.input_shape, material.classes)
    if state is not None:
        network.load_state_dict(state)
    return network


def norms_of(network: nn.Module) -> dict[str, nn.BatchNorm1d | nn.BatchNorm2d]:
    return {name: part for name, part in network.named_modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)}


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


# ---- what must not change -----------------------------------------------------------------------------------------------


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Calling it makes batch norms be measured with the running statistics of training."""
    return lambda: monkeypatch.setattr(precise, "precise_batch_norm", lambda *_arguments: nullcontext())


def lasting_files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ("timing.csv", "status.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("norm", ["none", "layer", "group"])
@pytest.mark.parametrize("cell", [("network.width=16",), (*CNN, "network.width=8")], ids=["a stack", "a cnn"])
def test_without_batch_norm_no_byte_changes(
    cell: tuple[str, ...], norm: str, running: Callable[[], None], tiny: Any, tmp_path: Path
):
    experiment = tiny(*cell, f"network.norm={norm}", "network.init=he")
    train(experiment, tmp_path / "precise")
    running()
    train(experiment, tmp_path / "running")

    assert lasting_files(tmp_path / "precise") == lasting_files(tmp_path / "running")


@pytest.mark.parametrize("arms", ["mlp", "cnn", "dropout"])
def test_with_batch_norm_every_weight_and_gradient_is_that_of_a_training_that_is_not_measured_so(
    arms: str, running: Callable[[], None], tiny: Any, tmp_path: Path
):
    experiment = tiny(*ARMS[arms], "network.norm=batch", "training.steps=10", "seeds=2")
    train(experiment, tmp_path / "precise")
    running()
    train(experiment, tmp_path / "running")

    for trial in experiment.trials:
        folders = [runs.trial_folder(tmp_path / name, trial.name) for name in ("precise", "running")]
        for log in ("gradients.csv", "signals.csv", "trial.yaml"):
            precise, plain = ((folder / log).read_bytes() for folder in folders)
            assert precise == plain
        ours, theirs = (stored(tmp_path / name, trial) for name in ("precise", "running"))
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours if not is_statistic(name))


def test_a_checkpoint_has_the_running_statistics_of_training(running: Callable[[], None], tiny: Any, tmp_path: Path):
    (trial, _) = tiny("network.norm=batch", "training.steps=10").trials

    def interrupted(name: str) -> dict[str, Tensor]:
        asked = iter(range(10))
        folder = tmp_path / name
        assert training.train_stack([trial], folder, trial.name, "cpu", lambda: next(asked) == 7) == "interrupted"
        state = checkpoint.load_checkpoint(runs.checkpoint_file(folder, trial.name), torch.device("cpu"))
        assert state
        network: dict[str, Tensor] = state["network"]
        return network

    precise = interrupted("precise")
    running()
    theirs = interrupted("running")

    assert precise["stem.norm.num_batches_tracked"] == 7
    assert all(torch.equal(value, theirs[name]) for name, value in precise.items())


@pytest.mark.parametrize("end", ["in order", "stopped", "an error"])
def test_afterwards_the_network_is_as_it_was(end: str, tiny: Any, monkeypatch: pytest.MonkeyPatch):
    trial = tiny("network.norm=batch").trials[1]
    network, material = built(trial).train(), material_of(trial)
    network(material.batch(torch.arange(16)))
    norms = norms_of(network).values()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    momenta = [norm.momentum for norm in norms]
    monkeypatch.setattr(precise, "EVALUATION_BATCH", 1)  # it asks before every batch whether to stop
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return end == "stopped" and len(asked) > 2

    if end == "an error":
        network.classifier.register_forward_hook(lambda *_: 1 / 0)
    raised = {"stopped": measures.Stopped, "an error": ZeroDivisionError}
    expected = pytest.raises(raised[end]) if end in raised else nullcontext()
    with expected, training.precise_batch_norm(network, material, 16, 1, stop):
        assert not torch.equal(network.state_dict()["stem.norm.running_mean"], before["stem.norm.running_mean"])

    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(part.training for part in network.modules())
    assert [norm.momentum for norm in norms] == momenta


def test_nothing_is_drawn_in_a_shortcut_that_draws_by_itself(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    """Its random draws would change those of the updates that follow."""

    class Own(nn.Module):
        def __init__(self, place: BlockSpec) -> None:
            super().__init__()
            self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(place.inputs[0])

        def forward(self, x: Tensor) -> tuple[float, Tensor]:
            return 1.0, self.drop(self.norm(x))

    monkeypatch.setitem(SHORTCUTS, "own", Own)
    material = material_of(tiny().trials[0])
    network = build_network("mlp", depth=4, width=8, shortcut="own", input_shape=material.input_shape, classes=10, norm="batch")
    before = torch.get_rng_state()
    with training.precise_batch_norm(network, material, 16):
        own = network.get_submodule("blocks.0.shortcut.norm")
        assert not torch.equal(own.running_mean, torch.zeros(8))

    assert torch.equal(torch.get_rng_state(), before)


# ---- brute force ------------------------------------------------------------------------------------------------------------


def by_brute_force(network: Network, trial: Trial) -> Network:
    """The network with the mean of each norm's batch means and unbiased batch variances, from its captured inputs."""
    material, size = material_of(trial), trial.settings.training.batch_size
    order = torch.randperm(len(material.sample), generator=streams.generator(0, "precise batch norm"))
    inputs: dict[str, list[Tensor]] = {}
    hooks = [
        norm.register_forward_pre_hook(lambda _norm, given, name=name: inputs.setdefault(name, []).append(given[0]))
        for name, norm in norms_of(network).items()
    ]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    with torch.no_grad():
        for start in range(0, len(order) - size + 1, size):
            pixels = material.sample.pixels[order[start : start + size]]
            network(datasets.normalize(pixels, material.shift, material.scale))
    for hook in hooks:
        hook.remove()
    for name, batches in inputs.items():
        axes = (0, *range(2, batches[0].ndim))
        state[f"{name}.running_mean"] = torch.stack([batch.mean(axes) for batch in batches]).mean(0)
        state[f"{name}.running_var"] = torch.stack([batch.var(axes, correction=1) for batch in batches]).mean(0)
    return built(trial, state)


def evaluated(network: Network, images: datasets.Images, material: training.TrainingData) -> tuple[float, float]:
    """(loss, accuracy), all images at once, by torch's own cross-entropy."""
    with torch.no_grad():
        logits = network.eval()(datasets.normalize(images.pixels, material.shift, material.scale))
    correct = logits.argmax(1) == images.labels
    return nn.functional.cross_entropy(logits, images.labels).item(), correct.double().mean().item()


@pytest.mark.parametrize("stack", ["auto", "1"])
@pytest.mark.parametrize("arms", ARMS)
def test_what_is_logged_agrees_with_statistics_averaged_by_hand_over_captured_inputs(
    arms: str, stack: str, tiny: Any, tmp_path: Path
):
    experiment = tiny(*ARMS[arms], "network.norm=batch", "precision=float64", "seeds=2", f"training.stack={stack}")
    train(experiment, tmp_path)

    for trial in experiment.trials:
        material, rows, result = material_of(trial), metrics(tmp_path, trial), result_of(tmp_path, trial)
        final = by_brute_force(built(trial, stored(tmp_path, trial)), trial)
        for row, network in ((rows[0], by_brute_force(built(trial), trial)), (rows[-1], final)):
            for part, images in (("train", material.sample), ("val", material.validation)):
                loss, accuracy = evaluated(network, images, material)
                assert row[f"{part}_loss"] == pytest.approx(loss, rel=1e-8)  # nine digits are logged
                assert row[f"{part}_accuracy"] == pytest.approx(accuracy, rel=1e-8)
        loss, accuracy = evaluated(final, training.test_images(trial.settings.data, "cpu"), material)
        assert (result["test_loss"], result["test_accuracy"]) == pytest.approx((loss, accuracy), rel=1e-8)
        for name, value in final.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                torch.testing.assert_close(stored(tmp_path, trial)[name], value, rtol=1e-9, atol=1e-12)


# ---- which images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "limit", "batches"),
    [(16, 2_048, 4), (24, 2_048, 2), (16, 40, 2), (100, 2_048, 1), (60, 32, 1)],
    ids=["the whole sample", "whole batches only", "up to the limit", "a sample smaller than a batch", "one batch at least"],
)
def test_batches_are_of_the_training_size_mixed_and_equal_at_every_call(
    batch_size: int, limit: int, batches: int, tiny: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(precise, "PRECISE_IMAGES", limit)
    trial = tiny("network.norm=batch").trials[0]
    network, material = built(trial), material_of(trial)
    numbered = material.sample.pixels.clone()
    numbered[:, 0, 0, 0] = torch.arange(64)  # the first pixel of each image is its number
    plain = replace(material, sample=replace(material.sample, pixels=numbered), shift=torch.zeros(1), scale=torch.ones(1))
    seen: list[list[int]] = []
    network.register_forward_pre_hook(lambda _network, inputs: seen.append(inputs[0][:, 0, 0, 0].int().tolist()))
    for _ in range(2):
        with training.precise_batch_norm(network, plain, batch_size):
            pass

    assert seen[:batches] == seen[batches:]
    assert [len(batch) for batch in seen] == [min(batch_size, 64)] * 2 * batches
    numbers = [number for batch in seen[:batches] for number in batch]
    assert len(set(numbers)) == len(numbers)
    assert numbers != sorted(numbers)  # image folders are read class by class


# ---- what it is for -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bn_short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, Path]:
    """Twenty updates of twenty layers, after which an eighth of a running variance is still the 1 that it started from."""
    folder = tmp_path_factory.mktemp("bn-short")
    (folder / "bn-short.yaml").write_text(BN_SHORT, encoding="utf-8")
    experiment = config.load(folder / "bn-short.yaml", ())
    train(experiment, folder)
    return experiment, folder


def test_a_short_training_that_has_learned_is_not_called_at_chance(bn_short: tuple[Experiment, Path]):
    experiment, folder = bn_short
    for trial in experiment.trials:
        network, material = built(trial, stored(folder, trial)), material_of(trial)
        with torch.no_grad():
            logits = network.train()(datasets.normalize(material.sample.pixels, material.shift, material.scale))
        with_batch_statistics = (logits.argmax(1) == material.sample.labels).double().mean().item()
        result = result_of(folder, trial)

        assert result["outcome"] == "above_chance"
        assert result["train_accuracy"] == pytest.approx(with_batch_statistics, abs=0.03)
        assert with_batch_statistics > 0.4


def test_stored_weights_reproduce_what_is_logged_of_them(bn_short: tuple[Experiment, Path]):
    experiment, folder = bn_short
    for trial in experiment.trials:
        material, result = material_of(trial), result_of(folder, trial)
        test = training.test_images(trial.settings.data, "cpu")
        final, best = (built(trial, stored(folder, trial, name)) for name in ("weights.pt", "best.pt"))
        ((loss, accuracy),) = training.evaluate(final, material.sample, material)
        ((test_loss, test_accuracy),) = training.evaluate(final, test, material)
        ((best_loss, best_accuracy),) = training.evaluate(best, test, material)
        ((_, validation),) = training.evaluate(best, material.validation, material)

        assert result["train_accuracy"] == pytest.approx(accuracy, rel=1e-8)
        assert result["train_loss"] == pytest.approx(loss, rel=1e-5)  # float32, alone instead of in a stack
        assert (result["test_accuracy"], result["best_test_accuracy"]) == pytest.approx(
            (test_accuracy, best_accuracy), rel=1e-8
        )
        assert (result["test_loss"], result["best_test_loss"]) == pytest.approx((test_loss, best_loss), rel=1e-5)
        assert max(row["val_accuracy"] for row in metrics(folder, trial)) == pytest.approx(validation, rel=1e-8)


# ---- what it takes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operations", [10**12, 1], ids=["timed whole", "timed on two images"])
def test_a_forecast_has_it_once_for_each_epoch_and_once_for_the_test_images(
    operations: int, tiny: Any, monkeypatch: pytest.MonkeyPatch
):
    """A clock on which the estimate takes one second an image, and all else takes none."""
    experiment = tiny("network.norm=batch")
    images: list[int] = []

    @contextmanager
    def measuring(run: training.StackState, _stop: object) -> Iterator[None]:
        images.append(len(run.training_data.sample))
        yield

    def steady(call: Callable[[], object]) -> float:
        images.clear()
        call()
        return float(sum(images))

    monkeypatch.setattr(forecasts, "MAX_OPERATIONS", operations)
    monkeypatch.setattr(training, "measuring", measuring)
    monkeypatch.setattr(forecasts, "_median_seconds", steady)
    pace = forecasts._pace(experiment.trials, "cpu")

    assert (pace.evaluation, pace.test) == (64, 64)
