"""Does training error rise with depth? An exact trend test, and the contrast of the ends with its interval.

Only training error can show degradation (a high test error may be overfitting); the slope of the gradient stands beside a
verdict and is never part of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resexp.statistics.exact import page
from resexp.statistics.intervals import Difference, paired

ALPHA = 0.05
DEGRADES, DOES_NOT, SLOWER, CANNOT_TELL = "degrades", "does not degrade", "slower, not shown worse", "cannot tell"
VERDICTS = (DEGRADES, DOES_NOT, SLOWER, CANNOT_TELL)

Errors = Mapping[int, Mapping[int, float]]  # depth -> seed -> training error; inf where it diverged


@dataclass(frozen=True)
class Degradation:
    """Training error of one arm over depth, from the n seeds that finished every depth.

    contrast: deepest minus shallowest, None where outcomes are mixed at either or a network diverged there.
    trend: p of Page's test that it rises; None beyond 12 depths.
    """

    depths: tuple[int, ...]
    n: int
    contrast: Difference | None
    trend: float | None
    verdict: str


def degradation(errors: Errors, margin: float, *, mixed: bool, falling: bool) -> Degradation | None:
    """The verdict on one arm; None for fewer than two depths or no seed that finished all of them.

    does not degrade: the whole interval of the contrast lies below `margin`.
    degrades: it lies above 0 with a mean of at least `margin`, and, where there are more than two depths, the trend rises as
    well (p <= 0.05); where there is no interval (outcomes `mixed` at an end, or a network diverged there), the trend decides
    alone. Without the mean two depths of unlike spread would raise 6 false alarms in 100.
    slower, not shown worse: the same, but the deepest networks' training loss is still `falling`.
    """
    depths, seeds = sorted(errors), whole_seeds(errors)
    if len(depths) < 2 or not seeds:
        return None
    rows = [[errors[depth][seed] for depth in depths] for seed in seeds]
    contrast = None if mixed else _contrast(rows)
    trend = page(rows)
    return Degradation(
        tuple(depths), len(seeds), contrast, trend, _verdict(contrast, trend, len(depths), margin, falling=falling)
    )


def _verdict(contrast: Difference | None, trend: float | None, depths: int, margin: float, *, falling: bool) -> str:
    if contrast and contrast.high is not None and contrast.high < margin:
        return DOES_NOT
    above = contrast is None or (contrast.low is not None and contrast.low > 0 and contrast.mean >= margin)
    rises = trend is not None and trend <= ALPHA
    if above and (rises or (contrast is not None and depths == 2)):
        return SLOWER if falling else DEGRADES
    return CANNOT_TELL


def whole_seeds(errors: Errors) -> list[int]:
    """The seeds that have an error at every depth."""
    return sorted(set.intersection(*(set(of) for of in errors.values()))) if errors else []


def _contrast(rows: Sequence[Sequence[float]]) -> Difference | None:
    each = [row[-1] - row[0] for row in rows]
    return paired(each) if all(map(math.isfinite, each)) else None


def removed(plain: Errors, residual: Errors) -> Difference | None:
    """By how much less the residual arm's error rises from the shallowest to the deepest network, paired over seeds.

    Only this supports that a shortcut removes degradation. Depths and seeds are those that both arms have; None for fewer than
    two such depths, no such seed, or a diverged network at an end. It is not to be formed where outcomes are mixed at an end.
    """
    depths = sorted(set(plain) & set(residual))
    if len(depths) < 2:
        return None
    ends = [{depth: of[depth] for depth in (depths[0], depths[-1])} for of in (plain, residual)]
    seeds = sorted(set(whole_seeds(ends[0])) & set(whole_seeds(ends[1])))
    rises = [[of[depths[-1]][seed] - of[depths[0]][seed] for of in ends] for seed in seeds]
    finite = all(math.isfinite(value) for row in rises for value in row)
    return paired([a - b for a, b in rises]) if rises and finite else None
