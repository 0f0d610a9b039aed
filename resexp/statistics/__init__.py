"""What can be said from a few seeds: outcomes first, then means and paired intervals where they mean something.

samples      how the trials of one arm ended, means, deviations
intervals    paired differences and their intervals; what pairing bought; how many seeds a narrower interval takes
exact        tests without assumptions on the distribution: sign flips, outcome counts, ranks, trends over ordered depths
evidence     p of a mean difference over seeds and test images together; how many seeds a verdict needs
degradation  does training error rise with depth?
"""

from resexp.statistics.degradation import DEGRADES, VERDICTS, Degradation, degradation, removed
from resexp.statistics.evidence import ALPHA, FEWEST_SEEDS, half_width, holds, p_below, p_of_mean
from resexp.statistics.exact import (
    MOST_PAIRS,
    fisher,
    holm,
    mann_whitney,
    page,
    sign_flip,
    smallest_mann_whitney,
    smallest_sign_flip,
)
from resexp.statistics.intervals import LEVEL, Difference, Pairing, over_images, paired, pairing, seeds_for
from resexp.statistics.samples import OUTCOMES, Summary, deviation, summarise

__all__ = [
    "ALPHA",
    "DEGRADES",
    "FEWEST_SEEDS",
    "LEVEL",
    "MOST_PAIRS",
    "OUTCOMES",
    "VERDICTS",
    "Degradation",
    "Difference",
    "Pairing",
    "Summary",
    "degradation",
    "deviation",
    "fisher",
    "half_width",
    "holds",
    "holm",
    "mann_whitney",
    "over_images",
    "p_below",
    "p_of_mean",
    "page",
    "paired",
    "pairing",
    "removed",
    "seeds_for",
    "sign_flip",
    "smallest_mann_whitney",
    "smallest_sign_flip",
    "summarise",
]
