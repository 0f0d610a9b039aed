"""Training of the stacks of a plan by an executor: a pool, a cluster, or this process.

Progress is read from runs/; workers return only states and exceptions.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from resexp import config, runs
from resexp.config import Experiment, Plan, Stack, Trial
from resexp.executors.processes import EndedError
from resexp.executors.workers import OutOfMemoryError

POLL_SECONDS = 0.25


class Flag(Protocol):
    """An event that is set to stop training."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...


class Executor(Protocol):
    """Trains stacks: `Pool` on this machine, `Cluster` on others, `InThisProcess` without processes."""

    stopping: Flag

    @property
    def running(self) -> int:
        """Number of stacks in training."""

    def prepare(self, experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
        """Determines what must be known before anything is written.

        The device (that of an existing plan), the checksum of the images, the steps of each trial, the pair summaries, and the
        `cores` of a machine that will train.

        Raises:
            DataError, DeviceError: as raised in the worker.
            ChildProcessError: the worker died.
        """

    def forecast(self, experiment: Experiment, plan: Plan) -> dict[str, Any]:
        """Predicts time, disk space and memory from a few timed steps: see `costs.Forecast`. Raises as `prepare` does."""

    def attach(self, folder: Path, plan: Plan, prepared: dict[str, Any]) -> None:
        """Prepares to train the stacks of this plan in this folder; `prepared` is the result of `prepare`.

        Raises:
            RunsError: a node on which they cannot be trained.
        """

    def start(self, lease: runs.Lease, stack: Stack, members: Sequence[Trial], device: str) -> None:
        """Starts to train a stack; requires `has_capacity`."""

    def has_capacity(self) -> bool:
        """Whether another stack can start."""

    def wait(self, seconds: float) -> list[tuple[Stack, BaseException | None]]:
        """Waits for a stack to end, for at most this many seconds; returns the stacks that ended and their exceptions."""


def train_stacks(
    executor: Executor, lease: runs.Lease, experiment: Experiment, plan: Plan, shard: tuple[int, int] | None = None
) -> Iterator[None]:
    """Trains the unfinished stacks of the experiment; yields repeatedly, so that the caller can read runs/.

    A stack that raises an exception, or whose worker dies, is marked failed, and the others continue. A stack that does not fit
    into memory is split into two halves, also in plan.json. Ends early if `executor.stopping` is set.

    shard: (i, n): every n-th stack, starting with the i-th; no stack is split, because other shards follow the same plan.

    Raises:
        RunsError: another process has taken over.
        OSError: the folder is not writable.
    """
    folder, trials = lease.folder, {trial.name: trial for trial in experiment.trials}
    queue = deque(stack for stack in shard_stacks(plan, shard) if _unfinished(folder, stack, trials))
    while executor.running or (queue and not executor.stopping.is_set()):
        runs.assert_held(lease)
        while queue and executor.has_capacity() and not executor.stopping.is_set():
            stack = queue.popleft()
            try:
                members = _members(folder, stack, trials)
            except runs.RunsError as error:
                _fail(folder, stack, error)
            else:
                executor.start(lease, stack, members, plan.device)
        for stack, raised in executor.wait(POLL_SECONDS):
            if isinstance(raised, OSError):
                raise raised
            if isinstance(raised, OutOfMemoryError) and len(stack.trials) > 1 and shard is None:
                plan = _halve(folder, plan, stack)
                queue.extendleft(half for half in plan.stacks if set(half.trials) < set(stack.trials))
            elif raised is not None and not executor.stopping.is_set():
                _fail(folder, stack, raised)
        yield


def shard_stacks(plan: Plan, shard: tuple[int, int] | None) -> Sequence[Stack]:
    """The stacks of a shard (i, n); all stacks if shard is None."""
    number, shards = shard or (1, 1)
    return plan.stacks[number - 1 :: shards]


def _halve(folder: Path, plan: Plan, stack: Stack) -> Plan:
    """Splits a stack in the plan before the halves are trained; its checkpoint, which fits neither, is discarded."""
    plan = config.halved(plan, stack.name)
    runs.discard(runs.checkpoint_file(folder, stack.name))
    runs.write_plan(folder, plan)
    return plan


def _unfinished(folder: Path, stack: Stack, trials: dict[str, Trial]) -> bool:
    return any(name in trials and not runs.has_result(runs.trial_folder(folder, name)) for name in stack.trials)


def _members(folder: Path, stack: Stack, trials: dict[str, Trial]) -> list[Trial]:
    """The trials of a stack as planned, including those that have begun but are no longer in the config."""
    known = (trials.get(name) or runs.read_trial(folder, name) for name in stack.trials)
    return [trial for trial in known if trial is not None]


def _fail(folder: Path, stack: Stack, error: BaseException) -> None:
    """Marks the unfinished trials of a stack as failed, with the reason."""
    is_message = isinstance(error, OutOfMemoryError | runs.RunsError | config.ConfigError)
    reason = str(error) if is_message else f"{type(error).__name__}: {error}"
    if isinstance(error, EndedError):
        reason = f"its process {error}"
    for trial_path in (runs.trial_folder(folder, name) for name in stack.trials):
        if not runs.has_result(trial_path):
            runs.set_failed(trial_path, reason)
