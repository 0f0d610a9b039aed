"""Tables: outcomes, differences paired by seed, and means only if all seeds have the same outcome."""

import csv
import io
import json

import fabricated
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import resexp
from resexp import comparison, runs, tables
from resexp.comparison import Effect
from resexp.report import FORMATS
from resexp.tables import configurations
from resexp.tables.findings import findings, pair_verdicts
from resexp.tables.formats import difference_text
from resexp.tables.frames import profiles, read_frames
from resexp.tables.labels import label_text
from resexp.tables.model import Column, Table
from resexp.tables.writers import html_table

ONE_CELL = ("network.depth=[64]", "network.init=[he]", "network.norm=[none]", "seeds=4")
PLAIN, RESIDUAL = (0.50, 0.60, 0.70, 0.64), (0.61, 0.66, 0.83, 0.70)


def both_above_chance(trial):
    return {"test_accuracy": (PLAIN if trial.arm == "plain" else RESIDUAL)[trial.seed], "slope_start": -0.5}


def raised(points):
    """Residual networks that are more accurate by `points`, with an SD of a quarter of a point."""
    return lambda trial: {
        "test_accuracy": PLAIN[trial.seed] + (points + 0.002 * trial.seed) * (trial.arm != "plain"), "slope_start": -0.5
    }  # fmt: skip


def plain_mixed(trial):
    at_chance = trial.arm == "plain" and trial.seed < 3
    return {"test_accuracy": 0.1 if at_chance else 0.9, "outcome": "at_chance" if at_chance else "above_chance"}


def plain_at_chance(trial):
    return {
        "test_accuracy": 0.1 if trial.arm == "plain" else 0.9,
        "outcome": "at_chance" if trial.arm == "plain" else "above_chance",
    }


def none_above_chance(trial):
    return {"outcome": "diverged"} if trial.arm == "plain" else {"test_accuracy": 0.1 + trial.seed / 10, "outcome": "at_chance"}


def no_common_seed(trial):
    return {"test_accuracy": 0.9} if (trial.seed < 2) == (trial.arm == "plain") else {}


def one_pair(trial):
    return {"test_accuracy": 0.9 if trial.arm == "identity" else 0.6} if trial.seed == 1 else {}


def plain_diverged(trial):
    return {"outcome": "diverged"} if trial.arm == "plain" else {"test_accuracy": 0.9}


def test_paired_differences_and_their_intervals_equal_those_of_scipy(tmp_path):
    ((cell),) = comparison.cells(fabricated.results(tmp_path, both_above_chance, *ONE_CELL))
    plain, residual = cell.arms
    interval = stats.ttest_rel(RESIDUAL, PLAIN).confidence_interval(0.95)

    assert [plain.name, residual.name] == ["plain", "identity"]
    assert np.mean(PLAIN) == pytest.approx(plain.summary.mean)
    assert np.std(RESIDUAL, ddof=1) == pytest.approx(residual.summary.sd)
    assert (interval.low, interval.high) == pytest.approx((residual.difference.low, residual.difference.high))
    assert residual.difference.n == 4


def test_a_seed_that_one_arm_has_not_finished_is_not_paired_and_counts_as_missing(tmp_path):
    def values(trial):
        return {} if (trial.arm, trial.seed) == ("plain", 2) else both_above_chance(trial)

    ((cell),) = comparison.cells(fabricated.results(tmp_path, values, *ONE_CELL))
    differences = [RESIDUAL[seed] - PLAIN[seed] for seed in (0, 1, 3)]

    assert cell.arms[1].difference.n == 3
    assert np.mean(differences) == pytest.approx(cell.arms[1].difference.mean)
    assert tables.outcome_text(cell.arms[0]) == "3/3"
    assert tables.missing_text(cell.arms[0]) == "n = 3 of 4, 1 waiting"
    assert tables.missing_text(cell.arms[1]) == ""


@pytest.mark.parametrize(
    ("values", "outcome", "accuracy", "has_difference"),
    [
        pytest.param(both_above_chance, "4/4", "61.0 ± 8.4", True, id="all above chance"),
        pytest.param(plain_at_chance, "0/4 (4 at chance)", "10.0 ± 0.0", True, id="all at chance"),
        pytest.param(plain_mixed, "1/4 (3 at chance)", "median 10.0 (10.0 to 90.0)", False, id="mixed: no mean, no interval"),
        pytest.param(plain_diverged, "0/4 (4 diverged)", "-", False, id="diverged: no accuracy"),
    ],
)
def test_outcomes_decide_whether_there_is_a_mean_and_a_difference(tmp_path, values, outcome, accuracy, has_difference):
    ((cell),) = comparison.cells(fabricated.results(tmp_path, values, *ONE_CELL))

    assert tables.outcome_text(cell.arms[0]) == outcome
    assert tables.accuracy_text(cell.arms[0].summary) == accuracy
    assert (cell.arms[1].difference is not None) == has_difference


@pytest.mark.parametrize(
    ("values", "effect", "difference"),
    [
        pytest.param(plain_at_chance, Effect.MAKES_TRAINABLE, None, id="makes trainable"),
        pytest.param(plain_mixed, Effect.MIXED, "", id="mixed"),
        pytest.param(none_above_chance, Effect.NEITHER, None, id="neither: diverged and at chance"),
        pytest.param(lambda _: {"test_accuracy": 0.1, "outcome": "at_chance"}, Effect.NEITHER, None, id="neither: at chance"),
        pytest.param(no_common_seed, Effect.NO_PAIR, "", id="no seed in common"),
        pytest.param(one_pair, Effect.TOO_FEW, None, id="one"),
        pytest.param(raised(0.09), Effect.MORE_ACCURATE, "+9.3 [+8.9, +9.7]", id="more accurate"),
        pytest.param(both_above_chance, Effect.INCONCLUSIVE, "+9.0 [+3.3, +14.7]", id="p = 0.015"),
        pytest.param(raised(-0.09), Effect.LESS_ACCURATE, "-8.7", id="less accurate"),
        pytest.param(
            lambda t: {"test_accuracy": PLAIN[t.seed if t.arm == "plain" else 3 - t.seed]}, Effect.INCONCLUSIVE, None, id="none"
        ),
        pytest.param(
            lambda t: {**plain_at_chance(t), "outcome": "above_chance" if t.arm == "plain" else "at_chance"},
            Effect.MAKES_UNTRAINABLE, None, id="makes untrainable",
        ),
    ],
)  # fmt: skip
def test_a_finding_states_the_measured_effect(tmp_path, values, effect, difference):
    (finding,) = findings(comparison.cells(fabricated.results(tmp_path, values, *ONE_CELL)))

    assert finding.effect == effect
    assert finding.chip.startswith(effect)
    assert bool(finding.evidence) == (effect not in (Effect.NEITHER, Effect.TOO_FEW, Effect.NO_PAIR))
    if difference is not None:
        assert difference_text(finding.residual.difference).startswith(difference)


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [  # 31 blocks: -0.01 per block is -0.3 orders of magnitude over the network, -0.1 is -3.1
        pytest.param(-0.01, -0.01, "stable (-0.3)", id="stable"),
        pytest.param(-0.01, -0.2, "stable (-0.3), vanishing (-6.2) at the end of epoch 1", id="later"),
        pytest.param(-0.1, -0.1, "vanishing (-3.1)", id="0.1 per block vanishes over 31 of them"),
        pytest.param(None, None, "", id="not measured"),
    ],
)
def test_the_table_of_pairs_has_the_kind_of_gradients_at_initialization_and_later(tmp_path, start, end, text):
    results = fabricated.results(tmp_path, lambda t: {**plain_at_chance(t), "slope_start": start, "slope_end": end}, *ONE_CELL)
    table = pair_verdicts(findings(comparison.cells(results)))

    assert [column.text(table.rows[0]) for column in table.columns if column.heading.startswith("gradients")] == [text, text]


def test_best_settings_are_selected_by_validation_and_reported_on_the_test_set(tmp_path):
    def values(trial):
        he = trial.settings.network.init == "he"  # better on validation, worse on test
        return {"test_accuracy": 0.5 if he else 0.8, "val_accuracy": 0.9 if he else 0.6}

    folder, experiment = fabricated.experiment(tmp_path, values, "network.depth=[64]", "network.norm=[none]", "seeds=2")
    (best,) = comparison.best_settings(runs.results_of(folder, experiment))

    assert (best.plain.setting, best.residual.setting) == ({"init": "he"}, {"init": "he"})
    assert best.plain.summary.mean == 0.5


def test_the_terminal_table_fits_80_columns_and_explains_outcomes(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, plain_mixed)
    text = tables.FORMATS["table"](comparison.compare_results(runs.results_of(folder, experiment)))

    assert max(map(len, text.splitlines())) <= 80
    assert "depth 64, layer norm, He init  (100 parameters each)" in text
    assert "median 10.0 (10.0 to 90.0)" in text
    assert "median and range, no mean and no interval" in " ".join(text.split())


@pytest.mark.parametrize(
    ("label", "text"),
    [
        pytest.param({"depth": "64", "norm": "layer", "init": "he"}, "depth 64, layer norm, He init", id="names"),
        pytest.param({"norm": "none", "init": "pytorch"}, "no normalization, PyTorch init", id="defaults"),
        pytest.param({"init": "delta-orthogonal", "lr": "0.1"}, "delta-orthogonal init, lr 0.1", id="values without a name"),
        pytest.param({}, "all", id="no axis"),
    ],
)
def test_labels_use_the_names_of_the_field(label, text):
    assert label_text(label) == text


def test_depth_2_has_a_note_that_there_is_nothing_to_skip(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, both_above_chance, *ONE_CELL[1:], "network.depth=[2]")

    assert "nothing to skip at depth 2" in tables.FORMATS["table"](
        comparison.compare_results(runs.results_of(folder, experiment))
    )


def test_tables_with_many_long_arm_names_fit_80_columns(tmp_path):
    arms = "[identity, stochastic-depth, {gate-shortcut: {bias: -6}}, rezero, projection-all]"
    axes = ["network.depth=[8]", "network.norm=none", "network.init=he", f"network.shortcut={arms}", "seeds=2"]
    folder, experiment = fabricated.experiment(tmp_path, lambda t: {"test_accuracy": 0.9, "parameters": len(t.arm)}, *axes)
    lines = tables.FORMATS["table"](comparison.compare_results(runs.results_of(folder, experiment))).splitlines()

    assert max(map(len, lines)) <= 80
    assert any(line.split()[:2] == ["gate-shortcut-bias-6", "2/2"] for line in lines)


LONG = "scaled: {scale: 0.123456789, branch: 0.987654321}"


@pytest.mark.parametrize(
    ("values", "question"),
    [
        pytest.param(lambda t: {"test_accuracy": 0.9, "parameters": len(t.arm)}, "why?", id="above chance"),
        pytest.param(lambda _trial: {"outcome": "diverged"}, " ".join(["why?"] * 30), id="diverged, a long question"),
        pytest.param(
            lambda t: {"test_accuracy": [1.0, 0.02][(t.seed + (t.arm == "plain")) % 2], "slope_start": -12.3},
            "why?",
            id="the widest possible interval",
        ),
    ],
)
def test_every_line_fits_80_columns_with_any_content(tmp_path, values, question):
    arms = f"[{{{LONG}}}, {{gate-shortcut: {{bias: -6}}}}, projection-all, {{gate: {{bias: -6.25}}}}]"
    axes = ["network.depth=[8]", "network.norm=none", "network.init=he", f"network.shortcut={arms}", "seeds=2"]
    results = fabricated.results(tmp_path, values, *axes, "network.plain_width=parameters", f"question={question}")
    lines = tables.FORMATS["table"](comparison.compare_results(results)).splitlines()

    assert max(map(len, lines)) <= 80
    assert all(line.count("[") == line.count("]") for line in lines)  # no interval continues on the next line
    assert "  scaled-scale0.123456789-branch0.987654321" in lines
    assert {"plain-as-gate-shortcut", "plain-as-projection-all"} <= {line.split()[0] for line in lines if line.split()}


@pytest.mark.parametrize(
    ("values", "outcomes"),
    [
        pytest.param(plain_diverged, "0/2 (2 diverged)", id="diverged"),
        pytest.param(plain_at_chance, "0/2 (2 at chance)", id="at chance"),
        pytest.param(both_above_chance, "2/2", id="above chance"),
    ],
)
def test_a_row_has_one_line_with_its_difference_whatever_the_outcomes(tmp_path, values, outcomes):
    compared = comparison.compare_results(fabricated.results(tmp_path, values, *ONE_CELL[:3], "seeds=2"))
    plain_arm, residual_arm = compared.cells[0].arms
    lines = tables.FORMATS["table"](compared).splitlines()
    plain, identity = (next(line for line in lines if line.startswith(f"  {arm} ")) for arm in ("plain", "identity"))
    accuracies = [f" {tables.accuracy_text(arm.summary)} " for arm in (plain_arm, residual_arm)]

    assert f" {outcomes} " in plain
    assert plain.index(outcomes) == identity.index("2/2")
    assert plain.index(accuracies[0]) + len(accuracies[0]) == identity.index(accuracies[1]) + len(accuracies[1])
    assert f" {tables.contrast_text(residual_arm, compared.metric, compared.resolution)} " in identity


def test_outcomes_of_three_kinds_are_printed_completely(tmp_path):
    def ended(trial):
        outcomes = ("at_chance", "diverged", "above_chance", "above_chance")
        return {"outcome": outcomes[trial.seed]} if trial.arm == "plain" else {"test_accuracy": 0.9}

    lines = tables.FORMATS["table"](comparison.compare_results(fabricated.results(tmp_path, ended, *ONE_CELL))).splitlines()

    assert sum("2/4 (1 at chance, 1 diverged)" in line for line in lines) == 1
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        pytest.param(0, "4 of 4 trials finished", id="all above chance"),
        pytest.param(
            1, "6 of 6 trials finished, 1 at chance, 1 diverged: identity-d8-s1 at step 31", id="one diverged, one at chance"
        ),
        pytest.param(6, "16 of 16 trials finished, 6 at chance, 6 diverged: identity-d8-s1 at step 31, identity-d8-s2 at step "
                     "32, identity-d8-s3 at step 33, identity-d8-s4 at step 34 and 2 more", id="many are counted"),
    ],
)  # fmt: skip
def test_outcomes_are_counted_and_the_steps_of_divergence_are_listed(tmp_path, seeds, text):
    def ended(trial):
        if not 0 < trial.seed <= seeds:
            return {"test_accuracy": 0.9}
        return (
            {"outcome": "at_chance", "test_accuracy": 0.1}
            if trial.arm == "plain"
            else {"outcome": "diverged", "steps": 30 + trial.seed}
        )

    results = fabricated.results(tmp_path, ended, *ONE_CELL[:3], f"seeds={2 + seeds}")
    (arm,) = (arm for arm in comparison.compare_results(results).cells[0].arms if arm.name == "identity")

    assert tables.progress_text(results.records) == text.replace("-d8-", "-d64-norm-none-init-he-")
    assert arm.diverged == tuple((seed, 30 + seed) for seed in range(1, seeds + 1))
    assert tables.diverged_text(arm) == {0: "", 1: "seed 1 at step 31", 6: "6 seeds at steps 31 to 36"}[seeds]


def test_accuracy_rows_contain_keys_outside_of_sections(tmp_path):
    both = [fabricated.experiment(tmp_path, both_above_chance, *ONE_CELL, f"name={precision}", f"precision={precision}")
            for precision in PRECISIONS]  # fmt: skip
    columns, rows = tables.trial_rows(runs.read_results([folder for folder, _ in both]))

    assert columns[:7] == ["trial", "arm", "depth", "norm", "init", "precision", "seed"]
    assert {row[5] for row in rows} == set(PRECISIONS)


PRECISIONS = ("float32", "float64")


def test_csv_json_and_markdown_contain_the_same_numbers(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, both_above_chance, *ONE_CELL)
    (plain, residual) = csv.DictReader(
        io.StringIO(tables.FORMATS["csv"](comparison.compare_results(runs.results_of(folder, experiment))))
    )
    arms = json.loads(tables.FORMATS["json"](comparison.compare_results(runs.results_of(folder, experiment))))["cells"][0][
        "arms"
    ]

    assert float(residual["mean"]) == pytest.approx(arms[1]["summary"]["mean"])
    assert float(residual["low"]) == pytest.approx(arms[1]["difference"]["low"])
    assert plain["difference"] == ""
    assert "| identity | 4/4 | 70.0 ± 9.4 | 30.0 ± 9.4 | +9.0 [+3.3, +14.7] |" in tables.FORMATS["md"](
        comparison.compare_results(runs.results_of(folder, experiment))
    )


def test_a_column_that_is_added_to_the_configurations_appears_in_every_format(tmp_path, monkeypatch):
    column = Column("twice n", lambda row: f"{2 * row.arm.summary.n} times", data={"twice": lambda row: 2 * row.arm.summary.n})
    monkeypatch.setattr(configurations, "REMARKS", [*configurations.REMARKS, column])
    compared = comparison.compare_results(fabricated.results(tmp_path, both_above_chance, *ONE_CELL))
    texts = {form: write(compared) for form, write in tables.FORMATS.items()}

    assert [form for form, text in texts.items() if " ".join(text.split()).count("8 times") == 2] == ["table", "md", "tex"]
    assert html_table(configurations.configurations(compared)).count("8 times") == 2
    assert [row["twice"] for row in csv.DictReader(io.StringIO(texts["csv"]))] == ["8", "8"]
    assert [arm["twice"] for arm in json.loads(texts["json"])["cells"][0]["arms"]] == [8, 8]


def test_a_table_that_is_added_from_outside_appears_in_every_format_and_the_report(tmp_path, monkeypatch):
    def counted(compared):
        count = Column("finished", lambda cell: str(cell.arms[0].summary.n), data={"n": lambda cell: cell.arms[0].summary.n})
        return Table("Finished trials", [count], compared.cells)

    monkeypatch.setitem(resexp.TABLES, "counts", counted)
    monkeypatch.setitem(resexp.TABLES, "empty", lambda _compared: Table("Absent", [], []))
    results = fabricated.results(tmp_path, both_above_chance, *ONE_CELL)
    compared = comparison.compare_results(results)
    texts = [tables.FORMATS[form](compared) for form in ("table", "md", "tex")] + [make(results) for make in FORMATS.values()]
    written = json.loads(tables.FORMATS["json"](compared))["tables"]

    assert [("Finished trials" in text, "Absent" in text) for text in texts] == [(True, False)] * 6
    assert written == {"counts": [{"n": 4}]}


def test_accuracy_csv_has_a_row_per_finished_trial(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, both_above_chance, *ONE_CELL)
    tables.write_accuracy(runs.results_of(folder, experiment))
    frame = pd.read_csv(folder / "accuracy.csv")

    assert list(frame.columns[:6]) == ["trial", "arm", "depth", "norm", "init", "seed"]
    assert list(frame["trial"]) == [trial.name for trial in experiment.trials]
    assert (folder / "accuracy.md").read_text().startswith("# digits")


def test_a_trial_that_is_no_longer_in_the_config_is_listed(tmp_path):
    folder, _ = fabricated.experiment(tmp_path, both_above_chance, *ONE_CELL)
    smaller = fabricated.config.load("digits", [*ONE_CELL[:3], "seeds=3"])

    assert "no longer in the config: identity-d64-norm-none-init-he-s3" in tables.FORMATS["table"](
        comparison.compare_results(runs.results_of(folder, smaller))
    )


def test_profiles_are_relative_to_the_last_block_of_the_arm_and_skip_zeros(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, lambda t: {**both_above_chance(t), "flow": 0.1}, *ONE_CELL)
    frame = profiles(read_frames(runs.results_of(folder, experiment)).signals)
    zeroed = read_frames(runs.results_of(folder, experiment)).signals
    zeroed.loc[zeroed["index"] == 1, "activation_grad_norm"] = 0.0

    assert frame[frame["step"] == 0].groupby("arm")["relative"].apply(list).loc["plain"] == pytest.approx([-3, -2, -1, 0])
    assert profiles(zeroed).query("index == 1")["relative"].isna().all()


def test_a_damaged_log_is_an_error_that_names_the_file(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, both_above_chance, *ONE_CELL)
    path = runs.trial_folder(folder, experiment.trials[0].name) / "signals.csv"
    path.write_text("step,what\n1,2\n")

    with pytest.raises(runs.RunsError, match=r"signals\.csv: damaged"):
        read_frames(runs.results_of(folder, experiment))


def test_logs_with_and_without_optional_columns_are_read_in_the_order_of_the_trials(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, both_above_chance, *ONE_CELL)
    results = runs.results_of(folder, experiment)
    paths = [record.folder / "signals.csv" for record in results.records]
    rows = ["0,0,0,stem,1,2", "0,0,1,blocks.0,3,4"]
    for number, path in enumerate(paths):
        distance = f",{number / 8}" if number % 2 else ""
        header = "step,epoch,index,block,activation_rms,activation_grad_norm" + ",activation_cosine_distance" * bool(distance)
        path.write_text("\n".join([header, *(row + distance for row in rows), ""]))
    paths[2].unlink()

    signals = read_frames(results).signals
    trials = [(record.trial.arm, record.trial.seed) for number, record in enumerate(results.records) if number != 2]
    distances = [number / 8 if number % 2 else float("nan") for number in range(len(paths)) if number != 2]

    assert list(zip(signals["arm"], signals["seed"], strict=True)) == [trial for trial in trials for _ in rows]
    assert list(signals["activation_cosine_distance"][::2]) == pytest.approx(distances, nan_ok=True)
    assert list(signals["activation_grad_norm"]) == [2.0, 4.0] * len(trials)


def test_a_log_with_a_blank_line_is_damaged_and_named(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, both_above_chance, *ONE_CELL)
    path = runs.trial_folder(folder, experiment.trials[1].name) / "signals.csv"
    path.write_text(path.read_text() + "\n")

    with pytest.raises(runs.RunsError, match=rf"{experiment.trials[1].name}.*signals\.csv: damaged"):
        read_frames(runs.results_of(folder, experiment))
