"""What can be said from a few seeds, against scipy.stats and Python's own statistics."""

import math
import statistics as python_statistics

import numpy as np
import pytest
from scipy import stats

from resexp.statistics import OUTCOMES, deviation, paired, summarise

SAMPLES = {
    "two": [0.1, 0.4],
    "five accuracies": [0.961, 0.958, 0.972, 0.9, 0.967],
    "ties": [0.5, 0.5, 0.25, 0.25],
    "far from zero": [1e6 + 1, 1e6 + 2, 1e6 + 4],
    "many": list(np.random.default_rng(0).normal(size=40)),
}
samples = pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES.keys())


# ---- one seed, and none ---------------------------------------------------------------------------------------------------


def test_a_single_pair_has_a_mean_and_no_interval():
    found = paired([0.25])

    assert (found.mean, found.low, found.high, found.n) == (0.25, None, None, 1)


def test_a_single_trial_has_a_mean_and_no_deviation():
    found = summarise(["trained"], [0.5])

    assert (found.n, found.mean, found.sd, found.median, found.lowest, found.highest) == (1, 0.5, None, 0.5, 0.5, 0.5)


def test_an_arm_without_trials_says_so():
    found = summarise([], [])

    assert (found.n, found.outcomes, found.mean, found.sd, found.median) == (0, {}, None, None, None)


def test_equal_differences_have_an_interval_of_no_width():
    found = paired([0.125] * 5)

    assert (found.mean, found.low, found.high) == (0.125, 0.125, 0.125)


# ---- against scipy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@samples
def test_the_interval_of_paired_differences_is_students(values, level):
    found = paired(values, level)
    low, high = stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))

    assert found.mean == pytest.approx(np.mean(values), rel=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert found.n == len(values)


def test_the_interval_is_that_of_a_paired_t_test_of_both_arms():
    residual, plain = [0.96, 0.97, 0.91, 0.99, 0.95], [0.93, 0.97, 0.95, 0.9, 0.92]
    expected = stats.ttest_rel(residual, plain).confidence_interval(0.95)
    found = paired([r - p for r, p in zip(residual, plain, strict=True)])

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-10)


def test_the_interval_excludes_zero_exactly_when_the_t_test_does():
    for seed in range(50):
        values = np.random.default_rng(seed).normal(0.8, 1, 5)
        found = paired(list(values))

        assert (found.low > 0 or found.high < 0) == (stats.ttest_1samp(values, 0).pvalue < 0.05)


def test_nine_of_ten_intervals_at_level_0_9_contain_the_truth():
    draws = np.random.default_rng(3).normal(0.02, 0.01, (4000, 5))
    inside = [found.low <= 0.02 <= found.high for found in (paired(list(row), 0.9) for row in draws)]

    assert np.mean(inside) == pytest.approx(0.9, abs=4 * math.sqrt(0.9 * 0.1 / 4000))


@samples
def test_the_deviation_divides_by_n_minus_1(values):
    assert deviation(values) == pytest.approx(python_statistics.stdev(values), rel=1e-12)


@samples
def test_a_summary_has_the_mean_deviation_median_and_range_of_its_values(values):
    found = summarise(["trained"] * len(values), values)

    assert found.mean == pytest.approx(python_statistics.fmean(values), rel=1e-12)
    assert found.sd == pytest.approx(python_statistics.stdev(values), rel=1e-12)
    assert found.median == pytest.approx(python_statistics.median(values), rel=1e-15)
    assert (found.lowest, found.highest, found.n) == (min(values), max(values), len(values))


# ---- outcomes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "values", "counts", "mean"),
    [
        pytest.param(["stuck"] * 2, [0.1, 0.3], {"stuck": 2}, 0.2, id="all stuck: a mean"),
        pytest.param(["trained", "stuck"], [0.9, 0.1], {"trained": 1, "stuck": 1}, None, id="mixed: no mean"),
        pytest.param(["diverged", "trained"], [None, 0.9], {"trained": 1, "diverged": 1}, None, id="one diverged: no mean"),
        pytest.param(["diverged"] * 3, [None] * 3, {"diverged": 3}, None, id="all diverged: nothing to average"),
        pytest.param(
            ["diverged", "stuck", "trained", "stuck"],
            [None, 0.1, 0.8, 0.3],
            {"trained": 1, "stuck": 2, "diverged": 1},
            None,
            id="all three",
        ),
    ],
)
def test_trials_that_ended_differently_have_no_mean(outcomes, values, counts, mean):
    found = summarise(outcomes, values)
    present = [value for value in values if value is not None]

    assert found.outcomes == counts
    assert list(found.outcomes) == [name for name in OUTCOMES if name in counts]  # in the order of the words
    assert found.n == len(outcomes)
    assert (found.mean is None, found.sd is None) == (mean is None, mean is None)
    assert found.mean == pytest.approx(mean)
    assert found.median == (python_statistics.median(present) if present else None)
    assert (found.lowest, found.highest) == ((min(present), max(present)) if present else (None, None))
