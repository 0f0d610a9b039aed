"""From the settings of a network to the formula that holds for it, or to the reason why there is none."""

import math
from collections.abc import Sequence
from typing import Any

from resexp import config
from resexp.config import Network
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

# n Var(W) of a square hidden layer under each init; the plain twin of fixup starts from he.
INIT_SCALES = {"pytorch": 1 / 3, "he": 2.0, "xavier": 1.0, "orthogonal": 1.0, "delta-orthogonal": 1.0, "fixup": 2.0}
SMALLEST_BATCH = 8  # from which on the range of `batch_norm_relu` holds
WIDE_CHI = {"batch": BATCH_NORM_RELU, "layer": layer_norm_relu()}  # of a norm and ReLU, for large batches


def predict(network: Network, batch: int, side: int | None = None) -> Prediction:
    """What theory says of an arm: of `network` as a trial has it, its shortcut included, in batches of `batch` images.

    `side`: pixels of an image's side, without which convolutions are taken to have no borders.
    """
    shortcut, kind = config.shortcut_name(network.shortcut), (network.norm, network.activation)
    joins = constants(network)
    if block_count(network) == 0:
        return _none("there are no blocks at depth 2")
    if network.block == "bottleneck" and network.init_scale is None and network.init not in ("pytorch", "he", "fixup"):
        return _none(f"the layers of a bottleneck differ in sigma2 under {network.init}")
    if shortcut == "plain":
        return _plain(network, batch, side, kind)
    if network.init == "fixup":
        return _none("fixup starts with a classifier of zeros, through which no gradient comes")
    if joins is None:
        return _none(f"no formula is known for the shortcut {shortcut}")
    if joins[0] <= 0:
        return _none("no formula is known for a shortcut that is 0 or turned round")
    if joins[1] == 0 or network.zero_init_residual:
        return _shortcut_alone(network, joins[0])
    return _residual(network, joins, side, kind)


def constants(network: Network) -> Range | None:
    """(s, a) at the start of a shortcut with E|S^T d|^2 = s^2 |d|^2 and a constant a, in blocks that keep their shape.

    None for all others. A map of sigma2 u counts as sqrt(u).
    """
    given = {} if isinstance(network.shortcut, str) else dict(next(iter(network.shortcut.values())))
    scaled: dict[str, Any] = {"scale": 0.5, "branch": 1.0, **given}
    found: dict[str, Range] = {
        "identity": (1.0, 1.0),
        "projection": (1.0, 1.0),
        "projection-all": (math.sqrt(INIT_SCALES[network.init]), 1.0),
        "scaled": (float(scaled["scale"]), float(scaled["branch"])),
        "rezero": (1.0, 0.0),
        "skipinit": (1.0, max(1, block_count(network)) ** -0.5),
    }
    return found.get(config.shortcut_name(network.shortcut))


def block_count(network: Network) -> int:
    return (network.depth - 2) // layers_of_block(network)


def layers_of_block(network: Network) -> int:
    return 3 if network.block == "bottleneck" else network.block_layers


# ---- what they share ----------------------------------------------------------------------------------------------------


def _none(reason: str) -> Prediction:
    return Prediction("none", source=reason)


def _unknown(network: Network) -> Prediction:
    arm, family = config.arm_name(network.shortcut), {"mlp": "an mlp", "cnn": "a cnn"}[network.family]
    norm = "no norm" if network.norm == "none" else f"{network.norm} norm"
    return _none(
        f"no formula is known for {arm} in {network.placement} blocks of {family} with {network.activation} and {norm}"
    )


def _made(law: str, low: Sequence[float], high: Sequence[float], source: str, not_for: str, **more: Any) -> Prediction:
    """From factors of |dL/dx|^2, block by block, to decades of the norm."""
    down, up = (tuple(math.log10(factor) / 2 for factor in factors) for factors in (low, high))
    return Prediction(law=law, low=down, high=up, source=source, not_for=not_for, **more)


def _sigma2(network: Network) -> float:
    return INIT_SCALES[network.init] if network.init_scale is None else network.init_scale


def _branch_chi(network: Network, side: int | None) -> Range:
    """(sigma2 / 2)^m of a block's branch, and what the borders of an image leave of it."""
    chi = relu_layer(_sigma2(network)) ** layers_of_block(network)
    if network.family == "mlp" or side is None or network.init == "delta-orthogonal":
        return chi, chi
    bordered = 1 if network.block == "bottleneck" else network.block_layers
    return chi * borders(max(1, -(-side // 4)))[0] ** bordered, chi * borders(side)[1] ** bordered


# ---- plain ----------------------------------------------------------------------------------------------------------------


def _plain(network: Network, batch: int, side: int | None, kind: tuple[str, str]) -> Prediction:
    if kind == ("none", "relu"):
        return _plain_relu(network, side)
    if network.family == "mlp" and kind == ("none", "tanh"):
        return _plain_tanh(network)
    if kind == ("batch", "relu") and network.family == "mlp" and batch < SMALLEST_BATCH:
        return _none(f"no formula is known for batch norm in batches of fewer than {SMALLEST_BATCH}")
    if network.family == "mlp" and kind == ("batch", "relu"):
        return _plain_norm(network, batch_norm_relu(batch), "pi / (pi - 1) per BN-ReLU: Yang 2019, arXiv:1902.08129 theorem 8")
    if network.family == "mlp" and kind == ("layer", "relu"):
        return _plain_norm(network, (layer_norm_relu(), layer_norm_relu()), "a layer norm undoes any sigma2: chi = 1")
    return _unknown(network)


def _plain_relu(network: Network, side: int | None) -> Prediction:
    low, high = _branch_chi(network, side)
    blocks, layers, mlp = block_count(network), layers_of_block(network), network.family == "mlp"
    variance = fluctuation(layers, network.width) if mlp and "orthogonal" not in network.init else None
    return _made(
        "exponential",
        [low * math.exp(-(variance or 0.0) / 2)] * blocks,  # one input; means over a batch fluctuate and fall less
        [high] * blocks,
        f"(sigma2 / 2)^{layers}: He 2015, arXiv:1502.01852; band 5 / width per layer: Hanin & Nica 2020, arXiv:1812.05994",
        "layers whose width changes under xavier or delta-orthogonal; means over few seeds of narrow, deep networks",
        forward=(math.log10(high) / 2,) * blocks if mlp and network.init != "pytorch" else None,  # biases drive the signal
        variance=variance,
    )


def _plain_tanh(network: Network) -> Prediction:
    blocks, layers, sigma2 = block_count(network), layers_of_block(network), _sigma2(network)
    bias = 1 / (3 * network.width) if network.init == "pytorch" else 0.0
    chi, squares = tanh_layers(sigma2, 1 + blocks * layers, bias)
    first = 0 if network.placement in ("pre", "pre-act-only") else 1  # x_0 comes before the stem's activation, or after it
    factors = [math.prod(chi[first + layers * block :][:layers]) for block in range(blocks)]
    signal = [math.log10(squares[layers * (block + 1)] / squares[layers * block]) / 2 for block in range(blocks)]
    return _made(
        "polynomial" if sigma2 == 1 else "exponential",
        factors,
        factors,
        "sigma2 E[tanh'^2] layer by layer: Schoenholz 2017, arXiv:1611.01232; l / L at sigma2 1",
        "images far from mean square 1, in the first layers",
        forward=tuple(signal) if first else None,
    )


def _plain_norm(network: Network, chi: Range, source: str) -> Prediction:
    blocks, layers = block_count(network), layers_of_block(network)
    low, high = (factor**layers for factor in chi)
    words = "training: gradients change with the first update; narrow layers"
    return _made("exponential", [low] * blocks, [high] * blocks, source, words, forward=(0.0,) * blocks)


# ---- residual -------------------------------------------------------------------------------------------------------------


def _shortcut_alone(network: Network, scale: float) -> Prediction:
    """A branch that starts at 0: scale^2 for ever, also behind a ReLU, which leaves what is not negative alone."""
    mapped = config.shortcut_name(network.shortcut) == "projection-all"
    free = network.placement in ("pre", "branch", "pre-act-only")
    alone = free or (network.activation == "relu" and (network.placement == "post" or network.norm == "none"))
    if mapped or not alone:
        return _unknown(network)
    blocks = block_count(network)
    steps = (math.log10(scale),) * blocks
    words = "the last block of `post`: its ReLU masks what the others pass"
    return Prediction("exponential", steps, steps, steps, None, "the branch starts at 0, and x passes by: scale^2", words)


def _residual(network: Network, joins: Range, side: int | None, kind: tuple[str, str]) -> Prediction:
    if kind == ("none", "relu") and network.placement != "branch":
        return _residual_relu(network, joins, side)
    placed = network.placement == "pre" or (network.placement == "branch" and network.norm == "batch")
    if network.norm in WIDE_CHI and network.activation == "relu" and network.family == "mlp" and placed and joins[0] == 1:
        return _residual_norm(network, joins[1])
    return _unknown(network)


PRE = "scale^2 + branch^2 sigma2 (sigma2 / 2)^(m-1) P(x > 0), P = 1/2 in the end: independent branches; e in all for skipinit"
POST = "mean field of relu(x + F), gradients across x (low) and along x (high): 2.05 to 2.40 for He blocks"


def _residual_relu(network: Network, joins: Range, side: int | None) -> Prediction:
    """Blocks of s x + a F are s times those of x + (a / s) F; a map's Ux is normal and of mean 0, as F is."""
    blocks, (scale, branch), chis = block_count(network), joins, _branch_chi(network, side)
    before = network.placement in ("pre", "pre-act-only")
    formula, cases = (residual_pre, PRE) if before else (residual_post, POST)
    if config.shortcut_name(network.shortcut) == "projection-all":
        low, high = (scale**2 / (1 if before else 2) + chi for chi in chis)
        words = "a map of sigma2 u adds u to the branch's (sigma2 / 2)^m; behind a ReLU u / 2"
        return _made("exponential", [low] * blocks, [high] * blocks, words, "the first block; blocks that change shapes")
    (low_back, _), (high_back, forward) = (formula(2 * chi * (branch / scale) ** 2, blocks) for chi in chis)
    known = network.family == "mlp" and network.init != "pytorch"
    return _made(
        "total" if config.shortcut_name(network.shortcut) == "skipinit" else "exponential",
        [scale**2 * factor for factor in low_back],
        [scale**2 * max(factors) for factors in zip(high_back, forward, strict=True)],
        cases,
        "biases of the pytorch init; narrow layers; blocks that change shapes",
        forward=tuple(math.log10(scale**2 * factor) / 2 for factor in forward) if known else None,
    )


def _residual_norm(network: Network, branch: float) -> Prediction:
    blocks, exponent = block_count(network), WIDE_CHI[network.norm] ** layers_of_block(network)
    offset = 1.0 if network.placement == "branch" else 1 / _sigma2(network)  # the variance of x_0 in units of a branch's
    factors = norm_residual(exponent, offset / branch**2, blocks)
    words = f"power law, l^-{exponent:.3g} of the square for many blocks: De & Smith 2020, arXiv:2002.10444"
    weak = "; branches weak beside x_0" if network.placement == "pre" else ""  # x stays behind x_0's ReLU, which is no normal
    return _made("power", factors, factors, words, f"training; small batches; the first block{weak}")
