"""Many trials as one network: what a stack computes is what its networks compute alone, and no trial touches another."""

import copy
import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from resexp import config, probes, runs, stacking, streams, training
from resexp.networks import NORMS, PLACEMENTS, Network, build_network, initialize
from resexp.shortcuts import SHORTCUTS

pytestmark = pytest.mark.usefixtures("torch_state")

T, B, K = 3, 6, 10
# The shortcuts of the three networks of a stack: constants side by side, every other shortcut with itself.
STACKS: dict[str, list[Any]] = {
    "constants": ["plain", "identity", {"scaled": {"scale": 0.5, "branch": 0.3}}],
    **{name: [name] * T for name in SHORTCUTS if name != "projection"},
}


def networks_of(shortcuts: list[Any], norm: str, placement: str, **more: Any) -> list[Network]:
    """Networks in float64 with weights, biases and scalars of their own."""
    found = []
    for seed, shortcut in enumerate(shortcuts):
        network = build_network(
            "mlp",
            depth=8,
            width=32,
            shortcut=shortcut,
            input_shape=(1, 4, 4),
            classes=K,
            norm=norm,
            placement=placement,
            **more,
        )
        initialize(network, seed, "he")
        for name, parameter in network.named_parameters():
            if parameter.ndim < 2:
                torch.nn.init.normal_(parameter, 0.5, 0.3, generator=streams.generator(seed, "test", name))
        found.append(network.double())
    return found


def batch_of(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(T, B, 1, 4, 4, generator=draw, dtype=torch.float64)
    return images.to(dtype), torch.randint(0, K, (T, B), generator=draw)


def draws_of(network: Network, seed: int, step: int) -> list[Any]:
    return network.sample_noise(B, lambda block: streams.generator(seed, "test", step, block))


def losses_of(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(T, B).mean(1)


# ---- what must not change ---------------------------------------------------------------------------------------------


def test_a_single_network_is_its_own_stack():
    (network, *_) = networks_of(STACKS["constants"], "layer", "post")

    assert stacking.stack([network]) is network
    state = network.state_dict()
    assert all(value is state[name] for name, value in stacking.unstack(state, state, 1, 0).items())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("stack", STACKS)
def test_stacking_leaves_the_networks_alone_and_gives_them_back(stack: str, norm: str):
    networks = networks_of(STACKS[stack], norm, "post")
    before = copy.deepcopy([network.state_dict() for network in networks])
    stacked = stacking.stack(networks)
    with torch.no_grad():
        stacked(batch_of(0)[0], None, stacking.join_noise([draws_of(network, 0, 0) for network in networks]))
        for parameter in stacked.parameters():
            parameter.add_(1.0)

    for trial, (network, state) in enumerate(zip(networks, before, strict=True)):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
        found = stacking.unstack(stacking.stack(networks).state_dict(), state, T, trial)
        assert list(found) == list(state)
        assert all(torch.equal(value, state[name]) and value.shape == state[name].shape for name, value in found.items())


def test_what_is_unstacked_has_storage_of_its_own():
    networks = networks_of(STACKS["constants"], "batch", "post")
    found = stacking.unstack(stacking.stack(networks).state_dict(), networks[0].state_dict(), T, 1)

    assert all(value.untyped_storage().nbytes() == value.numel() * value.element_size() for value in found.values())


def test_networks_of_other_shapes_or_kinds_are_refused():
    kinds = [networks_of(["identity"], "none", "post")[0], networks_of(["gate"], "none", "post")[0]]
    images = {"input_shape": (1, 8, 8), "classes": K, "shortcut": "identity", "depth": 8}

    with pytest.raises(ValueError, match="Gate, Scaled cannot be stacked"):
        stacking.stack(kinds)
    with pytest.raises(ValueError, match="Conv2d cannot be stacked"):
        stacking.stack([build_network("cnn", width=4, **images)] * 2)
    with pytest.raises(RuntimeError, match="equal size"):
        stacking.stack([build_network("mlp", width=width, **images) for width in (8, 9)])


# ---- what a stack computes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("stack", STACKS)
def test_logits_and_gradients_of_a_stack_are_those_of_its_networks(stack: str, norm: str, placement: str):
    networks = networks_of(STACKS[stack], norm, placement, scalars=norm == "none")
    stacked, (x, labels) = stacking.stack(networks), batch_of(0)
    draws = [draws_of(network, seed, 0) for seed, network in enumerate(networks)]
    logits = stacked(x, None, stacking.join_noise(draws))
    losses_of(logits, labels).sum().backward()

    for trial, network in enumerate(networks):
        alone = network(x[trial], None, draws[trial])
        functional.cross_entropy(alone, labels[trial]).backward()
        torch.testing.assert_close(logits[trial], alone, rtol=1e-10, atol=1e-10)
        for (name, parameter), of in zip(network.named_parameters(), stacked.parameters(), strict=True):
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            found = torch.zeros_like(of) if of.grad is None else of.grad
            torch.testing.assert_close(found[trial].reshape(gradient.shape), gradient, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize(("dtype", "steps", "bound"), [(torch.float32, 1, 1e-6), (torch.float64, 50, 1e-9)])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_takes_the_steps_of_its_networks(stack: str, norm: str, dtype: torch.dtype, steps: int, bound: float):
    networks = [network.to(dtype) for network in networks_of(STACKS[stack], norm, "post")]
    stacked = stacking.stack(networks)
    recipe = config.Training(weight_decay=0.01, decay="weights", clip_norm=0.5, eps=1e-3)
    vectors = {name for name, value in networks[0].named_parameters() if value.ndim < 2}
    whole = training.make_optimizer(stacked, recipe, vectors)
    single = [training.make_optimizer(network, recipe, vectors) for network in networks]
    for step in range(steps):
        x, labels = batch_of(step, dtype)
        draws = [draws_of(network, seed, step) for seed, network in enumerate(networks)]
        whole.zero_grad()
        losses_of(stacked(x, None, stacking.join_noise(draws)), labels).sum().backward()
        training.clip(stacked, T, 0.5)
        whole.step()
        for trial, (network, optimizer) in enumerate(zip(networks, single, strict=True)):
            optimizer.zero_grad()
            functional.cross_entropy(network(x[trial], None, draws[trial]), labels[trial]).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimizer.step()

    for trial, network in enumerate(networks):
        found = stacking.unstack(stacked.state_dict(), network.state_dict(), T, trial)
        for name, value in network.state_dict().items():
            torch.testing.assert_close(found[name], value, rtol=bound, atol=bound, msg=name)


@pytest.mark.parametrize("norm", NORMS)
def test_a_stack_in_evaluation_answers_as_its_networks_do(norm: str):
    networks = networks_of(STACKS["constants"], norm, "post")
    stacked, (x, _) = stacking.stack(networks), batch_of(0)
    for _ in range(3):  # running statistics have seen something
        stacked(x)
        for trial, network in enumerate(networks):
            network(x[trial])
    stacked.eval()

    for trial, network in enumerate(networks):
        torch.testing.assert_close(stacked(x)[trial], network.eval()(x[trial]), rtol=1e-10, atol=1e-10)


def test_a_reading_of_a_stack_is_that_of_its_networks():
    networks = networks_of(STACKS["constants"], "layer", "post")
    stacked, (x, labels) = stacking.stack(networks), batch_of(0)

    def read(network: Network, images: Tensor, target: Tensor, trials: int) -> list[dict[str, list[probes.LogRow]]]:
        boundaries: list[Tensor] = []
        logits = network(images, boundaries)
        loss = losses_of(logits, target).sum() if trials > 1 else functional.cross_entropy(logits, target)
        for boundary in boundaries:
            boundary.retain_grad()
        torch.autograd.backward(loss)
        reading = probes.begin(list(probes.PROBES), network, boundaries, trials)
        torch.optim.SGD(network.parameters(), 0.1).step()
        return probes.end(reading)

    whole = read(stacked, x, labels, T)
    for trial, network in enumerate(networks):
        (alone,) = read(network, x[trial], labels[trial], 1)
        for name, rows in alone.items():
            assert [row[:3] if name == "gradient_norm" else row[:2] for row in whole[trial][name]] == [
                row[:3] if name == "gradient_norm" else row[:2] for row in rows
            ]
            for row, other in zip(whole[trial][name], rows, strict=True):
                assert row[3:] == pytest.approx(other[3:], rel=1e-9)


# ---- trials do not touch each other -----------------------------------------------------------------------------------

LONG = (
    "network.shortcut=[identity, {scaled: {scale: 0.5}}]",
    "network.norm=batch",
    "training.steps=12",
    "training.clip_norm=1",
)


def train(experiment: config.Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """Trains the whole experiment as planned for one core; with `monkeypatch` the first trial starts at infinity."""
    build = training.loop.build

    def broken(trial: config.Trial, *arguments: Any) -> Network:
        network = build(trial, *arguments)
        if trial.name == experiment.trials[0].name:
            torch.nn.init.constant_(network.classifier.weight, float("inf"))
        return network

    if monkeypatch:
        monkeypatch.setattr(training.loop, "build", broken)
    trials = {trial.name: trial for trial in experiment.trials}
    for planned in config.make_plan(experiment, "cpu", 1).stacks:
        assert len(planned.trials) > 1
        training.train_stack([trials[name] for name in planned.trials], folder, planned.name, "cpu")


def lasting(folder: Path, trial: str) -> dict[str, bytes]:
    found = (folder / "trials" / trial).iterdir()
    return {path.name: path.read_bytes() for path in found if path.name not in ("timing.csv", "status.json")}


def test_one_trial_that_diverges_leaves_every_bit_of_the_others(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    experiment = tiny(*LONG)
    train(experiment, tmp_path / "whole")
    train(experiment, tmp_path / "broken", monkeypatch)
    first, *others = [trial.name for trial in experiment.trials]
    result = runs.result(runs.trial_folder(tmp_path / "broken", first))

    assert result
    assert (result["outcome"], result["steps"], result["test_accuracy"]) == ("diverged", 0, None)
    for name in others:
        assert lasting(tmp_path / "broken", name) == lasting(tmp_path / "whole", name)


def test_nothing_is_written_for_a_trial_from_the_step_at_which_it_diverged(tiny: Any, tmp_path: Path):
    """Under SGD at this rate the first update is finite and the second loss is not."""
    experiment = tiny("training.optimizer=sgd", "training.lr=1e30", "training.steps=12", "network.shortcut=[identity]")
    train(experiment, tmp_path)

    for trial in experiment.trials:
        place = runs.trial_folder(tmp_path, trial.name)
        with (place / "gradients.csv").open(newline="") as file:
            assert {row["step"] for row in csv.DictReader(file)} == {"0"}
        result = runs.result(place)
        assert result
        assert (result["outcome"], result["steps"]) == ("diverged", 1)


def test_that_a_trial_diverged_is_in_its_status_while_its_stack_trains_on(tiny: Any, tmp_path: Path):
    run = training.begin(tiny("seeds=3", "network.plain=false").trials, tmp_path, "stack", "cpu")
    for logs in run.logs:
        runs.clear(logs)
    run.step = 4
    training.state.write_status(run, "running")
    run.losses = [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, math.inf, 1.0]), torch.tensor([1.0, math.nan, 1.0])]
    training.state.mark_diverged(run, 5)
    found = [runs.status(logs) for logs in run.logs]

    assert [status.get("diverged") for status in found] == [None, 3, None]
    assert [(status["state"], status["step"]) for status in found] == [("running", 4), ("running", 3), ("running", 4)]


def test_the_same_stack_writes_the_same_bytes(tiny: Any, tmp_path: Path):
    for again in ("a", "b"):
        train(tiny(*LONG, "seeds=2"), tmp_path / again)

    for trial in tiny(*LONG, "seeds=2").trials:
        assert lasting(tmp_path / "a", trial.name) == lasting(tmp_path / "b", trial.name)


@pytest.mark.parametrize("shortcut", ["identity", "dropout", "gate"])
def test_a_stack_ends_where_its_trials_end_alone(shortcut: str, tiny: Any, tmp_path: Path):
    overrides = (f"network.shortcut=[{shortcut}]", "seeds=2", "precision=float64", "network.norm=layer", "training.steps=10")
    train(tiny(*overrides), tmp_path / "whole")
    for trial in tiny(*overrides).trials:
        training.train_stack([trial], tmp_path / "alone", trial.name, "cpu")
        whole, alone = (runs.result(runs.trial_folder(tmp_path / of, trial.name)) for of in ("whole", "alone"))
        assert whole
        assert alone
        for key, value in alone.items():
            if key not in ("sha256", "seal"):
                assert whole[key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)


@pytest.mark.parametrize("every", ["60s", "3"])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_a_stack_that_is_stopped_and_continued_equals_the_uninterrupted_one(steps: int, every: str, tiny: Any, tmp_path: Path):
    experiment = tiny(*LONG, f"training.checkpoint_every={every}")
    train(experiment, tmp_path / "whole")
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) > steps

    (planned,) = config.make_plan(experiment, "cpu", 1).stacks
    trials = list(experiment.trials)
    assert training.train_stack(trials, tmp_path / "parts", planned.name, "cpu", stop) == "interrupted"
    assert {runs.status(runs.trial_folder(tmp_path / "parts", trial.name))["state"] for trial in trials} == {"interrupted"}
    assert training.train_stack(trials, tmp_path / "parts", planned.name, "cpu") == "finished"

    for trial in trials:
        assert lasting(tmp_path / "parts", trial.name) == lasting(tmp_path / "whole", trial.name)


def test_at_depth_2_all_arms_end_with_the_same_bytes(tiny: Any, tmp_path: Path):
    experiment = tiny("network.depth=[2]", "network.shortcut=[identity, projection-all]", "training.steps=30")
    trials = {trial.name: trial for trial in experiment.trials}
    for planned in config.make_plan(experiment, "cpu", 1).stacks:
        training.train_stack([trials[name] for name in planned.trials], tmp_path, planned.name, "cpu")
    found = [lasting(tmp_path, trial.name)["predictions.csv.gz"] for trial in experiment.trials]

    assert len(found) == 3
    assert set(found) == {found[0]}
