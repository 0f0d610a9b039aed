"""The card of a pair: what is equal, what the shortcut adds, what else it changes before the first update."""

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


def only_card(experiment: Experiment) -> dict[str, Any]:
    (pair_summary,) = pairs.pair_summaries(experiment, "cpu")
    return pair_summary


# ---- pairs that differ in nothing but the path -----------------------------------------------------------------------


def test_the_card_of_identity_shows_that_nothing_but_the_path_is_added(tiny: Any):
    pair_summary = only_card(tiny())

    assert {key: pair_summary[key] for key in ("cell", "plain", "residual", "seed")} == {
        "cell": "d4", "plain": "plain", "residual": "identity", "seed": 0,
    }  # fmt: skip
    assert pair_summary["equal"] == {"weights": 8, "weights_bit_equal": True, "first_batch": True, "recipe": True}
    assert pair_summary["beyond"] == {"parameters": 0, "multiply_adds": 0, "activation_bytes": 0}
    assert [pair_summary[key] for key in ("same_function_class", "nothing_to_skip", "same_as_plain")] == [False] * 3
    assert pair_summary["start_differs"] == []


def test_at_depth_2_there_is_nothing_to_skip_and_the_arms_start_alike(tiny: Any):
    pair_summary = only_card(tiny("network.depth=[2]"))

    assert pair_summary["nothing_to_skip"]
    plain, residual = pair_summary["at_start"]["plain"], pair_summary["at_start"]["identity"]
    assert [plain[key] for key in ("loss", "output_rms")] == [residual[key] for key in ("loss", "output_rms")]


def test_the_second_control_has_a_card_of_its_own_with_its_width(tiny: Any):
    twin, control = pairs.pair_summaries(tiny("network.shortcut=[gate]", "network.plain_width=parameters"), "cpu")

    assert (twin["plain"], twin["width"]) == ("plain", {"plain": 8, "gate": 8})
    assert (control["plain"], control["residual"]) == ("plain-as-gate", "gate")
    assert control["width"]["plain-as-gate"] > control["width"]["gate"] == 8
    assert control["equal"] == {"weights": 0, "weights_bit_equal": None, "first_batch": True, "recipe": True}
    assert control["beyond"]["parameters"] <= 0 < twin["beyond"]["parameters"]


def test_a_second_control_of_a_shortcut_without_parameters_is_called_plain_once_more(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(SHORTCUTS, "own", SHORTCUTS["identity"])
    path = config.shipped()["digits"]
    own = ["network.shortcut=[own]", "network.plain_width=parameters", "seeds=1", "network.depth=[4]", "network.norm=none"]
    twin, control = pairs.pair_summaries(config.load(path, [*own, "network.init=he", "device=cpu"], SHORTCUTS), "cpu")

    assert (control["plain"], twin["same_as_plain"], control["same_as_plain"]) == ("plain-as-own", False, True)
    assert control["equal"] == twin["equal"]
    assert control["width"]["plain-as-own"] == control["width"]["own"]


def test_each_network_is_counted_once(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    counted: list[int] = []
    monkeypatch.setattr(pairs, "count", lambda network, shape: counted.append(id(network)) or networks.count(network, shape))
    arms = ["network.shortcut=[identity, gate, {gate: {bias: -1}}]", "network.plain_width=parameters", "network.depth=[4, 6]"]
    found = pairs.pair_summaries(tiny(*arms), "cpu")

    assert (len(found), len(counted)) == (10, 10)  # plain, plain-as-gate and three arms at each of two depths
    assert (
        len({pair_summary["at_start"]["plain"]["multiply_adds"] for pair_summary in found if pair_summary["plain"] == "plain"})
        == 2
    )


def test_without_a_plain_twin_there_is_no_card(tiny: Any):
    assert pairs.pair_summaries(tiny("network.plain=false"), "cpu") == []


def test_a_card_is_the_same_each_time(tiny: Any):
    overrides = ["network.depth=[10]", "network.norm=batch"]

    assert pairs.pair_summaries(tiny(*overrides), "cpu") == pairs.pair_summaries(tiny(*overrides), "cpu")


# ---- what is shown and not assumed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "false"),
    [
        pytest.param("training.lr=0.5", ["recipe"], id="another learning rate"),
        pytest.param("network.init=he", ["weights_bit_equal", "recipe"], id="another start"),
        pytest.param("seeds=[1]", ["weights_bit_equal", "first_batch", "recipe"], id="another seed"),
        pytest.param("data.limit=63", ["first_batch", "recipe"], id="other images"),
    ],
)
def test_a_pair_that_is_not_equal_is_not_called_equal(override: str, false: list[str], tiny: Any):
    (plain, _), (_, residual) = tiny().trials, tiny(override).trials
    equal = pairs.pair_summary(plain, residual, tiny(), "cpu")["equal"]

    assert [key for key in ("weights_bit_equal", "first_batch", "recipe") if not equal[key]] == false


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_the_card_of_zero_last_says_that_the_start_differs(norm: str, tiny: Any):
    pair_summary = only_card(tiny("network.zero_init_residual=true", f"network.norm={norm}", "network.depth=[6]"))

    assert pair_summary["start_differs"] == ["zero_init_residual"]
    assert pair_summary["equal"]["weights_bit_equal"] is False
    assert pair_summary["equal"]["recipe"] is True
    assert pair_summary["beyond"] == {"parameters": 0, "multiply_adds": 0, "activation_bytes": 0}


def test_the_card_of_fixup_says_that_the_start_differs(tiny: Any):
    assert only_card(tiny("network.init=fixup"))["start_differs"] == ["fixup"]


@pytest.mark.parametrize(
    ("overrides", "parameters", "multiply_adds", "activation_bytes"),
    [
        # width 8, two blocks of two layers; 4 bytes a number, or 2 where it is computed in bfloat16
        pytest.param(["network.shortcut=projection-all"], 2 * 64, 2 * 64, 0, id="a map in every block, of what is kept"),
        pytest.param(["network.shortcut=skipinit"], 2, 0, 2 * 8 * 4, id="one scalar a block, and its branch"),
        pytest.param(["network.placement=branch"], 0, 0, 2 * 8 * 4, id="a sum that is not an activation"),
        pytest.param(["network.placement=branch", "precision=bfloat16"], 0, 0, 2 * 8 * 2, id="in the trial's precision"),
        pytest.param(["network.shortcut=[{dropout: {p: 0.5}}]"], 0, 0, 2 * 8 * 4, id="a factor per element"),
    ],
)
def test_what_the_residual_arm_has_beyond_its_twin(
    overrides: list[str], parameters: int, multiply_adds: int, activation_bytes: int, tiny: Any
):
    pair_summary = only_card(tiny("network.depth=[6]", *overrides))

    assert pair_summary["beyond"] == {
        "parameters": parameters, "multiply_adds": multiply_adds, "activation_bytes": activation_bytes,
    }  # fmt: skip
    assert pair_summary["equal"]["weights_bit_equal"]
    assert not pair_summary["start_differs"]


def test_option_b_adds_to_a_resnet_20_what_he_et_al_publish(tiny: Any, monkeypatch: pytest.MonkeyPatch):
    pixels = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(20) % 10, tuple("0123456789"))
    monkeypatch.setitem(datasets.DATASETS, "cifar10", lambda _source, _part: images)
    training.load_training_data.cache_clear()
    network = ["network.family=cnn", "network.depth=[20]", "network.width=16", "network.norm=batch"]
    overrides = ["data.name=cifar10", "data.limit=8", "training.batch_size=8", "network.shortcut=projection"]
    pair_summary = only_card(tiny(*network, *overrides))

    # The norms of the two maps keep what they norm.
    kept = 4 * (32 * 16**2 + 64 * 8**2)
    assert pair_summary["beyond"] == {"parameters": 2560 + 192, "multiply_adds": 262_144, "activation_bytes": kept}
    assert pair_summary["at_start"]["plain"]["parameters"] == 269_722
    assert pair_summary["at_start"]["plain"]["multiply_adds"] == 40_551_040


# ---- what else it changed --------------------------------------------------------------------------------------------


def by_hand(weights: dict[str, np.ndarray], x: np.ndarray, labels: np.ndarray, residual: float) -> tuple[float, float, float]:
    """(loss, output RMS, slope) of two-layer ReLU blocks relu(F(x) + residual x), forward and backward in numpy."""

    def layer(name: str, h: np.ndarray) -> np.ndarray:
        return h @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    blocks = range(len(weights) // 4 - 1)
    kept, inner = [np.maximum(layer("stem.layer", x), 0)], []
    for k in blocks:
        inner.append(np.maximum(layer(f"blocks.{k}.branch.layer1", kept[-1]), 0))
        kept.append(np.maximum(layer(f"blocks.{k}.branch.layer2", inner[-1]) + residual * kept[-1], 0))
    logits = layer("classifier", kept[-1])
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    hit = np.eye(10)[labels]
    back = (shares - hit) @ weights["classifier.weight"]
    norms = [np.linalg.norm(back)]
    for k in reversed(blocks):
        back = back * (kept[k + 1] > 0)
        through = (back @ weights[f"blocks.{k}.branch.layer2.weight"]) * (inner[k] > 0)
        back = through @ weights[f"blocks.{k}.branch.layer1.weight"] + residual * back
        norms.append(np.linalg.norm(back))
    fit = np.polyfit(np.arange(1, len(blocks)), np.log10(norms[1:-1]), 1)  # decades per block towards the input
    return float(-np.log(shares[hit > 0]).mean()), float(np.sqrt((logits**2).mean())), float(fit[0])


@pytest.mark.parametrize(("init", "placed"), [("pytorch", 0), ("he", 0), ("he", 3)])
def test_loss_output_scale_and_slope_of_both_arms_agree_with_numpy(init: str, placed: int, tiny: Any):
    experiment = tiny(
        "network.depth=[12]", "network.width=32", f"network.init={init}", "precision=float64", f"seeds=[{placed}]"
    )
    pair_summary = only_card(experiment)
    found = training.load_training_data(experiment.shared.data, "cpu", torch.float64)
    raw, index = found.training.pixels.numpy().reshape(64, -1).astype(float), datasets.order(placed, 0, 64)[:16].numpy()
    x, labels = (raw[index] - raw.mean()) / raw.std(), found.training.labels.numpy()[index]

    for trial, residual in zip(experiment.trials, (0.0, 1.0), strict=True):
        weights = {name: p.detach().numpy() for name, p in training.build(trial, (1, 8, 8), 10).named_parameters()}
        measured = pair_summary["at_start"][trial.arm]
        expected = by_hand(weights, x, labels, residual)
        assert [measured[key] for key in ("loss", "output_rms", "slope")] == pytest.approx(expected, rel=1e-7)
    assert pair_summary["seed"] == placed


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_card_has_the_slope_that_the_trials_log_at_step_0(precision: str, tiny: Any, tmp_path: Path):
    experiment = tiny("network.depth=[12]", "network.width=32", "training.steps=1", f"precision={precision}")
    pair_summary = only_card(experiment)

    for trial in experiment.trials:
        training.train_stack([trial], tmp_path, trial.name, "cpu")
        result = runs.result(runs.trial_folder(tmp_path, trial.name))
        assert result
        assert pair_summary["at_start"][trial.arm]["slope"] == pytest.approx(result["slope_start"], rel=1e-6)


def test_each_cell_and_shortcut_has_a_card_of_the_first_seed(tiny: Any):
    experiment = tiny("network.depth=[4, 6]", "network.shortcut=[identity, skipinit]", "seeds=[3, 1]")
    pair_summaries = pairs.pair_summaries(experiment, "cpu")

    assert [(pair_summary["cell"], pair_summary["residual"]) for pair_summary in pair_summaries] == [
        ("d4", "identity"), ("d4", "skipinit"), ("d6", "identity"), ("d6", "skipinit"),
    ]  # fmt: skip
    assert {pair_summary["seed"] for pair_summary in pair_summaries} == {3}


# ---- arms that compute the same functions ----------------------------------------------------------------------------

ONE_LAYER = ("network.block_layers=1", "network.depth=[4]")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        pytest.param([*ONE_LAYER], True, id="relu(Wx + x) = relu((W + 1) x)"),
        pytest.param([*ONE_LAYER, "network.shortcut=projection-all"], True, id="relu(Wx + Ux) = relu((W + U) x)"),
        pytest.param([*ONE_LAYER, "network.activation=tanh"], True, id="under any activation"),
        pytest.param(["network.depth=[4]"], False, id="two layers in a block"),
        pytest.param([*ONE_LAYER, "network.placement=branch"], False, id="activation inside the branch"),
        pytest.param([*ONE_LAYER, "network.placement=pre"], False, id="activation before the layer"),
        pytest.param([*ONE_LAYER, "network.norm=layer"], False, id="a norm between layer and addition"),
        pytest.param([*ONE_LAYER, "network.shortcut=[{scaled: {branch: 0.5}}]"], True, id="relu((W / 2 + 1 / 2) x)"),
        pytest.param([*ONE_LAYER, "network.shortcut=[{scaled: {branch: 0}}]"], False, id="a = 0: relu(x / 2), without W"),
    ],
)
def test_arms_of_one_function_class_are_called_so(overrides: list[str], expected: bool, tiny: Any):  # noqa: FBT001 - a column
    assert only_card(tiny(*overrides))["same_function_class"] is expected


def test_a_bottleneck_is_no_one_layer_block_whatever_block_layers_says(tiny: Any):
    _, residual = tiny("network.family=cnn", "network.depth=[11]", "network.block=bottleneck").trials
    network = residual.settings.network.model_copy(update={"block_layers": 1})

    assert pairs._same_class(residual.settings.model_copy(update={"network": network})) is False
    basic = network.model_copy(update={"block": "basic"})
    assert pairs._same_class(residual.settings.model_copy(update={"network": basic})) is True


def test_relu_of_wx_plus_x_is_what_a_plain_net_computes_from_w_plus_1(tiny: Any):
    plain, residual = (training.build(t, (1, 8, 8), 10).double() for t in tiny(*ONE_LAYER, "precision=float64").trials)
    x = torch.randn(5, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = residual(x)
        for block in plain.blocks:
            block.branch.layer1.weight.add_(torch.eye(8, dtype=torch.float64))

    torch.testing.assert_close(plain(x), expected, rtol=1e-12, atol=1e-12)
