"""Selecting one of several options on one half of the seeds and reporting on the other half."""

import math
from collections.abc import Sequence

# Nominal level of the 95% interval of two cross-fitted selections: the selections of the halves are correlated.
SELECTED_LEVEL = 0.97


def cross_fitted(costs: Sequence[Sequence[float]]) -> list[int]:
    """For each seed, the option that it reports on: the one with the lowest mean cost over the other half of the seeds.

    costs: (S seeds, K options), inf for an option that failed. The halves are the first S // 2 seeds and the rest. The value of
    a seed at its option is independent of the selection, which removes the bias. A single seed reports on its own selection.
    """
    middle = len(costs) // 2
    halves = costs[:middle], costs[middle:]
    if not middle:
        return [best_option(costs) for _ in costs]
    return [best_option(other) for half, other in zip(halves, halves[::-1], strict=True) for _ in half]


def best_option(costs: Sequence[Sequence[float]]) -> int:
    """The option with the lowest mean cost; the first one if several are equal."""
    totals = [math.fsum(column) if all(map(math.isfinite, column)) else math.inf for column in zip(*costs, strict=True)]
    return totals.index(min(totals))
