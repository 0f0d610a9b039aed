"""Moments of activations of normally distributed inputs, for one input and for pairs of inputs.

The distance of two vectors is 1 minus their cosine. Two inputs of a wide layer with distance D give each unit two normal
variables with correlation 1 - D. Distances are computed from differences, so that small ones keep their digits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MAX_DISTANCE = 1.999  # of two normal variables, below that of opposite ones


@dataclass(frozen=True)
class Activation:
    """phi and its derivative. `homogeneous`: phi(c x) = c phi(x) for c > 0, so that layers do not depend on the scale."""

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    homogeneous: bool = False


def _normal_density(z: Array) -> Array:
    density: Array = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return density


def _leaky(slope: float, scale: float = 1.0) -> Activation:
    return Activation(
        lambda z: scale * np.where(z > 0, z, slope * z), lambda z: scale * np.where(z > 0, 1.0, slope), homogeneous=True
    )


@lru_cache
def activation(name: str, slope: float = 0.0, scale: float = 1.0) -> Activation | None:
    """The activation of that name; `slope` and `scale` are those of leaky ReLU. None if it is not known."""
    from scipy.special import expit, ndtr  # noqa: PLC0415 - takes 0.1 s, and training with built-in activations does not need it

    known: dict[str, Activation] = {
        "relu": _leaky(0.0),
        "leaky-relu": _leaky(slope, scale),
        "tanh": Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2),
        "gelu": Activation(lambda z: z * ndtr(z), lambda z: ndtr(z) + z * _normal_density(z)),
        "silu": Activation(lambda z: z * expit(z), lambda z: expit(z) * (1 + z * (1 - expit(z)))),
    }
    return known.get(name)


# ---- quadrature ----------------------------------------------------------------------------------------------------------


def _grid(points: int, stretch: float, end: float = 9.0) -> tuple[Array, Array]:
    """Points symmetric around 0, denser near it, and the weights of a standard normal variable."""
    t = (np.arange(points) + 0.5) / points * 2 - 1
    z = end * np.sinh(stretch * t) / math.sinh(stretch)
    weights = _normal_density(z) * np.cosh(stretch * t)
    return z, weights / weights.sum()


Z, WEIGHT = _grid(600, 6.0)
U, WEIGHT_U = _grid(300, 9.0)
V, WEIGHT_V = (half[20:] * factor for half, factor in zip(_grid(40, 1.0, 7.0), (1, 2), strict=True))


@dataclass(frozen=True)
class Moments:
    """Moments of phi(x) and phi(x') over units: x has variance q, and the two inputs have a distance.

    square: E phi(x)^2; gap: E (phi(x) - phi(x'))^2 / 2, so that square - gap = E phi(x) phi(x').
    slope_square: E phi'(x)^2, the factor of squared gradients.
    slope_spread: E phi'(x)^4 / slope_square^2 - 1, and `distance_spread`, the relative variance that one unit adds to a
    squared distance; both divided by the width give the variance of a narrow layer.
    """

    square: float
    gap: float
    slope_square: float
    slope_spread: float
    distance_spread: float

    @property
    def distance(self) -> float:
        return self.gap / self.square if self.square else 0.0


@lru_cache(maxsize=4096)
def moments(phi: Activation, q: float, distance: float) -> Moments:
    """Moments of an activation, by the midpoint rule on a grid that is dense where ReLU has its kink."""
    if phi.homogeneous and q != 1:
        unit = moments(phi, 1.0, distance)
        return replace(unit, square=q * unit.square, gap=q * unit.gap)
    root = math.sqrt(q)
    value, slopes = phi.value(root * Z), phi.derivative(root * Z) ** 2
    square, slope_square = float(WEIGHT @ value**2), float(WEIGHT @ slopes)
    slope_fourth, value_fourth = float(WEIGHT @ slopes**2), float(WEIGHT @ value**4)
    both = float(WEIGHT @ (slopes * value**2)) / (slope_square * square) if square else 1.0
    fourths = (3 * slope_fourth / slope_square**2, value_fourth / square**2) if square else (3.0, 3.0)
    return Moments(
        square,
        _gap(phi, root, min(max(distance, 0.0), MAX_DISTANCE)),
        slope_square,
        slope_fourth / slope_square**2 - 1,
        max(0.0, sum(fourths) - 2 * both - 4),
    )


def _gap(phi: Activation, root: float, distance: float) -> float:
    """E (phi(x) - phi(x'))^2 / 2 from the independent sum and difference of x and x'."""
    center = root * math.sqrt(1 - distance / 2) * U[:, None]
    half = root * math.sqrt(distance / 2) * V[None, :]
    return float(WEIGHT_U @ (phi.value(center + half) - phi.value(center - half)) ** 2 @ WEIGHT_V) / 2


def distance_before(phi: Activation, q: float, after: float) -> float:
    """The distance of two inputs of an activation, given the distance of its outputs."""
    low, high = 0.0, MAX_DISTANCE
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if moments(phi, q, middle).distance < after else (low, middle)
    return (low + high) / 2


# ---- units of a wide layer, for sums that are not normally distributed -------------------------------------------------------

UNITS = 4096


@lru_cache
def _quantiles() -> Array:
    from scipy.special import ndtri  # noqa: PLC0415 - as above

    z: Array = ndtri((np.arange(UNITS) + 0.5) / UNITS)
    return z / math.sqrt(float((z**2).mean()))


@dataclass(frozen=True)
class Pair:
    """A sample of units of a wide layer for two inputs: x = center + half and x' = center - half."""

    center: Array
    half: Array

    @property
    def square(self) -> float:
        return float((self.center**2).mean() + (self.half**2).mean())

    @property
    def gap(self) -> float:
        return 2 * float((self.half**2).mean())

    @property
    def mean(self) -> float:
        return float(self.center.mean())

    @property
    def distance(self) -> float:
        return self.gap / self.square if self.square else 0.0

    def map(self, function: Callable[[Array], Array]) -> "Pair":
        x, other = function(self.center + self.half), function(self.center - self.half)
        return Pair((x + other) / 2, (x - other) / 2)

    def plus(self, other: "Pair", factor: float = 1.0, scale: float = 1.0) -> "Pair":
        return Pair(scale * self.center + factor * other.center, scale * self.half + factor * other.half)


def normal_pair(random: np.random.Generator, q: float, distance: float, independent_of: Pair | None = None) -> Pair:
    """Units with variance q whose values for the two inputs have that distance, uncorrelated with other units."""
    distance = min(max(distance, 0.0), MAX_DISTANCE)
    parts = [random.permutation(_quantiles()) for _ in range(2)]
    if independent_of is not None:
        parts = [_uncorrelated(part, x) for part, x in zip(parts, (independent_of.center, independent_of.half), strict=True)]
    return Pair(math.sqrt(q * (1 - distance / 2)) * parts[0], math.sqrt(q * distance / 2) * parts[1])


def _uncorrelated(normal: Array, x: Array) -> Array:
    """Removes the sample correlation with x and its variance; without it, a sum of squares would vary with the sample."""
    x = x - x.mean()
    if not (square := float(x @ x)):
        return normal
    rest = normal - (float(normal @ x) / square) * x
    return rest / math.sqrt(float((rest**2).mean()))
