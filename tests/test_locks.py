"""One writer an experiment, one worker a stack; who it is; what a dead one leaves behind."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resexp import runs
from resexp.runs import RunsError, locks


def held(folder: Path, **other: Any) -> None:
    """lock.json as another process has left it."""
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / "lock.json", {"host": platform.node(), "process": 1, "time": "2026-01-01T00:00:00+00:00", **other})


def dead_process() -> int:
    """The number of a process that has just ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_two_experiments_in_one_folder_do_not_know_of_each_other(tmp_path: Path):
    with runs.lock(tmp_path / "digits"), runs.lock(tmp_path / "mnist"):
        assert runs.is_training(tmp_path / "digits")
        assert not runs.is_training(tmp_path / "cifar")

    assert not runs.is_training(tmp_path / "digits")
    assert runs.holder(tmp_path / "digits") is None


def test_a_second_writer_is_refused_with_host_and_process_of_the_first_until_it_lets_go(tmp_path: Path):
    with runs.lock(tmp_path / "digits"):
        with pytest.raises(RunsError) as caught, runs.lock(tmp_path / "digits"):
            pass
        with pytest.raises(RunsError), runs.lock(tmp_path / "digits", break_lock=True):
            pass
        assert json.loads((tmp_path / "digits" / "lock.json").read_text())["process"] == os.getpid()
    with runs.lock(tmp_path / "digits"):
        pass

    assert str(caught.value).startswith(f"{tmp_path / 'digits'}: process {os.getpid()} on {platform.node()}, since 20")


def test_what_a_dead_process_of_this_host_left_behind_is_taken_over(tmp_path: Path):
    held(tmp_path, process=dead_process())
    assert not runs.is_training(tmp_path)
    with runs.lock(tmp_path):
        assert runs.holder(tmp_path)["process"] == os.getpid()


def test_whether_a_process_of_another_host_lives_is_for_the_user_to_say(tmp_path: Path):
    held(tmp_path, host="elsewhere", process=4711)
    before = (tmp_path / "lock.json").read_bytes()
    assert runs.is_training(tmp_path)
    with pytest.raises(RunsError, match=r"process 4711 on elsewhere, since 2026-01-01.*--break-lock"), runs.lock(tmp_path):
        pass
    assert (tmp_path / "lock.json").read_bytes() == before

    with runs.lock(tmp_path, break_lock=True):
        assert runs.holder(tmp_path)["host"] == platform.node()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}'])
def test_a_damaged_record_of_who_trains_names_nobody_and_stops_nobody(content: bytes, tmp_path: Path):
    (tmp_path / "lock.json").write_bytes(content)
    assert not runs.is_training(tmp_path)
    with runs.lock(tmp_path):
        assert runs.is_training(tmp_path)


def test_who_was_taken_over_from_on_another_host_writes_no_more_and_leaves_the_record_of_the_other(tmp_path: Path):
    with runs.lock(tmp_path) as lease:
        runs.assert_held(lease)
        held(tmp_path, host="elsewhere", process=4711, word="another")
        before = (tmp_path / "lock.json").read_bytes()
        with pytest.raises(RunsError, match=r"process 4711 on elsewhere.*has taken over; this process writes no more"):
            runs.write_json(tmp_path / "plan.json", {})
        with pytest.raises(RunsError, match="has taken over"):
            runs.assert_held(lease)

    assert (tmp_path / "lock.json").read_bytes() == before
    assert not (tmp_path / "plan.json").exists()


def test_breaking_the_lock_of_the_whole_takes_over_from_shards_of_other_hosts_too(tmp_path: Path):
    held(tmp_path, host="elsewhere")
    (tmp_path / "lock.json").rename(tmp_path / "lock.2-of-3.json")
    with runs.lock(tmp_path, break_lock=True):
        assert [path.name for path in tmp_path.glob("lock*.json")] == ["lock.json"]


def test_the_lock_is_let_go_when_what_it_was_for_fails(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), runs.lock(tmp_path):
        raise ZeroDivisionError
    with runs.lock(tmp_path):
        pass

    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_an_experiment_that_is_a_link_is_not_written_to(tmp_path: Path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "digits").symlink_to(tmp_path / "outside")
    with pytest.raises(RunsError, match="a link"), runs.lock(tmp_path / "digits"):
        pass

    assert list((tmp_path / "outside").iterdir()) == []


def test_an_experiment_that_is_being_trained_is_not_set_aside(tmp_path: Path):
    with runs.lock(tmp_path / "digits"), pytest.raises(RunsError, match="is training here"):
        runs.archive(tmp_path / "digits")
    assert (tmp_path / "digits").is_dir()
    assert runs.archive(tmp_path / "digits") == tmp_path / "digits-old-1"


# ---- workers -----------------------------------------------------------------------------------------------------------


def test_a_stack_that_a_worker_of_an_earlier_start_still_trains_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(locks, "ORPHAN_SECONDS", 0.0)
    with (
        runs.lock_stack(tmp_path, "a"),
        runs.lock_stack(tmp_path, "b"),
        pytest.raises(RunsError, match="still trains this stack"),
        runs.lock_stack(tmp_path, "a"),
    ):
        pass
    with runs.lock_stack(tmp_path, "a"):
        pass

    assert list((tmp_path / "checkpoints").iterdir()) == []
