"""Pair summaries: what a pair has in common, and what the shortcut adds or changes at initialization."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resexp import config, datasets, networks, pairs, runs, training
from resexp.config import Experiment
from resexp.datasets import Images
from resexp.shortcuts import SHORTCUTS

pytestmark = pytest.mark.usefixtures("torch_state")


def only_summary(experiment: Experiment) -> dict[str, Any]:
    (summary,) = pairs.pair_summaries(experiment, "cpu")
    return summary


# ---- content of a summary --------------------------------------------------------------------------------------------


def test_the_summary_of_identity_shows_equal_weights_and_no_extra_cost(tiny: Any):
    summary = only_summary(tiny())

    assert {key: getattr(summary, key) for key in ("cell", "plain", "residual", "seed")} == {
        "cell": "d4", "plain": "plain", "residual": "identity", "seed": 0,
    }  # fmt: skip
    assert summary.equal.content == {"weights": 8, "weights_bit_equal": True, "first_batch": True, "recipe": True}
    assert summary.beyond.content == {"parameters": 0, "multiply_adds": 0, "activation_bytes": 0}
    assert [getattr(summary, key) for key in ("same_function_class", "nothing_to_skip", "same_as_plain")] == [False] * 3
    assert summary.start_differs == ()


def test_at_depth_2_there_is_nothing_to_skip_and_the_arms_are_equal_at_initialization(tiny: Any):
    summary = only_summary(tiny("network.depth=[2]"))

    assert summary.nothing_to_skip
    plain, residual = summary.at_start["plain"], summary.at_start["identity"]
    assert (plain.loss, plain.output_rms) == (residual.loss, residual.output_rms)


def test_the_parameter_matched_baseline_has_a_summary_with_its_width(tiny: Any):
    counterpart, baseline = pairs.pair_summaries(tiny("network.shortcut=[gate]", "network.plain_width=parameters"), "cpu")

    assert (counterpart.plain, counterpart.width) == ("plain", {"plain": 8, "gate": 8})
    assert (baseline.plain, baseline.residual) == ("plain-as-gate", "gate")
    assert baseline.width["plain-as-gate"] > baseline.width["gate"] == 8
    assert baseline.equal.content == {"weights": 0, "weights_bit_equal": None, "first_batch": True, "recipe": True}
    assert baseline.beyond.parameters <= 0 < counterpart.beyond.parameters


def test_the_parameter_matched_baseline_of_a_shortcut_without_parameters_is_the_plain_network(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(SHORTCUTS, "own", SHORTCUTS["identity"])
    path = config.shipped()["digits"]
    overrides = [
        "network.shortcut=[own]",
        "network.plain_width=parameters",
        "seeds=1",
        "network.depth=[4]",
        "network.norm=none",
    ]
    counterpart, baseline = pairs.pair_summaries(
        config.load(path, [*overrides, "network.init=he", "device=cpu"], SHORTCUTS), "cpu"
    )

    assert (baseline.plain, counterpart.same_as_plain, baseline.same_as_plain) == ("plain-as-own", False, True)
    assert baseline.equal == counterpart.equal
    assert baseline.width["plain-as-own"] == baseline.width["own"]


def test_each_network_is_counted_once(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    counted: list[int] = []
    monkeypatch.setattr(pairs, "count", lambda network, shape: counted.append(id(network)) or networks.count(network, shape))
    arms = ["network.shortcut=[identity, gate, {gate: {bias: -1}}]", "network.plain_width=parameters", "network.depth=[4, 6]"]
    summaries = pairs.pair_summaries(tiny(*arms), "cpu")

    assert (len(summaries), len(counted)) == (10, 10)  # plain, plain-as-gate and three arms at each of two depths
    multiply_adds = {summary.at_start["plain"].multiply_adds for summary in summaries if summary.plain == "plain"}
    assert len(multiply_adds) == 2


def test_without_a_plain_counterpart_there_is_no_summary(tiny: Any):
    assert pairs.pair_summaries(tiny("network.plain=false"), "cpu") == []


def test_summaries_are_reproducible(tiny: Any):
    overrides = ["network.depth=[10]", "network.norm=batch"]

    assert pairs.pair_summaries(tiny(*overrides), "cpu") == pairs.pair_summaries(tiny(*overrides), "cpu")


# ---- equality is tested, not assumed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "false"),
    [
        pytest.param("training.lr=0.5", ["recipe"], id="another learning rate"),
        pytest.param("network.init=he", ["weights_bit_equal", "recipe"], id="another initialization"),
        pytest.param("seeds=[1]", ["weights_bit_equal", "first_batch", "recipe"], id="another seed"),
        pytest.param("data.limit=63", ["first_batch", "recipe"], id="other images"),
    ],
)
def test_differences_within_a_pair_are_reported(override: str, false: list[str], tiny: Any):
    (plain, _), (_, residual) = tiny().trials, tiny(override).trials
    equal = pairs.pair_summary(plain, residual, tiny(), "cpu", {}).equal

    assert [key for key in ("weights_bit_equal", "first_batch", "recipe") if not getattr(equal, key)] == false


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_with_zero_init_residual_the_initialization_differs(norm: str, tiny: Any):
    summary = only_summary(tiny("network.zero_init_residual=true", f"network.norm={norm}", "network.depth=[6]"))

    assert summary.start_differs == ("zero_init_residual",)
    assert summary.equal.weights_bit_equal is False
    assert summary.equal.recipe is True
    assert summary.beyond.content == {"parameters": 0, "multiply_adds": 0, "activation_bytes": 0}


def test_with_fixup_the_initialization_differs(tiny: Any):
    assert only_summary(tiny("network.init=fixup")).start_differs == ("fixup",)


@pytest.mark.parametrize(
    ("overrides", "parameters", "multiply_adds", "activation_bytes"),
    [
        # width 8, two blocks of two layers; 4 bytes per number, or 2 in bfloat16
        pytest.param(
            ["network.shortcut=projection-all"], 2 * 64, 2 * 64, 0, id="a map in every block, whose input is saved already"
        ),
        pytest.param(["network.shortcut=skipinit"], 2, 0, 2 * 8 * 4, id="one scalar per block, and its branch"),
        pytest.param(["network.placement=branch"], 0, 0, 2 * 8 * 4, id="a sum that is not an activation"),
        pytest.param(["network.placement=branch", "precision=bfloat16"], 0, 0, 2 * 8 * 2, id="in the precision of the trial"),
        pytest.param(["network.shortcut=[{dropout: {p: 0.5}}]"], 0, 0, 2 * 8 * 4, id="a factor per element"),
    ],
)
def test_extra_costs_of_the_residual_network(
    overrides: list[str], parameters: int, multiply_adds: int, activation_bytes: int, tiny: Any
):
    summary = only_summary(tiny("network.depth=[6]", *overrides))

    assert summary.beyond.content == {
        "parameters": parameters, "multiply_adds": multiply_adds, "activation_bytes": activation_bytes,
    }  # fmt: skip
    assert summary.equal.weights_bit_equal
    assert not summary.start_differs


def test_option_b_adds_the_published_costs_to_a_resnet_20(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    pixels = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(20) % 10, tuple("0123456789"))
    monkeypatch.setitem(datasets.DATASETS, "cifar10", lambda _source, _part: images)
    training.load_training_data.cache_clear()
    network = ["network.family=cnn", "network.depth=[20]", "network.width=16", "network.norm=batch"]
    overrides = ["data.name=cifar10", "data.limit=8", "training.batch_size=8", "network.shortcut=projection"]
    summary = only_summary(tiny(*network, *overrides))

    # The batch norm layers of the two maps save their inputs.
    saved = 4 * (32 * 16**2 + 64 * 8**2)
    assert summary.beyond.content == {"parameters": 2560 + 192, "multiply_adds": 262_144, "activation_bytes": saved}
    assert summary.at_start["plain"].parameters == 269_722
    assert summary.at_start["plain"].multiply_adds == 40_551_040


# ---- values at initialization ----------------------------------------------------------------------------------------


def in_numpy(weights: dict[str, np.ndarray], x: np.ndarray, labels: np.ndarray, residual: float) -> tuple[float, float, float]:
    """(loss, output RMS, slope) of two-layer ReLU blocks relu(F(x) + residual x), forward and backward in numpy."""

    def layer(name: str, h: np.ndarray) -> np.ndarray:
        return h @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    blocks = range(len(weights) // 4 - 1)
    boundaries, inner = [np.maximum(layer("stem.layer", x), 0)], []
    for k in blocks:
        inner.append(np.maximum(layer(f"blocks.{k}.branch.layer1", boundaries[-1]), 0))
        boundaries.append(np.maximum(layer(f"blocks.{k}.branch.layer2", inner[-1]) + residual * boundaries[-1], 0))
    logits = layer("classifier", boundaries[-1])
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = np.eye(10)[labels]
    back = (shares - targets) @ weights["classifier.weight"]
    norms = [np.linalg.norm(back)]
    for k in reversed(blocks):
        back = back * (boundaries[k + 1] > 0)
        at_branch = (back @ weights[f"blocks.{k}.branch.layer2.weight"]) * (inner[k] > 0)
        back = at_branch @ weights[f"blocks.{k}.branch.layer1.weight"] + residual * back
        norms.append(np.linalg.norm(back))
    fit = np.polyfit(np.arange(1, len(blocks)), np.log10(norms[1:-1]), 1)  # change of log10 per block from output to input
    return float(-np.log(shares[targets > 0]).mean()), float(np.sqrt((logits**2).mean())), float(fit[0])


@pytest.mark.parametrize(("init", "seed"), [("pytorch", 0), ("he", 0), ("he", 3)])
def test_loss_output_scale_and_slope_of_both_arms_agree_with_numpy(init: str, seed: int, tiny: Any):
    experiment = tiny("network.depth=[12]", "network.width=32", f"network.init={init}", "precision=float64", f"seeds=[{seed}]")
    summary = only_summary(experiment)
    training_data = training.load_training_data(experiment.shared.data, "cpu", "float64")
    raw, index = training_data.training.pixels.numpy().reshape(64, -1).astype(float), datasets.order(seed, 0, 64)[:16].numpy()
    x, labels = (raw[index] - raw.mean()) / raw.std(), training_data.training.labels.numpy()[index]

    for trial, residual in zip(experiment.trials, (0.0, 1.0), strict=True):
        weights = {name: p.detach().numpy() for name, p in training.build(trial, (1, 8, 8), 10).named_parameters()}
        values = summary.at_start[trial.arm]
        expected = in_numpy(weights, x, labels, residual)
        assert [values.loss, values.output_rms, values.slope] == pytest.approx(expected, rel=1e-7)
    assert summary.seed == seed


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_slope_of_a_summary_equals_the_logged_slope_at_step_0(precision: str, tiny: Any, tmp_path: Path):
    experiment = tiny("network.depth=[12]", "network.width=32", "training.steps=1", f"precision={precision}")
    summary = only_summary(experiment)

    for trial in experiment.trials:
        training.train_stack([trial], tmp_path, trial.name, "cpu")
        result = runs.result(runs.trial_folder(tmp_path, trial.name))
        assert result
        assert summary.at_start[trial.arm].slope == pytest.approx(result.slope_start, rel=1e-6)


def test_each_configuration_and_shortcut_has_a_summary_of_the_first_seed(tiny: Any):
    experiment = tiny("network.depth=[4, 6]", "network.shortcut=[identity, skipinit]", "seeds=[3, 1]")
    summaries = pairs.pair_summaries(experiment, "cpu")

    assert [(summary.cell, summary.residual) for summary in summaries] == [
        ("d4", "identity"), ("d4", "skipinit"), ("d6", "identity"), ("d6", "skipinit"),
    ]  # fmt: skip
    assert {summary.seed for summary in summaries} == {3}


# ---- same function class ---------------------------------------------------------------------------------------------

ONE_LAYER = ("network.block_layers=1", "network.depth=[4]")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        pytest.param([*ONE_LAYER], True, id="relu(Wx + x) = relu((W + 1) x)"),
        pytest.param([*ONE_LAYER, "network.shortcut=projection-all"], True, id="relu(Wx + Ux) = relu((W + U) x)"),
        pytest.param([*ONE_LAYER, "network.activation=tanh"], True, id="with any activation"),
        pytest.param(["network.depth=[4]"], False, id="two layers in a block"),
        pytest.param([*ONE_LAYER, "network.placement=branch"], False, id="activation inside the branch"),
        pytest.param([*ONE_LAYER, "network.placement=pre"], False, id="activation before the layer"),
        pytest.param([*ONE_LAYER, "network.norm=layer"], False, id="layer norm between layer and addition"),
        pytest.param([*ONE_LAYER, "network.shortcut=[{scaled: {branch: 0.5}}]"], True, id="relu((W / 2 + 1 / 2) x)"),
        pytest.param([*ONE_LAYER, "network.shortcut=[{scaled: {branch: 0}}]"], False, id="a = 0: relu(x / 2), without W"),
    ],
)
def test_pairs_with_the_same_function_class_are_marked(overrides: list[str], expected: bool, tiny: Any):  # noqa: FBT001 - a column
    assert only_summary(tiny(*overrides)).same_function_class is expected


def test_a_bottleneck_is_not_a_one_layer_block_for_any_block_layers(tiny: Any):
    _, residual = tiny("network.family=cnn", "network.depth=[11]", "network.block=bottleneck").trials
    network = residual.settings.network.model_copy(update={"block_layers": 1})

    assert pairs._same_function_class(residual.settings.model_copy(update={"network": network})) is False
    basic = network.model_copy(update={"block": "basic"})
    assert pairs._same_function_class(residual.settings.model_copy(update={"network": basic})) is True


def test_relu_of_wx_plus_x_equals_a_plain_network_with_weights_w_plus_1(tiny: Any):
    plain, residual = (training.build(t, (1, 8, 8), 10).double() for t in tiny(*ONE_LAYER, "precision=float64").trials)
    x = torch.randn(5, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = residual(x)
        for block in plain.blocks:
            block.branch.layer1.weight.add_(torch.eye(8, dtype=torch.float64))

    torch.testing.assert_close(plain(x), expected, rtol=1e-12, atol=1e-12)


def test_a_batch_larger_than_the_training_set_is_refused(tiny: Any):
    with pytest.raises(datasets.DataError, match=r"training.batch_size: 64 .* 63 training images"):
        pairs.pair_summaries(tiny("training.batch_size=64", "data.limit=63"), "cpu")
