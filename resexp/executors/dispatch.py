"""Stacks of a plan, trained in a pool, on a cluster, or in this process.

Whoever waits polls runs/; nothing but states and errors comes back from a worker.
"""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from resexp import config, runs
from resexp.config import Experiment, Plan, Stack, Trial
from resexp.executors import workers
from resexp.executors.machine import cores
from resexp.executors.processes import EndedError
from resexp.executors.workers import OutOfMemoryError

POLL_SECONDS = 0.25


def train_here(experiment: Experiment, folder: Path) -> None:
    """Trains what is not finished in this process: for Python code, which may have brought shortcuts of its own.

    torch's global settings (threads, determinism, denormals, precision) are restored afterwards.

    Raises:
        ConfigError: a device or images that cannot be used.
        RunsError: another process writes there; a checkpoint that cannot be used.
        OSError: nowhere to write.
    """
    existing = runs.read_plan(folder)
    with workers.restoring(experiment):
        prepared = workers.prepare(experiment, existing)
        pair_summaries = workers.pair_summaries(experiment, prepared["device"])
        with runs.lock(folder) as lease:
            plan = config.make_plan(experiment, prepared["device"], cores(), existing)
            entry = runs.launch_entry(prepared, sys.argv)
            runs.begin(experiment, folder, plan, entry, config.with_rounds(pair_summaries, experiment, plan))
            trials = {trial.name: trial for trial in experiment.trials}
            for stack in plan.stacks:
                if _unfinished(folder, stack, trials):
                    workers.train(lease, stack, _members(folder, stack, trials), plan.device)


# ---- a pool, or a cluster ---------------------------------------------------------------------------------------------


class Flag(Protocol):
    """What is set once training is to stop."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...


class Executor(Protocol):
    """Where stacks train: `Pool` on this machine, `Cluster` on others."""

    stopping: Flag

    @property
    def running(self) -> int:
        """How many stacks train."""

    def prepare(self, experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
        """What must be known before anything is written.

        Device, that of an existing plan; data checksum, steps per trial, cards; the `cores` of a machine that will train.

        Raises:
            DataError, DeviceError: as raised where it was found out.
            ChildProcessError: the process died.
        """

    def forecast(self, experiment: Experiment, plan: Plan) -> dict[str, Any]:
        """What the plan will take, from a few timed steps: see `costs.Forecast`. Raises as `prepare` does."""

    def attach(self, folder: Path, plan: Plan, prepared: dict[str, Any]) -> None:
        """Makes ready for the stacks of this plan: `prepared` is what was found out before.

        Raises:
            RunsError: a place where they cannot be trained, by name.
        """

    def start(self, lease: runs.Lease, stack: Stack, members: Sequence[Trial], device: str) -> None:
        """Has a stack trained; there is `room`."""

    def has_capacity(self) -> bool:
        """Whether another stack can start."""

    def wait(self, seconds: float) -> list[tuple[Stack, BaseException | None]]:
        """The stacks that ended, waited for as long as that, with what they raised."""


def train_stacks(
    executor: Executor, lease: runs.Lease, experiment: Experiment, plan: Plan, shard: tuple[int, int] | None = None
) -> Iterator[None]:
    """Trains the stacks of what is held that are not finished; yields now and then, so that the caller can look at runs/.

    A stack that raises, or whose worker dies, is marked failed and the others go on; one for which the memory does not
    suffice is trained as two halves, which plan.json has from then on. Ends early when told to stop.

    shard: (i, n): every n-th stack from the i-th on; nothing is halved, for others follow the same plan.

    Raises:
        RunsError: another process has taken over.
        OSError: nowhere to write.
    """
    folder, trials = lease.folder, {trial.name: trial for trial in experiment.trials}
    queue = deque(stack for stack in of_shard(plan, shard) if _unfinished(folder, stack, trials))
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


def of_shard(plan: Plan, shard: tuple[int, int] | None) -> Sequence[Stack]:
    """The stacks of a shard (i, n), of the whole where there are none."""
    number, shards = shard or (1, 1)
    return plan.stacks[number - 1 :: shards]


def _halve(folder: Path, plan: Plan, stack: Stack) -> Plan:
    """Plans a stack as two halves, before anything of them is trained; its checkpoint belongs to neither."""
    plan = config.halved(plan, stack.name)
    runs.discard(runs.checkpoint_file(folder, stack.name))
    runs.write_plan(folder, plan)
    return plan


def _unfinished(folder: Path, stack: Stack, trials: dict[str, Trial]) -> bool:
    return any(name in trials and not runs.has_result(runs.trial_folder(folder, name)) for name in stack.trials)


def _members(folder: Path, stack: Stack, trials: dict[str, Trial]) -> list[Trial]:
    """The trials of a stack as planned: those that the config no longer has train along, as far as they ever began."""
    known = (trials.get(name) or runs.read_trial(folder, name) for name in stack.trials)
    return [trial for trial in known if trial is not None]


def _fail(folder: Path, stack: Stack, error: BaseException) -> None:
    """Marks what has no result of a stack that could not be trained, with the reason."""
    said = isinstance(error, OutOfMemoryError | runs.RunsError | config.ConfigError)
    reason = str(error) if said else f"{type(error).__name__}: {error}"
    if isinstance(error, EndedError):
        reason = f"its process {error}"
    for place in (runs.trial_folder(folder, name) for name in stack.trials):
        if not runs.has_result(place):
            runs.set_failed(place, reason)
