"""Sentences on charts follow from the numbers that a test chooses; without such numbers, there is no sentence."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest

from resexp.comparison import DepthTrend
from resexp.figures import FIGURES, training_error
from resexp.inference import Degradation, DegradationVerdict, Difference
from resexp.tables.colors import verdict_tone
from resexp.tables.formats import closing_text
from resexp.tables.frames import Frames
from resexp.tables.model import Tone
from resexp.tables.sentences import grouped


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
                "activation_cosine_distance": 0.5, "staged": staged,
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


@pytest.mark.parametrize("verdict", DegradationVerdict)
def test_the_sentence_on_training_error_states_its_verdict_and_none_of_its_numbers(verdict):
    (line,) = training_error.sentences([over_depth(verdict, RISE, slope=None)])

    assert line == f"plain: {verdict}."


def test_two_verdicts_on_degradation_have_a_color():
    colors = {DegradationVerdict.DEGRADES: "bad", DegradationVerdict.DOES_NOT_DEGRADE: "good"}
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

    assert row.closing is closing
    assert ("the gap is still closing: -2.0 [-3.0, -1.0] over the last tenth" in closing_text(row)) is closing


@pytest.mark.parametrize(
    ("verdict", "slope", "above_chance", "text"),
    [
        pytest.param(
            DegradationVerdict.DEGRADES, -0.01, (3, 3), "degrades although gradients do not vanish", id="degrades, stable"
        ),
        pytest.param(
            DegradationVerdict.DEGRADES, 0.3, (0, 3), "degrades although gradients do not vanish", id="degrades, explodes"
        ),
        pytest.param(
            DegradationVerdict.DOES_NOT_DEGRADE,
            -0.78,
            (3, 3),
            "does not degrade although gradients vanish",
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
    ("slopes", "kind"),
    [
        # six blocks: six times the slope
        pytest.param({0: -0.78}, "vanishing at initialization", id="one logging step"),
        pytest.param({0: 0.0, 25: 0.16}, "stable throughout training", id="never changes"),
        pytest.param({0: 0.2, 10: 0.2, 25: 0.0}, "exploding at first, stable at the end", id="later stable"),
        pytest.param({0: -0.009, 5: -0.18, 10: -0.3}, "stable at first, vanishing at the end", id="later vanishing"),
        pytest.param({0: -0.5, 10: 0.0, 25: -0.5}, "vanishing except when stable in between", id="back"),
        pytest.param({0: -0.5, 10: 0, 25: 0.4, 50: 0}, "vanishing at first, stable at the end", id="late"),
    ],
)
def test_the_sentence_on_gradients_states_their_kind_during_training(slopes, kind):
    assert sentences("gradient-profile", None, signals(slopes)) == [f"plain: {kind}."]


def test_the_same_slope_is_stable_in_a_shallow_network_and_vanishing_in_a_deep_one():
    shallow, deep = (sentences("gradient-profile", None, signals({0: -0.09}, blocks=blocks)) for blocks in (6, 31))

    assert (shallow, deep) == (["plain: stable at initialization."], ["plain: vanishing at initialization."])


def test_networks_with_several_block_shapes_have_no_slope_and_no_sentence():
    assert sentences("gradient-profile", None, signals({0: -0.5}, staged=True)) == []


@pytest.mark.parametrize(("errors", "lines"), [([0.1, 0.2], []), ([0.1, None], ["1 of 2 networks diverged and have no dot."])])
def test_the_sentence_on_accuracy_counts_diverged_networks(errors, lines):
    assert sentences("accuracy", results({8: errors})) == lines


@pytest.mark.parametrize(
    ("kinds", "lines"),
    [
        pytest.param({("plain", "A"): "stable"}, ["plain: stable."], id="one condition"),
        pytest.param(
            {("plain", "A"): "stable", ("plain", "B"): "stable", ("gate", "A"): "stable", ("gate", "B"): "stable"},
            ["plain, gate: stable in all 2 conditions."],
            id="arms with the same kinds",
        ),
        pytest.param(
            {("plain", "A"): "stable", ("plain", "B"): "vanishing", ("plain", "C"): "vanishing"},
            ["plain: stable in 1 (A); vanishing in 2 of 3 conditions."],
            id="two kinds",
        ),
    ],
)
def test_sentences_are_grouped_by_arm_and_kind(kinds, lines):
    assert grouped(kinds) == lines
