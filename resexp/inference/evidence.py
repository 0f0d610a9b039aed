"""How strong the evidence for a mean difference is when both the seeds and the test images are samples."""

import math

from scipy.special import stdtr, stdtrit

from resexp.inference.intervals import LEVEL

ALPHA = 0.01  # of a verdict by an interval; at 0.05 verdicts change with rounding errors (docs/statistics.md)
RANK_TEST_ALPHA = 0.05  # of a verdict by ranks: the smallest p-value of 5 and 5 networks is 0.0079
MIN_SEEDS = 3  # of a verdict: an estimate of the standard deviation from two seeds is very uncertain
MIN_P = 1e-300
BISECTIONS = 60


def half_width(seeds: tuple[float, int], images: tuple[float, int] | None, p: float = 1 - LEVEL) -> float:
    """Half-width of the interval at level 1 - p over other seeds and other test images.

    Each source is (standard error, sample size) with its own Student's t interval; the combined half-width is the root of the
    sum of the squared half-widths. Without `images` it is that of Student's t interval over seeds.
    """
    sources = [source for source in (seeds, images) if source is not None]
    return math.hypot(*(-float(stdtrit(size - 1, p / 2)) * error for error, size in sources))


def p_of_mean(mean: float, seeds: tuple[float, int], images: tuple[float, int] | None = None) -> float:
    """Two-sided p-value of a mean difference of 0: the largest p whose interval of `half_width` excludes 0.

    With a single source it is the p-value of Student's t-test, with a relative error of at most 1e-12.
    """
    if mean == 0:
        return 1.0
    if images is None or not images[0]:
        return _student(mean, *seeds)
    if not seeds[0]:
        return _student(mean, *images)
    low, high = math.log(MIN_P), 0.0  # of log p; the half-width falls as p rises
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if half_width(seeds, images, math.exp(middle)) < abs(mean) else (middle, high)
    return math.exp(high)


def p_below(mean: float, sd: float, n: int) -> float:
    """One-sided p-value of Student's t-test of a mean of at least 0, for n >= 2 values with this mean and SD."""
    if not sd:
        return 0.0 if mean < 0 else 1.0
    return float(stdtr(n - 1, mean * math.sqrt(n) / sd))


def _student(mean: float, error: float, size: int) -> float:
    return min(1.0, 2 * float(stdtr(size - 1, -abs(mean) / error))) if error else 0.0


def is_significant(p: float | None, *, ranks: bool = False) -> bool:
    """Whether a p-value, corrected over its table, is small enough for a verdict."""
    return p is not None and p <= (RANK_TEST_ALPHA if ranks else ALPHA)
