"""Train an experiment: one procedure for the command line, `resexp.train` and `resexp reproduce`.

Executors train the stacks of a plan. Progress is read from runs/; workers return only states and exceptions.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from resexp import config, runs
from resexp.config import Experiment, Plan, Stack, Trial
from resexp.executors import workers
from resexp.executors.processes import EndedError
from resexp.executors.workers import OutOfMemoryError

POLL_SECONDS = 0.25

Shard = tuple[int, int]  # (i, n): the i-th of n shards, from 1
WriteTables = Callable[[runs.Results], object]


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

    def attach(self, folder: Path, plan: Plan, prepared: dict[str, Any]) -> None:
        """Prepares to train the stacks of this plan in this folder; `prepared`: see `workers.prepare_with_pairs`.

        Raises:
            RunsError: a node on which they cannot be trained.
        """

    def start(self, lease: runs.Lease, stack: Stack, members: Sequence[Trial], device: str) -> None:
        """Starts to train a stack; requires `has_capacity`."""

    def has_capacity(self) -> bool:
        """Whether another stack can start."""

    def wait(self, seconds: float) -> list[tuple[Stack, BaseException | None]]:
        """Waits for a stack to end, for at most this many seconds; returns the stacks that ended and their exceptions."""


# ---- one experiment -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """An experiment whose folder is locked and complete except for the results of its trials.

    experiment: contains only the trials of this shard. ticks: trains them, see `train_stacks`.
    """

    experiment: Experiment
    remarks: Sequence[str]
    ticks: Iterator[None]


@contextmanager
def training(
    executor: Executor,
    folder: Path,
    experiment: Experiment,
    prepared: dict[str, Any],
    command: Sequence[str],
    write_tables: WriteTables,
    *,
    plan: Plan | None = None,
    shard: Shard | None = None,
    break_lock: bool = False,
) -> Iterator[Training]:
    """Locks a folder, writes what precedes training, and yields the training; afterwards writes the tables of the results.

    prepared: see `workers.prepare_with_pairs`. plan: default is `config.make_plan`, which continues the plan of the folder.

    Raises:
        RunsError: another process writes to the folder; it was planned for another device.
        OSError: the folder is not writable.
    """
    begun: list[tuple[Plan, int]] = []  # the plan and the number of restored files, once the folder is locked

    def begin() -> None:
        existing, device = runs.read_plan(folder), prepared["device"]
        chosen = plan or config.make_plan(experiment, device, prepared["cores"], existing, shard and shard[1])
        if chosen.device != device:
            raise runs.RunsError(
                f"{folder}: was planned for {chosen.device}, not for {device}; "
                f"run the same command again to train on {chosen.device}"
            )
        executor.attach(folder, chosen, prepared)
        summaries = runs.with_rounds(prepared["pair_summaries"], experiment, chosen)
        launch = runs.launch_entry(prepared, command)
        begun.append((chosen, runs.begin(experiment, folder, chosen, launch, summaries)))

    with runs.lock(folder, begin, shard=shard, break_lock=break_lock) as lease:
        ((plan, restored),) = begun
        stacks = shard_stacks(plan, shard)
        names = {name for stack in stacks for name in stack.trials}
        remarks = [f"{folder}: {runs.CHANGED}; restored in {restored} files"] if restored else []
        remarks += runs.damaged_checkpoints(folder, [stack.name for stack in stacks])
        selected = replace(experiment, trials=tuple(trial for trial in experiment.trials if trial.name in names))
        if shard:
            selected = replace(selected, name=f"{experiment.name}, shard {shard[0]} of {shard[1]}")
        yield Training(selected, remarks, train_stacks(executor, lease, experiment, plan, shard))
        with runs.experiment_lock(lease):
            write_tables(runs.results_of(folder, experiment))


def bring_up_to_date(
    folder: Path, experiment: Experiment, shard: Shard | None, write_tables: WriteTables, *, break_lock: bool
) -> set[str]:
    """Writes the tables of an experiment that `runs.is_complete`; returns the names of the trials of the shard."""
    plan = runs.read_plan(folder)
    with runs.lock(folder, shard=shard, break_lock=break_lock) as lease, runs.experiment_lock(lease):
        if shard is None:
            runs.remove_temporary_files(folder)
        write_tables(runs.results_of(folder, experiment))
    return {name for stack in shard_stacks(plan, shard) for name in stack.trials} if plan else set()


# ---- stacks -------------------------------------------------------------------------------------------------------------


def train_stacks(
    executor: Executor, lease: runs.Lease, experiment: Experiment, plan: Plan, shard: Shard | None = None
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
    unfinished = {name for name in trials if not runs.has_result(runs.trial_folder(folder, name))}
    queue = deque(stack for stack in shard_stacks(plan, shard) if unfinished.intersection(stack.trials))
    while executor.running or (queue and not executor.stopping.is_set()):
        runs.assert_held(lease)
        while queue and executor.has_capacity() and not executor.stopping.is_set():
            stack = queue.popleft()
            try:  # a trial that has begun may no longer be in the config
                members = [trials.get(name) or runs.read_trial(folder, name) for name in stack.trials]
            except runs.RunsError as error:
                _fail(folder, stack, error)
            else:
                executor.start(lease, stack, [trial for trial in members if trial is not None], plan.device)
        for stack, raised in executor.wait(POLL_SECONDS):
            if isinstance(raised, OSError):
                raise raised
            if isinstance(raised, OutOfMemoryError) and len(stack.trials) > 1 and shard is None:
                plan = config.halved(plan, stack.name)
                runs.discard(runs.checkpoint_file(folder, stack.name))  # neither half can use it
                runs.write_plan(folder, plan)
                queue.extendleft(half for half in plan.stacks if set(half.trials) < set(stack.trials))
            elif raised is not None and not executor.stopping.is_set():
                _fail(folder, stack, raised)
        yield


def shard_stacks(plan: Plan, shard: Shard | None) -> Sequence[Stack]:
    """The stacks of a shard (i, n); all stacks if shard is None."""
    number, shards = shard or (1, 1)
    return plan.stacks[number - 1 :: shards]


def _fail(folder: Path, stack: Stack, error: BaseException) -> None:
    """Marks the unfinished trials of a stack as failed, with the reason."""
    is_message = isinstance(error, OutOfMemoryError | runs.RunsError | config.ConfigError)
    reason = str(error) if is_message else f"{type(error).__name__}: {error}"
    if isinstance(error, EndedError):
        reason = f"its process {error}"
    for trial_path in (runs.trial_folder(folder, name) for name in stack.trials):
        if not runs.has_result(trial_path):
            runs.set_failed(trial_path, reason)


# ---- in this process ----------------------------------------------------------------------------------------------------


class InThisProcess:
    """An executor without other processes: `start` trains the whole stack, and exceptions reach the caller."""

    def __init__(self) -> None:
        self.stopping: Flag = threading.Event()
        self._ended: list[tuple[Stack, BaseException | None]] = []

    def attach(self, folder: Path, plan: Plan, prepared: dict[str, Any]) -> None:
        """Nothing to prepare."""

    @property
    def running(self) -> int:
        return len(self._ended)

    def has_capacity(self) -> bool:
        return not self._ended

    def start(self, lease: runs.Lease, stack: Stack, members: Sequence[Trial], device: str) -> None:
        raised: BaseException | None = None
        try:
            workers.train(lease, stack, members, device)
        except workers.OutOfMemoryError as error:
            if len(stack.trials) == 1:
                raise
            raised = error  # the halves of the stack are trained next
        self._ended.append((stack, raised))

    def wait(self, seconds: float) -> list[tuple[Stack, BaseException | None]]:  # noqa: ARG002 - nothing runs meanwhile
        ended, self._ended = self._ended, []
        return ended


def train_here(experiment: Experiment, folder: Path, write_tables: WriteTables = lambda _results: None) -> None:
    """Trains all unfinished trials in this process, for Python code that may define custom shortcuts.

    Global settings of torch (threads, determinism, denormals, precision) are restored afterwards.

    Raises:
        ConfigError: the device or the images cannot be used.
        RunsError: another process writes to the folder; a checkpoint cannot be used.
        OSError: the folder is not writable.
    """
    from resexp.training import process_restored  # noqa: PLC0415 - torch belongs to the workers

    with process_restored(compiled=any(trial.settings.compile is True for trial in experiment.trials)):
        prepared = workers.prepare_with_pairs(experiment, runs.read_plan(folder))
        with training(InThisProcess(), folder, experiment, prepared, sys.argv, write_tables) as session:
            for _ in session.ticks:
                pass
        for record in runs.trial_records(folder, experiment):
            if record.state == "failed":  # a stack that could not be read
                raise runs.RunsError(f"{record.trial.name}: {record.reason}")
