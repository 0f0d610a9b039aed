"""What can be said from a few seeds: outcomes first, then means and paired intervals where they mean something."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

OUTCOMES = ("trained", "stuck", "diverged")


@dataclass(frozen=True)
class Summary:
    """One arm of a cell: how its trials ended, and their values where they have one.

    mean and sd (n - 1) are given only where all trials ended alike; median, lowest and highest always.
    """

    outcomes: dict[str, int]
    n: int
    mean: float | None
    sd: float | None
    median: float | None
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its t-interval; low and high are None for a single pair."""

    mean: float
    low: float | None
    high: float | None
    n: int


def summarise(outcomes: Sequence[str], values: Sequence[float | None]) -> Summary:
    """The summary of one arm from the outcome and the value (None when diverged) of each of its trials."""
    counts = Counter(outcomes)
    present = sorted(value for value in values if value is not None)
    alike = len(counts) == 1 and bool(present)
    return Summary(
        outcomes={name: counts[name] for name in OUTCOMES if counts[name]},
        n=len(outcomes),
        mean=math.fsum(present) / len(present) if alike else None,
        sd=deviation(present) if alike else None,
        median=_median(present) if present else None,
        lowest=present[0] if present else None,
        highest=present[-1] if present else None,
    )


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation with n - 1; None for a single value."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def paired(differences: Sequence[float], level: float = 0.95) -> Difference:
    """Mean of the differences and the interval mean +- t(n - 1) sd / sqrt(n) at `level`."""
    n = len(differences)
    mean = math.fsum(differences) / n
    sd = deviation(differences)
    if sd is None:
        return Difference(mean, None, None, n)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n)
    return Difference(mean, mean - half, mean + half, n)
