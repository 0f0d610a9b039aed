"""Stacks in worker processes: the number of processes, the effect of a death, and results that depend on neither."""

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fabricated
import pytest
import torch

from resexp import config, costs, executors, networks, runs, training
from resexp.cli import running
from resexp.config import Experiment, Plan
from resexp.executors import Pool

UNSTACKED = "training.stack=1"


@pytest.mark.parametrize(
    ("cores", "threads", "requested", "device", "jobs"),
    [
        pytest.param(2, 1, None, "cpu", 2, id="one thread for each process fills the cores"),
        pytest.param(2, 2, None, "cpu", 1, id="two threads for each process"),
        pytest.param(8, 3, None, "cpu", 2, id="never more than the cores"),
        pytest.param(2, 4, None, "cpu", 1, id="more threads than cores"),
        pytest.param(2, 1, 1, "cpu", 1, id="fewer requested"),
        pytest.param(2, 1, 5, "cpu", 2, id="more requested than the cores allow"),
        pytest.param(8, 2, 3, "cpu", 3, id="as many as requested"),
        pytest.param(8, 1, None, "cuda:0", 1, id="one on an accelerator"),
        pytest.param(2, 1, 3, "cuda:0", 3, id="several on an accelerator only if requested"),
    ],
)
def test_jobs_times_threads_never_exceed_the_cores(
    cores: int, threads: int, requested: int | None, device: str, jobs: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(executors.pool, "cores", lambda: cores)

    assert executors.pool.jobs_for(threads, requested, device) == jobs


# ---- in this process: order and failures -----------------------------------------------------------------------------


def planned(experiment: Experiment, folder: Path) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    return config.make_plan(experiment, "cpu", 2, runs.read_plan(folder))


def states(experiment: Experiment, folder: Path) -> dict[str, str]:
    return {record.trial.name: record.state for record in runs.trial_records(folder, experiment)}


def train_all(pool: Pool, experiment: Experiment, folder: Path) -> None:
    with runs.lock(folder) as lease:
        for _ in executors.train_stacks(pool, lease, experiment, planned(experiment, folder)):
            pass


def trained_names(monkeypatch: pytest.MonkeyPatch, fail: Callable[[str], Exception | None]) -> list[str]:
    """Records the names of trained trials; raises the exception that `fail` returns for a name."""
    train_stack, names = training.train_stack, []

    def recorded(trials: Sequence[config.Trial], *arguments: Any) -> str:
        names.extend(trial.name for trial in trials)
        for error in filter(None, (fail(trial.name) for trial in trials)):
            raise error
        return train_stack(trials, *arguments)

    monkeypatch.setattr(training, "train_stack", recorded)
    return names


def test_finished_trials_are_not_trained_again(in_process: None, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = trained_names(monkeypatch, lambda _name: None)
    with Pool() as pool:
        train_all(pool, tiny(UNSTACKED), tmp_path)
        train_all(pool, tiny(UNSTACKED), tmp_path)
        train_all(pool, tiny(UNSTACKED, "seeds=2"), tmp_path)

    assert names == ["plain-d4-s0", "identity-d4-s0", "plain-d4-s1", "identity-d4-s1"]


def test_a_trial_that_raises_is_failed_with_its_reason_and_the_others_continue(
    in_process: None, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    failing = {"plain-d4-s0": RuntimeError("out of luck")}
    names = trained_names(monkeypatch, lambda name: failing.pop(name, None))
    with Pool() as pool:
        train_all(pool, tiny(UNSTACKED), tmp_path)
        assert states(tiny(UNSTACKED), tmp_path) == {"plain-d4-s0": "failed", "identity-d4-s0": "finished"}
        assert runs.status(tmp_path / "trials" / "plain-d4-s0").reason == "RuntimeError: out of luck"
        train_all(pool, tiny(UNSTACKED), tmp_path)

    assert set(states(tiny(UNSTACKED), tmp_path).values()) == {"finished"}
    assert names == ["plain-d4-s0", "identity-d4-s0", "plain-d4-s0"]


def test_a_full_disk_ends_training(in_process: None, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = trained_names(monkeypatch, lambda _name: OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"), Pool() as pool:
        train_all(pool, tiny(UNSTACKED), tmp_path)

    assert names == ["plain-d4-s0"]


def test_a_diverged_trial_has_a_result_and_the_others_continue(in_process: None, tiny: Any, tmp_path: Path):
    experiment = tiny("training.optimizer=sgd", "training.lr=[1e30, 0.1]")
    with Pool() as pool:
        train_all(pool, experiment, tmp_path)

    records = runs.trial_records(tmp_path, experiment)
    outcomes = {record.trial.name: record.result.outcome for record in records if record.result}
    assert {name: outcome == "diverged" for name, outcome in outcomes.items()} == {
        "plain-d4-lr1e+30-s0": True, "identity-d4-lr1e+30-s0": True, "plain-d4-lr0.1-s0": False, "identity-d4-lr0.1-s0": False,
    }  # fmt: skip


def test_a_stack_is_trained_as_planned_after_the_config_has_lost_one_of_its_trials(in_process: None, tiny: Any, tmp_path: Path):
    original, fewer = ("training.stack=4", "seeds=2"), ("training.stack=4", "seeds=[1]")
    with Pool() as pool:
        train_all(pool, tiny(*original), tmp_path / "whole")
        pool.stopping.set()
        (stack,) = planned(tiny(*original), tmp_path / "fewer").stacks
        training.train_stack(list(tiny(*original).trials), tmp_path / "fewer", stack.name, "cpu", lambda: True)
        pool.stopping.clear()
        plan = config.make_plan(tiny(*original), "cpu", 2)
        with runs.lock(tmp_path / "fewer") as lease:
            for _ in executors.train_stacks(pool, lease, tiny(*fewer), plan):
                pass

    assert files(tmp_path / "fewer") == files(tmp_path / "whole")


def test_training_from_python_raises_if_a_planned_trial_cannot_be_read(tiny: Any, tmp_path: Path):
    original = tiny("training.stack=4", "seeds=2")
    runs.write_plan(tmp_path, planned(original, tmp_path))
    trial_path = runs.trial_folder(tmp_path, original.trials[0].name)
    trial_path.mkdir(parents=True)
    (trial_path / "trial.yaml").write_text("name: [", encoding="utf-8")

    with pytest.raises(runs.RunsError, match=r"trial\.yaml"):
        executors.train_here(tiny("training.stack=4", "seeds=[1]"), tmp_path)


def test_a_stack_with_one_result_is_trained_again_without_changing_it(in_process: None, tiny: Any, tmp_path: Path):
    experiment = tiny("training.stack=4", "seeds=2")
    with Pool() as pool:
        train_all(pool, experiment, tmp_path)
        before, first = files(tmp_path), runs.trial_folder(tmp_path, experiment.trials[0].name)
        changed = {path: path.stat().st_mtime_ns for path in first.iterdir()}
        for trial in experiment.trials[1:]:
            (runs.trial_folder(tmp_path, trial.name) / "result.json").unlink()
        train_all(pool, experiment, tmp_path)

    assert files(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in first.iterdir()} == changed


# ---- memory ------------------------------------------------------------------------------------------------------------


def limit_memory(max_trials: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[int]:
    """Limits memory to `max_trials` at once; records the sizes of attempted stacks, and checks that the plan contains them."""
    train_stack, sizes = training.train_stack, []

    def limited(trials: Sequence[config.Trial], *arguments: Any) -> str:
        assert tuple(trial.name for trial in trials) in [stack.trials for stack in runs.read_plan(folder).stacks]
        sizes.append(len(trials))
        if len(trials) > max_trials:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return train_stack(trials, *arguments)

    monkeypatch.setattr(training, "train_stack", limited)
    return sizes


def test_a_stack_that_does_not_fit_into_memory_is_split_and_gives_the_results_of_smaller_stacks(
    in_process: None, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with Pool() as pool:
        train_all(pool, tiny("training.stack=2", "seeds=4"), tmp_path / "small")
        sizes = limit_memory(2, monkeypatch, tmp_path / "large")
        experiment = tiny("training.stack=8", "seeds=4")
        runs.write_plan(tmp_path / "large", planned(experiment, tmp_path / "large"))
        (tmp_path / "large" / "checkpoints").mkdir()
        checkpoint = runs.checkpoint_file(tmp_path / "large", experiment.trials[0].name)
        runs.write_with_digest(checkpoint, b"of eight trials")
        train_all(pool, experiment, tmp_path / "large")

    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    assert not checkpoint.exists()
    assert [len(stack.trials) for stack in runs.read_plan(tmp_path / "large").stacks] == [2, 2, 2, 2]
    results = [
        {trial.name: runs.result(runs.trial_folder(tmp_path / size, trial.name)).test_loss for trial in experiment.trials}
        for size in ("small", "large")
    ]
    assert results[0] == results[1]


def test_training_from_python_splits_a_stack_that_does_not_fit_into_memory(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sizes = limit_memory(2, monkeypatch, tmp_path)
    executors.train_here(tiny("training.stack=4", "seeds=2"), tmp_path)
    assert sizes == [4, 2, 2]

    limit_memory(0, monkeypatch, tmp_path / "none")
    with pytest.raises(executors.OutOfMemoryError, match="out of memory"):
        executors.train_here(tiny(UNSTACKED), tmp_path / "none")


def test_a_single_network_that_does_not_fit_fails_with_the_batch_size_that_fits(
    in_process: None, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    experiment = tiny(UNSTACKED)
    runs.write_plan(tmp_path, planned(experiment, tmp_path))
    limit_memory(0, monkeypatch, tmp_path)
    monkeypatch.setattr(runs, "free_memory", lambda: 20_000)
    with Pool() as pool:
        train_all(pool, experiment, tmp_path)

    # plain, 4 layers of width 8 on 64 pixels: 520 + 72 + 72 + 90 weights of 4 bytes, with gradient and two moments; for each
    # image at most 4 x (64 + 8 + 8 + 8 + 10) bytes are saved for the backward pass
    status = runs.status(runs.trial_folder(tmp_path, "plain-d4-s0"))
    message = re.fullmatch(r"out of memory: 0.00 GB free on cpu, batch size 16; (.*)", status.reason)
    assert status.state == "failed"
    assert message
    assert message[1] == "use fewer processes (--jobs 1), or a smaller network.width or network.depth"
    assert costs.oom_advice(tiny("training.batch_size=1000000").trials[0], "cpu").endswith(
        f"training.batch_size={(20_000 - 16 * 754) // saved_bytes_of_an_image(experiment)}"
    )


def saved_bytes_of_an_image(experiment: Experiment) -> int:
    return networks.count(training.build(experiment.trials[0], (1, 8, 8), 10), (1, 8, 8)).activation_bytes


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried ..."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_out_of_memory_errors_are_distinguished_from_others(error: Exception, expected: bool):  # noqa: FBT001 - a table's column
    assert training.is_out_of_memory(error) is expected


def test_an_allocation_that_is_too_large_raises_an_out_of_memory_error():
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(1 << 60)

    assert training.is_out_of_memory(caught.value)


# ---- growth ------------------------------------------------------------------------------------------------------------


def test_planned_trials_that_the_config_has_lost_are_trained_with_their_stack(in_process: None, tiny: Any, tmp_path: Path):
    original, fewer = ("training.stack=4", "seeds=2"), ("training.stack=4", "seeds=[1]")
    with Pool() as pool:
        pool.stopping.set()
        for folder in ("whole", "fewer"):
            (tmp_path / folder).mkdir()
            plan = planned(tiny(*original), tmp_path / folder)
            runs.begin(tiny(*original), tmp_path / folder, plan, fabricated.LAUNCH, [])
        pool.stopping.clear()
        train_all(pool, tiny(*original), tmp_path / "whole")
        train_all(pool, tiny(*fewer), tmp_path / "fewer")
        train_all(pool, tiny(*original), tmp_path / "fewer")

    assert files(tmp_path / "fewer") == files(tmp_path / "whole")


def test_adding_removing_and_restoring_seeds_and_values_changes_no_trained_trial(in_process: None, tiny: Any, tmp_path: Path):
    steps = (["seeds=2"], ["seeds=1"], ["seeds=3"], ["seeds=[2]", "network.depth=[4, 6]"], ["network.depth=[6]"], ["seeds=3"])
    before: dict[str, bytes] = {}
    with Pool() as pool:
        for overrides in steps:
            experiment = tiny(*overrides)
            runs.check_unchanged(experiment, tmp_path)
            plan = planned(experiment, tmp_path)
            runs.begin(experiment, tmp_path, plan, fabricated.LAUNCH, [])
            train_all(pool, experiment, tmp_path)
            after = files(tmp_path)
            assert before.items() <= after.items()
            before = after

    rounds = [(stack.round, set(stack.trials)) for stack in runs.read_plan(tmp_path).stacks]
    names = {number: {trial for other, trials in rounds for trial in trials if other == number} for number, _ in rounds}
    arms = ("plain", "identity")
    assert names == {
        1: {f"{arm}-d4-s{seed}" for arm in arms for seed in (0, 1)},
        2: {f"{arm}-d4-s2" for arm in arms},
        3: {f"{arm}-d6-s2" for arm in arms},
        4: {f"{arm}-d6-s0" for arm in arms},
    }


def test_no_trial_starts_after_a_stop_request(in_process: None, tiny: Any, tmp_path: Path):
    with Pool() as pool:
        pool.stopping.set()
        train_all(pool, tiny(), tmp_path)

    assert set(states(tiny(), tmp_path).values()) == {"waiting"}


# ---- real processes --------------------------------------------------------------------------------------------------


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in (folder / "trials").rglob("*") if path.name not in ("timing.csv", "status.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def blocked(folder: Path, trial: str) -> Path:
    """Replaces the checkpoint of a trial by a pipe, so that reading it waits indefinitely for a writer."""
    pipe = runs.checkpoint_file(folder, trial)
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    return pipe


def kill_when_reading(pipe: Path, ticks: Iterator[None]) -> None:
    """Waits until a worker reads the pipe, then kills that worker."""
    for _ in ticks:
        try:
            writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # no process reads yet
            continue
        (worker,) = (process for process in multiprocessing.active_children() if process.pid)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        os.close(writer)
        pipe.unlink()
        return


@pytest.fixture(scope="module")
def after_a_kill(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], str]:
    """(folder, states after the kill, reason): one worker, killed in its first trial; afterwards training is completed."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes on this system")
    folder, experiment = tmp_path_factory.mktemp("killed"), tiny(UNSTACKED, "seeds=2")
    first = experiment.trials[0].name
    with Pool(1) as pool:
        pipe = blocked(folder, first)
        with runs.lock(folder) as lease:
            ticks = executors.train_stacks(pool, lease, experiment, planned(experiment, folder))
            kill_when_reading(pipe, ticks)
            for _ in ticks:
                pass
        after_kill = states(experiment, folder), runs.status(runs.trial_folder(folder, first)).reason
        train_all(pool, experiment, folder)
    return folder, *after_kill


def test_a_killed_worker_affects_only_its_trial_and_training_again_completes_it(
    after_a_kill: tuple[Path, dict[str, str], str], tiny: Any
):
    folder, trial_states, reason = after_a_kill

    assert trial_states == {
        "plain-d4-s0": "failed", "identity-d4-s0": "finished", "plain-d4-s1": "finished", "identity-d4-s1": "finished",
    }  # fmt: skip
    assert reason.startswith("its process was ended by SIGKILL")
    assert set(states(tiny(UNSTACKED, "seeds=2"), folder).values()) == {"finished"}


@pytest.mark.parametrize("where", ["two processes", "this process"])
def test_two_processes_and_this_process_write_the_same_bytes_as_one_process(
    where: str, request: pytest.FixtureRequest, after_a_kill: tuple[Path, dict[str, str], str], tiny: Any, tmp_path: Path
):
    if where == "this process":
        request.getfixturevalue("in_process")
    with Pool(2 if where == "two processes" else 1) as pool:
        train_all(pool, tiny(UNSTACKED, "seeds=2"), tmp_path)

    written = files(tmp_path)
    assert len(written) == 4 * 8
    assert written == files(after_a_kill[0])


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_during_the_check_for_a_stop_request_is_handled(name: str, monkeypatch: pytest.MonkeyPatch):
    number = getattr(signal, name, signal.SIGTERM)  # Windows has the first two
    pool = SimpleNamespace(stopping=multiprocessing.get_context("spawn").Event())
    monkeypatch.setattr(running, "log", lambda _text: None)
    with running.stopping(pool) as seen, pool.stopping._cond:  # the lock that is_set() holds
        signal.raise_signal(number)
    for _ in range(500):
        if pool.stopping.is_set():
            break
        time.sleep(0.01)

    assert pool.stopping.is_set()
    assert seen == [number]


@pytest.mark.parametrize(("seeds", "expected"), [(1, 1), (8, 2)])
def test_other_workers_start_early_only_for_many_trials(in_process, tiny, seeds, expected):
    with executors.Pool(2) as pool:
        pool.prepare(tiny(f"seeds={seeds}"), None)

        assert len(pool.workers) == expected
