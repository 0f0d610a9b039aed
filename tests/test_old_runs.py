"""Folders that an earlier release wrote: they lie in tests/data for ever, and every later resexp reads and continues them."""

import csv
import shutil
import sys
from pathlib import Path

import pytest

from resexp import cli, config, runs
from resexp.executors import train_here

KEPT = Path(__file__).parent / "data"
layouts = pytest.mark.parametrize("layout", sorted(path.name for path in KEPT.iterdir()))


@pytest.fixture
def results(layout: str, tmp_path: Path) -> Path:
    shutil.copytree(KEPT / layout, tmp_path / "runs")
    return tmp_path / "runs"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def said(*arguments: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What the program prints."""
    monkeypatch.setattr(sys, "argv", ["resexp", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    return capsys.readouterr().out


@layouts
def test_every_release_since_the_first_is_kept(layout: str):
    names = {f"layout-{number}" for number in range(1, runs.LAYOUT + 1)}

    assert {path.name for path in KEPT.iterdir()} == names
    assert layout in names


@layouts
def test_nothing_in_them_is_damaged(results: Path):
    assert [folder.name for folder in runs.experiments(results)] == ["finished", "interrupted"]
    assert [line for folder in runs.experiments(results) for line in runs.examine(folder)] == []


@layouts
def test_they_are_compared_and_reported_as_they_were_measured(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    measured = {
        row["trial"]: row["test_accuracy"]
        for row in csv.DictReader((results / "finished" / "accuracy.csv").read_text().splitlines())
    }
    found = runs.read_results([results / "finished"], ["metrics.csv", "signals.csv"])
    assert {state.trial.name: str(state.result["test_accuracy"]) for state in found.records} == measured

    table = said("compare", "finished", "--runs", results, capsys=capsys, monkeypatch=monkeypatch)
    assert [line.split()[:2] for line in table.splitlines() if "/2 " in line] == [["plain", "0/2"], ["identity", "0/2"]]
    said("report", "finished", "--runs", results, capsys=capsys, monkeypatch=monkeypatch)
    assert "kept for ever" in (results / "finished" / "report.html").read_text(encoding="utf-8")


@layouts
def test_what_was_finished_is_not_trained_again(results: Path, torch_state: None):
    before = tree(results / "finished" / "trials")
    train_here(runs.read_experiment(results / "finished"), results / "finished")

    assert tree(results / "finished" / "trials") == before


@layouts
def test_what_was_interrupted_goes_on_from_its_checkpoint(results: Path, torch_state: None):
    folder = results / "interrupted"
    experiment = runs.read_experiment(folder)
    logs = {trial.name: runs.trial_folder(folder, trial.name) / "metrics.csv" for trial in experiment.trials}
    before = {name: path.read_text() for name, path in logs.items()}
    train_here(experiment, folder)

    assert {state.state for state in runs.trial_records(folder, experiment)} == {"finished"}
    for name, path in logs.items():
        assert path.read_text().startswith(before[name])
        assert [row["epoch"] for row in runs.read_rows(path)] == [str(epoch) for epoch in range(300 // 4 + 1)]


@layouts
def test_their_experiments_can_grow(results: Path, torch_state: None):
    folder = results / "finished"
    before = tree(folder / "trials")
    grown = config.load(folder / "experiment.yaml", ["seeds=3"])
    runs.check_unchanged(grown, folder)
    train_here(grown, folder)

    assert before.items() <= tree(folder / "trials").items()
    assert {state.state for state in runs.trial_records(folder, grown)} == {"finished"}
