"""Reproduction: which trials of a finished experiment are retrained, and how old and new results compare. No torch."""

from resexp.reproduction.originals import FOLDER, continued_plan, original
from resexp.reproduction.verdicts import PredictionInterval, ReproducedArm, Reproduction, ReproductionVerdict, compare, worst
