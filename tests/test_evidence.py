"""Exact rank tests, and how strong the evidence for a difference is: against scipy, and against counting every case."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resexp import inference

# ---- Mann-Whitney -----------------------------------------------------------------------------------------------------------


def counted(first: list[float], second: list[float]) -> tuple[float, float]:
    """(p, smallest p) by writing down every split of the pooled midranks."""
    ranks = stats.rankdata([*first, *second])
    n, mean = len(first), len(first) * (len(ranks) + 1) / 2
    distances = [abs(sum(ranks[list(split)]) - mean) for split in itertools.combinations(range(len(ranks)), n)]
    observed = abs(sum(ranks[:n]) - mean)
    return tuple(float(np.mean([of >= limit - 1e-9 for of in distances])) for limit in (observed, max(distances)))


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3), (3, 3), (4, 6), (5, 5), (10, 8), (42, 42)])
def test_without_ties_the_rank_test_is_scipys_exact_one(m: int, n: int):
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
def test_with_ties_the_rank_test_counts_every_split(first: list[float], second: list[float]):
    p, smallest = counted(first, second)

    assert inference.mann_whitney(first, second) == pytest.approx(p)
    assert inference.mann_whitney(second, first) == pytest.approx(p)
    assert inference.smallest_mann_whitney(first, second) == pytest.approx(smallest)


def test_a_diverged_network_ranks_last():
    assert inference.mann_whitney([-math.inf] * 5, [0.1, 0.2, 0.3, 0.4, 0.5]) == 2 / math.comb(10, 5)
    assert inference.mann_whitney([-math.inf] * 3, [-math.inf] * 3) == 1.0


def test_many_networks_are_ranked_exactly():
    first, second = [*range(40)], [*range(20, 60)]
    expected = stats.permutation_test(
        (first, second), lambda a, b, axis: stats.rankdata(np.concatenate([a, b], axis), axis=axis)[..., :40].sum(axis),
        n_resamples=20_000, vectorized=True, rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip

    assert inference.mann_whitney(first, second) == pytest.approx(expected, abs=3e-4)


# ---- seeds and test images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5, 10])
def test_over_seeds_alone_it_is_students_test_and_interval(n: int):
    each = np.random.default_rng(n).normal(0.01, 0.01, n)
    found = stats.ttest_1samp(each, 0)
    source = (float(each.std(ddof=1)) / math.sqrt(n), n)
    low, high = found.confidence_interval(0.95)

    assert inference.p_of_mean(each.mean(), source) == pytest.approx(found.pvalue)
    assert inference.half_width(source, None) == pytest.approx((high - low) / 2)
    assert inference.p_below(float(each.mean()), float(each.std(ddof=1)), n) == pytest.approx(
        stats.ttest_1samp(each, 0, alternative="less").pvalue
    )


def test_the_two_half_widths_are_combined_as_the_root_of_the_sum_of_their_squares():
    seeds, images = (0.01, 5), (0.02, 359)
    expected = math.hypot(0.01 * stats.t.ppf(0.975, 4), 0.02 * stats.t.ppf(0.975, 358))

    assert inference.half_width(seeds, images) == pytest.approx(expected)
    assert inference.p_of_mean(expected, seeds, images) == pytest.approx(0.05)
    assert inference.p_of_mean(-0.9 * expected, seeds, images) > 0.05 > inference.p_of_mean(1.1 * expected, seeds, images)


def test_an_interval_over_seeds_that_excludes_0_may_include_it_once_the_images_count():
    # +0.8 [+0.2, +1.4] points over 5 seeds; 359 test images alone +-0.67
    seeds = 0.6 / stats.t.ppf(0.975, 4), 5
    images = 0.67 / stats.t.ppf(0.975, 358), 359

    assert inference.p_of_mean(0.8, seeds) < 0.05
    assert 0.8 - inference.half_width(seeds, images) == pytest.approx(-0.1, abs=0.005)
    assert inference.p_of_mean(0.8, seeds, images) > 0.05


@given(st.floats(1e-6, 10), st.floats(0, 1), st.floats(0, 1))
def test_a_second_source_of_uncertainty_never_strengthens_the_evidence(mean: float, seeds: float, images: float):
    both = inference.p_of_mean(mean, (seeds, 5), (images, 100))

    assert 0 <= both <= 1
    assert both >= inference.p_of_mean(mean, (seeds, 5)) * (1 - 1e-9)
    assert both >= inference.p_of_mean(mean, (images, 100)) * (1 - 1e-9)


@pytest.mark.parametrize(("mean", "p"), [(0.0, 1.0), (0.1, 0.0), (-0.1, 0.0)])
def test_differences_without_any_spread_leave_no_doubt_but_at_0(mean: float, p: float):
    assert inference.p_of_mean(mean, (0.0, 5)) == p
    assert inference.p_below(mean, 0.0, 5) == (0.0 if mean < 0 else 1.0)


@pytest.mark.parametrize("digits", [1, 6], ids=["ties", "no ties"])
def test_of_more_values_than_are_counted_the_ranks_have_scipys_normal_approximation(digits):
    draws = np.random.default_rng(3)
    first, second = (draws.normal(mean, 1, 61).round(digits).tolist() for mean in (0.0, 0.4))
    expected = stats.mannwhitneyu(first, second, method="asymptotic", use_continuity=False).pvalue

    assert inference.mann_whitney(first, second) == pytest.approx(expected, rel=1e-12)
    assert inference.smallest_mann_whitney(first, second) == 0
