"""Locks: one writing process for each experiment, one worker for each stack; takeover from dead processes."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resexp import runs
from resexp.runs import RunsError, locks


def write_lock(file: Path, **other: Any) -> None:
    """Writes the lock file of another process."""
    runs.write_json(file, {"host": platform.node(), "process": 1, "time": "2026-01-01T00:00:00+00:00", **other})


LOCKS = pytest.mark.parametrize("name", ["lock.json", "lock.2-of-3.json"], ids=["experiment", "shard"])


def dead_process() -> int:
    """The ID of a process that has just ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_locks_of_different_experiments_are_independent(tmp_path: Path):
    with runs.lock(tmp_path / "digits"), runs.lock(tmp_path / "mnist"):
        assert runs.is_training(tmp_path / "digits")
        assert not runs.is_training(tmp_path / "cifar")

    assert not runs.is_training(tmp_path / "digits")
    assert runs.holder(tmp_path / "digits") is None


def test_a_second_writer_is_refused_with_host_and_process_of_the_first_until_the_lock_is_released(tmp_path: Path):
    with runs.lock(tmp_path / "digits"):
        with pytest.raises(RunsError) as caught, runs.lock(tmp_path / "digits"):
            pass
        with pytest.raises(RunsError), runs.lock(tmp_path / "digits", break_lock=True):
            pass
        assert json.loads((tmp_path / "digits" / "lock.json").read_text())["process"] == os.getpid()
    with runs.lock(tmp_path / "digits"):
        pass

    assert str(caught.value).startswith(f"{tmp_path / 'digits'}: process {os.getpid()} on {platform.node()}, since 20")


@LOCKS
@pytest.mark.parametrize("process", [dead_process, os.getppid], ids=["dead", "its ID is now that of a younger process"])
def test_the_lock_of_a_dead_process_on_this_host_is_taken_over(name: str, process: Callable[[], int], tmp_path: Path):
    write_lock(tmp_path / name, process=process())
    assert process != dead_process or not runs.is_training(tmp_path)
    with runs.lock(tmp_path):
        assert runs.holder(tmp_path).process == os.getpid()

    assert list(tmp_path.glob("lock*.json")) == []


@LOCKS
def test_the_lock_of_another_host_is_taken_over_only_with_break_lock(name: str, tmp_path: Path):
    write_lock(tmp_path / name, host="elsewhere", process=4711)
    before = (tmp_path / name).read_bytes()
    assert runs.is_training(tmp_path)
    with pytest.raises(RunsError, match=r"process 4711 on elsewhere, since 2026-01-01.*--break-lock"), runs.lock(tmp_path):
        pass
    assert (tmp_path / name).read_bytes() == before

    with runs.lock(tmp_path, break_lock=True):
        assert runs.holder(tmp_path).host == platform.node()
        assert [path.name for path in tmp_path.glob("lock*.json")] == ["lock.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}'])
def test_a_damaged_lock_file_blocks_no_process(content: bytes, tmp_path: Path):
    (tmp_path / "lock.json").write_bytes(content)
    assert not runs.is_training(tmp_path)
    with runs.lock(tmp_path):
        assert runs.is_training(tmp_path)


def test_a_superseded_process_stops_writing_and_keeps_the_record_of_the_other(tmp_path: Path):
    with runs.lock(tmp_path) as lease:
        runs.assert_held(lease)
        write_lock(tmp_path / "lock.json", host="elsewhere", process=4711, token="another")
        before = (tmp_path / "lock.json").read_bytes()
        with pytest.raises(RunsError, match=r"process 4711 on elsewhere.*has taken over; this process has stopped writing"):
            runs.write_json(tmp_path / "plan.json", {})
        with pytest.raises(RunsError, match="has taken over"):
            runs.assert_held(lease)

    assert (tmp_path / "lock.json").read_bytes() == before
    assert not (tmp_path / "plan.json").exists()


def test_the_lock_is_released_after_an_exception(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), runs.lock(tmp_path):
        raise ZeroDivisionError
    with runs.lock(tmp_path):
        pass

    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_symbolic_link_to_an_experiment_is_not_followed(tmp_path: Path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "digits").symlink_to(tmp_path / "outside")
    with pytest.raises(RunsError, match="is a symbolic link"), runs.lock(tmp_path / "digits"):
        pass

    assert list((tmp_path / "outside").iterdir()) == []


def test_an_experiment_in_training_is_not_archived(tmp_path: Path):
    with runs.lock(tmp_path / "digits"), pytest.raises(RunsError, match="is training here"):
        runs.archive(tmp_path / "digits")
    assert (tmp_path / "digits").is_dir()
    assert runs.archive(tmp_path / "digits") == tmp_path / "digits-old-1"


# ---- workers -----------------------------------------------------------------------------------------------------------


def test_a_stack_that_an_earlier_worker_still_trains_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
