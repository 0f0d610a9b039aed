"""Does training error rise with depth, and does a shortcut remove it: verdicts on curves worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from resexp.statistics import VERDICTS, degradation, paired, removed

FLAT = [[0.05, 0.051, 0.05], [0.051, 0.049, 0.052], [0.049, 0.05, 0.049]]
RISES = [[0.05, 0.10, 0.30], [0.06, 0.12, 0.28], [0.05, 0.11, 0.31]]
PEAK_INSIDE = [[0.05, 0.90, 0.10], [0.05, 0.90, 0.11], [0.05, 0.90, 0.10]]  # p = 33/216
UNEVEN = [[0.05, 0.06, 0.07], [0.05, 0.06, 0.90], [0.05, 0.06, 0.07]]  # p = 1/216, and an interval around 0
TRAINED, COLLAPSED = [0.05, 0.06, 0.07], [0.05, 0.06, 0.90]
ENDS = [[row[0], row[-1]] for row in RISES]
LITTLE = [[0.0, 0.012], [0.0, 0.020], [0.0, 0.022], [0.0, 0.034]]  # two depths: mean 0.022, 95 % from 0.0075 to 0.0365
BY_A_SIXTEENTH = [[0.25, 0.3125], [0.5, 0.5625], [0.125, 0.1875]]
HALF_DIVERGED, THIRD_DIVERGED = (
    [0.1] * 3 + [math.inf] * 3,
    [0.1] * 4 + [math.inf] * 2,
)  # p = 1/20, 1/15: one of 6 over 3, over 2


def errors(rows):
    """Depth 8, 16, ... -> seed 0, 1, ... -> error, from a row for each seed."""
    return {8 * 2**place: {seed: row[place] for seed, row in enumerate(rows)} for place in range(len(rows[0]))}


def test_what_is_told_of_a_curve_is_its_ends_and_its_trend():
    found = degradation(dict(reversed(errors(RISES).items())), 0.01, mixed=False, falling=False)

    assert (found.depths, found.n, found.verdict) == ((8, 16, 32), 3, "degrades")
    assert found.contrast == paired([row[2] - row[0] for row in RISES])
    assert found.trend == pytest.approx(1 / 216, rel=1e-12)


@pytest.mark.parametrize(
    ("rows", "margin", "state", "verdict"),
    [
        pytest.param(FLAT, 0.01, "", "does not degrade", id="flat"),
        pytest.param(FLAT, 0.01, "falling", "does not degrade", id="flat, whatever the loss does"),
        pytest.param([row[::-1] for row in RISES], 0.0, "", "does not degrade", id="falls with depth"),
        pytest.param(RISES, 0.5, "", "does not degrade", id="a rise smaller than the margin"),
        pytest.param(RISES, 0.01, "", "degrades", id="interval and trend"),
        pytest.param(RISES, 0.01, "falling", "slower, not shown worse", id="the same while the loss still falls"),
        pytest.param(UNEVEN, 0.01, "", "cannot tell", id="trend without the interval"),
        pytest.param(PEAK_INSIDE, 0.01, "", "cannot tell", id="interval without the trend"),
        pytest.param([range(13)] * 3, 0.01, "", "cannot tell", id="more depths than the trend is counted for"),
        pytest.param(ENDS, 0.01, "", "degrades", id="two depths: the interval alone, the trend has p = 1/8"),
        pytest.param([TRAINED, COLLAPSED, TRAINED], 0.01, "mixed", "degrades", id="mixed: the trend alone"),
        pytest.param([TRAINED, COLLAPSED, TRAINED], 0.01, "mixed falling", "slower, not shown worse", id="mixed, and falling"),
        pytest.param(FLAT, 0.01, "mixed", "cannot tell", id="mixed: nothing excludes a rise"),
        pytest.param(ENDS, 0.01, "mixed", "cannot tell", id="mixed, two depths, three seeds: p = 1/8"),
        pytest.param([*ENDS, *ENDS[:2]], 0.01, "mixed", "degrades", id="mixed, two depths, five seeds: p = 1/32"),
        pytest.param(RISES[:1], 0.01, "", "cannot tell", id="one seed has no interval"),
        pytest.param(FLAT[:1], 0.01, "", "cannot tell", id="one seed, flat"),
        pytest.param(BY_A_SIXTEENTH, 0.0625, "", "degrades", id="as much as the margin is not below it"),
        pytest.param(BY_A_SIXTEENTH, 0.07, "", "does not degrade", id="less than the margin, with no spread"),
        pytest.param(LITTLE, 0.03, "", "cannot tell", id="above 0, its mean below the margin, its end above it"),
        pytest.param([[0.0, 0.0]] * 3, 0.0, "", "cannot tell", id="nothing, and a margin of nothing"),
        pytest.param([[0.0, 0.0]] * 3, 0.01, "", "does not degrade", id="no error at all"),
        pytest.param([HALF_DIVERGED], 0.01, "", "degrades", id="diverged: p = 0.05 is enough"),
        pytest.param([THIRD_DIVERGED], 0.01, "", "cannot tell", id="diverged: p = 0.067 is not"),
    ],
)
def test_the_verdict(rows, margin, state, verdict):
    found = degradation(errors(rows), margin, mixed="mixed" in state, falling="falling" in state)

    assert found.verdict == verdict
    assert (found.contrast is None) == ("mixed" in state or math.inf in rows[0])


def test_every_verdict_is_one_of_the_four():
    assert VERDICTS == ("degrades", "does not degrade", "slower, not shown worse", "cannot tell")


def test_a_seed_that_is_missing_at_one_depth_leaves():
    whole = degradation(errors(RISES), 0.01, mixed=False, falling=False)
    more = errors([*RISES, [0.9, 0.5, 0.1]])
    del more[16][3]

    assert degradation(more, 0.01, mixed=False, falling=False) == whole


@pytest.mark.parametrize(
    "curve", [{}, {8: {0: 0.1, 1: 0.2}}, {8: {0: 0.1}, 16: {1: 0.2}}, {8: {}, 16: {}}], ids=["nothing", "one", "apart", "empty"]
)
def test_there_is_no_verdict_without_two_depths_and_a_seed_of_both(curve):
    assert degradation(curve, 0.01, mixed=False, falling=False) is None


def test_flat_curves_are_called_degrading_in_at_most_one_of_twenty():
    draws = np.random.default_rng(31).exponential(0.05, (2000, 5, 3))
    alarms = [degradation(errors(rows), 0.01, mixed=False, falling=False).verdict == "degrades" for rows in draws.tolist()]

    assert np.mean(alarms) <= 0.05


def test_what_is_removed_is_how_much_less_the_residual_arm_rises():
    plain = errors([[0.25, 0.9, 0.75], [0.25, 0.9, 1.0], [0.5, 0.9, 1.0]])  # by 1/2, 3/4, 1/2
    residual = errors([[0.25, 0.1, 0.25], [0.25, 0.1, 0.5], [0.25, 0.1, 0.5]])  # by 0, 1/4, 1/4

    found = removed(plain, residual)

    assert found == paired([0.5, 0.5, 0.25])
    assert found.mean == pytest.approx(5 / 12, rel=1e-12)
    assert found.half == pytest.approx(stats.t.ppf(0.975, 2) / 12, rel=1e-9)  # sd = sqrt(3) / 12


def test_what_is_removed_is_told_of_the_depths_and_seeds_that_both_arms_have():
    plain, residual = errors([[0.25, 0.5, 0.75]] * 3), errors([[0.25, 0.25, 0.25]] * 3)
    plain[64], residual[4] = {0: 0.9, 1: 0.9, 2: 0.9}, {0: 0.9, 1: 0.9, 2: 0.9}
    del plain[8][1], residual[32][2]
    del plain[16]

    assert removed(plain, residual) == paired([0.5])


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
    assert removed(plain, residual) is None
