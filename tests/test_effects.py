"""The effect of a shortcut: every directional verdict needs seeds, test images, and a correction over the table."""

import csv
import gzip
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fabricated
import pytest
from scipy import stats

from resexp import comparison, config, inference, report, runs, tables
from resexp.claims import Verdict
from resexp.comparison import Effect, Part
from resexp.report import pages
from resexp.tables.answer import REST, WORDS
from resexp.tables.findings import Finding, findings

CELL = ("network.depth=[64]", "network.init=[he]", "network.norm=[none]")
JITTER = (0.001, -0.002, 0.003, 0.0, -0.001)
Values = Callable[[config.Trial], dict[str, Any]]


def arms(plain: Values, identity: Values) -> Values:
    return lambda trial: (plain if trial.arm == "plain" else identity)(trial)


def trained(accuracy: float, spread: float = 1.0, **more: Any) -> Values:
    return lambda trial: {"test_accuracy": accuracy + spread * JITTER[trial.seed % 5], **more}


def at_chance(accuracy: float = 0.1) -> Values:
    return trained(accuracy, outcome="at_chance")


def diverged(_trial: config.Trial) -> dict[str, Any]:
    return {"outcome": "diverged"}


def one_of(*each: float, **outcomes: str) -> Values:
    """The accuracy of each seed; those up to `chance` at chance."""
    return lambda t: {
        "test_accuracy": each[t.seed],
        "outcome": "at_chance" if each[t.seed] <= 0.115 else "above_chance",
        **outcomes,
    }


def found_in(folder: Path, values: Values, *overrides: str, seeds: int = 5) -> list[Finding]:
    return findings(comparison.cells(fabricated.results(folder, values, *CELL, f"seeds={seeds}", *overrides)))


# ---- trainability -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "seeds", "effect"),
    [
        pytest.param(arms(at_chance(), trained(0.9)), 5, Effect.MAKES_TRAINABLE, id="0/5 and 5/5"),
        pytest.param(arms(at_chance(), trained(0.9)), 3, Effect.MAKES_TRAINABLE, id="0/3 and 3/3, 80 points apart"),
        pytest.param(arms(trained(0.9), at_chance()), 5, Effect.MAKES_UNTRAINABLE, id="5/5 and 0/5"),
        pytest.param(arms(at_chance(), trained(0.9)), 2, Effect.TOO_FEW, id="0/2 and 2/2"),
        pytest.param(arms(at_chance(), trained(0.9)), 1, Effect.TOO_FEW, id="0/1 and 1/1: Fisher p = 1"),
        pytest.param(
            arms(trained(0.1, 0, outcome="at_chance"), trained(1.0, 0)), 5, Effect.MAKES_TRAINABLE, id="without any spread"
        ),
        pytest.param(arms(diverged, trained(0.9)), 5, Effect.MAKES_TRAINABLE, id="all diverged: ranks, p = 2/252"),
        pytest.param(arms(diverged, trained(0.9)), 3, Effect.TOO_FEW, id="all diverged: ranks, p = 2/20"),
        pytest.param(arms(at_chance(), at_chance()), 5, Effect.NEITHER, id="neither"),
        pytest.param(arms(diverged, at_chance()), 5, Effect.NEITHER, id="neither, one diverged"),
    ],
)
def test_trainability_needs_all_seeds_and_enough_of_them(tmp_path: Path, values: Values, seeds: int, effect: Effect):
    assert [of.effect for of in found_in(tmp_path, values, seeds=seeds)] == [effect]


@pytest.mark.parametrize(
    ("plain", "identity", "effect", "p"),
    [
        pytest.param((0.114, 0.134, 0.209), (0.85, 0.855, 0.86), Effect.MIXED, 2 / 20, id="3 seeds: p cannot be less"),
        pytest.param(
            (0.11, 0.134, 0.209, 0.11, 0.15), (0.85, 0.855, 0.86, 0.849, 0.851), Effect.MORE_ACCURATE, 2 / 252, id="5 seeds"
        ),
        pytest.param(
            (0.85, 0.855, 0.86, 0.849, 0.851), (0.11, 0.134, 0.209, 0.11, 0.15), Effect.LESS_ACCURATE, 2 / 252, id="other way"
        ),
        pytest.param((0.11, 0.9, 0.11, 0.9, 0.9), (0.9, 0.11, 0.9, 0.11, 0.9), Effect.MIXED, None, id="no difference"),
    ],
)
def test_mixed_outcomes_hide_no_effect_that_the_ranks_show(
    tmp_path: Path, plain: Sequence[float], identity: Sequence[float], effect: Effect, p: float | None
):
    (finding,) = found_in(tmp_path, arms(one_of(*plain), one_of(*identity)), seeds=len(plain))
    ranks = finding.residual.contrast.ranks

    assert finding.effect == effect
    assert ranks
    assert (ranks.lowest, ranks.highest) == pytest.approx(
        (min(b - a for a, b in zip(plain, identity, strict=True)), max(b - a for a, b in zip(plain, identity, strict=True)))
    )
    if p is None:
        assert ranks.p == pytest.approx(inference.mann_whitney(plain, identity))
    else:
        assert ranks.p == ranks.least == pytest.approx(p)
    starred = effect in (Effect.MORE_ACCURATE, Effect.LESS_ACCURATE)
    assert ("ranks: p = 0.0079* (smallest 0.0079)" in finding.sentence) == starred


@pytest.mark.parametrize("form", ["table", "md", "tex"])
def test_next_to_the_counts_are_the_ranks_with_their_smallest_p_and_the_range_of_differences(tmp_path: Path, form: str):
    values = arms(one_of(0.114, 0.134, 0.209), one_of(0.85, 0.855, 0.86))
    found = comparison.compare_results(fabricated.results(tmp_path, values, *CELL, "seeds=3"))
    text = tables.TABLES[form](found).replace("$", "")

    assert "counts: p = 1" in text
    assert "ranks: p = 0.1 (smallest 0.1); differences +65.1 to +73.6" in text
    assert report.html(found.results).count("ranks: p = 0.1 (smallest 0.1)") == 2  # in the table and in the sentence


# ---- accuracy ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "identity", "effect"),
    [
        pytest.param(trained(0.8), trained(0.9, -1), Effect.MORE_ACCURATE, id="10 points"),
        pytest.param(trained(0.9), trained(0.8, -1), Effect.LESS_ACCURATE, id="-10 points"),
        pytest.param(trained(0.9), trained(0.9, 2), Effect.INCONCLUSIVE, id="0 points"),
        pytest.param(trained(0.9, 0), trained(0.9, 0), Effect.INCONCLUSIVE, id="exactly 0 points"),
    ],
)
def test_accuracy_is_said_to_differ_where_a_difference_is_shown(
    tmp_path: Path, plain: Values, identity: Values, effect: Effect
):
    assert [of.effect for of in found_in(tmp_path, arms(plain, identity))] == [effect]


def test_arms_without_a_finished_seed_in_common_have_no_verdict(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        return {"test_accuracy": 0.9} if (trial.seed < 2) == (trial.arm == "plain") else {}

    assert [of.effect for of in found_in(tmp_path, values)] == [Effect.NO_PAIR]


def plain_above_chance(count: int) -> Values:
    """The given number of five plain networks is barely above chance; all residual ones are far above."""
    return arms(one_of(*(0.14 if seed < count else 0.1 for seed in range(5))), trained(0.9))


@pytest.mark.parametrize(
    ("count", "effect"),
    [
        pytest.param(0, Effect.MAKES_TRAINABLE, id="0/5"),
        pytest.param(1, Effect.MAKES_TRAINABLE, id="1/5: comes and goes with rounding errors"),
        pytest.param(2, Effect.MORE_ACCURATE, id="2/5"),
    ],
)
def test_one_exception_of_five_does_not_change_a_verdict_on_trainability(tmp_path: Path, count: int, effect: Effect):
    (finding,) = found_in(tmp_path, plain_above_chance(count))

    assert finding.effect == effect
    assert f", {count}/5 for plain" in finding.sentence or effect == Effect.MORE_ACCURATE


def test_of_three_networks_none_may_be_an_exception(tmp_path: Path):
    values = arms(one_of(0.1, 0.1, 0.14), trained(0.9))

    assert [of.effect for of in found_in(tmp_path, values, seeds=3)] == [Effect.MIXED]


@pytest.mark.parametrize(("spread", "effect"), [(0.0035, Effect.MORE_ACCURATE), (0.0065, Effect.INCONCLUSIVE)])
def test_what_5_percent_would_show_at_the_edge_is_inconclusive(tmp_path: Path, spread: float, effect: Effect):
    """Five differences around 1 point with p = 0.003 and 0.022."""
    each = [0.01 + spread * of for of in (-1.2, -0.6, 0.0, 0.6, 1.2)]
    p = stats.ttest_1samp(each, 0).pvalue
    values = arms(trained(0.8, 0), lambda trial: {"test_accuracy": 0.8 + each[trial.seed]})

    assert p < 0.05
    assert (p <= inference.ALPHA) == (effect == Effect.MORE_ACCURATE)
    assert [of.effect for of in found_in(tmp_path, values)] == [effect]


def test_a_difference_that_one_pair_shows_is_lost_among_twelve(tmp_path: Path):
    """Paired differences with p = 0.003: below 0.01 alone, 0.04 after Holm over 12."""
    each = (0.008, 0.012, 0.009, 0.015, 0.006)
    assert inference.ALPHA / 12 < stats.ttest_1samp(each, 0).pvalue < inference.ALPHA

    def values(trial: config.Trial) -> dict[str, Any]:
        network = trial.settings.network
        first = (network.depth, network.norm, network.init) == (8, "none", "he")
        gained = each[trial.seed] if first else (-1) ** trial.seed * 0.002
        return {"test_accuracy": 0.9 + gained * (trial.arm != "plain")}

    one = fabricated.results(tmp_path / "one", values, "network.depth=[8]", *CELL[1:], "seeds=5")
    twelve = fabricated.results(tmp_path / "twelve", values, "seeds=5")

    assert [of.effect for of in findings(comparison.cells(one))] == [Effect.MORE_ACCURATE]
    assert {of.effect for of in findings(comparison.cells(twelve))} == {Effect.INCONCLUSIVE}
    assert tables.TABLES["table"](comparison.compare_results(one)).count("]*") == 1
    assert "*" not in tables.TABLES["table"](comparison.compare_results(twelve))
    p = [arm.contrast.p for cell in comparison.cells(twelve) for arm in cell.arms if arm.contrast.p is not None]
    corrected = [arm.contrast.p_table for cell in comparison.cells(twelve) for arm in cell.arms if arm.contrast.p is not None]
    assert corrected == pytest.approx(inference.holm(p))
    assert len(p) == 12


def with_predictions(results: runs.Results, right: dict[str, list[int]], images: int) -> runs.Results:
    """predictions.csv.gz in which an arm's network of seed s is right on the first right[arm][s] images, others on the last."""
    for state in results.records:
        count = right[state.trial.arm][state.trial.seed]
        hits = range(count) if state.trial.arm == "plain" else range(images - count, images)
        rows = "".join(f"{index},1,{int(index in hits)},0.5\n" for index in range(images))
        text = f"index,label,prediction,label_probability\n{rows}"
        (state.folder / "predictions.csv.gz").write_bytes(gzip.compress(text.encode()))
    return results


def test_a_difference_that_other_test_images_may_undo_is_not_shown(tmp_path: Path):
    right = {"plain": [320, 322, 321, 320, 321], "identity": [324, 325, 326, 324, 326]}  # of 359, on different images

    def values(trial: config.Trial) -> dict[str, Any]:
        return {"test_accuracy": right[trial.arm][trial.seed] / 359}

    results = fabricated.results(tmp_path, values, *CELL, "seeds=5")
    (alone,) = findings(comparison.cells(results))
    (both,) = findings(comparison.cells(with_predictions(results, right, 359)))

    assert (alone.effect, both.effect) == (Effect.MORE_ACCURATE, Effect.INCONCLUSIVE)
    assert not alone.residual.contrast.over_images
    assert both.residual.contrast.over_images
    images = comparison.cells(results, images=True)[0].arms[1].contrast.images
    assert both.residual.contrast.half == pytest.approx(math.hypot(both.residual.difference.half, images))
    assert "predictions of test images are missing" in alone.sentence
    assert "predictions of test images are missing" not in both.sentence


def test_test_sets_that_differ_leave_the_seeds_alone(tmp_path: Path):
    right = {"plain": [5, 5, 5], "identity": [6, 6, 6]}
    results = fabricated.results(tmp_path, lambda t: {"test_accuracy": right[t.arm][t.seed] / 10}, *CELL, "seeds=3")
    with_predictions(results, right, 10)
    path = results.records[0].folder / "predictions.csv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"\n3,1,", b"\n3,0,")))

    assert not comparison.cells(results)[0].arms[1].contrast.over_images


def test_the_page_says_over_what_its_verdicts_are(tmp_path: Path):
    right = {"plain": [3, 3, 3], "identity": [6, 5, 6]}
    results = fabricated.results(tmp_path, lambda t: {"test_accuracy": right[t.arm][t.seed] / 10}, *CELL, "seeds=3")
    alone = pages.html(results)
    both = pages.html(with_predictions(results, right, 10))

    assert "0.01 over seeds (p" in alone
    assert "0.01 over seeds and test images" not in alone
    assert "0.01 over seeds and test images (p" in both


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-12])


def changed(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"\n3,1,0", b"\n3,1,1")))


@pytest.mark.parametrize("damage", [Path.unlink, cut_short, changed])
def test_predictions_that_are_missing_or_damaged_leave_the_seeds_alone(tmp_path: Path, damage: Callable[[Path], None]):
    right = {"plain": [3, 3, 3], "identity": [6, 5, 6]}
    results = fabricated.results(tmp_path, lambda t: {"test_accuracy": right[t.arm][t.seed] / 10}, *CELL, "seeds=3")
    for state in with_predictions(results, right, 10).records:
        runs.write_result(state.folder, state.result or {})
    folder, experiment = results.sources[0]
    before = comparison.compare_results(runs.results_of(folder, experiment))
    damage(results.records[0].folder / "predictions.csv.gz")
    after = comparison.compare_results(runs.results_of(folder, experiment))

    (both,), (alone,) = ([arm for arm in of.cells[0].arms if arm.name == "identity"] for of in (before, after))
    assert (both.contrast.over_images, alone.contrast.over_images) == (True, False)
    assert alone.contrast.half == pytest.approx(alone.difference.half)
    assert alone.summary == both.summary


# ---- training or generalization ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "identity", "part"),
    [  # (test accuracy, training accuracy) of each arm
        pytest.param((0.90, 0.965), (0.61, 0.984), Part.GENERALIZATION, id="less accurate though it trains better"),
        pytest.param((0.90, 0.965), (0.61, 0.965), Part.GENERALIZATION, id="less accurate though it trains as well"),
        pytest.param((0.90, 0.965), (0.61, 0.675), Part.TRAINING, id="both fall by 29 points"),
        pytest.param((0.90, 0.965), (0.61, 0.80), Part.BOTH, id="17 points of training, 12 of generalization"),
        pytest.param((0.50, 0.59), (0.90, 0.99), Part.TRAINING, id="more accurate, trains better"),
        pytest.param((0.50, 0.99), (0.90, 0.99), Part.GENERALIZATION, id="more accurate, trains as well"),
    ],
)
def test_training_and_generalization_are_two_things(
    tmp_path: Path, plain: tuple[float, float], identity: tuple[float, float], part: Part
):
    def values(trial: config.Trial) -> dict[str, Any]:
        test, train = plain if trial.arm == "plain" else identity
        noise = JITTER[trial.seed] * (1 if trial.arm == "plain" else -1)
        return {"test_accuracy": test + noise, "train_accuracy": train + noise / 2}

    (finding,) = found_in(tmp_path, values)

    assert finding.part == part
    assert finding.effect in (Effect.MORE_ACCURATE, Effect.LESS_ACCURATE)
    assert finding.chip == f"{finding.effect}: {part}"
    errors = [f"{100 * (1 - accuracy):.1f}%" for accuracy in (identity[1], plain[1])]
    assert f"training error {errors[0]}, plain {errors[1]}" in finding.sentence


def test_training_error_is_next_to_test_accuracy_in_every_table(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        noise = JITTER[trial.seed]
        return {"test_accuracy": 0.9 + noise, "train_accuracy": (0.965 if trial.arm == "plain" else 0.984) + noise}

    found = comparison.compare_results(fabricated.results(tmp_path, values, *CELL, "seeds=5"))
    rows = list(csv.DictReader(io.StringIO(tables.TABLES["csv"](found))))
    errors = [arm["train_error"] for arm in json.loads(tables.TABLES["json"](found))["cells"][0]["arms"]]

    assert [float(row["train_error"]) for row in rows] == pytest.approx([0.0348, 0.0158])
    assert [of["mean"] for of in errors] == pytest.approx([0.0348, 0.0158])
    assert [of["sd"] for of in errors] == pytest.approx([float(row["train_error_sd"]) for row in rows])
    assert "  plain          5/5           90.0 ± 0.2     3.5" in tables.TABLES["table"](found)
    assert "| identity | 5/5 | 90.0 ± 0.2 | 1.6 ± 0.2 |" in tables.TABLES["md"](found)
    assert r"identity & 5/5 & 90.0 $\pm$ 0.2 & 1.6 $\pm$ 0.2 &" in tables.TABLES["tex"](found)
    assert '<td class="n">90.0 ± 0.2</td><td class="n">1.6 ± 0.2</td>' in report.html(found.results)


# ---- words and colors derive from the values ---------------------------------------------------------------------------------


def test_every_effect_and_verdict_has_a_color_of_the_page_or_is_neutral():
    good = {Effect.MAKES_TRAINABLE, Effect.MORE_ACCURATE, Verdict.SUPPORTED}
    bad = {Effect.MAKES_UNTRAINABLE, Effect.LESS_ACCURATE, Verdict.NOT_SUPPORTED}

    assert {of for of in (*Effect, *Verdict) if pages.COLORS.get(of) == "good"} == good
    assert {of for of in (*Effect, *Verdict) if pages.COLORS.get(of) == "bad"} == bad


def test_every_effect_has_a_sentence_and_a_place_in_the_summary(tmp_path: Path):

    assert set(WORDS) | set(REST) == set(Effect)
    assert not set(WORDS) & set(REST)
    (finding,) = found_in(tmp_path, arms(at_chance(), trained(0.9)), seeds=1)
    assert finding.sentence.startswith("Too few seeds for a verdict: 1/1 seeds above chance, 0/1 for plain")
