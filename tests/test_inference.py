"""Inference from a few seeds, checked against scipy.stats and the statistics module of Python."""

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from resexp.inference import (
    COVERAGE_OF_LOOKS,
    cross_fitted,
    fisher_exact,
    highest_last,
    holm,
    image_half_width,
    paired_difference,
    pairing,
    sd_interval,
    seeds_for,
    sign_flip,
    smallest_sign_flip,
    standard_deviation,
    summarize,
)
from resexp.runs import Outcome

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
    difference = paired_difference([0.25])

    assert (difference.mean, difference.low, difference.high, difference.n) == (0.25, None, None, 1)


def test_a_single_trial_has_a_mean_and_no_standard_deviation():
    summary = summarize(["above_chance"], [0.5])

    assert (summary.n, summary.mean, summary.sd, summary.median, summary.lowest, summary.highest) == (
        1,
        0.5,
        None,
        0.5,
        0.5,
        0.5,
    )


def test_an_arm_without_trials_has_an_empty_summary():
    summary = summarize([], [])

    assert (summary.n, summary.outcomes, summary.mean, summary.sd, summary.median) == (0, {}, None, None, None)


def test_equal_differences_have_an_interval_of_zero_width():
    difference = paired_difference([0.125] * 5)

    assert (difference.mean, difference.low, difference.high) == (0.125, 0.125, 0.125)


# ---- against scipy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@samples
def test_the_interval_of_paired_differences_is_students_t(values, level):
    difference = paired_difference(values, level)
    low, high = stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))

    assert difference.mean == pytest.approx(np.mean(values), rel=1e-12)
    assert (difference.low, difference.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert difference.n == len(values)


def test_the_interval_is_that_of_a_paired_t_test_of_both_arms():
    residual, plain = [0.96, 0.97, 0.91, 0.99, 0.95], [0.93, 0.97, 0.95, 0.9, 0.92]
    expected = stats.ttest_rel(residual, plain).confidence_interval(0.95)
    difference = paired_difference([r - p for r, p in zip(residual, plain, strict=True)])

    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high), rel=1e-10)


def test_the_interval_excludes_zero_exactly_when_the_t_test_does():
    for seed in range(50):
        values = np.random.default_rng(seed).normal(0.8, 1, 5)
        difference = paired_difference(list(values))

        assert (difference.low > 0 or difference.high < 0) == (stats.ttest_1samp(values, 0).pvalue < 0.05)


def test_nine_of_ten_intervals_at_level_0_9_contain_the_truth():
    draws = np.random.default_rng(3).normal(0.02, 0.01, (4000, 5))
    inside = [difference.low <= 0.02 <= difference.high for difference in (paired_difference(list(row), 0.9) for row in draws)]

    assert np.mean(inside) == pytest.approx(0.9, abs=4 * math.sqrt(0.9 * 0.1 / 4000))


@samples
def test_the_standard_deviation_divides_by_n_minus_1(values):
    assert standard_deviation(values) == pytest.approx(statistics.stdev(values), rel=1e-12)


@samples
def test_a_summary_has_the_mean_sd_median_and_range_of_its_values(values):
    summary = summarize(["above_chance"] * len(values), values)

    assert summary.mean == pytest.approx(statistics.fmean(values), rel=1e-12)
    assert summary.sd == pytest.approx(statistics.stdev(values), rel=1e-12)
    assert summary.median == pytest.approx(statistics.median(values), rel=1e-15)
    assert (summary.lowest, summary.highest, summary.n) == (min(values), max(values), len(values))


# ---- outcomes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "values", "counts", "mean"),
    [
        pytest.param(["at_chance"] * 2, [0.1, 0.3], {"at_chance": 2}, 0.2, id="all at chance: a mean"),
        pytest.param(["above_chance", "at_chance"], [0.9, 0.1], {"above_chance": 1, "at_chance": 1}, None, id="mixed: no mean"),
        pytest.param(
            ["diverged", "above_chance"], [None, 0.9], {"above_chance": 1, "diverged": 1}, None, id="one diverged: no mean"
        ),
        pytest.param(["diverged"] * 3, [None] * 3, {"diverged": 3}, None, id="all diverged: no values"),
        pytest.param(
            ["diverged", "at_chance", "above_chance", "at_chance"],
            [None, 0.1, 0.8, 0.3],
            {"above_chance": 1, "at_chance": 2, "diverged": 1},
            None,
            id="all three",
        ),
    ],
)
def test_trials_with_different_outcomes_have_no_mean(outcomes, values, counts, mean):
    summary = summarize(outcomes, values)
    present = [value for value in values if value is not None]

    assert summary.outcomes == counts
    assert list(summary.outcomes) == [name for name in Outcome if name in counts]  # in the order of the enum
    assert summary.n == len(outcomes)
    assert (summary.mean is None, summary.sd is None) == (mean is None, mean is None)
    assert summary.mean == pytest.approx(mean)
    assert summary.median == (statistics.median(present) if present else None)
    assert (summary.lowest, summary.highest) == ((min(present), max(present)) if present else (None, None))


# ---- sign flips -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0, 0.0], [0.25, -0.25], [0.1, 0.2, -0.3]], ids=str)
def test_differences_with_a_mean_of_zero_have_a_p_value_of_1(values):
    assert sign_flip(values) == 1.0


def flipped(values):
    """P-value by enumeration of all 2^n sign assignments, in integers."""
    sums = [sum(s * v for s, v in zip(signs, values, strict=True)) for signs in itertools.product((1, -1), repeat=len(values))]
    return sum(abs(total) >= abs(sum(values)) for total in sums) / len(sums)


@pytest.mark.parametrize("n", range(1, 13))
def test_the_sign_flip_test_equals_enumeration(n):
    draws = np.random.default_rng(n)
    for case in range(1000 if n < 6 else 2000 // 2 ** (n - 6)):
        largest = (3, 40, 10**6)[case % 3]  # many, some, hardly any ties and zeros
        values = draws.integers(-largest, largest + 1, n).tolist()

        assert sign_flip(values) == flipped(values)
        assert sign_flip([value / 1000 for value in values]) == flipped(values)  # ties that are inexact as floats


def test_the_sign_flip_test_equals_the_permutation_test_of_scipy():
    values = np.random.default_rng(5).normal(0.5, 1, 9)
    expected = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)

    assert sign_flip(values.tolist()) == pytest.approx(expected.pvalue, rel=1e-12)


@pytest.mark.parametrize("n", [*range(1, 15), 27, 40])
def test_differences_of_one_sign_have_the_smallest_attainable_p_value(n):
    values = np.random.default_rng(n).uniform(0.1, 1, n).tolist()

    assert sign_flip(values) == sign_flip([-value for value in values]) == smallest_sign_flip(n) == 2 ** (1 - n)


def test_without_differences_the_smallest_p_value_is_1():
    assert smallest_sign_flip(0) == 1.0


def test_a_sign_flip_test_of_more_than_40_pairs_is_refused():
    with pytest.raises(ValueError, match="41 pairs are too many for an exact sign-flip test; the maximum is 40"):
        sign_flip([1.0] * 41)


# ---- several tests at once --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "corrected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([0.03], [0.03], id="a single one is unchanged"),
        pytest.param([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02], id="times 4, 3, 2, 1, monotone"),
        pytest.param([0.6, 0.7], [1.0, 1.0], id="never above 1"),
        pytest.param([0.02, 0.02, 0.02], [0.06, 0.06, 0.06], id="ties"),
    ],
)
def test_holm_correction(p, corrected):
    assert holm(p) == pytest.approx(corrected, rel=1e-12)


def test_the_holm_correction_rejects_the_same_tests_as_the_step_down_procedure():
    draws = np.random.default_rng(11)
    for _ in range(1000):
        p = (draws.random(draws.integers(1, 9)) ** 3).tolist()
        rejected, remaining = set(), sorted(range(len(p)), key=p.__getitem__)
        while remaining and p[remaining[0]] * len(remaining) <= 0.05:  # the smallest p-value against alpha / remaining tests
            rejected.add(remaining.pop(0))

        assert {index for index, value in enumerate(holm(p)) if value <= 0.05} == rejected


# ---- outcome counts ---------------------------------------------------------------------------------------------------------


def test_fishers_exact_test_equals_that_of_scipy():
    draws = np.random.default_rng(7)
    for _ in range(1000):
        m, n = draws.integers(0, 16, 2).tolist()
        a, b = draws.integers(0, m + 1), draws.integers(0, n + 1)

        assert fisher_exact((int(a), m), (int(b), n)) == pytest.approx(
            stats.fisher_exact([[a, m - a], [b, n - b]]).pvalue, abs=1e-12
        )


# ---- ranks of the deepest depth ---------------------------------------------------------------------------------------------


def by_all_orders(table):
    """P-value by enumeration of all orders of every row, with the average ranks of scipy."""
    ranks = stats.rankdata(table, axis=1)
    sums = [0.0]
    for row in ranks:
        sums = np.add.outer(sums, [order[-1] for order in itertools.permutations(row)]).ravel()
    return np.mean(np.asarray(sums) >= ranks[:, -1].sum())


@pytest.mark.parametrize(("seeds", "depths"), [(1, 2), (4, 2), (10, 2), (1, 5), (3, 3), (5, 3), (2, 4), (3, 4)])
def test_the_rank_test_equals_the_enumeration_of_all_orders(seeds, depths):
    draws = np.random.default_rng(seeds * depths)
    for _ in range(100 if seeds < 10 and depths < 5 and seeds * depths < 12 else 10):
        table = draws.integers(0, 4, (seeds, depths)).tolist()

        assert highest_last(table) == by_all_orders(table)  # ranks are multiples of 1/2, so both are exact


def test_over_two_depths_the_rank_test_is_a_sign_test():
    draws = np.random.default_rng(2)
    for _ in range(300):
        table = draws.normal(size=(7, 2))
        rises = int((table[:, 1] > table[:, 0]).sum())

        assert highest_last(table.tolist()) == pytest.approx(stats.binomtest(rises, 7, alternative="greater").pvalue, rel=1e-12)


def test_the_rank_test_depends_on_the_order_of_the_values_only():
    table = [[0.1, 0.2, 0.7], [0.3, 0.2, 0.9]]

    assert highest_last([[math.exp(9 * value) for value in row] for row in table]) == highest_last(table)
    assert highest_last([[0.1, 0.2, math.inf], [0.3, 0.2, math.inf]]) == highest_last(table)  # diverged is above all others
    assert highest_last([[0.2, 0.1, 0.7], [0.2, 0.3, 0.9]]) == highest_last(
        table
    )  # the order of the shallower depths does not matter
    assert highest_last([[5, 5, 5]] * 4) == 1.0


def test_the_smallest_p_value_of_the_rank_test_is_one_over_the_number_of_orders():
    assert highest_last([range(20)] * 8) == pytest.approx(20.0**-8, rel=1e-12)


# ---- selecting on other seeds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "options"),
    [
        pytest.param([[3, 1, 2]] * 4, [1, 1, 1, 1], id="both halves agree"),
        pytest.param([[1, 2], [1, 2], [2, 1], [2, 1]], [1, 1, 0, 0], id="each half reports on what the other selects"),
        pytest.param([[1, 2], [2, 1], [2, 1]], [1, 0, 0], id="three seeds: halves of one and two"),
        pytest.param([[1, 2], [2, 1]], [1, 0], id="two seeds: one each"),
        pytest.param([[2, 1]], [1], id="a single seed selects for itself"),
        pytest.param([[1, 1], [1, 1]], [0, 0], id="ties: the first"),
        pytest.param([[math.inf, 9], [0, 9]], [0, 1], id="a failed option is not selected"),
        pytest.param([[1, 5], [1, 1], [0, 0], [0, 0]], [0, 0, 0, 0], id="by the mean"),
    ],
)
def test_no_seed_reports_on_an_option_that_it_selected(costs, options):
    assert cross_fitted(costs) == options


def test_a_selected_value_has_no_winners_curse():
    draws = np.random.default_rng(5).normal(size=(2000, 5, 12))
    reported = [[row[option] for row, option in zip(rows, cross_fitted(rows), strict=True)] for rows in draws.tolist()]

    assert np.mean(reported) == pytest.approx(0, abs=4 / math.sqrt(2000 * 5))
    assert draws.mean(1).min(1).mean() < -0.6  # selected on the same seeds: 1.63 SD / sqrt(5) too low


# ---- variance reduction from pairing, and seeds needed -----------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_3_pairs_have_no_correlation(n):
    assert pairing([0.1, 0.4][:n], [0.2, 0.3][:n]) is None


def test_the_interval_of_1000_random_samples_is_students_t():
    draws = np.random.default_rng(21)
    for _ in range(1000):
        values = draws.normal(draws.normal(), draws.exponential(), draws.integers(2, 11))
        difference = paired_difference(values.tolist())
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))

        assert (difference.low, difference.high) == pytest.approx((low, high), rel=1e-12, abs=1e-12)
        assert difference.half == pytest.approx((high - low) / 2, rel=1e-12, abs=1e-12)
        assert difference.sd == pytest.approx(values.std(ddof=1), rel=1e-12)


def test_pairing_has_the_pearson_correlation_and_both_standard_deviations():
    draws = np.random.default_rng(22)
    for _ in range(1000):
        n = draws.integers(3, 11)
        plain, residual = draws.normal(size=(2, n)) + draws.normal() * draws.normal(size=n)  # the second part is shared
        pair = pairing(plain.tolist(), residual.tolist())

        assert pair.correlation == pytest.approx(stats.pearsonr(plain, residual).statistic, abs=1e-12)
        assert pair.paired == pytest.approx((residual - plain).std(ddof=1), rel=1e-12)
        assert pair.unpaired == pytest.approx(math.sqrt(plain.var(ddof=1) + residual.var(ddof=1)), rel=1e-12)
        assert pair.n == len(plain)


def test_paired_and_unpaired_sd_agree_with_the_correlation():
    plain, residual = [0.9, 0.93, 0.97, 0.94], [0.92, 0.95, 0.96, 0.97]
    pair = pairing(plain, residual)
    shared = 2 * pair.correlation * standard_deviation(plain) * standard_deviation(residual)

    assert pair.paired**2 == pytest.approx(pair.unpaired**2 - shared, rel=1e-12)


@pytest.mark.parametrize("n", range(3, 41))
@pytest.mark.parametrize("value", [0.1, 0.9, 360 / 1437, 0.0972])
def test_an_arm_of_equal_values_has_an_sd_of_exactly_0_and_no_correlation(value, n):
    pair = pairing([value] * n, [value + index for index in range(n)])

    assert standard_deviation([value] * n) == 0
    assert pair.correlation is None
    assert pair.paired == pytest.approx(pair.unpaired, rel=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_number_of_seeds_for_a_half_width_is_the_smallest_that_suffices(level):
    draws = np.random.default_rng(23)
    for _ in range(500):
        sd, half = draws.lognormal(-4, 1), draws.lognormal(-5, 1)
        n = seeds_for(sd, half, level)
        halves = [stats.t.ppf((1 + level) / 2, count - 1) * sd / math.sqrt(count) for count in (n, max(n - 1, 2))]

        assert halves[0] <= half
        assert n == 2 or halves[1] > half


@pytest.mark.parametrize(
    ("sd", "half", "n"),
    [
        pytest.param(0.0, 0.01, 2, id="SD of 0: an interval requires two seeds"),
        pytest.param(0.0, 0.0, 2, id="half-width and SD of 0"),
        pytest.param(1.0, 0.01, 38_418, id="z^2 sd^2 / half^2, where t is hardly wider"),
        pytest.param(1.0, 0.00196, 999_966, id="just below a million"),
        pytest.param(1.0, 0.0019, None, id="beyond a million"),
        pytest.param(1.0, 0.0, None, id="half-width of 0"),
    ],
)
def test_the_number_of_seeds_for_a_half_width(sd, half, n):
    assert seeds_for(sd, half) == n


def test_the_interval_of_a_standard_deviation_is_chi_square():
    for n, sd in ((2, 0.5), (5, 1.0), (40, 3.0)):
        low, high = (sd * math.sqrt((n - 1) / stats.chi2.ppf(tail, n - 1)) for tail in (0.975, 0.025))

        assert sd_interval(sd, n) == pytest.approx((low, high), rel=1e-9)
    assert sd_interval(0.0, 5) == (0.0, 0.0)


@pytest.mark.parametrize("looks", COVERAGE_OF_LOOKS)
def test_the_coverage_after_several_looks_agrees_with_a_simulation(looks):
    values = np.random.default_rng(looks).normal(size=(20_000, 5 * 2 ** (looks - 1)))
    by_look = [values[:, : 5 * 2**look] for look in range(looks)]
    intervals = [
        stats.t.interval(0.95, look_values.shape[1] - 1, look_values.mean(1), stats.sem(look_values, axis=1))
        for look_values in by_look
    ]
    missed = np.any([(low > 0) | (high < 0) for low, high in intervals], axis=0).mean()

    assert COVERAGE_OF_LOOKS[looks] == pytest.approx(1 - missed, abs=0.012)


def test_the_half_width_over_images_is_that_of_the_means_of_images():
    differences = np.random.default_rng(24).integers(-1, 2, (5, 200))
    by_image = [sum(differences[seed, image] for seed in range(5)) / 5 for image in range(200)]
    low, high = stats.t.interval(0.95, 199, np.mean(by_image), stats.sem(by_image))

    assert image_half_width(differences) == pytest.approx((high - low) / 2, rel=1e-12)
