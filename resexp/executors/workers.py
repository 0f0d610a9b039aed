"""Tasks that run in a worker process. torch is imported here, and only by the first task."""

import atexit
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from resexp import runs
from resexp.config import Experiment, Plan, Settings, Stack, Trial, make_plan
from resexp.runs.files import CsvValue

# Signals that stop training: Ctrl-C, shutdown, a closed terminal, the warning of a queue such as Slurm before its time limit.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
VARIABLES = {  # of the environment of training processes
    "OMP_WAIT_POLICY": "PASSIVE",  # with active waiting, two trainings on two cores take a hundred times as long
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic matrix products on CUDA
}
_stopping: Event | None = None


class OutOfMemoryError(Exception):
    """A stack does not fit into memory; the message says what would fit."""


def init_worker(stopping: Event) -> None:
    """Ignores signals, which reach the whole process group and are handled by the parent; ends when the parent ends."""
    global _stopping  # noqa: PLW0603 - a spawned worker cannot store the arguments of its initializer elsewhere
    _stopping = stopping
    gc.disable()  # until the imports are done: they create many objects, and hardly any garbage
    atexit.register(gc.freeze)  # at exit, Python would search all modules for garbage, which takes as long as training a little
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def warm_up() -> None:
    """Imports what every task needs, so that a worker is ready for its first task."""
    from resexp import extensions, training  # noqa: F401, PLC0415 - torch belongs to the workers

    extensions.load_inherited()
    gc.freeze()
    gc.enable()


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def set_up(threads: int, settings: Settings) -> None:
    """Sets threads, determinism and precision in this process, and imports the variants of the user."""
    from resexp import extensions, training  # noqa: PLC0415 - torch belongs to the workers

    extensions.load_inherited()
    training.prepare_process(
        threads,
        deterministic=settings.deterministic,
        compiled=settings.compile is True,
        precision=settings.precision,
    )


def _set_up_as_planned(experiment: Experiment) -> str:
    """Returns the device of the experiment."""
    from resexp import training  # noqa: PLC0415 - torch belongs to the workers

    device = training.resolve_device(experiment.shared.device)
    set_up(make_plan(experiment, device, cores()).threads, experiment.shared)
    return device


def prepare(experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
    """Resolves the device and reads both splits of the data once, so that errors are detected early."""
    from resexp import datasets, training  # noqa: PLC0415 - torch belongs to the workers

    shared = experiment.shared
    device = training.resolve_device(existing.device if existing else shared.device)
    training.check_compilation(shared, device)
    set_up(1, shared)
    splits = training.read_images(shared.data)
    data = training.load_training_data(shared.data, device, shared.precision)
    test = datasets.limited(splits[1], shared.data.limit_test, "test")
    images, every = len(data.training), shared.gradients.every
    recipes = {trial.name: trial.settings.training for trial in experiment.trials}
    counts = {n: training.step_counts(images, r.batch_size, r.steps, r.epochs, every) for n, r in recipes.items()}
    return {
        "device": device,
        "accelerator": training.device_name(device),
        "kernels": training.kernels(),
        "data_sha256": datasets.checksum(splits),
        "images": [images, len(data.validation), len(test)],
        "classes": list(data.training.classes),
        "remarks": list(dict.fromkeys(remark for split in splits for remark in split.remarks)),
        "steps": {name: count.steps for name, count in counts.items()},
    }


def pair_summaries(experiment: Experiment, device: str) -> list[runs.PairSummary]:
    """The summary of every pair, measured on the device that `prepare` has chosen."""
    from resexp import pairs  # noqa: PLC0415 - torch belongs to the workers

    set_up(1, experiment.shared)
    return pairs.pair_summaries(experiment, device)


def prepare_with_pairs(experiment: Experiment, existing: Plan | None) -> dict[str, Any]:
    """Determines what must be known before anything is written.

    The device (that of an existing plan), the checksum of the images, the steps of each trial, the pair summaries, and the
    `cores` of this machine.
    """
    prepared = prepare(experiment, existing)
    return {**prepared, "pair_summaries": pair_summaries(experiment, prepared["device"]), "cores": cores()}


def forecast(experiment: Experiment, plan: Plan, jobs: int, startup: float = 0.0) -> dict[str, Any]:
    """`costs.Forecast` as a dict."""
    from resexp import costs  # noqa: PLC0415 - torch belongs to the workers

    set_up(plan.threads, experiment.shared)
    return asdict(costs.forecast(experiment, plan, jobs, startup))


def time_arms(experiment: Experiment) -> list[dict[str, Any]]:
    from resexp import costs  # noqa: PLC0415 - torch belongs to the workers

    return [asdict(cost) for cost in costs.measure(experiment, _set_up_as_planned(experiment))]


def initial_diagnostics(experiment: Experiment, batches: int) -> list[dict[str, Any]]:
    from resexp import initial_diagnostics as diagnostics  # noqa: PLC0415 - torch belongs to the workers

    return [asdict(values) for values in diagnostics.measure(experiment, _set_up_as_planned(experiment), batches)]


def dissection_cost(folder: Path, trial: Trial, threads: int, device: str) -> tuple[float, dict[str, int]]:
    from resexp import dissect, training  # noqa: PLC0415 - torch belongs to the workers

    set_up(threads, trial.settings)
    return dissect.cost(folder, trial, training.resolve_device(device))


def dissect_trial(folder: Path, trial: Trial, threads: int, device: str, *task: Any) -> list[tuple[CsvValue, ...]]:
    from resexp import dissect, training  # noqa: PLC0415 - torch belongs to the workers

    set_up(threads, trial.settings)
    return dissect.dissect(folder, trial, training.resolve_device(device), *task)


def train(lease: runs.Lease, stack: Stack, trials: Sequence[Trial], device: str) -> str:
    """Trains a stack in a process of this host, after any earlier worker with the same stack has ended."""
    with runs.lock_stack(lease.folder, stack.name):
        return train_fenced(lease, stack, trials, device, _stopping.is_set if _stopping else None)


def train_fenced(lease: runs.Lease, stack: Stack, trials: Sequence[Trial], device: str, stop: Callable[[], bool] | None) -> str:
    """Trains a stack; another attempt, wherever it runs, stops before it writes again."""
    from resexp import costs, training  # noqa: PLC0415 - torch belongs to the workers

    set_up(stack.threads, trials[0].settings)
    try:
        with runs.attempt(lease, stack.name):
            return training.train_stack(trials, lease.folder, stack.name, device, stop or training.never)
    except (MemoryError, RuntimeError) as error:
        if not training.is_out_of_memory(error):
            raise
    try:  # after the except block, so that the memory of the failed training is free
        raise OutOfMemoryError(costs.oom_advice(trials[0], device))
    except (MemoryError, RuntimeError):
        raise OutOfMemoryError(
            "out of memory: not even the weights fit; use a smaller network.width or network.depth"
        ) from None
