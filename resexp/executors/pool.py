"""A pool of worker processes.

Workers are spawned, never forked. Their threads sleep while they wait: with active waiting, two trainings on two cores take a
hundred times as long.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from resexp.config import Experiment, Plan, Stack, Trial
from resexp.executors import workers
from resexp.executors.processes import EndedError, Worker, block_signals, check_start
from resexp.executors.workers import cores
from resexp.runs import Lease

PATIENCE_SECONDS = 1.0  # of the first stacks of a plan, before another worker starts for those that wait
FEW_TRIALS = 8  # of an experiment that may end before another worker has started

Announce = Callable[[str], None]  # takes the current stage, such as "reading mnist"


def silently(_stage: str) -> None:
    """Announces nothing."""


def set_variables() -> None:
    """Sets the variables that training processes inherit, unless the user has set them."""
    for name, value in workers.VARIABLES.items():
        os.environ.setdefault(name, value)


def jobs_for(threads: int, requested: int | None, device: str) -> int:
    """Number of training processes, by default as many as the cores allow, or one on an accelerator.

    On a CPU, jobs x threads never exceeds the number of cores, except with a single job.
    """
    maximum = max(1, cores() // threads)
    if device == "cpu":
        return min(requested or maximum, maximum)
    return requested or 1


class Pool:
    """A pool of worker processes; the death of one affects only its stack. See `experiment.Executor`."""

    def __init__(self, jobs: int | None = 1, announce: Announce = silently) -> None:
        """Starts the first worker.

        jobs: the largest number of workers; None for as many as plan and machine allow. announce: called with each stage that
        takes seconds.

        Raises:
            ChildProcessError: a process cannot be started.
        """
        self.announce = announce
        announce("starting torch")
        set_variables()
        self._started = time.monotonic() - time.process_time()  # start of this process, without waiting times
        check_start()
        self.context = multiprocessing.get_context("spawn")
        with block_signals():  # the first semaphore starts multiprocessing's resource tracker
            self.stopping = self.context.Event()
        self.workers = [self._worker()]
        self._stacks: dict[Future[str], tuple[int, Stack, str]] = {}
        self._jobs, self._limit, self._attached = jobs, jobs or 1, -PATIENCE_SECONDS

    def _worker(self) -> Worker:
        return Worker(self.context, self.stopping)

    def replace(self, number: int) -> None:
        """Replaces a worker that died, or that may have lost its device."""
        self.workers[number].shutdown(wait=False)
        self.workers[number] = self._worker()

    def submit(self, number: int, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Submits a task to a worker, which is replaced first if it has died."""
        try:
            return self.workers[number].submit(function, *arguments)
        except BrokenProcessPool:
            self.replace(number)
            return self.workers[number].submit(function, *arguments)

    def call(self, stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function of `workers` in the first worker; announces the stage, such as "reading mnist", once it has started.

        Raises:
            DataError, DeviceError, RunsError: as raised in the worker.
            ChildProcessError: the worker died, or its memory or device failed.
        """
        try:
            future = self.submit(0, function, *arguments)
            wait([self.workers[0].arrival])
            self.announce(stage)
            return future.result()
        except BrokenProcessPool:
            death = self.workers[0].death()
            message = f"{stage}: the worker process {death}"
            raise ChildProcessError(message) if isinstance(death, EndedError) else death from None
        except (RuntimeError, MemoryError, ImportError) as error:  # out of memory, or the device fails
            raise ChildProcessError(f"{stage}: {type(error).__name__}: {' '.join(str(error).split())}") from None

    # ---- before training ----

    def prepare(self, experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
        """As `workers.prepare_with_pairs`; meanwhile, other workers start if there are many trials. Raises as `call` does."""
        if len(experiment.trials) > FEW_TRIALS:
            self.workers += [self._worker() for _ in range((self._jobs or min(2, cores())) - len(self.workers))]
        prepared = self.call(f"reading {experiment.shared.data.name}", workers.prepare, experiment, existing)
        device = prepared["device"]
        pair_summaries = self.call("measuring the pairs at initialization", workers.pair_summaries, experiment, device)
        return {**prepared, "pair_summaries": pair_summaries, "cores": cores()}

    def forecast(self, experiment: Experiment, plan: Plan) -> dict[str, Any]:
        """Predicts time, disk space and memory, see `costs.Forecast`. Raises as `call` does.

        Every training spends the time so far before its first step: imports, images, pair summaries.
        """
        startup, jobs = time.monotonic() - self._started, jobs_for(plan.threads, self._jobs, plan.device)
        task = (workers.forecast, experiment, plan, jobs, startup)
        prediction: dict[str, Any] = self.call("timing a few steps of each arm", *task)
        return prediction

    # ---- the methods of an executor ----

    def attach(self, folder: Path, plan: Plan, prepared: dict[str, Any]) -> None:  # noqa: ARG002 - there are no other machines
        self._limit, self._attached = jobs_for(plan.threads, self._jobs, plan.device), time.monotonic()
        for worker in self.workers[self._limit :]:
            worker.shutdown(wait=False)
        del self.workers[self._limit :]

    @property
    def running(self) -> int:
        return len(self._stacks)

    def has_capacity(self) -> bool:
        """Whether a worker is free, or another one pays: stacks have waited for as long as its start takes."""
        has_waited = time.monotonic() - self._attached >= PATIENCE_SECONDS
        return len(self._stacks) < (self._limit if has_waited else min(len(self.workers), self._limit))

    def start(self, lease: Lease, stack: Stack, members: Sequence[Trial], device: str) -> None:
        number = min(set(range(self._limit)) - {number for number, _, _ in self._stacks.values()})
        if number == len(self.workers):
            self.workers.append(self._worker())
        future = self.submit(number, workers.train, lease, stack, members, device)
        self._stacks[future] = number, stack, device

    def wait(self, seconds: float) -> list[tuple[Stack, BaseException | None]]:
        done, _ = wait(self._stacks, timeout=seconds, return_when=FIRST_COMPLETED)
        ended = []
        for future in done:
            number, stack, device = self._stacks.pop(future)
            raised = future.exception()
            if isinstance(raised, BrokenProcessPool):
                raised = self.workers[number].death()
            if isinstance(raised, EndedError) or (raised is not None and device != "cpu"):
                self.replace(number)
            ended.append((stack, raised))
        return ended

    def kill(self) -> None:
        """Kills the workers; checkpoints and logs stay valid."""
        for process in multiprocessing.active_children():
            process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self.stopping.set()
        for worker in self.workers:
            worker.shutdown(wait=True, cancel_futures=True)
