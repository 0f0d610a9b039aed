"""Charts in words: each sentence follows from numbers that the test chose, and none is said that they do not carry."""

import math

import pandas as pd
import pytest

from resexp.tables import words
from resexp.tables.frames import Frames


def results(errors, slope=math.nan, arm="plain", corner="norm none"):
    """Rows of results: {depth: training errors of seeds 0, 1, ...}; None diverged, from 0.9 on it is stuck."""
    return pd.DataFrame(
        [
            {
                "corner": corner, "arm": arm, "depth": depth, "seed": seed, "train_accuracy": None if e is None else 1 - e,
                "outcome": "diverged" if e is None else "stuck" if e >= 0.9 else "trained",
                "test_accuracy": None if e is None else 0.9 - e, "slope_start": slope,
            }
            for depth, of in errors.items()
            for seed, e in enumerate(of)
        ]
    )  # fmt: skip


def signals(slopes, *, blocks=6, staged=False, depth=8):
    """Profiles of one arm: {step: decades per block towards the input}."""
    return pd.DataFrame(
        [
            {
                "corner": "all", "arm": "plain", "depth": depth, "seed": seed, "step": step, "epoch": 0, "index": index,
                "block": f"blocks.{index}", "activation_rms": 1.0, "activation_grad_norm": 10.0 ** (slope * (blocks - index)),
                "staged": staged,
            }
            for step, slope in slopes.items()
            for seed in (0, 1)
            for index in range(blocks + 1)
        ]
    )  # fmt: skip


def said(name, results_frame=None, signals_frame=None):
    empty = pd.DataFrame()
    return words.words(name, Frames(empty if results_frame is None else results_frame, empty, signals_frame, empty, empty))


def test_of_a_chart_without_words_and_of_one_depth_nothing_is_said():
    assert said("curves") == []
    assert said("training-error", results({8: [0.1, 0.2]})) == []


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        # differences 0.4 and 0.6: mean 0.5, sd 0.1414, half = 12.706 x 0.1414 / sqrt 2 = 1.2706
        pytest.param({8: [0.1, 0.1], 64: [0.5, 0.7]}, "is not shown to change: +50.0 [-77.1, +177.1] points", id="wide"),
        # differences 0.5, 0.5, 0.53: mean 0.51, sd 0.01732, half = 4.3027 x 0.01732 / sqrt 3 = 0.04303
        pytest.param({8: [0.1, 0.2, 0.1], 64: [0.6, 0.7, 0.63]}, "rises by +51.0 [+46.7, +55.3] points", id="rises"),
        pytest.param({8: [0.6, 0.7, 0.63], 64: [0.1, 0.2, 0.1]}, "falls by -51.0 [-55.3, -46.7] points", id="falls"),
        pytest.param({8: [0.1], 64: [0.6]}, "differs by +50.0 points", id="one seed"),
        pytest.param({8: [0.1], 32: [0, None], 64: [0.6, 0.8]}, "differs by +50.0 points", id="one seed in both"),
    ],
)
def test_a_training_error_rises_only_where_its_paired_interval_does(errors, expected):
    first, last = min(errors), max(errors)

    assert said("training-error", results(errors)) == [
        f"norm none, plain: from depth {first} to {last} the training error {expected}."
    ]


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        pytest.param({8: [0.1, 0.2, 0.1], 64: [0.1, 0.9, 0.9]}, "at depth 64 1 trained, 2 stuck", id="stuck"),
        pytest.param({8: [0.1, 0.2], 32: [0.1, 0.2], 64: [None, None]}, "at depth 64 2 diverged", id="all diverged"),
        pytest.param(
            {8: [0.1, None], 64: [0.1, None]}, "at depth 8 1 trained, 1 diverged, at depth 64 1 trained, 1 diverged", id="both"
        ),
    ],
)
def test_where_seeds_of_one_depth_end_differently_or_diverge_no_change_of_the_training_error_is_given(errors, reason):
    assert said("training-error", results(errors, -0.78)) == [
        f"norm none, plain: no change of the training error from depth 8 to 64 is given, {reason}."
    ]


RISING, LEVEL = {8: [0.1, 0.2, 0.1], 64: [0.6, 0.7, 0.63]}, {8: [0.1, 0.2, 0.1], 64: [0.1, 0.2, 0.12]}


@pytest.mark.parametrize(
    ("errors", "slope", "words_of_it"),
    [
        pytest.param(RISING, -0.01, "training error can rise without vanishing gradients", id="degrades, healthy"),
        pytest.param(RISING, 0.3, "training error can rise without vanishing gradients", id="degrades, explodes"),
        pytest.param(LEVEL, -0.78, "gradients can vanish without training error that rises by 5 points", id="vanishes, trains"),
        # +50.0 [-77.1, +177.1]: not shown to rise, and not shown to stay
        pytest.param({8: [0.1, 0.1], 64: [0.5, 0.7]}, -0.78, None, id="vanishes, nothing shown"),
        pytest.param({8: [0.9, 0.9, 0.91], 64: [0.9, 0.9, 0.9]}, -0.78, None, id="vanishes, never trained"),
        pytest.param(RISING, -0.78, None, id="both"),
        pytest.param(LEVEL, 0.0, None, id="neither"),
        pytest.param(RISING, math.nan, None, id="gradients not read"),
    ],
)
def test_that_degradation_and_vanishing_are_two_things_is_said_where_one_is_seen_without_the_other(errors, slope, words_of_it):
    (line,) = said("training-error", results(errors, slope))

    assert (words_of_it in line) if words_of_it else ("Before the first step" not in line)


@pytest.mark.parametrize(
    ("slopes", "expected"),
    [
        pytest.param({0: -0.78}, "vanish (-0.78) {0}", id="one reading"),
        pytest.param(
            {0: 0.0, 25: 0.02}, "keep their size (+0.00) {0}, and so at every later reading, up to step 25", id="never"
        ),
        pytest.param({0: 0.2, 10: 0.2, 25: 0.0}, "explode (+0.20) {0}; from step 25 on they keep their size", id="from 25 on"),
        pytest.param(
            {0: -0.5, 10: 0.0, 25: -0.5},
            "vanish (-0.50) {0}, at some later readings not, in the end they vanish again",
            id="back",
        ),
        pytest.param({0: -0.5, 10: 0, 25: 0.4, 50: 0}, "vanish (-0.50) {0}; from step 50 on they keep their size", id="late"),
    ],
)
def test_gradients_are_told_in_decades_per_block_with_the_step_from_which_they_are_another_kind(slopes, expected):
    line = "plain, depth 8: gradients " + expected.format("before the first step") + "."

    assert said("gradient-profile", None, signals(slopes)) == [line]


def test_blocks_of_several_shapes_have_no_one_slope_and_no_sentence():
    assert said("gradient-profile", None, signals({0: -0.5}, staged=True)) == []


def test_accuracy_is_told_as_the_medians_of_the_ends():
    lines = said("accuracy", results({8: [0.1, 0.2, 0.4], 32: [0, 0, 0], 64: [0.5, 0.6, 0.7]}))

    assert lines == ["norm none: plain 70.0 % at depth 8, 30.0 % at depth 64."]


def test_beside_an_accuracy_stands_how_many_networks_diverged():
    some, none = results({8: [0.1], 64: [0.5, 0.6, None]}), results({8: [0, 0.2], 64: [None, None]}, arm="identity")

    plain, identity = (
        "80.0 % at depth 8, 35.0 % (1 of 3 diverged) at depth 64",
        "80.0 % at depth 8, 2 of 2 diverged at depth 64",
    )

    assert said("accuracy", pd.concat([some, none])) == [f"norm none: plain {plain}; identity {identity}."]
