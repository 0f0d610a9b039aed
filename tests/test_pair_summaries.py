"""The card of a pair in words."""

import pytest

from resexp import tables

START = {"loss": 2.3026, "output_rms": 0.125, "slope": None, "parameters": 1000}
CARD = {
    "cell": "d8", "plain": "plain", "residual": "gate", "seed": 0,
    "equal": {"weights": 16, "weights_bit_equal": True, "first_batch": True, "recipe": True},
    "width": {"plain": 64, "gate": 64},
    "beyond": {"parameters": 12_480, "multiply_adds": -3, "activation_bytes": 768},
    "start_differs": [], "same_function_class": False, "nothing_to_skip": False, "same_as_plain": False,
    "at_start": {"plain": START, "gate": {**START, "loss": 2.5, "slope": 0.01234}},
}  # fmt: skip


def changed(**parts):
    return {**CARD, **{key: {**CARD[key], **value} if isinstance(value, dict) else value for key, value in parts.items()}}


def test_a_card_is_told_in_80_columns():
    assert tables.pair_summary_lines([CARD]) == [
        "",
        "d8: plain / gate",
        "  16 shared weight tensors equal, first batch equal, recipe equal",
        "  beyond its twin: +12,480 parameters, -3 multiply-adds",
        "    +768 B kept for backward",
        "  at step 0, loss: 2.303 / 2.5",
        "  at step 0, RMS of the logits: 0.125 / 0.125",
        "  at step 0, slope of the gradient: - / 0.01234",
    ]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        pytest.param({"equal": {"weights_bit_equal": False}}, "16 shared weight tensors DIFFERENT", id="weights"),
        pytest.param({"equal": {"first_batch": False}}, "first batch DIFFERENT", id="batch"),
        pytest.param({"equal": {"recipe": False}}, "recipe DIFFERENT", id="recipe"),
        pytest.param(
            {"equal": {"weights": 0, "weights_bit_equal": None}, "width": {"plain": 78}},
            "width 78 and 64, at least as many parameters (1,000 and 1,000), weights of its own, first batch equal, recipe",
            id="the second control",
        ),
    ],
)
def test_what_is_not_equal_is_not_called_equal(parts, words):
    assert words in tables.equalities(changed(**parts))


def test_a_pair_without_any_extra_cost_has_nothing_beyond_its_twin():
    assert tables.beyond(changed(beyond=dict.fromkeys(CARD["beyond"], 0))) == ["nothing"]
    assert tables.beyond(changed(beyond={"parameters": 0, "multiply_adds": 0})) == [
        "+0 parameters", "+0 multiply-adds", "+768 B kept for backward",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("note", "words"),
    [
        pytest.param(
            {"start_differs": ["zero_init_residual"]}, "start differs: the plain twin starts without", id="zero_init_residual"
        ),
        pytest.param({"start_differs": ["fixup"]}, "start differs: the plain twin starts from he", id="fixup"),
        pytest.param({"same_function_class": True}, "same function class", id="function class"),
        pytest.param({"nothing_to_skip": True}, "depth 2: nothing to skip", id="depth 2"),
        pytest.param({"same_as_plain": True}, "the same network as plain", id="a control of nothing"),
    ],
)
def test_what_has_to_be_said_beside_the_numbers_is_said(note, words):
    lines = tables.pair_summary_lines([changed(**note)])

    assert tables.pair_notes(CARD) == []
    assert words in tables.pair_notes(changed(**note))[0]
    assert len(tables.pair_notes(changed(**note))) == 1
    assert f"note: {words}" in " ".join(line.strip() for line in lines)
    assert max(map(len, lines)) <= 80


def test_a_card_of_long_names_and_two_widths_fits_80_columns():
    arm = "scaled-scale0.123456789-branch0.987654321"
    pair_summary = {
        **changed(equal={"weights_bit_equal": None}),
        "cell": "cnn d164 w128 bottleneck layers2 post-norm norm-batch relu init-he batch128 sgd lr0.1 decay0.0001",
        "plain": f"plain-as-{arm}", "residual": arm,
        "width": {f"plain-as-{arm}": 1234, arm: 1024}, "at_start": {f"plain-as-{arm}": START, arm: START},
    }  # fmt: skip
    lines = tables.pair_summary_lines([pair_summary])

    assert max(map(len, lines)) <= 80
    assert f"{pair_summary['cell']}: plain-as-{arm} / {arm}" in " ".join(line.strip() for line in lines)


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        pytest.param([], None, id="not planned yet"),
        pytest.param([(1, [0, 1, 2])], None, id="all at once"),
        pytest.param(
            [(1, [0, 1, 2]), (3, [5])], "planned at different times: seeds 0-2 in round 1, seed 5 in round 3", id="grown"
        ),
        pytest.param(
            [(1, [0, 7]), (2, [3, 4])], "planned at different times: seeds 0, 7 in round 1, seeds 3, 4 in round 2", id="gaps"
        ),
    ],
)
def test_seeds_that_came_later_are_told_with_their_rounds(rounds, words):
    pair_summary = {**CARD, "rounds": [{"round": number, "seeds": seeds} for number, seeds in rounds]}

    assert tables.pair_notes(pair_summary) == ([words] if words else [])
