"""Inference from a few seeds: outcomes, means, paired intervals, exact tests and verdicts.

samples      outcomes, means and standard deviations of the trials of one arm
intervals    paired differences with their intervals; variance reduction from pairing; number of seeds for a given interval
exact        tests that assume no distribution: sign flips, outcome counts, ranks
selection    selecting an option on one half of the seeds and reporting on the other
ranks        Spearman correlation over arms, with an interval from resampled configurations
evidence     p-value of a mean difference over seeds and test images; number of seeds that a verdict needs
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
from resexp.inference.ranks import RankCorrelation, rank_correlation
from resexp.inference.samples import Summary, standard_deviation, summarize
from resexp.inference.selection import SELECTED_LEVEL, cross_fitted
