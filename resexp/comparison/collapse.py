"""Whether inputs collapse: at the last block boundary, different inputs have almost the same direction."""

import math
from collections.abc import Sequence
from enum import StrEnum

from resexp.comparison.groups import value
from resexp.runs import TrialRecord

# Cosine distance: 1% of the squared length of normalized activations differs between inputs. docs/statistics.md gives reasons.
COLLAPSE = 0.01


class Inputs(StrEnum):
    """The cosine distance of activations at the last block boundary, at initialization."""

    COLLAPSED = "collapsed"
    DISTINCT = "distinct"


RULES = {
    Inputs.COLLAPSED: f"the mean cosine distance of activations at the last block boundary is below {COLLAPSE:g}",
    Inputs.DISTINCT: f"the mean cosine distance of activations at the last block boundary is at least {COLLAPSE:g}",
}


def inputs(distance: float) -> Inputs:
    """From the cosine distance of activations at the last block boundary, averaged over pairs of inputs."""
    return Inputs.COLLAPSED if distance < COLLAPSE else Inputs.DISTINCT


def mean_distance(records: Sequence[TrialRecord]) -> float | None:
    """The mean of `distance_start` over the seeds that have it; None without any."""
    distances = [distance for record in records if (distance := value(record, "distance_start")) is not None]
    return math.fsum(distances) / len(distances) if distances else None
