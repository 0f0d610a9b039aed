"""Paired differences over seeds: Student's interval, what pairing bought, and what a narrower interval would take."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, stdtrit

from resexp.inference.samples import standard_deviation

LEVEL = 0.95
NOISE = 1e-12  # differences that differ by less differ by their rounding: those of shares of images, k/N - l/N
MAX_SEEDS = 1_000_000  # of a plan; beyond it there is none
# Coverage of the interval after k looks at a growing experiment, if you stop at the first that excludes the true value; seeds
# double between looks (benchmarks/coverage.py).
COVERAGE_OF_LOOKS = {1: 0.95, 2: 0.91, 3: 0.88, 4: 0.85}


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its t-interval; low, high and sd are None for a single pair."""

    mean: float
    low: float | None
    high: float | None
    n: int
    sd: float | None = None

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def paired_difference(differences: Sequence[float], level: float = LEVEL) -> Difference:
    """Mean of the differences and the interval mean +- t(n - 1) sd / sqrt(n) at `level`.

    Covers as promised for differences that are about normal (95 to 96 % at n = 3 to 10); where a part of the seeds collapses
    it covers half as often, so none is to be formed where outcomes are mixed. Differences that are equal but for their rounding
    have sd 0.
    """
    n = len(differences)
    mean = math.fsum(differences) / n
    if max(differences) - min(differences) <= NOISE:
        differences = [0.0 if abs(mean) <= NOISE else mean] * n
        mean = differences[0]
    sd = standard_deviation(differences)
    if sd is None:
        return Difference(mean, None, None, n)
    half = _quantile(n, level) * sd / math.sqrt(n)
    return Difference(mean, mean - half, mean + half, n, sd)


def _quantile(n: int, level: float) -> float:
    return float(stdtrit(n - 1, (1 + level) / 2))


@dataclass(frozen=True)
class Pairing:
    """What sharing a seed bought: Pearson's correlation of the arms over seeds (None where an arm is constant).

    paired: sd of the differences. unpaired: the sd that they would have if the arms had nothing in common.
    """

    correlation: float | None
    paired: float
    unpaired: float
    n: int


def pairing(plain: Sequence[float], residual: Sequence[float]) -> Pairing | None:
    """Of both arms' values seed by seed; None for fewer than 3 seeds, of which nothing can be said."""
    n = len(plain)
    a, b = standard_deviation(plain), standard_deviation(residual)
    if n < 3 or a is None or b is None:
        return None
    means = math.fsum(plain) / n, math.fsum(residual) / n
    products = math.fsum((x - means[0]) * (y - means[1]) for x, y in zip(plain, residual, strict=True)) / (n - 1)
    of_pairs = standard_deviation([y - x for x, y in zip(plain, residual, strict=True)]) or 0.0
    return Pairing(max(-1.0, min(1.0, products / (a * b))) if a and b else None, of_pairs, math.hypot(a, b), n)


def seeds_for(sd: float, half: float, level: float = LEVEL) -> int | None:
    """The fewest seeds whose interval is at most +-`half` wide if the sd of the differences stays; None beyond a million."""

    def enough(n: int) -> bool:
        return _quantile(n, level) * sd <= half * math.sqrt(n)

    low, high = 1, 2
    while not enough(high):
        if high == MAX_SEEDS:
            return None
        low, high = high, min(2 * high, MAX_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def sd_interval(sd: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Low and high end of the interval of a standard deviation of n >= 2 normal values, by the chi-square distribution."""
    low, high = (math.sqrt((n - 1) / float(chdtri(n - 1, tail))) * sd for tail in ((1 - level) / 2, (1 + level) / 2))
    return low, high


def image_half_width(differences: np.ndarray, level: float = LEVEL) -> float:
    """Half-width of the interval of a mean over images, (S seeds, N images): that of other images, with these networks.

    An image's difference is its mean over seeds; Student's interval over the N of them, at least 2.
    """
    each = np.asarray(differences, dtype=np.float64).mean(axis=0)
    return float(stdtrit(len(each) - 1, (1 + level) / 2) * each.std(ddof=1) / math.sqrt(len(each)))
