"""Concurrent shards of one experiment and successive attempts at a stack: every trial is trained once."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabricated
import pytest
from commands import Answer, Program, files

from resexp import comparison, config, runs, screen, tables
from resexp.cli import running
from resexp.runs import RunsError, SupersededError, locks

# ---- execution plan -------------------------------------------------------------------------------------------------------


def test_without_shards_the_plan_depends_on_the_cores(tiny: Any):
    experiment = tiny("seeds=12")

    assert config.make_plan(experiment, "cpu", 2) == config.make_plan(experiment, "cpu", 2, None, None)


@pytest.mark.parametrize("shards", [1, 3, 5, 24])
def test_with_shards_the_plan_is_the_same_on_every_machine_and_leaves_no_shard_idle(tiny: Any, shards: int):
    experiment = tiny("seeds=12")
    plans = [config.make_plan(experiment, "cpu", cores, None, shards) for cores in (1, 2, 64)]
    parts = [[name for stack in plans[0].stacks[i::shards] for name in stack.trials] for i in range(shards)]

    assert plans[0] == plans[1] == plans[2]
    assert sorted(name for part in parts for name in part) == sorted(trial.name for trial in experiment.trials)
    assert all(parts)


# ---- locks ------------------------------------------------------------------------------------------------------------------


def test_while_two_shards_are_locked_the_whole_experiment_is_refused(tmp_path: Path):
    with runs.lock(tmp_path, shard=(1, 3)), runs.lock(tmp_path, shard=(2, 3)):
        assert runs.is_training(tmp_path)
        with pytest.raises(RunsError, match=f"process {os.getpid()} on .* trains shard 1/3 here"), runs.lock(tmp_path):
            pass
    with runs.lock(tmp_path):
        pass

    assert not runs.is_training(tmp_path)
    assert list(tmp_path.glob("lock*.json")) == []


def test_a_shard_that_fails_to_begin_leaves_no_lock(tmp_path: Path):
    def broken() -> None:
        raise RunsError("another plan")

    with pytest.raises(RunsError, match="another plan"), runs.lock(tmp_path, broken, shard=(1, 3)):
        pass
    assert list(tmp_path.glob("lock*.json")) == []
    with runs.lock(tmp_path, shard=(1, 3)):
        pass


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ((1, 2), "trains shard 1/2 here; wait for it"),
        ((3, 3), "trains shard 1/2 here; wait for it, .*another shard with the same N"),
    ],
    ids=["the same shard", "another N"],
)
def test_the_same_shard_and_shards_of_another_n_are_refused_while_one_trains(
    shard: tuple[int, int], message: str, tmp_path: Path
):
    with (
        runs.lock(tmp_path, shard=(1, 2)),
        pytest.raises(RunsError, match=message),
        runs.lock(tmp_path, shard=shard),
    ):
        pass
    with runs.lock(tmp_path, shard=shard):
        pass


def test_shared_files_are_written_by_one_shard_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(locks, "BEGIN_SECONDS", 0.0)
    with runs.lock(tmp_path, shard=(1, 2)) as lease, runs.lock(tmp_path, shard=(2, 2)) as other:
        with runs.experiment_lock(lease), pytest.raises(RunsError, match="is training here"), runs.experiment_lock(other):
            pass
        with runs.experiment_lock(other):
            pass
    with (
        runs.lock(tmp_path) as lease,
        runs.experiment_lock(lease),
    ):  # a process that holds the whole experiment does not wait for itself
        pass


def test_a_shard_is_refused_while_another_host_trains_the_whole_experiment(tmp_path: Path):
    runs.write_json(tmp_path / "lock.json", {"host": "elsewhere", "process": 7, "time": "2026-01-01T00:00:00+00:00"})
    with pytest.raises(RunsError, match="process 7 on elsewhere"), runs.lock(tmp_path, shard=(1, 3)):
        pass
    with runs.lock(tmp_path, shard=(1, 3), break_lock=True):
        assert [path.name for path in tmp_path.glob("lock*.json")] == ["lock.1-of-3.json"]  # so the other process stops writing


def test_temporary_files_of_another_shard_are_not_removed(tiny: Any, tmp_path: Path):
    experiment = tiny()
    plan = config.make_plan(experiment, "cpu", 1)
    (tmp_path / "trials").mkdir()
    temporary = tmp_path / "trials" / ".metrics.csv.4711"
    temporary.write_text("half")
    with runs.lock(tmp_path, shard=(1, 2)):
        elsewhere = {"host": "elsewhere", "process": 7, "time": "2026-01-01T00:00:00+00:00"}
        runs.write_json(tmp_path / "lock.2-of-2.json", elsewhere)
        runs.begin(experiment, tmp_path, plan, fabricated.LAUNCH, [])
        assert temporary.exists()
        (tmp_path / "lock.2-of-2.json").unlink()
        runs.begin(experiment, tmp_path, plan, fabricated.LAUNCH, [])

    assert not temporary.exists()


# ---- attempts -------------------------------------------------------------------------------------------------------------

ROW = (0, 0, 0.1, 1.0, 0.5, 1.0, 0.5)  # of metrics.csv


def test_a_single_attempt_writes_and_leaves_no_token(tmp_path: Path):
    with runs.lock(tmp_path) as lease, runs.attempt(lease, "c"):
        runs.append(tmp_path / "metrics.csv", [ROW])

    assert len(runs.read_rows(tmp_path / "metrics.csv")) == 1
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_superseded_attempt_stops_before_it_appends_replaces_or_discards_anything(tmp_path: Path):
    log, checkpoint = tmp_path / "metrics.csv", tmp_path / "checkpoints" / "c.pt"
    with runs.lock(tmp_path) as lease, runs.attempt(lease, "c"):
        runs.append(log, [ROW])
        runs.write_bytes(checkpoint, b"of this attempt")
        (tmp_path / "checkpoints" / ".c.attempt").write_text("of a later attempt")
        before = {path: path.read_bytes() for path in (log, checkpoint)}
        for write in (
            lambda: runs.append(log, [ROW]),
            lambda: runs.write_bytes(checkpoint, b"another"),
            lambda: runs.discard(checkpoint),
        ):
            with pytest.raises(SupersededError, match="another attempt trains this stack"):
                write()

    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "checkpoints" / ".c.attempt").read_text() == "of a later attempt"


def test_writes_of_one_logging_step_are_checked_once_before_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log, token, checks = tmp_path / "metrics.csv", tmp_path / "checkpoints" / ".c.attempt", []
    monkeypatch.setattr(locks, "_read", lambda path, read=locks._read: checks.append(path) or read(path))
    with runs.lock(tmp_path) as lease, runs.attempt(lease, "c"):
        checks.clear()
        with runs.checked_once():
            once = len(checks)
            for _ in range(3):
                runs.append(log, [ROW])
        assert len(checks) == once > 0

        token.write_text("of a later attempt")
        with pytest.raises(SupersededError), runs.checked_once():
            runs.append(log, [ROW])
        with pytest.raises(SupersededError):  # afterwards every write is checked again
            runs.append(log, [ROW])

    assert len(runs.read_rows(log)) == 3


def test_an_attempt_stops_after_a_later_one_has_finished(tmp_path: Path):
    with runs.lock(tmp_path) as lease, runs.attempt(lease, "c"):
        (tmp_path / "checkpoints" / ".c.attempt").unlink()
        with pytest.raises(SupersededError):
            runs.append(tmp_path / "metrics.csv", [ROW])
    runs.append(tmp_path / "metrics.csv", [ROW])  # outside of an attempt nothing is checked


def test_an_attempt_whose_driver_has_lost_the_lock_stops_and_is_not_retried(tmp_path: Path):
    with runs.lock(tmp_path) as lease, runs.attempt(lease, "c"):
        (tmp_path / "lock.json").unlink()
        with pytest.raises(RunsError, match=r"lock\.json no longer exists; this process has stopped writing") as stopped:
            runs.append(tmp_path / "metrics.csv", [ROW])
        with pytest.raises(RunsError, match="stopped writing"), runs.attempt(lease, "d"):
            pass

    assert not isinstance(stopped.value, SupersededError)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == []


# ---- the command line -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3"])
def test_an_invalid_shard_is_an_error_of_one_line(text: str, tiny_file: Path, call: Program):
    message = f"resexp: --shard: {text!r} is not i/n with i from 1 to n, such as 1/8\n"

    assert call("train", tiny_file, f"--shard={text}") == Answer(2, "", message)


def test_a_shard_cannot_archive_the_folder_of_the_others(tiny_file: Path, call: Program):
    answer = call("train", tiny_file, "--shard=1/2", "--fresh")

    assert answer.code == 2
    assert "would rename the folder of the other shards" in answer.err


def test_the_exit_code_of_a_shard_depends_only_on_its_trials(tmp_path: Path, capsys: Any):
    folder, experiment = fabricated.experiment(
        tmp_path, lambda _: {"test_accuracy": 0.9}, "network.depth=[8]", "network.norm=none", "network.init=he", "seeds=2"
    )
    of_other_shard, *ours = (trial.name for trial in experiment.trials)
    (runs.trial_folder(folder, of_other_shard) / "result.json").unlink()
    runs.set_failed(runs.trial_folder(folder, of_other_shard), "out of luck")

    assert running.print_summary(folder, experiment, [], ours) == 0
    assert capsys.readouterr().err == f"3 of 3 trials of this shard finished; results in {folder}\n"
    assert running.print_summary(folder, experiment, []) == 1


def test_a_shard_displays_only_its_trials(
    tiny_file: Path, tmp_path: Path, in_process: None, call: Program, monkeypatch: pytest.MonkeyPatch
):
    shown: list[config.Experiment] = []
    follow = running._follow

    def watched(ticks: Any, folder: Path, experiment: config.Experiment, **options: Any) -> None:
        shown.append(experiment)
        follow(ticks, folder, experiment, **options)

    monkeypatch.setattr(running, "_follow", watched)
    for number in (1, 2):
        assert call("train", tiny_file, "seeds=2", f"--shard={number}/2", "--runs", tmp_path).code == 0
    names = [{trial.name for trial in experiment.trials} for experiment in shown]
    all_names = {trial.name for trial in config.load(tiny_file, ["seeds=2"]).trials}

    assert names[0] | names[1] == all_names
    assert not names[0] & names[1]
    assert all("shard" in experiment.name for experiment in shown)


def test_a_shard_without_trials_is_complete():
    assert screen.work_done([]) == 1.0


def test_concurrent_shards_write_the_files_of_one_process_with_the_same_stacks(
    tiny_file: Path, tiny_runs: Callable[..., Path], tmp_path: Path
):
    def start(shard: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "resexp", "train", str(tiny_file), "seeds=2", "training.stack=1", "--jobs", "1"]
        return subprocess.Popen(
            [*command, "--quiet", "--runs", str(tmp_path), f"--shard={shard}"], stderr=subprocess.PIPE, text=True
        )

    for process in [start("1/2"), start("2/2")]:
        output = process.communicate(timeout=120)
        assert process.returncode == 0, output
    written = files(tmp_path)

    assert written == files(tiny_runs("seeds=2", "training.stack=1"))
    assert sum(name.endswith("result.json") for name in written) == 4


def test_twenty_folders_with_one_seed_each_are_one_sample(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        effect = 0.02 if trial.arm == "identity" else 0.0
        return {"test_accuracy": round(0.9 + effect + 0.001 * (trial.seed * 7 % 13), 6)}

    network = ("network.depth=[8]", "network.norm=none", "network.init=he")
    folders = [fabricated.experiment(tmp_path / str(seed), values, *network, f"seeds=[{seed}]")[0] for seed in range(20)]
    whole = fabricated.results(tmp_path / "whole", values, *network, "seeds=20")
    pooled, one = (
        tables.FORMATS["csv"](comparison.compare_results(results)) for results in (runs.read_results(folders), whole)
    )

    assert pooled == one
    assert ",20,0,20,0,0," in pooled
