"""`resexp compare` on result files that other programs wrote."""

import csv
import gzip
import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabricated
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

import resexp
from resexp import cli, tables
from resexp.config import ConfigError

PAGE = Path(__file__).parent.parent / "docs" / "your-results.md"
COLUMNS = ("--arm", "arm", "--pair", "seed", "--metric", "acc")
GOOD = "arm,seed,acc\nplain,0,0.5\nplain,1,0.6\nplain,2,0.7\nx,0,0.61\nx,1,0.66\nx,2,0.83\n"
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> Any:
        return CliRunner().invoke(cli.app, ["compare", *arguments])

    return call


@pytest.fixture
def good(tmp_path) -> str:
    (tmp_path / "good.csv").write_text(GOOD)
    return "good.csv"


def refusal(result: Any) -> ConfigError:
    assert isinstance(result.exception, ConfigError), result.output
    assert "\n" not in str(result.exception)
    return result.exception


def measured(trial: Any) -> dict[str, Any]:
    random = np.random.default_rng([trial.seed, trial.settings.network.depth])
    gain = 0.1 * (trial.arm == "identity")
    return {"test_accuracy": round(0.6 + gain + 0.05 * random.random() + 0.01 * gain * trial.seed, 9)}


# ---- numbers ----------------------------------------------------------------------------------------------------------------


def test_the_accuracy_file_of_an_experiment_gives_the_numbers_and_texts_of_the_experiment(run, tmp_path):
    folder, _ = fabricated.experiment(tmp_path, measured, "network.depth=[8, 32]", "network.norm=[none, layer]", "seeds=4")
    tables.write_accuracy(resexp.load(folder).results)
    path = str(folder / "accuracy.csv")
    options = ("--arm", "arm", "--pair", "seed", "--metric", "test_accuracy", "--outcome", "outcome")
    by = ("--by", "depth", "--by", "norm", "--by", "init")

    def rows(*arguments: str) -> list[dict[str, str]]:
        result = run(*arguments, "--format", "csv")
        assert result.exit_code == 0, result.output
        return list(csv.DictReader(io.StringIO(result.stdout)))

    ours, theirs = rows(str(folder)), rows(path, *options, *by)
    columns = [
        "arm",
        "depth",
        "norm",
        "n",
        "above_chance",
        "mean",
        "sd",
        "difference",
        "low",
        "high",
        "correlation",
        "sign_flip_p",
        "holm_p",
        "half",
        "p",
        "p_table",
    ]
    assert [[row.get(column) for column in columns] for row in theirs] == [
        [row.get(column) for column in columns] for row in ours
    ]

    def texts(*arguments: str) -> list[str]:
        return re.findall(
            r"[+-]\d+\.\d \[.*?\]\*?|\d/\d|\d+\.\d ± \d+\.\d", run(*arguments, "--format", "md").stdout.replace("\\*", "*")
        )

    table = texts(path, *options, *by)
    assert table
    assert set(table) <= set(texts(str(folder)))


def test_differences_equal_those_of_scipy():
    random = np.random.default_rng(0)
    plain, other = random.normal(size=12), random.normal(0.3, size=12)
    frame = pd.DataFrame({"arm": ["plain"] * 12 + ["x"] * 12, "seed": [*range(12)] * 2, "score": [*plain, *other]})
    arm = resexp.compare_frame(frame, arm="arm", pair="seed", metric="score").comparison.cells[0].arms[1]
    expected = stats.ttest_rel(other, plain)
    interval = expected.confidence_interval(0.95)

    assert arm.difference is not None
    assert [arm.difference.low, arm.difference.high] == pytest.approx([interval.low, interval.high], rel=0, abs=1e-12)
    assert arm.contrast.p == pytest.approx(expected.pvalue, rel=0, abs=1e-12)


@pytest.mark.parametrize("form", tables.FORMATS)
def test_every_format_has_the_difference(run, good, form):
    result = run(good, *COLUMNS, "--format", form, "--p-values")

    assert result.exit_code == 0, result.output
    assert "0.1" in result.stdout


def test_a_hypothesis_on_a_file_decides_the_exit_status(run, good):
    assert run(good, *COLUMNS, "--expect", "metric: x > plain").exit_code == 0
    assert run(good, *COLUMNS, "--expect", "acc: residual < plain").exit_code == 3


def test_the_best_row_of_a_run_is_the_smallest_if_lower_is_better():
    frame = pd.DataFrame({"arm": ["plain", "plain", "x", "x"], "seed": 0, "step": [1, 2, 1, 2], "loss": [1.0, 2.0, 0.5, 0.7]})

    def means(**options: Any) -> list[float | None]:
        view = resexp.compare_frame(frame, arm="arm", pair="seed", metric="loss", **options)
        return [arm.summary.mean for arm in view.comparison.cells[0].arms]

    assert means(last="step") == [2.0, 0.7]
    assert means(last="loss") == [2.0, 0.7]
    assert means(last="loss", lower_is_better=True) == [1.0, 0.5]


# ---- formats ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbf" + GOOD.replace(",", ";").replace(".", ",").encode(), id="german-excel"),
        pytest.param(GOOD.encode("utf-16"), id="utf-16"),
        pytest.param(gzip.compress(GOOD.encode()), id="gzip"),
        pytest.param(GOOD.replace(",1,", f",{10**30},").encode(), id="huge-pair"),
        pytest.param(GOOD.replace(",1,", ",fold b,").encode(), id="named-pairs"),
    ],
)
def test_spellings_of_one_table_give_one_comparison(run, good, tmp_path, content):
    (tmp_path / "other.csv").write_bytes(content)
    expected, result = (run(name, *COLUMNS, "--format", "csv") for name in (good, "other.csv"))

    assert result.exit_code == 0, result.output
    assert result.stdout == expected.stdout


def test_a_tensorboard_file_is_a_run(run, tmp_path):
    names = ["run-plain_s0-tag-loss.csv", "run-gate_s0-tag-loss.csv"]
    for name, value in zip(names, (1.3, 1.2), strict=True):
        (tmp_path / name).write_text(f"Wall time,Step,Value\n1.5,0,2.3\n1.6,1,{value}\n")
    options = ("--arm", "run_arm", "--pair", "run_pair", "--metric", "Value", "--last", "Step", "--format", "json")
    arms = json.loads(run(*names, *options).stdout)["cells"][0]["arms"]

    assert [(arm["name"], arm["summary"]["mean"]) for arm in arms] == [("plain", 1.3), ("gate", 1.2)]


def test_every_command_of_the_page_works(run, tmp_path):
    page = PAGE.read_text(encoding="utf-8")
    for name, content in re.findall(r"```text (\S+)\n(.*?)```", page, re.DOTALL):
        (tmp_path / name).write_text(content)
    commands = re.findall(r"```sh\nresexp compare (.*?)\n```", page)

    assert len(commands) == 5
    for command in commands:
        result = run(*shlex.split(command))
        assert result.exit_code == 0, result.output


# ---- refusals ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "part"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param("arm,seed,acc\n", "no rows", id="header-only"),
        pytest.param(GOOD.replace("acc", "f1"), "--metric acc", id="missing-column"),
        pytest.param(GOOD.replace("acc", "seed"), "several columns 'seed'", id="duplicate-name"),
        pytest.param(GOOD.replace("0.66", "n/a"), "row 6", id="text"),
        pytest.param(GOOD.replace("0.66", "nan"), "row 6", id="nan"),
        pytest.param(GOOD.replace("0.66", "inf"), "row 6", id="infinite"),
        pytest.param(GOOD.replace("x,1,0.66", "x,1"), "row 6", id="ragged"),
        pytest.param(GOOD.replace("x,1", "x,\0"), "NUL", id="nul"),
        pytest.param(GOOD.replace("x,", "plain,").replace("plain,0,0.61", "plain,9,1"), "--pair seed", id="repeated-pair"),
        pytest.param("arm,seed,acc\nplain,0,1\nplain,1,1\n", "two arms", id="one-arm"),
        pytest.param(GOOD.replace("x,2,0.83\n", ""), "--allow-missing", id="missing-pair"),
        pytest.param('arm,seed,acc\nplain,0,"1\n', "not valid CSV", id="open-quote"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(run, tmp_path, content, part):
    (tmp_path / "bad.csv").write_text(content)

    assert part in str(refusal(run("bad.csv", *COLUMNS)))


def test_a_folder_a_damaged_gzip_file_and_other_columns_are_refused(run, good, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(GOOD.encode())[:30])
    (tmp_path / "other.csv").write_text(GOOD.replace("seed", "fold"))

    assert "folder" in refusal(run("folder.csv", *COLUMNS)).problem
    assert "cannot be read" in refusal(run("cut.csv.gz", *COLUMNS)).problem
    assert "'fold'" in refusal(run(good, "other.csv", *COLUMNS)).problem


def test_a_setting_that_differs_is_refused_by_name_and_compared_with_by(run, tmp_path):
    rows = GOOD.splitlines()
    lines = [f"{rows[0]},lr", *(f"{row},0.1" for row in rows[1:]), *(f"{row},0.2" for row in rows[1:])]
    (tmp_path / "rates.csv").write_text("\n".join(lines))
    (tmp_path / "arms.csv").write_text("\n".join([lines[0], *(f"{row},{row[0]}" for row in rows[1:])]))

    assert refusal(run("arms.csv", *COLUMNS)).where == "column 'lr'"
    assert run("arms.csv", *COLUMNS, "--ignore", "lr").exit_code == 0
    assert len(json.loads(run("rates.csv", *COLUMNS, "--by", "lr", "--format", "json").stdout)["cells"]) == 2


@pytest.mark.parametrize("option", [("--tune", "lr"), ("--by-image",), ("--by-layer",), ("--at", "best")], ids=lambda o: o[0])
def test_an_option_that_needs_an_experiment_is_refused(run, good, option):
    assert refusal(run(good, *COLUMNS, *option)).where == option[0]


def test_an_option_of_files_is_refused_for_an_experiment(run):
    assert refusal(run("digits", "--arm", "arm")).where == "--arm"
