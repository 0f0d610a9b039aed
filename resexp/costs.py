"""What training costs: seconds a step of each arm alone, timed in turn; and what a whole plan will take.

Both are measured on the real networks, batches and loop, in a folder that is thrown away.
"""

import heapq
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from resexp import config, runs, training
from resexp.config import Experiment, Plan, Trial
from resexp.datasets import Images
from resexp.networks import count
from resexp.training import Run

ROUNDS, ROUND_SECONDS = 15, 0.05  # of `time`: rounds for a median, and the least that one measurement lasts
FEW_OPERATIONS = 2_000_000_000  # multiply-adds of a step that `forecast` is willing to wait for


@dataclass(frozen=True)
class Cost:
    """What a step of one arm alone costs; quartiles of the seconds, `relative` to its plain twin's in the same round.

    `memory_bytes`: weights, gradients, optimizer state, and what a batch keeps for the backward pass.
    """

    cell: str
    arm: str
    parameters: int
    multiply_adds: int
    activation_bytes: int
    memory_bytes: int
    step_seconds: float
    step_low: float
    step_high: float
    epoch_seconds: float
    relative: float


# ---- each arm alone -----------------------------------------------------------------------------------------------------


def measure(experiment: Experiment, device: str) -> list[Cost]:
    """A step of every arm of every cell at the first seed; the arms of a cell are timed in turn, round by round."""
    first = [trial for trial in experiment.trials if trial.seed == experiment.trials[0].seed]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for label, arms in config.cells(first, experiment.axes).items():
            begun = [training.begin([trial], Path(folder), trial.name, device) for (trial,) in arms.values()]
            found += _cell(" ".join(label), begun)
    return found


def _cell(cell: str, begun: Sequence[Run]) -> list[Cost]:
    steppers = [stepper(run, run.trials[0].settings.training.batch_size) for run in begun]
    repeats = max(1, math.ceil(ROUND_SECONDS / min(_seconds(step, 1) for step in steppers)))
    rounds = [[_seconds(step, repeats) for step in steppers] for _ in range(ROUNDS)]
    columns = list(zip(*rounds, strict=True))  # plain comes first
    return [_cost(cell, run, column, columns[0]) for run, column in zip(begun, columns, strict=True)]


def _cost(cell: str, run: Run, seconds: Sequence[float], plain: Sequence[float]) -> Cost:
    counted = count(run.network, run.material.input_shape)
    low, median, high = statistics.quantiles(seconds, n=4)
    state = [value for of in run.optimizer.state.values() for value in of.values() if isinstance(value, torch.Tensor)]
    weights = [*run.network.parameters(), *run.network.parameters()]  # and a gradient of each
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*weights, *state))
    return Cost(
        cell=cell,
        arm=run.trials[0].arm,
        parameters=counted.parameters,
        multiply_adds=counted.multiply_adds,
        activation_bytes=counted.activation_bytes,
        memory_bytes=held + counted.activation_bytes * run.trials[0].settings.training.batch_size,
        step_seconds=median,
        step_low=low,
        step_high=high,
        epoch_seconds=median * run.length.per_epoch,
        relative=statistics.median(ours / theirs for ours, theirs in zip(seconds, plain, strict=True)),
    )


def stepper(run: Run, images: int) -> Callable[[], None]:
    """Makes one update after another on the first `images` of each batch, without readings; the first one is made here."""
    run.length = replace(run.length, every=run.length.steps + 1)
    run.step = next(step for step in itertools.count(1) if not run.length.reads(step))
    stream = training.batches(run.trials, run.material, run.length.per_epoch, 0)
    run.network.train()

    def step() -> None:
        training.update(run, *_first(images, run, *next(stream)))

    step()
    return step


def _first(images: int, run: Run, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    axis = 0 if len(run.trials) == 1 else 1
    return x.narrow(axis, 0, images), labels.narrow(axis, 0, images)


def _seconds(step: Callable[[], None], repeats: int) -> float:
    """Seconds of one of `repeats` calls, the device's work included."""
    _wait()
    begun = time.perf_counter()
    for _ in range(repeats):
        step()
    _wait()
    return (time.perf_counter() - begun) / repeats


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def room(trial: Trial, device: str) -> str:
    """What to do about a network that did not fit into memory: how many images a batch there is room for.

    Weights, gradients and two moments of Adam are counted once each, and what one image keeps for the backward pass.
    """
    settings = trial.settings
    found = training.material(settings.data, device, training.DTYPES[settings.precision])
    network = training.build(trial, found.input_shape, found.classes)
    held = 4 * sum(value.numel() * value.element_size() for value in network.parameters())
    free = torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else runs.free_memory()
    images = max(0, free - held) // count(network, found.input_shape).activation_bytes
    words = f"out of memory: {free / 1e9:.2f} GB are free on {device}, batches are of {settings.training.batch_size} images"
    if not 0 < images < settings.training.batch_size:
        return f"{words}; fewer processes (--jobs 1), or a smaller network.width or network.depth, take less"
    return f"{words}; about {images} would fit: training.batch_size={images}"


# ---- a whole plan -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecast:
    """What a plan will take: seconds from the first step to the last row, bytes on disk and in memory at most.

    walls: the same seconds by how many cohorts train at once, up to the first number that is no smaller than theirs; longest:
    of one cohort, which no number of places makes shorter. multiply_adds: of all training steps, backward counted as two
    forward.
    """

    seconds: float
    disk_bytes: float
    memory_bytes: float
    walls: dict[int, float]
    longest: float
    multiply_adds: int


@dataclass(frozen=True)
class Pace:
    """What the deepest cohort of a kind takes: seconds of a step, of one with a reading, and of an evaluation.

    `reading_bytes` is what a reading writes for one trial.
    """

    trials: int
    depth: int
    step: float
    reading: float
    evaluation: float
    reading_bytes: int


def forecast(experiment: Experiment, plan: Plan, jobs: int) -> Forecast:
    """Times a few steps of the deepest cohort of each kind; the others take in proportion to depth and to their number.

    Memory is what this process has come to, times the processes.
    """
    trials = {trial.name: trial for trial in experiment.trials}
    cohorts = [[trials[name] for name in cohort.trials if name in trials] for cohort in plan.cohorts]
    cohorts = [members for members in cohorts if members]
    deepest = {_kind(members[0]): members for members in sorted(cohorts, key=_size)}
    paces = {kind: _pace(members, plan.device) for kind, members in deepest.items()}
    seconds, disk, operations = zip(*(_whole(of, paces[_kind(of[0])], plan.device) for of in cohorts), strict=True)
    walls = {at_once: _makespan(seconds, at_once) for at_once in _worth(len(seconds))}
    peak = jobs * runs.peak_memory()
    return Forecast(_makespan(seconds, jobs), sum(disk), peak, walls, max(seconds), sum(operations))


def _worth(cohorts: int) -> list[int]:
    """1, 2, 4, ... up to the first that is at least the number of cohorts."""
    return [2**power for power in range(math.ceil(math.log2(cohorts)) + 1)]


def _kind(trial: Trial) -> str:
    """Equal for trials that take the same time but for depth and number."""
    network, recipe = trial.settings.network, trial.settings.training
    shape = network.model_dump(exclude={"depth", "shortcut", "init", "gain", "zero_last", "plain", "plain_width"})
    kind = config.stack_kind(trial)
    return repr((shape, kind, trial.parameters_of, recipe.batch_size, recipe.optimizer, trial.settings.data.augment))


def _size(trials: Sequence[Trial]) -> int:
    return len(trials) * trials[0].settings.network.depth


def _pace(trials: Sequence[Trial], device: str) -> Pace:
    with tempfile.TemporaryDirectory() as folder:
        run = training.begin(trials, Path(folder), "forecast", device)
        for logs in run.logs:
            runs.clear(logs)
        batch, images = trials[0].settings.training.batch_size, len(run.material.sample) + len(run.material.validation)
        operations = len(trials) * run.costs[0]["multiply_adds"]  # of one image in every trial
        few = min(batch, max(2, FEW_OPERATIONS // (3 * operations)))
        some = run.material.sample.at(torch.arange(min(len(run.material.sample), max(2, FEW_OPERATIONS // operations))))
        x, labels = next(training.batches(run.trials, run.material, run.length.per_epoch, 0))
        reading = _seconds(lambda: training.update(run, *_first(few, run, x, labels)), 1)
        written = sum(path.stat().st_size for path in run.logs[0].iterdir())
        step = stepper(run, few)
        return Pace(
            trials=len(trials),
            depth=trials[0].settings.network.depth,
            step=min(_seconds(step, 1) for _ in range(3)) * batch / few,
            reading=reading * batch / few,
            evaluation=_seconds(lambda: _evaluate(run, some), 1) * images / len(some),
            reading_bytes=written,
        )


def _evaluate(run: Run, images: Images) -> None:
    training.evaluate(run.network, images, run.material, len(run.trials))


def _whole(trials: Sequence[Trial], pace: Pace, device: str) -> tuple[float, float, int]:
    """(seconds, bytes on disk, multiply-adds of its steps) of a cohort from its first step to its results."""
    settings = trials[0].settings
    found = training.material(settings.data, device, training.DTYPES[settings.precision])
    length = training.lengths(settings, len(found.training))
    readings = sum(length.reads(step) for step in range(length.steps)) if settings.gradients.probes else 0
    evaluations = 1 + math.ceil(length.steps / length.per_epoch)
    seconds = (length.steps - readings) * pace.step + readings * pace.reading + evaluations * pace.evaluation
    deep = settings.network.depth / pace.depth
    network = training.build(trials[0], found.input_shape, found.classes)
    weights = 2 * sum(value.numel() * value.element_size() for value in network.state_dict().values())  # last and best
    images = length.steps * settings.training.batch_size * len(trials)
    return (
        seconds * deep * len(trials) / pace.trials,
        len(trials) * (readings * pace.reading_bytes * deep + weights),
        3 * images * count(network, found.input_shape).multiply_adds,
    )


def memory(experiment: Experiment, device: str) -> dict[str, int]:
    """Bytes that each trial needs while it trains: weights, gradients, two moments of Adam, what a batch keeps for backward."""
    needed: dict[str, int] = {}
    settings = experiment.shared
    found = training.material(settings.data, device, training.DTYPES[settings.precision])
    for arms in config.cells(experiment.trials, experiment.axes).values():
        for trials in arms.values():
            network = training.build(trials[0], found.input_shape, found.classes)
            held = 4 * sum(value.numel() * value.element_size() for value in network.parameters())
            batch = trials[0].settings.training.batch_size * count(network, found.input_shape).activation_bytes
            needed |= {trial.name: held + batch for trial in trials}
    return needed


def _makespan(seconds: Sequence[float], jobs: int) -> float:
    """When the last of `jobs` processes is done that take one cohort after another."""
    busy = [0.0] * jobs
    for took in seconds:
        heapq.heapreplace(busy, busy[0] + took)
    return max(busy)
