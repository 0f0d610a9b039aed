"""`resexp pack` and `resexp rm`: an experiment as a zip file without weights, and experiments in the trash."""

import json
import os
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import fabricated
import pytest
import write_faults
from commands import Program

from resexp import config, runs


@pytest.fixture(scope="module")
def trained_once(tiny_runs: Callable[..., Path]) -> Path:
    return tiny_runs()


@pytest.fixture
def folder(trained_once: Path, tmp_path: Path) -> Path:
    """A copy of tiny.yaml, trained, in runs/."""
    return shutil.copytree(trained_once / "tiny", tmp_path / "runs" / "tiny")


def contents(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def tree(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- pack -----------------------------------------------------------------------------------------------------------------


def test_compare_report_watch_and_train_work_after_unpacking(folder: Path, call: Program, tmp_path: Path):
    packed = call("pack", folder, "-o", tmp_path / "maria.zip")
    with zipfile.ZipFile(tmp_path / "maria.zip") as archive:
        archive.extractall(tmp_path / "class")
    unpacked = tmp_path / "class" / "maria"
    answers = {
        command: [call(command, path, *arguments) for path in (folder, unpacked)]
        for command, arguments in {"compare": ["--json", "--by-image"], "watch": ["--json"], "report": ["--json"]}.items()
    }

    assert packed.code == 0
    assert all(answer.code == 0 for pair in answers.values() for answer in pair)
    assert answers["compare"][0].out == answers["compare"][1].out
    assert answers["watch"][0].out == answers["watch"][1].out
    assert "nothing to train" in call("train", unpacked).err


def test_weights_checkpoints_and_locks_are_left_out(folder: Path, call: Program, tmp_path: Path):
    left_out = ["checkpoints/a.pt", "checkpoints/a.previous", "checkpoints/.a.lock", "lock.json", ".lock", "old.zip", ".x.123"]
    (folder / "checkpoints").mkdir(exist_ok=True)
    for name in left_out:
        (folder / name).write_text("{}", encoding="utf-8")
    weights = {str(path.relative_to(folder)) for path in folder.rglob("*.pt")}
    call("pack", folder, "-o", tmp_path / "maria.zip")
    packed = {name.removeprefix("maria/") for name in contents(tmp_path / "maria.zip")}

    assert len(weights) > 3
    assert packed == {str(path) for path in tree(folder)} - weights - set(left_out)


def test_equal_results_give_equal_bytes(folder: Path, call: Program, tmp_path: Path):
    (tmp_path / "a").mkdir()
    call("pack", folder, "-o", tmp_path / "a" / "x.zip")
    other = shutil.copytree(folder, tmp_path / "other")
    for path in other.rglob("*"):
        os.utime(path, (10**9, 10**9))
    (tmp_path / "b").mkdir()
    call("pack", other, "-o", tmp_path / "b" / "x.zip")

    assert (tmp_path / "a" / "x.zip").read_bytes() == (tmp_path / "b" / "x.zip").read_bytes()
    assert contents(tmp_path / "a" / "x.zip") == sorted(contents(tmp_path / "a" / "x.zip"))


def test_a_file_is_overwritten_only_with_force(folder: Path, call: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.zip").write_text("mine", encoding="utf-8")
    refused = call("pack")
    kept = (tmp_path / "tiny.zip").read_text(encoding="utf-8")
    forced = call("pack", "--force", "--json")

    assert (refused.code, refused.err.count("\n"), kept) == (2, 1, "mine")
    assert forced.code == 0
    assert json.loads(forced.out)["files"] == len(contents(tmp_path / "tiny.zip"))
    assert json.loads(forced.out)["bytes"] == (tmp_path / "tiny.zip").stat().st_size


def test_an_experiment_in_training_is_neither_packed_nor_moved(folder: Path, call: Program, tmp_path: Path):
    with runs.lock(folder):
        answers = [call("pack", folder, "-o", tmp_path / "x.zip"), call("rm", folder)]

    for answer in answers:
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert "is being trained" in answer.err
    assert folder.exists()
    assert not (tmp_path / "x.zip").exists()


def test_a_symbolic_link_is_not_followed(folder: Path, call: Program, tmp_path: Path):
    (folder / "notes").symlink_to(tmp_path)
    answer = call("pack", folder, "-o", tmp_path / "x.zip")

    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize("error", ["ENOSPC", "EROFS"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_full_or_read_only_disk_keeps_the_old_file(folder: Path, call: Program, tmp_path: Path, error: str, at: int):
    target = tmp_path / "disk" / "x.zip"
    target.parent.mkdir()
    target.write_text("old", encoding="utf-8")
    fault = write_faults.Fault(target.parent, tmp_path / "log", error, at)
    with write_faults.applied(fault):
        answer = call("pack", folder, "-o", target, "--force")

    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert fault.reason in answer.err
    assert target.read_text(encoding="utf-8") == "old"


# ---- rm -------------------------------------------------------------------------------------------------------------------


def test_an_experiment_is_moved_unchanged_and_the_printed_command_restores_it(folder: Path, call: Program):
    before = {path: content for path, content in tree(folder).items() if path.name != ".lock"}
    moved = call("rm", folder)
    restore = shlex.split(moved.out.partition("To restore it: ")[2])
    gone = call("compare", "tiny", "--runs", folder.parent)
    shutil.move(*restore[1:])

    assert restore == ["mv", str(folder.parent / ".trash" / "tiny-1"), str(folder)]
    assert (moved.code, gone.code) == (0, 2)
    assert {path: content for path, content in tree(folder).items() if path.name != ".lock"} == before


def test_the_second_experiment_of_a_name_gets_the_next_number(folder: Path, call: Program, trained_once: Path):
    call("rm", folder)
    shutil.copytree(trained_once / "tiny", folder)
    document = json.loads(call("rm", "tiny", "--runs", folder.parent, "--json").out)

    assert document["moved"] == [{"experiment": str(folder), "trash": str(folder.parent / ".trash" / "tiny-2")}]
    assert sorted(path.name for path in (folder.parent / ".trash").iterdir()) == ["tiny-1", "tiny-2"]


def test_no_command_sees_the_trash(folder: Path, call: Program):
    fabricated.experiment(folder.parent, lambda _: {"test_accuracy": 0.5}, "name=kept", "seeds=1")
    call("rm", folder)
    listed = json.loads(call("ls", "--runs", folder.parent, "--json").out)

    assert [row["name"] for row in listed["experiments"]] == ["kept"]
    assert runs.find(None, folder.parent).name == "kept"
    assert runs.experiments(folder.parent) == [folder.parent / "kept"]


def test_if_one_name_is_wrong_nothing_is_moved(folder: Path, call: Program):
    answer = call("rm", "tiny", "tinny", "--runs", folder.parent)

    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "did you mean tiny?" in answer.err
    assert folder.exists()


def test_a_name_that_is_given_twice_is_moved_once(folder: Path, call: Program):
    answer = call("rm", "tiny", folder, "--runs", folder.parent)

    assert (answer.code, answer.out.count("\n")) == (0, 1)


def test_the_current_folder_is_moved_under_its_name(folder: Path, call: Program, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    answer = call("rm", ".")

    assert answer.code == 0
    assert (folder.parent / ".trash" / "tiny-1" / "experiment.yaml").exists()


def test_a_read_only_disk_is_named_and_nothing_is_moved(folder: Path, call: Program, tmp_path: Path):
    fault = write_faults.Fault(folder.parent, tmp_path / "log", "EROFS", 1)
    with write_faults.applied(fault):
        answer = call("rm", folder)

    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert fault.reason in answer.err
    assert config.load(folder / "experiment.yaml").name == "tiny"
