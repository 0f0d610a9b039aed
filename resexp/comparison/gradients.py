"""Whether gradients vanish or explode: one rule, over the whole network, for all sentences, chips and titles."""

import math
from collections.abc import Sequence
from enum import StrEnum

from resexp import theory
from resexp.comparison.groups import value
from resexp.runs import TrialRecord

THRESHOLD = 1.0  # orders of magnitude from the last block to the first


class Flow(StrEnum):
    """The change of the gradient from the output to the input."""

    VANISHING = "vanishing"
    STABLE = "stable"
    EXPLODING = "exploding"


RULES = {
    Flow.VANISHING: f"the norm of dL/dx falls by more than {THRESHOLD:g} order of magnitude from the last block to the first",
    Flow.STABLE: f"the norm of dL/dx changes by at most {THRESHOLD:g} order of magnitude from the last block to the first",
    Flow.EXPLODING: f"the norm of dL/dx grows by more than {THRESHOLD:g} order of magnitude from the last block to the first",
}


def flow(change: float) -> Flow:
    """From the change of log10 |dL/dx| over the whole network: below -1 vanishing, above 1 exploding, otherwise stable."""
    if abs(change) <= THRESHOLD:
        return Flow.STABLE
    return Flow.EXPLODING if change > 0 else Flow.VANISHING


def growth(record: TrialRecord, key: str = "slope_start") -> float | None:
    """Orders of magnitude by which the gradient grows from output to input: the slope per block times the number of blocks."""
    slope = value(record, key)
    return None if slope is None else slope * theory.block_count(record.trial.settings.network)


def mean_growth(records: Sequence[TrialRecord], key: str = "slope_start") -> float | None:
    """The mean over the seeds that have a value; None without any."""
    growths = [change for record in records if (change := growth(record, key)) is not None]
    return math.fsum(growths) / len(growths) if growths else None
