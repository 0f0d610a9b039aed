"""Forecast for an execution plan: a few steps, evaluations and file writes of each kind of stack are timed.

Uses the real networks, batches, training loop and files, in a temporary folder.
"""

import heapq
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from resexp import config, datasets, runs, training
from resexp.config import Experiment, Plan, Trial
from resexp.costs.steps import ROUND_SECONDS, seconds_of, slice_batch, stepper
from resexp.networks import count
from resexp.training import StackState

MAX_OPERATIONS = 2_000_000_000  # multiply-adds of the largest step that a forecast times


@dataclass(frozen=True)
class Forecast:
    """Wall time of a plan in seconds, from the command to the last row; bytes on disk; peak memory in bytes.

    walls: wall time by number of stacks that train at once: 1, 2, 4, ..., up to the number of stacks or more.
    longest: wall time of the longest stack, a lower bound however many stacks train at once.
    startup: seconds before the first stack; all wall times include them.
    multiply_adds: of all training steps; a backward pass counts as two forward passes.
    """

    seconds: float
    disk_bytes: float
    memory_bytes: float
    walls: dict[int, float]
    longest: float
    startup: float
    multiply_adds: int


@dataclass(frozen=True)
class Pace:
    """Times of the deepest stack of a kind, in seconds, for all its trials together.

    opening: from its start to its first step.
    step, logged_step: an update, without and with logging of gradients.
    evaluation: of the training sample and the validation images after an epoch. test: of the test images, twice. Both include
        one estimate of batch norm statistics.
    epoch_files: file writes of an epoch. saving: a checkpoint. closing: the files of all results.
    logged_bytes: bytes that a logging step writes for one trial.
    """

    trials: int
    depth: int
    opening: float
    step: float
    logged_step: float
    evaluation: float
    test: float
    epoch_files: float
    saving: float
    closing: float
    logged_bytes: int


def forecast(experiment: Experiment, plan: Plan, jobs: int, startup: float = 0.0) -> Forecast:
    """Times a few steps of the deepest stack of each kind; times of the others are scaled by depth and number of trials.

    Memory is the peak of this process times the number of processes. startup: seconds before the first stack.
    """
    trials = {trial.name: trial for trial in experiment.trials}
    stacks = [[trials[name] for name in stack.trials if name in trials] for stack in plan.stacks]
    stacks = [members for members in stacks if members]
    by_size = sorted(stacks, key=lambda members: len(members) * members[0].settings.network.depth)
    deepest = {_kind(members[0]): members for members in by_size}
    paces = {kind: _pace(members, plan.device) for kind, members in deepest.items()}
    costs = (_stack_cost(members, paces[_kind(members[0])], plan.device) for members in stacks)
    seconds, disk, operations = zip(*costs, strict=True)
    powers_of_2 = [2**power for power in range(math.ceil(math.log2(len(seconds))) + 1)]
    walls = {at_once: startup + _makespan(seconds, at_once) for at_once in powers_of_2}
    return Forecast(
        seconds=startup + _makespan(seconds, jobs),
        disk_bytes=sum(disk),
        memory_bytes=jobs * runs.peak_memory(),
        walls=walls,
        longest=startup + max(seconds),
        startup=startup,
        multiply_adds=sum(operations),
    )


def _kind(trial: Trial) -> str:
    """Equal for trials whose times differ only by depth and number."""
    network, recipe = trial.settings.network, trial.settings.training
    shape = network.model_dump(
        exclude={"depth", "shortcut", "init", "init_scale", "zero_init_residual", "plain", "plain_width"}
    )
    kind = config.stack_kind(trial)
    return repr((shape, kind, trial.parameters_of, recipe.batch_size, recipe.optimizer, trial.settings.data.augment))


def _pace(trials: Sequence[Trial], device: str) -> Pace:
    """Measures the times of a stack with the functions of training, which write under a lock."""
    with tempfile.TemporaryDirectory() as name, runs.lock(Path(name)) as lease, runs.attempt(lease, "forecast"):
        settings = trials[0].settings
        training.load_training_data(settings.data, device, settings.precision)  # read once, at start-up
        started = time.perf_counter()
        state = training.initial_state(trials, Path(name), "forecast", device)
        for trial_path in state.trial_paths:
            runs.clear(trial_path)
        opening = time.perf_counter() - started
        batch, operations = settings.training.batch_size, len(trials) * state.costs[0]["multiply_adds"]  # of an image
        timed_images = min(batch, max(2, MAX_OPERATIONS // (3 * operations)))
        x, labels = slice_batch(timed_images, state, *next(state.batches(0)))
        training.update(state, x, labels)  # the first step takes longer than all others
        logged_bytes = sum(path.stat().st_size for path in state.trial_paths[0].iterdir())
        test = len(state.test_images())
        closing = _closing(state, test)
        logged_step = _median_seconds(lambda: training.update(state, x, labels))
        evaluation, precise, epoch_files = _evaluation_seconds(state, max(2, MAX_OPERATIONS // operations))
        saving = _median_seconds(lambda: training.save(state))
        step = _median_seconds(stepper(state, timed_images))
        return Pace(
            trials=len(trials),
            depth=settings.network.depth,
            opening=opening,
            step=step * batch / timed_images,
            logged_step=step * batch / timed_images + max(0.0, logged_step - step),  # logging hardly depends on the batch size
            evaluation=precise + evaluation * (len(state.training_data.sample) + len(state.training_data.validation)),
            test=precise + 2 * evaluation * test,
            epoch_files=epoch_files,
            saving=saving,
            closing=closing,
            logged_bytes=logged_bytes,
        )


def _median_seconds(call: Callable[[], object]) -> float:
    """Median seconds of a call that is repeated for `ROUND_SECONDS`, at least three times."""
    seconds: list[float] = []
    while len(seconds) < 3 or math.fsum(seconds) < ROUND_SECONDS:
        seconds.append(seconds_of(call, 1))
    return statistics.median(seconds)


def _evaluation_seconds(state: StackState, max_images: int) -> tuple[float, float, float]:
    """Seconds of the parts of an evaluation, the first two timed on at most `max_images`.

    One image in every trial; the statistics of batch norm, close to 0 without batch norm; file writes, with two images.
    """
    data = state.training_data

    def first(number: int) -> datasets.Images:
        return data.sample.at(torch.arange(number, device=data.shift.device))

    def estimate() -> None:
        with training.measuring(state, training.never):
            pass

    some = first(min(len(data.sample), max_images))
    image = _median_seconds(lambda: training.evaluate(state.network, some, data, len(state.trials))) / len(some)
    images = min(len(data.sample), training.PRECISE_IMAGES)
    timed = min(images, max_images)
    state.training_data = replace(data, sample=first(timed))
    precise = _median_seconds(estimate) * images / timed
    state.training_data = replace(data, sample=first(2), validation=first(2))
    files = _median_seconds(lambda: training.evaluate_epoch(state, time.perf_counter(), training.never))
    state.training_data = data
    return image, precise, files


def _closing(state: StackState, test: int) -> float:
    """Seconds of writing the weights and the results of all trials, with predictions of `test` images."""
    logits = torch.rand(test, state.training_data.classes, dtype=torch.float64)
    images = datasets.Images(torch.empty(test, 0), torch.zeros(test, dtype=torch.long), state.training_data.training.classes)
    runs.append(state.trial_paths[0] / "metrics.csv", [(0, 0, 0.1, 1.0, 0.5, 1.0, 0.5)])
    state.diverged[0] = -1  # otherwise nothing is written after a non-finite initial loss

    def close() -> None:
        for name in ("weights.pt", "best.pt"):
            training.save_weights(state, [0], state.network.state_dict(), name)
        training.save_result(state, 0, logits, images, (None, None))

    return seconds_of(close, 1) * len(state.trials)


def _stack_cost(trials: Sequence[Trial], pace: Pace, device: str) -> tuple[float, float, int]:
    """(seconds, bytes on disk, multiply-adds of all steps) of a stack, from its start to its results."""
    settings, recipe = trials[0].settings, trials[0].settings.training
    data, every = training.load_training_data(settings.data, device, settings.precision), settings.gradients.every
    step_counts = training.step_counts(len(data.training), recipe.batch_size, recipe.steps, recipe.epochs, every)
    logged = sum(step_counts.is_logging_step(step) for step in range(step_counts.steps)) if settings.gradients.probes else 0
    epochs = 1 + math.ceil(step_counts.steps / step_counts.per_epoch)
    relative_depth = settings.network.depth / pace.depth
    computation = pace.opening + (step_counts.steps - logged) * pace.step + logged * pace.logged_step
    computation += epochs * pace.evaluation + pace.test
    seconds = relative_depth * computation + epochs * pace.epoch_files + pace.closing
    seconds += training.checkpoint_count(settings.training.checkpoint_every, step_counts.steps, seconds) * pace.saving
    network = training.build(trials[0], data.input_shape, data.classes)
    weights = 2 * sum(value.numel() * value.element_size() for value in network.state_dict().values())  # final and best
    images = step_counts.steps * settings.training.batch_size * len(trials)
    return (
        seconds * len(trials) / pace.trials,
        len(trials) * (logged * pace.logged_bytes * relative_depth + weights),
        3 * images * count(network, data.input_shape).multiply_adds,
    )


def _makespan(seconds: Sequence[float], jobs: int) -> float:
    """The finishing time of `jobs` processes that each train one stack after another."""
    ends = [0.0] * jobs
    for duration in seconds:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)
