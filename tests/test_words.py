"""Sentences on charts follow from the numbers that a test chooses; without such numbers, there is no sentence."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest

from resexp.comparison import DepthTrend
from resexp.figures import FIGURES, training_error
from resexp.inference import Degradation, DegradationVerdict, Difference
from resexp.tables.colors import verdict_tone
from resexp.tables.frames import Frames
from resexp.tables.model import Tone


def results(errors, slope=math.nan, arm="plain", condition="no normalization"):
    """Rows of results: {depth: training errors of seeds 0, 1, ...}; None diverged, an error of 0.9 or more is at chance."""
    return pd.DataFrame(
        [
            {
                "condition": condition, "arm": arm, "depth": depth, "seed": seed,
                "train_accuracy": None if e is None else 1 - e,
                "outcome": "diverged" if e is None else "at_chance" if e >= 0.9 else "above_chance",
                "test_accuracy": None if e is None else 0.9 - e, "slope_start": slope,
            }
            for depth, errors_of_seeds in errors.items()
            for seed, e in enumerate(errors_of_seeds)
        ]
    )  # fmt: skip


def signals(slopes, *, blocks=6, staged=False, depth=8):
    """Profiles of one arm: {step: slope}."""
    return pd.DataFrame(
        [
            {
                "condition": "all", "arm": "plain", "depth": depth, "seed": seed, "step": step, "epoch": 0, "index": index,
                "block": f"blocks.{index}", "activation_rms": 1.0, "activation_grad_norm": 10.0 ** (slope * (blocks - index)),
                "staged": staged,
            }
            for step, slope in slopes.items()
            for seed in (0, 1)
            for index in range(blocks + 1)
        ]
    )  # fmt: skip


def sentences(name, results_frame=None, signals_frame=None):
    empty = pd.DataFrame()
    frames = Frames(empty if results_frame is None else results_frame, empty, signals_frame, empty, empty)
    return FIGURES[name].sentences(SimpleNamespace(frames=frames))


def test_some_charts_have_no_sentence():
    assert sentences("curves") == []


def over_depth(verdict, contrast=None, slope=-0.01, above_chance=(3, 3), change=None):
    """One arm under one condition, with a given verdict and slope."""
    degradation = Degradation((8, 64), 3, dict.fromkeys(range(3), 8), contrast, contrast and contrast.high, 0.125, verdict)
    growth = None if slope is None else 31 * slope
    return DepthTrend({"norm": "none"}, "plain", degradation, slope, None, above_chance, change=change, growth=growth)


RISE = Difference(0.51, 0.467, 0.553, 3, 0.0173)
ENDS = "depth 64 - depth 8"


@pytest.mark.parametrize(
    ("verdict", "contrast", "text"),
    [
        (
            DegradationVerdict.DEGRADES,
            RISE,
            f"is higher at the deepest than at the best shallower depth: +51.0 [+46.7, +55.3] points, {ENDS}.",
        ),
        (DegradationVerdict.DEGRADES, None, "is higher at the deepest than at the best shallower depth."),  # outcomes are mixed
        (
            DegradationVerdict.DOES_NOT_DEGRADE,
            Difference(0.0, -0.001, 0.002, 3, 0.001),
            "does not rise with depth by the margin: +0.0",
        ),
        (
            DegradationVerdict.INCONCLUSIVE,
            Difference(0.5, None, None, 1),
            f"is not shown to rise with depth: +50.0 points, {ENDS}.",
        ),
        (DegradationVerdict.UNTRAINED, Difference(0.0, -0.001, 0.002, 3, 0.001), "is at chance, or training diverged."),
    ],
)
def test_the_sentence_on_training_error_follows_from_its_verdict(verdict, contrast, text):
    (line,) = training_error.sentences([over_depth(verdict, contrast)])

    assert line.startswith(f"no normalization, plain: training error {text}")


def test_every_verdict_has_a_sentence_and_two_have_a_color():
    colors = {DegradationVerdict.DEGRADES: "bad", DegradationVerdict.DOES_NOT_DEGRADE: "good"}

    assert set(training_error.VERDICTS) == set(DegradationVerdict)
    tones = {verdict: verdict_tone(verdict) for verdict in DegradationVerdict}
    assert {verdict: tone for verdict, tone in tones.items() if tone != Tone.OPEN} == colors


@pytest.mark.parametrize(
    ("change", "closing"),
    [
        pytest.param(Difference(-0.02, -0.03, -0.01, 3, 0.004), True, id="below 0"),
        pytest.param(Difference(-0.02, -0.05, 0.01, 3, 0.012), False, id="around 0"),
        pytest.param(Difference(-0.02, None, None, 1), False, id="one seed"),
        pytest.param(None, False, id="not logged"),
    ],
)
def test_a_gap_is_still_closing_if_the_interval_of_its_change_is_below_0(change, closing):
    row = over_depth(DegradationVerdict.DEGRADES, RISE, change=change)
    (line,) = training_error.sentences([row])

    assert row.closing is closing
    assert ("the gap is still closing: -2.0 [-3.0, -1.0] over the last tenth of training" in line) is closing


@pytest.mark.parametrize(
    ("verdict", "slope", "above_chance", "text"),
    [
        pytest.param(DegradationVerdict.DEGRADES, -0.01, (3, 3), "can rise without vanishing gradients", id="degrades, stable"),
        pytest.param(DegradationVerdict.DEGRADES, 0.3, (0, 3), "can rise without vanishing gradients", id="degrades, explodes"),
        pytest.param(
            DegradationVerdict.DOES_NOT_DEGRADE,
            -0.78,
            (3, 3),
            "can vanish although training error does not rise",
            id="does not degrade, vanishes",
        ),
        pytest.param(DegradationVerdict.UNTRAINED, -0.78, (0, 3), None, id="untrained"),
        pytest.param(DegradationVerdict.INCONCLUSIVE, -0.78, (3, 3), None, id="inconclusive"),
        pytest.param(DegradationVerdict.DEGRADES, -0.78, (3, 3), None, id="both"),
        pytest.param(DegradationVerdict.DEGRADES, -0.05, (3, 3), None, id="both: 0.05 per block are 1.55 over 31 blocks"),
        pytest.param(DegradationVerdict.DOES_NOT_DEGRADE, 0.0, (3, 3), None, id="neither"),
        pytest.param(DegradationVerdict.DEGRADES, None, (3, 3), None, id="gradients not logged"),
    ],
)
def test_a_sentence_separates_degradation_from_vanishing_if_only_one_of_them_occurs(verdict, slope, above_chance, text):
    (line,) = training_error.sentences([over_depth(verdict, RISE, slope, above_chance)])

    assert (text in line) if text else ("at initialization" not in line)


@pytest.mark.parametrize(
    ("slopes", "expected"),
    [
        # six blocks: six times the slope
        pytest.param({0: -0.78}, "vanishing (-4.7 {})", id="one logging step"),
        pytest.param({0: 0.0, 25: 0.16}, "stable (+0.0 {}), and stable at every later logging step, up to step 25", id="never"),
        pytest.param({0: 0.2, 10: 0.2, 25: 0.0}, "exploding (+1.2 {}); stable from step 25 on", id="from 25 on"),
        pytest.param({0: -0.009, 5: -0.18, 10: -0.3}, "stable (-0.1 {}); vanishing from step 5 on", id="from 5 on"),
        pytest.param({0: -0.5, 10: 0.0, 25: -0.5},
                     "vanishing (-3.0 {}); stable at step 10, vanishing again at the last logging step", id="back"),
        pytest.param({0: -0.5, 10: 0, 25: 0.4, 50: 0}, "vanishing (-3.0 {}); stable from step 50 on", id="late"),
    ],
)  # fmt: skip
def test_the_kind_of_gradients_is_reported_with_the_step_at_which_it_changes(slopes, expected):
    at_first, _, later = expected.partition(" (")
    growth = later.format("orders of magnitude from output to input")
    line = f"plain, depth 8: gradients are {at_first} at initialization ({growth}."

    assert sentences("gradient-profile", None, signals(slopes)) == [line]


def test_the_same_slope_is_stable_in_a_shallow_network_and_vanishing_in_a_deep_one():
    shallow, deep = (sentences("gradient-profile", None, signals({0: -0.09}, blocks=blocks)) for blocks in (6, 31))

    assert shallow == [
        "plain, depth 8: gradients are stable at initialization (-0.5 orders of magnitude from output to input)."
    ]
    assert deep == [
        "plain, depth 8: gradients are vanishing at initialization (-2.8 orders of magnitude from output to input)."
    ]


def test_networks_with_several_block_shapes_have_no_slope_and_no_sentence():
    assert sentences("gradient-profile", None, signals({0: -0.5}, staged=True)) == []


def test_the_sentence_on_accuracy_has_the_medians_at_both_ends():
    lines = sentences("accuracy", results({8: [0.1, 0.2, 0.4], 32: [0, 0, 0], 64: [0.5, 0.6, 0.7]}))

    assert lines == ["no normalization: plain 70.0% at depth 8, 30.0% at depth 64."]


def test_the_sentence_on_accuracy_counts_diverged_networks():
    some_diverged, all_diverged = (
        results({8: [0.1], 64: [0.5, 0.6, None]}),
        results({8: [0, 0.2], 64: [None, None]}, arm="identity"),
    )

    plain, identity = (
        "80.0% at depth 8, 35.0% (1 of 3 diverged) at depth 64",
        "80.0% at depth 8, 2 of 2 diverged at depth 64",
    )

    assert sentences("accuracy", pd.concat([some_diverged, all_diverged])) == [
        f"no normalization: plain {plain}; identity {identity}."
    ]
