"""What can be said from a few seeds, against scipy.stats and Python's own statistics."""

import itertools
import math
import statistics as python_statistics

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
    found = paired_difference([0.25])

    assert (found.mean, found.low, found.high, found.n) == (0.25, None, None, 1)


def test_a_single_trial_has_a_mean_and_no_deviation():
    found = summarize(["above_chance"], [0.5])

    assert (found.n, found.mean, found.sd, found.median, found.lowest, found.highest) == (1, 0.5, None, 0.5, 0.5, 0.5)


def test_an_arm_without_trials_says_so():
    found = summarize([], [])

    assert (found.n, found.outcomes, found.mean, found.sd, found.median) == (0, {}, None, None, None)


def test_equal_differences_have_an_interval_of_no_width():
    found = paired_difference([0.125] * 5)

    assert (found.mean, found.low, found.high) == (0.125, 0.125, 0.125)


# ---- against scipy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@samples
def test_the_interval_of_paired_differences_is_students(values, level):
    found = paired_difference(values, level)
    low, high = stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))

    assert found.mean == pytest.approx(np.mean(values), rel=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert found.n == len(values)


def test_the_interval_is_that_of_a_paired_t_test_of_both_arms():
    residual, plain = [0.96, 0.97, 0.91, 0.99, 0.95], [0.93, 0.97, 0.95, 0.9, 0.92]
    expected = stats.ttest_rel(residual, plain).confidence_interval(0.95)
    found = paired_difference([r - p for r, p in zip(residual, plain, strict=True)])

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-10)


def test_the_interval_excludes_zero_exactly_when_the_t_test_does():
    for seed in range(50):
        values = np.random.default_rng(seed).normal(0.8, 1, 5)
        found = paired_difference(list(values))

        assert (found.low > 0 or found.high < 0) == (stats.ttest_1samp(values, 0).pvalue < 0.05)


def test_nine_of_ten_intervals_at_level_0_9_contain_the_truth():
    draws = np.random.default_rng(3).normal(0.02, 0.01, (4000, 5))
    inside = [found.low <= 0.02 <= found.high for found in (paired_difference(list(row), 0.9) for row in draws)]

    assert np.mean(inside) == pytest.approx(0.9, abs=4 * math.sqrt(0.9 * 0.1 / 4000))


@samples
def test_the_deviation_divides_by_n_minus_1(values):
    assert standard_deviation(values) == pytest.approx(python_statistics.stdev(values), rel=1e-12)


@samples
def test_a_summary_has_the_mean_deviation_median_and_range_of_its_values(values):
    found = summarize(["above_chance"] * len(values), values)

    assert found.mean == pytest.approx(python_statistics.fmean(values), rel=1e-12)
    assert found.sd == pytest.approx(python_statistics.stdev(values), rel=1e-12)
    assert found.median == pytest.approx(python_statistics.median(values), rel=1e-15)
    assert (found.lowest, found.highest, found.n) == (min(values), max(values), len(values))


# ---- outcomes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "values", "counts", "mean"),
    [
        pytest.param(["at_chance"] * 2, [0.1, 0.3], {"at_chance": 2}, 0.2, id="all stuck: a mean"),
        pytest.param(["above_chance", "at_chance"], [0.9, 0.1], {"above_chance": 1, "at_chance": 1}, None, id="mixed: no mean"),
        pytest.param(
            ["diverged", "above_chance"], [None, 0.9], {"above_chance": 1, "diverged": 1}, None, id="one diverged: no mean"
        ),
        pytest.param(["diverged"] * 3, [None] * 3, {"diverged": 3}, None, id="all diverged: nothing to average"),
        pytest.param(
            ["diverged", "at_chance", "above_chance", "at_chance"],
            [None, 0.1, 0.8, 0.3],
            {"above_chance": 1, "at_chance": 2, "diverged": 1},
            None,
            id="all three",
        ),
    ],
)
def test_trials_that_ended_differently_have_no_mean(outcomes, values, counts, mean):
    found = summarize(outcomes, values)
    present = [value for value in values if value is not None]

    assert found.outcomes == counts
    assert list(found.outcomes) == [name for name in Outcome if name in counts]  # in the order of the words
    assert found.n == len(outcomes)
    assert (found.mean is None, found.sd is None) == (mean is None, mean is None)
    assert found.mean == pytest.approx(mean)
    assert found.median == (python_statistics.median(present) if present else None)
    assert (found.lowest, found.highest) == ((min(present), max(present)) if present else (None, None))


# ---- sign flips -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0, 0.0], [0.25, -0.25], [0.1, 0.2, -0.3]], ids=str)
def test_differences_without_a_mean_are_no_sign_of_anything(values):
    assert sign_flip(values) == 1.0


def flipped(values):
    """By all 2^n choices of signs, in whole numbers."""
    sums = [sum(s * v for s, v in zip(signs, values, strict=True)) for signs in itertools.product((1, -1), repeat=len(values))]
    return sum(abs(total) >= abs(sum(values)) for total in sums) / len(sums)


@pytest.mark.parametrize("n", range(1, 13))
def test_sign_flips_are_counted_as_brute_force_counts_them(n):
    draws = np.random.default_rng(n)
    for case in range(1000 if n < 6 else 2000 // 2 ** (n - 6)):
        largest = (3, 40, 10**6)[case % 3]  # many ties and zeros, some, hardly any
        values = draws.integers(-largest, largest + 1, n).tolist()

        assert sign_flip(values) == flipped(values)
        assert sign_flip([value / 1000 for value in values]) == flipped(values)  # ties that floats no longer show exactly


def test_sign_flips_are_counted_as_scipy_counts_them():
    values = np.random.default_rng(5).normal(0.5, 1, 9)
    found = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)

    assert sign_flip(values.tolist()) == pytest.approx(found.pvalue, rel=1e-12)


@pytest.mark.parametrize("n", [*range(1, 15), 27, 40])
def test_differences_of_one_sign_have_the_least_p_that_there_is(n):
    values = np.random.default_rng(n).uniform(0.1, 1, n).tolist()

    assert sign_flip(values) == sign_flip([-value for value in values]) == smallest_sign_flip(n) == 2 ** (1 - n)


def test_no_differences_can_show_nothing():
    assert smallest_sign_flip(0) == 1.0


def test_a_sign_flip_test_of_more_than_40_pairs_is_refused():
    with pytest.raises(ValueError, match="more than 40 pairs"):
        sign_flip([1.0] * 41)


# ---- several tests at once --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "corrected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([0.03], [0.03], id="one: as it is"),
        pytest.param([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02], id="4, 3, 2, 1 times, never falling"),
        pytest.param([0.6, 0.7], [1.0, 1.0], id="never above 1"),
        pytest.param([0.02, 0.02, 0.02], [0.06, 0.06, 0.06], id="ties"),
    ],
)
def test_holms_correction_of(p, corrected):
    assert holm(p) == pytest.approx(corrected, rel=1e-12)


def test_holm_rejects_what_the_step_down_rejects():
    draws = np.random.default_rng(11)
    for _ in range(1000):
        p = (draws.random(draws.integers(1, 9)) ** 3).tolist()
        rejected, left = set(), sorted(range(len(p)), key=p.__getitem__)
        while left and p[left[0]] * len(left) <= 0.05:  # the smallest against alpha over the number of tests that are left
            rejected.add(left.pop(0))

        assert {place for place, value in enumerate(holm(p)) if value <= 0.05} == rejected


# ---- outcome counts ---------------------------------------------------------------------------------------------------------


def test_outcome_counts_are_compared_as_by_scipys_fisher_test():
    draws = np.random.default_rng(7)
    for _ in range(1000):
        m, n = draws.integers(0, 16, 2).tolist()
        a, b = draws.integers(0, m + 1), draws.integers(0, n + 1)

        assert fisher_exact((int(a), m), (int(b), n)) == pytest.approx(
            stats.fisher_exact([[a, m - a], [b, n - b]]).pvalue, abs=1e-12
        )


# ---- ranks of the deepest depth ---------------------------------------------------------------------------------------------


def by_all_orders(table):
    """By every order of every row, with scipy's middle ranks."""
    ranks = stats.rankdata(table, axis=1)
    sums = [0.0]
    for row in ranks:
        sums = np.add.outer(sums, [order[-1] for order in itertools.permutations(row)]).ravel()
    return np.mean(np.asarray(sums) >= ranks[:, -1].sum())


@pytest.mark.parametrize(("seeds", "depths"), [(1, 2), (4, 2), (10, 2), (1, 5), (3, 3), (5, 3), (2, 4), (3, 4)])
def test_the_rank_test_counts_what_all_orders_count(seeds, depths):
    draws = np.random.default_rng(seeds * depths)
    for _ in range(100 if seeds < 10 and depths < 5 and seeds * depths < 12 else 10):
        table = draws.integers(0, 4, (seeds, depths)).tolist()

        assert highest_last(table) == by_all_orders(table)  # ranks are halves, so both count exactly


def test_over_two_depths_the_rank_test_is_a_sign_test():
    draws = np.random.default_rng(2)
    for _ in range(300):
        table = draws.normal(size=(7, 2))
        rises = int((table[:, 1] > table[:, 0]).sum())

        assert highest_last(table.tolist()) == pytest.approx(stats.binomtest(rises, 7, alternative="greater").pvalue, rel=1e-12)


def test_the_rank_test_asks_for_the_order_of_the_values_alone():
    table = [[0.1, 0.2, 0.7], [0.3, 0.2, 0.9]]

    assert highest_last([[math.exp(9 * value) for value in row] for row in table]) == highest_last(table)
    assert highest_last([[0.1, 0.2, math.inf], [0.3, 0.2, math.inf]]) == highest_last(table)  # diverged is above all others
    assert highest_last([[0.2, 0.1, 0.7], [0.2, 0.3, 0.9]]) == highest_last(table)  # whatever the shallower ones do
    assert highest_last([[5, 5, 5]] * 4) == 1.0


def test_the_smallest_p_of_the_rank_test_is_one_order_of_all():
    assert highest_last([range(20)] * 8) == pytest.approx(20.0**-8, rel=1e-12)


# ---- selecting on other seeds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "options"),
    [
        pytest.param([[3, 1, 2]] * 4, [1, 1, 1, 1], id="both halves agree"),
        pytest.param([[1, 2], [1, 2], [2, 1], [2, 1]], [1, 1, 0, 0], id="each half reports on what the other selects"),
        pytest.param([[1, 2], [2, 1], [2, 1]], [1, 0, 0], id="of three seeds one and two"),
        pytest.param([[1, 2], [2, 1]], [1, 0], id="of two seeds one each"),
        pytest.param([[2, 1]], [1], id="one seed selects for itself"),
        pytest.param([[1, 1], [1, 1]], [0, 0], id="ties: the first"),
        pytest.param([[math.inf, 9], [0, 9]], [0, 1], id="what failed at a seed is not selected by it"),
        pytest.param([[1, 5], [1, 1], [0, 0], [0, 0]], [0, 0, 0, 0], id="by the mean"),
    ],
)
def test_no_seed_reports_on_what_it_selected(costs, options):
    assert cross_fitted(costs) == options


def test_a_selected_value_has_no_winners_curse():
    draws = np.random.default_rng(5).normal(size=(2000, 5, 12))
    picked = [[row[option] for row, option in zip(rows, cross_fitted(rows), strict=True)] for rows in draws.tolist()]

    assert np.mean(picked) == pytest.approx(0, abs=4 / math.sqrt(2000 * 5))
    assert draws.mean(1).min(1).mean() < -0.6  # of the same seeds: 1.63 sd / sqrt(5) too low


# ---- what pairing bought, and what more seeds would -------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2])
def test_of_fewer_than_3_pairs_no_correlation_is_told(n):
    assert pairing([0.1, 0.4][:n], [0.2, 0.3][:n]) is None


def test_the_interval_of_1000_random_samples_is_students():
    draws = np.random.default_rng(21)
    for _ in range(1000):
        values = draws.normal(draws.normal(), draws.exponential(), draws.integers(2, 11))
        found = paired_difference(values.tolist())
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))

        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12, abs=1e-12)
        assert found.half == pytest.approx((high - low) / 2, rel=1e-12, abs=1e-12)
        assert found.sd == pytest.approx(values.std(ddof=1), rel=1e-12)


def test_pairing_has_pearsons_correlation_and_both_deviations():
    draws = np.random.default_rng(22)
    for _ in range(1000):
        n = draws.integers(3, 11)
        plain, residual = draws.normal(size=(2, n)) + draws.normal() * draws.normal(size=n)  # the second part is shared
        found = pairing(plain.tolist(), residual.tolist())

        assert found.correlation == pytest.approx(stats.pearsonr(plain, residual).statistic, abs=1e-12)
        assert found.paired == pytest.approx((residual - plain).std(ddof=1), rel=1e-12)
        assert found.unpaired == pytest.approx(math.sqrt(plain.var(ddof=1) + residual.var(ddof=1)), rel=1e-12)
        assert found.n == len(plain)


def test_deviations_with_and_without_pairs_agree_with_the_correlation():
    plain, residual = [0.9, 0.93, 0.97, 0.94], [0.92, 0.95, 0.96, 0.97]
    found = pairing(plain, residual)
    shared = 2 * found.correlation * standard_deviation(plain) * standard_deviation(residual)

    assert found.paired**2 == pytest.approx(found.unpaired**2 - shared, rel=1e-12)


@pytest.mark.parametrize("n", range(3, 41))
@pytest.mark.parametrize("value", [0.1, 0.9, 360 / 1437, 0.0972])
def test_an_arm_of_equal_values_deviates_by_exactly_0_and_correlates_with_nothing(value, n):
    found = pairing([value] * n, [value + place for place in range(n)])

    assert standard_deviation([value] * n) == 0
    assert found.correlation is None
    assert found.paired == pytest.approx(found.unpaired, rel=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_seeds_for_an_interval_are_enough_and_one_fewer_is_not(level):
    draws = np.random.default_rng(23)
    for _ in range(500):
        sd, half = draws.lognormal(-4, 1), draws.lognormal(-5, 1)
        n = seeds_for(sd, half, level)
        halves = [stats.t.ppf((1 + level) / 2, of - 1) * sd / math.sqrt(of) for of in (n, max(n - 1, 2))]

        assert halves[0] <= half
        assert n == 2 or halves[1] > half


@pytest.mark.parametrize(
    ("sd", "half", "n"),
    [
        pytest.param(0.0, 0.01, 2, id="nothing deviates: a deviation takes two"),
        pytest.param(0.0, 0.0, 2, id="no width, and nothing deviates"),
        pytest.param(1.0, 0.01, 38_418, id="z^2 sd^2 / half^2, and t is hardly wider"),
        pytest.param(1.0, 0.00196, 999_966, id="just below a million"),
        pytest.param(1.0, 0.0019, None, id="beyond a million"),
        pytest.param(1.0, 0.0, None, id="no width at all"),
    ],
)
def test_how_many_seeds_it_takes(sd, half, n):
    assert seeds_for(sd, half) == n


def test_the_interval_of_a_deviation_is_scipys_chi_square():
    for n, sd in ((2, 0.5), (5, 1.0), (40, 3.0)):
        low, high = (sd * math.sqrt((n - 1) / stats.chi2.ppf(tail, n - 1)) for tail in (0.975, 0.025))

        assert sd_interval(sd, n) == pytest.approx((low, high), rel=1e-9)
    assert sd_interval(0.0, 5) == (0.0, 0.0)


@pytest.mark.parametrize("looks", COVERAGE_OF_LOOKS)
def test_coverage_after_several_looks_is_what_a_simulation_gives(looks):
    values = np.random.default_rng(looks).normal(size=(20_000, 5 * 2 ** (looks - 1)))
    seen = [values[:, : 5 * 2**look] for look in range(looks)]
    intervals = [stats.t.interval(0.95, of.shape[1] - 1, of.mean(1), stats.sem(of, axis=1)) for of in seen]
    missed = np.any([(low > 0) | (high < 0) for low, high in intervals], axis=0).mean()

    assert COVERAGE_OF_LOOKS[looks] == pytest.approx(1 - missed, abs=0.012)


def test_over_images_it_is_the_interval_of_the_mean_of_each_image():
    differences = np.random.default_rng(24).integers(-1, 2, (5, 200))
    each = [sum(differences[seed, image] for seed in range(5)) / 5 for image in range(200)]
    low, high = stats.t.interval(0.95, 199, np.mean(each), stats.sem(each))

    assert image_half_width(differences) == pytest.approx((high - low) / 2, rel=1e-12)
