"""Reproduction: which trials of a finished experiment are retrained, and how old and new results compare. No torch."""

from resexp.reproduction.originals import FOLDER, continued_plan, original
from resexp.reproduction.summaries import lines
from resexp.reproduction.verdicts import Reproduction, ReproductionVerdict, compare
