"""`resexp compare` on results made by hand: what it prints, and what its exit code says."""

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fabricated
import numpy as np
import pytest
from scipy import stats

from resexp import cli, config, runs, tables

PLAIN, RESIDUAL = (0.50, 0.60, 0.70, 0.64), (0.61, 0.66, 0.83, 0.70)
CELL = ("network.depth=[64]", "network.init=[he]", "network.norm=[none]", "seeds=4")
HELPS = "test_accuracy: identity > plain"
RATES = "training.lr=[0.001, 0.01]"


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Answer]


def both(trial: config.Trial) -> dict[str, Any]:
    """Pairs at the default rate; at 0.01 plain is ten points better, identity as good."""
    faster = 0.1 * (trial.settings.training.lr == 0.01 and trial.arm == "plain")
    return {"test_accuracy": (PLAIN if trial.arm == "plain" else RESIDUAL)[trial.seed] + faster, "slope_start": -0.5}


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """`resexp compare ARGUMENTS --runs FOLDER` in this process; its answer fits a terminal, its complaint a line."""

    def answer(folder: Path, *arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["resexp", "compare", *map(str, arguments), "--runs", str(folder)])
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        found = Answer(int(str(code)), *capsys.readouterr())
        assert len(found.err.splitlines()) == (found.code != 0)
        assert "--format" in arguments or all(len(line) <= 80 for line in found.out.splitlines())
        return found

    return answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """digits at depth 64: identity is 9 points better."""
    found = tmp_path_factory.mktemp("one")
    fabricated.experiment(found, both, *CELL, f"compare.primary='{HELPS} @ 99%'")
    return found


@pytest.fixture(scope="module")
def rates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two learning rates: 9 points better at 0.001, 1 point worse at 0.01."""
    found = tmp_path_factory.mktemp("rates")
    fabricated.experiment(found, both, *CELL, RATES)
    return found


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One plain network has not been trained."""
    found = tmp_path_factory.mktemp("unfinished")
    fabricated.experiment(found, lambda t: {} if (t.arm, t.seed) == ("plain", 2) else both(t), *CELL)
    return found


# ---- what is expected -----------------------------------------------------------------------------------------------------


def test_comparing_changes_no_file_and_says_the_same_again(folder: Path, compare: Call):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    first, again = (compare(folder, "--expect", HELPS) for _ in range(2))

    assert first == again
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_without_an_expectation_a_finished_comparison_exits_0_whatever_it_shows(rates: Path, compare: Call):
    assert compare(rates).code == 0


def test_an_expectation_that_is_met_is_printed_with_its_scope_and_exits_0(folder: Path, compare: Call):
    low, high = stats.ttest_rel(RESIDUAL, PLAIN).confidence_interval(0.95)
    answer = compare(folder, "--expect", f"{HELPS} @ 95%")

    assert answer.code == 0
    assert f"expected\n  {HELPS} @ 95%\n  supported (supported in 1 of 1 configuration of digits, n = 4)\n" in answer.out
    assert f"    depth 64: +0.09 [{low:+.4g}, {high:+.4g}]\n" in answer.out


@pytest.mark.parametrize(
    ("expectation", "verdict"),
    [
        ("test_accuracy: identity < plain", "not supported (not supported in 1 of 1 configuration of digits, n = 4)"),
        (f"{HELPS} @ 99.9%", "undecided (undecided in 1 of 1 configuration of digits, n = 4)"),
        (f"{HELPS} at depth=32", "not tested (no configuration has everything that it names)"),
        ("test_accuracy: residual < plain", "identity: not supported (not supported in 1 of 1 configuration of digits, n = 4)"),
        ("step_seconds: identity > plain", "not tested (no configuration has everything that it names)"),
    ],
)
def test_an_expectation_that_is_not_met_exits_3_and_says_which(folder: Path, compare: Call, expectation: str, verdict: str):
    answer = compare(folder, "--expect", HELPS, "--expect", expectation)

    assert answer.code == 3
    assert answer.err == f"resexp: not met: {expectation}: {verdict}\n"
    assert answer.out.count("expected\n") == 2


def test_several_that_are_not_met_are_counted(rates: Path, compare: Call):
    answer = compare(rates, "--expect", HELPS, "--expect", "test_accuracy: identity < plain", "--expect", f"{HELPS} at lr=1e-3")

    assert answer.code == 3
    assert answer.err.startswith(
        f"resexp: not met: {HELPS}: not supported (supported in 1, not supported in 1 of 2 configurations"
    )
    assert answer.err.endswith(" (and 1 more)\n")


def test_the_primary_contrast_is_judged_and_printed_and_decides_no_exit_code(folder: Path, compare: Call, tmp_path: Path):
    low, high = stats.ttest_rel(RESIDUAL, PLAIN).confidence_interval(0.99)
    assert low < 0 < high
    verdict = "undecided (undecided in 1 of 1 configuration of digits, n = 4)"
    assert f"{tables.PRIMARY}\n  {HELPS} @ 99%\n  {verdict}\n    depth 64: +0.09 [" in compare(folder).out
    assert compare(folder).code == 0

    fabricated.experiment(tmp_path, both, *CELL, "compare.primary='test_accuracy: identity < plain'")
    assert "  not supported (not supported in 1" in compare(tmp_path).out
    assert compare(tmp_path).code == 0


def test_primaries_of_two_experiments_stand_each_under_its_own_words(tmp_path: Path, compare: Call):
    for name, rate, sign in (("a", 0.1, ">"), ("b", 0.2, "<")):
        primary = f"compare.primary='test_accuracy: identity {sign} plain'"
        fabricated.experiment(tmp_path, both, *CELL, f"name={name}", f"training.lr={rate}", primary)
    out = compare(tmp_path, "a", "b").out

    assert "  test_accuracy: identity > plain\n  supported (supported in 2 of 2 configurations of digits, n = 4)\n" in out
    assert (
        "  test_accuracy: identity < plain\n  not supported (not supported in 2 of 2 configurations of digits, n = 4)\n" in out
    )
    assert out.count(tables.PRIMARY) == 1


# ---- files of claims ------------------------------------------------------------------------------------------------------


def test_a_file_of_claims_is_judged_claim_by_claim(folder: Path, compare: Call, tmp_path: Path):
    file = tmp_path / "claims.yaml"
    more = f"- {{text: A lot., expect: '{HELPS} + 0.01'}}\n"
    file.write_text(f"source: me\nclaims:\n- {{text: It helps., expect: '{HELPS}'}}\n{more}")
    answer = compare(folder, "--expect", file)

    assert answer.code == 0
    assert f"claimed: It helps. (me)\n  {HELPS}\n  supported" in answer.out
    assert f"claimed: A lot. (me)\n  {HELPS} + 0.01\n  supported" in answer.out


@pytest.mark.parametrize("name", ["tutorial", "he2015", "cifar10"])
def test_shipped_claims_go_by_their_names(folder: Path, compare: Call, name: str):
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
        (["--expect", "identity > plain"], ("--expect: 'identity > plain' has no measure and colon; such as",)),
        (["--expect", "test_accuracy: identity"], ("--expect: 'identity' has no signs of",)),
        (["--expect", f"{HELPS} at dpth=8"], ("--expect: at: 'dpth' is not one of family, depth,", "did you mean depth?")),
        (
            ["--expect", "tutoral"],
            ("--expect: tutoral: no such file of claims; shipped are cifar10, he2015, tutorial", "did you mean tutorial?"),
        ),
        (["--expect", "."], ("--expect: .: no such file of claims",)),
        (["--expect", "\x1b[31m: a > b"], ("--expect: ", "has no measure and colon")),
        (["--by", "width"], ("--by: 'width' does not vary here; keys that vary: depth",)),
        (["--tune", "width"], ("--tune",)),
        (["--at", "first"], ("--at: 'first' is not one of last, best, step:N",)),
        (["--at", "step:20"], ("--metric: 'test_accuracy' is not one of train_accuracy,",)),
        (["--metric", "val_accuracy", "--at", "step:7"], ("--at: ", "has no row of step 7; it has 0, 20")),
        (["--format", "xls"], ("--format: 'xls' is not one of table, csv, json, md, tex",)),
        (["other"], ("other: no experiment with that name or path",)),
    ],
)
def test_a_mistake_is_one_line_with_code_2_and_no_table(
    folder: Path, compare: Call, arguments: list[str], words: tuple[str, ...]
):
    answer = compare(folder, *arguments)

    assert (answer.code, answer.out) == (2, "")
    assert "\x1b" not in answer.err
    for part in words:
        assert part in answer.err


def test_a_bad_expectation_is_told_before_anything_is_read(compare: Call, tmp_path: Path):
    assert "has no signs of" in compare(tmp_path / "nothing", "--expect", "test_loss: identity").err


@pytest.mark.parametrize(("more", "code"), [(700, 0), (1_000, 2)])
def test_an_expectation_may_be_longer_than_the_name_of_a_file(folder: Path, compare: Call, more: int, code: int):
    assert compare(folder, "--expect", f"{HELPS} @ 90% at {'depth=64, ' * (more // 10)} depth=64").code == code


# ---- trials that are missing ----------------------------------------------------------------------------------------------


def test_missing_trials_exit_1_after_the_table_and_0_with_consent(unfinished: Path, compare: Call):
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
def test_missing_trials_come_before_an_expectation_that_is_not_met(
    unfinished: Path, compare: Call, arguments: list[str], code: int
):
    answer = compare(unfinished, *arguments)

    assert answer.code == code
    assert "of 1 configuration of digits, n = 3)" in answer.out


# ---- figures, order, tuning -----------------------------------------------------------------------------------------------


def test_by_orders_and_names_cells_by_that_key_first(rates: Path, compare: Call):
    plain, by = compare(rates).out, compare(rates, "--by", "lr").out

    assert "\ndepth 64, lr 0.001 " in plain
    assert "\nlr 0.001, depth 64 " in by


def test_tuned_arms_each_have_their_own_best_rate(rates: Path, compare: Call):
    answer = compare(rates, "--tune", "lr")

    assert answer.code == 0
    assert f"{100 * np.mean(np.subtract(RESIDUAL, PLAIN) - 0.1):+.1f} [" in answer.out.split("Each at its best lr")[1]


def test_a_figure_of_a_step_comes_from_the_log(folder: Path, compare: Call):
    lines = compare(folder, "--metric", "train_loss", "--at", "step:20").out.splitlines()
    (line,) = (of for of in lines if of.startswith("  plain "))

    assert f"{2.0 / 21:.4g}" in line


def test_a_test_prints_the_exact_p_of_the_sign_flips(folder: Path, compare: Call):
    assert f"sign-flip p {2 / 2**4:.2g}" in compare(folder, "--p-values").out  # all four differences are positive
    assert "sign-flip" not in compare(folder).out


def test_by_image_gives_the_uncertainty_of_the_test_images(tmp_path: Path, compare: Call):
    folder, found = fabricated.experiment(tmp_path, both, *CELL)
    generator = np.random.default_rng(0)
    right = {trial.name: generator.random(200) < both(trial)["test_accuracy"] for trial in found.trials}
    for trial in found.trials:
        rows = [(index, 1, int(hit), 0.5) for index, hit in enumerate(right[trial.name])]
        runs.write_rows(runs.trial_folder(folder, trial.name) / "predictions.csv.gz", rows)
    arms = [np.mean([right[of.name] for of in found.trials if of.arm == arm], axis=0) for arm in ("identity", "plain")]
    low, high = stats.ttest_rel(*arms).confidence_interval(0.95)

    assert f"± {50 * (high - low):.1f} over other test images" in compare(tmp_path, "--by-image").out


@pytest.mark.parametrize(
    ("file", "options"),
    [
        pytest.param("predictions.csv.gz", ["--by-image"], id="predictions"),
        pytest.param("metrics.csv", ["--metric", "val_accuracy", "--at", "step:20"], id="metrics"),
    ],
)
def test_a_log_that_changed_since_its_trial_was_finished_is_read_by_nothing(
    tmp_path: Path, compare: Call, file: str, options: list[str]
):
    folder, found = fabricated.experiment(tmp_path, both, *CELL)
    for place in (runs.trial_folder(folder, trial.name) for trial in found.trials):
        runs.write_rows(place / "predictions.csv.gz", [(image, image % 3, image % 3, 0.5) for image in range(9)])
        runs.write_result(place, {**(runs.result(place) or {}), "steps": 20})
    before = compare(tmp_path, *options)
    changed = runs.trial_folder(folder, found.trials[0].name) / file
    changed.write_bytes(changed.read_bytes() + b"\n")
    after = compare(tmp_path, *options)

    assert (before.code, after.code) == (0, 1)
    assert f"{changed}: damaged (changed after its trial had finished)" in after.err
    assert "n = 3 of 4, 1 damaged" in after.out


@pytest.mark.parametrize("form", tables.TABLES)
def test_every_format_carries_the_figures_and_the_exit_code_of_an_expectation(folder: Path, compare: Call, form: str):
    low, high = stats.ttest_rel(RESIDUAL, PLAIN).confidence_interval(0.95)
    answer = compare(folder, "--format", form, "--expect", f"{HELPS} + 0.2 @ 95%")

    assert answer.code == 3
    if form == "csv":
        row = list(csv.DictReader(io.StringIO(answer.out)))[1]
        assert [float(row[key]) for key in ("difference", "low", "high")] == pytest.approx([0.09, low, high])
    elif form == "json":
        assert json.loads(answer.out)["cells"][0]["arms"][1]["difference"]["low"] == pytest.approx(low)
        assert json.loads(answer.out)["judged"][-4:-1] == [
            "expected", f"  {HELPS} + 0.2 @ 95%", "  not supported (not supported in 1 of 1 configuration of digits, n = 4)",
        ]  # fmt: skip
    else:
        assert f"+9.0 [+{100 * low:.1f}, +{100 * high:.1f}]" in answer.out
        assert "not supported (not supported in 1 of 1 configuration of digits, n = 4)" in answer.out
