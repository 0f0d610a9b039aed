"""Advice on networks whose gradients or inputs fail at initialization: each remedy appears exactly when its condition holds."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import fabricated
import pytest

from resexp import comparison, config, tables
from resexp.comparison import COLLAPSE, Flow, Inputs, inputs
from resexp.report import FORMATS
from resexp.tables.answer import trained_lines
from resexp.tables.remedies import REMEDIES, Diagnosis, advice, probe_diagnoses, remedies, trained_diagnoses

SOUND = Diagnosis("plain", "depth 64", 0.0, 0.3, "plain", "he", None, "none", lr=0.01)
FAILED = replace(SOUND, trained=5, above_chance=0)
PLAIN_VANISHING = replace(SOUND, growth=-8.0)
PLAIN_COLLAPSED = replace(SOUND, distance=0.002)
RESIDUAL_EXPLODING = replace(SOUND, arm="identity", shortcut="identity", growth=5.0)


def texts(*keys: str) -> list[str]:
    return [REMEDIES[key].format(lr=0.001) for key in keys]


# ---- remedies: what must not be advised comes first --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arm",
    [
        pytest.param(SOUND, id="stable and distinct"),
        pytest.param(replace(SOUND, growth=-1.0, distance=COLLAPSE), id="at the thresholds"),
        pytest.param(replace(SOUND, growth=None, distance=None), id="not measured"),
        pytest.param(replace(FAILED, above_chance=5), id="trained, stable and distinct"),
        pytest.param(replace(FAILED, distance=None), id="at chance, distance not measured"),
        pytest.param(replace(SOUND, growth=5.0), id="plain, exploding at the usual scale"),
        pytest.param(replace(SOUND, growth=5.0, init_scale=2.0), id="plain, exploding at init_scale 2"),
        pytest.param(replace(PLAIN_COLLAPSED, init="looks-linear"), id="collapsed although it begins linear"),
        pytest.param(replace(PLAIN_COLLAPSED, init="identity"), id="collapsed although it begins as identity"),
        pytest.param(replace(RESIDUAL_EXPLODING, norm="layer"), id="residual, exploding with normalization"),
        pytest.param(replace(RESIDUAL_EXPLODING, growth=-5.0), id="residual, vanishing"),
        pytest.param(replace(RESIDUAL_EXPLODING, growth=0.0, distance=0.1), id="residual, sound"),
        pytest.param(replace(RESIDUAL_EXPLODING, growth=0.0, distance=0.001, shortcut="skipinit"), id="scaled branches"),
    ],
)
def test_no_remedy_is_given_without_its_condition(arm: Diagnosis):
    assert remedies(arm) == []


@pytest.mark.parametrize(
    ("arm", "keys"),
    [
        pytest.param(PLAIN_VANISHING, ["shortcut"], id="plain, vanishing, He"),
        pytest.param(replace(PLAIN_VANISHING, init="pytorch"), ["shortcut", "he"], id="plain, vanishing, PyTorch"),
        pytest.param(replace(PLAIN_VANISHING, init="xavier"), ["shortcut", "he"], id="plain, vanishing, Xavier"),
        pytest.param(replace(PLAIN_VANISHING, init="pytorch", init_scale=1.0), ["shortcut"], id="init_scale chosen"),
        pytest.param(replace(PLAIN_VANISHING, init="pytorch", norm="layer"), ["shortcut"], id="vanishing with layer norm"),
        pytest.param(PLAIN_COLLAPSED, ["looks-linear"], id="plain, collapsed"),
        pytest.param(replace(PLAIN_COLLAPSED, norm="layer"), ["shortcut"], id="plain, collapsed with layer norm"),
        pytest.param(replace(PLAIN_COLLAPSED, growth=-8.0, init="pytorch"), ["shortcut", "he"], id="two of three"),
        pytest.param(replace(SOUND, growth=5.0, init_scale=4.0), ["init scale"], id="plain, exploding at a large scale"),
        pytest.param(replace(SOUND, growth=5.0, norm="batch", init_scale=4.0), ["shortcut"], id="exploding with batch norm"),
        pytest.param(RESIDUAL_EXPLODING, ["branch", "normalization"], id="residual, exploding"),
        pytest.param(replace(RESIDUAL_EXPLODING, shortcut="skipinit"), ["normalization"], id="SkipInit, exploding"),
        pytest.param(replace(RESIDUAL_EXPLODING, growth=0.0, distance=0.001), ["branch"], id="residual, collapsed"),
        pytest.param(FAILED, ["lr"], id="at chance although stable and distinct"),
        pytest.param(replace(FAILED, diverged=1), ["lr"], id="diverged"),
        pytest.param(replace(RESIDUAL_EXPLODING, trained=2, diverged=2), ["lr", "branch"], id="diverged and exploding"),
    ],
)
def test_a_remedy_is_given_exactly_when_its_condition_holds(arm: Diagnosis, keys: list[str]):
    assert remedies(arm) == texts(*keys)


def test_every_remedy_has_one_reference_and_is_stated_as_often_helpful():
    assert all(sentence.text.count("arXiv:") == 1 for sentence in REMEDIES.values())
    assert advice([PLAIN_VANISHING])[1].split()[:2] == ["Often", "helps:"]


def test_inputs_collapse_below_the_threshold():
    assert [inputs(distance) for distance in (0.0, 0.00999, COLLAPSE, 1.0)] == [Inputs.COLLAPSED] * 2 + [Inputs.DISTINCT] * 2


# ---- lines ------------------------------------------------------------------------------------------------------------------


def test_nothing_is_printed_if_all_arms_train_and_nothing_vanishes_or_collapses():
    trained = replace(SOUND, trained=5, above_chance=5)

    assert advice([SOUND, trained, replace(SOUND, growth=None, distance=None)]) == []


def test_an_arm_has_at_most_two_lines_and_arms_with_the_same_advice_share_them():
    arms = [replace(PLAIN_VANISHING, label=f"depth {depth}", growth=-depth / 4) for depth in (8, 16, 32, 64, 128)]
    lines = advice([*arms, RESIDUAL_EXPLODING])

    assert len(lines) == 4
    assert "depth 8; depth 16; depth 32; 2 more" in lines[0]
    assert "-32.0 to -2.0" in lines[0]


def test_an_arm_without_a_remedy_has_one_line():
    (line,) = advice([replace(FAILED, distance=None)])

    assert "0 of 5" in line


def test_arms_that_do_not_train_come_first():
    lines = advice([replace(RESIDUAL_EXPLODING, trained=5, above_chance=5), replace(PLAIN_COLLAPSED, trained=5)])

    assert "0 of 5" in lines[0]
    assert "5 of 5" in lines[2]


# ---- where it is printed ----------------------------------------------------------------------------------------------------

GRID = ("network.depth=64", "network.init=[he]", "network.norm=[none]", "seeds=2")


def ends(**plain: Any) -> Any:
    good = {"test_accuracy": 0.9, "slope_start": 0.0, "distance_start": 0.3}
    return lambda trial: {**good, **plain} if trial.arm == "plain" else good


@pytest.mark.parametrize("outcome", ["at_chance", "diverged"])
def test_train_prints_advice_if_an_arm_is_at_chance_or_diverged(outcome: str, tmp_path: Path):
    failing = fabricated.results(tmp_path, ends(outcome=outcome, slope_start=-0.5, distance_start=1e-9), *GRID)
    training = fabricated.results(tmp_path / "2", ends(slope_start=-0.5, distance_start=1e-9), *GRID)
    (diagnosis,) = [diagnosis for diagnosis in trained_diagnoses(failing) if diagnosis.failed]
    lines = " ".join(" ".join(trained_lines(comparison.compare_results(failing))).split())

    assert (diagnosis.arm, diagnosis.flow, diagnosis.inputs) == ("plain", Flow.VANISHING, Inputs.COLLAPSED)
    assert diagnosis.growth == pytest.approx(-15.5)
    assert (diagnosis.trained, diagnosis.above_chance, diagnosis.diverged) == (2, 0, 2 if outcome == "diverged" else 0)
    assert all(" ".join(line.split()) in lines for line in advice([diagnosis]))
    assert "Often helps" not in " ".join(trained_lines(comparison.compare_results(training)))


@pytest.mark.parametrize("form", ["html", "md", "text"])
def test_the_report_contains_the_advice(form: str, tmp_path: Path):
    failing = fabricated.results(tmp_path, ends(outcome="at_chance", distance_start=0.001), *GRID)
    sound = fabricated.results(tmp_path / "2", ends(), *GRID)

    assert "arXiv:1702.08591)" in " ".join(FORMATS[form](failing).split())
    assert "What often helps?" not in FORMATS[form](sound)


def test_logs_of_earlier_releases_have_no_distance(tmp_path: Path):
    old = fabricated.results(tmp_path, ends(outcome="at_chance", distance_start=None), *GRID)

    assert {(diagnosis.distance, diagnosis.inputs) for diagnosis in trained_diagnoses(old) if diagnosis.failed} == {
        (None, None)
    }


def measurement(trial: str, slope: float, distance: float) -> dict[str, Any]:
    norms = {name: [1.0, 1.0] for name in ("activation_rms", "activation_grad_norm")}
    return {"trial": trial, "width": 64, "blocks": ["stem", "0"], **norms, "slope": slope, "distance": distance}


def test_the_verdicts_of_a_probe_are_enum_values_in_json_and_columns_of_the_table():
    experiment = config.load("digits", GRID)
    slopes = {"plain": (-0.5, 0.001), "identity": (0.0, 0.4)}
    measured = [measurement(trial.name, *slopes[trial.arm]) for trial in experiment.trials]
    diagnostics = tables.init_diagnostics(experiment, measured)
    plain, identity = json.loads(tables.probe_json("", diagnostics))["arms"]
    text = tables.as_lines(tables.probe_parts("digits", diagnostics, 1, 64))

    assert [(arm["gradients"], arm["inputs"], arm["distance"]) for arm in (plain, identity)] == [
        ("vanishing", "collapsed", pytest.approx(0.001)),
        ("stable", "distinct", pytest.approx(0.4)),
    ]
    assert plain["growth"] == pytest.approx(-0.5 * 31)
    assert "gradients vanishing, inputs collapsed" in text
    assert [diagnosis.is_sound for diagnosis in probe_diagnoses(experiment, diagnostics)] == [False, True]
