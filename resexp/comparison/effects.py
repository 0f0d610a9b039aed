"""The effect of a shortcut on one pair: a rule over outcomes and evidence, on which chips, sentences and colors depend."""

from enum import StrEnum

from resexp import inference
from resexp.comparison.cells import Arm
from resexp.inference import Difference
from resexp.runs import Outcome

MAX_EXCEPTIONS = 0.2  # share of the networks of an arm that may deviate from a verdict on trainability


class Effect(StrEnum):
    """The effect of the shortcut on a pair; the value is its name in reports."""

    MAKES_TRAINABLE = "makes trainable"
    MAKES_UNTRAINABLE = "makes untrainable"
    MORE_ACCURATE = "more accurate"
    LESS_ACCURATE = "less accurate"
    INCONCLUSIVE = "inconclusive"
    MIXED = "outcomes differ across seeds"
    NEITHER = "neither is above chance"
    TOO_FEW = "too few seeds"
    NO_PAIR = "no seed in common"


class Part(StrEnum):
    """The part of a difference in test accuracy that is shown."""

    TRAINING = "training"
    GENERALIZATION = "generalization"
    BOTH = "training and generalization"
    UNCLEAR = "unclear"


SHOWN = (
    f"a difference is shown: each arm has at least 3 seeds, and p <= {inference.ALPHA:.0%} over seeds and test images "
    f"(p <= {inference.RANK_TEST_ALPHA:.0%} by ranks, if outcomes differ), corrected over the table (Holm)"
)
MOST_ARE, FEW_ARE = f"at least {1 - MAX_EXCEPTIONS:.0%} are", f"at most {MAX_EXCEPTIONS:.0%}"
RULES: dict[Effect | Part, str] = {
    Effect.MAKES_TRAINABLE: f"{MOST_ARE} above chance with the shortcut, {FEW_ARE} without it, and {SHOWN}",
    Effect.MAKES_UNTRAINABLE: f"{MOST_ARE} above chance without the shortcut, {FEW_ARE} with it, and {SHOWN}",
    Effect.MORE_ACCURATE: f"{SHOWN}; the network with the shortcut has the higher test accuracy",
    Effect.LESS_ACCURATE: f"{SHOWN}; the network with the shortcut has the lower test accuracy",
    Effect.INCONCLUSIVE: "all seeds of an arm have the same outcome, at least 3 seeds, and no difference is shown",
    Effect.MIXED: "outcomes differ across the seeds of an arm, at least 3 seeds, and no difference is shown",
    Effect.NEITHER: "no network of either arm is above chance",
    Effect.TOO_FEW: (
        f"fewer than 3 seeds; or {MOST_ARE} above chance in one arm, {FEW_ARE} in the other, and no difference is shown"
    ),
    Effect.NO_PAIR: "the arms have no finished seed in common",
    Part.TRAINING: "the 95% CI of the difference in training accuracy excludes 0 on the side of the test accuracy",
    Part.GENERALIZATION: (
        "the 95% CI of the difference in test minus training accuracy excludes 0 on the side of the test accuracy, and that of "
        "the difference in training accuracy does not"
    ),
    Part.BOTH: "both 95% CIs exclude 0 on the side of the test accuracy",
    Part.UNCLEAR: "neither 95% CI excludes 0 on that side, or there are fewer than 3 seeds",
}


def effect(plain: Arm, residual: Arm) -> Effect:
    """The first effect whose rule applies.

    A directional effect requires at least 3 seeds per arm and a difference that is shown: over seeds and images, corrected over
    the table (`Contrast.shown`). "makes trainable" requires in addition that at least 80% of the networks of one arm and at
    most 20% of the other are above chance. Rounding errors can cause or remove a single exception in 5.
    """
    above, above_plain = (arm.summary.outcomes.get(Outcome.ABOVE_CHANCE, 0) for arm in (residual, plain))
    shown, ranks = residual.contrast.shown, residual.contrast.ranks
    better = ranks.above > 1 / 2 if ranks else residual.difference is not None and residual.difference.mean > 0
    share, share_plain = above / residual.summary.n, above_plain / plain.summary.n
    separated = min(share, share_plain) <= MAX_EXCEPTIONS and max(share, share_plain) >= 1 - MAX_EXCEPTIONS
    if not above and not above_plain:
        return Effect.NEITHER
    if separated and shown:
        return Effect.MAKES_TRAINABLE if share > share_plain else Effect.MAKES_UNTRAINABLE
    if shown:
        return Effect.MORE_ACCURATE if better else Effect.LESS_ACCURATE
    if residual.difference is None and ranks is None:
        return Effect.NO_PAIR
    if separated or residual.contrast.p is None:
        return Effect.TOO_FEW
    return Effect.INCONCLUSIVE if residual.difference else Effect.MIXED


def part(residual: Arm) -> Part:
    """The part of the difference whose 95% interval over seeds excludes 0 in the direction of the total difference."""
    if residual.difference is None:
        return Part.UNCLEAR
    sign = 1 if residual.difference.mean > 0 else -1
    training, gap = (_excludes_zero(difference, sign) for difference in (residual.training, residual.gap))
    if training and gap:
        return Part.BOTH
    return Part.TRAINING if training else Part.GENERALIZATION if gap else Part.UNCLEAR


def _excludes_zero(difference: Difference | None, sign: int) -> bool:
    if difference is None or difference.low is None or difference.high is None or difference.n < inference.MIN_SEEDS:
        return False
    return min(sign * difference.low, sign * difference.high) > 0
