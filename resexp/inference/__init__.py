"""What can be said from a few seeds: outcomes first, then means and paired intervals where they mean something.

samples      how the trials of one arm ended, means, deviations
intervals    paired differences and their intervals; what pairing bought; how many seeds a narrower interval takes
exact        tests without assumptions on the distribution: sign flips, outcome counts, ranks
selection    choosing an option on one half of the seeds and reporting on the other
evidence     p of a mean difference over seeds and test images together; how many seeds a verdict needs
degradation  is training error higher at the deepest depth than at the best shallower one?
"""

from resexp.inference.degradation import Degradation, DegradationVerdict, degradation, degradation_reduction
from resexp.inference.evidence import ALPHA, MIN_SEEDS, RANK_TEST_ALPHA, half_width, is_significant, p_below, p_of_mean
from resexp.inference.exact import (
    MAX_PAIRS,
    fisher_exact,
    highest_last,
    holm,
    mann_whitney,
    sign_flip,
    smallest_mann_whitney,
    smallest_sign_flip,
)
from resexp.inference.intervals import (
    COVERAGE_OF_LOOKS,
    LEVEL,
    Difference,
    Pairing,
    image_half_width,
    paired_difference,
    pairing,
    sd_interval,
    seeds_for,
)
from resexp.inference.samples import Summary, standard_deviation, summarize
from resexp.inference.selection import SELECTED_LEVEL, best_option, cross_fitted

__all__ = [
    "ALPHA",
    "COVERAGE_OF_LOOKS",
    "LEVEL",
    "MAX_PAIRS",
    "MIN_SEEDS",
    "RANK_TEST_ALPHA",
    "SELECTED_LEVEL",
    "Degradation",
    "DegradationVerdict",
    "Difference",
    "Pairing",
    "Summary",
    "best_option",
    "cross_fitted",
    "degradation",
    "degradation_reduction",
    "fisher_exact",
    "half_width",
    "highest_last",
    "holm",
    "image_half_width",
    "is_significant",
    "mann_whitney",
    "p_below",
    "p_of_mean",
    "paired_difference",
    "pairing",
    "sd_interval",
    "seeds_for",
    "sign_flip",
    "smallest_mann_whitney",
    "smallest_sign_flip",
    "standard_deviation",
    "summarize",
]
