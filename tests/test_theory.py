"""Each formula for growth at initialization against simulations in numpy and float64 that share no code with it."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from resexp import config, theory

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


def plain(*layers: Layer) -> Layer:
    return chain(*layers)


# ---- networks without a formula --------------------------------------------------------------------------------------------


def network(**keys: Any) -> config.NetworkSettings:
    return config.NetworkSettings(**{"depth": 22, **keys})


@pytest.mark.parametrize(
    "keys",
    [
        {"shortcut": "plain", "activation": "gelu"},
        {"shortcut": "plain", "norm": "group"},
        {"shortcut": "plain", "norm": "batch", "activation": "tanh"},
        {"shortcut": "plain", "norm": "batch", "family": "cnn", "depth": 20},
        {"shortcut": "plain", "activation": "tanh", "family": "cnn", "depth": 20},
        {"shortcut": "plain", "block": "bottleneck", "family": "cnn", "init": "xavier", "depth": 20},
        {"activation": "tanh"},
        {"activation": "gelu", "placement": "pre"},
        {"norm": "batch"},
        {"norm": "layer"},
        {"norm": "layer", "placement": "branch"},
        {"placement": "branch"},
        {"shortcut": "gate"},
        {"shortcut": "gate-shortcut"},
        {"shortcut": "dropout"},
        {"shortcut": "stochastic-depth"},
        {"shortcut": {"scaled": {"scale": 0.0}}},
        {"init": "fixup"},
        {"shortcut": "projection-all", "zero_init_residual": True},
        {"depth": 2},
    ],
    ids=str,
)
def test_if_no_formula_is_known_the_prediction_gives_a_reason(keys: dict[str, Any]):
    prediction = theory.predict(network(**keys), 64)

    assert not prediction.known
    assert prediction.source
    assert (prediction.slope(), prediction.band(), prediction.depth_scale(), prediction.forward) == (None, None, None, None)


def test_no_formula_is_known_for_plain_batch_norm_in_batches_of_fewer_than_8():
    seven, eight = (theory.predict(network(shortcut="plain", norm="batch"), batch) for batch in (7, 8))

    assert (seven.known, eight.known) == (False, True)
    assert seven.source == "no formula is known for batch norm in batches of fewer than 8"


def test_init_scales_agree_with_the_initializations():
    from resexp.networks import INITS  # noqa: PLC0415 - only the reference imports torch

    torch = pytest.importorskip("torch")

    assert {name: rule.scale(torch.empty(8, 8)) for name, rule in INITS.items()} == theory.INIT_SCALES


# ---- plain networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("init", "expected"), [("he", 1.0), ("xavier", 0.5), ("orthogonal", 0.5), ("pytorch", 1 / 6)])
def test_a_plain_relu_layer_multiplies_the_squared_gradient_by_half_of_sigma2(init: str, expected: float):
    draw = orthogonal if init == "orthogonal" else weight
    levels, signals = simulated(plain(matrix(theory.INIT_SCALES[init], draw), relu), 20)

    assert theory.relu_layer(theory.INIT_SCALES[init]) == pytest.approx(expected)
    assert growth(levels) == pytest.approx(expected, rel=0.05)
    assert growth(-signals) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("sigma2", "expected"), [(2.0, 1.106), (1 / 3, 1 / 3), (25 / 9, 1.21)])
def test_a_plain_tanh_layer_tends_to_its_mean_field_factor(sigma2: float, expected: float):
    levels, _ = simulated(plain(matrix(sigma2), tanh), 30)
    chi, _ = theory.tanh_layers(sigma2, 30)

    assert chi[-1] == pytest.approx(expected, rel=0.01)
    assert growth(levels, slice(6, -3)) == pytest.approx(expected, rel=0.05)


def test_with_xavier_initialization_the_gradient_of_tanh_layers_decays_polynomially():
    layers = 50
    levels, signals = simulated(plain(matrix(1.0), tanh), layers - 1, first=plain(matrix(1.0), tanh), width=512)
    ratio = np.exp(levels - levels[:, -1:]).mean(0)[4:-1]
    share = np.arange(1, layers + 1)[4:-1] / layers
    chi, squares = theory.tanh_layers(1.0, layers)
    predicted = np.cumprod([1.0, *chi[:0:-1]])[::-1][4:-1]

    assert np.abs(ratio / predicted - 1).max() < 0.1
    assert np.abs(predicted / share - 1).max() < 0.35  # it tends to l / L
    assert predicted[-20:] == pytest.approx(share[-20:], rel=0.05)
    assert np.exp(signals[:, -1]).mean() == pytest.approx(1 / (2 * layers), rel=0.15)
    assert squares[-1] == pytest.approx(np.exp(signals[:, -1]).mean(), rel=0.1)


def test_the_variance_over_seeds_of_the_gradient_of_one_input_is_as_predicted():
    width, layers = 64, 20
    logs = []
    for seed in range(400):
        random = np.random.default_rng(seed)
        x = np.maximum(random.standard_normal(width), 0)
        weights, masks = [], []
        for _ in range(layers):
            h = weight(random, 2.0, width)
            weights.append(h)
            x = np.maximum(h @ x, 0)
            masks.append(x > 0)
        d = random.standard_normal(width)
        output_square = np.square(d).sum()
        for w, mask in zip(reversed(weights), reversed(masks), strict=True):
            d = (d * mask) @ w
        logs.append(math.log(np.square(d).sum() / output_square))

    assert np.var(logs) == pytest.approx(theory.fluctuation(layers, width), rel=0.25)
    assert np.mean(logs) == pytest.approx(-theory.fluctuation(layers, width) / 2, rel=0.25)


# ---- normalization -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma2", [1 / 3, 2.0])
@pytest.mark.parametrize("batch", [32, 128, 256])
def test_gradients_of_plain_networks_with_batch_norm_explode_for_any_sigma2(sigma2: float, batch: int):
    levels, _ = simulated(plain(matrix(sigma2), norm(0), relu), 20, batch=batch)
    low, high = theory.batch_norm_relu(batch)

    assert low <= growth(levels) <= 1.02 * high
    assert batch < 128 or 1.42 < growth(levels) < 1.47 * 1.01


def test_gradients_of_linear_layers_with_batch_norm_explode_slowly():
    levels, _ = simulated(plain(matrix(1.0), norm(0)), 30, batch=32)

    assert growth(levels) == pytest.approx(theory.batch_norm_linear(32), rel=0.01)


@pytest.mark.parametrize("sigma2", [1 / 3, 2.0])
def test_gradients_of_plain_networks_with_layer_norm_are_stable_for_any_sigma2(sigma2: float):
    levels, _ = simulated(plain(matrix(sigma2), norm(1), relu), 20)

    assert growth(levels) == pytest.approx(theory.layer_norm_relu(), rel=0.02)


@pytest.mark.parametrize(
    ("name", "axis", "layers", "tolerance"), [("batch", 0, 1, 0.15), ("batch", 0, 2, 0.25), ("layer", 1, 1, 0.1)]
)
def test_with_shortcuts_gradients_through_normalization_follow_a_power_law(name: str, axis: int, layers: int, tolerance: float):
    sigma2, blocks = 2.0, 54
    chi = {"batch": theory.BATCH_NORM_RELU, "layer": 1.0}[name]
    first = plain(matrix(sigma2), norm(axis), relu, skip(matrix(sigma2)))  # x_1: its shortcut begins after the activation
    levels, _ = simulated(skip(chain(*[norm(axis), relu, matrix(sigma2)] * layers)), blocks - 1, first, batch=128)
    measured = (levels - levels[:, -1:]).mean(0)
    factors = theory.norm_residual(chi**layers, 1 / sigma2, blocks)[1:]
    predicted = np.append(np.cumsum(np.log(factors)[::-1])[::-1], 0.0)
    early, late = (measured[index] - measured[2 * index] for index in (6, 24))

    assert measured[1:-6] == pytest.approx(predicted[1:-6], rel=tolerance)
    assert early == pytest.approx(late, rel=0.3)  # every doubling of l has the same effect: not exponential
    assert measured[0] < 0.3 * blocks * layers * math.log(theory.BATCH_NORM_RELU)


def test_batch_norm_at_the_end_of_the_branch_gives_the_same_power_law():
    blocks = 54
    block = chain(matrix(2.0), norm(0), relu)
    levels, _ = simulated(skip(block), blocks, first=block, batch=128)
    predicted = theory.predict(network(depth=56, block_layers=1, placement="branch", norm="batch", init="he"), 128)

    assert predicted.law == "power"
    assert -np.polyfit(np.arange(3, 50), levels.mean(0)[3:50], 1)[0] == pytest.approx(
        2 * math.log(10) * -np.polyfit(np.arange(3, 50), [low for low, _ in predicted.profile()][3:50], 1)[0], rel=0.15
    )


# ---- residual networks without normalization ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "a", "layers", "expected"), [(1.0, 1.0, 1, 2.0), (1.0, 1.0, 2, 2.0), (0.5, 0.5, 2, 0.5), (1.0, 0.5, 2, 1.25)]
)
def test_squared_gradients_of_independent_branches_add_up(scale: float, a: float, layers: int, expected: float):
    levels, signals = simulated(skip(chain(*[relu, matrix(2.0)] * layers), scale, a), 20, first=chain())

    assert theory.residual(scale, a, theory.relu_layer(2.0) ** layers) == expected
    assert growth(levels) == pytest.approx(expected, rel=0.05)
    assert growth(-signals) == pytest.approx(expected, rel=0.05)


def test_a_bare_block_with_he_initialization_triples_squared_gradients_and_activations():
    levels, signals = simulated(skip(chain(matrix(2.0), relu, matrix(2.0))), 20)

    assert theory.residual_bare(2.0, 2.0) == 3.0
    assert growth(levels) == pytest.approx(3.0, rel=0.05)
    assert growth(-signals) == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("sigma2", [1 / 3, 1.0, 2.0])
def test_mean_field_predicts_blocks_with_an_activation_after_the_addition(sigma2: float):
    levels, signals = simulated(chain(skip(chain(matrix(sigma2), relu, matrix(sigma2))), relu), 20)
    backward, forward = theory.residual_post(sigma2**2 / 2, 20)

    assert 0.97 * backward[10] <= growth(levels) <= 1.03 * forward[10]
    assert growth(-signals) == pytest.approx(forward[10], rel=0.05)
    assert sigma2 != 2 or 2.0 <= growth(levels) <= 2.25


@pytest.mark.parametrize("blocks", [20, 50])
def test_scaling_branches_by_one_over_the_root_of_blocks_gives_a_total_factor_of_about_e(blocks: int):
    block = skip(chain(relu, matrix(2.0), relu, matrix(2.0)), 1.0, blocks**-0.5)
    levels, _ = simulated(block, blocks, first=chain())

    assert theory.residual(1.0, blocks**-0.5, 1.0) ** blocks == pytest.approx((1 + 1 / blocks) ** blocks)
    assert 2.3 <= math.exp((levels[:, 0] - levels[:, -1]).mean()) <= 2.9


@pytest.mark.parametrize(("a", "sigma2"), [(1.0, 2.0), (1.0, 1 / 3), (20**-0.5, 2.0)])
def test_the_formula_includes_a_first_block_after_an_activation(a: float, sigma2: float):
    branch = chain(matrix(sigma2), relu, matrix(sigma2))
    first, block = chain(relu, skip(branch, 1.0, a)), skip(chain(relu, branch), 1.0, a)
    blocks, count = [first, *[block] * 19], iter(range(20 * SEEDS))

    def next_block(random: np.random.Generator, x: FloatArray) -> tuple[FloatArray, Backward]:
        return blocks[next(count) % 20](random, x)

    levels, signals = simulated(next_block, 20, first=chain())
    backward, forward = theory.residual_pre(a**2 * sigma2**2 / 2, 20)

    assert -np.diff(levels.mean(0)) == pytest.approx(np.log(backward), abs=0.1)
    assert np.diff(signals.mean(0)) == pytest.approx(np.log(forward), abs=0.1)
    assert math.exp((levels[:, 0] - levels[:, -1]).mean()) == pytest.approx(math.prod(backward), rel=0.15)


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
    prediction = theory.predict(network(**keys), 64)
    levels = [high for _, high in prediction.profile()]

    assert prediction.law == law
    assert prediction.low == pytest.approx(
        [high - (prediction.variance or 0.0) / (4 * math.log(10)) for high in prediction.high]
    )
    assert len(levels) == 1 + theory.arms.block_count(network(**keys))
    assert [level - next_level for level, next_level in pairwise(levels)] == pytest.approx(
        [math.log10(factor) / 2] * (len(levels) - 1)
    )
    assert prediction.slope() == pytest.approx((prediction.low[0], math.log10(factor) / 2))


def test_the_range_for_post_is_finite_over_ten_orders_of_magnitude_of_sigma2():
    for sigma2 in (1e-6, 1e-2, 12.0, 1e4):
        low, high = theory.predict(network(init_scale=sigma2), 64).slope() or (math.nan, math.nan)

        assert -0.2 < low <= high
        assert math.isfinite(high)


def test_zero_padding_reduces_the_factor_of_a_convolution():
    side, layers = 8, 40
    taps = np.eye(side) + np.eye(side, k=1) + np.eye(side, k=-1)
    total, next_total = (
        np.ones(side) @ np.linalg.matrix_power(taps / 3, power) @ np.ones(side) for power in (layers, layers + 1)
    )
    low, high = theory.borders(side)

    assert high == pytest.approx((next_total / total) ** 2)
    assert low == pytest.approx((np.ones(side) @ taps @ np.ones(side) / 3 / side) ** 2)
    assert theory.predict(network(family="cnn", shortcut="plain", depth=20, init="he"), 64, 32).slope() == pytest.approx(
        (math.log10(theory.borders(8)[0]), math.log10(theory.borders(32)[1]))
    )


def test_the_band_widens_away_from_the_last_block():
    band = theory.predict(network(shortcut="plain", init="he", width=100), 64).band()

    assert band is not None
    assert band[-1] == 0
    assert band[0] == pytest.approx(2 * math.sqrt(5 * 20 / 100) / (2 * math.log(10)))  # two SD of log10 of the norm
    assert theory.predict(network(init="he"), 64).band() is None


def test_the_depth_scale_refers_to_the_squared_gradient():
    vanishing = theory.predict(network(shortcut="plain", width=10**5), 64).depth_scale()
    stable = theory.predict(network(shortcut="plain", init="orthogonal", init_scale=2.0), 64).depth_scale()
    exploding = theory.predict(network(shortcut="plain", norm="batch", block_layers=1), 10**6).depth_scale()

    assert vanishing == pytest.approx((1 / math.log(36),) * 2, rel=1e-3)
    assert stable == (math.inf, math.inf)
    assert exploding is not None
    assert exploding[0] == pytest.approx(2.6, rel=0.01)  # layers: Yang et al. 2019
    assert theory.predict(network(shortcut="skipinit", placement="pre"), 64).depth_scale() is None


def test_the_spread_of_a_slope_agrees_with_lines_fitted_to_random_walks():
    prediction = theory.predict(network(shortcut="plain", init="he", width=64), 64)
    blocks, spread = (
        len(prediction.low),
        math.sqrt(prediction.variance or 0.0) / (2 * math.log(10)),
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
    def slope(**keys: Any) -> tuple[float, float] | None:
        return theory.predict(
            network(**{"family": "cnn", "shortcut": "plain", "depth": 20, "init_scale": 2.0, **keys}), 64, 32
        ).slope()

    low, high = theory.borders(8)[0], theory.borders(32)[1]  # one of the three layers of a bottleneck is 3x3

    assert slope(block="bottleneck") == pytest.approx((math.log10(low) / 2, math.log10(high) / 2))
    assert slope(init="delta-orthogonal") == pytest.approx((0, 0))


@pytest.mark.parametrize(("placement", "first"), [("pre", chain()), ("post", tanh)])
def test_the_first_tanh_layer_is_included_if_blocks_begin_with_it(placement: str, first: Layer):
    layers = [tanh, matrix(1.0)] if placement == "pre" else [matrix(1.0), tanh]
    levels, _ = simulated(chain(*layers * 2), 4, first=first)
    prediction = theory.predict(network(shortcut="plain", activation="tanh", init="xavier", placement=placement, depth=10), 64)

    assert -np.diff(levels.mean(0)) / (2 * math.log(10)) == pytest.approx(prediction.low, abs=0.015)


def test_biases_of_pytorch_initialization_keep_tanh_activations_away_from_0():
    prediction = theory.predict(network(shortcut="plain", activation="tanh", width=16, depth=42, block_layers=1), 64)
    q = 1 / (2 * 16)  # = q / 3 + 1 / (3 * 16), because tanh(x) is about x; E[tanh'^2] is about 1 - 2 q

    assert 100 ** prediction.low[-1] == pytest.approx((1 - 2 * q) / 3, rel=0.015)
