"""Runs -> comparisons: what the arms of each cell are worth, beside each other. Numbers only; text is made of them in tables.

compared(results, metric, at)        all of it, as `resexp compare` and the report print it
cells(results, metric)               every arm beside its plain twin, paired over seeds
tuned(results, keys, metric)         both arms at one setting, and each at its best
over_depth(results)                  does training error rise with depth, and how much of it does the shortcut remove?
"""

from resexp.comparison.cells import Arm, Cell, Contrast, cells
from resexp.comparison.depths import OverDepth, by_depth, errors, over_depth
from resexp.comparison.groups import Label, by, difference, groups, pairs, summary, value
from resexp.comparison.metrics import METRICS, Metric, chosen, known, resolution
from resexp.comparison.tuning import ALIKE, BEST, Choice, Tuned, best_against_best, tuned
from resexp.comparison.whole import Bought, Comparison, Needed, Plan, bought, compared, plan

__all__ = [
    "ALIKE",
    "BEST",
    "METRICS",
    "Arm",
    "Bought",
    "Cell",
    "Choice",
    "Comparison",
    "Contrast",
    "Label",
    "Metric",
    "Needed",
    "OverDepth",
    "Plan",
    "Tuned",
    "best_against_best",
    "bought",
    "by",
    "by_depth",
    "cells",
    "chosen",
    "compared",
    "difference",
    "errors",
    "groups",
    "known",
    "over_depth",
    "pairs",
    "plan",
    "resolution",
    "summary",
    "tuned",
    "value",
]
