"""Results -> comparisons of the arms of each cell. Numbers only; `resexp.tables` formats them.

compare_results(results, metric, at)  everything that `resexp compare` and the report print
cells(results, metric)                each arm and its plain counterpart, paired by seed
effect(plain, residual)               effect of the shortcut on a pair, as far as the evidence shows
tuned(results, keys, metric)          both arms at one setting, and each at its best
depth_trends(results)                 does training error rise with depth, and how much of the rise does the shortcut remove?
"""

from resexp.comparison.cells import Arm, Cell, Contrast, Ranks, cells
from resexp.comparison.depths import DepthTrend, by_depth, depth_trends, errors
from resexp.comparison.effects import Effect, Part, effect, part
from resexp.comparison.gradients import THRESHOLD, Flow, flow, growth
from resexp.comparison.groups import Label, difference, groups, order_by, seed_pairs, summary, value
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
from resexp.comparison.weight_gradients import LayerGradients, LayerLog, Moment, layer_gradients, layer_logs

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
    "LayerGradients",
    "LayerLog",
    "Metric",
    "Moment",
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
    "layer_gradients",
    "layer_logs",
    "order_by",
    "pairing_gain",
    "part",
    "resolution",
    "seed_budget",
    "seed_pairs",
    "select_metric",
    "summary",
    "tuned",
    "value",
]
