"""The Python API: frames equal the files, comparisons equal the command line output, and HTML is escaped."""

import csv
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import altair as alt
import fabricated
import pandas as pd
import pytest

import resexp
from resexp import claims, cli, config, runs
from resexp.runs import RunsError

LOGS = {"metrics": "metrics.csv", "gradients": "gradients.csv", "signals": "signals.csv"}
GRID = ("network.norm=[none,layer]", "training.lr=[0.001,0.01]", "network.depth=[4,6]", "seeds=2")
ONE_CELL = ("network.depth=[64]", "network.init=[he]", "network.norm=[none]", "seeds=3")
FOUR = ("network.depth=[8,64]", "network.init=[he]", "network.norm=[none,layer]", "seeds=3")


@pytest.fixture(scope="module")
def folder(tiny_file, tmp_path_factory) -> Path:
    """32 trained networks: two depths, normalizations, learning rates, arms and seeds."""
    return resexp.train(tiny_file, *GRID, runs_dir=tmp_path_factory.mktemp("runs"))


def values(trial):
    if trial.arm == "plain":
        return {"test_accuracy": 0.50 + 0.03 * trial.seed, "slope_start": -0.5}
    return {"test_accuracy": 0.70 + 0.05 * trial.seed, "slope_start": 0.0}


def loaded(runs_dir, *overrides, values_of=values):
    folder, _ = fabricated.experiment(runs_dir, values_of, *overrides)
    return resexp.load(folder)


def printed(capsys, monkeypatch, *arguments):
    """The output of `resexp ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["resexp", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        assert end.code in (None, 0, 3)  # noqa: PT017 - 3: a hypothesis is not supported
    return capsys.readouterr().out


# ---- loading ---------------------------------------------------------------------------------------------------------


def test_an_experiment_is_loaded_by_path_by_name_or_as_the_last_one(tmp_path):
    first, _ = fabricated.experiment(tmp_path, values, "name=first", *ONE_CELL)
    runs_dir = str(tmp_path)

    for loaded_results in (
        resexp.load(first),
        resexp.load(str(first)),
        resexp.load("first", runs_dir=runs_dir),
        resexp.load(runs_dir=tmp_path),
    ):
        assert [folder for folder, _ in loaded_results.results.sources] == [first]


def test_several_experiments_are_loaded_together(tmp_path):
    fabricated.experiment(tmp_path, values, "name=one", *ONE_CELL)
    fabricated.experiment(tmp_path, values, "name=two", *ONE_CELL, "training.epochs=7")
    both = resexp.load("one", "two", runs_dir=tmp_path)

    assert len(both.trials) == 12
    assert sorted(both.trials["training.epochs"].unique()) == [7, 20]
    assert str(both.compare()).startswith("one + two: test accuracy of the final weights in percent")


def test_a_missing_experiment_is_refused_with_the_names_of_existing_ones(tmp_path):
    fabricated.experiment(tmp_path, values, "name=first", *ONE_CELL)

    with pytest.raises(RunsError, match=r"frist: no experiment with that name or path; .* contains first"):
        resexp.load("frist", runs_dir=tmp_path)


def test_the_folder_that_training_returns_can_be_loaded(folder):
    assert resexp.load(folder).results.name == "tiny"
    assert len(resexp.load(folder).trials) == 32


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        pytest.param("import resexp; resexp.load; resexp.train", ["torch", "pandas", "altair"], id="import resexp"),
        pytest.param("import resexp; resexp.load({!r}).compare()", ["torch", "torchvision"], id="load and compare"),
    ],
)
def test_unneeded_packages_are_not_imported(program, absent, folder):
    text = f"{program.format(str(folder))}; import sys; print(*[m for m in {absent} if m in sys.modules])"
    completed = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=120)

    assert completed.stdout.split() == []


# ---- frames ---------------------------------------------------------------------------------------------------------------


def cells(row, columns):
    """The cells of a row; text that is a number is converted."""
    return [number(row[column]) for column in columns]


def number(value):
    """Text that is a number is converted; empty cells and NaN become None."""
    try:
        parsed = float(value)
    except (TypeError, ValueError):
        return None if value in ("", None) else value
    return None if math.isnan(parsed) else parsed


def test_trials_has_one_row_per_trial_with_the_values_of_its_result(folder):
    frame = resexp.load(folder).trials
    columns = [
        "outcome", "test_accuracy", "test_loss", "best_test_accuracy", "best_test_loss", "best_epoch", "train_accuracy",
        "train_loss", "val_accuracy", "slope_start", "slope_end", "distance_start", "parameters", "multiply_adds", "steps",
    ]  # fmt: skip

    assert list(frame.columns[:6]) == ["trial", "arm", "depth", "norm", "lr", "seed"]
    assert set(frame.columns[6:]) == {*columns, "dead_layers"}
    assert len(frame) == 32
    for _, row in frame.iterrows():
        trial_folder = folder / "trials" / row["trial"]
        result = json.loads((trial_folder / "result.json").read_text())
        settings = config.read_document(trial_folder / "trial.yaml")[0]["settings"]
        assert [row["arm"], row["seed"]] == [result["arm"], result["seed"]]
        assert [row["depth"], row["norm"]] == [settings["network"]["depth"], settings["network"]["norm"]]
        assert row["lr"] == settings["training"]["lr"]
        assert cells(row, columns) == [number(result[key]) for key in columns]
        assert row["dead_layers"] == len(result["dead_layers"])


@pytest.mark.parametrize(("name", "file"), LOGS.items())
def test_a_frame_has_every_row_of_the_logs_with_the_configuration_of_its_trial(name, file, folder):
    results = resexp.load(folder)
    frame = getattr(results, name)
    expected = []
    for _, trial in results.trials.iterrows():
        with (folder / "trials" / trial["trial"] / file).open(newline="") as opened:
            rows = list(csv.DictReader(opened))
        configuration = [trial[key] for key in ("trial", "arm", "depth", "norm", "lr", "seed")]
        expected += [[*configuration, *map(number, row.values())] for row in rows]
        columns = list(rows[0])

    assert list(frame.columns[6:]) == columns
    assert [cells(row, range(len(row))) for row in frame.itertuples(index=False)] == [[*map(number, row)] for row in expected]
    assert list(frame.index) == list(range(len(expected)))


@pytest.mark.parametrize("name", ["trials", *LOGS])
def test_all_columns_are_numeric_except_names(name, folder):
    frame = getattr(resexp.load(folder), name)
    words = [column for column in frame if not pd.api.types.is_numeric_dtype(frame[column])]
    counts = [column for column in ("depth", "seed", "step", "epoch", "index", "parameters", "steps") if column in frame]

    assert set(words) == {"trial", "arm", "norm", "outcome", "layer", "block"} & set(frame)
    assert all(pd.api.types.is_integer_dtype(frame[column]) for column in counts)


def test_an_axis_with_the_name_of_a_log_column_has_its_dotted_name(folder):
    results = resexp.load(folder)

    assert set(results.trials["lr"]) == set(results.metrics["training.lr"]) == {0.001, 0.01}
    assert "lr" in results.metrics
    assert results.metrics.columns.is_unique


def test_missing_values_of_a_diverged_network_are_nan(tmp_path):
    frame = loaded(tmp_path, *ONE_CELL, values_of=lambda _: {"outcome": "diverged", "best_epoch": None}).trials

    assert frame[["test_accuracy", "best_epoch", "slope_start"]].isna().all(axis=None)
    assert (frame.dtypes[["test_accuracy", "best_epoch", "slope_start"]] == "float64").all()


@pytest.mark.parametrize("name", ["trials", *LOGS])
def test_a_frame_is_read_once(name, folder):
    results = resexp.load(folder)

    assert getattr(results, name) is getattr(results, name)


@pytest.mark.parametrize(("name", "file"), LOGS.items())
def test_only_finished_trials_are_in_frames(name, file, tmp_path):
    results = loaded(tmp_path, *ONE_CELL, values_of=lambda trial: values(trial) if trial.seed else {})

    assert set(results.trials["seed"]) == {1, 2}
    assert set(results.metrics["seed"]) == {1, 2}


@pytest.mark.parametrize("name", ["trials", *LOGS])
def test_frames_of_an_experiment_without_finished_trials_are_empty(name, tmp_path):
    frame = getattr(loaded(tmp_path, *ONE_CELL, values_of=lambda _: {}), name)

    assert len(frame) == 0
    assert {"trial", "arm", "depth", "seed"} <= set(frame.columns)
    assert set(runs.COLUMNS.get(f"{name}.csv", ())) <= set(frame.columns)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(lambda path: path.write_text(path.read_text().replace("0.001", "0.002", 1)), "damaged", id="edited"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-5]), "damaged", id="truncated"),
        pytest.param(lambda path: path.unlink(), "missing", id="missing"),
    ],
)
def test_a_log_is_read_at_first_access_and_a_damaged_one_is_refused_by_name(change, problem, tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, *ONE_CELL)
    path = folder / "trials" / experiment.trials[0].name / "metrics.csv"
    change(path)
    results = resexp.load(folder)

    assert len(results.trials) == len(set(results.signals["trial"])) == 6
    for access in (lambda: results.metrics, results.charts):
        with pytest.raises(RunsError, match=rf"{path.name}: {problem}"):
            access()


def test_dead_layers_are_text_even_if_some_results_have_no_list(tmp_path):
    def values_of(trial):  # results of earlier releases have no such list
        return values(trial) | ({"dead_layers": ["blocks.0.layer1"]} if trial.arm == "identity" else {})

    results = loaded(tmp_path, *ONE_CELL, values_of=values_of)
    frame = results.compare().frame.set_index("arm")

    counts = results.trials.groupby("arm")["dead_layers"]
    assert (counts.min()["identity"], counts.count()["plain"]) == (1, 0)
    assert dict(frame["dead_layers"]) == {"plain": "", "identity": "blocks.0.layer1"}
    assert set(loaded(tmp_path / "none", *ONE_CELL).compare().frame["dead_layers"]) == {""}


# ---- comparisons ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        pytest.param({}, [], id="default"),
        pytest.param({"metric": "train_loss"}, ["--metric", "train_loss"], id="another metric"),
        pytest.param({"at": "best"}, ["--at", "best"], id="best weights"),
        pytest.param({"metric": "val_loss", "at": "step:4"}, ["--metric", "val_loss", "--at", "step:4"], id="a training step"),
        pytest.param({"tune": "lr"}, ["--tune", "lr"], id="tuned over one key"),
        pytest.param({"tune": ["lr", "norm"]}, ["--tune", "lr", "--tune", "norm"], id="tuned over two keys"),
        pytest.param({"images": True}, ["--by-image"], id="with the uncertainty of the test images"),
    ],
)
def test_a_comparison_prints_the_output_of_the_command_line(options, flags, folder, capsys, monkeypatch):
    compared = resexp.load(folder).compare(**options)
    expected = printed(capsys, monkeypatch, "compare", folder, *flags)

    assert f"{compared}\n" == f"{compared!r}\n" == expected
    assert len(expected.splitlines()) > 20


def test_a_comparison_contains_the_primary_hypothesis(tmp_path, capsys, monkeypatch):
    results = loaded(tmp_path, *FOUR, 'compare.primary="test_accuracy: identity > plain @ 95%"')

    assert f"{results.compare()}\n" == printed(
        capsys, monkeypatch, "compare", *(source for source, _ in results.results.sources)
    )
    assert "primary hypothesis (everything else is exploratory)\n  test_accuracy: identity > plain @ 95%\n" in str(
        results.compare()
    )


@pytest.mark.parametrize("unmatched", [False, True])
def test_unmatched_arms_are_compared_only_on_request(unmatched, tmp_path, capsys, monkeypatch):
    plain, _ = fabricated.experiment(tmp_path, values, "name=one", *ONE_CELL, "network.shortcut=[plain]")
    other, _ = fabricated.experiment(
        tmp_path, values, "name=two", *ONE_CELL, "network.plain=false", "training.epochs=7", "network.shortcut=[identity]"
    )
    compared = resexp.load(plain, other).compare(unmatched=unmatched)
    flags = ["--allow-unmatched"] if unmatched else []

    assert f"{compared}\n" == printed(capsys, monkeypatch, "compare", plain, other, *flags)
    assert compared.frame["difference"].notna().any() == unmatched


@pytest.mark.parametrize(
    "values_of", [values, lambda trial: {"outcome": "diverged"} if trial.arm == "plain" else values(trial)]
)
def test_the_frame_of_a_comparison_equals_the_csv_of_the_command_line(values_of, tmp_path, capsys, monkeypatch):
    results = loaded(tmp_path, *FOUR, values_of=values_of)
    frame = results.compare().frame
    (folder, _), *_ = results.results.sources
    rows = list(csv.reader(io.StringIO(printed(capsys, monkeypatch, "compare", folder, "--format", "csv"))))
    words = [column for column in frame if not pd.api.types.is_numeric_dtype(frame[column])]

    assert list(frame.columns) == rows[0]
    assert [cells(row, rows[0]) for _, row in frame.iterrows()] == [[*map(number, row)] for row in rows[1:]]
    assert words == ["norm", "arm", "unmatched", "dead_layers"]
    assert set(frame["unmatched"]) == {""}


def test_tuned_results_are_a_frame_with_the_values_of_the_csv(tmp_path, capsys, monkeypatch):
    results = loaded(tmp_path, *ONE_CELL, "training.lr=[0.1,0.01]")
    compared = results.compare(tune="lr")
    (folder, _), *_ = results.results.sources
    text = printed(capsys, monkeypatch, "compare", folder, "--format", "csv", "--tune", "lr")
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["selection"]]

    assert len(compared.tuned) == len(rows) == 2
    assert [cells(row, compared.tuned.columns) for _, row in compared.tuned.iterrows()] == [
        [number(row[column]) for column in compared.tuned.columns] for row in rows
    ]
    assert list(compared.frame.columns) == list(results.compare().frame.columns)
    assert len(compared.frame) == 4
    assert compared.tuned["difference"].notna().tolist() == [False, True]


def test_the_tuned_frame_of_unfinished_experiments_is_empty(tmp_path):
    frame = loaded(tmp_path, *ONE_CELL, values_of=lambda _trial: {}).compare().tuned

    assert frame.empty
    assert "difference" in frame


def test_a_hypothesis_has_the_verdicts_of_the_command_line(tmp_path, capsys, monkeypatch):
    results = loaded(tmp_path, *FOUR)
    for text, met in (("test_accuracy: identity > plain @ 95%", True), ("test_accuracy: residual < plain", False)):
        verdicts = results.compare().expect(text)
        (folder, _), *_ = results.results.sources

        assert verdicts == claims.judge(config.parse_expectation(text), results.results)
        assert f"\n\n{verdicts!r}\n\n" in printed(capsys, monkeypatch, "compare", folder, "--expect", text)
        assert verdicts.met is met


def test_an_invalid_hypothesis_metric_or_key_is_refused(tmp_path):
    results = loaded(tmp_path, *ONE_CELL)

    with pytest.raises(config.ConfigError):
        results.compare().expect("identity is better")
    with pytest.raises(config.ConfigError, match="'accuracy' is not one of test_accuracy"):
        results.compare("accuracy")
    with pytest.raises(config.ConfigError, match="'lr' does not vary here"):
        results.compare(tune="lr")


# ---- charts -----------------------------------------------------------------------------------------------------------------


def test_the_charts_are_those_of_the_report_and_are_displayed_in_a_notebook(folder, monkeypatch):
    charts = resexp.load(folder).charts()
    shown = []
    for kind in (alt.FacetChart, alt.HConcatChart, alt.VConcatChart):
        monkeypatch.setattr(kind, "display", lambda chart: shown.append(chart))  # noqa: PLW0108 - as a method
    charts._ipython_display_()

    assert {"accuracy", "training-error", "curves", "gradient-profile"} <= set(charts)
    assert shown == list(charts.values())
    assert all(chart.to_dict()["$schema"].startswith("https://vega.github.io/schema/vega-lite/") for chart in charts.values())
    assert repr(charts) == f"charts: {', '.join(charts)}"


def test_there_are_no_charts_before_a_trial_has_finished(tmp_path):
    with pytest.raises(RunsError, match=r"digits: no trial has finished yet, so there are no charts"):
        loaded(tmp_path, *ONE_CELL, values_of=lambda _: {}).charts()


# ---- representations -------------------------------------------------------------------------------------------------------


def test_the_repr_of_results_is_one_line(tmp_path):
    results = loaded(tmp_path, *FOUR, values_of=lambda trial: values(trial) if trial.seed else {})
    (folder, _), *_ = results.results.sources

    assert repr(results) == f"<digits: 16 of 24 trials finished; arms plain identity; depth 8 64; norm none layer; {folder}>"


def test_a_notebook_shows_name_question_progress_and_summary(folder):
    shown = resexp.load(folder)._repr_html_()

    assert re.match(
        r"<h4>tiny</h4><p>32 of 32 trials finished(, \d+ at chance)?</p>"
        r"<p>At depth \d+ \(learning rates 0.001 to 0.01, 6 steps\), ",
        shown,
    )
    assert "n = 2 seeds" in shown


def test_a_notebook_shows_an_experiment_without_finished_trials(tmp_path):
    shown = loaded(tmp_path, *ONE_CELL, values_of=lambda _: {})._repr_html_()

    assert shown.endswith("<p>0 of 6 trials finished</p>")


def test_text_of_an_experiment_is_escaped_in_a_notebook(tmp_path):
    results = loaded(tmp_path, *ONE_CELL, "question=<script>alert('why?')</script> & <b>so</b>")

    for shown in (results._repr_html_(), results.compare()._repr_html_()):
        assert "&lt;script&gt;alert(&#x27;why?&#x27;)&lt;/script&gt; &amp; &lt;b&gt;so&lt;/b&gt;" in shown
        assert "<script" not in shown
        assert "<b>" not in shown
