"""The grammar of hypotheses: valid texts, and a one-line error for all others."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resexp import claims, comparison, config
from resexp.config import ConfigError, Expectation, Relation, Side, parse_expectation
from resexp.config.expectations import MAX_LENGTH, WITH_NUMBER

EXAMPLE = "write, for example, 'test_accuracy: identity > plain + 0.01 @ 95% at depth=64'"


def refusal(text: str, where: str = "--expect") -> str:
    with pytest.raises(ConfigError) as error:
        parse_expectation(text, where)
    return str(error.value)


# ---- valid hypotheses -----------------------------------------------------------------------------------------------------


def test_a_hypothesis_has_a_measure_sides_a_level_and_cells():
    assert parse_expectation("test_accuracy: identity > plain + 0.01 @ 95% at depth=64, norm=layer") == Expectation(
        text="test_accuracy: identity > plain + 0.01 @ 95% at depth=64, norm=layer",
        measure="test_accuracy",
        number=None,
        relations=(Relation(Side("identity", 0.0), ">", Side("plain", 0.01)),),
        level=0.95,
        where=(("network.depth", "64"), ("network.norm", "layer")),
    )


def test_an_acceptance_range_is_two_relations_with_a_common_side():
    expectation = parse_expectation("test_error: 0.08 < identity <= 0.088")

    assert [(relation.left, relation.sign, relation.right) for relation in expectation.relations] == [
        (Side(None, 0.08), "<", Side("identity", 0.0)),
        (Side("identity", 0.0), "<=", Side(None, 0.088)),
    ]
    assert expectation.arms == ("identity",)
    assert (expectation.level, expectation.where) == (None, ())


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("plain + 0.01", Side("plain", 0.01)),
        ("plain - 0.01", Side("plain", -0.01)),
        ("plain + .5", Side("plain", 0.5)),
        ("plain - 1e-3", Side("plain", -0.001)),
        ("gate-bias-6", Side("gate-bias-6", 0.0)),
        ("scaled-scale0.5-branch1", Side("scaled-scale0.5-branch1", 0.0)),
        ("look-at-me", Side("look-at-me", 0.0)),
        ("-0.1", Side(None, -0.1)),
        ("+1E2", Side(None, 100.0)),
    ],
)
def test_a_side_is_an_arm_a_number_or_an_arm_with_an_offset(text: str, side: Side):
    assert parse_expectation(f"test_loss: identity > {text} @ 90% at depth=8").relations[0].right == side


@pytest.mark.parametrize(("text", "level"), [("95%", 0.95), (" 99.9 %", 0.999), ("50%", 0.5)])
def test_a_level_is_a_percentage(text: str, level: float):
    assert parse_expectation(f"test_loss: identity > plain @{text}").level == pytest.approx(level)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("at depth=deepest norm=batch", (("network.depth", "deepest"), ("network.norm", "batch"))),
        ("at lr=1e-3,zero_init_residual=true", (("training.lr", "1e-3"), ("network.zero_init_residual", "true"))),
        ("at data.name=cifar10,\n network.depth=20", (("data.name", "cifar10"), ("network.depth", "20"))),
        ("at precision=float64", (("precision", "float64"),)),
    ],
)
def test_cells_are_selected_by_short_or_dotted_keys_with_commas_or_spaces(text: str, where: tuple[tuple[str, str], ...]):
    assert parse_expectation(f"test_loss: identity > plain {text}").where == where


def test_every_key_that_can_differ_between_cells_can_be_named():
    for key in (*config.conditions(config.load("digits").trials[0].settings), "device", "images"):
        assert parse_expectation(f"test_loss: identity > plain at {key}=x").where == ((key, "x"),)


def test_white_space_and_line_breaks_are_ignored():
    text = "\n steps_to_loss ( 5e-1 ) :identity>plain\n@95%\tat  depth=8 "
    expectation = parse_expectation(text)

    assert expectation.text == "steps_to_loss ( 5e-1 ) :identity>plain @95% at depth=8"
    assert (expectation.measure, expectation.number, expectation.level) == ("steps_to_loss", 0.5, 0.95)
    assert expectation.where == (("network.depth", "8"),)


@pytest.mark.parametrize("measure", config.MEASURES)
def test_every_measure_can_be_written(measure: str):
    number = "(0.5)" if measure in WITH_NUMBER else ""

    sides = "distance > growth" if measure == config.TRAINABILITY else "identity > plain"

    assert parse_expectation(f"{measure}{number}: {sides}").measure == measure


# ---- refused texts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("identity > plain", f"'identity > plain' does not begin with a measure and a colon; {EXAMPLE}"),
        ("", f"'' does not begin with a measure and a colon; {EXAMPLE}"),
        ("test_accuracy(0.5): identity > plain", f"test_accuracy takes no number; {EXAMPLE}"),
        ("test_accuracy(): identity > plain", f"test_accuracy takes no number; {EXAMPLE}"),
        ("steps_to_loss: identity > plain", f"steps_to_loss needs a number: steps_to_loss(0.5); {EXAMPLE}"),
        ("steps_to_loss(half): identity > plain", f"steps_to_loss needs a number: steps_to_loss(0.5); {EXAMPLE}"),
        ("time_to_loss(1e999): identity > plain", f"time_to_loss needs a number: time_to_loss(0.5); {EXAMPLE}"),
        ("test_loss: identity", f"'identity' contains none of > >= < <=; {EXAMPLE}"),
        ("test_loss: identity == plain", f"'identity == plain' contains none of > >= < <=; {EXAMPLE}"),
        ("test_loss: 1 < a < b < 2", f"'1 < a < b < 2' contains too many of > >= < <=; {EXAMPLE}"),
        ("test_loss: identity >", f"'' is neither an arm, nor a number, nor an arm plus or minus a number; {EXAMPLE}"),
        ("test_loss: a b > c", f"'a b' is neither an arm, nor a number, nor an arm plus or minus a number; {EXAMPLE}"),
        ("test_loss: 8% > identity", f"'8%' is neither an arm, nor a number, nor an arm plus or minus a number; {EXAMPLE}"),
        ("test_loss: identity > plain + 1x", f"'1x' is not a number; {EXAMPLE}"),
        ("test_loss: identity > plain + 1e999", f"'plain + 1e999' is not finite; {EXAMPLE}"),
        ("test_loss: identity > 1e999", f"'1e999' is not finite; {EXAMPLE}"),
        ("test_loss: 1 < 2", f"'1 < 2' compares two numbers, and neither side is an arm; {EXAMPLE}"),
        ("test_loss: 1 < 2 < identity", f"'1 < 2 < identity' compares two numbers, and neither side is an arm; {EXAMPLE}"),
        ("test_loss: identity > plain @ 95", f"'95' is not a level from 50% to below 100%; {EXAMPLE}"),
        ("test_loss: identity > plain @", f"'' is not a level from 50% to below 100%; {EXAMPLE}"),
        ("test_loss: identity > plain @ 100%", f"'100%' is not a level from 50% to below 100%; {EXAMPLE}"),
        ("test_loss: identity > plain @ 49%", f"'49%' is not a level from 50% to below 100%; {EXAMPLE}"),
        ("test_loss: identity > plain at", f"at: '' is not of the form key=value; {EXAMPLE}"),
        ("test_loss: identity > plain at depth", f"at: 'depth' is not of the form key=value; {EXAMPLE}"),
        ("test_loss: identity > plain at depth=", f"at: 'depth=' is not of the form key=value; {EXAMPLE}"),
        ("test_loss: identity > plain at =8", f"at: '=8' is not of the form key=value; {EXAMPLE}"),
        ("test_loss: identity > plain at depth=8 @ 95%", f"at: '@' is not of the form key=value; {EXAMPLE}"),
    ],
)
def test_text_that_cannot_be_parsed_is_shown_with_an_example(text: str, message: str):
    assert refusal(text) == f"--expect: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainability: identity > 0.5", "'identity' is not one of the predictors distance, growth, loss"),
        ("trainability: distance > residual", "'residual' is not one of the predictors distance, growth, loss"),
        (
            "trainability: distanc > 0.5",
            "'distanc' is not one of the predictors distance, growth, loss; did you mean distance?",
        ),
        ("test_accuracy: distance > 0.5", "'distance' is a predictor of trainability, not an arm"),
        ("test_accuracy: identity > loss", "'loss' is a predictor of trainability, not an arm"),
    ],
)
def test_arms_and_predictors_are_not_interchangeable(text: str, message: str):
    assert refusal(text) == f"--expect: {message}"


def test_a_hypothesis_of_more_than_a_thousand_characters_is_refused():
    longest = "test_loss: identity > plain".ljust(MAX_LENGTH)

    assert parse_expectation(longest).measure == "test_loss"
    assert refusal(f"{longest} ") == f"--expect: has 1,001 characters, more than the limit of 1,000; {EXAMPLE}"


@pytest.mark.parametrize(
    ("text", "wrong", "meant"),
    [
        ("test_acuracy: a > b", "test_acuracy", "test_accuracy"),
        ("Test-Accuracy: a > b", "Test-Accuracy", "test_accuracy"),
        ("stepstoloss(0.5): a > b", "stepstoloss", "steps_to_loss"),
    ],
)
def test_an_unknown_measure_is_named_with_all_measures_and_the_nearest(text: str, wrong: str, meant: str):
    assert refusal(text) == f"--expect: {wrong!r} is not one of {', '.join(config.MEASURES)}; did you mean {meant}?"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("dpth", "; did you mean depth?"),
        ("network.dpth", "; did you mean network.depth?"),
        ("data.nme", "; did you mean data.name?"),
        ("zzz", ""),
    ],
)
def test_an_unknown_key_of_a_cell_is_named_with_all_keys_and_the_nearest(key: str, meant: str):
    message = refusal(f"test_loss: identity > plain at {key}=8", "file.yaml")

    assert message.startswith(f"file.yaml: at: {key!r} is not one of family, depth, width, block,")
    assert message.endswith(f"images, or another key such as data.name{meant}")


@pytest.mark.parametrize("key", ["shortcut", "network.shortcut"])
def test_a_shortcut_selects_no_cell_because_it_is_an_arm(key: str):
    assert f"at: {key!r} is not one of" in refusal(f"test_loss: identity > plain at {key}=identity")


WORDS = st.sampled_from(
    [*config.MEASURES[:3], "steps_to_loss", "(0.5)", ":", "identity", "residual", "plain", ">", "<=", "+", "-", "0.01", "@",
     "95%", "at", "depth=64", "lr", "=", ",", " ", "\n", "1e999", "\x1b[31m", "٣"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=14).map(" ".join), st.lists(WORDS, max_size=14).map("".join)))
def test_any_text_is_a_hypothesis_or_gives_a_one_line_error(text: str):
    try:
        expectation = parse_expectation(text)
    except ConfigError:
        assert re.fullmatch(r"--expect: [^\n\r\x1b]+", refusal(text))
    else:
        assert expectation.arms
        assert parse_expectation(expectation.text) == expectation


# ---- claims files ---------------------------------------------------------------------------------------------------------


def test_every_shipped_claim_can_be_parsed_and_has_a_source():
    assert set(claims.shipped()) == {"tutorial", "he2015", "cifar10", "trainability"}
    for name in claims.shipped():
        for claim in claims.read(name):
            assert claim.source
            assert claim.expectation.text == " ".join(claim.expect.split())


def test_the_measures_of_the_grammar_are_those_that_can_be_computed():
    assert (*claims.MEASURES, config.TRAINABILITY) == config.MEASURES
    assert tuple(comparison.PREDICTORS) == config.PREDICTORS
