"""Step probes against matrix formulas in numpy, and the slope against two other fits.

Shapes: B batch, D width, K classes.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional

import resexp
from resexp import config, probes, runs, training
from resexp.networks import Network, boundary_names, build_network, initialize

B, D, K = 7, 6, 3
SIDE = 4  # 16 inputs
LR, BETAS, EPS = 1e-2, (0.9, 0.99), 1e-8

Weights = dict[str, np.ndarray]


# ---- reference: a residual mlp with two blocks and Adam, in float64, without autograd --------------------------------------

LAYERS = ("stem.layer", *(f"blocks.{b}.branch.layer{n}" for b in (0, 1) for n in (1, 2)), "classifier")


def forward_and_backward(weights: Weights, x: np.ndarray, labels: np.ndarray) -> tuple[Weights, list, list]:
    """(gradients of the mean cross-entropy, boundaries x_0 .. x_2, dL/dx_0 .. dL/dx_2).

    x_0 = relu(x W^T + b); z = x_l W1^T + b1; x_{l+1} = relu(relu(z) W2^T + b2 + x_l); logits = x_2 V^T + c
    """

    def affine(name: str, h: np.ndarray) -> np.ndarray:
        return h @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def back(name: str, h: np.ndarray, d: np.ndarray) -> np.ndarray:
        gradients[f"{name}.weight"], gradients[f"{name}.bias"] = d.T @ h, d.sum(0)
        return d @ weights[f"{name}.weight"]

    gradients: Weights = {}
    xs, zs, sums = [np.maximum(affine("stem.layer", x), 0)], [], []
    for b in (0, 1):
        zs.append(affine(f"blocks.{b}.branch.layer1", xs[b]))
        sums.append(affine(f"blocks.{b}.branch.layer2", np.maximum(zs[b], 0)) + xs[b])
        xs.append(np.maximum(sums[b], 0))
    logits = affine("classifier", xs[2])
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    d_x = [None, None, back("classifier", xs[2], (shares - np.eye(K)[labels]) / len(x))]
    for b in (1, 0):
        d_sum = d_x[b + 1] * (sums[b] > 0)
        d_z = back(f"blocks.{b}.branch.layer2", np.maximum(zs[b], 0), d_sum) * (zs[b] > 0)
        d_x[b] = d_sum + back(f"blocks.{b}.branch.layer1", xs[b], d_z)
    back("stem.layer", x, d_x[0] * (xs[0] > 0))
    return gradients, xs, d_x


def adam(weights: Weights, history: list[Weights]) -> Weights:
    """The weights after the step with the last gradients in `history`: arXiv:1412.6980 algorithm 1."""
    t = len(history)
    new = {}
    for name, w in weights.items():
        m = sum((1 - BETAS[0]) * BETAS[0] ** (t - i) * g[name] for i, g in enumerate(history, start=1))
        v = sum((1 - BETAS[1]) * BETAS[1] ** (t - i) * g[name] ** 2 for i, g in enumerate(history, start=1))
        new[name] = w - LR * (m / (1 - BETAS[0] ** t)) / (np.sqrt(v / (1 - BETAS[1] ** t)) + EPS)
    return new


def frobenius(matrix: np.ndarray) -> float:
    return math.sqrt(sum(float(entry) ** 2 for entry in matrix.ravel()))


def mean_distance(activations: np.ndarray) -> float:
    """The mean of 1 - cos(x_i, x_j) = |u_i - u_j|^2 / 2 over all pairs, one after another; u_i = x_i / |x_i|."""
    units = [example / np.sqrt((example**2).sum()) for example in activations.reshape(len(activations), -1).astype(np.float64)]
    pairs = itertools.combinations(units, 2)
    return math.fsum(((a - b) ** 2).sum() / 2 for a, b in pairs) / math.comb(len(units), 2)


def expected_rows(weights: Weights, x: np.ndarray, labels: np.ndarray, steps: int) -> list[dict[str, list]]:
    history, rows = [], []
    for _ in range(steps):
        gradients, xs, d_x = forward_and_backward(weights, x, labels)
        history.append(gradients)
        new = adam(weights, history)
        layers = []
        for index, name in enumerate(LAYERS):
            w, g, updated = (tensors[f"{name}.weight"] for tensors in (weights, gradients, new))
            size, logged = w.size, name.replace("stem.layer", "stem").replace("branch.", "")
            norm, length, update = frobenius(g), frobenius(w), frobenius(updated - w)
            layers.append((index, logged, size, norm, norm / math.sqrt(size), length, update / length))
        blocks = zip(("stem", "blocks.0", "blocks.1"), xs, d_x, strict=True)
        signal = [
            # RMS over examples of the gradient norm of one example: dL/dx of the sum is B times dL/dx of the mean
            (i, name, math.sqrt((h**2).mean()), math.sqrt(np.mean([frobenius(B * row) ** 2 for row in d])), mean_distance(h))
            for i, (name, h, d) in enumerate(blocks)
        ]
        rows.append({"gradient_norm": layers, "signal": signal})
        weights = new
    return rows


# ---- step probes ------------------------------------------------------------------------------------------------------------


def two_blocks(dtype: torch.dtype = torch.float64) -> Network:
    network = build_network("mlp", depth=6, width=D, shortcut="identity", input_shape=(1, SIDE, SIDE), classes=K)
    initialize(network, 0, "pytorch")
    return network.to(dtype)


def batch(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(B, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x.to(dtype), torch.arange(B) % K


def after_backward(network: Network, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """The block boundaries of a step after `backward()`."""
    x, labels = batch(dtype)
    boundaries: list[torch.Tensor] = []
    loss = functional.cross_entropy(network(x, boundaries), labels)
    for boundary in boundaries:
        boundary.retain_grad()
    network.zero_grad()
    loss.backward()
    return boundaries


def measurements(network: Network, dtype: torch.dtype, steps: int) -> list[dict[str, list]]:
    optimizer = torch.optim.Adam(network.parameters(), LR, BETAS, EPS)
    rows = []
    for _ in range(steps):
        measurement = probes.begin(list(probes.PROBES), network, after_backward(network, dtype))
        optimizer.step()
        rows.append(probes.end(measurement)[0])
    return rows


def test_step_probes_do_not_change_training():
    measured, unmeasured = two_blocks(), two_blocks()
    measurements(measured, torch.float64, 3)
    optimizer = torch.optim.Adam(unmeasured.parameters(), LR, BETAS, EPS)
    for _ in range(3):
        x, labels = batch()
        optimizer.zero_grad()
        functional.cross_entropy(unmeasured(x), labels).backward()
        optimizer.step()

    assert all(torch.equal(a, b) for a, b in zip(measured.parameters(), unmeasured.parameters(), strict=True))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize("name", ["gradient_norm", "signal"])
def test_rows_of_three_adam_steps_agree_with_matrix_formulas(name, dtype, tolerance):
    network = two_blocks(dtype)
    weights = {key: value.double().numpy().copy() for key, value in network.state_dict().items()}
    x, labels = batch()
    expected = expected_rows(weights, x.flatten(1).numpy(), labels.numpy(), 3)
    rows = measurements(network, dtype, 3)

    for step in range(3):
        for row, expected_row in zip(rows[step][name], expected[step][name], strict=True):
            texts = [cell for cell in row if isinstance(cell, int | str)]

            assert texts == [cell for cell in expected_row if isinstance(cell, int | str)]
            assert row[len(texts) :] == pytest.approx(expected_row[len(texts) :], rel=tolerance)
            assert all(cell > 0 for cell in row[len(texts) :])


def test_only_the_requested_probes_give_rows():
    network = two_blocks()
    boundaries = after_backward(network)

    assert list(probes.end(probes.begin(["signal"], network, boundaries))[0]) == ["signal"]
    assert probes.end(probes.begin([], network, boundaries)) == [{}]


@pytest.mark.parametrize("size", [1e-25, 1e-37, 1e25])
def test_norms_are_exact_if_squares_are_outside_the_range_of_float32(size):
    """sqrt(100 * size^2) = 10 size; the range of float32 is 1e-38 to 1e38."""
    tensor = torch.full((100,), size)

    assert probes.norms([tensor])[0] == pytest.approx([10 * float(tensor[0])], rel=1e-12)
    assert probes.norms([], 3) == [[], [], []]


def test_a_tiny_gradient_is_logged_exactly():
    network = two_blocks(torch.float32)
    boundaries = after_backward(network, torch.float32)
    network.stem.layer.weight.grad.fill_(1e-25)
    boundaries[0].grad.fill_(1e-25)
    (rows,) = probes.end(probes.begin(list(probes.PROBES), network, boundaries))

    assert rows["gradient_norm"][0][3:5] == pytest.approx((math.sqrt(D * SIDE**2) * 1e-25, 1e-25), rel=1e-6)
    assert rows["signal"][0][3] == pytest.approx(math.sqrt(B) * math.sqrt(B * D) * 1e-25, rel=1e-6)


def test_a_missing_gradient_is_logged_as_0_and_the_update_ratio_of_a_zero_weight_is_nan():
    network = two_blocks()
    boundaries = after_backward(network)
    network.classifier.weight.grad = None
    with torch.no_grad():
        network.classifier.weight.zero_()
    boundaries[2].grad = None
    (rows,) = probes.end(probes.begin(list(probes.PROBES), network, boundaries))

    assert rows["gradient_norm"][-1][3:6] == (0.0, 0.0, 0.0)
    assert math.isnan(rows["gradient_norm"][-1][6])
    assert rows["signal"][2][3] == 0.0


def test_activation_grad_norm_does_not_depend_on_the_batch_size():
    """Every image occurs twice, which does not change the RMS over images."""
    network = two_blocks()
    x, labels = batch()
    norms = []
    for repeats in (1, 2):
        boundaries: list[torch.Tensor] = []
        loss = functional.cross_entropy(network(x.repeat(repeats, 1, 1, 1), boundaries), labels.repeat(repeats))
        for boundary in boundaries:
            boundary.retain_grad()
        loss.backward()
        norms.append([row[3] for row in probes.end(probes.begin(["signal"], network, boundaries))[0]["signal"]])

    assert norms[0] == pytest.approx(norms[1], rel=1e-12)


# ---- the slope --------------------------------------------------------------------------------------------------------------


def dummy_variable_fit(grad_norms: Sequence[float], stages: Sequence[int]) -> float:
    """log10 norm = intercept of the stage + rate * index, over interior points: one column per stage and one for the index."""
    inside = [i for i in range(1, len(grad_norms) - 1) if grad_norms[i] > 0 and math.isfinite(grad_norms[i])]
    columns = [[float(stages[i] == stage) for i in inside] for stage in sorted(set(stages))] + [inside]
    (*_, rate), *_ = np.linalg.lstsq(np.array(columns, float).T, np.log10([grad_norms[i] for i in inside]), rcond=None)
    return -float(rate)


def noisy(count: int, seed: int = 0) -> list[float]:
    return list(10 ** np.random.default_rng(seed).normal(0, 2, count))


@pytest.mark.parametrize(
    ("grad_norms", "expected"),
    [
        pytest.param([5, 1e-6, 1e-4, 1e-2, 7], -2.0, id="vanishing: two orders of magnitude per block towards the input"),
        pytest.param([5, 100, 10, 1, 0.1, 7], 1.0, id="exploding towards the input"),
        pytest.param([5, 3, 3, 3, 7], 0.0, id="level"),
        pytest.param([5, 1e-300, 1e-290, 7], -10.0, id="far below the range of float32"),
    ],
)
def test_the_slope_is_the_change_of_log10_per_block_from_output_to_input(grad_norms, expected):
    assert probes.slope(grad_norms, [0] * len(grad_norms)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_slope_of_one_stage_agrees_with_numpy_polyfit(seed):
    grad_norms = noisy(12, seed)
    rate, _ = np.polyfit(np.arange(1, 11), np.log10(grad_norms[1:-1]), 1)

    assert probes.slope(grad_norms, [0] * 12) == pytest.approx(-rate, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_the_slope_of_three_stages_is_a_fit_with_an_intercept_per_stage(seed):
    grad_norms, stages = noisy(14, seed), [0] * 4 + [1] * 7 + [2] * 3

    assert probes.slope(grad_norms, stages) == pytest.approx(dummy_variable_fit(grad_norms, stages), rel=1e-10)


def test_a_jump_between_stages_does_not_affect_the_slope():
    assert probes.slope([9, 1, 1, 1, 50, 50, 50, 9], [0, 0, 0, 0, 1, 1, 1, 1]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("ends", [(0.0, math.inf), (1e30, 1e-30), (math.nan, 1.0)])
def test_the_first_and_the_last_boundary_do_not_affect_the_slope(ends):
    grad_norms = noisy(8)
    changed = [ends[0], *grad_norms[1:-1], ends[1]]

    assert probes.slope(changed, [0] * 8) == probes.slope(grad_norms, [0] * 8)


@pytest.mark.parametrize("value", [0.0, math.inf, math.nan])
def test_values_that_are_0_or_not_finite_are_left_out_of_the_slope(value):
    grad_norms, stages = noisy(14), [0] * 4 + [1] * 7 + [2] * 3
    grad_norms[2] = grad_norms[6] = grad_norms[11] = value

    assert probes.slope(grad_norms, stages) == pytest.approx(dummy_variable_fit(grad_norms, stages), rel=1e-10)


@pytest.mark.parametrize(
    ("grad_norms", "stages"),
    [
        pytest.param([], [], id="empty"),
        pytest.param([1.0], [0], id="the stem only, depth 2"),
        pytest.param([1.0, 2.0, 3.0], [0, 0, 0], id="one interior point"),
        pytest.param([1.0, 2.0, 0.0, 0.0, 1.0], [0] * 5, id="one interior point that is not 0"),
        pytest.param([1.0, 2.0, 3.0, 4.0, 5.0], [0, 0, 1, 2, 2], id="one in each stage"),
        pytest.param([0.0] * 9, [0] * 9, id="all underflowed"),
    ],
)
def test_fewer_than_two_points_per_stage_have_no_slope(grad_norms, stages):
    assert math.isnan(probes.slope(grad_norms, stages))


# ---- cosine distance of activations -----------------------------------------------------------------------------------------


def boundaries_of(family: str, norm: str, shortcut: str, depth: int, seed: int, dtype: torch.dtype) -> list[torch.Tensor]:
    channels = 1 if family == "mlp" else 3
    network = build_network(
        family, depth=depth, width=32, shortcut=shortcut, norm=norm, input_shape=(channels, 8, 8), classes=K
    )
    initialize(network, seed, "he")
    x = torch.randn(B, channels, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    boundaries: list[torch.Tensor] = []
    network.to(dtype)(x.to(dtype).to(memory_format=torch.channels_last), boundaries)
    return [boundary.detach() for boundary in boundaries]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("shortcut", ["plain", "identity"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_the_cosine_distance_equals_a_loop_over_pairs_alone_and_in_a_stack(family, norm, shortcut, dtype):
    trials = [boundaries_of(family, norm, shortcut, 20, seed, dtype) for seed in range(3)]
    expected = [[mean_distance(x.numpy()) for x in boundaries] for boundaries in trials]
    together = probes.cosine_distances([torch.stack(group) for group in zip(*trials, strict=True)], len(trials))

    for boundaries, distances, in_stack in zip(trials, expected, together, strict=True):
        assert max(distances) > 1e-10
        for measured in (*probes.cosine_distances(boundaries), in_stack):
            for value, distance in zip(measured, distances, strict=True):
                assert value == pytest.approx(distance, rel=1e-12 if distance > 1e-10 else 1e-5, abs=1e-30)


def test_the_cosine_distance_of_nearly_equal_inputs_is_not_rounded_to_0():
    angles = torch.tensor([0.0, 1e-6], dtype=torch.float64)  # 1 - cos(1e-6) = 5e-13
    x = torch.stack([angles.cos(), angles.sin()], dim=1)

    assert probes.cosine_distances([x, 1e-30 * x, 1e30 * x])[0] == pytest.approx([5e-13] * 3, rel=1e-9)


def test_the_cosine_distance_is_nan_if_an_activation_is_0_or_there_is_one_example():
    x = torch.eye(3)
    zero = x.clone()
    zero[1] = 0

    ((equal, orthogonal, opposite, with_zero, single),) = probes.cosine_distances(
        [torch.ones(3, 3), x, torch.tensor([[1.0], [-1.0]]), zero, x[:1]]
    )
    assert (equal, orthogonal, opposite) == pytest.approx((0, 1, 2))
    assert math.isnan(with_zero)
    assert math.isnan(single)


# ---- a custom probe -------------------------------------------------------------------------------------------------------


class SignRow(NamedTuple):
    """The share of positive activations at a block boundary."""

    block: str
    positive: float


def sign(network: Network, boundaries: Sequence[torch.Tensor], trials: int, _optimizer: object) -> Callable[[], list]:
    shares = [(x > 0).double().reshape(trials, -1).mean(1).tolist() for x in boundaries]
    columns = list(zip(boundary_names(network), shares, strict=True))
    rows = [[SignRow(name, by_trial[trial]) for name, by_trial in columns] for trial in range(trials)]
    return lambda: rows


def test_a_probe_is_one_entry_and_its_log_is_read_with_the_results(tiny_file, tmp_path, torch_state, monkeypatch):
    monkeypatch.setitem(resexp.PROBES, "sign", probes.StepProbe(SignRow, sign))
    folder = resexp.train(tiny_file, "gradients.probes=[signal, sign]", "seeds=2", runs_dir=tmp_path)
    monkeypatch.delitem(resexp.PROBES, "sign")  # its log describes itself
    frame = resexp.load(folder).log("sign")
    signals = resexp.load(folder).signals

    assert [*frame.columns] == ["trial", "arm", "depth", "seed", "step", "epoch", "block", "positive"]
    assert frame[["trial", "step", "block"]].to_numpy().tolist() == signals[["trial", "step", "block"]].to_numpy().tolist()
    assert frame["positive"].between(0, 1).all()
    for record in runs.read_results([folder]).records:
        assert "sign.csv" in record.result.sha256
    assert runs.examine(folder) == []


def test_a_custom_probe_continues_after_an_interruption_with_the_same_bytes(tiny, tmp_path, torch_state, monkeypatch):
    monkeypatch.setitem(resexp.PROBES, "sign", probes.StepProbe(SignRow, sign))
    experiment = tiny()
    gradients = experiment.shared.gradients.model_copy(update={"probes": ("sign",)})
    trials = [
        trial.model_copy(update={"settings": trial.settings.model_copy(update={"gradients": gradients})})
        for trial in experiment.trials
    ]
    answers = iter([False, False, False, True])
    assert training.train_stack(trials, tmp_path / "stopped", "stack", "cpu", lambda: next(answers)) == "interrupted"
    for name in ("stopped", "whole"):
        assert training.train_stack(trials, tmp_path / name, "stack", "cpu") == "finished"

    for trial in trials:
        logs = [runs.trial_folder(tmp_path / name, trial.name) / "sign.csv" for name in ("stopped", "whole")]
        assert logs[0].read_bytes() == logs[1].read_bytes()


def test_an_unknown_probe_is_refused_with_those_that_exist(tiny):
    with pytest.raises(config.ConfigError, match=r"gradients.probes: 'sing' is not one of gradient_norm, signal, "):
        tiny("gradients.probes=[sing]")
