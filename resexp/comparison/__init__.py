"""Runs -> comparisons: what the arms of each cell are worth, beside each other. Numbers only; text is made of them in tables.

compared(results, metric, at)        all of it, as `resexp compare` and the report print it
cells(results, metric)               every arm next to its plain counterpart, paired over seeds
effect(plain, residual)              what the shortcut did to a pair, as far as there is evidence
tuned(results, keys, metric)         both arms at one setting, and each at its best
over_depth(results)                  does training error rise with depth, and how much of it does the shortcut remove?
"""

from resexp.comparison.cells import Arm, Cell, Contrast, Ranks, cells
from resexp.comparison.depths import OverDepth, by_depth, errors, over_depth
from resexp.comparison.effects import Effect, Part, effect, part
from resexp.comparison.gradients import THRESHOLD, Flow, flow, growth
from resexp.comparison.groups import Label, by, difference, groups, pairs, summary, value
from resexp.comparison.metrics import METRICS, Metric, chosen, known, resolution
from resexp.comparison.overall import Comparison, Needed, PairingGain, SeedBudget, compare_results, pairing_gain, seed_budget
from resexp.comparison.tuning import ALIKE, BEST, Choice, Tuned, best_settings, tuned

__all__ = [
    "ALIKE",
    "BEST",
    "METRICS",
    "THRESHOLD",
    "Arm",
    "Cell",
    "Choice",
    "Comparison",
    "Contrast",
    "Effect",
    "Flow",
    "Label",
    "Metric",
    "Needed",
    "OverDepth",
    "PairingGain",
    "Part",
    "Ranks",
    "SeedBudget",
    "Tuned",
    "best_settings",
    "by",
    "by_depth",
    "cells",
    "chosen",
    "compare_results",
    "difference",
    "effect",
    "errors",
    "flow",
    "groups",
    "growth",
    "known",
    "over_depth",
    "pairing_gain",
    "pairs",
    "part",
    "resolution",
    "seed_budget",
    "summary",
    "tuned",
    "value",
]
