"""Stacks: a stack computes what its networks compute separately, and trials are independent."""

import copy
import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from combinations import every_two
from torch import Tensor
from torch.nn import functional

from resexp import config, probes, runs, stacking, streams, training
from resexp.networks import NORMS, PLACEMENTS, Network, build_network, initialize
from resexp.shortcuts import SHORTCUTS

pytestmark = pytest.mark.usefixtures("torch_state")

T, B, K = 3, 6, 10
# The shortcuts of the three networks of a stack: different constants together, other shortcuts with their own kind.
STACKS: dict[str, list[Any]] = {
    "constants": ["plain", "identity", {"scaled": {"scale": 0.5, "branch": 0.3}}],
    "constants of depth": [{"decayed": {"final": 0.2}}, "depth-scaled", {"depth-scaled": {"alpha": 1.0}}],
    **{name: [name] * T for name in SHORTCUTS if name != "projection"},
}


def networks_of(shortcuts: list[Any], norm: str, placement: str, **more: Any) -> list[Network]:
    """Networks in float64 with different weights, biases and scalars."""
    networks = []
    options = {"family": "mlp", "depth": 8, "width": 32, "input_shape": (1, 4, 4), "classes": K} | more
    for seed, shortcut in enumerate(shortcuts):
        network = build_network(shortcut=shortcut, norm=norm, placement=placement, **options)
        initialize(network, seed, "he")
        for name, parameter in network.named_parameters():
            if parameter.ndim < 2:
                torch.nn.init.normal_(parameter, 0.5, 0.3, generator=streams.generator(seed, "test", name))
        networks.append(network.double())
    return networks


def batch_of(seed: int, dtype: torch.dtype = torch.float64, input_shape: tuple[int, ...] = (1, 4, 4)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(T, B, *input_shape, generator=generator, dtype=torch.float64)
    return images.to(dtype), torch.randint(0, K, (T, B), generator=generator)


def noise_of(network: Network, seed: int, step: int) -> list[Any]:
    return network.sample_noise(B, lambda block: streams.generator(seed, "test", step, block))


def losses_of(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(T, B).mean(1)


# ---- stacking and unstacking ------------------------------------------------------------------------------------------


def test_a_stack_of_one_network_is_the_network():
    (network, *_) = networks_of(STACKS["constants"], "layer", "post")

    assert stacking.stack([network]) is network
    state_dict = network.state_dict()
    assert all(value is state_dict[name] for name, value in stacking.unstack(state_dict, state_dict, 1, 0).items())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("stack", STACKS)
def test_stacking_does_not_change_the_networks_and_unstacking_restores_them(stack: str, norm: str):
    networks = networks_of(STACKS[stack], norm, "post")
    before = copy.deepcopy([network.state_dict() for network in networks])
    stacked = stacking.stack(networks)
    with torch.no_grad():
        stacked(batch_of(0)[0], None, stacking.join_noise([noise_of(network, 0, 0) for network in networks]))
        for parameter in stacked.parameters():
            parameter.add_(1.0)

    for trial, (network, state_dict) in enumerate(zip(networks, before, strict=True)):
        assert all(torch.equal(value, state_dict[name]) for name, value in network.state_dict().items())
        unstacked = stacking.unstack(stacking.stack(networks).state_dict(), state_dict, T, trial)
        assert list(unstacked) == list(state_dict)
        for name, value in unstacked.items():
            assert value.shape == state_dict[name].shape
            assert torch.equal(value, state_dict[name])


@pytest.mark.parametrize("norm", ["none", "layer"])  # layers with and without bias
@pytest.mark.parametrize("batch_index", [[0, 1, 2], [0, 0, 1, 1, 2], [0, 1, 0, 1, 1], [0, 0, 0, 0]])
def test_networks_that_share_batches_have_the_bits_of_networks_with_copies_of_them(batch_index: list[int], norm: str):
    networks = [
        network.float() for network in networks_of(["plain", "identity", "plain", "identity", "identity"], norm, "post")
    ]
    networks = networks[: len(batch_index)]
    images, labels = batch_of(0, torch.float32)
    shared, copied = stacking.stack(networks, batch_index), stacking.stack(networks)

    outputs = [shared(images[: max(batch_index) + 1]), copied(images[batch_index])]
    for output in outputs:
        functional.cross_entropy(output.flatten(0, 1), labels[batch_index].flatten(), reduction="sum").backward()

    assert torch.equal(*outputs)
    for ours, theirs in zip(shared.parameters(), copied.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)
    for trial, network in enumerate(networks):
        functional.cross_entropy(network(images[batch_index[trial]]), labels[batch_index[trial]], reduction="sum").backward()
        weight, grads = network.get_parameter("stem.layer.weight").grad, shared.get_parameter("stem.layer.weight").grad
        assert grads is not None
        torch.testing.assert_close(grads[trial], weight)


def test_unstacked_tensors_have_separate_storage():
    networks = networks_of(STACKS["constants"], "batch", "post")
    unstacked = stacking.unstack(stacking.stack(networks).state_dict(), networks[0].state_dict(), T, 1)

    assert all(value.untyped_storage().nbytes() == value.numel() * value.element_size() for value in unstacked.values())


def test_networks_with_different_shapes_or_layers_are_refused():
    networks = [networks_of(["identity"], "none", "post")[0], networks_of(["gate"], "none", "post")[0]]
    images = {"input_shape": (1, 8, 8), "classes": K, "shortcut": "identity", "depth": 8}

    with pytest.raises(ValueError, match="Constant, Gate cannot be stacked"):
        stacking.stack(networks)
    for shortcut in ("gate", "rezero", "dropout", "stochastic-depth"):
        with pytest.raises(ValueError, match="cannot be stacked together with convolutions"):
            stacking.stack([build_network("cnn", width=4, **{**images, "shortcut": shortcut})] * 2)
    with pytest.raises(RuntimeError, match="equal size"):
        stacking.stack([build_network("mlp", width=width, **images) for width in (8, 9)])


# ---- a stack computes what its networks compute -----------------------------------------------------------------------


@pytest.mark.parametrize(("stack", "norm", "placement"), every_two(STACKS, NORMS, PLACEMENTS))
def test_logits_and_gradients_of_a_stack_equal_those_of_its_networks(stack: str, norm: str, placement: str):
    networks = networks_of(STACKS[stack], norm, placement, scalars=norm == "none")
    assert_equal_gradients(networks, *batch_of(0))


CNN: dict[str, Any] = {"family": "cnn", "width": 8, "input_shape": (2, 9, 9)}  # 9: an odd side is halved, rounded up
CNN_STACKS = {
    **{name: STACKS[name] for name in ("constants", "constants of depth", "projection-all")},
    "projection": ["projection"] * T,
}


@pytest.mark.parametrize("placement", ["post", "pre"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("stack", CNN_STACKS)
def test_logits_and_gradients_of_a_stack_of_cnns_equal_those_of_its_networks(stack: str, norm: str, placement: str):
    networks = networks_of(CNN_STACKS[stack], norm, placement, **CNN)
    assert_equal_gradients(networks, *batch_of(0, input_shape=CNN["input_shape"]))


def test_logits_and_gradients_of_stacked_bottleneck_cnns_equal_those_of_the_networks():
    networks = networks_of(CNN_STACKS["constants"], "batch", "post", **CNN, block="bottleneck", depth=11, pad="both")
    assert_equal_gradients(networks, *batch_of(0, input_shape=CNN["input_shape"]))


def assert_equal_gradients(networks: list[Network], x: Tensor, labels: Tensor) -> None:
    """The logits, gradients and running statistics of the networks equal those of their stack."""
    stacked, draws = stacking.stack(networks), [noise_of(network, seed, 0) for seed, network in enumerate(networks)]
    logits = stacked(x, None, stacking.join_noise(draws))
    losses_of(logits, labels).sum().backward()

    for trial, network in enumerate(networks):
        single_logits = network(x[trial], None, draws[trial])
        functional.cross_entropy(single_logits, labels[trial]).backward()
        torch.testing.assert_close(logits[trial], single_logits, rtol=1e-10, atol=1e-10)
        for (name, parameter), stacked_parameter in zip(network.named_parameters(), stacked.parameters(), strict=True):
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            stacked_gradient = stacked_parameter.grad
            if stacked_gradient is None:
                stacked_gradient = torch.zeros_like(stacked_parameter)
            actual = stacked_gradient[trial].reshape(gradient.shape)
            torch.testing.assert_close(actual, gradient, rtol=1e-9, atol=1e-11, msg=name)
        unstacked = stacking.unstack(stacked.state_dict(), network.state_dict(), T, trial)
        for name, buffer in network.named_buffers():
            torch.testing.assert_close(unstacked[name], buffer, rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize(("stack", "norm", "dtype"), every_two(STACKS, NORMS, [torch.float32, torch.float64]))
def test_updates_of_a_stack_equal_those_of_its_networks(stack: str, norm: str, dtype: torch.dtype):
    steps, bound = (1, 1e-6) if dtype == torch.float32 else (50, 1e-9)
    networks = [network.to(dtype) for network in networks_of(STACKS[stack], norm, "post")]
    stacked = stacking.stack(networks)
    recipe = config.TrainingSettings(weight_decay=0.01, decay="weights", clip_norm=0.5, eps=1e-3)
    vectors = {name for name, value in networks[0].named_parameters() if value.ndim < 2}
    stacked_optimizer = training.make_optimizer(stacked, recipe, vectors)
    optimizers = [training.make_optimizer(network, recipe, vectors) for network in networks]
    for step in range(steps):
        x, labels = batch_of(step, dtype)
        draws = [noise_of(network, seed, step) for seed, network in enumerate(networks)]
        stacked_optimizer.zero_grad()
        losses_of(stacked(x, None, stacking.join_noise(draws)), labels).sum().backward()
        training.clip(stacked, T, 0.5)
        stacked_optimizer.step()
        for trial, (network, optimizer) in enumerate(zip(networks, optimizers, strict=True)):
            optimizer.zero_grad()
            functional.cross_entropy(network(x[trial], None, draws[trial]), labels[trial]).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimizer.step()

    for trial, network in enumerate(networks):
        unstacked = stacking.unstack(stacked.state_dict(), network.state_dict(), T, trial)
        for name, value in network.state_dict().items():
            torch.testing.assert_close(unstacked[name], value, rtol=bound, atol=bound, msg=name)


@pytest.mark.parametrize("norm", NORMS)
def test_a_stack_in_eval_mode_computes_the_logits_of_its_networks(norm: str):
    networks = networks_of(STACKS["constants"], norm, "post")
    stacked, (x, _) = stacking.stack(networks), batch_of(0)
    for _ in range(3):  # updates running statistics
        stacked(x)
        for trial, network in enumerate(networks):
            network(x[trial])
    stacked.eval()

    for trial, network in enumerate(networks):
        torch.testing.assert_close(stacked(x)[trial], network.eval()(x[trial]), rtol=1e-10, atol=1e-10)


def test_step_probes_of_a_stack_equal_those_of_its_networks():
    networks = networks_of(STACKS["constants"], "layer", "post")
    stacked, (x, labels) = stacking.stack(networks), batch_of(0)

    def measure(network: Network, images: Tensor, target: Tensor, trials: int) -> list[dict[str, list[probes.LogRow]]]:
        boundaries: list[Tensor] = []
        logits = network(images, boundaries)
        loss = losses_of(logits, target).sum() if trials > 1 else functional.cross_entropy(logits, target)
        for boundary in boundaries:
            boundary.retain_grad()
        torch.autograd.backward(loss)
        measurement = probes.begin(list(probes.PROBES), network, boundaries, trials)
        torch.optim.SGD(network.parameters(), 0.1).step()
        return probes.end(measurement)

    stack_rows = measure(stacked, x, labels, T)
    for trial, network in enumerate(networks):
        (single_rows,) = measure(network, x[trial], labels[trial], 1)
        for name, rows in single_rows.items():
            assert [row[:3] if name == "gradient_norm" else row[:2] for row in stack_rows[trial][name]] == [
                row[:3] if name == "gradient_norm" else row[:2] for row in rows
            ]
            for row, other in zip(stack_rows[trial][name], rows, strict=True):
                assert row[3:] == pytest.approx(other[3:], rel=1e-9)


# ---- trials are independent -------------------------------------------------------------------------------------------

LONG = (
    "network.shortcut=[identity, {scaled: {scale: 0.5}}]",
    "network.norm=batch",
    "training.steps=12",
    "training.clip_norm=1",
)


def train(experiment: config.Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """Trains all trials as planned for one core; with `monkeypatch`, the first trial has infinite weights."""
    build = training.loop.build

    def build_first_with_inf(trial: config.Trial, *arguments: Any) -> Network:
        network = build(trial, *arguments)
        if trial.name == experiment.trials[0].name:
            torch.nn.init.constant_(network.classifier.weight, float("inf"))
        return network

    if monkeypatch:
        monkeypatch.setattr(training.loop, "build", build_first_with_inf)
    trials = {trial.name: trial for trial in experiment.trials}
    for planned in config.make_plan(experiment, "cpu", 1).stacks:
        assert len(planned.trials) > 1
        training.train_stack([trials[name] for name in planned.trials], folder, planned.name, "cpu")


def lasting(folder: Path, trial: str) -> dict[str, bytes]:
    paths = (folder / "trials" / trial).iterdir()
    return {path.name: path.read_bytes() for path in paths if path.name not in ("timing.csv", "status.json")}


def test_a_diverged_trial_does_not_change_a_bit_of_the_others(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    experiment = tiny(*LONG)
    train(experiment, tmp_path / "uninterrupted")
    train(experiment, tmp_path / "diverged", monkeypatch)
    first, *others = [trial.name for trial in experiment.trials]
    result = runs.result(runs.trial_folder(tmp_path / "diverged", first))

    assert result
    assert (result.outcome, result.steps, result.test_accuracy) == ("diverged", 0, None)
    for name in others:
        assert lasting(tmp_path / "diverged", name) == lasting(tmp_path / "uninterrupted", name)


def test_no_rows_are_written_after_a_trial_has_diverged(tiny: Any, tmp_path: Path):
    """With SGD at this learning rate, the first update is finite and the second loss is not."""
    experiment = tiny("training.optimizer=sgd", "training.lr=1e30", "training.steps=12", "network.shortcut=[identity]")
    train(experiment, tmp_path)

    for trial in experiment.trials:
        folder = runs.trial_folder(tmp_path, trial.name)
        with (folder / "gradients.csv").open(newline="") as file:
            assert {row["step"] for row in csv.DictReader(file)} == {"0"}
        result = runs.result(folder)
        assert result
        assert (result.outcome, result.steps) == ("diverged", 1)


def test_the_status_shows_divergence_while_the_stack_is_still_training(tiny: Any, tmp_path: Path):
    state = training.initial_state(tiny("seeds=3", "network.plain=false").trials, tmp_path, "stack", "cpu")
    for trial_path in state.trial_paths:
        runs.clear(trial_path)
    state.step = 4
    training.state.write_status(state, "running")
    state.losses = [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, math.inf, 1.0]), torch.tensor([1.0, math.nan, 1.0])]
    training.state.mark_diverged(state, 5)
    statuses = [runs.status(trial_path) for trial_path in state.trial_paths]

    assert [status.diverged for status in statuses] == [None, 3, None]
    assert [(status.state, status.step) for status in statuses] == [("running", 4), ("running", 3), ("running", 4)]


def test_training_a_stack_twice_gives_identical_files(tiny: Any, tmp_path: Path):
    for name in ("a", "b"):
        train(tiny(*LONG, "seeds=2"), tmp_path / name)

    for trial in tiny(*LONG, "seeds=2").trials:
        assert lasting(tmp_path / "a", trial.name) == lasting(tmp_path / "b", trial.name)


@pytest.mark.parametrize("shortcut", ["identity", "dropout", "gate"])
def test_results_of_a_stack_equal_those_of_separately_trained_networks(shortcut: str, tiny: Any, tmp_path: Path):
    overrides = (f"network.shortcut=[{shortcut}]", "seeds=2", "precision=float64", "network.norm=layer", "training.steps=10")
    train(tiny(*overrides), tmp_path / "stack")
    for trial in tiny(*overrides).trials:
        training.train_stack([trial], tmp_path / "separate", trial.name, "cpu")
        stacked, separate = (runs.result(runs.trial_folder(tmp_path / name, trial.name)) for name in ("stack", "separate"))
        assert stacked
        assert separate
        for key, value in separate.content.items():
            if key not in ("sha256", "seal"):
                assert stacked.content[key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)


def test_results_of_stacked_cnns_equal_those_of_separately_trained_networks(tiny: Any, tmp_path: Path):
    cnn = ("network.family=cnn", "network.depth=[8]", "network.width=8", "network.norm=batch", "training.clip_norm=1")
    experiment = tiny(*cnn, "training.stack=4", "seeds=2", "precision=float64", "training.steps=10")
    train(experiment, tmp_path / "stack")
    for trial in experiment.trials:
        training.train_stack([trial], tmp_path / "separate", trial.name, "cpu")
        folders = [runs.trial_folder(tmp_path / name, trial.name) for name in ("stack", "separate")]
        for log in ("metrics.csv", "gradients.csv", "signals.csv"):
            stacked_rows, rows = (runs.read_rows(folder / log) for folder in folders)
            for stacked_row, row in zip(stacked_rows, rows, strict=True):
                for column, value in row.items():
                    if column in ("layer", "block"):
                        assert stacked_row[column] == value
                    else:
                        assert float(stacked_row[column]) == pytest.approx(float(value), rel=1e-9, abs=1e-12), column


@pytest.mark.parametrize("every", ["60s", "3"])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_a_stopped_and_resumed_stack_equals_an_uninterrupted_one(steps: int, every: str, tiny: Any, tmp_path: Path):
    experiment = tiny(*LONG, f"training.checkpoint_every={every}")
    train(experiment, tmp_path / "uninterrupted")
    calls: list[None] = []

    def stop() -> bool:
        calls.append(None)
        return len(calls) > steps

    (planned,) = config.make_plan(experiment, "cpu", 1).stacks
    trials = list(experiment.trials)
    assert training.train_stack(trials, tmp_path / "resumed", planned.name, "cpu", stop) == "interrupted"
    assert {runs.status(runs.trial_folder(tmp_path / "resumed", trial.name)).state for trial in trials} == {"interrupted"}
    assert training.train_stack(trials, tmp_path / "resumed", planned.name, "cpu") == "finished"

    for trial in trials:
        assert lasting(tmp_path / "resumed", trial.name) == lasting(tmp_path / "uninterrupted", trial.name)


def test_at_depth_2_all_arms_have_identical_predictions(tiny: Any, tmp_path: Path):
    experiment = tiny("network.depth=[2]", "network.shortcut=[identity, projection-all]", "training.steps=30")
    trials = {trial.name: trial for trial in experiment.trials}
    for planned in config.make_plan(experiment, "cpu", 1).stacks:
        training.train_stack([trials[name] for name in planned.trials], tmp_path, planned.name, "cpu")
    predictions = [lasting(tmp_path, trial.name)["predictions.csv.gz"] for trial in experiment.trials]

    assert len(predictions) == 3
    assert set(predictions) == {predictions[0]}
