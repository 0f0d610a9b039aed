"""Degradation verdicts on curves that were evaluated by hand, and the reduction by a shortcut."""

import math

import numpy as np
import pytest
from scipy import stats

from resexp.inference import DegradationVerdict, degradation, degradation_reduction, paired_difference

DEGRADES, DOES_NOT, INCONCLUSIVE = (
    DegradationVerdict.DEGRADES,
    DegradationVerdict.DOES_NOT_DEGRADE,
    DegradationVerdict.INCONCLUSIVE,
)

FLAT = [[0.05, 0.051, 0.05], [0.051, 0.049, 0.052], [0.049, 0.05, 0.049]]
RISES = [[0.05, 0.10, 0.30], [0.06, 0.12, 0.28], [0.05, 0.11, 0.31]]
TEXTBOOK = [[0.118, 0.098, 0.600], [0.119, 0.101, 0.602], [0.120, 0.100, 0.603], [0.121, 0.099, 0.601], [0.122, 0.102, 0.605]]
FALLS_THEN_RISES = [[0.30, 0.10, 0.20], [0.31, 0.11, 0.22], [0.32, 0.12, 0.21]]  # not above the shallowest, but above the best
PEAK_INSIDE = [[0.05, 0.90, 0.10], [0.05, 0.90, 0.11], [0.05, 0.90, 0.10]]
UNEVEN = [[0.05, 0.06, 0.07], [0.05, 0.06, 0.90], [0.05, 0.06, 0.07]]
ENDS = [[row[0], row[-1]] for row in RISES]
COLLAPSES = [[0.05, 0.06, 0.07], [0.05, 0.06, 0.90], [0.05, 0.06, 0.90], [0.05, 0.06, 0.07]]  # p = 1/81
LITTLE = [[0.0, 0.012], [0.0, 0.020], [0.0, 0.022], [0.0, 0.034]]  # two depths: mean 0.022, 95% CI from 0.0075 to 0.0365
BY_A_SIXTEENTH = [[0.25, 0.3125], [0.5, 0.5625], [0.125, 0.1875]]
DIVERGED = [[0.1, math.inf]] * 5


def errors(rows):
    """depth (8, 16, ...) -> seed -> error, from one row per seed."""
    return {8 * 2**index: {seed: row[index] for seed, row in enumerate(rows)} for index in range(len(rows[0]))}


def test_a_verdict_contains_the_compared_depths_and_their_difference():
    result = degradation(dict(reversed(errors(RISES).items())), 0.01)

    assert (result.depths, result.n, result.verdict) == ((8, 16, 32), 3, DEGRADES)
    assert result.best == {0: 8, 1: 8, 2: 8}
    assert result.contrast == paired_difference([row[2] - row[0] for row in RISES])
    assert result.most == max(paired_difference([row[2] - row[index] for row in RISES]).high for index in (0, 1))
    assert result.rank_p == pytest.approx(1 / 27, rel=1e-12)


def test_an_error_that_falls_and_then_rises_is_compared_with_its_lowest_depth():
    result = degradation(errors(TEXTBOOK), 0.01)

    assert result.verdict == DEGRADES
    assert result.contrast == paired_difference([row[2] - row[1] for row in TEXTBOOK])
    assert result.contrast.mean == pytest.approx(0.5022)


def test_a_seed_is_compared_at_the_depth_that_the_other_half_of_the_seeds_selects():
    rows = [[0.1, 0.2, 0.5], [0.1, 0.2, 0.5], [0.4, 0.3, 0.5], [0.4, 0.3, 0.5]]
    result = degradation(errors(rows), 0.01)

    assert result.best == {0: 16, 1: 16, 2: 8, 3: 8}
    assert result.contrast.mean == pytest.approx(0.2)
    assert result.contrast.sd == pytest.approx(np.std([0.3, 0.3, 0.1, 0.1], ddof=1))


@pytest.mark.parametrize(
    ("rows", "margin", "mixed", "verdict"),
    [
        pytest.param(FLAT, 0.01, (), DOES_NOT, id="flat"),
        pytest.param([row[::-1] for row in RISES], 0.01, (), DOES_NOT, id="falls with depth"),
        pytest.param(RISES, 0.5, (), DOES_NOT, id="a rise smaller than the margin"),
        pytest.param(RISES, 0.01, (), DEGRADES, id="rises"),
        pytest.param(FALLS_THEN_RISES, 0.01, (), DEGRADES, id="above the best, below the shallowest"),
        pytest.param(PEAK_INSIDE, 0.01, (), DEGRADES, id="even higher in between"),
        pytest.param(UNEVEN, 0.01, (), INCONCLUSIVE, id="the interval includes 0"),
        pytest.param([range(13)] * 3, 0.01, (), DEGRADES, id="any number of depths"),
        pytest.param(ENDS, 0.01, (), DEGRADES, id="two depths"),
        pytest.param(RISES[:1], 0.01, (), INCONCLUSIVE, id="one seed has no interval"),
        pytest.param(FLAT[:1], 0.01, (), INCONCLUSIVE, id="one seed, flat"),
        pytest.param(BY_A_SIXTEENTH, 0.0625, (), DEGRADES, id="equal to the margin is not below it"),
        pytest.param(BY_A_SIXTEENTH, 0.07, (), DOES_NOT, id="below the margin, without spread"),
        pytest.param(LITTLE, 0.03, (), INCONCLUSIVE, id="interval above 0 and across the margin, mean below it"),
        pytest.param([[0.0, 0.0]] * 3, 0.0, (), INCONCLUSIVE, id="zero, and a margin of zero"),
        pytest.param([[0.0, 0.0]] * 3, 0.01, (), DOES_NOT, id="no error at all"),
        pytest.param(COLLAPSES, 0.01, (32,), DEGRADES, id="mixed at the deepest depth: ranks decide"),
        pytest.param(COLLAPSES[:3], 0.01, (32,), INCONCLUSIVE, id="mixed, three seeds: p = 1/27"),
        pytest.param(COLLAPSES, 0.9, (32,), INCONCLUSIVE, id="mixed, the median rises by less than the margin"),
        pytest.param(COLLAPSES, 0.01, (8, 32), DEGRADES, id="mixed at both ends"),
        pytest.param(FLAT, 0.01, (32,), INCONCLUSIVE, id="mixed: a rise is not excluded"),
        pytest.param(RISES, 0.01, (16,), DEGRADES, id="mixed at a depth that is not the best: the interval decides"),
        pytest.param(FLAT, 0.01, (8,), INCONCLUSIVE, id="mixed at the best depth: ranks decide"),
        pytest.param([*ENDS, *ENDS[:2]], 0.01, (32,), DEGRADES, id="two depths without an interval, five seeds: p = 1/32"),
        pytest.param(DIVERGED, 0.01, (), DEGRADES, id="all diverged at the deepest, five seeds: p = 1/32"),
        pytest.param(DIVERGED[:4], 0.01, (), INCONCLUSIVE, id="all diverged at the deepest, four seeds: p = 1/16"),
        pytest.param([[math.inf, math.inf]] * 5, 0.01, (), INCONCLUSIVE, id="all diverged everywhere"),
        pytest.param([[0.1, math.inf, 0.1]] * 5, 0.01, (), DOES_NOT, id="all diverged at a depth in between"),
    ],
)
def test_the_verdict(rows, margin, mixed, verdict):
    result = degradation(errors(rows), margin, [depth if depth in errors(rows) else 16 for depth in mixed])

    assert result.verdict == verdict


@pytest.mark.parametrize("mixed", [(8,), (16,), (32,)])
def test_there_is_no_interval_if_a_compared_depth_is_mixed(mixed):
    assert (degradation(errors(RISES), 0.01, mixed).contrast is None) == (mixed != (16,))


def test_does_not_degrade_requires_that_no_rise_above_a_shallower_depth_reaches_the_margin():
    rows = [
        [0.05, 0.05 + difference, 0.05] for difference in (-0.03, 0.03, -0.02, 0.02)
    ]  # the middle depth may be better by 4 points
    result = degradation(errors(rows), 0.01)

    assert set(result.best.values()) == {8}
    assert result.contrast.high == pytest.approx(0.0)
    assert result.most == pytest.approx(paired_difference([0.03, -0.03, 0.02, -0.02]).high)
    assert result.verdict == INCONCLUSIVE


def test_a_seed_that_is_missing_at_one_depth_is_left_out():
    complete = degradation(errors(RISES), 0.01)
    incomplete = errors([*RISES, [0.9, 0.5, 0.1]])
    del incomplete[16][3]

    assert degradation(incomplete, 0.01) == complete


@pytest.mark.parametrize(
    "curve",
    [{}, {8: {0: 0.1, 1: 0.2}}, {8: {0: 0.1}, 16: {1: 0.2}}, {8: {}, 16: {}}],
    ids=["no depth", "one depth", "no common seed", "no seed"],
)
def test_a_verdict_requires_two_depths_with_a_common_seed(curve):
    assert degradation(curve, 0.01) is None


@pytest.mark.parametrize("depths", [2, 3, 6])
def test_the_false_positive_rate_of_flat_curves_is_at_most_5_percent(depths):
    draws = np.random.default_rng(31).normal(0.5, 0.05, (1500, 5, depths))
    false_positives = [degradation(errors(rows), 0.01).verdict == DEGRADES for rows in draws.tolist()]

    assert np.mean(false_positives) <= 0.05


def test_the_reduction_is_the_rise_of_plain_minus_the_rise_of_the_residual_arm():
    plain = errors([[0.25, 0.9, 0.75], [0.25, 0.9, 1.0], [0.5, 0.9, 1.0]])  # by 1/2, 3/4, 1/2
    residual = errors([[0.25, 0.1, 0.25], [0.25, 0.1, 0.5], [0.25, 0.1, 0.5]])  # by 0, 1/4, 1/4

    reduction = degradation_reduction(plain, residual)

    assert reduction == paired_difference([0.5, 0.5, 0.25])
    assert reduction.mean == pytest.approx(5 / 12, rel=1e-12)
    assert reduction.half == pytest.approx(stats.t.ppf(0.975, 2) / 12, rel=1e-9)  # sd = sqrt(3) / 12


def test_the_reduction_uses_the_depths_and_seeds_of_both_arms():
    plain, residual = errors([[0.25, 0.5, 0.75]] * 3), errors([[0.25, 0.25, 0.25]] * 3)
    plain[64], residual[4] = {0: 0.9, 1: 0.9, 2: 0.9}, {0: 0.9, 1: 0.9, 2: 0.9}
    del plain[8][1], residual[32][2]
    del plain[16]

    assert degradation_reduction(plain, residual) == paired_difference([0.5])


@pytest.mark.parametrize(
    ("plain", "residual"),
    [
        pytest.param(errors(RISES), {}, id="one arm"),
        pytest.param(errors(RISES), {8: {0: 0.1}, 64: {0: 0.1}}, id="one depth"),
        pytest.param(errors(RISES), {8: {7: 0.1}, 16: {7: 0.1}}, id="no common seed"),
        pytest.param(errors([*RISES, [0.1, 0.2, math.inf]]), errors([[0.1, 0.1, 0.1]] * 4), id="one diverged"),
        pytest.param(errors([[math.inf] * 3] * 3), errors(RISES), id="all diverged"),
    ],
)
def test_there_is_no_reduction_without_two_common_depths_and_finite_errors(plain, residual):
    assert degradation_reduction(plain, residual) is None
