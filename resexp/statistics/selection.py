"""Choosing one of several options and reporting on it: on other seeds than those that chose."""

import math
from collections.abc import Sequence

SELECTED_LEVEL = 0.97  # nominal, of the 95% interval of two cross-fitted choices: the choices of the two halves are related


def cross_fitted(costs: Sequence[Sequence[float]]) -> list[int]:
    """The option that each seed reports on: the one with the lowest mean cost over the seeds of the other half.

    costs: (S seeds, K options), inf for an option that failed; the halves are the first S // 2 seeds and the rest. A value of
    a seed at its option owes nothing to the choice, so it has no winner's curse. A single seed reports on its own choice.
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
