"""Cohorts of a plan, trained in a pool or in this process.

Whoever waits polls runs/; nothing but states and errors comes back from a worker.
"""

import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from resexp import config, runs
from resexp.config import Cohort, Experiment, Plan, Trial
from resexp.executors import workers
from resexp.executors.machine import cores
from resexp.executors.pool import DIED, Pool
from resexp.executors.workers import OutOfMemoryError

POLL_SECONDS = 0.25


def train_here(experiment: Experiment, folder: Path) -> None:
    """Trains what is not finished in this process: for Python code, which may have brought shortcuts of its own.

    Raises:
        ConfigError: a device or images that cannot be used.
        RunsError: another process writes there; a checkpoint that cannot be used.
        OSError: nowhere to write.
    """
    existing = runs.read_plan(folder)
    prepared = workers.prepare(experiment, existing)
    with runs.lock(folder):
        plan = config.make_plan(experiment, prepared["device"], cores(), existing)
        cards = config.with_rounds(prepared["cards"], experiment, plan)
        runs.begin(experiment, folder, plan, runs.start_entry(prepared, sys.argv), cards)
        trials = {trial.name: trial for trial in experiment.trials}
        for cohort in plan.cohorts:
            if _unfinished(folder, cohort, trials):
                workers.train(folder, cohort, _members(folder, cohort, trials), plan.device)


# ---- a pool ---------------------------------------------------------------------------------------------------------


def train_cohorts(pool: Pool, folder: Path, experiment: Experiment, plan: Plan) -> Iterator[None]:
    """Trains the cohorts that are not finished; yields now and then, so that the caller can look at runs/.

    A cohort that raises, or whose worker dies, is marked failed and the others go on; one for which the memory does not
    suffice is trained as two halves, which plan.json has from then on. Ends early when told to stop.

    Raises:
        OSError: nowhere to write.
    """
    trials = {trial.name: trial for trial in experiment.trials}
    queue = deque(cohort for cohort in plan.cohorts if _unfinished(folder, cohort, trials))
    running: dict[Future[str], tuple[int, Cohort]] = {}
    while running or (queue and not pool.stopping.is_set()):
        idle = set(range(len(pool.workers))) - {number for number, _ in running.values()}
        while idle and queue and not pool.stopping.is_set():
            number, cohort = idle.pop(), queue.popleft()
            try:
                members = _members(folder, cohort, trials)
            except runs.RunsError as error:
                _fail(folder, cohort, error)
                continue
            running[pool.submit(number, workers.train, folder, cohort, members, plan.device)] = number, cohort
        done, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            number, cohort = running.pop(future)
            raised = future.exception()
            if isinstance(raised, OSError):
                raise raised
            if raised is not None and (isinstance(raised, BrokenProcessPool) or plan.device != "cpu"):
                pool.replace(number)
            if isinstance(raised, OutOfMemoryError) and len(cohort.trials) > 1:
                plan = _halve(folder, plan, cohort)
                queue.extendleft(half for half in plan.cohorts if set(half.trials) < set(cohort.trials))
            elif raised is not None and not pool.stopping.is_set():
                _fail(folder, cohort, raised)
        yield


def _halve(folder: Path, plan: Plan, cohort: Cohort) -> Plan:
    """Plans a cohort as two halves, before anything of them is trained; its checkpoint belongs to neither."""
    plan = config.halved(plan, cohort.name)
    runs.discard(runs.checkpoint_file(folder, cohort.name))
    runs.write_plan(folder, plan)
    return plan


def _unfinished(folder: Path, cohort: Cohort, trials: dict[str, Trial]) -> bool:
    return any(name in trials and not runs.is_settled(runs.trial_folder(folder, name)) for name in cohort.trials)


def _members(folder: Path, cohort: Cohort, trials: dict[str, Trial]) -> list[Trial]:
    """The trials of a stack as planned: those that the config no longer has train along, as far as they ever began."""
    known = (trials.get(name) or runs.read_trial(folder, name) for name in cohort.trials)
    return [trial for trial in known if trial is not None]


def _fail(folder: Path, cohort: Cohort, error: BaseException) -> None:
    """Marks what has no result of a cohort that could not be trained, with the reason."""
    said = isinstance(error, OutOfMemoryError | runs.RunsError | config.ConfigError)
    reason = str(error) if said else f"{type(error).__name__}: {error}"
    for place in (runs.trial_folder(folder, name) for name in cohort.trials):
        if not runs.is_settled(place):
            runs.set_failed(place, f"its process died: {DIED}" if isinstance(error, BrokenProcessPool) else reason)
