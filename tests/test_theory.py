"""Predictions at initialization against simulations in numpy and float64 that share no code with them."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from resexp import config, theory
from resexp.theory.convolutions import borders

WIDTH, SEEDS = 256, 6
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
Backward = Callable[[FloatArray], FloatArray]
Layer = Callable[[np.random.Generator, FloatArray], tuple[FloatArray, Backward]]


# ---- simulation: a layer returns its output and the map from output gradients to input gradients ----------------------


def weight(random: np.random.Generator, sigma2: float, width: int) -> FloatArray:
    return random.standard_normal((width, width)) * math.sqrt(sigma2 / width)


def orthogonal(random: np.random.Generator, sigma2: float, width: int) -> FloatArray:
    q, r = np.linalg.qr(random.standard_normal((width, width)))
    return math.sqrt(sigma2) * q * np.sign(np.diag(r))


def matrix(sigma2: float, draw: Callable[..., FloatArray] = weight) -> Layer:
    def layer(random: np.random.Generator, x: FloatArray) -> tuple[FloatArray, Backward]:
        w = draw(random, sigma2, x.shape[1])
        return x @ w.T, lambda d: d @ w

    return layer


def relu(_random: np.random.Generator, x: FloatArray) -> tuple[FloatArray, Backward]:
    return np.maximum(x, 0), lambda d: d * (x > 0)


def tanh(_random: np.random.Generator, x: FloatArray) -> tuple[FloatArray, Backward]:
    y = np.tanh(x)
    return y, lambda d: d * (1 - y**2)


def norm(axis: int) -> Layer:
    """Batch norm (axis 0) or layer norm (axis 1)."""

    def layer(_random: np.random.Generator, x: FloatArray) -> tuple[FloatArray, Backward]:
        scale = 1 / np.sqrt(x.var(axis, keepdims=True) + 1e-12)
        z = (x - x.mean(axis, keepdims=True)) * scale

        def back(d: FloatArray) -> FloatArray:
            return scale * (d - d.mean(axis, keepdims=True) - z * (d * z).mean(axis, keepdims=True))

        return z, back

    return layer


def chain(*layers: Layer) -> Layer:
    def layer(random: np.random.Generator, x: FloatArray) -> tuple[FloatArray, Backward]:
        backs = []
        for part in layers:
            x, back = part(random, x)
            backs.append(back)

        def backward(d: FloatArray) -> FloatArray:
            for back in reversed(backs):
                d = back(d)
            return d

        return x, backward

    return layer


def gelu(_random: np.random.Generator, x: FloatArray) -> tuple[FloatArray, Backward]:
    return x * ndtr(x), lambda d: d * (ndtr(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))


def skip(branch: Layer, scale: float = 1.0, a: float = 1.0) -> Layer:
    def layer(random: np.random.Generator, x: FloatArray) -> tuple[FloatArray, Backward]:
        f, back = branch(random, x)
        return scale * x + a * f, lambda d: scale * d + a * back(d)

    return layer


def simulated(
    block: Layer, blocks: int, first: Layer = relu, batch: int = 32, width: int = WIDTH
) -> tuple[FloatArray, FloatArray]:
    """ln |dL/dx|^2 and ln E[x^2] at x_0 .. x_L, (seeds, L + 1), for a random gradient at the output."""
    gradient_levels, activation_levels = [], []
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        x, _ = first(random, random.standard_normal((batch, width)))
        activation_squares, backs = [np.square(x).mean()], []
        for _ in range(blocks):
            x, back = block(random, x)
            activation_squares.append(np.square(x).mean())
            backs.append(back)
        d = random.standard_normal(x.shape)
        gradient_squares = [np.square(d).sum()]
        for back in reversed(backs):
            d = back(d)
            gradient_squares.append(np.square(d).sum())
        gradient_levels.append(np.log(gradient_squares[::-1]))
        activation_levels.append(np.log(activation_squares))
    return np.array(gradient_levels), np.array(activation_levels)


def growth(levels: FloatArray, inner: slice = slice(3, -3)) -> float:
    """The factor per block towards the input, fitted over inner boundaries, mean of logarithms over seeds."""
    index = np.arange(levels.shape[1])[inner]
    return math.exp(-np.polyfit(index, levels[:, inner].mean(0), 1)[0])


# ---- networks without a formula --------------------------------------------------------------------------------------------


def network(**keys: Any) -> config.NetworkSettings:
    return config.NetworkSettings(**{"depth": 22, **keys})


@pytest.mark.parametrize(
    "keys",
    [
        {"shortcut": "plain", "norm": "batch", "family": "cnn", "depth": 20},
        {"shortcut": "plain", "activation": "tanh", "family": "cnn", "depth": 20},
        {"shortcut": "plain", "block": "bottleneck", "family": "cnn", "init": "xavier", "depth": 20},
        {"shortcut": "plain", "norm": "group", "width": 32},
        {"norm": "batch", "placement": "post-norm"},
        {"shortcut": "dropout", "norm": "layer"},
        {"shortcut": "gate"},
        {"shortcut": "gate-shortcut"},
        {"shortcut": {"scaled": {"scale": 0.0}}},
        {"init": "fixup"},
        {"shortcut": "projection-all", "zero_init_residual": True},
        {"depth": 2},
    ],
    ids=str,
)
def test_if_no_formula_is_known_the_predictions_give_a_reason(keys: dict[str, Any]):
    prediction, distances = theory.predict(network(**keys), 64), theory.predict_distance(network(**keys), 64)

    assert not prediction.known
    assert not distances.known
    assert prediction.source
    assert distances.source
    assert (prediction.slope(), prediction.band(), prediction.depth_scale(), prediction.forward) == (None, None, None, None)


def test_no_formula_is_known_for_batch_norm_in_batches_of_fewer_than_8():
    seven, eight = (theory.predict(network(shortcut="plain", norm="batch"), batch) for batch in (7, 8))

    assert (seven.known, eight.known) == (False, True)
    assert seven.source == "no formula is known for batch norm in batches of fewer than 8"


def test_init_scales_agree_with_the_initializations():
    from resexp.networks import INITS  # noqa: PLC0415 - only the reference imports torch

    torch = pytest.importorskip("torch")
    scales = {name: rule.scale(torch.empty(8, 8)) for name, rule in INITS.items() if name in theory.INIT_SCALES}

    assert scales == theory.INIT_SCALES


# ---- growth against simulations ------------------------------------------------------------------------------------------


def factor(prediction: theory.Prediction, block: int) -> float:
    """The predicted factor of |dL/dx|^2 of one block, in the limit of large widths."""
    return float(100 ** prediction.high[block])


@pytest.mark.parametrize(("init", "expected"), [("he", 1.0), ("xavier", 0.5), ("orthogonal", 0.5), ("pytorch", 1 / 6)])
def test_a_plain_relu_layer_multiplies_the_squared_gradient_by_half_of_sigma2(init: str, expected: float):
    draw = orthogonal if init == "orthogonal" else weight
    levels, _ = simulated(chain(matrix(theory.INIT_SCALES[init], draw), relu), 20)
    prediction = theory.predict(network(shortcut="plain", init=init, block_layers=1), 64)

    assert factor(prediction, 10) == pytest.approx(expected)
    assert growth(levels) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("activation", "sigma2", "expected"),
    [("tanh", 2.0, 1.106), ("tanh", 25 / 9, 1.21), ("gelu", 1.0, 0.25)],
)
def test_a_plain_layer_has_the_mean_field_factor_of_its_activation(activation: str, sigma2: float, expected: float):
    levels, _ = simulated(chain(matrix(sigma2), {"tanh": tanh, "gelu": gelu}[activation]), 30)
    keys = {"activation": activation, "init": "he", "init_scale": sigma2, "block_layers": 1, "depth": 32}
    prediction = theory.predict(network(shortcut="plain", **keys), 64)
    last = factor(prediction, -1)

    assert last == pytest.approx(expected, rel=0.02)
    assert math.log(growth(levels, slice(6, -3))) == pytest.approx(np.log([factor(prediction, 12)])[0], abs=0.08)


@pytest.mark.parametrize(
    ("name", "activation"), [("batch", "relu"), ("layer", "relu"), ("layer", "gelu"), ("layer", "tanh")], ids=str
)
@pytest.mark.parametrize("sigma2", [1 / 3, 2.0])
def test_with_normalization_gradients_of_plain_networks_grow_alike_for_any_sigma2(name: str, activation: str, sigma2: float):
    phi = {"relu": relu, "tanh": tanh, "gelu": gelu}[activation]
    levels, _ = simulated(chain(matrix(sigma2), norm({"batch": 0, "layer": 1}[name]), phi), 20, batch=128)
    keys = {"norm": name, "activation": activation, "init": "he", "init_scale": sigma2, "block_layers": 1}
    prediction = theory.predict(network(shortcut="plain", **keys), 128)

    assert growth(levels) == pytest.approx(factor(prediction, 10), rel=0.03)
    assert name != "batch" or factor(prediction, 10) == pytest.approx(math.pi / (math.pi - 1) * 126 / 125, rel=1e-4)


NORM_BLOCKS: dict[str, tuple[Layer, Layer]] = {  # (x_0 of noise, a block of two layers)
    "post": (relu, chain(skip(chain(matrix(2.0), norm(0), relu, matrix(2.0), norm(0))), relu)),
    "branch": (relu, skip(chain(matrix(2.0), norm(0), relu, matrix(2.0), norm(0), relu))),
}


@pytest.mark.parametrize("placement", NORM_BLOCKS)
def test_with_shortcuts_and_batch_norm_gradients_follow_a_power_law(placement: str):
    first, block = NORM_BLOCKS[placement]
    levels, _ = simulated(block, 24, first=first, batch=128)
    prediction = theory.predict(network(depth=50, placement=placement, norm="batch", init="he"), 128)
    predicted = 2 * math.log(10) * np.array([high for _, high in prediction.profile()])

    assert prediction.law == "power"
    assert (levels - levels[:, -1:]).mean(0)[2:-4] == pytest.approx(predicted[2:-4], rel=0.12)


@pytest.mark.parametrize(("batch", "expected"), [(8, 0.1041), (16, 0.0879), (64, 0.0801)])
def test_residual_batch_norm_depends_on_the_batch_size(batch: int, expected: float):
    keys = {"depth": 26, "width": 256, "placement": "pre", "norm": "batch", "init": "he"}

    assert (theory.predict(network(**keys), batch, 8).slope() or (0, 0))[1] == pytest.approx(expected, rel=0.015)


ANCHORS: dict[str, tuple[dict[str, Any], float]] = {
    "tanh, orthogonal": ({"shortcut": "plain", "activation": "tanh", "init": "orthogonal"}, -0.0326),
    "tanh, xavier": ({"shortcut": "plain", "activation": "tanh", "init": "xavier"}, -0.0353),
    "gelu, pytorch": ({"shortcut": "plain", "activation": "gelu"}, -1.078),
    "gelu, xavier": ({"shortcut": "plain", "activation": "gelu", "init": "xavier"}, -0.602),
    "layer norm, tanh": ({"shortcut": "plain", "activation": "tanh", "norm": "layer"}, 0.0711),
    "layer norm, gelu": ({"shortcut": "plain", "activation": "gelu", "norm": "layer"}, 0.0302),
    "group norm, gelu": ({"shortcut": "plain", "activation": "gelu", "norm": "group"}, 0.0449),
    "the block of He et al. 2015": ({"norm": "batch", "init": "he"}, 0.0846),
    "identity, post, layer norm": ({"norm": "layer", "init": "he"}, 0.0223),
    "identity, pre, tanh": ({"placement": "pre", "activation": "tanh", "init": "he"}, 0.0751),
    "dropout": ({"placement": "pre", "shortcut": "dropout", "init": "he"}, 0.2386),
    "projection-all, branch": ({"placement": "branch", "shortcut": "projection-all", "block_layers": 1, "depth": 14}, -0.1505),
}


@pytest.mark.parametrize("name", ANCHORS)
def test_slopes_agree_with_values_that_were_derived_by_hand(name: str):
    keys, expected = ANCHORS[name]
    low, high = theory.predict(network(**{"depth": 26, "width": 256, **keys}), 128, 8).slope() or (math.nan, math.nan)

    assert low - 0.001 <= expected <= high + 0.001 or expected == pytest.approx(high, abs=0.0012)


# ---- blocks without normalization ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma2", [1 / 3, 1.0, 2.0])
def test_mean_field_predicts_blocks_with_an_activation_after_the_addition(sigma2: float):
    levels, signals = simulated(chain(skip(chain(matrix(sigma2), relu, matrix(sigma2))), relu), 20)
    prediction = theory.predict(network(depth=42, init="he", init_scale=sigma2, width=WIDTH), 64)
    low, high = (float(100 ** steps[10]) for steps in (prediction.low, prediction.high))

    assert 0.95 * low <= growth(levels) <= 1.05 * high
    assert prediction.forward is not None
    assert growth(-signals) == pytest.approx(100 ** prediction.forward[10], rel=0.05)


@pytest.mark.parametrize(("shortcut", "sigma2"), [("identity", 2.0), ("identity", 1 / 3), ("skipinit", 2.0)])
def test_the_formula_includes_a_first_block_after_an_activation(shortcut: str, sigma2: float):
    branch, a = chain(matrix(sigma2), relu, matrix(sigma2)), 20**-0.5 if shortcut == "skipinit" else 1.0
    first, block = chain(relu, skip(branch, 1.0, a)), skip(chain(relu, branch), 1.0, a)
    blocks, count = [first, *[block] * 19], iter(range(20 * SEEDS))

    def next_block(random: np.random.Generator, x: FloatArray) -> tuple[FloatArray, Backward]:
        return blocks[next(count) % 20](random, x)

    levels, signals = simulated(next_block, 20, first=chain())
    keys = {"depth": 42, "shortcut": shortcut, "placement": "pre", "init": "he", "init_scale": sigma2, "width": 100_000}
    prediction = theory.predict(network(**keys), 64)

    assert prediction.forward is not None
    assert np.diff(signals.mean(0)) == pytest.approx(2 * math.log(10) * np.array(prediction.forward), abs=0.1)
    low, high = (2 * math.log(10) * sum(steps) for steps in (prediction.low, prediction.high))
    assert low - 0.15 <= (levels[:, 0] - levels[:, -1]).mean() <= high + 0.15


# ---- distances -------------------------------------------------------------------------------------------------------------


def distance(x: FloatArray) -> float:
    """1 minus the mean cosine over pairs, by the definition."""
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = units @ units.T
    return float(1 - cosines[np.triu_indices(len(x), 1)].mean())


def test_the_distance_of_plain_relu_networks_is_the_composed_arc_cosine_map():
    cosine, expected = 0.3, {}
    for layer in range(1, 65):
        cosine = (math.sqrt(1 - cosine**2) + (math.pi - math.acos(cosine)) * cosine) / math.pi
        expected[layer] = 1 - cosine
    wide = {"shortcut": "plain", "init": "he", "width": 100_000, "block_layers": 1, "depth": 66}
    predicted = theory.predict_distance(network(**wide), 64, distance=0.7)

    assert [expected[layer] for layer in (8, 16, 32, 64)] == pytest.approx([0.147, 0.065, 0.024, 0.0077], rel=0.02)
    assert [predicted.middle[layer] for layer in (8, 16, 32, 64)] == pytest.approx(
        [expected[layer] for layer in (8, 16, 32, 64)], rel=0.01
    )


SIMULATED: dict[str, tuple[dict[str, Any], Layer, Layer]] = {
    "plain, relu": ({"shortcut": "plain", "init": "he"}, relu, chain(matrix(2.0), relu)),
    "plain, tanh": ({"shortcut": "plain", "init": "he", "activation": "tanh"}, tanh, chain(matrix(2.0), tanh)),
    "plain, gelu": ({"shortcut": "plain", "init": "he", "activation": "gelu"}, gelu, chain(matrix(2.0), gelu)),
    "plain, layer norm": ({"shortcut": "plain", "init": "he", "norm": "layer"}, relu, chain(matrix(2.0), norm(1), relu)),
    "identity, post": ({"init": "he"}, relu, chain(skip(matrix(2.0)), relu)),
    "identity, post, layer norm": ({"init": "he", "norm": "layer"}, relu, chain(skip(chain(matrix(2.0), norm(1))), relu)),
    "identity, branch": ({"init": "he", "placement": "branch"}, relu, skip(chain(matrix(2.0), relu))),
    "skipinit, post": ({"init": "he", "shortcut": "skipinit"}, relu, chain(skip(matrix(2.0), 1.0, 16**-0.5), relu)),
}


@pytest.mark.parametrize("name", SIMULATED)
def test_distances_of_simulated_networks_are_in_the_predicted_range(name: str):
    keys, first, block = SIMULATED[name]
    profiles = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        common, own = random.standard_normal((1, WIDTH)), random.standard_normal((16, WIDTH))
        x, _ = chain(matrix(2.0), first)(random, math.sqrt(0.4) * common + math.sqrt(0.6) * own)
        profile = [distance(x)]
        for _ in range(16):
            x, _ = block(random, x)
            profile.append(distance(x))
        profiles.append(profile)
    measured = np.exp(np.log(profiles).mean(0))
    predicted = theory.predict_distance(
        network(**{"block_layers": 1, "depth": 18, "width": WIDTH, **keys}), 64, None, 1, measured[0]
    )

    assert predicted.middle[0] == pytest.approx(measured[0], rel=0.01)
    assert all(low <= value <= high for value, low, high in [*zip(measured, predicted.low, predicted.high, strict=True)][1:])
    assert measured[-1] == pytest.approx(predicted.middle[-1], rel=0.35)


def test_narrow_networks_lose_distances_faster_than_wide_ones():
    narrow, wide = (
        theory.predict_distance(
            network(shortcut="plain", init="he", width=width, block_layers=1, depth=66), 64, distance=0.46
        ).middle[-1]
        for width in (64, 100_000)
    )

    # 60 simulated networks of width 64 have a geometric mean of 0.0023, with an SD of the logarithm of 1.3
    assert narrow == pytest.approx(0.0023, rel=0.1)
    assert wide == pytest.approx(0.0072, rel=0.05)


def test_batch_norm_keeps_distances_and_biases_of_pytorch_remove_them():
    batch_norm = theory.predict_distance(network(shortcut="plain", norm="batch"), 64)
    biases = theory.predict_distance(network(shortcut="plain"), 64)

    assert batch_norm.middle == pytest.approx([1 - 1 / math.pi] * 11, rel=0.01)
    assert biases.middle[-1] < 1e-6


def test_the_number_of_blocks_until_a_share_of_the_distance_is_interpolated():
    prediction = theory.DistancePrediction(middle=(0.4, 0.2, 0.1))

    assert prediction.blocks_until(0.5) == pytest.approx(1)
    assert prediction.blocks_until(2**-1.5) == pytest.approx(1.5)
    assert prediction.blocks_until(0.1) == math.inf


# ---- predictions for settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "law", "factor"),
    [
        ({"shortcut": "plain"}, "exponential", 1 / 36),
        ({"shortcut": "plain", "block_layers": 1}, "exponential", 1 / 6),
        ({"shortcut": "plain", "init": "xavier", "placement": "pre"}, "exponential", 1 / 4),
        ({"shortcut": "plain", "init_scale": 3.0, "block_layers": 1, "init": "orthogonal"}, "exponential", 3 / 2),
        ({"shortcut": "plain", "init": "fixup", "zero_init_residual": True}, "exponential", 1.0),
        ({"shortcut": "plain", "norm": "layer"}, "exponential", 1.0),
        ({"placement": "pre", "shortcut": "projection-all", "init": "he"}, "exponential", 3.0),
        ({"shortcut": "projection-all", "init": "he"}, "exponential", 2.0),
        ({"shortcut": "rezero"}, "exponential", 1.0),
        ({"zero_init_residual": True, "init": "he", "norm": "batch"}, "exponential", 1.0),
    ],
    ids=str,
)
def test_predictions_use_the_formula_of_the_network(keys: dict[str, Any], law: str, factor: float):
    prediction = theory.predict(network(**keys, width=10_000), 64)
    levels = [high for _, high in prediction.profile()]
    expected = math.log10(factor) / 2

    assert prediction.law == law
    assert prediction.low == pytest.approx(prediction.high, abs=0.01)
    assert len(levels) == 1 + theory.block_count(network(**keys))
    assert [level - next_level for level, next_level in pairwise(levels)][1:] == pytest.approx(
        [expected] * (len(levels) - 2), abs=0.015
    )
    assert prediction.slope() == pytest.approx((expected, expected), abs=0.008)


def test_the_range_for_post_is_finite_over_ten_orders_of_magnitude_of_sigma2():
    for sigma2 in (1e-6, 1e-2, 12.0, 1e4):
        low, high = theory.predict(network(init_scale=sigma2), 64).slope() or (math.nan, math.nan)

        assert -0.2 < low <= high
        assert math.isfinite(high)


def test_zero_padding_reduces_the_factor_of_a_convolution_stage_by_stage():
    side, layers = 8, 40
    taps = np.eye(side) + np.eye(side, k=1) + np.eye(side, k=-1)
    total, next_total = (
        np.ones(side) @ np.linalg.matrix_power(taps / 3, power) @ np.ones(side) for power in (layers, layers + 1)
    )
    low, high = borders(side)
    prediction = theory.predict(network(family="cnn", shortcut="plain", depth=44, init="he"), 64, 8)

    assert high == pytest.approx((next_total / total) ** 2)
    assert low == pytest.approx((np.ones(side) @ taps @ np.ones(side) / 3 / side) ** 2)
    assert [prediction.high[block] for block in (0, 10, 17)] == pytest.approx([-0.036, -0.118, -0.352], abs=0.001)
    assert prediction.stages == (0,) * 7 + (1,) * 7 + (2,) * 7


def test_the_slope_of_a_cnn_has_one_intercept_per_stage():
    prediction = theory.predict(network(family="cnn", shortcut="plain", depth=20, init="he"), 64, 8)
    levels, stages = [high for _, high in prediction.profile()], [0, *prediction.stages]
    design = np.array([[index, *(stages[index] == stage for stage in range(3))] for index in range(1, 9)], dtype=float)
    fitted, *_ = np.linalg.lstsq(design, np.array(levels[1:-1]), rcond=None)

    assert (prediction.slope() or (0, 0))[1] == pytest.approx(-fitted[0])


def test_the_band_widens_away_from_the_last_block():
    band = theory.predict(network(shortcut="plain", init="he", width=100), 64).band()

    assert band is not None
    assert band[-1] == 0
    assert band[0] == pytest.approx(2 * math.sqrt(5 * 20 / 100) / (2 * math.log(10)))  # two SD of log10 of the norm
    assert theory.predict(network(init="he", norm="batch"), 64).band() is None


def test_the_depth_scale_refers_to_the_squared_gradient():
    vanishing = theory.predict(network(shortcut="plain", width=10**5), 64).depth_scale()
    stable = theory.predict(network(shortcut="plain", init="orthogonal", init_scale=2.0, width=10**5), 64).depth_scale()
    exploding = theory.predict(network(shortcut="plain", norm="batch", block_layers=1), 10**6).depth_scale()

    assert vanishing == pytest.approx((1 / math.log(36),) * 2, rel=1e-3)
    assert stable is not None
    assert stable[0] > 10**4
    assert exploding is not None
    assert exploding[0] == pytest.approx(2.6, rel=0.01)  # layers: Yang et al. 2019
    assert theory.predict(network(shortcut="skipinit", placement="pre"), 64).depth_scale() is None


def test_the_spread_of_a_slope_agrees_with_lines_fitted_to_random_walks():
    prediction = theory.predict(network(shortcut="plain", init="he", width=64), 64)
    blocks, spread = (
        len(prediction.low),
        math.sqrt((prediction.variance or [0.0])[0]) / (2 * math.log(10)),
    )  # orders of magnitude of the norm per block
    steps = np.random.default_rng(0).standard_normal((4000, blocks)) * spread
    walks = np.concatenate([np.cumsum(steps[:, ::-1], 1)[:, ::-1], np.zeros((4000, 1))], 1)[:, 1:-1]
    slopes = np.polyfit(np.arange(blocks - 1), walks.T, 1)[0]

    assert prediction.slope_spread() == pytest.approx(2 * slopes.std(), rel=0.04)


def test_a_gradient_that_may_vanish_or_explode_has_an_infinite_longest_depth_scale():
    prediction = theory.predict(network(shortcut="plain", init="he", init_scale=2.03, width=64, block_layers=1), 64)
    shortest, longest = prediction.depth_scale() or (0.0, 0.0)

    assert prediction.low[0] < 0 < prediction.high[0]
    assert longest == math.inf
    assert shortest == pytest.approx(1 / (5 / (2 * 64) - math.log(1.015)))


def test_zero_padding_counts_only_for_padded_convolutions():
    def step(**keys: Any) -> float:
        keys = {"family": "cnn", "shortcut": "plain", "depth": 50, "init_scale": 2.0, **keys}
        return theory.predict(network(**keys), 64, 32).high[0]

    assert step(block="bottleneck") == pytest.approx(step(block_layers=1, depth=26), rel=0.15)  # one of three layers is 3x3
    assert step(init="delta-orthogonal") == 0


@pytest.mark.parametrize(("placement", "first"), [("pre", chain()), ("post", tanh)])
def test_the_first_tanh_layer_is_included_if_blocks_begin_with_it(placement: str, first: Layer):
    layers = [tanh, matrix(1.0)] if placement == "pre" else [matrix(1.0), tanh]
    levels, _ = simulated(chain(*layers * 2), 4, first=first)
    prediction = theory.predict(network(shortcut="plain", activation="tanh", init="xavier", placement=placement, depth=10), 64)

    assert -np.diff(levels.mean(0)) / (2 * math.log(10)) == pytest.approx(prediction.high, abs=0.015)


def test_biases_of_pytorch_initialization_keep_tanh_activations_away_from_0():
    prediction = theory.predict(network(shortcut="plain", activation="tanh", width=16, depth=42, block_layers=1), 64)
    q = 1 / (2 * 16)  # = q / 3 + 1 / (3 * 16), because tanh(x) is about x; E[tanh'^2] is about 1 - 2 q

    assert 100 ** prediction.high[-1] == pytest.approx((1 - 2 * q) / 3, rel=0.015)
