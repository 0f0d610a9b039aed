"""Results -> comparisons of the arms of each cell. Numbers only; `resexp.tables` formats them.

compare_results(results, metric, at)  everything that `resexp compare` and the report print
cells(results, metric)                each arm and its plain counterpart, paired by seed
effect(plain, residual)               effect of the shortcut on a pair, as far as the evidence shows
tuned(results, keys, metric)          both arms at one setting, and each at its best
trainability(results)                 which quantities at initialization predict training accuracy?
rate_transfers(results)               does the best learning rate depend on depth?
depth_trends(results)                 does training error rise with depth, and how much of the rise does the shortcut remove?
"""

from resexp.comparison.cells import Arm, Cell, Contrast, cells
from resexp.comparison.collapse import COLLAPSE, Inputs, inputs, mean_distance
from resexp.comparison.depths import DepthTrend, by_depth, depth_trends, errors
from resexp.comparison.effects import Effect, Part, effect, part
from resexp.comparison.gradients import THRESHOLD, Flow, flow, growth, mean_growth
from resexp.comparison.groups import Label, column_names, groups, order_by, seed_pairs, summary, value
from resexp.comparison.guesses import CHOICES, GuessedQuestion, Question, guessed_questions, questions
from resexp.comparison.learning_rates import RateTransfer, rate_transfers
from resexp.comparison.metrics import Metric, find_metric, resolution, select_metric
from resexp.comparison.overall import (
    Comparison,
    SeedBudget,
    SeedEstimate,
    compare_results,
    compare_table,
    pairing_gain,
    seed_budget,
)
from resexp.comparison.trainability import PREDICTORS, trainability
from resexp.comparison.tuning import EACH_AT_BEST, Choice, TunedComparison, best_settings, tuned
from resexp.comparison.weight_gradients import LayerGradients, LayerLog, Moment, layer_gradients, layer_logs
