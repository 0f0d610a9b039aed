"""Step times of each arm trained individually, interleaved; and the batch size that fits into memory.

Measured on the real networks, batches and loop, in a folder that is thrown away.
"""

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
from resexp.config import Experiment, Trial
from resexp.networks import count
from resexp.training import StackState

ROUNDS, ROUND_SECONDS = 15, 0.05  # rounds for a median; shortest measurement


@dataclass(frozen=True)
class StepCost:
    """The cost of a step of one arm; quartiles of the seconds, `relative` to its plain counterpart in the same round.

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


def measure(experiment: Experiment, device: str) -> list[StepCost]:
    """A step of every arm of every cell at the first seed; the arms of a cell are timed interleaved, round by round."""
    first = [trial for trial in experiment.trials if trial.seed == experiment.trials[0].seed]
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for label, arms in config.cells(first, experiment.axes).items():
            begun = [training.begin([trial], Path(folder), trial.name, device) for (trial,) in arms.values()]
            costs += _cell(" ".join(label), begun)
    return costs


def _cell(cell: str, begun: Sequence[StackState]) -> list[StepCost]:
    steppers = [stepper(run, run.trials[0].settings.training.batch_size) for run in begun]
    repeats = max(1, math.ceil(ROUND_SECONDS / min(seconds_of(step, 1) for step in steppers)))
    rounds = [[seconds_of(step, repeats) for step in steppers] for _ in range(ROUNDS)]
    columns = list(zip(*rounds, strict=True))  # plain comes first
    return [_cost(cell, run, column, columns[0]) for run, column in zip(begun, columns, strict=True)]


def _cost(cell: str, run: StackState, seconds: Sequence[float], plain: Sequence[float]) -> StepCost:
    counted = count(run.network, run.training_data.input_shape)
    low, median, high = statistics.quantiles(seconds, n=4)
    state = [value for moments in run.optimizer.state.values() for value in moments.values() if isinstance(value, torch.Tensor)]
    weights = [*run.network.parameters(), *run.network.parameters()]  # and a gradient of each
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*weights, *state))
    return StepCost(
        cell=cell,
        arm=run.trials[0].arm,
        parameters=counted.parameters,
        multiply_adds=counted.multiply_adds,
        activation_bytes=counted.activation_bytes,
        memory_bytes=held + counted.activation_bytes * run.trials[0].settings.training.batch_size,
        step_seconds=median,
        step_low=low,
        step_high=high,
        epoch_seconds=median * run.step_counts.per_epoch,
        relative=statistics.median(ours / theirs for ours, theirs in zip(seconds, plain, strict=True)),
    )


def stepper(run: StackState, images: int) -> Callable[[], None]:
    """Makes one update after another on the first `images` of each batch, without logging; the first one is made here."""
    run.step_counts = replace(run.step_counts, every=run.step_counts.steps + 1)
    run.step = next(step for step in itertools.count(1) if not run.step_counts.is_logging_step(step))
    stream = training.batches(run.trials, run.training_data, run.step_counts.per_epoch, 0)
    run.network.train()

    def step() -> None:
        training.update(run, *first_of(images, run, *next(stream)))

    step()
    return step


def first_of(images: int, run: StackState, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    axis = 0 if len(run.trials) == 1 else 1
    return x.narrow(axis, 0, images), labels.narrow(axis, 0, images)


def seconds_of(step: Callable[[], object], repeats: int) -> float:
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


def oom_advice(trial: Trial, device: str) -> str:
    """Advice for a network that did not fit into memory: the batch size that fits.

    Weights, gradients and two moments of Adam are counted once each, and one image's activations saved for backward.
    """
    settings = trial.settings
    data = training.load_training_data(settings.data, device, training.DTYPES[settings.precision])
    network = training.build(trial, data.input_shape, data.classes)
    held = 4 * sum(value.numel() * value.element_size() for value in network.parameters())
    free = torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else runs.free_memory()
    images = max(0, free - held) // count(network, data.input_shape).activation_bytes
    words = f"out of memory: {free / 1e9:.2f} GB are free on {device}, batches are of {settings.training.batch_size} images"
    if not 0 < images < settings.training.batch_size:
        return f"{words}; use fewer processes (--jobs 1), or a smaller network.width or network.depth"
    return f"{words}; about {images} would fit: training.batch_size={images}"


def memory(experiment: Experiment, device: str) -> dict[str, int]:
    """Bytes that each trial needs while it trains: weights, gradients, two moments of Adam, activations saved for backward."""
    needed: dict[str, int] = {}
    settings = experiment.shared
    data = training.load_training_data(settings.data, device, training.DTYPES[settings.precision])
    for arms in config.cells(experiment.trials, experiment.axes).values():
        for trials in arms.values():
            network = training.build(trials[0], data.input_shape, data.classes)
            held = 4 * sum(value.numel() * value.element_size() for value in network.parameters())
            batch = trials[0].settings.training.batch_size * count(network, data.input_shape).activation_bytes
            needed |= {trial.name: held + batch for trial in trials}
    return needed
