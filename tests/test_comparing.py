"""`resexp compare` on fabricated results: output and exit status."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fabricated
import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from resexp import cli, comparison, config, report, runs, tables
from resexp.inference import SELECTED_LEVEL
from resexp.tables.answer import answer
from resexp.tables.findings import findings

PLAIN, RESIDUAL = (0.50, 0.60, 0.70, 0.64), (0.61, 0.66, 0.83, 0.70)
CELL = ("network.depth=[64]", "network.init=[he]", "network.norm=[none]", "seeds=4")
HELPS = "test_accuracy: identity > plain"
RATES = "training.lr=[0.001, 0.01]"


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Answer]


def identity_is_better(trial: config.Trial) -> dict[str, Any]:
    """PLAIN and RESIDUAL accuracies; at a learning rate of 0.01, plain is ten points better and identity unchanged."""
    gain = 0.1 * (trial.settings.training.lr == 0.01 and trial.arm == "plain")
    return {"test_accuracy": (PLAIN if trial.arm == "plain" else RESIDUAL)[trial.seed] + gain, "slope_start": -0.5}


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """`resexp compare ARGUMENTS --runs FOLDER` in this process; output fits a terminal, and an error is one line."""

    def answer(folder: Path, *arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["resexp", "compare", *map(str, arguments), "--runs", str(folder)])
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        completed = Answer(int(str(code)), *capsys.readouterr())
        errors = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", completed.err).split("\n")  # without the codes of a spinner
        assert sum(bool(line.strip()) for line in errors) == (completed.code != 0)
        assert "--format" in arguments or all(len(line) <= 80 for line in completed.out.splitlines())
        return completed

    return answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """digits at depth 64: identity is 9 points better."""
    runs_dir = tmp_path_factory.mktemp("one")
    fabricated.experiment(runs_dir, identity_is_better, *CELL, f"compare.primary='{HELPS} @ 99%'")
    return runs_dir


@pytest.fixture(scope="module")
def rates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two learning rates: 9 points better at 0.001, 1 point worse at 0.01."""
    runs_dir = tmp_path_factory.mktemp("rates")
    fabricated.experiment(runs_dir, identity_is_better, *CELL, RATES)
    return runs_dir


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One plain trial has not finished."""
    runs_dir = tmp_path_factory.mktemp("unfinished")
    fabricated.experiment(runs_dir, lambda t: {} if (t.arm, t.seed) == ("plain", 2) else identity_is_better(t), *CELL)
    return runs_dir


def test_a_terminal_shows_the_same_text_in_color_and_in_its_width(folder: Path, compare: Call, monkeypatch: pytest.MonkeyPatch):
    plain = compare(folder, "--format", "table").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    colored = compare(folder, "--format", "table").out
    monkeypatch.setenv("COLUMNS", "110")
    wide = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in compare(folder, "--format", "table").out.splitlines()]

    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain
    assert "\x1b" not in plain
    assert 80 < max(map(len, wide)) <= 110
    assert " ".join(" ".join(wide).split("n = 4")[1].split()) == " ".join(plain.split("n = 4")[1].split())


# ---- hypotheses ----------------------------------------------------------------------------------------------------------


def test_comparing_changes_no_file_and_repeats_its_output(folder: Path, compare: Call):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    first, second = (compare(folder, "--expect", HELPS) for _ in range(2))

    assert first == second
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_without_a_hypothesis_a_comparison_of_finished_trials_exits_0(rates: Path, compare: Call):
    assert compare(rates).code == 0


def test_a_supported_hypothesis_is_printed_with_its_scope_and_exits_0(folder: Path, compare: Call):
    low, high = stats.ttest_rel(RESIDUAL, PLAIN).confidence_interval(0.95)
    answer = compare(folder, "--expect", f"{HELPS} @ 95%")

    assert answer.code == 0
    assert f"hypothesis\n  {HELPS} @ 95%\n  supported (supported in 1 of 1 configuration of digits, n = 4)\n" in answer.out
    assert f"    depth 64: +9 points [{100 * low:+.4g}, {100 * high:+.4g}], margin 0\n" in answer.out


@pytest.mark.parametrize(
    ("expectation", "verdict"),
    [
        ("test_accuracy: identity < plain", "not supported (not supported in 1 of 1 configuration of digits, n = 4)"),
        (f"{HELPS} @ 99.9%", "undecided (undecided in 1 of 1 configuration of digits, n = 4)"),
        (f"{HELPS} at depth=32", "not tested (no configuration has everything that the claim names)"),
        ("test_accuracy: residual < plain", "identity: not supported (not supported in 1 of 1 configuration of digits, n = 4)"),
        ("step_seconds: identity > plain", "not tested (no configuration has everything that the claim names)"),
    ],
)
def test_a_hypothesis_that_is_not_supported_exits_3_and_is_named(folder: Path, compare: Call, expectation: str, verdict: str):
    answer = compare(folder, "--expect", HELPS, "--expect", expectation)

    assert answer.code == 3
    assert answer.err == f"resexp: not met: {expectation}: {verdict}\n"
    assert answer.out.count("hypothesis\n") == 2


def test_several_hypotheses_that_are_not_supported_are_counted(rates: Path, compare: Call):
    answer = compare(rates, "--expect", HELPS, "--expect", "test_accuracy: identity < plain", "--expect", f"{HELPS} at lr=1e-3")

    assert answer.code == 3
    assert answer.err.startswith(
        f"resexp: not met: {HELPS}: not supported (supported in 1, not supported in 1 of 2 configurations"
    )
    assert answer.err.endswith(" (and 1 more)\n")


def test_the_primary_hypothesis_is_printed_with_its_verdict_and_does_not_affect_the_exit_status(
    folder: Path, compare: Call, tmp_path: Path
):
    low, high = stats.ttest_rel(RESIDUAL, PLAIN).confidence_interval(0.99)
    assert low < 0 < high
    verdict = "undecided (undecided in 1 of 1 configuration of digits, n = 4)"
    assert f"{tables.PRIMARY}\n  {HELPS} @ 99%\n  {verdict}\n    depth 64: +9 points [" in compare(folder).out
    assert compare(folder).code == 0

    fabricated.experiment(tmp_path, identity_is_better, *CELL, "compare.primary='test_accuracy: identity < plain'")
    assert "  not supported (not supported in 1" in compare(tmp_path).out
    assert compare(tmp_path).code == 0


def test_the_primary_hypotheses_of_two_experiments_are_printed_separately(tmp_path: Path, compare: Call):
    for name, rate, sign in (("a", 0.1, ">"), ("b", 0.2, "<")):
        primary = f"compare.primary='test_accuracy: identity {sign} plain'"
        fabricated.experiment(tmp_path, identity_is_better, *CELL, f"name={name}", f"training.lr={rate}", primary)
    out = compare(tmp_path, "a", "b").out

    assert "  test_accuracy: identity > plain\n  supported (supported in 2 of 2 configurations of digits, n = 4)\n" in out
    assert (
        "  test_accuracy: identity < plain\n  not supported (not supported in 2 of 2 configurations of digits, n = 4)\n" in out
    )
    assert out.count(tables.PRIMARY) == 1


# ---- claims files -------------------------------------------------------------------------------------------------------


def test_each_claim_of_a_file_has_a_verdict(folder: Path, compare: Call, tmp_path: Path):
    file = tmp_path / "claims.yaml"
    more = f"- {{text: A lot., expect: '{HELPS} + 0.01'}}\n"
    file.write_text(f"source: me\nclaims:\n- {{text: It helps., expect: '{HELPS}'}}\n{more}")
    answer = compare(folder, "--expect", file)

    assert answer.code == 0
    assert f"claimed: It helps. (me)\n  {HELPS}\n  supported" in answer.out
    assert f"claimed: A lot. (me)\n  {HELPS} + 0.01\n  supported" in answer.out


@pytest.mark.parametrize("name", ["tutorial", "he2015", "cifar10"])
def test_shipped_claims_are_available_by_name(folder: Path, compare: Call, name: str):
    answer = compare(folder, "--expect", name)

    assert answer.code == 3
    assert "claimed: " in answer.out
    assert answer.err.startswith("resexp: not met: ")


# ---- mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--expect", "test_acuracy: identity > plain"],
            ("--expect: 'test_acuracy' is not one", "mean test_accuracy?"),
        ),
        (["--expect", "identity > plain"], ("--expect: 'identity > plain' does not begin with a measure and a colon; write",)),
        (["--expect", "test_accuracy: identity"], ("--expect: 'identity' contains none of",)),
        (["--expect", f"{HELPS} at dpth=8"], ("--expect: at: 'dpth' is not one of family, depth,", "did you mean depth?")),
        (
            ["--expect", "tutoral"],
            (
                "--expect: tutoral: no such claims file; shipped: cifar10, he2015, trainability, tutorial",
                "did you mean tutorial?",
            ),
        ),
        (["--expect", "."], ("--expect: .: no such claims file",)),
        (["--expect", "\x1b[31m: a > b"], ("--expect: ", "does not begin with a measure and a colon")),
        (["--by", "width"], ("--by: 'width' does not vary here; keys that vary: depth",)),
        (["--tune", "width"], ("--tune",)),
        (["--at", "first"], ("--at: 'first' is not one of last, best, step:N",)),
        (["--at", "step:20"], ("--metric: 'test_accuracy' is not one of train_accuracy,",)),
        (["--metric", "val_accuracy", "--at", "step:7"], ("--at: ", "has no row for step 7; it has 0, 20")),
        (["--format", "xls"], ("--format: 'xls' is not one of table, csv, json, md, tex",)),
        (["other"], ("other: no experiment with that name or path",)),
    ],
)
def test_a_usage_error_is_one_line_with_exit_status_2_and_no_table(
    folder: Path, compare: Call, arguments: list[str], words: tuple[str, ...]
):
    answer = compare(folder, *arguments)

    assert (answer.code, answer.out) == (2, "")
    assert "\x1b" not in answer.err
    for part in words:
        assert part in answer.err


def test_an_invalid_hypothesis_is_reported_before_results_are_read(compare: Call, tmp_path: Path):
    assert "contains none of" in compare(tmp_path / "nothing", "--expect", "test_loss: identity").err


@pytest.mark.parametrize(("more", "code"), [(700, 0), (1_000, 2)])
def test_a_hypothesis_may_be_longer_than_a_file_name(folder: Path, compare: Call, more: int, code: int):
    assert compare(folder, "--expect", f"{HELPS} @ 90% at {'depth=64, ' * (more // 10)} depth=64").code == code


# ---- missing trials ----------------------------------------------------------------------------------------------------


def test_missing_trials_exit_1_after_the_table_and_0_if_they_are_allowed(unfinished: Path, compare: Call):
    refused, allowed = compare(unfinished), compare(unfinished, "--allow-missing")

    assert (refused.code, allowed.code) == (1, 0)
    assert refused.out == allowed.out
    assert "1 of 8 trials have not finished (1 waiting)" in refused.err
    assert "--allow-missing" in refused.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--expect", HELPS], 1),
        (["--expect", HELPS, "--allow-missing"], 0),
        (["--expect", "test_accuracy: identity < plain"], 1),
        (["--expect", "test_accuracy: identity < plain", "--allow-missing"], 3),
    ],
)
def test_the_exit_status_of_missing_trials_takes_precedence_over_that_of_a_hypothesis(
    unfinished: Path, compare: Call, arguments: list[str], code: int
):
    answer = compare(unfinished, *arguments)

    assert answer.code == code
    assert "of 1 configuration of digits, n = 3)" in answer.out


# ---- metrics, order, tuning -----------------------------------------------------------------------------------------------


def test_by_sorts_and_labels_cells_by_this_key_first(rates: Path, compare: Call):
    plain, by = compare(rates).out, compare(rates, "--by", "lr").out

    assert "\ndepth 64, lr 0.001 " in plain
    assert "\nlr 0.001, depth 64 " in by


def test_tuned_arms_are_compared_at_their_own_best_learning_rates(rates: Path, compare: Call):
    answer = compare(rates, "--tune", "lr")

    assert answer.code == 0
    assert f"{100 * np.mean(np.subtract(RESIDUAL, PLAIN) - 0.1):+.1f} [" in answer.out.split("Each at its best lr")[1]


def test_with_tuning_the_csv_has_a_row_for_each_arm_at_its_best_setting(rates: Path, compare: Call):
    default = list(csv.DictReader(io.StringIO(compare(rates, "--format", "csv").out)))
    rows = list(csv.DictReader(io.StringIO(compare(rates, "--format", "csv", "--tune", "lr").out)))
    tuned = [row for row in rows if row["selection"]]
    low, high = stats.ttest_rel(RESIDUAL, PLAIN).confidence_interval(SELECTED_LEVEL)

    assert [{key: row[key] for key in default[0]} for row in rows if not row["selection"]] == default
    assert [(row["arm"], row["lr"], row["selection"]) for row in tuned] == [
        ("plain", "0.01", "each at its best"), ("identity", "0.001", "each at its best"),
    ]  # fmt: skip
    assert [tuned[0][key] for key in ("difference", "low", "high")] == [""] * 3
    shift = np.mean(np.subtract(RESIDUAL, PLAIN)) - float(tuned[1]["difference"])
    assert shift == pytest.approx(0.1)
    assert [float(tuned[1][key]) + shift for key in ("low", "high")] == pytest.approx([low, high])
    assert float(tuned[0]["mean"]) == pytest.approx(np.mean(PLAIN) + 0.1)


def test_a_report_can_compare_arms_at_their_best_settings(rates: Path, compare: Call, tmp_path: Path):
    path = tmp_path / "tuned.md"
    invoked = CliRunner().invoke(cli.app, ["report", str(next(rates.iterdir())), "-o", str(path), "--tune", "lr"])
    section = compare(rates, "--format", "md", "--tune", "lr").out.partition("## Each at its best lr")[2].split("\n\n")[2]

    assert invoked.exit_code == 0
    assert section in path.read_text(encoding="utf-8")
    assert section not in report.markdown(runs.read_results([next(rates.iterdir())]))


@pytest.mark.parametrize("form", ["table", "md"])
def test_a_comparison_begins_with_the_summary_of_the_report_and_the_next_command(folder: Path, compare: Call, form: str):
    text = compare(folder, "--format", form).out
    experiment = next(folder.iterdir())
    compared = comparison.compare_results(runs.read_results([experiment]))
    lines = answer(compared, findings(compared.cells), [])
    words = " ".join(text.split())

    assert 1 < len(lines) <= 5
    assert [line for line in lines if f"- {line}" not in words] == []
    assert f"- Next: resexp report {experiment}" in words
    assert words.index("Next: ") < words.index("above chance")


def test_sentences_on_test_accuracy_are_omitted_for_other_metrics(folder: Path, compare: Call):
    text = compare(folder, "--metric", "test_loss").out

    assert "test accuracy" not in text.partition("Next: ")[0]
    assert "- Matching: " in text


def test_training_ends_with_the_summary_and_the_commands_that_compare_report_and_tune(folder: Path):
    experiment = next(folder.iterdir())
    lines = tables.trained_lines(comparison.compare_results(runs.read_results([experiment])))
    text = " ".join(" ".join(lines).split())

    assert max(map(len, lines)) <= 80
    for command in (f"Next: resexp compare {experiment}", f"Next: resexp report {experiment}", "To tune it: resexp train"):
        assert command in text


def test_training_ends_without_a_summary_before_a_trial_has_finished(tmp_path: Path):
    assert tables.trained_lines(comparison.compare_results(fabricated.results(tmp_path, lambda _: {}, *CELL))) == []


def test_a_metric_at_a_step_is_read_from_the_log(folder: Path, compare: Call):
    lines = compare(folder, "--metric", "train_loss", "--at", "step:20").out.splitlines()
    (line,) = (text for text in lines if text.startswith("  plain "))

    assert f"{2.0 / 21:.4g}" in line


def test_p_values_prints_the_exact_p_value_of_the_sign_flip_test(folder: Path, compare: Call):
    assert f"sign-flip p {2 / 2**4:.2g}" in compare(folder, "--p-values").out  # all four differences are positive
    assert "sign-flip" not in compare(folder).out


def test_by_image_adds_the_uncertainty_of_the_test_images(tmp_path: Path, compare: Call):
    folder, experiment = fabricated.experiment(tmp_path, identity_is_better, *CELL)
    generator = np.random.default_rng(0)
    correct = {trial.name: generator.random(200) < identity_is_better(trial)["test_accuracy"] for trial in experiment.trials}
    for trial in experiment.trials:
        rows = [(index, 1, int(is_correct), 0.5) for index, is_correct in enumerate(correct[trial.name])]
        runs.write_rows(runs.trial_folder(folder, trial.name) / "predictions.csv.gz", rows)
    arms = [
        np.mean([correct[trial.name] for trial in experiment.trials if trial.arm == arm], axis=0)
        for arm in ("identity", "plain")
    ]
    low, high = stats.ttest_rel(*arms).confidence_interval(0.95)

    assert f"± {50 * (high - low):.1f} over other test images" in compare(tmp_path, "--by-image").out


@pytest.mark.parametrize(
    ("file", "options"),
    [
        pytest.param("predictions.csv.gz", ["--by-image"], id="predictions"),
        pytest.param("metrics.csv", ["--metric", "val_accuracy", "--at", "step:20"], id="metrics"),
    ],
)
def test_a_log_that_changed_since_its_trial_finished_is_not_read(tmp_path: Path, compare: Call, file: str, options: list[str]):
    folder, experiment = fabricated.experiment(tmp_path, identity_is_better, *CELL)
    for trial_folder in (runs.trial_folder(folder, trial.name) for trial in experiment.trials):
        runs.write_rows(trial_folder / "predictions.csv.gz", [(image, image % 3, image % 3, 0.5) for image in range(9)])
        runs.write_result(trial_folder, {**runs.result(trial_folder).content, "steps": 20})
    before = compare(tmp_path, *options)
    changed = runs.trial_folder(folder, experiment.trials[0].name) / file
    changed.write_bytes(changed.read_bytes() + b"\n")
    after = compare(tmp_path, *options)

    assert (before.code, after.code) == (0, 1)
    assert f"{changed}: damaged (changed after its trial had finished)" in after.err
    assert "n = 3 of 4, 1 damaged" in after.out


@pytest.mark.parametrize("form", tables.FORMATS)
def test_every_format_contains_the_difference_and_the_verdict_of_a_hypothesis(folder: Path, compare: Call, form: str):
    low, high = stats.ttest_rel(RESIDUAL, PLAIN).confidence_interval(0.95)
    answer = compare(folder, "--format", form, "--expect", f"{HELPS} + 0.2 @ 95%")

    assert answer.code == 3
    if form == "csv":
        row = list(csv.DictReader(io.StringIO(answer.out)))[1]
        assert [float(row[key]) for key in ("difference", "low", "high")] == pytest.approx([0.09, low, high])
    elif form == "json":
        assert json.loads(answer.out)["cells"][0]["arms"][1]["difference"]["low"] == pytest.approx(low)
        assert json.loads(answer.out)["judged"][-4:-1] == [
            "hypothesis", f"  {HELPS} + 0.2 @ 95%", "  not supported (not supported in 1 of 1 configuration of digits, n = 4)",
        ]  # fmt: skip
    else:
        assert f"+9.0 [+{100 * low:.1f}, +{100 * high:.1f}]" in answer.out
        assert "not supported (not supported in 1 of 1 configuration of digits, n = 4)" in answer.out
