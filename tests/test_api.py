"""What was trained, from Python: the frames are the files, the comparison is what the command line prints, HTML is escaped."""

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
    """32 tiny networks, trained: two depths, norms and rates, two arms and seeds."""
    return resexp.train(tiny_file, *GRID, runs_dir=tmp_path_factory.mktemp("runs"))


def values(trial):
    if trial.arm == "plain":
        return {"test_accuracy": 0.50 + 0.03 * trial.seed, "slope_start": -0.5}
    return {"test_accuracy": 0.70 + 0.05 * trial.seed, "slope_start": 0.0}


def loaded(runs_dir, *overrides, made=values):
    folder, _ = fabricated.experiment(runs_dir, made, *overrides)
    return resexp.load(folder)


def printed(capsys, monkeypatch, *arguments):
    """What `resexp ...` writes to stdout."""
    monkeypatch.setattr(sys, "argv", ["resexp", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        assert end.code in (None, 0, 3)  # noqa: PT017 - 3: said, and not met
    return capsys.readouterr().out


# ---- which experiments ------------------------------------------------------------------------------------------------


def test_an_experiment_is_found_by_path_by_name_and_without_a_name_the_last_one(tmp_path):
    first, _ = fabricated.experiment(tmp_path, values, "name=first", *ONE_CELL)
    runs_dir = str(tmp_path)

    for found in (
        resexp.load(first),
        resexp.load(str(first)),
        resexp.load("first", runs_dir=runs_dir),
        resexp.load(runs_dir=tmp_path),
    ):
        assert [folder for folder, _ in found.results.sources] == [first]


def test_several_experiments_are_read_side_by_side(tmp_path):
    fabricated.experiment(tmp_path, values, "name=one", *ONE_CELL)
    fabricated.experiment(tmp_path, values, "name=two", *ONE_CELL, "training.epochs=7")
    found = resexp.load("one", "two", runs_dir=tmp_path)

    assert len(found.trials) == 12
    assert sorted(found.trials["training.epochs"].unique()) == [7, 20]
    assert str(found.compare()).startswith("one + two: test accuracy of the final weights in percent")


def test_what_is_not_there_is_named_with_what_is(tmp_path):
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
def test_no_more_is_imported_than_is_needed(program, absent, folder):
    text = f"{program.format(str(folder))}; import sys; print(*[m for m in {absent} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=120)

    assert done.stdout.split() == []


# ---- frames ---------------------------------------------------------------------------------------------------------------


def cells(row, columns):
    """A row of a frame as csv has it, numbers as numbers."""
    return [number(row[column]) for column in columns]


def number(value):
    """Text that is a number, as one; an empty cell and a number that is none, as None."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None if value in ("", None) else value
    return None if math.isnan(found) else found


def test_there_is_a_row_for_each_trial_with_the_figures_of_its_result(folder):
    frame = resexp.load(folder).trials
    figures = [
        "outcome", "test_accuracy", "test_loss", "best_test_accuracy", "best_test_loss", "best_epoch", "train_accuracy",
        "train_loss", "val_accuracy", "slope_start", "slope_end", "parameters", "multiply_adds", "steps",
    ]  # fmt: skip

    assert list(frame.columns[:6]) == ["trial", "arm", "depth", "norm", "lr", "seed"]
    assert set(frame.columns[6:]) == {*figures, "dead_layers"}
    assert len(frame) == 32
    for _, row in frame.iterrows():
        place = folder / "trials" / row["trial"]
        result = json.loads((place / "result.json").read_text())
        settings = config.read_document(place / "trial.yaml")[0]["settings"]
        assert [row["arm"], row["seed"]] == [result["arm"], result["seed"]]
        assert [row["depth"], row["norm"]] == [settings["network"]["depth"], settings["network"]["norm"]]
        assert row["lr"] == settings["training"]["lr"]
        assert cells(row, figures) == [number(result[key]) for key in figures]
        assert row["dead_layers"] == len(result["dead_layers"])


@pytest.mark.parametrize(("name", "file"), LOGS.items())
def test_a_frame_holds_every_row_of_the_logs_beside_the_place_of_its_trial(name, file, folder):
    run = resexp.load(folder)
    frame = getattr(run, name)
    expected = []
    for _, trial in run.trials.iterrows():
        with (folder / "trials" / trial["trial"] / file).open(newline="") as opened:
            rows = list(csv.DictReader(opened))
        place = [trial[key] for key in ("trial", "arm", "depth", "norm", "lr", "seed")]
        expected += [[*place, *map(number, row.values())] for row in rows]
        columns = list(rows[0])

    assert list(frame.columns[6:]) == columns
    assert [cells(row, range(len(row))) for row in frame.itertuples(index=False)] == [[*map(number, row)] for row in expected]
    assert list(frame.index) == list(range(len(expected)))


@pytest.mark.parametrize("name", ["trials", *LOGS])
def test_columns_are_numbers_but_for_names(name, folder):
    frame = getattr(resexp.load(folder), name)
    words = [column for column in frame if not pd.api.types.is_numeric_dtype(frame[column])]
    counts = [column for column in ("depth", "seed", "step", "epoch", "index", "parameters", "steps") if column in frame]

    assert set(words) == {"trial", "arm", "norm", "outcome", "layer", "block"} & set(frame)
    assert all(pd.api.types.is_integer_dtype(frame[column]) for column in counts)


def test_an_axis_that_a_log_has_a_column_for_keeps_its_dotted_name_there(folder):
    run = resexp.load(folder)

    assert set(run.trials["lr"]) == set(run.metrics["training.lr"]) == {0.001, 0.01}
    assert "lr" in run.metrics
    assert run.metrics.columns.is_unique


def test_figures_that_a_diverged_network_does_not_have_are_no_numbers(tmp_path):
    frame = loaded(tmp_path, *ONE_CELL, made=lambda _: {"outcome": "diverged", "best_epoch": None}).trials

    assert frame[["test_accuracy", "best_epoch", "slope_start"]].isna().all(axis=None)
    assert (frame.dtypes[["test_accuracy", "best_epoch", "slope_start"]] == "float64").all()


@pytest.mark.parametrize("name", ["trials", *LOGS])
def test_a_frame_is_read_once(name, folder):
    run = resexp.load(folder)

    assert getattr(run, name) is getattr(run, name)


@pytest.mark.parametrize(("name", "file"), LOGS.items())
def test_only_finished_trials_are_in_frames(name, file, tmp_path):
    run = loaded(tmp_path, *ONE_CELL, made=lambda trial: values(trial) if trial.seed else {})

    assert set(run.trials["seed"]) == {1, 2}
    assert set(run.metrics["seed"]) == {1, 2}


@pytest.mark.parametrize("name", ["trials", *LOGS])
def test_frames_of_an_experiment_of_which_nothing_has_finished_have_no_rows(name, tmp_path):
    frame = getattr(loaded(tmp_path, *ONE_CELL, made=lambda _: {}), name)

    assert len(frame) == 0
    assert {"trial", "arm", "depth", "seed"} <= set(frame.columns)
    assert set(runs.COLUMNS.get(f"{name}.csv", ())) <= set(frame.columns)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda path: path.write_text(path.read_text().replace("0.001", "0.002", 1)), "damaged", id="edited"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-5]), "damaged", id="torn"),
        pytest.param(lambda path: path.unlink(), "missing", id="gone"),
    ],
)
def test_a_log_is_read_when_it_is_asked_for_and_damage_is_named(change, said, tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, *ONE_CELL)
    path = folder / "trials" / experiment.trials[0].name / "metrics.csv"
    change(path)
    run = resexp.load(folder)

    assert len(run.trials) == len(set(run.signals["trial"])) == 6
    for ask in (lambda: run.metrics, run.charts):
        with pytest.raises(RunsError, match=rf"{path.name}: {said}"):
            ask()


def test_layers_without_a_gradient_are_words_where_some_results_have_none(tmp_path):
    def made(trial):  # an earlier release wrote no such list
        return values(trial) | ({"dead_layers": ["blocks.0.layer1"]} if trial.arm == "identity" else {})

    run = loaded(tmp_path, *ONE_CELL, made=made)
    frame = run.compare().frame.set_index("arm")

    counts = run.trials.groupby("arm")["dead_layers"]
    assert (counts.min()["identity"], counts.count()["plain"]) == (1, 0)
    assert dict(frame["dead_layers"]) == {"plain": "", "identity": "blocks.0.layer1"}
    assert set(loaded(tmp_path / "none", *ONE_CELL).compare().frame["dead_layers"]) == {""}


# ---- comparisons ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        pytest.param({}, [], id="as it is"),
        pytest.param({"metric": "train_loss"}, ["--metric", "train_loss"], id="another metric"),
        pytest.param({"at": "best"}, ["--at", "best"], id="the best weights"),
        pytest.param(
            {"metric": "val_loss", "at": "step:4"}, ["--metric", "val_loss", "--at", "step:4"], id="a step of the training"
        ),
        pytest.param({"tune": "lr"}, ["--tune", "lr"], id="tuned by name"),
        pytest.param({"tune": ["lr", "norm"]}, ["--tune", "lr", "--tune", "norm"], id="tuned over two"),
        pytest.param({"images": True}, ["--by-image"], id="with the luck of the images"),
    ],
)
def test_a_comparison_is_printed_as_the_command_line_prints_it(options, flags, folder, capsys, monkeypatch):
    found = resexp.load(folder).compare(**options)
    expected = printed(capsys, monkeypatch, "compare", folder, *flags)

    assert f"{found}\n" == f"{found!r}\n" == expected
    assert len(expected.splitlines()) > 20


def test_a_primary_contrast_stands_in_it(tmp_path, capsys, monkeypatch):
    run = loaded(tmp_path, *FOUR, 'compare.primary="test_accuracy: identity > plain @ 95%"')

    assert f"{run.compare()}\n" == printed(capsys, monkeypatch, "compare", *(of for of, _ in run.results.sources))
    assert "primary hypothesis (everything else is exploratory)\n  test_accuracy: identity > plain @ 95%\n" in str(
        run.compare()
    )


@pytest.mark.parametrize("unmatched", [False, True])
def test_arms_that_are_no_pair_are_compared_only_where_that_is_asked_for(unmatched, tmp_path, capsys, monkeypatch):
    plain, _ = fabricated.experiment(tmp_path, values, "name=one", *ONE_CELL, "network.shortcut=[plain]")
    other, _ = fabricated.experiment(
        tmp_path, values, "name=two", *ONE_CELL, "network.plain=false", "training.epochs=7", "network.shortcut=[identity]"
    )
    found = resexp.load(plain, other).compare(unmatched=unmatched)
    flags = ["--allow-unmatched"] if unmatched else []

    assert f"{found}\n" == printed(capsys, monkeypatch, "compare", plain, other, *flags)
    assert found.frame["difference"].notna().any() == unmatched


@pytest.mark.parametrize("made", [values, lambda trial: {"outcome": "diverged"} if trial.arm == "plain" else values(trial)])
def test_its_frame_is_the_csv_of_the_command_line(made, tmp_path, capsys, monkeypatch):
    run = loaded(tmp_path, *FOUR, made=made)
    frame = run.compare().frame
    (folder, _), *_ = run.results.sources
    rows = list(csv.reader(io.StringIO(printed(capsys, monkeypatch, "compare", folder, "--format", "csv"))))
    words = [column for column in frame if not pd.api.types.is_numeric_dtype(frame[column])]

    assert list(frame.columns) == rows[0]
    assert [cells(row, rows[0]) for _, row in frame.iterrows()] == [[*map(number, row)] for row in rows[1:]]
    assert words == ["norm", "arm", "unmatched", "dead_layers"]
    assert set(frame["unmatched"]) == {""}


def test_an_expectation_has_the_verdicts_of_the_command_line(tmp_path, capsys, monkeypatch):
    run = loaded(tmp_path, *FOUR)
    for text, met in (("test_accuracy: identity > plain @ 95%", True), ("test_accuracy: residual < plain", False)):
        found = run.compare().expect(text)
        (folder, _), *_ = run.results.sources

        assert found == claims.judge(config.parse_expectation(text), run.results)
        assert f"\n\n{found!r}\n\n" in printed(capsys, monkeypatch, "compare", folder, "--expect", text)
        assert found.met is met


def test_an_expectation_that_is_none_and_a_metric_that_is_none_are_refused(tmp_path):
    run = loaded(tmp_path, *ONE_CELL)

    with pytest.raises(config.ConfigError):
        run.compare().expect("identity is better")
    with pytest.raises(config.ConfigError, match="'accuracy' is not one of test_accuracy"):
        run.compare("accuracy")
    with pytest.raises(config.ConfigError, match="'lr' does not vary here"):
        run.compare(tune="lr")


# ---- charts -----------------------------------------------------------------------------------------------------------------


def test_the_charts_are_those_of_the_report_and_show_themselves(folder, monkeypatch):
    charts = resexp.load(folder).charts()
    shown = []
    for kind in (alt.FacetChart, alt.VConcatChart):
        monkeypatch.setattr(kind, "display", lambda chart: shown.append(chart))  # noqa: PLW0108 - as a method
    charts._ipython_display_()

    assert {"accuracy", "training-error", "curves", "gradient-profile"} <= set(charts)
    assert shown == list(charts.values())
    assert all(chart.to_dict()["$schema"].startswith("https://vega.github.io/schema/vega-lite/") for chart in charts.values())
    assert repr(charts) == f"charts: {', '.join(charts)}"


def test_there_is_nothing_to_draw_before_a_trial_has_finished(tmp_path):
    with pytest.raises(RunsError, match=r"digits: no trial has finished yet; nothing to draw"):
        loaded(tmp_path, *ONE_CELL, made=lambda _: {}).charts()


# ---- how it shows itself ----------------------------------------------------------------------------------------------------


def test_it_says_what_it_is_in_a_line(tmp_path):
    run = loaded(tmp_path, *FOUR, made=lambda trial: values(trial) if trial.seed else {})
    (folder, _), *_ = run.results.sources

    assert repr(run) == f"<digits: 16 of 24 trials finished; arms plain identity; depth 8 64; norm none layer; {folder}>"


def test_a_notebook_shows_name_question_progress_and_the_answer(folder):
    shown = resexp.load(folder)._repr_html_()

    assert re.match(
        r"<h4>tiny</h4><p>32 of 32 trials finished(, \d+ at chance)?</p>"
        r"<p>In 8 matched pairs at learning rates 0.001 to 0.01, 6 steps, ",
        shown,
    )
    assert "n = 2 seeds" in shown


def test_a_notebook_shows_an_experiment_of_which_nothing_has_finished(tmp_path):
    shown = loaded(tmp_path, *ONE_CELL, made=lambda _: {})._repr_html_()

    assert shown.endswith("<p>0 of 6 trials finished</p>")


def test_what_an_experiment_says_cannot_be_code_in_a_notebook(tmp_path):
    run = loaded(tmp_path, *ONE_CELL, "question=<script>alert('why?')</script> & <b>so</b>")

    for shown in (run._repr_html_(), run.compare()._repr_html_()):
        assert "&lt;script&gt;alert(&#x27;why?&#x27;)&lt;/script&gt; &amp; &lt;b&gt;so&lt;/b&gt;" in shown
        assert "<script" not in shown
        assert "<b>" not in shown
