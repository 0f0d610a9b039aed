"""Training of one trial, from the first batch to the result: recipes, pairs, logs, resuming, outcomes."""

import csv
import gzip
import hashlib
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from resexp import config, datasets, probes, runs, training
from resexp.config import TrainingSettings, Trial
from resexp.datasets import DataError, Images
from resexp.networks import build_network, initialize
from resexp.shortcuts import SHORTCUTS
from resexp.training import loop, measures

pytestmark = pytest.mark.usefixtures("torch_state")

CNN = ("network.family=cnn", "network.depth=[5]", "network.width=4", "network.block_layers=1", "network.norm=batch")


def finish(trial: Trial, folder: Path, stop: Callable[[], bool] = training.never) -> runs.Result:
    """Trains the trial in a stack of one, and returns its result."""
    assert training.train_stack([trial], folder, trial.name, "cpu", stop) == "finished"
    result = runs.result(runs.trial_folder(folder, trial.name))
    assert result
    return result


def rows(trial: Trial, folder: Path, log: str) -> list[dict[str, str]]:
    with (folder / "trials" / trial.name / log).open(newline="") as file:
        return list(csv.DictReader(file))


def weights(trial: Trial, folder: Path, name: str = "weights.pt") -> dict[str, Tensor]:
    state_dict: dict[str, Tensor] = torch.load(folder / "trials" / trial.name / name, weights_only=True)
    return state_dict


def lasting_files(folder: Path) -> dict[str, bytes]:
    """All files of an experiment, except timing.csv and status.json, which may differ."""
    may_differ = ("timing.csv", "status.json")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in may_differ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def first_pair(experiment: config.Experiment) -> tuple[Trial, Trial]:
    plain, residual = config.pairs(experiment.trials, experiment.axes)[0]
    return plain, residual


# ---- measurements do not change training -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override", ["gradients.every=1", "gradients.every=1000", "gradients.probes=[]", "gradients.probes=[signal]"]
)
def test_logging_gradients_does_not_change_the_weights(override: str, tiny: Any, tmp_path: Path):
    recipe = ["training.steps=14", "network.norm=layer", "training.clip_norm=0.5"]
    for trial, other in zip(tiny(*recipe).trials, tiny(*recipe, override).trials, strict=True):
        finish(trial, tmp_path / "a")
        finish(other, tmp_path / "b")
        a, b = weights(trial, tmp_path / "a"), weights(trial, tmp_path / "b")

        assert all(torch.equal(a[name], b[name]) for name in a)


def test_evaluation_does_not_change_the_network(tiny: Any):
    trial = tiny(*CNN).trials[0]
    training_data = training.load_training_data(trial.settings.data, "cpu", "float32")
    network = training.build(trial, training_data.input_shape, training_data.classes)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training.evaluate(network, training_data.validation, training_data)

    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_evaluation_ignores_label_smoothing(tiny: Any, tmp_path: Path):
    trials = {tmp_path / str(s): tiny(f"training.label_smoothing={s}").trials[0] for s in (0.0, 0.3)}
    for folder, trial in trials.items():
        finish(trial, folder)
    first, second = (rows(trial, folder, "metrics.csv")[0] for folder, trial in trials.items())

    assert first == second


# ---- the learning rate -----------------------------------------------------------------------------------------------

HE_2015 = {"lr": 0.1, "optimizer": "sgd", "schedule": "step", "milestones": [32000, 48000], "gamma": 0.1}
WARM = {"warmup": {"steps": 400, "factor": 0.1}}


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        pytest.param({"lr": 0.003}, {0: 0.003, 5: 0.003, 63999: 0.003}, id="constant"),
        pytest.param(HE_2015, {0: 0.1, 31999: 0.1, 32000: 0.01, 47999: 0.01, 48000: 0.001, 63999: 0.001}, id="He et al. 2015"),
        pytest.param({**HE_2015, **WARM}, {0: 0.01, 399: 0.01, 400: 0.1, 32000: 0.01}, id="He et al. 2015, 110 layers"),
        pytest.param({"lr": 2.0, **WARM}, {0: 0.2, 399: 0.2, 400: 2.0}, id="constant after a warm-up"),
        pytest.param(
            {"lr": 0.8, "schedule": "cosine"},
            {0: 0.8, 16000: 0.4 + 0.4 * math.sqrt(0.5), 32000: 0.4, 48000: 0.4 - 0.4 * math.sqrt(0.5), 64000: 0.0},
            id="cosine",
        ),
        pytest.param({"lr": 0.8, "schedule": "cosine", **WARM}, {0: 0.08, 32000: 0.4}, id="cosine after a warm-up"),
    ],
)
def test_the_learning_rate_is_a_function_of_the_step(recipe: dict[str, Any], expected: dict[int, float]):
    rate = training.learning_rates(TrainingSettings(**recipe), 64000)

    assert {step: rate(step) for step in expected} == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_each_update_uses_the_learning_rate_of_its_step(tiny: Any, tmp_path: Path):
    recipe = ["optimizer=sgd", "lr=0.1", "schedule=step", "milestones=[3, 5]", "gamma=0.5", "warmup={steps: 1, factor: 0.1}"]
    trial = tiny("precision=float64", *(f"training.{key}" for key in recipe)).trials[0]
    finish(trial, tmp_path)
    rates = {0: 0.01, 1: 0.1, 2: 0.1, 3: 0.05, 4: 0.05, 5: 0.025}

    logged_rows = rows(trial, tmp_path, "gradients.csv")
    assert {int(row["step"]) for row in logged_rows} == set(rates)
    for row in logged_rows:  # plain gradient descent: |dW| = lr |g|
        moved = float(row["update_ratio"]) * float(row["weight_norm"])
        assert moved == pytest.approx(rates[int(row["step"])] * float(row["weight_grad_norm"]), rel=2e-8)
    logged_rates = {int(row["step"]): float(row["lr"]) for row in rows(trial, tmp_path, "metrics.csv")}
    assert logged_rates == pytest.approx({0: 0.01, 4: 0.05, 6: 0.025})


# ---- the optimizer ---------------------------------------------------------------------------------------------------


def network_of(shortcut: str = "skipinit", norm: str = "batch", **more: Any) -> Any:
    shape = {"depth": 6, "width": 8, "input_shape": (1, 4, 4), "classes": 3}
    return build_network("mlp", shortcut=shortcut, norm=norm, **{**shape, **more})


@pytest.mark.parametrize(
    ("recipe", "kind", "values"),
    [
        pytest.param(
            {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
            torch.optim.SGD,
            {"lr": 0.1, "momentum": 0.9, "nesterov": True},
            id="sgd",
        ),
        pytest.param(
            {"optimizer": "adam", "betas": [0.8, 0.9], "eps": 1e-4},
            torch.optim.Adam,
            {"lr": 1e-3, "betas": (0.8, 0.9), "eps": 1e-4},
            id="adam",
        ),
        pytest.param({"optimizer": "adamw"}, torch.optim.AdamW, {"betas": (0.9, 0.999), "eps": 1e-8}, id="adamw"),
    ],
)
@pytest.mark.parametrize("decay", ["all", "weights"])
def test_the_optimizer_has_the_settings_of_the_recipe_and_decays_the_chosen_parameters(
    decay: str, recipe: dict[str, Any], kind: type, values: dict[str, Any]
):
    network = network_of()
    vectors = {name for name, parameter in network.named_parameters() if parameter.ndim < 2}
    optimizer = training.make_optimizer(network, TrainingSettings(**recipe, weight_decay=0.02, decay=decay), vectors)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}

    assert type(optimizer) is kind
    assert all(group[key] == value for group in optimizer.param_groups for key, value in values.items())
    matrices = ("layer.weight", "layer1.weight", "layer2.weight", "classifier.weight")
    assert {name: decays[id(p)] for name, p in network.named_parameters()} == {
        name: 0.02 if decay == "all" or name.endswith(matrices) else 0.0 for name, _ in network.named_parameters()
    }


# ---- one forward and backward pass --------------------------------------------------------------------------------------


def test_gradients_are_those_of_the_mean_loss_and_reach_only_what_is_asked_for():
    network, x, labels = network_of(norm="layer").double(), torch.randn(6, 1, 4, 4).double(), torch.arange(6) % 3
    boundaries: list[Tensor] = []
    losses, logits = training.forward_backward(network, x, labels, boundaries, label_smoothing=0.1, boundaries_only=True)
    mean_loss = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert losses.mean().item() == pytest.approx(mean_loss.item())
    assert all(parameter.grad is None for parameter in network.parameters())

    expected = torch.autograd.grad(functional.cross_entropy(network(x), labels), list(network.parameters()))
    more_boundaries: list[Tensor] = []
    training.forward_backward(network, x, labels, more_boundaries)
    for parameter, grad in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad)
    assert len(more_boundaries) == len(boundaries)
    assert all(boundary.grad is not None for boundary in (*boundaries, *more_boundaries))


# ---- pairs: equal weights, equal batches ------------------------------------------------------------------------------


@pytest.fixture
def color_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty random color images in place of Fashion-MNIST, for which augmentation is allowed."""
    pixels = torch.randint(0, 256, (60, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(60) % 5, tuple("abcde"))
    monkeypatch.setitem(datasets.DATASETS, "fashion-mnist", lambda _source, _part: images)
    training.load_training_data.cache_clear()


COLOR_IMAGES = ("data.name=fashion-mnist", "data.limit=48", "data.augment=crop-flip", "training.steps=7")


def batches_of(trial: Trial, first: int, count: int) -> list[tuple[Tensor, Tensor]]:
    training_data = training.load_training_data(trial.settings.data, "cpu", "float32")
    batch_size, augment = trial.settings.training.batch_size, trial.settings.data.augment
    stream = training.batches(training_data, [trial.seed], batch_size, augment, first)
    return [next(stream) for _ in range(count)]


@pytest.mark.parametrize("overrides", [(), COLOR_IMAGES], ids=["unchanged", "augmented"])
def test_both_arms_of_a_pair_receive_the_same_batches_in_every_epoch(overrides: tuple[str, ...], color_images: None, tiny: Any):
    plain, residual = (batches_of(trial, 0, 8) for trial in first_pair(tiny(*overrides)))

    for (x, labels), (other, other_labels) in zip(plain, residual, strict=True):
        assert torch.equal(x, other)
        assert torch.equal(labels, other_labels)
    assert len({x.sum().item() for x, _ in plain}) == 8


@pytest.mark.parametrize("overrides", [(), COLOR_IMAGES], ids=["unchanged", "augmented"])
@pytest.mark.parametrize("step", [1, 3, 4, 6])
def test_a_stream_that_starts_at_a_later_step_yields_the_batches_of_these_steps(
    step: int, overrides: tuple[str, ...], color_images: None, tiny: Any
):
    trial = tiny(*overrides).trials[0]
    expected, later = batches_of(trial, 0, 8)[step:], batches_of(trial, step, 8 - step)

    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(expected, later, strict=True))


def test_a_batch_contains_the_next_normalized_images_in_the_order_of_the_epoch(tiny: Any):
    trial = tiny().trials[0]
    training_data = training.load_training_data(trial.settings.data, "cpu", "float32")
    raw = training_data.training.pixels.numpy().astype(np.float64)
    for step, (x, labels) in enumerate(batches_of(trial, 0, 8)):
        index = datasets.order(0, step // 4, 64)[step % 4 * 16 :][:16].numpy()

        np.testing.assert_allclose(x.numpy(), (raw[index] - raw.mean()) / raw.std(), rtol=1e-5, atol=1e-6)
        assert labels.tolist() == training_data.training.labels[index].tolist()


def test_different_seeds_receive_different_batches(tiny: Any):
    a, b = (next(trial for trial in tiny("seeds=2").trials if trial.seed == seed) for seed in (0, 1))

    assert not torch.equal(batches_of(a, 0, 1)[0][0], batches_of(b, 0, 1)[0][0])


@pytest.mark.parametrize("family", ["mlp", "cnn"])
@pytest.mark.parametrize("shortcut", [name for name in SHORTCUTS if name != "plain"])
def test_pairs_have_bit_identical_initial_weights(shortcut: str, family: str, tiny: Any):
    if (shortcut, family) == ("projection", "mlp"):
        pytest.skip("refused for an mlp, whose blocks never change shape")
    cell = CNN if family == "cnn" else ()
    arms = first_pair(tiny(*cell, f"network.shortcut=[{shortcut}]", "network.init=he"))
    plain, residual = (dict(training.build(trial, (1, 8, 8), 10).named_parameters()) for trial in arms)

    assert plain.keys() <= residual.keys()
    assert all(torch.equal(weight, residual[name]) for name, weight in plain.items())
    if shortcut == "identity":
        assert plain.keys() == residual.keys()


# ---- reproducibility and resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [(), (*CNN, "training.optimizer=sgd", "training.momentum=0.9")], ids=["mlp", "cnn"])
def test_training_a_trial_twice_gives_identical_files(overrides: tuple[str, ...], tiny: Any, tmp_path: Path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        for trial in tiny(*overrides).trials:
            finish(trial, folder)

    files = lasting_files(tmp_path / "a")
    assert files == lasting_files(tmp_path / "b")
    assert {Path(name).name for name in files} == {
        "trial.yaml", "result.json", "metrics.csv", "gradients.csv", "signals.csv",
        "predictions.csv.gz", "weights.pt", "best.pt",
    }  # fmt: skip
    assert len({files[f"trials/{trial.name}/weights.pt"] for trial in tiny(*overrides).trials}) == 2


DROPOUT = ("network.shortcut=[dropout]",)


@pytest.mark.parametrize("shortcut", ["dropout", "stochastic-depth"])
def test_noise_depends_on_seed_step_and_block_only(shortcut: str, tiny: Any):
    trial = first_pair(tiny(f"network.shortcut={shortcut}", "network.depth=[40]"))[1]
    network, x = training.build(trial, (1, 8, 8), 10), torch.zeros(3, 1, 8, 8)
    other = trial.model_copy(update={"seed": 1})
    noise = {(t.seed, step): training.sample_noise(network, [t.seed], step, x) for t in (trial, other) for step in (0, 1)}
    repeated = training.sample_noise(network, [trial.seed], 1, x)

    assert all(torch.equal(a, b) for a, b in zip(noise[0, 1], repeated, strict=True))
    assert len({str([d.tolist() for d in draws]) for draws in noise.values()}) == 4
    assert len({str(d.tolist()) for d in repeated}) > 1


RESUMED = ("training.steps=10", "training.schedule=cosine", "training.weight_decay=0.01")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Trial], Path]:
    """The experiment folder of a trial after training without a stop; equal trials are trained once."""
    folders: dict[str, Path] = {}

    def train(trial: Trial) -> Path:
        settings = trial.model_dump_json()
        if settings not in folders:
            folders[settings] = tmp_path_factory.mktemp("uninterrupted")
            finish(trial, folders[settings])
        return folders[settings]

    return train


@pytest.mark.parametrize("every", ["60s", "3"])
@pytest.mark.parametrize("steps", [0, 1, 3, 4, 9])
@pytest.mark.parametrize(
    "cell", [(), DROPOUT, (*CNN, "training.optimizer=sgd", "training.momentum=0.9")], ids=["mlp", "with dropout", "cnn"]
)
def test_a_stopped_and_resumed_training_equals_an_uninterrupted_one(
    cell: tuple[str, ...], steps: int, every: str, tiny: Any, uninterrupted: Callable[[Trial], Path], tmp_path: Path
):
    trial = first_pair(tiny(*cell, *RESUMED, f"training.checkpoint_every={every}"))[1]
    calls: list[None] = []

    def stop() -> bool:
        calls.append(None)
        return len(calls) > steps

    assert training.train_stack([trial], tmp_path / "resumed", trial.name, "cpu", stop) == "interrupted"
    assert runs.status(tmp_path / "resumed" / "trials" / trial.name).step == steps
    assert runs.checkpoint_file(tmp_path / "resumed", trial.name).exists()
    finish(trial, tmp_path / "resumed")

    assert lasting_files(tmp_path / "resumed") == lasting_files(uninterrupted(trial))


def test_a_training_stopped_during_an_evaluation_writes_no_rows_of_it_and_resumes_to_the_same_files(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trial = first_pair(tiny(*RESUMED, "network.norm=batch"))[1]
    monkeypatch.setattr(measures, "EVALUATION_BATCH", 60)
    calls: list[None] = []

    def stop(limit: float) -> bool:
        calls.append(None)
        return len(calls) > limit

    finish(trial, tmp_path / "uninterrupted", lambda: stop(math.inf))
    epochs, total = len(rows(trial, tmp_path / "uninterrupted", "metrics.csv")), len(calls)
    logged = set()
    for limit in range(1, total, 5):
        calls.clear()
        folder = tmp_path / str(limit)
        assert training.train_stack([trial], folder, trial.name, "cpu", lambda limit=limit: stop(limit)) == "interrupted"
        assert len(calls) == limit + 1  # nothing is evaluated after the stop request
        assert runs.result(runs.trial_folder(folder, trial.name)) is None
        logged.add(len(rows(trial, folder, "metrics.csv")) if (folder / "trials" / trial.name / "metrics.csv").exists() else 0)
        finish(trial, folder)
        assert lasting_files(folder) == lasting_files(tmp_path / "uninterrupted")
    assert logged == set(range(epochs + 1))  # stopped in every evaluation, including that of the test set


@pytest.mark.parametrize("killed_at", [1, 5, 6, 8])
def test_a_training_killed_between_checkpoints_and_resumed_equals_an_uninterrupted_one(
    killed_at: int, tiny: Any, tmp_path: Path
):
    trial = first_pair(tiny(*RESUMED, "training.checkpoint_every=3"))[1]
    finish(trial, tmp_path / "uninterrupted")
    calls: list[None] = []

    def die() -> bool:
        calls.append(None)
        if len(calls) > killed_at:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        training.train_stack([trial], tmp_path / "resumed", trial.name, "cpu", die)
    for log in runs.LOGS:
        with (tmp_path / "resumed" / "trials" / trial.name / log).open("a") as file:
            file.write(f"{killed_at},0,0.0")  # an incomplete line
    finish(trial, tmp_path / "resumed")

    assert lasting_files(tmp_path / "resumed") == lasting_files(tmp_path / "uninterrupted")


def test_files_of_an_unfinished_trial_without_a_checkpoint_are_deleted(tiny: Any, tmp_path: Path):
    trial = tiny().trials[0]
    finish(trial, tmp_path / "clean")
    logs = tmp_path / "mixed" / "trials" / trial.name
    logs.mkdir(parents=True)
    runs.append(logs / "metrics.csv", [(0, 0, 9.0, 9.0, 9.0, 9.0, 9.0)])
    (logs / "something").write_text("x")
    finish(trial, tmp_path / "mixed")

    assert lasting_files(tmp_path / "mixed") == lasting_files(tmp_path / "clean")


# ---- log rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "steps", "epochs"),
    [
        pytest.param(["training.steps=6"], [0, 4, 6], [0, 1, 1], id="ends within an epoch"),
        pytest.param(["training.steps=8"], [0, 4, 8], [0, 1, 2], id="ends with an epoch"),
        pytest.param(["training.epochs=2"], [0, 4, 8], [0, 1, 2], id="given in epochs"),
        pytest.param(["training.steps=2"], [0, 2], [0, 0], id="less than an epoch"),
        pytest.param(["training.epochs=1", "training.batch_size=24"], [0, 2], [0, 1], id="the remainder of 64 / 24 is dropped"),
    ],
)
def test_metrics_have_a_row_at_initialization_after_each_epoch_and_after_the_last_step(
    overrides: list[str], steps: list[int], epochs: list[int], tiny: Any, tmp_path: Path
):
    trial = tiny(*overrides).trials[0]
    result = finish(trial, tmp_path)
    metrics = rows(trial, tmp_path, "metrics.csv")

    assert [(int(row["step"]), int(row["epoch"])) for row in metrics] == list(zip(steps, epochs, strict=True))
    assert result.steps == steps[-1]
    assert float(metrics[-1]["train_accuracy"]) == result.train_accuracy


def test_logging_steps_are_0_to_10_every_nth_step_and_the_last_step_of_the_first_epoch(tiny: Any, tmp_path: Path):
    trial = tiny("data.limit=480", "training.steps=45", "gradients.every=12").trials[0]
    finish(trial, tmp_path)
    expected = [*range(11), 12, 24, 29, 36]  # an epoch is 480 / 16 = 30 steps: 0 to 29

    for log, rows_per_step in (("gradients.csv", 4), ("signals.csv", 2)):
        assert [int(row["step"]) for row in rows(trial, tmp_path, log)] == [s for s in expected for _ in range(rows_per_step)]


def test_the_slopes_of_a_result_are_measured_at_step_0_and_at_the_last_step_of_the_first_epoch(tiny: Any, tmp_path: Path):
    trial = tiny("network.depth=[10]", "training.epochs=3", "gradients.every=1000").trials[0]
    result = finish(trial, tmp_path)

    for key, step in (("slope_start", 0), ("slope_end", 3)):
        flow = [float(row["activation_grad_norm"]) for row in rows(trial, tmp_path, "signals.csv") if row["step"] == str(step)]
        fit = np.polyfit([1, 2, 3], np.log10(flow[1:-1]), 1)  # interior boundaries x_1 .. x_3 of x_0 .. x_4
        assert getattr(result, key) == pytest.approx(-fit[0], rel=1e-6)


# ---- logged values against a separate computation --------------------------------------------------------------------

DOUBLE = ("network.depth=[6]", "precision=float64", "training.steps=1")


def forward(W: dict[str, Tensor], x: Tensor, shortcut: str) -> tuple[list[Tensor], Tensor]:
    """Boundaries x_0, x_1, x_2 and logits of two blocks of two layers with placement `post`."""
    h = (x @ W["stem.layer.weight"].T + W["stem.layer.bias"]).clamp(min=0)
    boundaries = [h]
    for k in (0, 1):
        inner = (h @ W[f"blocks.{k}.branch.layer1.weight"].T + W[f"blocks.{k}.branch.layer1.bias"]).clamp(min=0)
        branch = inner @ W[f"blocks.{k}.branch.layer2.weight"].T + W[f"blocks.{k}.branch.layer2.bias"]
        if shortcut == "identity":
            branch = branch + h
        elif shortcut == "projection-all":
            branch = branch + h @ W[f"blocks.{k}.shortcut.map.weight"].T
        elif shortcut == "skipinit":
            branch = W[f"blocks.{k}.shortcut.alpha"] * branch + h
        h = branch.clamp(min=0)
        boundaries.append(h)
    return boundaries, h @ W["classifier.weight"].T + W["classifier.bias"]


def first_update(recipe: TrainingSettings, weight: Tensor, grad: Tensor, total: float) -> Tensor:
    """The first update of SGD with momentum, Adam and AdamW in closed form; `total` is the norm of the full gradient."""
    if recipe.clip_norm is not None:
        grad = grad * min(1.0, recipe.clip_norm / (total + 1e-6))
    if recipe.optimizer == "adamw":
        return recipe.lr * (recipe.weight_decay * weight + grad / (grad.abs() + recipe.eps))
    grad = grad + recipe.weight_decay * weight
    if recipe.optimizer == "adam":
        return recipe.lr * grad / (grad.abs() + recipe.eps)
    return recipe.lr * grad * ((1 + recipe.momentum) if recipe.nesterov else 1)


@pytest.mark.parametrize(
    ("shortcut", "recipe"),
    [
        pytest.param("plain", [], id="plain, adam"),
        pytest.param("identity", [], id="identity, adam"),
        pytest.param("projection-all", ["eps=1e-3"], id="projection-all, adam with a large eps"),
        pytest.param("skipinit", ["weight_decay=0.1"], id="skipinit, adam with decay"),
        pytest.param("identity", ["optimizer=adamw", "weight_decay=0.1", "label_smoothing=0.2"], id="adamw, smoothed"),
        pytest.param(
            "identity",
            ["optimizer=sgd", "lr=0.1", "momentum=0.9", "nesterov=true", "clip_norm=0.01", "weight_decay=0.05"],
            id="sgd, nesterov, clipped",
        ),
    ],
)
def test_every_logged_value_agrees_with_a_separate_float64_computation(
    shortcut: str, recipe: list[str], tiny: Any, tmp_path: Path
):
    experiment = tiny(*DOUBLE, f"network.shortcut=[{shortcut}]", *(f"training.{key}" for key in recipe))
    trial = next(trial for trial in experiment.trials if trial.arm == shortcut)
    finish(trial, tmp_path)
    training_data = training.load_training_data(trial.settings.data, "cpu", "float64")
    W = {name: p.detach().requires_grad_() for name, p in training.build(trial, (1, 8, 8), 10).named_parameters()}
    raw, index = training_data.training.pixels.double().flatten(1), datasets.order(trial.seed, 0, 64)[:16]
    boundaries, logits = forward(W, (raw[index] - raw.mean()) / raw.std(correction=0), shortcut)
    log_p, smoothing = logits - logits.exp().sum(1, keepdim=True).log(), trial.settings.training.label_smoothing
    chosen = log_p[torch.arange(16), training_data.training.labels[index]]
    losses = -(1 - smoothing) * chosen - smoothing * log_p.mean(1)
    grads = dict(zip(W, torch.autograd.grad(losses.mean(), list(W.values()), retain_graph=True), strict=True))
    example_grads = torch.autograd.grad(losses.sum(), boundaries)  # row i is the gradient of the loss of example i

    signals = rows(trial, tmp_path, "signals.csv")
    assert [(row["index"], row["block"]) for row in signals] == [("0", "stem"), ("1", "blocks.0"), ("2", "blocks.1")]
    nine_digits = {"rel": 5.1e-9, "abs": 0}
    for row, x, grad in zip(signals, boundaries, example_grads, strict=True):
        assert float(row["activation_rms"]) == pytest.approx(x.detach().square().mean().sqrt().item(), **nine_digits)
        rms_of_norms = grad.square().sum(1).mean().sqrt().item()
        assert float(row["activation_grad_norm"]) == pytest.approx(rms_of_norms, **nine_digits)

    names = [("0", "stem", "stem.layer"), ("5", "classifier", "classifier")]
    for k in (0, 1):
        names += [(str(2 * k + n), f"blocks.{k}.layer{n}", f"blocks.{k}.branch.layer{n}") for n in (1, 2)]
        names += [(str(2 * k + 2), f"blocks.{k}.shortcut", f"blocks.{k}.shortcut.map")] * (shortcut == "projection-all")
    by_layer = {row["layer"]: row for row in rows(trial, tmp_path, "gradients.csv")}
    assert list(by_layer) == [layer for _, layer, _ in sorted(names)]
    total = math.sqrt(sum(g.square().sum().item() for g in grads.values()))
    for index_text, layer, name in names:
        row, w, g = by_layer[layer], W[f"{name}.weight"].detach(), grads[f"{name}.weight"]
        update = first_update(trial.settings.training, w, g, total)
        assert (row["step"], row["epoch"], row["index"], row["parameters"]) == ("0", "0", index_text, str(w.numel()))
        assert float(row["weight_grad_norm"]) == pytest.approx(g.norm().item(), **nine_digits)
        assert float(row["weight_grad_rms"]) == pytest.approx(g.square().mean().sqrt().item(), **nine_digits)
        assert float(row["weight_norm"]) == pytest.approx(w.norm().item(), **nine_digits)
        assert float(row["update_ratio"]) == pytest.approx((update.norm() / w.norm()).item(), **nine_digits)


@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_of_a_plain_64_layer_network_vanish_at_the_predicted_rate_and_no_norm_is_zero(
    seed: int, tiny: Any, tmp_path: Path
):
    overrides = ["data.limit=null", "network.depth=[64]", "network.width=64", "training.batch_size=64", "training.steps=1"]
    trial = tiny(*overrides, f"seeds=[{seed}]").trials[0]
    result = finish(trial, tmp_path)
    norms = [float(row["weight_grad_norm"]) for row in rows(trial, tmp_path, "gradients.csv")]
    norms += [float(row["activation_grad_norm"]) for row in rows(trial, tmp_path, "signals.csv")]

    assert trial.arm == "plain"
    assert len(norms) == 64 + 32
    assert 0 < min(norms) < 1e-20
    assert result.slope_start == pytest.approx(2 * math.log10(6**-0.5), abs=0.05)  # -0.78


# ---- evaluation and outcome ------------------------------------------------------------------------------------------


def test_evaluation_equals_the_mean_over_single_images(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measures, "EVALUATION_BATCH", 7)
    trial = tiny(*CNN).trials[0]
    training_data = training.load_training_data(trial.settings.data, "cpu", "float64")
    network = training.build(trial, training_data.input_shape, training_data.classes).double()
    for x, _ in batches_of(trial, 0, 3):
        network(x.double())  # updates the statistics of batch norm
    ((loss, accuracy),) = training.evaluate(network, training_data.training, training_data)

    network.eval()
    losses, correct = [], 0
    for pixels, label in zip(training_data.training.pixels, training_data.training.labels.tolist(), strict=True):
        scores = network(((pixels.double() - training_data.shift) / training_data.scale)[None])[0].tolist()
        losses.append(math.log(math.fsum(map(math.exp, scores))) - scores[label])
        correct += scores.index(max(scores)) == label
    assert loss == pytest.approx(math.fsum(losses) / 64, rel=1e-12)
    assert accuracy == correct / 64
    assert all(map(math.isnan, training.evaluate(network, training_data.training.at(torch.arange(0)), training_data)[0]))


def labels_of(counts: Iterable[int]) -> Tensor:
    return torch.tensor([k for k, count in enumerate(counts) for _ in range(count)])


@pytest.mark.parametrize(
    ("counts", "accuracy", "expected"),
    [
        # share of the most frequent class p, standard error sqrt(p (1 - p) / n)
        pytest.param([10] * 10, 0.18, "at_chance", id="p 0.1, n 100: the threshold is 0.1 + 3 x 0.03 = 0.19"),
        pytest.param([10] * 10, 0.20, "above_chance", id="above 0.19"),
        pytest.param([10] * 10, 0.0, "at_chance", id="worse than chance"),
        pytest.param([75, 25], 0.87, "at_chance", id="p 0.75, n 100: the threshold is 0.75 + 3 x 0.0433 = 0.8799"),
        pytest.param([75, 25], 0.89, "above_chance", id="above 0.8799"),
        pytest.param([1000] * 10, 0.108, "at_chance", id="p 0.1, n 10000: the threshold is 0.1 + 3 x 0.003 = 0.109"),
        pytest.param([1000] * 10, 0.11, "above_chance", id="above 0.109"),
    ],
)
def test_at_chance_is_within_three_binomial_standard_errors_of_the_most_frequent_class(
    counts: list[int], accuracy: float, expected: str
):
    assert training.outcome(accuracy, 0.1, labels_of(counts)) == expected


@pytest.mark.parametrize(
    ("counts", "accuracy", "loss", "expected"),
    [
        pytest.param([10] * 10, 0.195, math.log(10) - 1e-9, "above_chance", id="just below ln 10"),
        pytest.param([10] * 10, 0.195, math.log(10) + 1e-9, "at_chance", id="just above ln 10: worse than guessing"),
        pytest.param([1000] * 10, 0.12, 5.0, "at_chance", id="2 points above chance with twice the loss of guessing"),
        pytest.param([1000] * 10, 0.19999, 8.0, "at_chance", id="just below twice the share of a class"),
        pytest.param([1000] * 10, 0.2, 8.0, "above_chance", id="twice the accuracy of guessing, but overconfident"),
        pytest.param([1000] * 10, 0.42, 6.76, "above_chance", id="an exploding residual network of the demo"),
        pytest.param([75, 25], 0.89, 0.562, "above_chance", id="entropy of 3/4 and 1/4 = 0.5623"),
        pytest.param([75, 25], 0.89, 0.563, "at_chance", id="above that entropy; twice 3/4 is not an accuracy"),
        pytest.param([75, 25, 0], 0.89, 0.562, "above_chance", id="a class without an image"),
    ],
)
def test_a_network_with_the_loss_of_guessing_is_at_chance_unless_it_has_twice_the_accuracy(
    counts: list[int], accuracy: float, loss: float, expected: str
):
    assert training.outcome(accuracy, loss, labels_of(counts)) == expected


# ---- the result ------------------------------------------------------------------------------------------------------


def test_a_result_agrees_with_the_files_of_the_trial(tiny: Any, tmp_path: Path):
    trial = tiny("training.epochs=5", "training.lr=0.01").trials[1]
    result = finish(trial, tmp_path)
    logs = tmp_path / "trials" / trial.name
    predictions = list(csv.DictReader(gzip.decompress((logs / "predictions.csv.gz").read_bytes()).decode().splitlines()))
    correct = [row["label"] == row["prediction"] for row in predictions]
    losses = [-math.log(float(row["label_probability"])) for row in predictions]

    assert [int(row["index"]) for row in predictions] == list(range(359))
    assert result.test_accuracy == pytest.approx(sum(correct) / 359, rel=1e-8)
    assert result.test_loss == pytest.approx(math.fsum(losses) / 359, rel=1e-7)
    assert (result.trial, result.arm, result.seed, result.status) == (trial.name, "identity", 0, "finished")
    assert result.outcome == "above_chance"
    assert result.parameters == sum(w.numel() for w in weights(trial, tmp_path).values())
    assert result.multiply_adds == 64 * 8 + 2 * 8 * 8 + 8 * 10
    digested = {path.name for path in logs.iterdir()} - {"result.json", "timing.csv", "status.json"}
    assert result.sha256 == {name: hashlib.sha256((logs / name).read_bytes()).hexdigest() for name in digested}


@pytest.mark.parametrize(
    ("validation", "best_epoch"),
    [
        # (loss, accuracy) after epochs 0, 1, 2, ...
        pytest.param([(9, 0.1), (2, 0.5), (1, 0.4)], 1, id="the highest accuracy, whatever the loss"),
        pytest.param([(9, 0.1), (2, 0.5), (1, 0.5), (3, 0.5)], 2, id="ties by lower loss"),
        pytest.param([(9, 0.1), (2, 0.5), (2, 0.5), (2, 0.5)], 1, id="then the earlier epoch"),
        pytest.param([(1, 0.5), (2, 0.4), (3, 0.3)], 0, id="the untrained network if training only reduces accuracy"),
        pytest.param([(9, 0.1), (2, 0.3), (math.nan, 0.5)], 1, id="never an epoch whose loss is not finite"),
    ],
)
def test_best_is_the_highest_validation_accuracy_then_the_lower_loss_then_the_earlier_epoch(
    validation: list[tuple[float, float]], best_epoch: int, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trial = tiny(f"training.epochs={len(validation) - 1}").trials[0]
    training_data = training.load_training_data(trial.settings.data, "cpu", "float32")
    scripted, state_dicts = iter(validation), []

    def evaluate(
        network: Any, images: Images, data: training.TrainingData, trials: int, _stop: Any
    ) -> list[tuple[float, float]]:
        if images is not training_data.validation:
            return measures.evaluate(network, images, data, trials)
        state_dicts.append({name: value.clone() for name, value in network.state_dict().items()})
        return [next(scripted)]

    monkeypatch.setattr(loop, "evaluate", evaluate)
    result = finish(trial, tmp_path)
    best = weights(trial, tmp_path, "best.pt")

    assert result.best_epoch == best_epoch
    assert all(torch.equal(value, state_dicts[best_epoch][name]) for name, value in best.items())
    network = training.build(trial, training_data.input_shape, training_data.classes)
    network.load_state_dict(best)
    ((loss, accuracy),) = measures.evaluate(network, training.test_images(trial.settings.data, "cpu"), training_data)
    assert (result.best_test_loss, result.best_test_accuracy) == pytest.approx((loss, accuracy), rel=1e-8)


def test_without_a_validation_set_there_is_no_best_epoch(tiny: Any, tmp_path: Path):
    trial = tiny("data.validation=0").trials[0]
    result = finish(trial, tmp_path)

    assert [getattr(result, key) for key in ("best_epoch", "best_test_accuracy", "best_test_loss", "val_accuracy")] == [
        None
    ] * 4
    assert not (tmp_path / "trials" / trial.name / "best.pt").exists()
    assert rows(trial, tmp_path, "metrics.csv")[-1]["val_accuracy"] == "nan"
    assert result.test_accuracy is not None


def test_the_test_set_is_read_once_after_the_last_update(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read, events = datasets.DATASETS["digits"], []

    def recording_reader(source: datasets.Source, split: str) -> Images:
        events.append(split)
        return read(source, split)

    def stop() -> bool:
        events.append("step")
        return False

    monkeypatch.setitem(datasets.DATASETS, "digits", recording_reader)
    training.load_training_data.cache_clear()
    training.test_images.cache_clear()
    finish(tiny().trials[0], tmp_path, stop)

    assert events == ["train", *["step"] * 7, "test"]


# ---- divergence, precision, devices ----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [6, 1], ids=["in the middle", "in the last update"])
def test_a_trial_with_a_non_finite_loss_has_the_outcome_diverged(steps: int, tiny: Any, tmp_path: Path):
    trial = tiny("training.optimizer=sgd", "training.lr=1e30", f"training.steps={steps}").trials[1]
    result = finish(trial, tmp_path)
    text = (tmp_path / "trials" / trial.name / "result.json").read_text()

    assert result.outcome == "diverged"
    assert [getattr(result, key) for key in ("test_accuracy", "test_loss", "train_accuracy", "train_loss")] == [None] * 4
    assert result.steps == 1
    assert json.loads(text, parse_constant=pytest.fail) == result.content
    assert math.isfinite(float(rows(trial, tmp_path, "metrics.csv")[0]["train_loss"]))
    assert not (tmp_path / "trials" / trial.name / "predictions.csv.gz").exists()


@pytest.mark.parametrize(("precision", "dtype"), [("float64", torch.float64), ("bfloat16", torch.float32)])
def test_other_precisions_give_results_close_to_float32(precision: str, dtype: torch.dtype, tiny: Any, tmp_path: Path):
    trial, reference = tiny(f"precision={precision}").trials[1], tiny().trials[1]
    results = [finish(trial, tmp_path / "a"), finish(reference, tmp_path / "b")]
    a, b = weights(trial, tmp_path / "a"), weights(reference, tmp_path / "b")

    assert {w.dtype for w in a.values()} == {dtype}
    assert {w.dtype for w in b.values()} == {torch.float32}
    assert results[0].test_loss == pytest.approx(results[1].test_loss, rel=0.02)
    assert not all(torch.equal(a[name].float(), b[name]) for name in a)
    assert all(float(row["weight_grad_norm"]) > 0 for row in rows(trial, tmp_path / "a", "gradients.csv"))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # from the compiler
@pytest.mark.parametrize("cell", [(), CNN], ids=["a stack", "a cnn"])
def test_compiled_networks_train_like_eager_networks_and_log_the_same_rows(cell: tuple[str, ...], tiny: Any, tmp_path: Path):
    all_probes = f"gradients.probes=[{', '.join(probes.PROBES)}]"
    overrides = (*cell, "network.norm=batch", "precision=float64", all_probes)
    for name, compiled in (("eager", "false"), ("compiled", "true")):
        experiment = tiny(*overrides, f"compile={compiled}")
        trials = {trial.name: trial for trial in experiment.trials}
        for planned in config.make_plan(experiment, "cpu", 1).stacks:
            training.train_stack([trials[trial] for trial in planned.trials], tmp_path / name, planned.name, "cpu")

    for trial in tiny(*overrides).trials:
        eager, compiled = (rows(trial, tmp_path / name, "signals.csv") for name in ("eager", "compiled"))
        assert [row["block"] for row in eager] == [row["block"] for row in compiled]
        flows = [[float(row["activation_grad_norm"]) for row in log_rows] for log_rows in (compiled, eager)]
        assert flows[0] == pytest.approx(flows[1], rel=1e-6)
        for log, column in (("gradient_correlation.csv", "gradient_correlation"), ("path_lengths.csv", "share")):
            eager, compiled = (rows(trial, tmp_path / name, log) for name in ("eager", "compiled"))
            values = [float(row[column]) for row in compiled]
            assert values == pytest.approx([float(row[column]) for row in eager], rel=1e-5, abs=1e-7)
        for key, value in weights(trial, tmp_path / "eager").items():
            torch.testing.assert_close(weights(trial, tmp_path / "compiled")[key], value, rtol=1e-6, atol=1e-8)


def test_an_absent_device_is_refused_with_the_devices_that_are_present():
    with pytest.raises(training.DeviceError, match=r"cuda:99 is not on this machine; choose cpu"):
        training.resolve_device("cuda:99")

    assert training.resolve_device("cpu") == "cpu"
    assert training.resolve_device("auto") == ("cuda:0" if torch.cuda.is_available() else "cpu")


def test_a_batch_larger_than_the_training_set_is_refused():
    assert training.step_counts(64, 64, None, 1, 1).per_epoch == 1
    with pytest.raises(DataError, match=r"training.batch_size: 64 .* 63 training images"):
        training.step_counts(63, 64, None, 1, 1)


def test_the_plain_counterpart_of_a_zero_init_residual_network_has_nonzero_gradients(tiny: Any):
    plain, residual = (training.build(trial, (1, 8, 8), 10) for trial in first_pair(tiny("network.zero_init_residual=true")))
    x, labels = batches_of(tiny().trials[0], 0, 1)[0]
    boundaries: list[Tensor] = []
    loss = torch.nn.functional.cross_entropy(plain(x, boundaries), labels)

    assert not residual.blocks[0].branch.layer2.weight.any()
    assert min(probes.norms(torch.autograd.grad(loss, list(plain.parameters())))[0]) > 0
    initialize(residual, 0, "pytorch")
    assert torch.equal(plain.blocks[0].branch.layer2.weight, residual.blocks[0].branch.layer2.weight)
