"""Selecting one of several options on one half of the seeds and reporting it on the other half."""

import math
from collections.abc import Sequence

SELECTED_LEVEL = (
    0.97  # nominal level of the 95% interval of two cross-fitted selections, because those of the halves are correlated
)


def cross_fitted(costs: Sequence[Sequence[float]]) -> list[int]:
    """The option that each seed reports on: the one with the lowest mean cost over the seeds of the other half.

    costs: (S seeds, K options), inf for an option that failed; the halves are the first S // 2 seeds and the rest. A value of
    a seed at its option is independent of the selection, which removes the bias. A single seed reports on its own.
    """
    middle = len(costs) // 2
    halves = costs[:middle], costs[middle:]
    if not middle:
        return [best_option(costs) for _ in costs]
    return [best_option(half) for own, half in zip(halves, halves[::-1], strict=True) for _ in own]


def best_option(costs: Sequence[Sequence[float]]) -> int:
    """The option with the lowest mean cost, the first of equals."""
    totals = [math.fsum(column) if all(map(math.isfinite, column)) else math.inf for column in zip(*costs, strict=True)]
    return totals.index(min(totals))
