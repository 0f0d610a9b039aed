"""Effects of a shortcut: every directional verdict requires seeds, test images, and a correction over the table."""

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
from resexp.tables import formats
from resexp.tables.answer import EFFECTS, NO_EFFECTS
from resexp.tables.colors import verdict_tone
from resexp.tables.findings import Finding, findings
from resexp.tables.model import Tone

CELL = ("network.depth=[64]", "network.init=[he]", "network.norm=[none]")
JITTER = (0.001, -0.002, 0.003, 0.0, -0.001)
Values = Callable[[config.Trial], dict[str, Any]]


def arms(plain: Values, identity: Values) -> Values:
    return lambda trial: (plain if trial.arm == "plain" else identity)(trial)


def trained(accuracy: float, spread: float = 1.0, **more: Any) -> Values:
    return lambda trial: {"test_accuracy": accuracy + spread * JITTER[trial.seed % 5], **more}


def at_chance(spread: float = 1.0) -> Values:
    return trained(0.1, spread, outcome="at_chance")


def diverged(_trial: config.Trial) -> dict[str, Any]:
    return {"outcome": "diverged"}


def by_seed(*accuracies: float) -> Values:
    """The accuracy of each seed; networks up to 0.115 are at chance."""
    outcomes = ["at_chance" if accuracy <= 0.115 else "above_chance" for accuracy in accuracies]
    return lambda trial: {"test_accuracy": accuracies[trial.seed], "outcome": outcomes[trial.seed]}


def findings_of(folder: Path, values: Values, *overrides: str, seeds: int = 5) -> list[Finding]:
    return findings(comparison.cells(fabricated.results(folder, values, *CELL, f"seeds={seeds}", *overrides)))


# ---- trainability -----------------------------------------------------------------------------------------------------------


def plain_above_chance(count: int) -> Values:
    """`count` of five plain networks are barely above chance; all residual networks are far above."""
    return arms(by_seed(*(0.14 if seed < count else 0.1 for seed in range(5))), trained(0.9))


def unpaired(trial: config.Trial) -> dict[str, Any]:
    return {"test_accuracy": 0.9} if (trial.seed < 2) == (trial.arm == "plain") else {}


@pytest.mark.parametrize(
    ("values", "seeds", "effect"),
    [
        pytest.param(arms(at_chance(), trained(0.9)), 5, Effect.MAKES_TRAINABLE, id="0/5 and 5/5"),
        pytest.param(arms(at_chance(), trained(0.9)), 3, Effect.MAKES_TRAINABLE, id="0/3 and 3/3, 80 points"),
        pytest.param(arms(trained(0.9), at_chance()), 5, Effect.MAKES_UNTRAINABLE, id="5/5 and 0/5"),
        pytest.param(arms(at_chance(), trained(0.9)), 2, Effect.TOO_FEW, id="0/2 and 2/2"),
        pytest.param(arms(at_chance(), trained(0.9)), 1, Effect.TOO_FEW, id="0/1 and 1/1: Fisher p = 1"),
        pytest.param(arms(at_chance(spread=0), trained(1.0, 0)), 5, Effect.MAKES_TRAINABLE, id="without any spread"),
        pytest.param(arms(diverged, trained(0.9)), 5, Effect.MAKES_TRAINABLE, id="all diverged: ranks, p = 2/252"),
        pytest.param(arms(diverged, trained(0.9)), 3, Effect.TOO_FEW, id="all diverged: ranks, p = 2/20"),
        pytest.param(arms(at_chance(), at_chance()), 5, Effect.NEITHER, id="neither above chance"),
        pytest.param(arms(diverged, at_chance()), 5, Effect.NEITHER, id="neither above chance, one diverged"),
        pytest.param(arms(by_seed(0.1, 0.1, 0.14), trained(0.9)), 3, Effect.MIXED, id="1/3: no exception is allowed"),
        pytest.param(plain_above_chance(2), 5, Effect.MORE_ACCURATE, id="2/5 and 5/5"),
        pytest.param(arms(trained(0.8), trained(0.9, -1)), 5, Effect.MORE_ACCURATE, id="10 points"),
        pytest.param(arms(trained(0.9), trained(0.8, -1)), 5, Effect.LESS_ACCURATE, id="-10 points"),
        pytest.param(arms(trained(0.9), trained(0.9, 2)), 5, Effect.INCONCLUSIVE, id="0 points"),
        pytest.param(arms(trained(0.9, 0), trained(0.9, 0)), 5, Effect.INCONCLUSIVE, id="exactly 0 points"),
        pytest.param(unpaired, 5, Effect.NO_PAIR, id="no finished seed in common"),
    ],
)
def test_a_verdict_requires_enough_seeds_with_the_same_outcome_or_a_difference_that_is_shown(
    tmp_path: Path, values: Values, seeds: int, effect: Effect
):
    assert [finding.effect for finding in findings_of(tmp_path, values, seeds=seeds)] == [effect]


@pytest.mark.parametrize("count", [0, 1])
def test_one_exception_of_five_does_not_change_a_verdict_on_trainability(tmp_path: Path, count: int):
    """One of five outcomes can change with rounding errors."""
    (finding,) = findings_of(tmp_path, plain_above_chance(count))

    assert finding.effect == Effect.MAKES_TRAINABLE
    assert finding.plain.summary.outcomes.get("above_chance", 0) == count


@pytest.mark.parametrize(
    ("plain", "identity", "effect", "p"),
    [
        pytest.param((0.114, 0.134, 0.209), (0.85, 0.855, 0.86), Effect.MIXED, 2 / 20, id="3 seeds: p cannot be smaller"),
        pytest.param(
            (0.11, 0.134, 0.209, 0.11, 0.15), (0.85, 0.855, 0.86, 0.849, 0.851), Effect.MORE_ACCURATE, 2 / 252, id="5 seeds"
        ),
        pytest.param(
            (0.85, 0.855, 0.86, 0.849, 0.851), (0.11, 0.134, 0.209, 0.11, 0.15), Effect.LESS_ACCURATE, 2 / 252, id="reversed"
        ),
        pytest.param((0.11, 0.9, 0.11, 0.9, 0.9), (0.9, 0.11, 0.9, 0.11, 0.9), Effect.MIXED, None, id="no difference"),
    ],
)
def test_ranks_show_an_effect_even_if_outcomes_are_mixed(
    tmp_path: Path, plain: Sequence[float], identity: Sequence[float], effect: Effect, p: float | None
):
    (finding,) = findings_of(tmp_path, arms(by_seed(*plain), by_seed(*identity)), seeds=len(plain))
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
    assert ("ranks: p = 0.0079* (smallest 0.0079)" in formats.ranks_text(finding.residual.contrast)) == starred


def test_counts_are_printed_with_the_rank_test_its_smallest_p_and_the_range_of_differences(tmp_path: Path):
    values = arms(by_seed(0.114, 0.134, 0.209), by_seed(0.85, 0.855, 0.86))
    compared = comparison.compare_results(fabricated.results(tmp_path, values, *CELL, "seeds=3"))

    for form in ("table", "md", "tex"):
        text = tables.FORMATS[form](compared).replace("$", "")
        assert "counts: p = 1" in text
        assert "ranks: p = 0.1 (smallest 0.1); differences +65.1 to +73.6" in text
    assert report.html(compared.results).count("ranks: p = 0.1 (smallest 0.1)") == 1


# ---- accuracy ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spread", "effect"), [(0.0035, Effect.MORE_ACCURATE), (0.0065, Effect.INCONCLUSIVE)])
def test_a_difference_that_is_significant_at_5_percent_only_is_inconclusive(tmp_path: Path, spread: float, effect: Effect):
    """Five differences around 1 point with p = 0.003 and 0.022."""
    differences = [0.01 + spread * step for step in (-1.2, -0.6, 0.0, 0.6, 1.2)]
    p = stats.ttest_1samp(differences, 0).pvalue
    values = arms(trained(0.8, 0), lambda trial: {"test_accuracy": 0.8 + differences[trial.seed]})

    assert p < 0.05
    assert (p <= inference.ALPHA) == (effect == Effect.MORE_ACCURATE)
    assert [finding.effect for finding in findings_of(tmp_path, values)] == [effect]


def test_the_difference_of_a_single_pair_is_not_significant_among_twelve(tmp_path: Path):
    """Paired differences with p = 0.003, which is 0.04 after Holm correction over 12 pairs."""
    differences = (0.008, 0.012, 0.009, 0.015, 0.006)
    assert inference.ALPHA / 12 < stats.ttest_1samp(differences, 0).pvalue < inference.ALPHA

    def values(trial: config.Trial) -> dict[str, Any]:
        network = trial.settings.network
        first = (network.depth, network.norm, network.init) == (8, "none", "he")
        gain = differences[trial.seed] if first else (-1) ** trial.seed * 0.002
        return {"test_accuracy": 0.9 + gain * (trial.arm != "plain")}

    one = fabricated.results(tmp_path / "one", values, "network.depth=[8]", *CELL[1:], "seeds=5")
    twelve = fabricated.results(tmp_path / "twelve", values, "seeds=5")

    assert [finding.effect for finding in findings(comparison.cells(one))] == [Effect.MORE_ACCURATE]
    assert {finding.effect for finding in findings(comparison.cells(twelve))} == {Effect.INCONCLUSIVE}
    assert tables.FORMATS["table"](comparison.compare_results(one)).count("]*") == 1
    assert "*" not in tables.FORMATS["table"](comparison.compare_results(twelve))
    p = [arm.contrast.p for cell in comparison.cells(twelve) for arm in cell.arms if arm.contrast.p is not None]
    corrected = [arm.contrast.p_table for cell in comparison.cells(twelve) for arm in cell.arms if arm.contrast.p is not None]
    assert corrected == pytest.approx(inference.holm(p))
    assert len(p) == 12


def with_predictions(results: runs.Results, correct: dict[str, list[int]], images: int) -> runs.Results:
    """Writes predictions: a plain network is correct on the first correct[arm][seed] images, a residual one on the last."""
    for record in results.records:
        count = correct[record.trial.arm][record.trial.seed]
        hits = range(count) if record.trial.arm == "plain" else range(images - count, images)
        rows = "".join(f"{index},1,{int(index in hits)},0.5\n" for index in range(images))
        text = f"index,label,prediction,label_probability\n{rows}"
        (record.folder / "predictions.csv.gz").write_bytes(gzip.compress(text.encode()))
    return results


def test_a_difference_within_the_uncertainty_of_the_test_images_is_not_shown(tmp_path: Path):
    correct = {"plain": [320, 322, 321, 320, 321], "identity": [324, 325, 326, 324, 326]}  # of 359, on different images

    def values(trial: config.Trial) -> dict[str, Any]:
        return {"test_accuracy": correct[trial.arm][trial.seed] / 359}

    results = fabricated.results(tmp_path, values, *CELL, "seeds=5")
    (over_seeds,) = findings(comparison.cells(results))
    (over_both,) = findings(comparison.cells(with_predictions(results, correct, 359)))

    assert (over_seeds.effect, over_both.effect) == (Effect.MORE_ACCURATE, Effect.INCONCLUSIVE)
    assert not over_seeds.residual.contrast.over_images
    assert over_both.residual.contrast.over_images
    images = comparison.cells(results, images=True)[0].arms[1].contrast.images
    assert over_both.residual.contrast.half == pytest.approx(math.hypot(over_both.residual.difference.half, images))
    assert "predictions of test images are missing" in over_seeds.evidence
    assert "predictions of test images are missing" not in over_both.evidence


def test_with_different_test_sets_the_p_value_covers_seeds_only(tmp_path: Path):
    correct = {"plain": [5, 5, 5], "identity": [6, 6, 6]}
    results = fabricated.results(tmp_path, lambda t: {"test_accuracy": correct[t.arm][t.seed] / 10}, *CELL, "seeds=3")
    with_predictions(results, correct, 10)
    path = results.records[0].folder / "predictions.csv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"\n3,1,", b"\n3,0,")))

    assert not comparison.cells(results)[0].arms[1].contrast.over_images


def test_the_report_states_which_uncertainty_its_verdicts_cover(tmp_path: Path):
    correct = {"plain": [3, 3, 3], "identity": [6, 5, 6]}
    results = fabricated.results(tmp_path, lambda t: {"test_accuracy": correct[t.arm][t.seed] / 10}, *CELL, "seeds=3")
    over_seeds = pages.html(results)
    over_both = pages.html(with_predictions(results, correct, 10))

    assert "0.01 over seeds (p" in over_seeds
    assert "0.01 over seeds and test images" not in over_seeds
    assert "0.01 over seeds and test images (p" in over_both


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-12])


def changed(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"\n3,1,0", b"\n3,1,1")))


@pytest.mark.parametrize("damage", [Path.unlink, truncated, changed])
def test_with_missing_or_damaged_predictions_the_p_value_covers_seeds_only(tmp_path: Path, damage: Callable[[Path], None]):
    correct = {"plain": [3, 3, 3], "identity": [6, 5, 6]}
    results = fabricated.results(tmp_path, lambda t: {"test_accuracy": correct[t.arm][t.seed] / 10}, *CELL, "seeds=3")
    for record in with_predictions(results, correct, 10).records:
        runs.write_result(record.folder, record.result.content)
    folder, experiment = results.sources[0]
    before = comparison.compare_results(runs.results_of(folder, experiment))
    damage(results.records[0].folder / "predictions.csv.gz")
    after = comparison.compare_results(runs.results_of(folder, experiment))

    (over_both,), (over_seeds,) = (
        [arm for arm in compared.cells[0].arms if arm.name == "identity"] for compared in (before, after)
    )
    assert (over_both.contrast.over_images, over_seeds.contrast.over_images) == (True, False)
    assert over_seeds.contrast.half == pytest.approx(over_seeds.difference.half)
    assert over_seeds.summary == over_both.summary


# ---- training or generalization ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "identity", "part"),
    [  # (test accuracy, training accuracy) of each arm
        pytest.param((0.90, 0.965), (0.61, 0.984), Part.GENERALIZATION, id="less accurate, lower training error"),
        pytest.param((0.90, 0.965), (0.61, 0.965), Part.GENERALIZATION, id="less accurate, equal training error"),
        pytest.param((0.90, 0.965), (0.61, 0.675), Part.TRAINING, id="both fall by 29 points"),
        pytest.param((0.90, 0.965), (0.61, 0.80), Part.BOTH, id="17 points of training, 12 of generalization"),
        pytest.param((0.50, 0.59), (0.90, 0.99), Part.TRAINING, id="more accurate, lower training error"),
        pytest.param((0.50, 0.99), (0.90, 0.99), Part.GENERALIZATION, id="more accurate, equal training error"),
    ],
)
def test_the_parts_of_a_difference_are_training_and_generalization(
    tmp_path: Path, plain: tuple[float, float], identity: tuple[float, float], part: Part
):
    def values(trial: config.Trial) -> dict[str, Any]:
        test, train = plain if trial.arm == "plain" else identity
        noise = JITTER[trial.seed] * (1 if trial.arm == "plain" else -1)
        return {"test_accuracy": test + noise, "train_accuracy": train + noise / 2}

    (finding,) = findings_of(tmp_path, values)

    assert finding.part == part
    assert finding.effect in (Effect.MORE_ACCURATE, Effect.LESS_ACCURATE)
    assert finding.chip == f"{finding.effect} ({part})"


def test_training_error_is_next_to_test_accuracy_in_every_table(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        noise = JITTER[trial.seed]
        return {"test_accuracy": 0.9 + noise, "train_accuracy": (0.965 if trial.arm == "plain" else 0.984) + noise}

    compared = comparison.compare_results(fabricated.results(tmp_path, values, *CELL, "seeds=5"))
    rows = list(csv.DictReader(io.StringIO(tables.FORMATS["csv"](compared))))
    errors = [arm["train_error"] for arm in json.loads(tables.FORMATS["json"](compared))["cells"][0]["arms"]]

    assert [float(row["train_error"]) for row in rows] == pytest.approx([0.0348, 0.0158])
    assert [error["mean"] for error in errors] == pytest.approx([0.0348, 0.0158])
    assert [error["sd"] for error in errors] == pytest.approx([float(row["train_error_sd"]) for row in rows])
    assert "plain 5/5 90.0 ± 0.2 3.5 " in " ".join(tables.FORMATS["table"](compared).split())
    assert "| identity | 5/5 | 90.0 ± 0.2 | 1.6 ± 0.2 |" in tables.FORMATS["md"](compared)
    assert r"identity & 5/5 & 90.0 $\pm$ 0.2 & 1.6 $\pm$ 0.2 &" in tables.FORMATS["tex"](compared)
    assert '<td class="n">90.0 ± 0.2</td><td class="n">1.6 ± 0.2</td>' in report.html(compared.results)


# ---- words and colors of the values -----------------------------------------------------------------------------------------


def test_every_effect_and_verdict_is_good_bad_or_neutral_in_color():
    good = {Effect.MAKES_TRAINABLE, Effect.MORE_ACCURATE, Verdict.SUPPORTED}
    bad = {Effect.MAKES_UNTRAINABLE, Effect.LESS_ACCURATE, Verdict.NOT_SUPPORTED}

    assert {value for value in (*Effect, *Verdict) if verdict_tone(value) == Tone.GOOD} == good
    assert {value for value in (*Effect, *Verdict) if verdict_tone(value) == Tone.BAD} == bad


def test_every_effect_has_a_sentence_in_the_summary(tmp_path: Path):
    assert set(EFFECTS) | set(NO_EFFECTS) == set(Effect)
    assert not set(EFFECTS) & set(NO_EFFECTS)
    (finding,) = findings_of(tmp_path, arms(at_chance(), trained(0.9)), seeds=1)
    assert (finding.effect, finding.evidence) == (Effect.TOO_FEW, "")
