"""Reproduction: which trials of a finished experiment are retrained, and how old and new results compare. No torch."""

from resexp.reproduction.originals import FOLDER, Original, continued_plan, original
from resexp.reproduction.summaries import lines
from resexp.reproduction.verdicts import ROUNDING, Reproduction, ReproductionVerdict, compare

__all__ = [
    "FOLDER",
    "ROUNDING",
    "Original",
    "Reproduction",
    "ReproductionVerdict",
    "compare",
    "continued_plan",
    "lines",
    "original",
]
