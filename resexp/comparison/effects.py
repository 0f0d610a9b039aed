"""What a shortcut did to one pair: a rule over outcomes and evidence; chips, sentences and colors derive from its values."""

from enum import StrEnum

from resexp import statistics
from resexp.comparison.cells import Arm
from resexp.statistics import Difference


class Effect(StrEnum):
    """One of these for every pair; the value is its name in a report."""

    MAKES_TRAINABLE = "makes trainable"
    MAKES_UNTRAINABLE = "makes untrainable"
    MORE_ACCURATE = "more accurate"
    LESS_ACCURATE = "less accurate"
    NOT_SHOWN = "no difference shown"
    MIXED = "outcomes differ across seeds"
    NEITHER = "neither is above chance"
    TOO_FEW = "too few seeds"
    NO_PAIR = "no seed in common"


class Part(StrEnum):
    """Where a difference in test accuracy comes from."""

    TRAINING = "training"
    GENERALIZATION = "generalization"
    BOTH = "training and generalization"
    UNCLEAR = "unclear"


def effect(plain: Arm, residual: Arm) -> Effect:
    """The first that holds.

    A verb needs at least 3 seeds of both arms and a difference that is shown: over seeds and test images together, corrected
    over the table (`Contrast.shown`). "makes trainable" needs all networks of the one arm above chance and none of the other
    in addition.
    """
    above, above_plain = (arm.summary.outcomes.get("trained", 0) for arm in (residual, plain))
    shown, better = residual.contrast.shown, _is_better(residual)
    apart = {above / residual.summary.n, above_plain / plain.summary.n} == {0.0, 1.0}
    if not above and not above_plain:
        return Effect.NEITHER
    if apart and shown:
        return Effect.MAKES_TRAINABLE if above else Effect.MAKES_UNTRAINABLE
    if shown:
        return Effect.MORE_ACCURATE if better else Effect.LESS_ACCURATE
    if residual.difference is None and residual.contrast.ranks is None:
        return Effect.NO_PAIR
    if apart or residual.contrast.p is None:
        return Effect.TOO_FEW
    return Effect.NOT_SHOWN if residual.difference else Effect.MIXED


def _is_better(residual: Arm) -> bool:
    ranks = residual.contrast.ranks
    return ranks.above > 1 / 2 if ranks else residual.difference is not None and residual.difference.mean > 0


def part(residual: Arm) -> Part:
    """By the 95% intervals over seeds of both parts of the difference: which of them excludes 0 on the side of the whole."""
    if residual.difference is None:
        return Part.UNCLEAR
    sign = 1 if residual.difference.mean > 0 else -1
    training, gap = (_excludes_zero(of, sign) for of in (residual.training, residual.gap))
    if training and gap:
        return Part.BOTH
    return Part.TRAINING if training else Part.GENERALIZATION if gap else Part.UNCLEAR


def _excludes_zero(difference: Difference | None, sign: int) -> bool:
    if difference is None or difference.low is None or difference.high is None or difference.n < statistics.FEWEST_SEEDS:
        return False
    return min(sign * difference.low, sign * difference.high) > 0
