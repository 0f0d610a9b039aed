"""Folders written by earlier releases are stored in tests/data; every later resexp reads and continues them."""

import csv
import re
import shutil
import sys
from pathlib import Path

import pytest

import resexp
from resexp import cli, config, renamed, report, runs
from resexp.executors import train_here

DATA = Path(__file__).parent / "data"
layouts = pytest.mark.parametrize("layout", sorted(path.name for path in DATA.iterdir()))


@pytest.fixture
def results(layout: str, tmp_path: Path) -> Path:
    shutil.copytree(DATA / layout, tmp_path / "runs")
    return tmp_path / "runs"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def output(*arguments: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The output of the program."""
    monkeypatch.setattr(sys, "argv", ["resexp", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    return capsys.readouterr().out


@layouts
def test_every_layout_since_the_first_is_stored(layout: str):
    names = {f"layout-{number}" for number in range(1, runs.LAYOUT + 1)}

    assert {path.name for path in DATA.iterdir()} == names
    assert layout in names


@layouts
def test_no_stored_file_is_damaged(results: Path):
    assert {folder.name for folder in runs.experiments(results)} >= {"finished", "interrupted"}
    assert [line for folder in runs.experiments(results) for line in runs.examine(folder)] == []


@layouts
def test_old_folders_are_compared_and_reported_with_their_measured_values(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    measured = {
        row["trial"]: row["test_accuracy"]
        for row in csv.DictReader((results / "finished" / "accuracy.csv").read_text().splitlines())
    }
    records = runs.read_results([results / "finished"], ["metrics.csv", "signals.csv"]).records
    assert {record.trial.name: str(record.result.test_accuracy) for record in records} == measured

    table = output("compare", "finished", "--runs", results, capsys=capsys, monkeypatch=monkeypatch)
    assert [line.split()[:2] for line in table.splitlines() if "/2 " in line] == [["plain", "0/2"], ["identity", "0/2"]]
    output("report", "finished", "--runs", results, capsys=capsys, monkeypatch=monkeypatch)
    assert "kept for ever" in (results / "finished" / "report.html").read_text(encoding="utf-8")


@layouts
def test_finished_trials_are_not_trained_again(results: Path, torch_state: None):
    before = tree(results / "finished" / "trials")
    train_here(runs.read_experiment(results / "finished"), results / "finished")

    assert tree(results / "finished" / "trials") == before


@layouts
def test_interrupted_trials_resume_from_their_checkpoint(results: Path, torch_state: None):
    folder = results / "interrupted"
    experiment = runs.read_experiment(folder)
    logs = {trial.name: runs.trial_folder(folder, trial.name) / "metrics.csv" for trial in experiment.trials}
    before = {name: path.read_text() for name, path in logs.items()}
    train_here(experiment, folder)

    assert {record.state for record in runs.trial_records(folder, experiment)} == {"finished"}
    for name, path in logs.items():
        assert path.read_text().startswith(before[name])
        assert [row["epoch"] for row in runs.read_rows(path)] == [str(epoch) for epoch in range(300 // 4 + 1)]


@layouts
def test_logs_without_the_cosine_distance_are_read_and_continued_without_it(results: Path, torch_state: None):
    finished, folder = results / "finished", results / "interrupted"
    assert runs.LOG_COLUMNS["signals.csv"][-1].optional
    assert resexp.load(finished).signals["activation_cosine_distance"].isna().all()
    assert {record.result.distance_start for record in runs.read_results([finished]).records} == {None}
    assert {values.distance for pair in runs.pair_summaries(finished) for values in pair.at_start.values()} == {None}
    page = report.html(runs.read_results([finished]))
    assert 'id="figure-gradient-at-start"' in page
    assert not re.search(r'id="figure-distance|id="inputs"|distance at init|predicted distance', page)

    experiment = runs.read_experiment(folder)
    old = {path.parent.name: runs.read_text(path).count("\n") for path in folder.glob("trials/*/signals.csv")}
    train_here(experiment, folder)
    for record in runs.read_results([folder]).records:
        rows, distance = runs.read_rows(record.folder / "signals.csv"), record.result.distance_start
        assert ("activation_cosine_distance" in rows[0]) == (record.folder.name not in old)
        assert (distance is None) == (record.folder.name in old)
        assert len(rows) > old.get(record.folder.name, 0) > 1 or record.folder.name not in old
    assert runs.examine(folder) == []
    assert old


@layouts
def test_old_experiments_can_grow(results: Path, torch_state: None):
    folder = results / "finished"
    before = tree(folder / "trials")
    grown = config.load(folder / "experiment.yaml", ["seeds=3"])
    runs.check_unchanged(grown, folder)
    train_here(grown, folder)

    assert before.items() <= tree(folder / "trials").items()
    assert {record.state for record in runs.trial_records(folder, grown)} == {"finished"}


# ---- names that changed in layout 2 ------------------------------------------------------------------------------------


@pytest.fixture
def layout_1(tmp_path: Path) -> Path:
    """An experiment that layout 1 wrote: 2 values of network.gain x 2 of network.zero_last, ablated and timed."""
    shutil.copytree(DATA / "layout-1" / "renamed", tmp_path / "runs" / "renamed")
    return tmp_path / "runs" / "renamed"


def written(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_stored_folder_contains_every_renamed_name(layout_1: Path):
    text = "".join(map(written, (layout_1 / "experiment.yaml", layout_1 / "plan.json", layout_1 / "pairs.json")))
    trial = layout_1 / "trials" / "identity-d4-gain2-zero-last-true-s0"

    assert [key for key in renamed.KEYS if f"{key.split('.')[1]}:" not in text] == []
    assert "trained: identity >= plain at gain=2" in text
    assert '"cohorts"' in text
    assert '"zero_last"' in text
    assert '"outcome": "stuck"' in written(trial / "result.json")
    assert written(trial / "lesion.csv").startswith("index,block,left,")
    assert written(trial / "dose.csv").startswith("dose,")
    assert written(layout_1 / "cost.csv").splitlines()[1].startswith("d4 gain1 zero-last-false,")


def test_settings_are_read_with_their_present_names(layout_1: Path):
    experiment = runs.read_experiment(layout_1)

    assert experiment.axes == ("network.depth", "network.shortcut", "network.init_scale", "network.zero_init_residual")
    assert (experiment.shared.training.stack, experiment.shared.compare.primary) == (
        2, "above_chance: identity >= plain at init_scale=2, zero_init_residual=false"
    )  # fmt: skip
    assert runs.read_trial(layout_1, "plain-d4-scale1-zero-init-residual-true-s0") == next(
        trial for trial in experiment.trials if trial.name == "plain-d4-scale1-zero-init-residual-true-s0"
    )


def test_results_plan_and_pairs_are_read_with_their_present_names(layout_1: Path):
    results = runs.read_results([layout_1])

    assert {record.result.outcome for record in results.records} == {runs.Outcome.AT_CHANCE}
    assert {name for stack in runs.read_plan(layout_1).stacks for name in stack.trials} == {
        record.trial.name for record in results.records
    }
    pair = runs.pair_summaries(layout_1)[-1]
    assert (pair.cell, pair.start_differs) == ("d4 scale2 zero-init-residual-true", ("zero_init_residual",))
    assert results.orphaned_trials == []


def test_tables_are_read_with_their_present_columns(layout_1: Path):
    trial = runs.trial_folder(layout_1, "identity-d4-scale2-zero-init-residual-true-s0")

    assert runs.read_rows(trial / "lesion.csv")[0]["without"] == "all"
    assert [row["scale"] for row in runs.read_rows(trial / "shortcut_scale.csv")][::5] == ["1", "0.5", "0"]
    assert runs.read_rows(layout_1 / "cost.csv")[0]["cell"] == "d4 scale1 zero-init-residual-false"


def test_a_checkpoint_of_layout_1_keeps_its_name(layout_1: Path):
    old = layout_1 / "checkpoints" / "plain-d4-gain1-zero-last-true-s0.pt"
    old.parent.mkdir(exist_ok=True)
    name = "plain-d4-scale1-zero-init-residual-true-s0"

    assert runs.checkpoint_file(layout_1, name).name == f"{name}.pt"
    old.touch()
    assert runs.checkpoint_file(layout_1, name) == old


def test_an_experiment_of_layout_1_grows_and_keeps_its_files(layout_1: Path, torch_state: None):
    before = tree(layout_1 / "trials")
    grown = config.load(layout_1 / "experiment.yaml", ["seeds=2"])
    runs.check_unchanged(grown, layout_1)
    train_here(grown, layout_1)

    assert before.items() <= tree(layout_1 / "trials").items()
    assert {record.state for record in runs.trial_records(layout_1, grown)} == {"finished"}
    assert written(layout_1 / "experiment.yaml").startswith("# layout 2\n")
    assert runs.is_complete(config.load(layout_1 / "experiment.yaml"), layout_1)


@pytest.mark.parametrize(
    ("hypothesis", "problem"),
    [
        ("trained: identity > plain", "trained is now above_chance"),
        ("test_accuracy: identity > plain at gain=2", "at: gain is now network.init_scale"),
        (
            "test_accuracy: identity > plain at network.zero_last=true",
            "at: network.zero_last is now network.zero_init_residual",
        ),
    ],
)
def test_an_old_name_in_a_hypothesis_is_refused_with_its_present_name(hypothesis: str, problem: str):
    with pytest.raises(config.ConfigError) as caught:
        config.parse_expectation(hypothesis, "--expect")

    assert str(caught.value) == f"--expect: {problem}"


@pytest.mark.parametrize("key", renamed.KEYS)
@pytest.mark.parametrize("short", [False, True], ids=["with its section", "without its section"])
def test_an_old_key_is_refused_with_its_present_name(key: str, short: bool, tmp_path: Path):  # noqa: FBT001 - a parameter
    section, name = key.split(".")
    typed = name if short else key
    path = tmp_path / "mine.yaml"
    path.write_text(f"depth: 8\n{name}: 1\n" if short else f"{section}:\n  {name}: 1\n", encoding="utf-8")

    for source, overrides, where in ((path, [], f"{path}:2"), ("digits", [f"{typed}=1"], f"override '{typed}=1'")):
        with pytest.raises(config.ConfigError) as caught:
            config.load(source, overrides)
        assert str(caught.value) == f"{where}: {typed} is now {renamed.KEYS[key]}"
