"""Precision, pairing, selected settings and degradation: every number is checked by hand or with scipy."""

import json
import re
import shlex
from pathlib import Path

import fabricated
import numpy as np
import pytest
from scipy import stats

from resexp import comparison, runs, tables
from resexp.config import ConfigError
from resexp.inference import DegradationVerdict, Difference, Summary, paired_difference
from resexp.tables.answer import answer, headline_lines
from resexp.tables.budget import command_lines
from resexp.tables.findings import findings
from resexp.tables.recipes import recipe

TWO_DEPTHS = ("network.depth=[8,64]", "network.init=[he]", "network.norm=[none]", "seeds=4")
TUNED = ("network.depth=[8]", "network.init=he", "network.norm=none", "seeds=2")
GRID = "training.lr=[0.1,0.01,0.001]"
PAIR_SUMMARIES = Path(__file__).parent / "data" / "layout-1" / "finished" / "pairs.json"
PLAIN = (0.50, 0.60, 0.70, 0.64)
GAINS = {8: (0.01, 0.02, 0.03, 0.02), 64: (0.02, 0.10, 0.06, 0.16)}


def half_width(differences):
    return stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)


def gained(trial):
    gain = 0.0 if trial.arm == "plain" else GAINS[trial.settings.network.depth][trial.seed]
    return {"test_accuracy": PLAIN[trial.seed] + gain}


# ---- precision and pairing --------------------------------------------------------------------------------------------------


def seeds_needed(sd, aim):
    return next(n for n in range(2, 10_000) if stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n) <= aim)


def test_the_seed_budget_follows_from_the_sd_of_the_differences(tmp_path):
    compared = comparison.compare_results(fabricated.results(tmp_path, gained, *TWO_DEPTHS, "compare.margin=0.02"))
    budget = comparison.seed_budget(compared)
    deviations = [np.std(GAINS[depth], ddof=1) for depth in (8, 64)]
    seeds = [seeds_needed(sd, 0.01) for sd in (np.mean(deviations), deviations[1])]  # the median of two is their mean

    assert budget.pairs == 2
    assert budget.median.half == pytest.approx((half_width(GAINS[8]) + half_width(GAINS[64])) / 2)
    assert budget.aim == 0.01
    assert budget.widest.half == pytest.approx(half_width(GAINS[64]))
    assert [budget.median.seeds, budget.widest.seeds] == seeds
    assert [(estimate.low, estimate.high) for estimate in (budget.median, budget.widest)] == [
        tuple(seeds_needed(sd * np.sqrt(3 / stats.chi2.ppf(tail, 3)), 0.01) for tail in (0.975, 0.025))
        for sd in (np.mean(deviations), deviations[1])
    ]  # interval of the SD of 4 differences
    text = " ".join(tables.FORMATS["table"](compared).split())
    assert (
        f"For ±1.0 points you need about {seeds[0]} seeds (median pair; 95% CI {budget.median.low:,} to {budget.median.high:,})"
        in text
    )
    assert json.loads(tables.FORMATS["json"](compared))["precision"]["widest"]["seeds"] == seeds[1]


def test_the_median_and_widest_pair_are_equal_for_one_pair_and_narrow_intervals_suffice(tmp_path):
    only = comparison.compare_results(fabricated.results(tmp_path, gained, "network.depth=[8]", *TWO_DEPTHS[1:]))
    enough = comparison.compare_results(fabricated.results(tmp_path / "2", gained, *TWO_DEPTHS, "compare.margin=0.5"))
    needed = seeds_needed(np.std(GAINS[8], ddof=1), 0.005)

    assert comparison.seed_budget(only).median == comparison.seed_budget(only).widest
    assert comparison.seed_budget(only).median.half == pytest.approx(half_width(GAINS[8]))
    assert f"half-width ±1.3 points. For ±0.5 points you need about {needed} seeds (95% CI " in " ".join(
        tables.FORMATS["table"](only).split()
    )
    assert "enough for differences of 50.0 points." in " ".join(tables.FORMATS["table"](enough).split())


@pytest.mark.parametrize(
    ("metric", "overrides"),
    [
        pytest.param("test_accuracy", ["compare.margin=0"], id="no margin"),
        pytest.param("test_accuracy", ["seeds=1"], id="one seed"),
        pytest.param("test_loss", [], id="a metric without percent"),
        pytest.param("test_accuracy", ["network.plain=false", "network.shortcut=[identity]"], id="no plain arm"),
    ],
)
def test_there_is_no_seed_budget(tmp_path, metric, overrides):
    compared = comparison.compare_results(fabricated.results(tmp_path, gained, *TWO_DEPTHS, *overrides), metric)
    text = tables.FORMATS["table"](compared)

    assert comparison.seed_budget(compared) is None
    assert "Precision:" not in text
    assert "nan" not in text


def test_the_pairing_gain_over_all_pairs_agrees_with_numpy(tmp_path):
    compared = comparison.compare_results(fabricated.results(tmp_path, gained, *TWO_DEPTHS))
    residuals = [np.add(PLAIN, GAINS[depth]) for depth in (8, 64)]
    correlations = sorted(np.corrcoef(PLAIN, residual)[0, 1] for residual in residuals)
    ratios = [
        np.std(residual - PLAIN, ddof=1) / np.hypot(np.std(residual, ddof=1), np.std(PLAIN, ddof=1)) for residual in residuals
    ]
    pairing_gain = comparison.pairing_gain(compared)

    assert pairing_gain.pairs == 2
    assert [pairing_gain.lowest, pairing_gain.highest] == pytest.approx(correlations)
    assert pairing_gain.median == pytest.approx(np.median(correlations))
    assert pairing_gain.ratio == pytest.approx(np.median(ratios))
    ends = f"{correlations[0]:+.2f} to {correlations[1]:+.2f}"
    line = f"correlation between arms {ends} (median {np.median(correlations):+.2f}, 2 pairs)"
    assert line in " ".join(tables.FORMATS["table"](compared).split())


@pytest.mark.parametrize("overrides", [["seeds=2"], ["network.plain=false", "network.shortcut=[identity]"]])
def test_there_is_no_pairing_gain_with_two_seeds_or_without_a_pair(tmp_path, overrides):
    assert (
        comparison.pairing_gain(comparison.compare_results(fabricated.results(tmp_path, gained, *TWO_DEPTHS, *overrides)))
        is None
    )


# ---- each arm at its best ---------------------------------------------------------------------------------------------------


def by_learning_rate(plain, residual):
    """(validation, test) accuracies at lr 0.1, 0.01, 0.001; 'd' is a diverged trial, None means that seed 1 is missing."""
    indices = {0.1: 0, 0.01: 1, 0.001: 2}

    def values(trial):
        accuracies = (plain if trial.arm == "plain" else residual)[indices[trial.settings.training.lr]]
        if accuracies == "d":
            return {"outcome": "diverged"}
        if accuracies is None and trial.seed == 1:
            return {}
        validation, test = accuracies or (0.99, 0.99)
        return {"val_accuracy": validation + trial.seed / 100, "test_accuracy": test + trial.seed / 10}

    return values


def tuned_rows(tmp_path, plain, residual, *overrides):
    results = fabricated.results(tmp_path, by_learning_rate(plain, residual), *TUNED, GRID, *overrides)
    return results, comparison.tuned(results, ["lr"])


PEAK = [(0.7, 0.1), (0.9, 0.2), (0.8, 0.3)]


def test_settings_are_selected_by_validation_accuracy_and_compared_by_test_accuracy(tmp_path):
    _, rows = tuned_rows(tmp_path, PEAK, [(0.7, 0.5), (0.9, 0.6), (0.8, 0.9)])
    equal, best = rows

    assert [row.how for row in rows] == ["all else equal", "each at its best"]
    for row in (equal, best):
        assert (row.plain.setting, row.residual.setting) == ({"lr": "0.01"}, {"lr": "0.01"})
        assert row.difference == Difference(*(pytest.approx(0.4),) * 3, 2, 0.0)
        assert row.plain.flags == row.residual.flags == ()
    assert best.plain.summary == Summary(
        {"above_chance": 2}, 2, *(pytest.approx(number) for number in (0.25, 0.005**0.5, 0.25, 0.2, 0.3))
    )


def test_if_the_best_settings_differ_both_arms_are_also_compared_at_each(tmp_path):
    results, rows = tuned_rows(tmp_path, PEAK, [(0.9, 0.5), (0.8, 0.6), (0.7, 0.9)])

    assert [(row.how, row.plain.setting["lr"], row.residual.setting["lr"]) for row in rows] == [
        ("all else equal", "0.01", "0.01"),
        ("all else equal", "0.1", "0.1"),
        ("each at its best", "0.01", "0.1"),
    ]
    assert [row.difference.mean for row in rows] == pytest.approx([0.4, 0.4, 0.3])
    assert [row.residual.flags for row in rows] == [(), (), ("lr at the edge of the grid",)]
    text = tables.FORMATS["table"](comparison.compare_results(results, tune=["lr"]))
    assert "Each at its best lr, difference [95% CI]" in text
    assert "lr 0.1 (lr at the edge of the grid)" in text
    assert "## Each at its best lr" in tables.FORMATS["md"](comparison.compare_results(results, tune=["lr"]))
    assert max(map(len, text.splitlines())) <= 80


def test_ties_are_flagged_and_the_first_is_selected(tmp_path):
    results, rows = tuned_rows(tmp_path, [(0.9, 0.1), (0.9, 0.2), (0.9, 0.3)], PEAK)

    assert rows[-1].plain.setting == {"lr": "0.1"}
    assert rows[-1].plain.flags == ("ties with 2 other", "lr at the edge of the grid")
    assert comparison.tuned(results, ["lr", "lr"]) == rows


def test_an_incomplete_setting_is_not_selected_and_does_not_extend_the_grid(tmp_path):
    _, rows = tuned_rows(tmp_path, [None, (0.9, 0.2), (0.8, 0.3)], PEAK)

    assert rows[-1].plain.setting == {"lr": "0.01"}
    assert rows[-1].plain.flags == ("lr at the edge of the grid",)


def test_a_diverged_setting_is_not_selected_but_counts_as_tried(tmp_path):
    results, rows = tuned_rows(tmp_path, ["d", (0.9, 0.2), (0.8, 0.3)], [(0.95, 0.4), *PEAK[1:]])
    text = " ".join(tables.FORMATS["table"](comparison.compare_results(results, tune=["lr"])).split())

    assert rows[-1].plain.setting == {"lr": "0.01"}
    assert rows[-1].plain.flags == ()
    assert rows[1].difference is None
    assert re.search(r"all else equal .* identity .* lr 0.1 no difference: mixed outcomes or diverged networks", text)


def test_a_setting_without_finished_trials_of_one_arm_has_no_difference(tmp_path):
    def values(trial):
        is_missing = trial.arm == "plain" and trial.settings.training.lr == 0.1
        return {} if is_missing else by_learning_rate(PEAK, [(0.95, 0.4), *PEAK[1:]])(trial)

    results = fabricated.results(tmp_path, values, *TUNED, GRID)
    text = " ".join(tables.FORMATS["table"](comparison.compare_results(results, tune=["lr"])).split())

    assert re.search(r"all else equal .* identity .* lr 0.1 no difference: no pair has finished", text)


def test_an_arm_without_a_complete_setting_has_no_rows(tmp_path):
    assert tuned_rows(tmp_path, [None, None, None], PEAK)[1] == []


def by_seed(accuracies):
    """(validation, test) accuracies of each seed at lr 0.1, 0.01, 0.001; test accuracy of residual networks is 0.1 higher."""

    def values(trial):
        index = {0.1: 0, 0.01: 1, 0.001: 2}[trial.settings.training.lr]
        validation, test = accuracies[trial.seed][index]
        return {"val_accuracy": validation, "test_accuracy": test + (0.1 if trial.arm != "plain" else 0)}

    return values


HALVES_DIFFER = [  # seeds 0 and 1 select lr 0.1, seeds 2 and 3 select lr 0.01, all seeds select lr 0.1
    [(0.9, 0.10), (0.7, 0.20), (0.1, 0.9)],
    [(0.9, 0.11), (0.7, 0.21), (0.1, 0.9)],
    [(0.7, 0.12), (0.8, 0.22), (0.1, 0.9)],
    [(0.7, 0.13), (0.8, 0.23), (0.1, 0.9)],
]


def test_no_seed_reports_on_a_setting_that_it_helped_to_select(tmp_path):
    results = fabricated.results(tmp_path, by_seed(HALVES_DIFFER), *TUNED[:-1], "seeds=4", GRID)
    best = comparison.tuned(results, ["lr"])[-1]

    assert best.cross_fitted
    assert best.plain.setting == {"lr": "0.1"}
    assert best.plain.halves == ({"lr": "0.01"}, {"lr": "0.1"})
    reported = [0.20, 0.21, 0.12, 0.13]
    assert best.plain.summary.mean == pytest.approx(np.mean(reported))
    assert best.plain.summary.sd == pytest.approx(np.std(reported, ddof=1))
    assert best.difference.mean == pytest.approx(0.1)
    assert "lr 0.1 (by half: lr 0.01; lr 0.1; lr at the edge of the grid)" in tables.FORMATS["md"](
        comparison.compare_results(results, tune=["lr"])
    )


def test_the_interval_of_selected_settings_has_a_higher_nominal_level(tmp_path):
    def values(trial):
        noise = (0.01, 0.03, 0.02, 0.05)[trial.seed] if trial.arm != "plain" else 0
        return {"val_accuracy": trial.settings.training.lr, "test_accuracy": 0.5 + noise}

    sem = stats.sem((0.01, 0.03, 0.02, 0.05))
    for grid, level in ((GRID, 0.97), ("training.lr=[0.1]", 0.95)):
        results = fabricated.results(tmp_path / grid, values, *TUNED[:-1], "seeds=4", grid, "network.init=[he,pytorch]")
        best = comparison.tuned(results, ["lr"] if grid == GRID else [])[-1]

        assert best.difference.half == pytest.approx(stats.t.ppf((1 + level) / 2, 3) * sem)


def test_a_single_seed_that_selects_for_itself_is_marked_as_biased(tmp_path):
    results = fabricated.results(tmp_path, by_seed(HALVES_DIFFER[:1]), *TUNED[:-1], "seeds=1", GRID)
    best = comparison.tuned(results, ["lr"])[-1]

    assert not best.cross_fitted
    assert best.difference == Difference(pytest.approx(0.1), None, None, 1)
    assert "(selected and reported on the same seed: biased)" in " ".join(
        tables.FORMATS["table"](comparison.compare_results(results, tune=["lr"])).split()
    )


def test_the_best_arm_is_selected_on_the_other_half_of_the_seeds(tmp_path):
    def values(trial):
        in_first_half = trial.seed < 2
        validation = {"plain": 0.5, "identity": 0.9 if in_first_half else 0.6, "gate": 0.7}[trial.arm]
        return {"val_accuracy": validation, "test_accuracy": {"plain": 0.1, "identity": 0.2, "gate": 0.4}[trial.arm]}

    results = fabricated.results(
        tmp_path, values, "network.depth=[8]", "network.init=[he,pytorch]", "network.norm=none", "seeds=4",
        "network.shortcut=[identity,gate]",
    )  # fmt: skip
    (best,) = comparison.best_settings(results)

    assert best.residual.arm == "identity"
    assert best.residual.halves == ({"arm": "gate", "init": "he"}, {"arm": "identity", "init": "he"})
    assert best.residual.summary.mean == pytest.approx((0.4 * 2 + 0.2 * 2) / 4)
    assert "by half: arm gate, He init; arm identity, He init" in " ".join(
        tables.FORMATS["table"](comparison.compare_results(results)).split()
    )


def test_the_number_of_looks_at_a_growing_experiment_is_printed(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, gained, *TWO_DEPTHS)
    pair_summaries = json.loads(PAIR_SUMMARIES.read_text())
    once = comparison.compare_results(runs.results_of(folder, experiment))
    for summary in pair_summaries:
        summary["rounds"] = [{"round": 1, "seeds": [0, 1, 2]}, {"round": 3, "seeds": [3]}]
    (folder / "pairs.json").write_text(json.dumps(pair_summaries))
    grown = comparison.compare_results(runs.results_of(folder, experiment))

    assert (once.looks, grown.looks) == ((), (3, 4))
    sentence = "n = 3, then 4 seeds: looked at twice. If you stop because an interval excludes 0, it covers 91% of the time"
    for form in ("table", "md"):
        assert sentence in " ".join(tables.FORMATS[form](grown).split())
        assert "looked at" not in tables.FORMATS[form](once)
    assert "n = 3, then 4 seeds: looked at twice" in tables.FORMATS["tex"](grown)
    assert json.loads(tables.FORMATS["json"](grown))["looks"] == [3, 4]


def test_text_values_have_no_edge_and_unknown_keys_are_refused(tmp_path):
    results = fabricated.results(
        tmp_path, lambda t: {"test_accuracy": 0.9 if t.settings.network.init == "he" else 0.8}, "network.depth=[8]",
        "network.init=[he,pytorch]", "network.norm=none", "seeds=2",
    )  # fmt: skip

    assert [row.plain.flags for row in comparison.tuned(results, ["init"])] == [(), ()]
    with pytest.raises(ConfigError, match="'lr' does not vary here; keys that vary: depth, init"):
        comparison.tuned(results, ["lr"])


# ---- training error over depth ----------------------------------------------------------------------------------------------


def rising(trial):
    collapsed = trial.arm == "plain" and trial.settings.network.depth == 64
    return {"test_accuracy": (0.6 if collapsed else 0.95) - (0.001, 0.004, 0.002, 0.003)[trial.seed], "slope_start": -0.01}


def write_logs(results, accuracies):
    """Writes logs with training accuracy 0.1 up to step 80, then `accuracies(trial)` at step 90 and at the end."""
    for record in results.records:
        logged_accuracies = [0.1] * 9 + list(accuracies(record.trial))
        rows = [f"{10 * index},{index},0.1,1.0,{accuracy},1.0,0.5" for index, accuracy in enumerate(logged_accuracies)]
        head = "step,epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy"
        (record.folder / "metrics.csv").write_text("\n".join([head, *rows, ""]))


CLOSING = [(0.50, 0.60), (0.50, 0.61), (0.50, 0.60), (0.50, 0.62)]  # accuracy at step 90 and at the end, by seed


@pytest.mark.parametrize(
    ("deep", "shallow", "closing"),
    [
        pytest.param(CLOSING, (0.9, 0.9), True, id="the deepest networks still learn"),
        pytest.param(CLOSING, (0.7, 0.9), False, id="the shallow networks learn as fast"),
        pytest.param([(0.5, 0.9), (0.5, 0.5), (0.5, 0.4), (0.5, 0.6)], (0.9, 0.9), False, id="the interval includes 0"),
        pytest.param([(0.6, 0.5)] * 4, (0.9, 0.9), False, id="the gap grows"),
        pytest.param([(0.6, 0.6)] * 4, (0.9, 0.9), False, id="constant accuracy"),
        pytest.param([("nan", 0.6), *CLOSING[1:]], (0.9, 0.9), False, id="a logged value is nan"),
    ],
)
def test_a_degrading_arm_has_its_verdict_and_whether_the_gap_is_still_closing(tmp_path, deep, shallow, closing):
    results = fabricated.results(tmp_path, rising, *TWO_DEPTHS)
    write_logs(results, lambda t: deep[t.seed] if t.arm == "plain" and t.settings.network.depth == 64 else shallow)
    plain, identity = comparison.depth_trends(results)

    assert (plain.degradation.verdict, plain.closing) == (DegradationVerdict.DEGRADES, closing)
    assert (identity.degradation.verdict, identity.change) == (DegradationVerdict.DOES_NOT_DEGRADE, None)
    assert identity.reduction.mean == pytest.approx(0.35)


def test_a_closing_gap_is_printed_with_a_command_that_trains_longer(tmp_path):
    results = fabricated.results(tmp_path, rising, *TWO_DEPTHS)
    write_logs(results, lambda t: CLOSING[t.seed] if t.arm == "plain" and t.settings.network.depth == 64 else (0.9, 0.9))
    compared = comparison.compare_results(results)
    command = f"resexp train {tmp_path / 'digits'} training.epochs=40 name=digits-40-epochs"

    changes = [before - after for before, after in CLOSING]
    assert compared.depths[0].change == paired_difference(changes)
    for form in ("table", "md"):
        assert command in " ".join(tables.FORMATS[form](compared).replace("\\\n", "").split())
        assert "the gap is still closing: -10.7 [" in tables.FORMATS[form](compared)
    longer, folder, _ = runs.target(tmp_path / "digits", command.split()[3:], tmp_path)
    assert (longer.shared.training.epochs, folder.name) == (40, "digits-40-epochs")
    row, _ = json.loads(tables.FORMATS["json"](compared))["over_depth"]
    assert (row["closing"], row["degradation"]["verdict"]) == (True, "degrades")


def test_a_long_command_is_split_into_lines_that_a_shell_joins():
    words = ["resexp", "train", "digits", "training.warmup={steps: 260, factor: 0.00001}", *(f"key={10**n}" for n in range(12))]
    lines = command_lines(shlex.join(words), "    ")

    assert max(map(len, lines)) <= 80
    assert len(lines) > 2
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == words  # a shell removes it


@pytest.mark.parametrize(
    ("outcome", "accuracy", "verdict"),
    [
        pytest.param(
            {8: "at_chance", 64: "at_chance"},
            {8: 0.1, 64: 0.1},
            DegradationVerdict.UNTRAINED,
            id="none above chance at any depth",
        ),
        pytest.param({8: "diverged", 64: "diverged"}, {8: None, 64: None}, DegradationVerdict.UNTRAINED, id="all diverge"),
        pytest.param(
            {8: "at_chance", 64: "diverged"},
            {8: 0.1, 64: None},
            DegradationVerdict.UNTRAINED,
            id="none above chance, the deepest diverge",
        ),
        pytest.param(
            {8: "above_chance", 64: "at_chance"},
            {8: 0.104, 64: 0.1},
            DegradationVerdict.UNTRAINED,
            id="barely above chance, the deepest at chance",
        ),
        pytest.param(
            {8: "above_chance", 64: "at_chance"},
            {8: 0.9, 64: 0.1},
            DegradationVerdict.DEGRADES,
            id="the deepest at chance",
        ),
        pytest.param(
            {8: "above_chance", 64: "diverged"}, {8: 0.9, 64: None}, DegradationVerdict.DEGRADES, id="the deepest diverges"
        ),
        pytest.param(
            {8: "at_chance", 64: "above_chance"},
            {8: 0.1, 64: 0.9},
            DegradationVerdict.DOES_NOT_DEGRADE,
            id="only the deepest above chance",
        ),
    ],
)
def test_networks_that_do_not_train_have_a_separate_verdict(tmp_path, outcome, accuracy, verdict):
    def values(trial):
        depth = trial.settings.network.depth
        return {"outcome": outcome[depth], "test_accuracy": accuracy[depth], "train_accuracy": accuracy[depth]}

    results = fabricated.results(tmp_path, values, *TWO_DEPTHS[:-1], "seeds=5")
    (plain, _) = comparison.depth_trends(results)

    assert plain.degradation.verdict == verdict
    assert plain.diverged == (5 if outcome[64] == "diverged" else 0)
    assert (", 5/5 diverged" in tables.FORMATS["table"](comparison.compare_results(results))) == (outcome[64] == "diverged")


@pytest.mark.parametrize("slope", [-0.01, -0.5])
def test_the_summary_counts_conditions_with_degradation_and_stable_gradients(tmp_path, slope):
    results = fabricated.results(tmp_path, lambda t: {**rising(t), "slope_start": slope}, *TWO_DEPTHS)
    compared = comparison.compare_results(results)
    lines = answer(compared, findings(compared.cells), [])

    kind = "are stable" if slope == -0.01 else "vanish"
    assert lines[1] == f"At initialization, gradients of the deepest plain networks {kind}."
    assert lines[2] == "Training error of plain networks rises with depth; it rises less with a shortcut in 1 of 1 pair."
    assert len(lines) <= 5
    assert lines[-1].startswith("Matching: within a pair, shared weights have equal initial values")


TWO_CONDITIONS = ("network.depth=[8,64]", "network.init=[he]", "network.norm=[none,layer]", "seeds=4")


def test_the_first_lines_state_the_extreme_differences_and_the_one_at_the_best_settings_of_each_depth(tmp_path):
    def values(trial):
        layer, deep, residual = (
            trial.settings.network.norm == "layer",
            trial.settings.network.depth == 64,
            trial.arm != "plain",
        )
        gain = (0.3 if layer else -0.1) * (2 if deep else 1) + trial.seed / 100
        return {"test_accuracy": (0.2 if layer else 0.3) + residual * gain}

    results = fabricated.results(tmp_path, values, *TWO_CONDITIONS)
    compared, tuned = comparison.compare_results(results), comparison.compare_results(results, tune=["norm"])
    shallow, deep = headline_lines(compared, findings(compared.cells))

    assert re.findall(r"([+-]\d+\.\d) \[", shallow) == ["-8.5", "+31.5", "+21.5"]
    assert re.findall(r"([+-]\d+\.\d) \[", deep) == ["-18.5", "+61.5", "+51.5"]
    assert f"At depth 8 ({recipe(results)}), " in shallow
    assert "the same normalization and initialization in both arms" not in shallow  # one initialization
    assert "the same normalization in both arms (2 conditions)" in shallow
    assert headline_lines(tuned, findings(tuned.cells)) == [shallow, deep]
    for form in ("table", "md"):
        assert deep in " ".join(tables.FORMATS[form](compared).split())


def test_conditions_without_a_difference_are_counted_in_the_first_lines(tmp_path):
    def values(trial):
        mixed = trial.settings.network.norm == "layer" and trial.arm == "plain" and trial.seed == 0
        return {"outcome": "at_chance" if mixed else "above_chance", "test_accuracy": 0.5 + trial.seed / 100}

    compared = comparison.compare_results(fabricated.results(tmp_path, values, *TWO_CONDITIONS))
    one = comparison.compare_results(fabricated.results(tmp_path / "one", values, *TWO_DEPTHS))

    assert ["(1 of 2 conditions)" in line for line in headline_lines(compared, findings(compared.cells))] == [True, True]
    assert headline_lines(one, findings(one.cells)) == []


def test_n_is_the_number_of_seeds_of_arms_with_finished_trials(tmp_path):
    compared = comparison.compare_results(
        fabricated.results(tmp_path, lambda t: rising(t) if t.arm == "plain" else {}, *TWO_DEPTHS)
    )
    none = comparison.compare_results(fabricated.results(tmp_path / "none", lambda _: {}, *TWO_DEPTHS))

    assert "; missing trials: 8;" in answer(compared, findings(compared.cells), [])[-1]
    assert "\nn = 4 seeds." in tables.FORMATS["table"](compared)
    assert "$n = 4$ seeds" in tables.FORMATS["tex"](compared)
    assert "\nn = 0 seeds." in tables.FORMATS["table"](none)


def test_without_a_plain_arm_the_summary_states_that_there_is_no_matched_pair(tmp_path):
    compared = comparison.compare_results(
        fabricated.results(tmp_path, rising, *TWO_DEPTHS, "network.plain=false", "network.shortcut=[identity]")
    )
    (line,) = answer(compared, findings(compared.cells), [])

    assert line.startswith("Nothing is compared: there is no matched pair. n = 4 seeds")


def test_if_all_networks_at_a_depth_diverged_there_is_no_contrast_and_the_outcome_is_not_mixed(tmp_path):
    def values(trial):
        return {"outcome": "diverged"} if trial.settings.network.depth == 64 and trial.arm == "plain" else rising(trial)

    plain, _ = comparison.depth_trends(results := fabricated.results(tmp_path, values, *TWO_DEPTHS))

    assert (plain.degradation.contrast, plain.degradation.verdict, plain.above_chance) == (
        None,
        DegradationVerdict.INCONCLUSIVE,
        (0, 4),
    )  # p = 1/16
    for form in ("table", "md"):
        text = " ".join(tables.FORMATS[form](comparison.compare_results(results)).split())
        assert "mixed outcomes or diverged networks" in text


def test_depths_of_several_experiments_form_one_curve_with_the_margin_of_the_first(tmp_path):
    folders = [
        fabricated.experiment(tmp_path, rising, f"network.depth=[{depth}]", *TWO_DEPTHS[1:], f"name=d{depth}", margin)[0]
        for depth, margin in ((8, "compare.margin=0.02"), (64, "compare.margin=0.5"))
    ]
    compared = comparison.compare_results(runs.read_results(folders))

    assert compared.margin == 0.02
    assert [row.degradation.depths for row in compared.depths] == [(8, 64), (8, 64)]
    assert (
        comparison.depth_trends(runs.read_results(folders[::-1]))[0].degradation.verdict == DegradationVerdict.DOES_NOT_DEGRADE
    )
