"""Forecast of a whole plan: a few steps, evaluations and file writes of every kind of stack are timed.

Measured on the real networks, batches, loop and files, in a folder that is thrown away.
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
from resexp.costs.steps import ROUND_SECONDS, first_of, seconds_of, stepper
from resexp.networks import count
from resexp.training import StackState

FEW_OPERATIONS = 2_000_000_000  # multiply-adds of the largest step that a forecast times


@dataclass(frozen=True)
class Forecast:
    """A plan: seconds from the command to the last row, bytes on disk, peak memory in bytes.

    walls: the same seconds by how many stacks train at once, up to the first number that is no smaller than theirs; longest:
    of one stack, which no number of places makes shorter. startup: the seconds before the first stack, which are in all of
    these. multiply_adds: of all training steps, backward counted as two forward.
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

    opening: from its start to its first step. step, reading: an update without and with a reading. evaluation: of the sample
    and the validation images after an epoch; test: of the test images, twice; both contain one estimate of batch norm
    statistics. logging: what an epoch writes; saving: a checkpoint; closing: the files of all results. `reading_bytes` is
    what a reading writes for one trial.
    """

    trials: int
    depth: int
    opening: float
    step: float
    reading: float
    evaluation: float
    test: float
    logging: float
    saving: float
    closing: float
    reading_bytes: int


def forecast(experiment: Experiment, plan: Plan, jobs: int, startup: float = 0.0) -> Forecast:
    """Times a few steps of the deepest stack of each kind; those of the others are proportional to depth and number of trials.

    Memory is the peak of this process times the number of processes. startup: the seconds that precede the first stack.
    """
    trials = {trial.name: trial for trial in experiment.trials}
    stacks = [[trials[name] for name in stack.trials if name in trials] for stack in plan.stacks]
    stacks = [members for members in stacks if members]
    deepest = {_kind(members[0]): members for members in sorted(stacks, key=_size)}
    paces = {kind: _pace(members, plan.device) for kind, members in deepest.items()}
    seconds, disk, operations = zip(*(_whole(of, paces[_kind(of[0])], plan.device) for of in stacks), strict=True)
    walls = {at_once: startup + _makespan(seconds, at_once) for at_once in _worth(len(seconds))}
    return Forecast(
        seconds=startup + _makespan(seconds, jobs),
        disk_bytes=sum(disk),
        memory_bytes=jobs * runs.peak_memory(),
        walls=walls,
        longest=startup + max(seconds),
        startup=startup,
        multiply_adds=sum(operations),
    )


def _worth(stacks: int) -> list[int]:
    """1, 2, 4, ... up to the first that is not below the number of stacks."""
    return [2**power for power in range(math.ceil(math.log2(stacks)) + 1)]


def _kind(trial: Trial) -> str:
    """Equal for trials whose times differ only by depth and number."""
    network, recipe = trial.settings.network, trial.settings.training
    shape = network.model_dump(
        exclude={"depth", "shortcut", "init", "init_scale", "zero_init_residual", "plain", "plain_width"}
    )
    kind = config.stack_kind(trial)
    return repr((shape, kind, trial.parameters_of, recipe.batch_size, recipe.optimizer, trial.settings.data.augment))


def _size(trials: Sequence[Trial]) -> int:
    return len(trials) * trials[0].settings.network.depth


def _pace(trials: Sequence[Trial], device: str) -> Pace:
    """Made with the real functions, which write under a lock and a fence as in training."""
    with tempfile.TemporaryDirectory() as name, runs.lock(Path(name)) as lease, runs.attempt(lease, "forecast"):
        settings = trials[0].settings
        training.load_training_data(settings.data, device, training.DTYPES[settings.precision])  # read once, at start-up
        begun = time.perf_counter()
        run = training.begin(trials, Path(name), "forecast", device)
        for logs in run.logs:
            runs.clear(logs)
        opening = time.perf_counter() - begun
        batch, operations = settings.training.batch_size, len(trials) * run.costs[0]["multiply_adds"]  # of an image
        few = min(batch, max(2, FEW_OPERATIONS // (3 * operations)))
        x, labels = first_of(few, run, *next(training.batches(run.trials, run.training_data, run.step_counts.per_epoch, 0)))
        training.update(run, x, labels)  # the first step takes longer than all others
        written = sum(path.stat().st_size for path in run.logs[0].iterdir())
        test = len(training.test_images(settings.data, device))
        closing = _closing(run, test)
        reading = _steady(lambda: training.update(run, x, labels))
        few_images = max(2, FEW_OPERATIONS // operations)
        evaluation, precise = _evaluation(run, few_images), _precise(run, few_images)
        logging = _logging(run)
        saving = _steady(lambda: training.save(run))
        step = _steady(stepper(run, few))
        return Pace(
            trials=len(trials),
            depth=settings.network.depth,
            opening=opening,
            step=step * batch / few,
            reading=step * batch / few + max(0.0, reading - step),  # the cost of logging hardly depends on the batch size
            evaluation=precise + evaluation * (len(run.training_data.sample) + len(run.training_data.validation)),
            test=precise + 2 * evaluation * test,
            logging=logging,
            saving=saving,
            closing=closing,
            reading_bytes=written,
        )


def _steady(call: Callable[[], object]) -> float:
    """Median seconds of a call that is made for `ROUND_SECONDS`, three times at least."""
    each: list[float] = []
    while len(each) < 3 or math.fsum(each) < ROUND_SECONDS:
        each.append(seconds_of(call, 1))
    return statistics.median(each)


def _evaluation(run: StackState, most: int) -> float:
    """Seconds of evaluating one image in every trial, timed on up to `most`."""
    images = run.training_data.sample
    some = images.at(torch.arange(min(len(images), most), device=images.pixels.device))
    return _steady(lambda: training.evaluate(run.network, some, run.training_data, len(run.trials))) / len(some)


def _precise(run: StackState, most: int) -> float:
    """Seconds of estimating batch norm statistics, timed on up to `most` images; close to 0 without batch norm."""

    def estimate() -> None:
        with training.measuring(run, training.never):
            pass

    whole, images = run.training_data, min(len(run.training_data.sample), training.PRECISE_IMAGES)
    timed = min(images, most)
    run.training_data = replace(whole, sample=whole.sample.at(torch.arange(timed, device=whole.shift.device)))
    seconds = _steady(estimate)
    run.training_data = whole
    return seconds * images / timed


def _logging(run: StackState) -> float:
    """Seconds of the file writes of an epoch, measured on an epoch of two images."""
    whole, pair = run.training_data, run.training_data.sample.at(torch.arange(2, device=run.training_data.shift.device))
    run.training_data = replace(whole, sample=pair, validation=pair)
    logging = _steady(lambda: training.evaluate_epoch(run, time.perf_counter(), training.never))
    run.training_data = whole
    return logging


def _closing(run: StackState, test: int) -> float:
    """Seconds of writing the weights and the results of all trials, with predictions of `test` images."""
    logits = torch.rand(test, run.training_data.classes, dtype=torch.float64)
    images = datasets.Images(torch.empty(test, 0), torch.zeros(test, dtype=torch.long), run.training_data.training.classes)
    runs.append(run.logs[0] / "metrics.csv", [(0, 0, 0.1, 1.0, 0.5, 1.0, 0.5)])
    run.diverged[0] = -1  # after a non-finite initial loss nothing is written

    def close() -> None:
        for name in ("weights.pt", "best.pt"):
            training.save_weights(run, [0], run.network.state_dict(), name)
        training.finish(run, 0, logits, images, (None, None))

    return seconds_of(close, 1) * len(run.trials)


def _whole(trials: Sequence[Trial], pace: Pace, device: str) -> tuple[float, float, int]:
    """(seconds, bytes on disk, multiply-adds of its steps) of a stack from its start to its results."""
    settings = trials[0].settings
    data = training.load_training_data(settings.data, device, training.DTYPES[settings.precision])
    step_counts = training.step_counts(settings, len(data.training))
    readings = sum(step_counts.is_logging_step(step) for step in range(step_counts.steps)) if settings.gradients.probes else 0
    epochs = 1 + math.ceil(step_counts.steps / step_counts.per_epoch)
    deep = settings.network.depth / pace.depth
    computed = pace.opening + (step_counts.steps - readings) * pace.step + readings * pace.reading
    computed += epochs * pace.evaluation + pace.test
    seconds = deep * computed + epochs * pace.logging + pace.closing
    seconds += training.checkpoints(settings.training.checkpoint_every, step_counts.steps, seconds) * pace.saving
    network = training.build(trials[0], data.input_shape, data.classes)
    weights = 2 * sum(value.numel() * value.element_size() for value in network.state_dict().values())  # final and best
    images = step_counts.steps * settings.training.batch_size * len(trials)
    return (
        seconds * len(trials) / pace.trials,
        len(trials) * (readings * pace.reading_bytes * deep + weights),
        3 * images * count(network, data.input_shape).multiply_adds,
    )


def _makespan(seconds: Sequence[float], jobs: int) -> float:
    """The finishing time of `jobs` processes that each train one stack after another."""
    busy = [0.0] * jobs
    for took in seconds:
        heapq.heapreplace(busy, busy[0] + took)
    return max(busy)
