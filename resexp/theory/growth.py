"""Predictions of gradients and distances for a network with given settings."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from resexp.config import NetworkSettings
from resexp.theory import moments
from resexp.theory.arms import (
    EXACT_INITS,
    MIN_BATCH,
    STAGES,
    block_count,
    initial_factors,
    is_plain,
    layers_of_block,
    no_formula,
    shortcut_of,
    wide_network,
    zero_branch,
)
from resexp.theory.convolutions import borders, padding_factors
from resexp.theory.mean_field import Growth, Signal, Wide, grow_plain, grow_residual, through, through_stem
from resexp.theory.predictions import DistancePrediction, Prediction

INPUT_DISTANCE = 0.6  # of two images, if it was not measured; that of two digits is 0.4 to 0.8


def predict(network: NetworkSettings, batch: int, side: int | None = None, channels: int = 1) -> Prediction:
    """Growth of gradients and activations of a network, including its shortcut, in batches of `batch` images.

    `side`, `channels`: shape of an image. Without `side`, zero padding at image borders is neglected, and the first layer is
    assumed to be square.
    """
    reason = no_formula(network, batch)
    if reason:
        return Prediction("none", source=reason)
    if zero_branch(network):
        return _constant(network, [s for s, _ in initial_factors(network) or ()], "the branch is initialized to 0")
    if network.init in EXACT_INITS:
        steps = [s + a for s, a in initial_factors(network) or ()]
        return _constant(network, steps, "each block passes x and its gradient unchanged, times s + a: arXiv:1702.08591")
    if network.family == "cnn":
        return _convolutional(network, side)
    net, growth = _grown(wide_network(network, batch, side, channels, gradient=True), INPUT_DISTANCE)
    return _prediction(network, net, growth)


def predict_distance(
    network: NetworkSettings, batch: int, side: int | None = None, channels: int = 1, distance: float | None = None
) -> DistancePrediction:
    """Distances of activations at the block boundaries; `distance` is the one at x_0, if it was measured."""
    reason = no_formula(network, batch)
    if network.family == "cnn":
        reason = "no formula is known for distances of the images in a cnn"
    if reason:
        return DistancePrediction(source=reason)
    net = wide_network(network, batch, side, channels)
    start = INPUT_DISTANCE if distance is None else through_stem(net, distance)
    if network.init in EXACT_INITS:
        return _constant_distances(network, net, start)
    return _distances(net, start)


@lru_cache
def _grown(net: Wide, distance: float, *, typical: bool = False) -> tuple[Wide, Growth]:
    grow = grow_plain if all(s == 0 for s, _ in net.factors) and net.map_scale is None else grow_residual
    return net, grow(net, distance, typical=typical)


# ---- gradients -------------------------------------------------------------------------------------------------------------

PLAIN_SOURCES = {
    "none": "g E[phi'^2] per layer, g = init_scale: He et al. 2015a, arXiv:1502.01852; Schoenholz 2017, arXiv:1611.01232",
    "batch": "E[phi'^2] / Var[phi] (B - 2) / (B - 3) per layer: Yang et al. 2019, arXiv:1902.08129 theorems 8 and 9",
    "layer": "E[phi'^2] / E[phi^2] per layer, for any init_scale",
    "group": "E[phi'^2] / E[phi^2] (G - 2) / (G - 3) per layer, for groups of G units",
}
RESIDUAL_SOURCE = (
    "s^2 + a^2 chi per block, from a sample of units that follows {place}: Yang & Schoenholz 2017, arXiv:1712.08969; "
    "De & Smith 2020, arXiv:2002.10444"
)
FLUCTUATION = "variance over seeds of ln |dL/dx|^2: Hanin & Nica 2020, arXiv:1812.05994 (5 / width per ReLU layer)"
SAMPLE_ERROR = 0.01  # of the logarithm of a factor that was computed from a sample of units
BATCH_NORM_LOW = 1.42 / 1.467  # of chi in a simulation of batch norm and ReLU, relative to the limit of many layers


def _prediction(network: NetworkSettings, net: Wide, growth: Growth) -> Prediction:
    plain, norm = is_plain(network), net.norm
    spread = None if norm == "batch" else tuple(value / net.width for value in growth.gradient_spread)
    low, high = np.log(growth.backward), np.log(growth.backward)
    if plain and norm == "batch":
        low = low + layers_of_block(network) * math.log(BATCH_NORM_LOW)
    if not plain:
        low, high = low - SAMPLE_ERROR * np.abs(low), high + SAMPLE_ERROR * np.abs(high)
    if not plain and norm == "none" and net.phi.homogeneous:  # the part of a gradient parallel to x grows as x does
        high = np.maximum(high, np.log(growth.forward))
    if shortcut_of(network)[0] == "stochastic-depth":
        low, high, spread = _over_draws(net, low, high, spread)
    if spread is not None:
        low = low - np.array(spread) / 2  # for one input; means over a batch fluctuate and decrease less
    has_forward = network.init != "pytorch" or norm != "none" or not net.phi.homogeneous
    source = PLAIN_SOURCES[norm] if plain else RESIDUAL_SOURCE.format(place=network.placement)
    return Prediction(
        _law(network, net),
        _decades(low),
        _decades(high),
        _decades(np.log(growth.forward)) if has_forward else None,
        spread,
        source if spread is None else f"{source}; {FLUCTUATION}",
        _limits(network),
    )


def _decades(logs: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    """log10 of norms from natural logarithms of their squares."""
    return tuple(float(value) / (2 * math.log(10)) for value in logs)


def _over_draws(net: Wide, low: Any, high: Any, spread: tuple[float, ...] | None) -> tuple[Any, Any, tuple[float, ...] | None]:
    """Stochastic depth: from the mean of the logarithm over draws to the logarithm of the mean."""
    survival = np.array([a**2 for _, a in net.factors])
    _, whole = _grown(replace(net, factors=tuple((s, 1.0) for s, _ in net.factors)), INPUT_DISTANCE)
    steps = np.log(whole.backward)
    low = np.minimum(low, survival * steps)
    return low, high, tuple(np.array(spread or [0.0] * len(steps)) + survival * (1 - survival) * steps**2)


def _law(network: NetworkSettings, net: Wide) -> str:
    name, parameters = shortcut_of(network)
    if is_plain(network):
        return "polynomial" if network.activation == "tanh" and net.scale == 1 and net.norm == "none" else "exponential"
    if name == "skipinit" or (name == "depth-scaled" and parameters["alpha"] >= 0.5):
        return "bounded"
    grows_linearly = net.norm != "none" or network.activation == "tanh"
    return "power" if grows_linearly and net.map_scale is None and all(s == 1 for s, _ in net.factors) else "exponential"


def _limits(network: NetworkSettings) -> str:
    limits = ["narrow layers, beyond the stated spread"]
    if network.norm == "batch":
        limits = ["networks after the first update", "small batches", "narrow layers"]
    if not is_plain(network):
        limits += ["the first block"]
    if network.norm == "none":
        limits += ["images whose mean square is not 1"] if network.activation != "relu" else []
        limits += ["layers that change width, with init xavier or delta-orthogonal"]
    return "; ".join(limits)


def _constant(network: NetworkSettings, scales: Sequence[float], reason: str) -> Prediction:
    """Blocks that multiply x and its gradient by constants."""
    steps = _decades([2 * math.log(scale) for scale in scales])
    limits = "the last block in placement post, whose ReLU sets part of the gradient to 0"
    return Prediction("exponential", steps, steps, steps, None, f"scale^2 per block: {reason}", limits, _stages(network))


# ---- convolutions ----------------------------------------------------------------------------------------------------------


def _stages(network: NetworkSettings) -> tuple[int, ...]:
    blocks = block_count(network)
    return tuple(block * STAGES // blocks for block in range(blocks)) if network.family == "cnn" else ()


def _convolutional(network: NetworkSettings, side: int | None) -> Prediction:
    """Without normalization and with ReLU: fully connected layers whose chi is reduced by zero padding, stage by stage."""
    blocks, stages, m = block_count(network), _stages(network), layers_of_block(network)
    padded = side is not None and network.init != "delta-orthogonal"
    sides = [-(-side // 2**stage) for stage in (0, *stages)] if side is not None else []
    kernels = [1, 3, 1] if network.block == "bottleneck" else [3] * m
    net = wide_network(network, MIN_BATCH, None, 1, gradient=True)
    source, spread = f"zero padding at image borders; {PLAIN_SOURCES['none']}", "layers that change width, with init xavier"
    if is_plain(network):
        factors = padding_factors(sides, kernels) if padded else [1.0] * blocks
        steps = _decades(np.log(factors) + m * math.log(net.scale / 2))
        return Prediction("exponential", steps, steps, None, None, source, f"{spread}; individual narrow networks", stages)
    low, high = [0.0] * blocks, [0.0] * blocks
    for stage in set(stages):
        reductions = borders(sides[1 + stages.index(stage)]) if padded else (1.0, 1.0)
        for bounds, reduction in zip((low, high), reductions, strict=True):
            _, growth = _grown(replace(net, scale=net.scale * reduction ** (kernels.count(3) / m)), INPUT_DISTANCE)
            for block in (block for block in range(blocks) if stages[block] == stage):
                factor = growth.backward[block]
                bounds[block] = math.log(factor if bounds is low else max(factor, growth.forward[block]))
    source = f"{RESIDUAL_SOURCE.format(place=network.placement)}; zero padding at image borders"
    return Prediction(
        _law(network, net), _decades(low), _decades(high), None, None, source, f"blocks that change shape; {spread}", stages
    )


# ---- distances -------------------------------------------------------------------------------------------------------------


def _constant_distances(network: NetworkSettings, net: Wide, start: float) -> DistancePrediction:
    """Blocks that are linear in x; with identity weights, the first activation still changes x in placement pre."""
    first = through(net, net.stem, Signal(net.stem_square, net.stem_square * start))
    rest = through(net, "" if "A" in net.stem or network.init != "identity" else "A", first).distance
    middle = (first.distance, *[rest] * block_count(network))
    spread = 2 * math.sqrt(8 / net.width) if network.init == "looks-linear" else 0.01
    low, high = (tuple(value * math.exp(sign * spread) for value in middle) for sign in (-1, 1))
    source = "each block passes x unchanged, up to a rotation: arXiv:1702.08591"
    return DistancePrediction(middle, low, high, source, "narrow layers, whose first activation is not normally distributed")


DISTANCE_SOURCE = (
    "composed correlation maps: Cho & Saul 2009 (ReLU), Poole et al. 2016, arXiv:1606.05340; {shortcut}"
    "variance over seeds of ln distance 8 / width per ReLU layer, carried on by the derivative of the map"
)
TILT = 0.02  # relative change of the first distance, for the derivative of the composed map


def _distances(net: Wide, start: float) -> DistancePrediction:
    """The median over seeds in layers of that width, and two SD around it and the limit of large widths."""
    wide, middle, tilted = (
        np.maximum(_grown(net, min(value, moments.MAX_DISTANCE), typical=typical)[1].distances, 1e-300)
        for value, typical in ((start, False), (start, True), (start * (1 + TILT), True))
    )
    sensitivity = np.maximum(np.log(tilted / middle) / math.log1p(TILT), 1e-6)  # of ln distance at each boundary to the first
    _, growth = _grown(net, start, typical=True)
    variance, total = [0.0], 0.0
    for spread, before, after in zip(growth.distance_spread, sensitivity, sensitivity[1:], strict=False):
        total = total * min(1.0, after / before) ** 2 + spread / net.width
        variance.append(total)
    sd = np.sqrt(variance)
    shortcut = "" if all(s == 0 for s, _ in net.factors) else "shortcut and branch add up as E[x x'] of uncorrelated units; "
    return DistancePrediction(
        tuple(map(float, middle)),
        tuple(map(float, np.minimum(middle * np.exp(-2 * sd), wide))),
        tuple(map(float, np.minimum(np.maximum(middle * np.exp(2 * sd), wide), 2.0))),
        DISTANCE_SOURCE.format(shortcut=shortcut),
        "inputs whose distances differ widely; layers narrower than their number",
    )
