"""Stacks in worker processes: how many, what a death costs, and that results do not depend on either."""

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

ALONE = "training.stack=1"


@pytest.mark.parametrize(
    ("cores", "threads", "asked", "device", "jobs"),
    [
        pytest.param(2, 1, None, "cpu", 2, id="one thread each fills the cores"),
        pytest.param(2, 2, None, "cpu", 1, id="two threads each"),
        pytest.param(8, 3, None, "cpu", 2, id="never more than the cores"),
        pytest.param(2, 4, None, "cpu", 1, id="more threads than cores"),
        pytest.param(2, 1, 1, "cpu", 1, id="fewer asked for"),
        pytest.param(2, 1, 5, "cpu", 2, id="more asked for than the cores allow"),
        pytest.param(8, 2, 3, "cpu", 3, id="as many as asked for"),
        pytest.param(8, 1, None, "cuda:0", 1, id="one on an accelerator"),
        pytest.param(2, 1, 3, "cuda:0", 3, id="several on an accelerator only if asked for"),
    ],
)
def test_jobs_times_threads_never_exceed_the_cores(
    cores: int, threads: int, asked: int | None, device: str, jobs: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(executors.machine, "cores", lambda: cores)

    assert executors.machine.jobs_for(threads, asked, device) == jobs


# ---- in this process: order and failures -----------------------------------------------------------------------------


def planned(experiment: Experiment, folder: Path) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    return config.make_plan(experiment, "cpu", 2, runs.read_plan(folder))


def states(experiment: Experiment, folder: Path) -> dict[str, str]:
    return {state.trial.name: state.state for state in runs.trial_records(folder, experiment)}


def train_all(pool: Pool, experiment: Experiment, folder: Path) -> None:
    with runs.lock(folder) as lease:
        for _ in executors.train_stacks(pool, lease, experiment, planned(experiment, folder)):
            pass


def trained_names(monkeypatch: pytest.MonkeyPatch, fail: Callable[[str], Exception | None]) -> list[str]:
    """Notes each trial that is run; raises what `fail` gives for its name."""
    run, names = training.train_stack, []

    def noted(trials: Sequence[config.Trial], *arguments: Any) -> str:
        names.extend(trial.name for trial in trials)
        for error in filter(None, (fail(trial.name) for trial in trials)):
            raise error
        return run(trials, *arguments)

    monkeypatch.setattr(training, "train_stack", noted)
    return names


def test_finished_trials_are_not_trained_again(in_process: None, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = trained_names(monkeypatch, lambda _name: None)
    with Pool() as pool:
        train_all(pool, tiny(ALONE), tmp_path)
        train_all(pool, tiny(ALONE), tmp_path)
        train_all(pool, tiny(ALONE, "seeds=2"), tmp_path)

    assert names == ["plain-d4-s0", "identity-d4-s0", "plain-d4-s1", "identity-d4-s1"]


def test_a_trial_that_raises_is_failed_with_its_reason_and_the_others_go_on(
    in_process: None, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    failing = {"plain-d4-s0": RuntimeError("out of luck")}
    names = trained_names(monkeypatch, lambda name: failing.pop(name, None))
    with Pool() as pool:
        train_all(pool, tiny(ALONE), tmp_path)
        assert states(tiny(ALONE), tmp_path) == {"plain-d4-s0": "failed", "identity-d4-s0": "finished"}
        assert runs.status(tmp_path / "trials" / "plain-d4-s0")["reason"] == "RuntimeError: out of luck"
        train_all(pool, tiny(ALONE), tmp_path)

    assert set(states(tiny(ALONE), tmp_path).values()) == {"finished"}
    assert names == ["plain-d4-s0", "identity-d4-s0", "plain-d4-s0"]


def test_a_disk_that_is_full_ends_it_all(in_process: None, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = trained_names(monkeypatch, lambda _name: OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"), Pool() as pool:
        train_all(pool, tiny(ALONE), tmp_path)

    assert names == ["plain-d4-s0"]


def test_a_diverged_trial_is_a_result_and_the_others_go_on(in_process: None, tiny: Any, tmp_path: Path):
    experiment = tiny("training.optimizer=sgd", "training.lr=[1e30, 0.1]")
    with Pool() as pool:
        train_all(pool, experiment, tmp_path)

    outcomes = {state.trial.name: state.result["outcome"] for state in runs.trial_records(tmp_path, experiment) if state.result}
    assert {name: outcome == "diverged" for name, outcome in outcomes.items()} == {
        "plain-d4-lr1e+30-s0": True, "identity-d4-lr1e+30-s0": True, "plain-d4-lr0.1-s0": False, "identity-d4-lr0.1-s0": False,
    }  # fmt: skip


def test_a_stack_is_trained_as_planned_though_the_config_has_lost_one_of_its_trials(
    in_process: None, tiny: Any, tmp_path: Path
):
    stack, less = ("training.stack=4", "seeds=2"), ("training.stack=4", "seeds=[1]")
    with Pool() as pool:
        train_all(pool, tiny(*stack), tmp_path / "whole")
        pool.stopping.set()
        (stack,) = planned(tiny(*stack), tmp_path / "less").stacks
        training.train_stack(list(tiny(*stack).trials), tmp_path / "less", stack.name, "cpu", lambda: True)
        pool.stopping.clear()
        plan = config.make_plan(tiny(*stack), "cpu", 2)
        with runs.lock(tmp_path / "less") as lease:
            for _ in executors.train_stacks(pool, lease, tiny(*less), plan):
                pass

    assert files(tmp_path / "less") == files(tmp_path / "whole")


def test_a_stack_in_which_one_result_stands_trains_again_without_touching_it(in_process: None, tiny: Any, tmp_path: Path):
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


def trained_up_to(most: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[int]:
    """Memory suffices for `most` trials at once; notes how many were tried, and that the plan had them so before."""
    run, tried = training.train_stack, []

    def limited(trials: Sequence[config.Trial], *arguments: Any) -> str:
        assert tuple(trial.name for trial in trials) in [stack.trials for stack in runs.read_plan(folder).stacks]
        tried.append(len(trials))
        if len(trials) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return run(trials, *arguments)

    monkeypatch.setattr(training, "train_stack", limited)
    return tried


def test_a_stack_that_does_not_fit_into_memory_is_planned_as_two_and_ends_as_if_planned_so_at_once(
    in_process: None, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with Pool() as pool:
        train_all(pool, tiny("training.stack=2", "seeds=4"), tmp_path / "small")
        tried = trained_up_to(2, monkeypatch, tmp_path / "large")
        experiment = tiny("training.stack=8", "seeds=4")
        runs.write_plan(tmp_path / "large", planned(experiment, tmp_path / "large"))
        (tmp_path / "large" / "checkpoints").mkdir()
        checkpoint = runs.checkpoint_file(tmp_path / "large", experiment.trials[0].name)
        runs.write_with_digest(checkpoint, b"of eight trials")
        train_all(pool, experiment, tmp_path / "large")

    assert tried == [8, 4, 2, 2, 4, 2, 2]
    assert not checkpoint.exists()
    assert [len(stack.trials) for stack in runs.read_plan(tmp_path / "large").stacks] == [2, 2, 2, 2]
    results = [
        {trial.name: runs.result(runs.trial_folder(tmp_path / size, trial.name))["test_loss"] for trial in experiment.trials}
        for size in ("small", "large")
    ]
    assert results[0] == results[1]


def test_a_network_that_does_not_fit_alone_is_told_what_would(
    in_process: None, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    experiment = tiny(ALONE)
    runs_plan = planned(experiment, tmp_path)
    runs.write_plan(tmp_path, runs_plan)
    trained_up_to(0, monkeypatch, tmp_path)
    monkeypatch.setattr(runs, "free_memory", lambda: 20_000)
    with Pool() as pool:
        train_all(pool, experiment, tmp_path)

    # plain, 4 layers of width 8 on 64 pixels: 520 + 72 + 72 + 90 weights of 4 bytes, with gradient and two moments; an image
    # keeps 4 x (64 + 8 + 8 + 8 + 10) bytes or less for the backward pass
    state = runs.status(runs.trial_folder(tmp_path, "plain-d4-s0"))
    words = re.fullmatch(r"out of memory: 0.00 GB are free on cpu, batches are of 16 images; (.*)", state["reason"])
    assert state["state"] == "failed"
    assert words
    assert words[1] == "use fewer processes (--jobs 1), or a smaller network.width or network.depth"
    assert costs.oom_advice(tiny("training.batch_size=1000000").trials[0], "cpu").endswith(
        f"training.batch_size={(20_000 - 16 * 754) // kept_by_an_image(experiment)}"
    )


def kept_by_an_image(experiment: Experiment) -> int:
    return networks.count(training.build(experiment.trials[0], (1, 8, 8), 10), (1, 8, 8)).activation_bytes


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to ..."),
            True,
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_want_of_memory_is_told_from_other_errors(error: Exception, expected: bool):  # noqa: FBT001 - a table's column
    assert training.is_out_of_memory(error) is expected


def test_a_tensor_that_no_memory_holds_raises_what_is_known_as_want_of_memory():
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(1 << 60)

    assert training.is_out_of_memory(caught.value)


# ---- growth ------------------------------------------------------------------------------------------------------------


def test_what_the_config_loses_before_it_began_trains_along_so_that_the_rest_ends_as_planned(
    in_process: None, tiny: Any, tmp_path: Path
):
    stack, less = ("training.stack=4", "seeds=2"), ("training.stack=4", "seeds=[1]")
    with Pool() as pool:
        pool.stopping.set()
        for folder in ("whole", "less"):
            (tmp_path / folder).mkdir()
            plan = planned(tiny(*stack), tmp_path / folder)
            runs.begin(tiny(*stack), tmp_path / folder, plan, fabricated.START, [])
        pool.stopping.clear()
        train_all(pool, tiny(*stack), tmp_path / "whole")
        train_all(pool, tiny(*less), tmp_path / "less")
        train_all(pool, tiny(*stack), tmp_path / "less")

    assert files(tmp_path / "less") == files(tmp_path / "whole")


def test_seeds_and_values_added_removed_and_put_back_leave_every_trained_trial_as_it_was(
    in_process: None, tiny: Any, tmp_path: Path
):
    steps = (["seeds=2"], ["seeds=1"], ["seeds=3"], ["seeds=[2]", "network.depth=[4, 6]"], ["network.depth=[6]"], ["seeds=3"])
    before: dict[str, bytes] = {}
    with Pool() as pool:
        for overrides in steps:
            experiment = tiny(*overrides)
            runs.check_unchanged(experiment, tmp_path)
            plan = planned(experiment, tmp_path)
            runs.begin(experiment, tmp_path, plan, fabricated.START, [])
            train_all(pool, experiment, tmp_path)
            after = files(tmp_path)
            assert before.items() <= after.items()
            before = after

    rounds = [(stack.round, set(stack.trials)) for stack in runs.read_plan(tmp_path).stacks]
    names = {n: {trial for of, trials in rounds for trial in trials if of == n} for n, _ in rounds}
    both = ("plain", "identity")
    assert names == {
        1: {f"{arm}-d4-s{seed}" for arm in both for seed in (0, 1)},
        2: {f"{arm}-d4-s2" for arm in both},
        3: {f"{arm}-d6-s2" for arm in both},
        4: {f"{arm}-d6-s0" for arm in both},
    }


def test_told_to_stop_no_further_trial_begins(in_process: None, tiny: Any, tmp_path: Path):
    with Pool() as pool:
        pool.stopping.set()
        train_all(pool, tiny(), tmp_path)

    assert set(states(tiny(), tmp_path).values()) == {"waiting"}


# ---- real processes --------------------------------------------------------------------------------------------------


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in (folder / "trials").rglob("*") if path.name not in ("timing.csv", "status.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.is_file()}


def blocked(folder: Path, trial: str) -> Path:
    """Lets the trial wait for ever where it looks for its checkpoint: reading a pipe waits for a writer."""
    pipe = runs.checkpoint_file(folder, trial)
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    return pipe


def kill_when_reading(pipe: Path, ticks: Iterator[None]) -> None:
    """Goes on until a worker reads the pipe, then kills that worker."""
    for _ in ticks:
        try:
            writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            continue
        (worker,) = (process for process in multiprocessing.active_children() if process.pid)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        os.close(writer)
        pipe.unlink()
        return


@pytest.fixture(scope="module")
def after_a_kill(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], str]:
    """(folder, states after the kill, its reason): one worker, killed in its first trial; then the same again to the end."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes on this system")
    folder, experiment = tmp_path_factory.mktemp("killed"), tiny(ALONE, "seeds=2")
    first = experiment.trials[0].name
    with Pool(1) as pool:
        pipe = blocked(folder, first)
        with runs.lock(folder) as lease:
            ticks = executors.train_stacks(pool, lease, experiment, planned(experiment, folder))
            kill_when_reading(pipe, ticks)
            for _ in ticks:
                pass
        seen = states(experiment, folder), str(runs.status(runs.trial_folder(folder, first)).get("reason"))
        train_all(pool, experiment, folder)
    return folder, *seen


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_trial_and_no_other(after_a_kill: tuple[Path, dict[str, str], str]):
    _, seen, reason = after_a_kill

    assert seen == {
        "plain-d4-s0": "failed", "identity-d4-s0": "finished", "plain-d4-s1": "finished", "identity-d4-s1": "finished",
    }  # fmt: skip
    assert reason.startswith("its process was ended by SIGKILL")


@pytest.mark.slow
def test_the_same_again_trains_what_the_kill_had_cost(after_a_kill: tuple[Path, dict[str, str], str], tiny: Any):
    assert set(states(tiny(ALONE, "seeds=2"), after_a_kill[0]).values()) == {"finished"}


@pytest.mark.slow
def test_two_jobs_write_the_same_bytes_as_one(after_a_kill: tuple[Path, dict[str, str], str], tiny: Any, tmp_path: Path):
    with Pool(2) as pool:
        train_all(pool, tiny(ALONE, "seeds=2"), tmp_path)

    found = files(tmp_path)
    assert len(found) == 4 * 8
    assert found == files(after_a_kill[0])


@pytest.mark.slow
def test_this_process_writes_the_same_bytes_as_a_worker(
    in_process: None, after_a_kill: tuple[Path, dict[str, str], str], tiny: Any, tmp_path: Path
):
    with Pool() as pool:
        train_all(pool, tiny(ALONE, "seeds=2"), tmp_path)

    assert files(tmp_path) == files(after_a_kill[0])


def test_a_signal_that_comes_while_one_looks_whether_to_stop_is_heard(monkeypatch: pytest.MonkeyPatch):
    pool = SimpleNamespace(stopping=multiprocessing.get_context("spawn").Event())
    monkeypatch.setattr(running, "log", lambda _text: None)
    with running.stopping(pool) as seen, pool.stopping._cond:  # as is_set() holds it
        signal.raise_signal(signal.SIGTERM)
    for _ in range(500):
        if pool.stopping.is_set():
            break
        time.sleep(0.01)

    assert pool.stopping.is_set()
    assert seen == [signal.SIGTERM]
