"""Exact rank tests and p-values of a difference, checked against scipy and against enumeration."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resexp import inference

# ---- Mann-Whitney -----------------------------------------------------------------------------------------------------------


def enumerated(first: list[float], second: list[float]) -> tuple[float, float]:
    """(p-value, smallest attainable p-value) by enumeration of all splits of the pooled midranks."""
    ranks = stats.rankdata([*first, *second])
    n, mean = len(first), len(first) * (len(ranks) + 1) / 2
    distances = [abs(sum(ranks[list(split)]) - mean) for split in itertools.combinations(range(len(ranks)), n)]
    observed = abs(sum(ranks[:n]) - mean)
    return tuple(float(np.mean([distance >= limit - 1e-9 for distance in distances])) for limit in (observed, max(distances)))


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3), (3, 3), (4, 6), (5, 5), (10, 8), (42, 42)])
def test_without_ties_the_rank_test_equals_the_exact_test_of_scipy(m: int, n: int):
    generator = np.random.default_rng(m * 100 + n)
    for _ in range(5):
        first, second = generator.normal(0, 1, m).tolist(), generator.normal(0.8, 1, n).tolist()
        expected = stats.mannwhitneyu(first, second, method="exact").pvalue

        assert inference.mann_whitney(first, second) == pytest.approx(expected)
        assert inference.smallest_mann_whitney(first, second) == pytest.approx(min(1, 2 / math.comb(m + n, m)))


@given(
    st.lists(st.integers(0, 3).map(float), min_size=1, max_size=5),
    st.lists(st.integers(0, 3).map(float), min_size=1, max_size=5),
)
def test_with_ties_the_rank_test_equals_the_enumeration_of_all_splits(first: list[float], second: list[float]):
    p, smallest = enumerated(first, second)

    assert inference.mann_whitney(first, second) == pytest.approx(p)
    assert inference.mann_whitney(second, first) == pytest.approx(p)
    assert inference.smallest_mann_whitney(first, second) == pytest.approx(smallest)


def test_a_diverged_network_ranks_last():
    assert inference.mann_whitney([-math.inf] * 5, [0.1, 0.2, 0.3, 0.4, 0.5]) == 2 / math.comb(10, 5)
    assert inference.mann_whitney([-math.inf] * 3, [-math.inf] * 3) == 1.0


def test_the_rank_test_of_many_networks_equals_a_permutation_test():
    first, second = [*range(40)], [*range(20, 60)]
    expected = stats.permutation_test(
        (first, second), lambda a, b, axis: stats.rankdata(np.concatenate([a, b], axis), axis=axis)[..., :40].sum(axis),
        n_resamples=20_000, vectorized=True, rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip

    assert inference.mann_whitney(first, second) == pytest.approx(expected, abs=3e-4)


# ---- seeds and test images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5, 10])
def test_over_seeds_only_the_p_value_and_interval_are_those_of_students_t_test(n: int):
    differences = np.random.default_rng(n).normal(0.01, 0.01, n)
    expected = stats.ttest_1samp(differences, 0)
    source = (float(differences.std(ddof=1)) / math.sqrt(n), n)
    low, high = expected.confidence_interval(0.95)

    assert inference.p_of_mean(differences.mean(), source) == pytest.approx(expected.pvalue)
    assert inference.half_width(source, None) == pytest.approx((high - low) / 2)
    assert inference.p_below(float(differences.mean()), float(differences.std(ddof=1)), n) == pytest.approx(
        stats.ttest_1samp(differences, 0, alternative="less").pvalue
    )


def test_half_widths_are_combined_as_the_root_of_the_sum_of_squares():
    seeds, images = (0.01, 5), (0.02, 359)
    expected = math.hypot(0.01 * stats.t.ppf(0.975, 4), 0.02 * stats.t.ppf(0.975, 358))

    assert inference.half_width(seeds, images) == pytest.approx(expected)
    assert inference.p_of_mean(expected, seeds, images) == pytest.approx(0.05)
    assert inference.p_of_mean(-0.9 * expected, seeds, images) > 0.05 > inference.p_of_mean(1.1 * expected, seeds, images)


def test_an_interval_that_excludes_0_over_seeds_can_include_0_over_seeds_and_images():
    # +0.8 [+0.2, +1.4] points over 5 seeds; +-0.67 over 359 test images
    seeds = 0.6 / stats.t.ppf(0.975, 4), 5
    images = 0.67 / stats.t.ppf(0.975, 358), 359

    assert inference.p_of_mean(0.8, seeds) < 0.05
    assert 0.8 - inference.half_width(seeds, images) == pytest.approx(-0.1, abs=0.005)
    assert inference.p_of_mean(0.8, seeds, images) > 0.05


@given(st.floats(1e-6, 10), st.floats(0, 1), st.floats(0, 1))
def test_a_second_source_of_uncertainty_never_lowers_the_p_value(mean: float, seeds: float, images: float):
    both = inference.p_of_mean(mean, (seeds, 5), (images, 100))

    assert 0 <= both <= 1
    assert both >= inference.p_of_mean(mean, (seeds, 5)) * (1 - 1e-9)
    assert both >= inference.p_of_mean(mean, (images, 100)) * (1 - 1e-9)


@pytest.mark.parametrize(("mean", "p"), [(0.0, 1.0), (0.1, 0.0), (-0.1, 0.0)])
def test_equal_differences_have_a_p_value_of_0_unless_they_are_0(mean: float, p: float):
    assert inference.p_of_mean(mean, (0.0, 5)) == p
    assert inference.p_below(mean, 0.0, 5) == (0.0 if mean < 0 else 1.0)


@pytest.mark.parametrize("digits", [1, 6], ids=["ties", "no ties"])
def test_for_many_values_the_rank_test_equals_the_normal_approximation_of_scipy(digits):
    draws = np.random.default_rng(3)
    first, second = (draws.normal(mean, 1, 61).round(digits).tolist() for mean in (0.0, 0.4))
    expected = stats.mannwhitneyu(first, second, method="asymptotic", use_continuity=False).pvalue

    assert inference.mann_whitney(first, second) == pytest.approx(expected, rel=1e-12)
    assert inference.smallest_mann_whitney(first, second) == 0
