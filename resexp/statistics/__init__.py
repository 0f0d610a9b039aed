"""What can be said from a few seeds: outcomes first, then means and paired intervals where they mean something.

samples      how the trials of one arm ended, means, deviations
intervals    paired differences and their intervals; what pairing bought; how many seeds a narrower interval takes
exact        tests without assumptions on the distribution: sign flips, outcome counts, trends over ordered depths
degradation  does training error rise with depth?
"""

from resexp.statistics.degradation import DEGRADES, VERDICTS, Degradation, degradation, removed
from resexp.statistics.exact import MOST_PAIRS, fisher, holm, page, sign_flip, smallest_sign_flip
from resexp.statistics.intervals import LEVEL, Difference, Pairing, over_images, paired, pairing, seeds_for
from resexp.statistics.samples import OUTCOMES, Summary, deviation, summarise

__all__ = [
    "DEGRADES",
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
    "holm",
    "over_images",
    "page",
    "paired",
    "pairing",
    "removed",
    "seeds_for",
    "sign_flip",
    "smallest_sign_flip",
    "summarise",
]
