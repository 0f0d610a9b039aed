"""Is training error higher at the deepest depth, and does a shortcut remove it: verdicts on curves worked out by hand."""

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
FALLS_THEN_BACK = [[0.30, 0.10, 0.20], [0.31, 0.11, 0.22], [0.32, 0.12, 0.21]]  # not above the shallowest, but above the best
PEAK_INSIDE = [[0.05, 0.90, 0.10], [0.05, 0.90, 0.11], [0.05, 0.90, 0.10]]
UNEVEN = [[0.05, 0.06, 0.07], [0.05, 0.06, 0.90], [0.05, 0.06, 0.07]]
ENDS = [[row[0], row[-1]] for row in RISES]
COLLAPSES = [[0.05, 0.06, 0.07], [0.05, 0.06, 0.90], [0.05, 0.06, 0.90], [0.05, 0.06, 0.07]]  # p = 1/81
LITTLE = [[0.0, 0.012], [0.0, 0.020], [0.0, 0.022], [0.0, 0.034]]  # two depths: mean 0.022, 95% CI from 0.0075 to 0.0365
BY_A_SIXTEENTH = [[0.25, 0.3125], [0.5, 0.5625], [0.125, 0.1875]]
DIVERGED = [[0.1, math.inf]] * 5


def errors(rows):
    """Depth 8, 16, ... -> seed 0, 1, ... -> error, from a row for each seed."""
    return {8 * 2**place: {seed: row[place] for seed, row in enumerate(rows)} for place in range(len(rows[0]))}


def test_a_verdict_has_the_depths_that_it_compares_and_their_difference():
    found = degradation(dict(reversed(errors(RISES).items())), 0.01)

    assert (found.depths, found.n, found.verdict) == ((8, 16, 32), 3, DEGRADES)
    assert found.best == {0: 8, 1: 8, 2: 8}
    assert found.contrast == paired_difference([row[2] - row[0] for row in RISES])
    assert found.most == max(paired_difference([row[2] - row[place] for row in RISES]).high for place in (0, 1))
    assert found.rank_p == pytest.approx(1 / 27, rel=1e-12)


def test_an_error_that_falls_and_then_rises_degrades_against_its_lowest_depth():
    found = degradation(errors(TEXTBOOK), 0.01)

    assert found.verdict == DEGRADES
    assert found.contrast == paired_difference([row[2] - row[1] for row in TEXTBOOK])
    assert found.contrast.mean == pytest.approx(0.5022)


def test_a_seed_is_compared_at_the_depth_that_the_other_half_of_the_seeds_selects():
    rows = [[0.1, 0.2, 0.5], [0.1, 0.2, 0.5], [0.4, 0.3, 0.5], [0.4, 0.3, 0.5]]
    found = degradation(errors(rows), 0.01)

    assert found.best == {0: 16, 1: 16, 2: 8, 3: 8}
    assert found.contrast.mean == pytest.approx(0.2)
    assert found.contrast.sd == pytest.approx(np.std([0.3, 0.3, 0.1, 0.1], ddof=1))


@pytest.mark.parametrize(
    ("rows", "margin", "mixed", "verdict"),
    [
        pytest.param(FLAT, 0.01, (), DOES_NOT, id="flat"),
        pytest.param([row[::-1] for row in RISES], 0.01, (), DOES_NOT, id="falls with depth"),
        pytest.param(RISES, 0.5, (), DOES_NOT, id="a rise smaller than the margin"),
        pytest.param(RISES, 0.01, (), DEGRADES, id="rises"),
        pytest.param(FALLS_THEN_BACK, 0.01, (), DEGRADES, id="above the best, below the shallowest"),
        pytest.param(PEAK_INSIDE, 0.01, (), DEGRADES, id="worse still in between"),
        pytest.param(UNEVEN, 0.01, (), INCONCLUSIVE, id="an interval around 0"),
        pytest.param([range(13)] * 3, 0.01, (), DEGRADES, id="any number of depths"),
        pytest.param(ENDS, 0.01, (), DEGRADES, id="two depths"),
        pytest.param(RISES[:1], 0.01, (), INCONCLUSIVE, id="one seed has no interval"),
        pytest.param(FLAT[:1], 0.01, (), INCONCLUSIVE, id="one seed, flat"),
        pytest.param(BY_A_SIXTEENTH, 0.0625, (), DEGRADES, id="as much as the margin is not below it"),
        pytest.param(BY_A_SIXTEENTH, 0.07, (), DOES_NOT, id="less than the margin, with no spread"),
        pytest.param(LITTLE, 0.03, (), INCONCLUSIVE, id="above 0, its mean below the margin, its end above it"),
        pytest.param([[0.0, 0.0]] * 3, 0.0, (), INCONCLUSIVE, id="nothing, and a margin of nothing"),
        pytest.param([[0.0, 0.0]] * 3, 0.01, (), DOES_NOT, id="no error at all"),
        pytest.param(COLLAPSES, 0.01, (32,), DEGRADES, id="mixed at the deepest: its ranks decide"),
        pytest.param(COLLAPSES[:3], 0.01, (32,), INCONCLUSIVE, id="mixed, three seeds: p = 1/27"),
        pytest.param(COLLAPSES, 0.9, (32,), INCONCLUSIVE, id="mixed, the median rises by less than the margin"),
        pytest.param(COLLAPSES, 0.01, (8, 32), DEGRADES, id="mixed at both ends"),
        pytest.param(FLAT, 0.01, (32,), INCONCLUSIVE, id="mixed: nothing excludes a rise"),
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
    found = degradation(errors(rows), margin, [depth if depth in errors(rows) else 16 for depth in mixed])

    assert found.verdict == verdict


@pytest.mark.parametrize("mixed", [(8,), (16,), (32,)])
def test_there_is_no_interval_where_one_of_the_two_depths_is_mixed(mixed):
    assert (degradation(errors(RISES), 0.01, mixed).contrast is None) == (mixed != (16,))


def test_no_rise_above_any_shallower_depth_may_reach_the_margin():
    rows = [[0.05, 0.05 + wide, 0.05] for wide in (-0.03, 0.03, -0.02, 0.02)]  # the middle depth may be better by 4 points
    found = degradation(errors(rows), 0.01)

    assert set(found.best.values()) == {8}
    assert found.contrast.high == pytest.approx(0.0)
    assert found.most == pytest.approx(paired_difference([0.03, -0.03, 0.02, -0.02]).high)
    assert found.verdict == INCONCLUSIVE


def test_a_seed_that_is_missing_at_one_depth_is_left_out():
    whole = degradation(errors(RISES), 0.01)
    more = errors([*RISES, [0.9, 0.5, 0.1]])
    del more[16][3]

    assert degradation(more, 0.01) == whole


@pytest.mark.parametrize(
    "curve", [{}, {8: {0: 0.1, 1: 0.2}}, {8: {0: 0.1}, 16: {1: 0.2}}, {8: {}, 16: {}}], ids=["nothing", "one", "apart", "empty"]
)
def test_there_is_no_verdict_without_two_depths_and_a_seed_of_both(curve):
    assert degradation(curve, 0.01) is None


@pytest.mark.parametrize("depths", [2, 3, 6])
def test_flat_curves_are_called_degrading_in_at_most_one_of_twenty(depths):
    draws = np.random.default_rng(31).normal(0.5, 0.05, (1500, 5, depths))
    alarms = [degradation(errors(rows), 0.01).verdict == DEGRADES for rows in draws.tolist()]

    assert np.mean(alarms) <= 0.05


def test_what_is_removed_is_how_much_less_the_residual_arm_rises():
    plain = errors([[0.25, 0.9, 0.75], [0.25, 0.9, 1.0], [0.5, 0.9, 1.0]])  # by 1/2, 3/4, 1/2
    residual = errors([[0.25, 0.1, 0.25], [0.25, 0.1, 0.5], [0.25, 0.1, 0.5]])  # by 0, 1/4, 1/4

    found = degradation_reduction(plain, residual)

    assert found == paired_difference([0.5, 0.5, 0.25])
    assert found.mean == pytest.approx(5 / 12, rel=1e-12)
    assert found.half == pytest.approx(stats.t.ppf(0.975, 2) / 12, rel=1e-9)  # sd = sqrt(3) / 12


def test_what_is_removed_is_told_of_the_depths_and_seeds_that_both_arms_have():
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
        pytest.param(errors(RISES), {8: {7: 0.1}, 16: {7: 0.1}}, id="no seed"),
        pytest.param(errors([*RISES, [0.1, 0.2, math.inf]]), errors([[0.1, 0.1, 0.1]] * 4), id="one diverged"),
        pytest.param(errors([[math.inf] * 3] * 3), errors(RISES), id="all diverged"),
    ],
)
def test_nothing_is_told_of_what_is_removed_from(plain, residual):
    assert degradation_reduction(plain, residual) is None
