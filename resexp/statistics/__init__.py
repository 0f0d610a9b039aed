"""What can be said from a few seeds: outcomes first, then means and paired intervals where they mean something.

samples      how the trials of one arm ended, means, deviations
intervals    paired differences and their intervals; what pairing bought; how many seeds a narrower interval takes
exact        tests without assumptions on the distribution: sign flips, outcome counts, ranks of the deepest networks
selection    choosing an option on one half of the seeds and reporting on the other
degradation  is training error higher at the deepest depth than at the best shallower one?
"""

from resexp.statistics.degradation import Degradation, Verdict, degradation, removed
from resexp.statistics.exact import MOST_PAIRS, fisher, highest_last, holm, sign_flip, smallest_sign_flip
from resexp.statistics.intervals import (
    COVERAGE_OF_LOOKS,
    LEVEL,
    Difference,
    Pairing,
    over_images,
    paired,
    pairing,
    sd_interval,
    seeds_for,
)
from resexp.statistics.samples import OUTCOMES, Summary, deviation, summarise
from resexp.statistics.selection import SELECTED_LEVEL, best_option, cross_fitted

__all__ = [
    "COVERAGE_OF_LOOKS",
    "LEVEL",
    "MOST_PAIRS",
    "OUTCOMES",
    "SELECTED_LEVEL",
    "Degradation",
    "Difference",
    "Pairing",
    "Summary",
    "Verdict",
    "best_option",
    "cross_fitted",
    "degradation",
    "deviation",
    "fisher",
    "highest_last",
    "holm",
    "over_images",
    "paired",
    "pairing",
    "removed",
    "sd_interval",
    "seeds_for",
    "sign_flip",
    "smallest_sign_flip",
    "summarise",
]
