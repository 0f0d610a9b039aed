"""Pair summaries as text."""

import json

import pytest

from resexp import config, runs, tables

START = {"loss": 2.3026, "output_rms": 0.125, "slope": None, "parameters": 1000, "multiply_adds": 900, "activation_bytes": 4}
VALUES = {
    "cell": "d8", "plain": "plain", "residual": "gate", "seed": 0,
    "equal": {"weights": 16, "weights_bit_equal": True, "first_batch": True, "recipe": True},
    "width": {"plain": 64, "gate": 64},
    "beyond": {"parameters": 12_480, "multiply_adds": -3, "activation_bytes": 768},
    "start_differs": [], "same_function_class": False, "nothing_to_skip": False, "same_as_plain": False,
    "at_start": {"plain": START, "gate": {**START, "loss": 2.5, "slope": 0.01234}},
}  # fmt: skip


LABELS = {"d8": {"depth": "8"}, "d16": {"depth": "16"}}


def summary_lines(*summaries):
    return tables.as_lines([tables.matched_pairs(summaries, LABELS)]).splitlines()


def overview_lines(*summaries):
    return tables.as_lines(tables.pair_overview(summaries, LABELS)).splitlines()


def changed(**parts):
    """The pair summary with other values; those of a dict are merged into it."""
    merged = {key: {**VALUES[key], **value} if isinstance(value, dict) else value for key, value in parts.items()}
    return runs.PairSummary.model_validate_json(json.dumps({**VALUES, **merged}))


PAIR = changed()


def test_a_pair_summary_lists_matched_properties_extra_cost_and_initial_values():
    assert summary_lines(PAIR)[1:] == [
        "Matched pairs",
        "",
        "depth 8",
        "  plain / gate",
        "    16 shared weight tensors equal, first batch equal, hyperparameters equal",
        "    extra cost: +12,480 parameters, -3 multiply-adds, +768 B activation memory",
        "      per image",
        "    loss at initialization, plain / residual: 2.303 / 2.5",
        "    RMS of the logits at initialization, plain / residual: 0.125 / 0.125",
        "    gradient slope at initialization, plain / residual: - / 0.01234",
    ]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        pytest.param({"equal": {"weights_bit_equal": False}}, "16 shared weight tensors DIFFERENT", id="weights"),
        pytest.param({"equal": {"first_batch": False}}, "first batch DIFFERENT", id="batch"),
        pytest.param({"equal": {"recipe": False}}, "hyperparameters DIFFERENT", id="hyperparameters"),
        pytest.param(
            {"equal": {"weights": 0, "weights_bit_equal": None}, "width": {"plain": 78}},
            "width 78 and 64, at least as many parameters (1,000 and 1,000), different weights, first batch equal, hyper",
            id="parameter-matched baseline",
        ),
    ],
)
def test_unequal_properties_are_reported_as_different(parts, words):
    assert words in tables.equalities(changed(**parts))


def test_the_extra_cost_of_a_pair_is_none_if_all_costs_are_equal():
    assert tables.extra_cost(changed(beyond=dict.fromkeys(VALUES["beyond"], 0))) == ["none"]
    assert tables.extra_cost(changed(beyond={"parameters": 0, "multiply_adds": 0})) == [
        "+0 parameters", "+0 multiply-adds", "+768 B activation memory per image",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("note", "words"),
    [
        pytest.param(
            {"start_differs": ["zero_init_residual"]},
            "initialization differs: the plain counterpart has no",
            id="zero_init_residual",
        ),
        pytest.param({"start_differs": ["fixup"]}, "initialization differs: the plain counterpart has init he", id="fixup"),
        pytest.param({"same_function_class": True}, "same function class", id="function class"),
        pytest.param({"nothing_to_skip": True}, "depth 2: nothing to skip", id="depth 2"),
        pytest.param({"same_as_plain": True}, "the same network as plain", id="no shortcut parameters"),
    ],
)
def test_pairs_have_notes_on_special_properties(note, words):
    lines = summary_lines(changed(**note))

    assert tables.pair_notes(PAIR) == []
    assert words in tables.pair_notes(changed(**note))[0]
    assert len(tables.pair_notes(changed(**note))) == 1
    assert f"note: {words}" in " ".join(line.strip() for line in lines)
    assert max(map(len, lines)) <= 80


def test_a_pair_summary_with_long_names_and_two_widths_fits_80_columns():
    arm = "scaled-scale0.123456789-branch0.987654321"
    summary = changed(
        equal={"weights_bit_equal": None},
        cell="cnn d164 w128 bottleneck layers2 post-norm norm-batch relu init-he batch128 sgd lr0.1 decay0.0001",
        plain=f"plain-as-{arm}", residual=arm,
        width={f"plain-as-{arm}": 1234, arm: 1024}, at_start={f"plain-as-{arm}": START, arm: START},
    )  # fmt: skip
    lines = summary_lines(summary)

    assert max(map(len, lines)) <= 80
    assert f"{summary.cell} plain-as-{arm} / {arm} " in " ".join(line.strip() for line in lines)


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        pytest.param([], None, id="not planned yet"),
        pytest.param([(1, [0, 1, 2])], None, id="all at once"),
        pytest.param([(1, [0, 1, 2]), (3, [5])], "seeds were added later: seeds 0-2 in round 1, seed 5 in round 3", id="grown"),
        pytest.param(
            [(1, [0, 7]), (2, [3, 4])], "seeds were added later: seeds 0, 7 in round 1, seeds 3, 4 in round 2", id="gaps"
        ),
    ],
)
def test_seeds_that_were_added_later_are_listed_with_their_rounds(rounds, words):
    summary = changed(rounds=[{"round": number, "seeds": seeds} for number, seeds in rounds])

    assert tables.pair_notes(summary) == ([words] if words else [])


def test_distances_are_printed_if_one_network_has_them():
    pair = changed(at_start={"gate": {**START, "distance": 0.0021}})

    assert "    distance at initialization, plain / residual: - / 0.0021" in summary_lines(pair)
    assert overview_lines(PAIR, pair)[-1].split()[-3:] == ["-", "/", "0.0021"]
    assert not any("distance" in line for line in [*summary_lines(PAIR), *overview_lines(PAIR)])


def test_an_overview_states_common_properties_once_and_has_a_row_of_values_for_each_pair():
    deeper = changed(cell="d16", beyond={"parameters": 24_960}, start_differs=["fixup"])
    lines = [" ".join(line.split()) for line in overview_lines(PAIR, deeper)]
    text = " ".join(lines)

    assert lines[:2] == ["2 pairs, plain / residual:", "shared weights, first batch and hyperparameters equal"]
    assert "depth 8 extra cost of gate: +12,480 parameters, -3 multiply-adds, +768 B activation memory per image" in text
    assert "depth 16 extra cost of gate: +24,960 parameters, -3 multiply-adds, +768 B activation memory per image" in text
    assert "note: initialization differs: the plain counterpart has init he, not fixup" in text
    values = "2.3 / 2.5 0.125 / 0.125 - / +0.01"
    assert lines[-2:] == [f"depth 8 {values}", f"depth 16 {values}"]
    assert max(map(len, overview_lines(PAIR, deeper))) <= 80


def test_an_overview_lists_the_pairs_of_a_condition_together():
    labels = {"d8": {"depth": "8", "init": "he"}, "d9": {"depth": "8", "init": "xavier"}, "d16": {"depth": "16", "init": "he"}}
    summaries = [changed(cell=cell) for cell in labels]
    lines = tables.as_lines(tables.pair_overview(summaries, labels)).splitlines()

    assert [" ".join(line.split()[:2]) for line in lines[-6:]] == [
        "He init",
        "depth 8",
        "depth 16",
        "",
        "Xavier init",
        "depth 8",
    ]


@pytest.mark.parametrize("part", ["weights_bit_equal", "first_batch", "recipe"])
def test_an_overview_reports_unequal_properties_with_their_pair(part):
    text = " ".join(" ".join(overview_lines(PAIR, changed(cell="d16", equal={part: False}))).split())

    assert "depth 8 shared weights, first batch and hyperparameters equal" in text
    assert text.count("DIFFERENT") == 1


def test_an_overview_names_arms_if_there_are_several_and_matched_baselines():
    baseline = changed(
        equal={"weights_bit_equal": None}, residual="rezero", plain="plain-as-rezero",
        width={"plain-as-rezero": 65, "rezero": 64}, at_start={"plain-as-rezero": START, "rezero": START},
    )  # fmt: skip
    text = " ".join(" ".join(overview_lines(PAIR, baseline)).split())

    assert "depth 8, gate shared weights" in text
    assert "extra cost of rezero over plain-as-rezero: " in text
    assert "depth 8, rezero over plain-as-rezero 2.3 / 2.3" in text


def test_cells_have_the_label_of_other_tables_and_unknown_cells_their_tags():
    experiment = config.load("digits", ["network.depth=[8,16]", "network.norm=[none]"])
    labels = tables.cell_labels(experiment)

    assert tables.cell_text("d8 norm-none init-he", labels) == "depth 8, He init"
    assert tables.cell_text("d8 norm-batch", labels) == "d8 norm-batch"
    assert len(labels) == 6
