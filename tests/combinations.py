"""Fewer combinations of values than all, in which every two values of different axes still meet."""

from collections.abc import Iterable
from itertools import combinations, product
from typing import Any


def every_two(*axes: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Combinations of one value of each axis such that every two values of two axes occur together in one of them.

    The next combination is always the one with the most pairs of values that have not occurred.
    """
    candidates = {combination: set(combinations(enumerate(combination), 2)) for combination in product(*axes)}
    missing = set().union(*candidates.values())
    chosen = []
    while missing:
        chosen.append(max(candidates, key=lambda combination: len(candidates[combination] & missing)))
        missing -= candidates[chosen[-1]]
    return chosen
