"""Is training error at the deepest depth higher than at the best shallower one? A paired interval, or an exact rank test.

Only training error can show degradation (a high test error may be overfitting). The gradient slope is reported next to a
verdict but does not affect it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from resexp.inference.exact import highest_last
from resexp.inference.intervals import Difference, paired_difference
from resexp.inference.selection import cross_fitted

RANK_ALPHA = 1 / 32  # of the rank test; with the interval, false positives stay below 5% in total, even if spreads differ

Errors = Mapping[int, Mapping[int, float]]  # depth -> seed -> training error; inf if training diverged


class DegradationVerdict(StrEnum):
    """How the training error of one arm changes with depth, at the trained budget."""

    DEGRADES = "degrades"
    DOES_NOT_DEGRADE = "does not degrade"
    INCONCLUSIVE = "inconclusive"
    UNTRAINED = "does not train"


RULES = {
    DegradationVerdict.DEGRADES: (
        "the 95% CI of the training error at the deepest minus the best shallower depth (selected on the other half of the "
        "seeds) is above 0 and its mean at least the margin; if outcomes differ or a network diverged, a rank test has "
        "p <= 1/32 and the medians are at least the margin apart"
    ),
    DegradationVerdict.DOES_NOT_DEGRADE: (
        "the 95% CIs of the deepest minus the best shallower depth, and minus every shallower depth, are below the margin"
    ),
    DegradationVerdict.INCONCLUSIVE: "no other rule applies",
    DegradationVerdict.UNTRAINED: (
        "no network is above chance at any depth; or none is at the deepest depth and the rule of 'does not degrade' applies"
    ),
}


@dataclass(frozen=True)
class Degradation:
    """Training error of one arm over depth, from the n seeds that finished every depth.

    best: seed -> the shallower depth that it is compared with, which has the lowest mean error over the other half of the
    seeds. contrast: deepest minus best; None if a network diverged, or outcomes are mixed, at one of these depths. most: the
    highest upper end of the intervals of the deepest minus each shallower depth. rank_p: exact one-sided p-value of the ranks
    of the deepest depth within seeds.
    """

    depths: tuple[int, ...]
    n: int
    best: dict[int, int]
    contrast: Difference | None
    most: float | None
    rank_p: float
    verdict: DegradationVerdict


def degradation(errors: Errors, margin: float, mixed: Collection[int] = ()) -> Degradation | None:
    """The verdict on one arm; None for fewer than two depths or no seed that finished all of them.

    mixed: the depths whose networks have different outcomes. DEGRADES: the interval of the contrast is above 0 and its mean at
    least `margin`; without a contrast, the deepest depth's ranks within seeds are high (p <= 1/32) and its median error is at
    least `margin` above the lowest median of a shallower depth. DOES_NOT_DEGRADE: the intervals of the contrast and of the
    deepest minus every shallower depth are below `margin`. INCONCLUSIVE: everything else. The caller
    knows the outcomes and assigns UNTRAINED.
    """
    depths, seeds = sorted(errors), complete_seeds(errors)
    if len(depths) < 2 or not seeds:
        return None
    rows = [[errors[depth][seed] for depth in depths] for seed in seeds]
    best = {seed: depths[option] for seed, option in zip(seeds, cross_fitted([row[:-1] for row in rows]), strict=True)}
    deepest = errors[depths[-1]]
    usable = set() if depths[-1] in mixed else {depth for depth in depths[:-1] if depth not in mixed}
    rises = [deepest[seed] - errors[best[seed]][seed] for seed in seeds]
    contrast = paired_difference(rises) if usable.issuperset(best.values()) and all(map(math.isfinite, rises)) else None
    most = _highest_end([[deepest[seed] - errors[depth][seed] for seed in seeds] for depth in usable]) if contrast else None
    rank_p = highest_last(rows)
    verdict = _by_interval(contrast, most, margin) if contrast else _by_rank(rows, rank_p, margin)
    return Degradation(tuple(depths), len(seeds), best, contrast, most, rank_p, verdict)


def _highest_end(differences: Sequence[Sequence[float]]) -> float | None:
    """The highest upper end of the intervals, without depths at which a network diverged (-inf): they are not better."""
    ends = [paired_difference(rises).high for rises in differences if all(map(math.isfinite, rises))]
    return None if None in ends else max(end for end in ends if end is not None)


def _by_interval(contrast: Difference, most: float | None, margin: float) -> DegradationVerdict:
    if contrast.low is None or contrast.high is None or most is None:
        return DegradationVerdict.INCONCLUSIVE
    if max(contrast.high, most) < margin:
        return DegradationVerdict.DOES_NOT_DEGRADE
    return DegradationVerdict.DEGRADES if contrast.low > 0 and contrast.mean >= margin else DegradationVerdict.INCONCLUSIVE


def _by_rank(rows: Sequence[Sequence[float]], rank_p: float, margin: float) -> DegradationVerdict:
    *shallower, deepest = [median(column) for column in zip(*rows, strict=True)]
    exceeds = math.isfinite(min(shallower)) and deepest - min(shallower) >= margin
    return DegradationVerdict.DEGRADES if rank_p <= RANK_ALPHA and exceeds else DegradationVerdict.INCONCLUSIVE


def complete_seeds(errors: Errors) -> list[int]:
    """The seeds that have an error at every depth."""
    return sorted(set.intersection(*(set(by_seed) for by_seed in errors.values()))) if errors else []


def degradation_reduction(plain: Errors, residual: Errors) -> Difference | None:
    """Rise of the training error from the shallowest to the deepest network, plain minus residual, paired by seed.

    Only this difference can show that a shortcut removes degradation. It uses the depths and seeds that both arms have; None
    for fewer than two such depths, no such seed, or a diverged network at an end. It is not valid if outcomes are mixed at an
    end.
    """
    depths = sorted(set(plain) & set(residual))
    if len(depths) < 2:
        return None
    ends = [{depth: errors[depth] for depth in (depths[0], depths[-1])} for errors in (plain, residual)]
    seeds = sorted(set(complete_seeds(ends[0])) & set(complete_seeds(ends[1])))
    rises = [[errors[depths[-1]][seed] - errors[depths[0]][seed] for errors in ends] for seed in seeds]
    finite = all(math.isfinite(value) for row in rises for value in row)
    return paired_difference([a - b for a, b in rises]) if rises and finite else None
