"""Outcomes and values of the trials of one arm: counts always, means only if all trials have the same outcome."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from resexp.runs import Outcome


@dataclass(frozen=True)
class Summary:
    """Outcomes and values of one arm of a cell.

    mean and sd (with n - 1) are given only if all trials have the same outcome; median, lowest and highest are given if any
    trial has a value.
    """

    outcomes: dict[str, int]
    n: int
    mean: float | None
    sd: float | None
    median: float | None
    lowest: float | None
    highest: float | None


def summarize(outcomes: Sequence[str], values: Sequence[float | None]) -> Summary:
    """The summary of one arm from the outcome and the value (None if diverged) of each trial."""
    counts = Counter(outcomes)
    present = sorted(value for value in values if value is not None)
    same_outcome = len(counts) == 1 and bool(present)
    return Summary(
        outcomes={outcome.value: counts[outcome] for outcome in Outcome if counts[outcome]},
        n=len(outcomes),
        mean=math.fsum(present) / len(present) if same_outcome else None,
        sd=standard_deviation(present) if same_outcome else None,
        median=median(present) if present else None,
        lowest=present[0] if present else None,
        highest=present[-1] if present else None,
    )


def standard_deviation(values: Sequence[float]) -> float | None:
    """Standard deviation with n - 1; None for a single value, exactly 0 if all values are equal."""
    if len(values) < 2:
        return None
    if min(values) == max(values):
        return 0.0  # the rounded mean may differ from the values
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
