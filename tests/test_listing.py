"""`resexp ls`: the experiments in a results folder."""

import json
from pathlib import Path

import fabricated
from commands import Program

from resexp import runs


def test_each_experiment_is_listed_with_its_state_and_trials(call: Program, tmp_path: Path):
    folder, experiment = fabricated.experiment(tmp_path, lambda _: {"test_accuracy": 0.5}, "name=finished", "seeds=1")
    fabricated.experiment(tmp_path, lambda _: {}, "name=started", "seeds=1")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "experiment.yaml").write_text("name: [", encoding="utf-8")
    code, out, _ = call("ls", "--runs", tmp_path, "--json")
    rows = {row["name"]: row for row in json.loads(out)["experiments"]}
    count = len(experiment.trials)

    assert code == 0
    assert {name: (row["state"], row["finished"], row["trials"]) for name, row in rows.items()} == {
        "finished": ("finished", count, count),
        "started": ("not started", 0, count),
        "damaged": ("damaged", 0, 0),
    }
    assert rows["finished"]["question"] == experiment.question
    assert rows["finished"]["when"] == runs.launches(folder)[-1]["time"]
    assert "experiment.yaml" in rows["damaged"]["reason"]


def test_the_list_is_a_table_of_80_columns_and_an_empty_folder_says_so(call: Program, tmp_path: Path):
    folder, _ = fabricated.experiment(tmp_path, lambda _: {"test_accuracy": 0.5}, "seeds=1")
    listed, empty = call("ls", "--runs", folder), call("ls", "--runs", tmp_path / "none")

    assert f" {folder.name} " in listed.out
    assert max(map(len, listed.out.splitlines())) <= 80
    assert " ".join(empty.out.split()) == f"{tmp_path / 'none'}: contains no experiment yet"
