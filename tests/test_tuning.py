"""Plans, what pairing bought, settings that are chosen, losses that still fall: each number counted by hand."""

import fabricated
import numpy as np
import pytest
from scipy import stats

from resexp import comparison, runs, tables
from resexp.config import ConfigError
from resexp.statistics import Difference, Summary
from resexp.tables.answer import answer
from resexp.tables.findings import findings

TWO_DEPTHS = ("network.depth=[8,64]", "network.init=[he]", "network.norm=[none]", "seeds=4")
TUNED = ("network.depth=[8]", "network.init=he", "network.norm=none", "seeds=2")
GRID = "training.lr=[0.1,0.01,0.001]"
PLAIN = (0.50, 0.60, 0.70, 0.64)
GAINS = {8: (0.01, 0.02, 0.03, 0.02), 64: (0.02, 0.10, 0.06, 0.16)}


def half_width(differences):
    return stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)


def gained(trial):
    gain = 0.0 if trial.arm == "plain" else GAINS[trial.settings.network.depth][trial.seed]
    return {"test_accuracy": PLAIN[trial.seed] + gain}


# ---- the plan, and what pairing bought --------------------------------------------------------------------------------------


def fewest(sd, aim):
    return next(n for n in range(2, 10_000) if stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n) <= aim)


def test_the_plan_is_counted_from_the_deviations_of_the_differences(tmp_path):
    found = comparison.compared(fabricated.results(tmp_path, gained, *TWO_DEPTHS, "compare.margin=0.02"))
    plan = comparison.plan(found)
    deviations = [np.std(GAINS[depth], ddof=1) for depth in (8, 64)]
    seeds = [fewest(sd, 0.01) for sd in (np.mean(deviations), deviations[1])]  # of two the median is the mean

    assert plan.pairs == 2
    assert plan.median == pytest.approx((half_width(GAINS[8]) + half_width(GAINS[64])) / 2)
    assert plan.aim == 0.01
    assert plan.widest == pytest.approx(half_width(GAINS[64]))
    assert [plan.seeds, plan.most] == seeds
    assert f"for ±1.0 about {seeds[0]} and {seeds[1]} seeds" in " ".join(tables.TABLES["table"](found).split())


def test_of_one_pair_the_plan_has_one_number_and_of_narrow_ones_none(tmp_path):
    only = comparison.compared(fabricated.results(tmp_path, gained, "network.depth=[8]", *TWO_DEPTHS[1:]))
    enough = comparison.compared(fabricated.results(tmp_path / "2", gained, *TWO_DEPTHS, "compare.margin=0.5"))
    needed = fewest(np.std(GAINS[8], ddof=1), 0.005)

    assert comparison.plan(only).median == comparison.plan(only).widest == pytest.approx(half_width(GAINS[8]))
    assert f"Plan: ±1.3 points now; for ±0.5 about {needed} seeds." in tables.TABLES["table"](only)
    assert "enough for differences of 50.0." in " ".join(tables.TABLES["table"](enough).split())


@pytest.mark.parametrize(
    ("metric", "overrides"),
    [
        pytest.param("test_accuracy", ["compare.margin=0"], id="no margin"),
        pytest.param("test_accuracy", ["seeds=1"], id="one seed"),
        pytest.param("test_loss", [], id="no share"),
        pytest.param("test_accuracy", ["network.plain=false", "network.shortcut=[identity]"], id="no plain arm"),
    ],
)
def test_there_is_no_plan_for(tmp_path, metric, overrides):
    found = comparison.compared(fabricated.results(tmp_path, gained, *TWO_DEPTHS, *overrides), metric)
    text = tables.TABLES["table"](found)

    assert comparison.plan(found) is None
    assert "Plan:" not in text
    assert "nan" not in text


def test_what_pairing_bought_is_numpys_over_all_pairs(tmp_path):
    found = comparison.compared(fabricated.results(tmp_path, gained, *TWO_DEPTHS))
    residuals = [np.add(PLAIN, GAINS[depth]) for depth in (8, 64)]
    correlations = sorted(np.corrcoef(PLAIN, of)[0, 1] for of in residuals)
    ratios = [np.std(of - PLAIN, ddof=1) / np.hypot(np.std(of, ddof=1), np.std(PLAIN, ddof=1)) for of in residuals]
    bought = comparison.bought(found)

    assert bought.pairs == 2
    assert [bought.lowest, bought.highest] == pytest.approx(correlations)
    assert bought.median == pytest.approx(np.median(correlations))
    assert bought.ratio == pytest.approx(np.median(ratios))
    ends = f"{correlations[0]:+.2f} to {correlations[1]:+.2f}"
    line = f"correlation between arms {ends} (median {np.median(correlations):+.2f}, 2 pairs)"
    assert line in " ".join(tables.TABLES["table"](found).split())


@pytest.mark.parametrize("overrides", [["seeds=2"], ["network.plain=false", "network.shortcut=[identity]"]])
def test_nothing_is_said_of_pairing_where_two_seeds_or_no_pair_tell_nothing(tmp_path, overrides):
    assert comparison.bought(comparison.compared(fabricated.results(tmp_path, gained, *TWO_DEPTHS, *overrides))) is None


# ---- each arm at its best ---------------------------------------------------------------------------------------------------


def by_rate(plain, residual):
    """Values from (validation, test) accuracies of lr 0.1, 0.01, 0.001; 'd' for a diverged trial, None for one that waits."""
    places = {0.1: 0, 0.01: 1, 0.001: 2}

    def values(trial):
        found = (plain if trial.arm == "plain" else residual)[places[trial.settings.training.lr]]
        if found == "d":
            return {"outcome": "diverged"}
        if found is None and trial.seed == 1:
            return {}
        validation, test = found or (0.99, 0.99)
        return {"val_accuracy": validation + trial.seed / 100, "test_accuracy": test + trial.seed / 10}

    return values


def rows_of(tmp_path, plain, residual, *overrides):
    results = fabricated.results(tmp_path, by_rate(plain, residual), *TUNED, GRID, *overrides)
    return results, comparison.tuned(results, ["lr"])


PEAK = [(0.7, 0.1), (0.9, 0.2), (0.8, 0.3)]


def test_both_arms_are_chosen_by_validation_and_compared_on_test(tmp_path):
    _, rows = rows_of(tmp_path, PEAK, [(0.7, 0.5), (0.9, 0.6), (0.8, 0.9)])
    alike, best = rows

    assert [row.how for row in rows] == ["all else equal", "each at its best"]
    for row in (alike, best):
        assert (row.plain.setting, row.residual.setting) == ({"lr": "0.01"}, {"lr": "0.01"})
        assert row.difference == Difference(*(pytest.approx(0.4),) * 3, 2, 0.0)
        assert row.plain.flags == row.residual.flags == ()
    assert best.plain.summary == Summary({"trained": 2}, 2, *(pytest.approx(of) for of in (0.25, 0.005**0.5, 0.25, 0.2, 0.3)))


def test_where_the_arms_bests_differ_both_are_compared_at_either_too(tmp_path):
    results, rows = rows_of(tmp_path, PEAK, [(0.9, 0.5), (0.8, 0.6), (0.7, 0.9)])

    assert [(row.how, row.plain.setting["lr"], row.residual.setting["lr"]) for row in rows] == [
        ("all else equal", "0.01", "0.01"),
        ("all else equal", "0.1", "0.1"),
        ("each at its best", "0.01", "0.1"),
    ]
    assert [row.difference.mean for row in rows] == pytest.approx([0.4, 0.4, 0.3])
    assert [row.residual.flags for row in rows] == [(), (), ("lr at the edge of the grid",)]
    text = tables.TABLES["table"](comparison.compared(results, tune=["lr"]))
    assert "Tuned over lr (chosen by mean validation accuracy)" in text
    assert "lr 0.1 (lr at the edge of the grid)" in text
    assert "## Tuned over lr" in tables.TABLES["md"](comparison.compared(results, tune=["lr"]))
    assert max(map(len, text.splitlines())) <= 80


def test_ties_are_flagged_and_the_first_is_taken(tmp_path):
    results, rows = rows_of(tmp_path, [(0.9, 0.1), (0.9, 0.2), (0.9, 0.3)], PEAK)

    assert rows[-1].plain.setting == {"lr": "0.1"}
    assert rows[-1].plain.flags == ("ties with 2 other", "lr at the edge of the grid")
    assert comparison.tuned(results, ["lr", "lr"]) == rows


def test_a_setting_of_which_a_trial_is_missing_is_not_chosen_and_widens_no_grid(tmp_path):
    _, rows = rows_of(tmp_path, [None, (0.9, 0.2), (0.8, 0.3)], PEAK)

    assert rows[-1].plain.setting == {"lr": "0.01"}
    assert rows[-1].plain.flags == ("lr at the edge of the grid",)


def test_a_setting_that_diverged_is_not_chosen_but_was_tried(tmp_path):
    results, rows = rows_of(tmp_path, ["d", (0.9, 0.2), (0.8, 0.3)], [(0.95, 0.4), *PEAK[1:]])
    text = " ".join(tables.TABLES["table"](comparison.compared(results, tune=["lr"])).split())

    assert rows[-1].plain.setting == {"lr": "0.01"}
    assert rows[-1].plain.flags == ()
    assert rows[1].difference is None
    assert "all else equal: no difference: outcomes mixed or diverged both at lr 0.1" in text


def test_a_setting_that_one_arm_has_not_begun_says_so(tmp_path):
    def values(trial):
        waits = trial.arm == "plain" and trial.settings.training.lr == 0.1
        return {} if waits else by_rate(PEAK, [(0.95, 0.4), *PEAK[1:]])(trial)

    results = fabricated.results(tmp_path, values, *TUNED, GRID)
    text = " ".join(tables.TABLES["table"](comparison.compared(results, tune=["lr"])).split())

    assert "all else equal: no difference: no pair has finished both at lr 0.1" in text


def test_where_one_arm_has_no_whole_setting_there_are_no_rows(tmp_path):
    assert rows_of(tmp_path, [None, None, None], PEAK)[1] == []


def test_words_have_no_edge_and_unknown_keys_are_refused(tmp_path):
    results = fabricated.results(
        tmp_path, lambda t: {"test_accuracy": 0.9 if t.settings.network.init == "he" else 0.8}, "network.depth=[8]",
        "network.init=[he,pytorch]", "network.norm=none", "seeds=2",
    )  # fmt: skip

    assert [row.plain.flags for row in comparison.tuned(results, ["init"])] == [(), ()]
    with pytest.raises(ConfigError, match="'lr' does not vary here; what does: depth, init"):
        comparison.tuned(results, ["lr"])


# ---- training error over depth ----------------------------------------------------------------------------------------------


def rising(trial):
    collapsed = trial.arm == "plain" and trial.settings.network.depth == 64
    return {"test_accuracy": (0.6 if collapsed else 0.95) - (0.001, 0.004, 0.002, 0.003)[trial.seed], "slope_start": -0.01}


def logged(results, losses):
    """Every metrics.csv with these training losses at steps 0, 10, ..."""
    for state in results.states:
        rows = [f"{10 * place},{place},0.1,{loss},0.5,1.0,0.5" for place, loss in enumerate(losses)]
        head = "step,epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy"
        (state.folder / "metrics.csv").write_text("\n".join([head, *rows, ""]))


FLAT_FROM_90 = [2.0] * 9 + [1.0]


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        pytest.param([*FLAT_FROM_90, 1.0], "degrades", id="at rest"),
        pytest.param([*FLAT_FROM_90, 0.96], "degrades", id="4 % since step 90"),
        pytest.param([*FLAT_FROM_90, 0.94], "slower, not shown worse", id="6 % since step 90"),
        pytest.param([*FLAT_FROM_90, 1.5], "degrades", id="it rises"),
        pytest.param([2.0, 1.0], "slower, not shown worse", id="two readings: all since the first"),
        pytest.param([0.9], "degrades", id="one reading"),
        pytest.param([], "degrades", id="no reading"),
        pytest.param([*FLAT_FROM_90, "nan"], "degrades", id="the last is no number"),
        pytest.param([*[2.0] * 9, "nan", 0.5], "degrades", id="the one before is no number"),
        pytest.param([0.0] * 11, "degrades", id="no loss at all"),
    ],
)
def test_a_loss_that_falls_by_more_than_a_twentieth_is_slower(tmp_path, losses, verdict):
    results = fabricated.results(tmp_path, rising, *TWO_DEPTHS)
    logged(results, losses)
    plain, identity = comparison.over_depth(results)

    assert (plain.arm, plain.found.verdict) == ("plain", verdict)
    assert (identity.arm, identity.found.verdict) == ("identity", "does not degrade")
    assert identity.removed.mean == pytest.approx(0.35)


@pytest.mark.parametrize("slope", [-0.01, -0.5])
def test_the_summary_says_where_training_error_rises_although_gradients_are_stable(tmp_path, slope):
    results = fabricated.results(tmp_path, lambda t: {**rising(t), "slope_start": slope}, *TWO_DEPTHS)
    logged(results, [1.0] * 11)
    found = comparison.compared(results)
    lines = answer(found, findings(found.cells), [])

    assert ("under 1 of those 1, training error still rises with depth" in " ".join(lines)) is (slope == -0.01)
    rises = "training error of plain networks rises with depth under 1 of 1 condition"
    assert lines[1] == f"At learning rate 0.001, 20 epochs, {rises}; it rises less with a shortcut in 1 of 1 pair."
    assert len(lines) <= 5
    assert lines[-1].startswith("Matching: within a pair, shared weights start equal")


def test_arms_that_have_not_begun_are_no_count_of_seeds(tmp_path):
    found = comparison.compared(fabricated.results(tmp_path, lambda t: rising(t) if t.arm == "plain" else {}, *TWO_DEPTHS))
    none = comparison.compared(fabricated.results(tmp_path / "none", lambda _: {}, *TWO_DEPTHS))

    assert "; 8 trials are missing;" in answer(found, findings(found.cells), [])[-1]
    assert "\nn = 4 seeds." in tables.TABLES["table"](found)
    assert "$n = 4$ seeds" in tables.TABLES["tex"](found)
    assert "\nn = 0 seeds." in tables.TABLES["table"](none)


def test_without_a_plain_arm_the_summary_calls_nothing_matched(tmp_path):
    found = comparison.compared(
        fabricated.results(tmp_path, rising, *TWO_DEPTHS, "network.plain=false", "network.shortcut=[identity]")
    )
    (line,) = answer(found, findings(found.cells), [])

    assert line.startswith("Nothing is compared: there is no matched pair. n = 4 seeds")


def test_an_end_where_all_diverged_is_not_called_mixed(tmp_path):
    def values(trial):
        return {"outcome": "diverged"} if trial.settings.network.depth == 64 and trial.arm == "plain" else rising(trial)

    plain, _ = comparison.over_depth(results := fabricated.results(tmp_path, values, *TWO_DEPTHS))

    assert (plain.found.contrast, plain.found.verdict, plain.trained) == (None, "cannot tell", (0, 4))  # p = 1/16
    for form in ("table", "md"):
        assert "outcomes mixed or diverged" in tables.TABLES[form](comparison.compared(results))


def test_depths_of_several_experiments_are_one_curve_with_the_first_ones_margin(tmp_path):
    folders = [
        fabricated.experiment(tmp_path, rising, f"network.depth=[{depth}]", *TWO_DEPTHS[1:], f"name=d{depth}", margin)[0]
        for depth, margin in ((8, "compare.margin=0.02"), (64, "compare.margin=0.5"))
    ]
    found = comparison.compared(runs.read_results(folders))

    assert found.margin == 0.02
    assert [row.found.depths for row in found.depths] == [(8, 64), (8, 64)]
    assert comparison.over_depth(runs.read_results(folders[::-1]))[0].found.verdict == "does not degrade"
