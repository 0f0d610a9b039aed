"""Paired differences over seeds: Student's t interval, variance reduction from pairing, seeds for a given half-width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, stdtrit

from resexp.inference.samples import standard_deviation

LEVEL = 0.95
NOISE = 1e-12  # rounding error of a difference of shares of images, k/N - l/N
MAX_SEEDS = 1_000_000  # that are recommended
# Coverage of the interval after k looks at a growing experiment, if you stop at the first that excludes the true value. The
# number of seeds doubles between looks (benchmarks/coverage.py).
COVERAGE_OF_LOOKS = {1: 0.95, 2: 0.91, 3: 0.88, 4: 0.85}


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its t interval; low, high and sd are None for a single pair."""

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

    For approximately normal differences it covers the true mean in 95% to 96% of all cases (n = 3 to 10). If some of the seeds
    collapse it covers half as often, so do not use it for mixed outcomes. Differences that are equal except for rounding have
    SD 0.
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
    """Variance reduction from shared seeds: Pearson correlation between the arms over seeds (None if an arm is constant).

    paired: SD of the differences. unpaired: the SD that they would have if the arms were independent.
    """

    correlation: float | None
    paired: float
    unpaired: float
    n: int


def pairing(plain: Sequence[float], residual: Sequence[float]) -> Pairing | None:
    """From the values of both arms, seed by seed; None for fewer than 3 seeds, which are too few for an estimate."""
    n = len(plain)
    a, b = standard_deviation(plain), standard_deviation(residual)
    if n < 3 or a is None or b is None:
        return None
    means = math.fsum(plain) / n, math.fsum(residual) / n
    products = math.fsum((x - means[0]) * (y - means[1]) for x, y in zip(plain, residual, strict=True)) / (n - 1)
    paired = standard_deviation([y - x for x, y in zip(plain, residual, strict=True)]) or 0.0
    return Pairing(max(-1.0, min(1.0, products / (a * b))) if a and b else None, paired, math.hypot(a, b), n)


def seeds_for(sd: float, half: float, level: float = LEVEL) -> int | None:
    """The smallest number of seeds with a half-width of at most `half`, for this SD; None above a million."""

    def suffices(n: int) -> bool:
        return _quantile(n, level) * sd <= half * math.sqrt(n)

    low, high = 1, 2
    while not suffices(high):
        if high == MAX_SEEDS:
            return None
        low, high = high, min(2 * high, MAX_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def sd_interval(sd: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Lower and upper end of the chi-square interval of the standard deviation of n >= 2 normal values."""
    low, high = (math.sqrt((n - 1) / float(chdtri(n - 1, tail))) * sd for tail in ((1 - level) / 2, (1 + level) / 2))
    return low, high


def image_half_width(differences: np.ndarray, level: float = LEVEL) -> float:
    """Half-width of the interval of a mean over other test images, with these networks.

    differences: (S seeds, N images), N >= 2. The value of an image is its mean over seeds; the interval over images is
    Student's t.
    """
    by_image = np.asarray(differences, dtype=np.float64).mean(axis=0)
    return float(stdtrit(len(by_image) - 1, (1 + level) / 2) * by_image.std(ddof=1) / math.sqrt(len(by_image)))
