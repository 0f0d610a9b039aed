"""Worker processes, and what they are asked before anything is trained.

Workers are spawned, never forked, and their threads sleep while they wait: spinning threads of two trainings on two cores take
a hundred times as long.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from resexp.config import Experiment, Plan, Stack, Trial
from resexp.executors import workers
from resexp.executors.machine import cores, jobs_for, set_variables
from resexp.executors.processes import EndedError, Worker, block_signals, check_start
from resexp.runs import Lease
from resexp.runs.files import CsvValue

Announce = Callable[[str], None]  # takes the current stage, such as "reading mnist"


def silently(_stage: str) -> None:
    """Announces nothing."""


class Pool:
    """Worker processes; one that dies takes one stack with it and no other."""

    def __init__(self, jobs: int | None = 1, announce: Announce = silently) -> None:
        """Starts them and announces stages that take seconds.

        jobs: how many; None for as many as a plan and this machine allow.

        Raises:
            ChildProcessError: a process that cannot be started.
        """
        self.announce = announce
        announce("starting torch")
        set_variables()
        self._begun = time.monotonic() - time.process_time()  # when this process began, without waiting times
        check_start()
        self.context = multiprocessing.get_context("spawn")
        with block_signals():  # the process that clears up after all others starts with the first semaphore
            self.stopping = self.context.Event()
        self.workers: list[Worker] = []
        self._stacks: dict[Future[str], tuple[int, Stack, str]] = {}
        self._jobs = jobs
        self._resize(jobs or min(2, cores()))

    def _resize(self, jobs: int) -> None:
        """Exactly `jobs` workers; new ones are already on their way."""
        fresh = [self._worker() for _ in range(jobs - len(self.workers))]
        for worker in self.workers[jobs:]:
            worker.shutdown(wait=False)
        self.workers = [*self.workers[:jobs], *fresh]

    def _fit(self, plan: Plan) -> None:
        self._resize(jobs_for(plan.threads, self._jobs, plan.device))

    def _worker(self) -> Worker:
        return Worker(self.context, self.stopping)

    def replace(self, number: int) -> None:
        """A new worker in the place of one that died, or that may have lost its device."""
        self.workers[number].shutdown(wait=False)
        self.workers[number] = self._worker()

    def submit(self, number: int, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Asks one worker; one that has died since it was last asked is replaced."""
        try:
            return self.workers[number].submit(function, *arguments)
        except BrokenProcessPool:
            self.replace(number)
            return self.workers[number].submit(function, *arguments)

    # ---- before training, and its stacks: see `stacks.Places` ----

    def prepare(self, experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
        found = _answer(self, f"reading {experiment.shared.data.name}", workers.prepare, experiment, existing)
        pairs = _answer(self, "measuring the pairs at initialization", workers.pair_summaries, experiment, found["device"])
        return {**found, "cards": pairs, "cores": cores()}

    def forecast(self, experiment: Experiment, plan: Plan) -> dict[str, Any]:
        """The time until here is the start-up time of any training: imports, images, pair summaries."""
        startup = time.monotonic() - self._begun
        self._fit(plan)
        task = (workers.forecast, experiment, plan, len(self.workers), startup)
        found: dict[str, Any] = _answer(self, "timing a few steps of each arm", *task)
        return found

    def attach(self, folder: Path, plan: Plan, prepared: dict[str, Any]) -> None:  # noqa: ARG002 - all is on this machine
        self._fit(plan)

    @property
    def running(self) -> int:
        return len(self._stacks)

    def has_capacity(self) -> bool:
        return len(self._stacks) < len(self.workers)

    def start(self, lease: Lease, stack: Stack, members: Sequence[Trial], device: str) -> None:
        number = min(set(range(len(self.workers))) - {number for number, _, _ in self._stacks.values()})
        future = self.submit(number, workers.train, lease, stack, members, device)
        self._stacks[future] = number, stack, device

    def wait(self, seconds: float) -> list[tuple[Stack, BaseException | None]]:
        done, _ = wait(self._stacks, timeout=seconds, return_when=FIRST_COMPLETED)
        found = []
        for future in done:
            number, stack, device = self._stacks.pop(future)
            raised = future.exception()
            if isinstance(raised, BrokenProcessPool):
                raised = self.workers[number].death()
            if isinstance(raised, EndedError) or (raised is not None and device != "cpu"):
                self.replace(number)
            found.append((stack, raised))
        return found

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


def _answer(pool: Pool, stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the first worker returns; `stage`, what it does meanwhile, is announced once it has started."""
    try:
        future = pool.submit(0, function, *arguments)
        wait([pool.workers[0].arrival])
        pool.announce(stage)
        return future.result()
    except BrokenProcessPool:
        death = pool.workers[0].death()
        raise ChildProcessError(f"{stage}: the worker process {death}") if isinstance(death, EndedError) else death from None
    except (RuntimeError, MemoryError, ImportError) as error:  # no memory for the networks, a device that fails
        raise ChildProcessError(f"{stage}: {type(error).__name__}: {' '.join(str(error).split())}") from None


def time_arms(pool: Pool, experiment: Experiment) -> list[dict[str, Any]]:
    """What a step of each arm alone costs: see `costs.Cost`.

    Raises:
        DataError, DeviceError: as raised in the worker.
        ChildProcessError: the worker died.
    """
    found: list[dict[str, Any]] = _answer(pool, "timing a step of each arm", workers.time_arms, experiment)
    return found


def initial_diagnostics(pool: Pool, experiment: Experiment, batches: int) -> list[dict[str, Any]]:
    """Gradients and signals of every trial before its first step, on `batches` batches: see `survey.Reading`.

    Raises:
        DataError, DeviceError: as raised in the worker.
        ChildProcessError: the worker died.
    """
    stage = f"measuring {len(experiment.trials)} networks at initialization"
    found: list[dict[str, Any]] = _answer(pool, stage, workers.initial_diagnostics, experiment, batches)
    return found


def dissection_cost(pool: Pool, place: Path, trial: Trial, threads: int, device: str) -> tuple[float, dict[str, int]]:
    """(seconds of one evaluation, evaluations that each part takes) of a finished trial: see `dissect.cost`.

    Raises:
        RunsError, DataError, DeviceError: as raised in the worker.
        ChildProcessError: the worker died.
    """
    task = (place, trial, threads, device)
    found: tuple[float, dict[str, int]] = _answer(pool, "timing an evaluation of each network", workers.dissection_cost, *task)
    return found


def dissect(
    pool: Pool, place: Path, trial: Trial, threads: int, device: str, part: str, grid: int = 0, line: int = 0
) -> list[tuple[CsvValue, ...]]:
    """Rows of one part of a finished trial: see `dissect.dissect`.

    Raises:
        RunsError, DataError, DeviceError: as raised in the worker.
        ChildProcessError: the worker died.
    """
    task = (place, trial, threads, device, part, grid, line)
    found: list[tuple[CsvValue, ...]] = _answer(pool, f"{part} of {trial.name}", workers.dissect_trial, *task)
    return found
