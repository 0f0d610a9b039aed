"""Precise batch norm: evaluation uses statistics of the current weights; training uses running statistics."""

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
WIDER_CNN = (*CNN, "network.width=8")
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


def result_of(folder: Path, trial: Trial) -> runs.Result:
    result = runs.result(runs.trial_folder(folder, trial.name))
    assert result
    return result


def stored(folder: Path, trial: Trial, name: str = "weights.pt") -> dict[str, Tensor]:
    state_dict: dict[str, Tensor] = torch.load(runs.trial_folder(folder, trial.name) / name, weights_only=True)
    return state_dict


def data_of(trial: Trial) -> training.TrainingData:
    return training.load_training_data(trial.settings.data, "cpu", trial.settings.precision)


def built(trial: Trial, state_dict: dict[str, Tensor] | None = None) -> Network:
    training_data = data_of(trial)
    network = training.build(trial, training_data.input_shape, training_data.classes)
    if state_dict is not None:
        network.load_state_dict(state_dict)
    return network


def norms_of(network: nn.Module) -> dict[str, nn.BatchNorm1d | nn.BatchNorm2d]:
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


# ---- training does not change -------------------------------------------------------------------------------------------


@pytest.fixture
def use_running_stats(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that makes evaluation use the running statistics of training."""
    return lambda: monkeypatch.setattr(precise, "precise_batch_norm", lambda *_arguments: nullcontext())


def lasting_files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ("timing.csv", "status.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize(
    ("cell", "norm"),
    [((), "none"), ((), "layer"), (WIDER_CNN, "none"), (WIDER_CNN, "group")],
    ids=["stack", "layer", "cnn", "group"],
)
def test_without_batch_norm_no_byte_changes(
    cell: tuple[str, ...], norm: str, use_running_stats: Callable[[], None], tiny: Any, tmp_path: Path
):
    experiment = tiny(*cell, f"network.norm={norm}", "network.init=he")
    train(experiment, tmp_path / "precise")
    use_running_stats()
    train(experiment, tmp_path / "running")

    assert lasting_files(tmp_path / "precise") == lasting_files(tmp_path / "running")


@pytest.mark.parametrize("arms", ["mlp", "cnn", "dropout"])
def test_with_batch_norm_weights_and_gradients_do_not_depend_on_the_statistics_of_evaluation(
    arms: str, use_running_stats: Callable[[], None], tiny: Any, tmp_path: Path
):
    experiment = tiny(*ARMS[arms], "network.norm=batch", "training.steps=10", "seeds=2")
    train(experiment, tmp_path / "precise")
    use_running_stats()
    train(experiment, tmp_path / "running")

    for trial in experiment.trials:
        folders = [runs.trial_folder(tmp_path / name, trial.name) for name in ("precise", "running")]
        for log in ("gradients.csv", "signals.csv", "trial.yaml"):
            with_precise, with_running = ((folder / log).read_bytes() for folder in folders)
            assert with_precise == with_running
        with_precise, with_running = (stored(tmp_path / name, trial) for name in ("precise", "running"))
        assert list(with_precise) == list(with_running)
        assert all(torch.equal(with_precise[name], with_running[name]) for name in with_precise if not is_statistic(name))


def test_a_checkpoint_stores_the_running_statistics_of_training(
    use_running_stats: Callable[[], None], tiny: Any, tmp_path: Path
):
    (trial, _) = tiny("network.norm=batch", "training.steps=10").trials

    def interrupted(name: str) -> dict[str, Tensor]:
        calls = iter(range(10))
        folder = tmp_path / name
        assert training.train_stack([trial], folder, trial.name, "cpu", lambda: next(calls) == 7) == "interrupted"
        content = checkpoint.load_checkpoint(runs.checkpoint_file(folder, trial.name), torch.device("cpu"))
        assert content
        state_dict: dict[str, Tensor] = content["network"]
        return state_dict

    with_precise = interrupted("precise")
    use_running_stats()
    with_running = interrupted("running")

    assert with_precise["stem.norm.num_batches_tracked"] == 7
    assert all(torch.equal(value, with_running[name]) for name, value in with_precise.items())


@pytest.mark.parametrize("end", ["normal", "stopped", "an error"])
def test_the_context_restores_the_network(end: str, tiny: Any, monkeypatch: pytest.MonkeyPatch):
    trial = tiny("network.norm=batch").trials[1]
    network, training_data = built(trial).train(), data_of(trial)
    network(training_data.batch(torch.arange(16)))
    norms = norms_of(network).values()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    momenta = [norm.momentum for norm in norms]
    monkeypatch.setattr(precise, "EVALUATION_BATCH", 1)  # checks before every batch whether to stop
    calls: list[None] = []

    def stop() -> bool:
        calls.append(None)
        return end == "stopped" and len(calls) > 2

    if end == "an error":
        network.classifier.register_forward_hook(lambda *_: 1 / 0)
    raised = {"stopped": measures.Stopped, "an error": ZeroDivisionError}
    expected = pytest.raises(raised[end]) if end in raised else nullcontext()
    with expected, training.precise_batch_norm(network, training_data, 16, 1, stop):
        assert not torch.equal(network.state_dict()["stem.norm.running_mean"], before["stem.norm.running_mean"])

    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert [norm.momentum for norm in norms] == momenta


def test_the_estimate_draws_no_random_numbers_in_a_custom_shortcut(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    """Its random draws would change those of the updates that follow."""

    class RandomShortcut(nn.Module):
        def __init__(self, spec: BlockSpec) -> None:
            super().__init__()
            self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(spec.inputs[0])

        def forward(self, x: Tensor) -> tuple[float, Tensor]:
            return 1.0, self.drop(self.norm(x))

    monkeypatch.setitem(SHORTCUTS, "random", RandomShortcut)
    training_data = data_of(tiny().trials[0])
    network = build_network(
        "mlp", depth=4, width=8, shortcut="random", input_shape=training_data.input_shape, classes=10, norm="batch"
    )
    before = torch.get_rng_state()
    with training.precise_batch_norm(network, training_data, 16):
        norm = network.get_submodule("blocks.0.shortcut.norm")
        assert not torch.equal(norm.running_mean, torch.zeros(8))

    assert torch.equal(torch.get_rng_state(), before)


# ---- reference computation --------------------------------------------------------------------------------------------------


def by_brute_force(network: Network, trial: Trial) -> Network:
    """The network with the mean of batch means and of unbiased batch variances, from the inputs of each batch norm."""
    training_data, size = data_of(trial), trial.settings.training.batch_size
    order = torch.randperm(len(training_data.sample), generator=streams.generator(0, "precise batch norm"))
    inputs: dict[str, list[Tensor]] = {}
    hooks = [
        norm.register_forward_pre_hook(lambda _norm, arguments, name=name: inputs.setdefault(name, []).append(arguments[0]))
        for name, norm in norms_of(network).items()
    ]
    state_dict = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    with torch.no_grad():
        for start in range(0, len(order) - size + 1, size):
            pixels = training_data.sample.pixels[order[start : start + size]]
            network(datasets.normalize(pixels, training_data.shift, training_data.scale))
    for hook in hooks:
        hook.remove()
    for name, batches in inputs.items():
        axes = (0, *range(2, batches[0].ndim))
        state_dict[f"{name}.running_mean"] = torch.stack([batch.mean(axes) for batch in batches]).mean(0)
        state_dict[f"{name}.running_var"] = torch.stack([batch.var(axes, correction=1) for batch in batches]).mean(0)
    return built(trial, state_dict)


def evaluated(network: Network, images: datasets.Images, training_data: training.TrainingData) -> tuple[float, float]:
    """(loss, accuracy) on all images at once."""
    with torch.no_grad():
        logits = network.eval()(datasets.normalize(images.pixels, training_data.shift, training_data.scale))
    correct = logits.argmax(1) == images.labels
    return nn.functional.cross_entropy(logits, images.labels).item(), correct.double().mean().item()


@pytest.mark.parametrize(("arms", "stack"), [*((arms, "auto") for arms in ARMS), ("mlp", "1"), ("pre", "1"), ("dropout", "1")])
def test_logged_values_agree_with_statistics_averaged_over_captured_inputs(arms: str, stack: str, tiny: Any, tmp_path: Path):
    experiment = tiny(*ARMS[arms], "network.norm=batch", "precision=float64", "seeds=2", f"training.stack={stack}")
    train(experiment, tmp_path)

    for trial in experiment.trials:
        training_data, rows, result = data_of(trial), metrics(tmp_path, trial), result_of(tmp_path, trial)
        final = by_brute_force(built(trial, stored(tmp_path, trial)), trial)
        for row, network in ((rows[0], by_brute_force(built(trial), trial)), (rows[-1], final)):
            for part, images in (("train", training_data.sample), ("val", training_data.validation)):
                loss, accuracy = evaluated(network, images, training_data)
                assert row[f"{part}_loss"] == pytest.approx(loss, rel=1e-8)  # nine digits are logged
                assert row[f"{part}_accuracy"] == pytest.approx(accuracy, rel=1e-8)
        loss, accuracy = evaluated(final, training.test_images(trial.settings.data, "cpu"), training_data)
        assert (result.test_loss, result.test_accuracy) == pytest.approx((loss, accuracy), rel=1e-8)
        for name, value in final.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                torch.testing.assert_close(stored(tmp_path, trial)[name], value, rtol=1e-9, atol=1e-12)


# ---- batches of the estimate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "limit", "batches"),
    [(16, 2_048, 4), (24, 2_048, 2), (16, 40, 2), (100, 2_048, 1), (60, 32, 1)],
    ids=["the whole sample", "whole batches only", "up to the limit", "a sample smaller than a batch", "at least one batch"],
)
def test_batches_have_the_training_batch_size_and_the_same_shuffled_images_at_every_call(
    batch_size: int, limit: int, batches: int, tiny: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(precise, "PRECISE_IMAGES", limit)
    trial = tiny("network.norm=batch").trials[0]
    network, training_data = built(trial), data_of(trial)
    numbered = training_data.sample.pixels.clone()
    numbered[:, 0, 0, 0] = torch.arange(64)  # the first pixel of each image is its number
    plain = replace(
        training_data, sample=replace(training_data.sample, pixels=numbered), shift=torch.zeros(1), scale=torch.ones(1)
    )
    batch_numbers: list[list[int]] = []
    network.register_forward_pre_hook(lambda _network, inputs: batch_numbers.append(inputs[0][:, 0, 0, 0].int().tolist()))
    for _ in range(2):
        with training.precise_batch_norm(network, plain, batch_size):
            pass

    assert batch_numbers[:batches] == batch_numbers[batches:]
    assert [len(batch) for batch in batch_numbers] == [min(batch_size, 64)] * 2 * batches
    numbers = [number for batch in batch_numbers[:batches] for number in batch]
    assert len(set(numbers)) == len(numbers)
    assert numbers != sorted(numbers)  # image folders are sorted by class


# ---- short trainings ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bn_short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, Path]:
    """Twenty updates of a 20-layer network, after which the initial 1 still has a weight of 1/8 in running variances."""
    folder = tmp_path_factory.mktemp("bn-short")
    (folder / "bn-short.yaml").write_text(BN_SHORT, encoding="utf-8")
    experiment = config.load(folder / "bn-short.yaml", ())
    train(experiment, folder)
    return experiment, folder


def test_a_short_training_that_has_learned_is_above_chance(bn_short: tuple[Experiment, Path]):
    experiment, folder = bn_short
    for trial in experiment.trials:
        network, training_data = built(trial, stored(folder, trial)), data_of(trial)
        with torch.no_grad():
            logits = network.train()(datasets.normalize(training_data.sample.pixels, training_data.shift, training_data.scale))
        with_batch_statistics = (logits.argmax(1) == training_data.sample.labels).double().mean().item()
        result = result_of(folder, trial)

        assert result.outcome == "above_chance"
        assert result.train_accuracy == pytest.approx(with_batch_statistics, abs=0.03)
        assert with_batch_statistics > 0.4


def test_stored_weights_reproduce_the_logged_values(bn_short: tuple[Experiment, Path]):
    experiment, folder = bn_short
    for trial in experiment.trials:
        training_data, result = data_of(trial), result_of(folder, trial)
        test = training.test_images(trial.settings.data, "cpu")
        final, best = (built(trial, stored(folder, trial, name)) for name in ("weights.pt", "best.pt"))
        ((loss, accuracy),) = training.evaluate(final, training_data.sample, training_data)
        ((test_loss, test_accuracy),) = training.evaluate(final, test, training_data)
        ((best_loss, best_accuracy),) = training.evaluate(best, test, training_data)
        ((_, validation),) = training.evaluate(best, training_data.validation, training_data)

        assert result.train_accuracy == pytest.approx(accuracy, rel=1e-8)
        assert result.train_loss == pytest.approx(loss, rel=1e-5)  # float32, not in a stack
        assert (result.test_accuracy, result.best_test_accuracy) == pytest.approx((test_accuracy, best_accuracy), rel=1e-8)
        assert (result.test_loss, result.best_test_loss) == pytest.approx((test_loss, best_loss), rel=1e-5)
        assert max(row["val_accuracy"] for row in metrics(folder, trial)) == pytest.approx(validation, rel=1e-8)


# ---- forecast of its time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operations", [10**12, 1], ids=["timed on all images", "timed on two images"])
def test_a_forecast_includes_the_estimate_once_per_epoch_and_once_for_the_test_set(
    operations: int, tiny: Any, monkeypatch: pytest.MonkeyPatch
):
    """With a clock on which the estimate takes one second per image and everything else no time."""
    experiment = tiny("network.norm=batch")
    images: list[int] = []

    @contextmanager
    def measuring(state: training.StackState, _stop: object) -> Iterator[None]:
        images.append(len(state.training_data.sample))
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
