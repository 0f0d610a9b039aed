"""Where cohorts run: processes of this machine.

Whoever waits polls runs/; nothing but states and errors comes back from a worker. Workers are spawned, never forked, and
their threads sleep while they wait: spinning threads of two trainings on two cores take a hundred times as long.
"""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from resexp import runs
from resexp.config import Cohort, Experiment, Plan, Trial, make_plan

POLL_SECONDS = 0.25
_stopping: Event | None = None


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def jobs_for(plan_threads: int, asked: int | None, device: str) -> int:
    """Processes to train in: as many as cores allow, one for an accelerator; jobs x threads never exceeds the cores."""
    allowed = max(1, cores() // plan_threads)
    if asked is None:
        return allowed if device == "cpu" else 1
    return min(asked, allowed) if device == "cpu" else asked


# ---- inside a worker ------------------------------------------------------------------------------------------------


def _enter(stopping: Event) -> None:
    """Ctrl-C reaches the whole process group; only the parent decides what it means."""
    global _stopping  # noqa: PLW0603 - a spawned worker has no other way to keep what its initializer was given
    _stopping = stopping
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _arrive() -> None:
    """Imports what every task needs, so that a worker is ready when the first one comes."""
    from resexp import training  # noqa: F401, PLC0415 - torch belongs to the workers


def _prepare(experiment: Experiment) -> dict[str, Any]:
    """Resolves the device, reads both parts of the data once, measures the cards: all that can be refused early."""
    from resexp import datasets, pairs, training  # noqa: PLC0415 - torch belongs to the workers

    shared = experiment.shared
    device = training.resolve_device(shared.device)
    training.prepare_process(1, shared)
    parts = [datasets.DATASETS[shared.data.name](training.source(shared.data), part) for part in ("train", "test")]
    found = training.material(shared.data, device, training.DTYPES[shared.precision])
    for trial in experiment.trials:
        training.lengths(trial.settings, len(found.training))
    return {
        "device": device,
        "accelerator": training.device_name(device),
        "data_sha256": datasets.checksum(parts),
        "images": [len(found.training), len(found.validation), len(parts[1])],
        "steps": {t.name: training.lengths(t.settings, len(found.training)).steps for t in experiment.trials},
        "cards": pairs.cards(experiment, device),
    }


def _forecast(experiment: Experiment, plan: Plan, jobs: int) -> tuple[float, float, float]:
    from resexp import costs, training  # noqa: PLC0415 - torch belongs to the workers

    training.prepare_process(plan.threads, experiment.shared)
    found = costs.forecast(experiment, plan, jobs)
    return found.seconds, found.disk_bytes, found.memory_bytes


def _time(experiment: Experiment) -> list[dict[str, Any]]:
    from resexp import costs, training  # noqa: PLC0415 - torch belongs to the workers

    device = training.resolve_device(experiment.shared.device)
    training.prepare_process(make_plan(experiment, device, cores()).threads, experiment.shared)
    return [asdict(cost) for cost in costs.measure(experiment, device)]


def _train(folder: Path, cohort: Cohort, trials: Sequence[Trial], device: str) -> str:
    from resexp import training  # noqa: PLC0415 - torch belongs to the workers

    training.prepare_process(cohort.threads, trials[0].settings)
    stop = _stopping.is_set if _stopping else training.never
    return training.run(trials, folder, cohort.name, device, stop)


# ---- this process ------------------------------------------------------------------------------------------------------


def train_here(experiment: Experiment, folder: Path) -> None:
    """Trains what is not finished in this process: for Python code, which may have brought shortcuts of its own.

    Raises:
        ConfigError: a device or images that cannot be used.
        RunsError: another process writes there; a checkpoint that cannot be used.
        OSError: nowhere to write.
    """
    prepared = _prepare(experiment)
    with runs.lock(folder):
        plan = make_plan(experiment, prepared["device"], cores(), runs.read_plan(folder))
        runs.begin(experiment, folder, plan, runs.start_entry(prepared, sys.argv), prepared["cards"])
        trials = {trial.name: trial for trial in experiment.trials}
        for cohort in plan.cohorts:
            if _unfinished(folder, cohort, trials):
                _train(folder, cohort, _members(folder, cohort, trials), plan.device)


# ---- the pool ---------------------------------------------------------------------------------------------------------


class Pool:
    """Worker processes, each an executor of its own, so that one that dies takes one cohort with it and no other."""

    def __init__(self, jobs: int = 1) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on CUDA
        self.context = multiprocessing.get_context("spawn")
        self.stopping = self.context.Event()
        self.workers: list[ProcessPoolExecutor] = []
        self.resize(jobs)

    def resize(self, jobs: int) -> None:
        """Exactly `jobs` workers; new ones are already on their way."""
        fresh = [self._worker() for _ in range(jobs - len(self.workers))]
        for worker in fresh:
            worker.submit(_arrive)
        for worker in self.workers[jobs:]:
            worker.shutdown(wait=False)
        self.workers = [*self.workers[:jobs], *fresh]

    def _worker(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, self.context, initializer=_enter, initargs=(self.stopping,))

    def replace(self, number: int) -> None:
        """A new worker in the place of one that died."""
        self.workers[number].shutdown(wait=False)
        self.workers[number] = self._worker()

    def kill(self) -> None:
        """Ends the workers where they are; checkpoints and logs stay valid."""
        for process in multiprocessing.active_children():
            process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self.stopping.set()
        for worker in self.workers:
            worker.shutdown(wait=True, cancel_futures=True)


def prepare(pool: Pool, experiment: Experiment) -> dict[str, Any]:
    """What must be known before anything is written: device, data checksum, steps per trial, cards.

    Raises:
        DataError, DeviceError: as raised in the worker.
    """
    found: dict[str, Any] = pool.workers[0].submit(_prepare, experiment).result()
    return found


def forecast(pool: Pool, experiment: Experiment, plan: Plan) -> tuple[float, float, float]:
    """(seconds, bytes on disk, bytes of memory) that the plan will take in this pool, from a few timed steps.

    Raises:
        DataError, DeviceError: as raised in the worker.
    """
    found: tuple[float, float, float] = pool.workers[0].submit(_forecast, experiment, plan, len(pool.workers)).result()
    return found


def time_arms(pool: Pool, experiment: Experiment) -> list[dict[str, Any]]:
    """What a step of each arm alone costs: see `costs.Cost`.

    Raises:
        DataError, DeviceError: as raised in the worker.
    """
    found: list[dict[str, Any]] = pool.workers[0].submit(_time, experiment).result()
    return found


def train_cohorts(pool: Pool, folder: Path, experiment: Experiment, plan: Plan) -> Iterator[None]:
    """Trains the cohorts that are not finished; yields now and then, so that the caller can look at runs/.

    A trial that raises, or whose worker dies, is marked failed and the others go on. Ends early when told to stop.

    Raises:
        OSError: nowhere to write.
        RunsError: a checkpoint that cannot be used.
    """
    trials = {trial.name: trial for trial in experiment.trials}
    queue = deque(cohort for cohort in plan.cohorts if _unfinished(folder, cohort, trials))
    running: dict[Future[str], tuple[int, Cohort]] = {}
    while running or (queue and not pool.stopping.is_set()):
        idle = set(range(len(pool.workers))) - {number for number, _ in running.values()}
        while idle and queue and not pool.stopping.is_set():
            number, cohort = idle.pop(), queue.popleft()
            members = _members(folder, cohort, trials)
            running[pool.workers[number].submit(_train, folder, cohort, members, plan.device)] = number, cohort
        done, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            number, cohort = running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                pool.replace(number)
            if isinstance(error, OSError | runs.RunsError):
                raise error
            if error is not None and not pool.stopping.is_set():
                _fail(folder, cohort, error)
        yield


def _unfinished(folder: Path, cohort: Cohort, trials: dict[str, Trial]) -> bool:
    return any(name in trials and runs.result(runs.trial_folder(folder, name)) is None for name in cohort.trials)


def _members(folder: Path, cohort: Cohort, trials: dict[str, Trial]) -> list[Trial]:
    """The trials of a stack as planned: those that the config no longer has train along, as far as they ever began."""
    known = (trials.get(name) or runs.read_trial(folder, name) for name in cohort.trials)
    return [trial for trial in known if trial is not None]


def _fail(folder: Path, cohort: Cohort, error: BaseException) -> None:
    reason = "its process died" if isinstance(error, BrokenProcessPool) else f"{type(error).__name__}: {error}"
    for place in (runs.trial_folder(folder, name) for name in cohort.trials):
        if runs.result(place) is None:
            runs.set_failed(place, reason)
