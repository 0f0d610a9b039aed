"""Runs -> comparisons: what the arms of each cell are worth, beside each other. Numbers only; text is made of them in tables.

compared(results, metric, at)        all of it, as `resexp compare` and the report print it
cells(results, metric)               every arm next to its plain counterpart, paired over seeds
effect(plain, residual)              what the shortcut did to a pair, as far as there is evidence
tuned(results, keys, metric)         both arms at one setting, and each at its best
depth_trends(results)                  does training error rise with depth, and how much of it does the shortcut remove?
"""

from resexp.comparison.cells import Arm, Cell, Contrast, Ranks, cells
from resexp.comparison.depths import DepthTrend, by_depth, depth_trends, errors
from resexp.comparison.effects import Effect, Part, effect, part
from resexp.comparison.gradients import THRESHOLD, Flow, flow, growth
from resexp.comparison.groups import Label, difference, groups, order_by, pairs, summary, value
from resexp.comparison.metrics import METRICS, Metric, find_metric, resolution, select_metric
from resexp.comparison.overall import (
    Comparison,
    PairingGain,
    SeedBudget,
    SeedEstimate,
    compare_results,
    pairing_gain,
    seed_budget,
)
from resexp.comparison.tuning import ALL_ELSE_EQUAL, EACH_AT_BEST, Choice, TunedComparison, best_settings, tuned

__all__ = [
    "ALL_ELSE_EQUAL",
    "EACH_AT_BEST",
    "METRICS",
    "THRESHOLD",
    "Arm",
    "Cell",
    "Choice",
    "Comparison",
    "Contrast",
    "DepthTrend",
    "Effect",
    "Flow",
    "Label",
    "Metric",
    "PairingGain",
    "Part",
    "Ranks",
    "SeedBudget",
    "SeedEstimate",
    "TunedComparison",
    "best_settings",
    "by_depth",
    "cells",
    "compare_results",
    "depth_trends",
    "difference",
    "effect",
    "errors",
    "find_metric",
    "flow",
    "groups",
    "growth",
    "order_by",
    "pairing_gain",
    "pairs",
    "part",
    "resolution",
    "seed_budget",
    "select_metric",
    "summary",
    "tuned",
    "value",
]
