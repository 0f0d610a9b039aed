"""The formula for a network with given settings, or the reason why there is none."""

import math
from collections.abc import Sequence
from typing import Any

from resexp import config
from resexp.config import NetworkSettings
from resexp.theory.formulas import (
    BATCH_NORM_RELU,
    Range,
    batch_norm_relu,
    borders,
    fluctuation,
    layer_norm_relu,
    norm_residual,
    relu_layer,
    residual_post,
    residual_pre,
    tanh_layers,
)
from resexp.theory.predictions import Prediction

# sigma2 of a square hidden layer for each initialization; the plain counterpart of fixup has He initialization.
INIT_SCALES = {
    "pytorch": 1 / 3, "he": 2.0, "xavier": 1.0, "orthogonal": 1.0, "delta-orthogonal": 1.0, "fixup": 2.0,
    "identity": 1.0, "looks-linear": 2.0,
}  # fmt: skip
MIN_BATCH = 8  # smallest batch for which the range of `batch_norm_relu` is valid
NORM_CHI = {"batch": BATCH_NORM_RELU, "layer": layer_norm_relu()}  # of normalization and ReLU, in large batches


def predict(network: NetworkSettings, batch: int, side: int | None = None) -> Prediction:
    """The prediction for a network, including its shortcut, in batches of `batch` images.

    `side`: side of an image in pixels. Without it, the effect of zero padding at image borders is neglected.
    """
    shortcut, norm_and_activation = (
        config.shortcut_name(network.shortcut),
        (network.norm, config.variant(network.activation)[0]),
    )
    factors = shortcut_factors(network)
    if block_count(network) == 0:
        return _no_prediction("a network of depth 2 has no blocks")
    if network.block == "bottleneck" and network.init_scale is None and network.init not in ("pytorch", "he", "fixup"):
        return _no_prediction(f"with init {network.init}, init_scale differs between the layers of a bottleneck")
    if network.init in ("identity", "looks-linear"):
        return _structured(network, shortcut, norm_and_activation)
    if shortcut == "plain":
        return _plain(network, batch, side, norm_and_activation)
    if network.init == "fixup":
        return _no_prediction("fixup initializes the classifier to 0, so all other gradients are 0")
    if factors is None:
        return _no_prediction(f"no formula is known for the shortcut {shortcut}")
    if factors[0] <= 0:
        return _no_prediction("no formula is known for a shortcut with scale 0 or a negative scale")
    if factors[1] == 0 or network.zero_init_residual:
        return _zero_branch(network, factors[0])
    return _residual(network, factors, side, norm_and_activation)


def shortcut_factors(network: NetworkSettings) -> Range | None:
    """(s, a) at initialization, where E|S^T d|^2 = s^2 |d|^2 and a is constant, in blocks that preserve shape.

    None for other shortcuts, and if the numbers differ between blocks. For a learned map with sigma2 = u, s = sqrt(u).
    """
    if config.shortcut_name(network.shortcut) == "projection-all":
        return math.sqrt(INIT_SCALES[network.init]), 1.0
    blocks = max(1, block_count(network))
    factors = {config.shortcut_factors(network.shortcut, index, blocks) for index in range(blocks)}
    common = factors.pop()
    return None if common is None or factors else common[::-1]


def block_count(network: NetworkSettings) -> int:
    return (network.depth - 2) // layers_of_block(network)


def layers_of_block(network: NetworkSettings) -> int:
    return 3 if network.block == "bottleneck" else network.block_layers


# ---- shared -------------------------------------------------------------------------------------------------------------


def _no_prediction(reason: str) -> Prediction:
    return Prediction("none", source=reason)


def _unknown(network: NetworkSettings) -> Prediction:
    arm, family = config.arm_name(network.shortcut), {"mlp": "an mlp", "cnn": "a cnn"}[network.family]
    norm = "no normalization" if network.norm == "none" else f"{network.norm} norm"
    return _no_prediction(
        f"no formula is known for {arm} in {network.placement} blocks of {family} with {network.activation} and {norm}"
    )


def _prediction(law: str, low: Sequence[float], high: Sequence[float], source: str, not_for: str, **fields: Any) -> Prediction:
    """A prediction from the factor of |dL/dx|^2 of each block; half its log10 is the change of the norm."""
    log_low, log_high = (tuple(math.log10(factor) / 2 for factor in factors) for factors in (low, high))
    return Prediction(law=law, low=log_low, high=log_high, source=source, not_for=not_for, **fields)


def _sigma2(network: NetworkSettings) -> float:
    return INIT_SCALES[network.init] if network.init_scale is None else network.init_scale


def _branch_chi(network: NetworkSettings, side: int | None) -> Range:
    """(low, high) of chi of a branch: (sigma2 / 2)^m, reduced by zero padding at the borders of an image."""
    chi = relu_layer(_sigma2(network)) ** layers_of_block(network)
    if network.family == "mlp" or side is None or network.init == "delta-orthogonal":
        return chi, chi
    padded_layers = 1 if network.block == "bottleneck" else network.block_layers
    return chi * borders(max(1, -(-side // 4)))[0] ** padded_layers, chi * borders(side)[1] ** padded_layers


def _structured(network: NetworkSettings, shortcut: str, norm_and_activation: tuple[str, str]) -> Prediction:
    """1 per block of a plain network with mirrored or identity weights: arXiv:1702.08591 for looks-linear."""
    norm, activation = norm_and_activation
    linear = activation in ("relu", "gelu", "silu") if network.init == "looks-linear" else activation == "relu"
    if shortcut != "plain" or norm != "none" or network.family != "mlp" or network.init_scale is not None or not linear:
        return _no_prediction(f"no formula is known for init {network.init} in this network")
    factors = [1.0] * block_count(network)
    limits = "the first and the last block" if network.init == "identity" else "layers that change width"
    return _prediction(
        "exponential", factors, factors, "each block passes the gradient unchanged: arXiv:1702.08591", limits,
        forward=(0.0,) * block_count(network) if activation == "relu" else None,
    )  # fmt: skip


# ---- plain ----------------------------------------------------------------------------------------------------------------


def _plain(network: NetworkSettings, batch: int, side: int | None, norm_and_activation: tuple[str, str]) -> Prediction:
    if norm_and_activation == ("none", "relu"):
        return _plain_relu(network, side)
    if network.family == "mlp" and norm_and_activation == ("none", "tanh"):
        return _plain_tanh(network)
    if norm_and_activation == ("batch", "relu") and network.family == "mlp" and batch < MIN_BATCH:
        return _no_prediction(f"no formula is known for batch norm in batches of fewer than {MIN_BATCH}")
    if network.family == "mlp" and norm_and_activation == ("batch", "relu"):
        return _plain_norm(
            network,
            batch_norm_relu(batch),
            "pi / (pi - 1) per layer of batch norm and ReLU: Yang et al. 2019, arXiv:1902.08129 theorem 8",
        )
    if network.family == "mlp" and norm_and_activation == ("layer", "relu"):
        return _plain_norm(
            network, (layer_norm_relu(), layer_norm_relu()), "1 per layer of layer norm and ReLU, for any init_scale"
        )
    return _unknown(network)


def _plain_relu(network: NetworkSettings, side: int | None) -> Prediction:
    low, high = _branch_chi(network, side)
    blocks, layers, mlp = block_count(network), layers_of_block(network), network.family == "mlp"
    variance = fluctuation(layers, network.width) if mlp and "orthogonal" not in network.init else None
    return _prediction(
        "exponential",
        [low * math.exp(-(variance or 0.0) / 2)] * blocks,  # for one input; means over a batch fluctuate and decrease less
        [high] * blocks,
        f"(init_scale / 2)^{layers} per block: He et al. 2015a, arXiv:1502.01852; "
        "variance over seeds of ln |dL/dx|^2, 5 / width per layer: Hanin & Nica 2020, arXiv:1812.05994",
        "layers that change width, with init xavier or delta-orthogonal; means over few seeds of narrow, deep networks",
        forward=(math.log10(high) / 2,) * blocks if mlp and network.init != "pytorch" else None,  # it has no biases
        variance=variance,
    )


def _plain_tanh(network: NetworkSettings) -> Prediction:
    blocks, layers, sigma2 = block_count(network), layers_of_block(network), _sigma2(network)
    bias = 1 / (3 * network.width) if network.init == "pytorch" else 0.0
    chi, squares = tanh_layers(sigma2, 1 + blocks * layers, bias)
    first = 0 if network.placement in ("pre", "pre-act-only") else 1  # whether x_0 is the output of an activation
    factors = [math.prod(chi[first + layers * block :][:layers]) for block in range(blocks)]
    activation_growth = [math.log10(squares[layers * (block + 1)] / squares[layers * block]) / 2 for block in range(blocks)]
    return _prediction(
        "polynomial" if sigma2 == 1 else "exponential",
        factors,
        factors,
        "init_scale E[tanh'^2] per layer: Schoenholz et al. 2017, arXiv:1611.01232; "
        "if init_scale is 1, the product from layer L to layer l is l / L",
        "the first layers, if images do not have mean square 1",
        forward=tuple(activation_growth) if first else None,
    )


def _plain_norm(network: NetworkSettings, chi: Range, source: str) -> Prediction:
    blocks, layers = block_count(network), layers_of_block(network)
    low, high = (factor**layers for factor in chi)
    limits = "networks after the first update; narrow layers"
    return _prediction("exponential", [low] * blocks, [high] * blocks, source, limits, forward=(0.0,) * blocks)


# ---- residual -------------------------------------------------------------------------------------------------------------


def _zero_branch(network: NetworkSettings, scale: float) -> Prediction:
    """scale^2 per block if the branch is initialized to 0; a ReLU does not change activations that are not negative."""
    has_map = config.shortcut_name(network.shortcut) == "projection-all"
    no_activation_after = network.placement in ("pre", "branch", "pre-act-only")
    preserves_x = no_activation_after or (
        network.activation == "relu" and (network.placement == "post" or network.norm == "none")
    )
    if has_map or not preserves_x:
        return _unknown(network)
    blocks = block_count(network)
    steps = (math.log10(scale),) * blocks
    source = "scale^2 per block: the branch is initialized to 0, only the shortcut passes the gradient"
    limits = "the last block in placement post, whose ReLU sets part of the gradient to 0"
    return Prediction("exponential", steps, steps, steps, None, source, limits)


def _residual(network: NetworkSettings, factors: Range, side: int | None, norm_and_activation: tuple[str, str]) -> Prediction:
    if norm_and_activation == ("none", "relu") and network.placement != "branch":
        return _residual_relu(network, factors, side)
    is_relu_mlp = network.family == "mlp" and network.activation == "relu"
    has_formula = network.placement == "pre" or (network.placement == "branch" and network.norm == "batch")
    if network.norm in NORM_CHI and is_relu_mlp and has_formula and factors[0] == 1:
        return _residual_norm(network, factors[1])
    return _unknown(network)


PRE = (
    "scale^2 + branch^2 init_scale (init_scale / 2)^(m - 1) P(x > 0) per block of m layers; "
    "P tends to 1/2; the product over all blocks is e for skipinit"
)
POST = (
    "mean field of relu(x + F), for gradients orthogonal to x (low) and parallel to x (high): "
    "2.05 to 2.40 per block with He initialization"
)


def _residual_relu(network: NetworkSettings, factors: Range, side: int | None) -> Prediction:
    """A block s x + a F equals s times a block x + (a / s) F. The output Ux of a map is normal with mean 0, as F is."""
    blocks, (scale, branch), chis = block_count(network), factors, _branch_chi(network, side)
    is_pre = network.placement in ("pre", "pre-act-only")
    formula, source = (residual_pre, PRE) if is_pre else (residual_post, POST)
    if config.shortcut_name(network.shortcut) == "projection-all":
        low, high = (scale**2 / (1 if is_pre else 2) + chi for chi in chis)
        source = "(init_scale / 2)^m per block of m layers, plus fan_in * Var(U) of the map U, or half of it after a ReLU"
        return _prediction("exponential", [low] * blocks, [high] * blocks, source, "the first block; blocks that change shape")
    (low_back, _), (high_back, forward) = (formula(2 * chi * (branch / scale) ** 2, blocks) for chi in chis)
    forward_known = network.family == "mlp" and network.init != "pytorch"
    return _prediction(
        "bounded" if config.shortcut_name(network.shortcut) == "skipinit" else "exponential",
        [scale**2 * factor for factor in low_back],
        [scale**2 * max(pair) for pair in zip(high_back, forward, strict=True)],
        source,
        "biases of init pytorch; narrow layers; blocks that change shape",
        forward=tuple(math.log10(scale**2 * factor) / 2 for factor in forward) if forward_known else None,
    )


def _residual_norm(network: NetworkSettings, branch: float) -> Prediction:
    blocks, exponent = block_count(network), NORM_CHI[network.norm] ** layers_of_block(network)
    offset = 1.0 if network.placement == "branch" else 1 / _sigma2(network)  # variance of x_0 divided by that of a branch
    factors = norm_residual(exponent, offset / branch**2, blocks)
    source = f"squared gradient norm proportional to block^-{exponent:.3g} for many blocks: De & Smith 2020, arXiv:2002.10444"
    # With small branches x remains close to relu(x_0), which is not normally distributed.
    limits = "; branches that are small relative to x_0" if network.placement == "pre" else ""
    return _prediction(
        "power", factors, factors, source, f"networks after the first update; small batches; the first block{limits}"
    )
