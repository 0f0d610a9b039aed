"""How strong the evidence for a mean difference is when both the seeds and the test images are samples."""

import math

from scipy.special import stdtr, stdtrit

from resexp.inference.intervals import LEVEL

ALPHA = 0.01  # of a verdict by an interval; at 5% verdicts change with rounding errors (docs/statistics.md)
RANK_TEST_ALPHA = 0.05  # of a verdict by ranks: 5 and 5 networks have no p-value below 0.0079
MIN_SEEDS = 3  # of a verdict: two seeds hardly estimate a standard deviation
SMALLEST = 1e-300
HALVINGS = 60


def half_width(seeds: tuple[float, int], images: tuple[float, int] | None, p: float = 1 - LEVEL) -> float:
    """Half-width of the interval at level 1 - p over other seeds and other test images.

    Each source is (standard error, sample size) with its own Student interval; the half-widths are combined as the root of the
    sum of their squares. Without `images` this is Student's interval over seeds.
    """
    sources = [source for source in (seeds, images) if source is not None]
    return math.hypot(*(-float(stdtrit(size - 1, p / 2)) * error for error, size in sources))


def p_of_mean(mean: float, seeds: tuple[float, int], images: tuple[float, int] | None = None) -> float:
    """Two-sided p of a mean difference of 0: the largest p whose interval of `half_width` excludes 0.

    With one source only, it is the p of Student's t-test, to a relative 1e-12.
    """
    if mean == 0:
        return 1.0
    if images is None or not images[0]:
        return _student(mean, *seeds)
    if not seeds[0]:
        return _student(mean, *images)
    low, high = math.log(SMALLEST), 0.0  # of log p; the half-width falls as p rises
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if half_width(seeds, images, math.exp(middle)) < abs(mean) else (middle, high)
    return math.exp(high)


def p_below(mean: float, sd: float, n: int) -> float:
    """One-sided p of Student's t-test that a mean of 0 or more gives n >= 2 values with this mean and standard deviation."""
    if not sd:
        return 0.0 if mean < 0 else 1.0
    return float(stdtr(n - 1, mean * math.sqrt(n) / sd))


def _student(mean: float, error: float, size: int) -> float:
    return min(1.0, 2 * float(stdtr(size - 1, -abs(mean) / error))) if error else 0.0


def is_significant(p: float | None, *, ranks: bool = False) -> bool:
    """Whether a p-value that is corrected over its table is enough evidence for a verdict."""
    return p is not None and p <= (RANK_TEST_ALPHA if ranks else ALPHA)
