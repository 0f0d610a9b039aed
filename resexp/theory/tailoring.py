"""The correlation map of leaky ReLU, and the slope with which a plain network of a given depth keeps inputs apart.

The correlation c of two inputs is their cosine similarity. A wide layer with random weights and leaky ReLU maps c to
`leaky_relu_correlation(c, slope)`. Weights with fan_in * Var(W) = 1 and the factor `leaky_relu_scale` preserve the mean square.
"""

import math
from functools import lru_cache


def leaky_relu_scale(slope: float) -> float:
    """sqrt(2 / (1 + slope^2)): the factor of leaky ReLU that preserves the mean square of N(0, 1); sqrt(2) for ReLU."""
    return math.sqrt(2 / (1 + slope**2))


def leaky_relu_correlation(correlation: float, slope: float) -> float:
    """c + (1 - slope)^2 / (pi (1 + slope^2)) (sqrt(1 - c^2) - c acos(c)): arXiv:2203.08120, from Cho & Saul 2009 for ReLU.

    For wide layers without biases. It does not depend on the variance of the weights.
    """
    c = min(max(correlation, -1.0), 1.0)
    bend = (1 - slope) ** 2 / (math.pi * (1 + slope**2))
    return min(c + bend * (math.sqrt(1 - c * c) - c * math.acos(c)), 1.0)


def composed_correlation(correlation: float, slope: float, layers: int) -> float:
    """The correlation of two inputs after `layers` layers with leaky ReLU."""
    for _ in range(layers):
        correlation = leaky_relu_correlation(correlation, slope)
    return correlation


@lru_cache
def tat_slope(eta: float, layers: int) -> float:
    """The slope of leaky ReLU with which `layers` layers map correlation 0 to `eta`: arXiv:2203.08120.

    It is 0 (ReLU) if ReLU leaves the correlation below `eta`, as it does in shallow networks.
    """
    low, high = 0.0, 1.0  # correlation decreases with the slope: at 1 the network is linear and maps 0 to 0
    if composed_correlation(0.0, low, layers) <= eta:
        return low
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if composed_correlation(0.0, middle, layers) > eta else (low, middle)
    return low
