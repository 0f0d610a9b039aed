"""Gradients, activations and distances of wide networks at initialization, composed layer by layer.

In a wide layer with random weights, the units before the activation are independent normal variables. Only two numbers pass
from layer to layer: the mean square of a unit and the distance of two inputs (Poole et al. 2016, arXiv:1606.05340; Schoenholz
et al. 2017, arXiv:1611.01232). A sum of shortcut and branch is not normal; for it, a sample of units is followed through
the blocks (`Pair`). Squared gradients of the same units are followed backward (Yang & Schoenholz 2017, arXiv:1712.08969).

    g      fan_in * Var(W) of a layer: sigma_w^2 in mean-field papers, `network.init_scale` in configs (He: 2)
    chi    factor by which a layer multiplies |dL/dx|^2, from its output to its input
    n, B   width, batch size

Letters of a sequence: L weighted layer, N normalization, A activation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from resexp.theory.moments import Activation, Array, Pair, distance_before, moments, normal_pair

MANY, TINY = 1e60, 1e-200  # mean squares: one that makes biases negligible, and the smallest one


@dataclass(frozen=True)
class Wide:
    """A network of fully connected layers, reduced to what predictions need.

    scale, bias: g of the branches and the variance of their biases. `random_spread`: relative variance of |Wd|^2 times width,
    2 for independent weights and 0 for orthogonal ones.
    before, branch, after: letters. `stem` is applied to normal variables with mean square `stem_square`.
    factors: (s, a) of S = s x and a of each block. `map_scale`: fan_in * Var(U) of a map U in S, None without a map.
    kept: probability with which dropout keeps an element of S.
    """

    phi: Activation
    norm: str
    width: int
    batch: int
    scale: float
    bias: float
    random_spread: float
    stem: str
    before: str
    branch: str
    after: str
    stem_square: float
    factors: tuple[tuple[float, float], ...]
    map_scale: float | None = None
    kept: float = 1.0


@dataclass(frozen=True)
class Signal:
    """The activations between two layers, and what the layers before did to gradients and to fluctuations.

    square, gap: E x^2 and E (x - x')^2 / 2 of two inputs. gradient_spread, distance_spread: relative variances times width.
    """

    square: float
    gap: float
    chi: float = 1.0
    gradient_spread: float = 0.0
    distance_spread: float = 0.0

    @property
    def distance(self) -> float:
        return self.gap / self.square if self.square else 0.0


@dataclass(frozen=True)
class Growth:
    """Of each block: factors of |dL/dx|^2 and of E[x^2], and the variances that it adds to their logarithms times width.

    `distances` belong to the block boundaries x_0 .. x_L.
    """

    backward: tuple[float, ...]
    forward: tuple[float, ...]
    gradient_spread: tuple[float, ...]
    distance_spread: tuple[float, ...]
    distances: tuple[float, ...]


# ---- layers of normal variables ------------------------------------------------------------------------------------------


def through(net: Wide, letters: str, signal: Signal) -> Signal:
    """The signal after a sequence of layers; activations and normalizations must follow weighted layers."""
    for letter in letters:
        if letter == "L":
            signal = replace(
                signal,
                square=net.scale * signal.square + net.bias,
                gap=net.scale * signal.gap,
                chi=signal.chi * net.scale,
                gradient_spread=signal.gradient_spread + net.random_spread,
                distance_spread=signal.distance_spread + 2 * net.random_spread,
            )
        elif letter == "A":
            after = moments(net.phi, signal.square, signal.distance)
            signal = Signal(
                after.square,
                after.gap,
                signal.chi * after.slope_square,
                signal.gradient_spread + 3 * after.slope_spread,
                signal.distance_spread + after.distance_spread,
            )
        elif net.norm != "none":
            if net.norm == "batch":  # without the batch mean, inputs are independent
                signal = replace(signal, square=1.0, gap=1.0, chi=signal.chi * _norm_factor(net, signal.gap), distance_spread=0)
            else:
                factor = signal.chi * _norm_factor(net, signal.square)
                signal = replace(signal, square=1.0, gap=signal.distance, chi=factor)
    return signal


def _norm_factor(net: Wide, variance: float) -> float:
    """chi of a normalization: 1 / variance, times (S - 2) / (S - 3) if statistics are those of a sample of size S.

    Yang et al. 2019, arXiv:1902.08129 theorem 9, for batches of size S. A group of S units is a sample in the same way.
    """
    sample = {"batch": net.batch, "group": net.width // 8}.get(net.norm)
    return ((sample - 2) / (sample - 3) if sample else 1.0) / max(variance, 1e-300)


def grow_plain(net: Wide, distance: float, *, typical: bool = False) -> Growth:
    """A network without shortcuts: every layer receives normal variables. `distance` is that of two inputs of the stem's tail.

    typical: the median over seeds of the distances instead of the limit of large widths, see `_typical`.
    """
    signal = through(net, net.stem, Signal(net.stem_square, net.stem_square * distance))
    distances, signals, growth = [signal.distance], list[Signal](), list[float]()
    for _ in net.factors:
        start = replace(signal, chi=1.0, gradient_spread=0.0, distance_spread=0.0)
        signal = through(net, net.before + net.branch + net.after, start)
        spread = signal.distance_spread * (1 - signal.distance / 2) ** 2
        signal = replace(signal, distance_spread=spread, gap=signal.gap * _typical(net, spread, typical=typical))
        growth.append(signal.square / start.square)
        signals.append(signal)
        distances.append(signal.distance)
        if net.phi.homogeneous and not 1 / MANY < signal.square < MANY:  # no underflow or overflow after many blocks
            signal = replace(signal, square=1.0, gap=signal.distance)
        signal = replace(signal, square=max(signal.square, TINY))
    return Growth(
        tuple(signal.chi for signal in signals),
        tuple(growth),
        tuple(signal.gradient_spread for signal in signals),
        tuple(signal.distance_spread for signal in signals),
        tuple(distances),
    )


def through_stem(net: Wide, after: float) -> float:
    """The distance of two inputs before the stem's normalization and activation, from the one after them (at x_0)."""
    if net.norm == "batch" and "N" in net.stem:
        return 1.0
    if "A" not in net.stem:
        return after
    return distance_before(net.phi, 1.0 if "N" in net.stem and net.norm != "none" else net.stem_square, after)


def _typical(net: Wide, spread: float, *, typical: bool) -> float:
    """exp(-variance / 4): layers of finite width also turn part of a difference into the direction of the common signal.

    A linear layer adds 4 / n to the variance of the logarithm of a small distance and takes 1 / n from its mean, a ReLU adds
    4 / n and takes 1 / n. Batch norm removes the common signal.
    """
    return math.exp(-spread / 4 / net.width) if typical and net.norm != "batch" else 1.0


# ---- sums of shortcut and branch -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """Squared derivatives of a block, of each unit or of all units, for the backward pass."""

    before: Array | float
    branch: Array | float
    shortcut: Array | float
    after: Array | float
    a: float
    shares: bool
    branch_spread: float
    map_spread: float
    after_spread: float


def grow_residual(net: Wide, distance: float, *, typical: bool = False) -> Growth:
    """A network with constant shortcuts, from a sample of units; see `grow_plain` for the arguments."""
    random = np.random.default_rng(0)
    x = normal_pair(random, 1.0 if "N" in net.stem and net.norm != "none" else net.stem_square, _stem_distance(net, distance))
    x = x.map(net.phi.value) if "A" in net.stem else x
    distances, growth, blocks, spreads = [x.distance], list[float](), list[_Block](), list[float]()
    for index, (s, a) in enumerate(net.factors):
        h, before, before_spreads = _stream(net, net.before, x, random)
        shares = index == 0 and bool(net.before)
        u = h if shares else x
        inside = through(net, net.branch.rstrip("A"), Signal(h.square, h.gap))
        branch = normal_pair(random, inside.square, inside.distance, u)
        ends: Array | float = 1.0
        end_spread = 0.0
        if net.branch.endswith("A"):
            ends, branch = net.phi.derivative(branch.center + branch.half) ** 2, branch.map(net.phi.value)
            end_spread = 1.0
        shortcut, slopes = _shortcut(net, u, s, random)
        y = shortcut.plus(branch, a)
        share = a**2 * branch.gap / y.gap if y.gap else 0.0
        new = a**2 * branch.square / y.square if y.square else 0.0  # the share of the sum that the weights of this block decide
        after_x, after, after_spreads = _stream(net, net.after, y, random)
        spread_before, spread_after = (0.0 if shares else before_spreads[0]), new * after_spreads[0]
        block = _Block(
            before, ends * inside.chi, slopes, after, a, shares, inside.gradient_spread + 3 * (end_spread + spread_before),
            2.0 if net.map_scale is not None else 0.0, 3 * spread_after,
        )  # fmt: skip
        map_spread = 4 * (1 - share) ** 2 if net.map_scale is not None else 0.0
        distance_spread = (
            8 * share * (1 - share)
            + share**2 * (inside.distance_spread + before_spreads[1])
            + map_spread
            + new * after_spreads[1]
        )
        distance_spread *= (1 - after_x.distance / 2) ** 2
        after_x = replace(after_x, half=after_x.half * math.sqrt(_typical(net, distance_spread, typical=typical)))
        growth.append(after_x.square / x.square)
        distances.append(after_x.distance)
        x = after_x.plus(after_x, 0.0, MANY**-0.5) if after_x.square > MANY else after_x  # no overflow after many blocks
        blocks.append(block)
        spreads.append(distance_spread)
    backward, gradient_spread = _backward(blocks, net.map_scale)
    return Growth(
        backward,
        tuple(growth),
        gradient_spread,
        tuple(spreads),
        tuple(distances),
    )


def _stem_distance(net: Wide, distance: float) -> float:
    return 1.0 if "N" in net.stem and net.norm == "batch" else distance


def _stream(net: Wide, letters: str, x: Pair, random: np.random.Generator) -> tuple[Pair, Array | float, tuple[float, float]]:
    """Normalization and activation of a sum: its output, squared derivatives, and (gradient, distance) spread."""
    slopes: Array | float = 1.0
    spreads = (0.0, 0.0)
    for letter in letters:
        if letter == "A":
            slopes = slopes * net.phi.derivative(x.center + x.half) ** 2
            unit = moments(net.phi, x.square, 0.1)
            spreads = (unit.slope_spread, unit.distance_spread)
            x = x.map(net.phi.value)
        elif net.norm == "batch":
            slopes = slopes * _norm_factor(net, x.gap)
            x = normal_pair(random, 1.0, 1.0)
        elif net.norm != "none":
            variance = x.square - x.mean**2
            slopes, root = slopes * _norm_factor(net, variance), math.sqrt(variance)
            x = Pair((x.center - x.mean) / root, x.half / root)
    return x, slopes, spreads


def _shortcut(net: Wide, u: Pair, s: float, random: np.random.Generator) -> tuple[Pair, Array | float]:
    """S(u) and its squared derivative."""
    if net.map_scale is not None:
        return normal_pair(random, net.map_scale * u.square, u.distance, u), math.nan
    if net.kept < 1:
        keep = [(random.permutation(len(u.center)) < net.kept * len(u.center)) / net.kept for _ in range(2)]
        values = ((u.center + u.half) * keep[0], (u.center - u.half) * keep[1])
        return Pair((values[0] + values[1]) / 2, (values[0] - values[1]) / 2), keep[0] ** 2
    return Pair(s * u.center, s * u.half), s**2


def _backward(blocks: Sequence[_Block], map_scale: float | None = None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(factor of |dL/dx|^2, variance of its logarithm times width) of each block."""
    u: Array = np.ones_like(blocks[0].after) if isinstance(blocks[0].after, np.ndarray) else np.ones(1)
    factors, spreads = [], []
    for block in reversed(blocks):
        y = u * block.after
        branch = block.a**2 * float(np.mean(y * block.branch))
        shortcut = y * block.shortcut if map_scale is None else np.full_like(y, map_scale * float(np.mean(y)))
        x: Array = block.before * (shortcut + branch) if block.shares else shortcut + block.before * branch
        total = float(np.mean(x))
        share = float(np.mean(block.before * branch)) / total
        factors.append(total / float(np.mean(u)))
        spreads.append(
            4 * share * (1 - share) + share**2 * block.branch_spread + (1 - share) ** 2 * block.map_spread + block.after_spread
        )
        u = x / total
    return tuple(factors[::-1]), tuple(spreads[::-1])
