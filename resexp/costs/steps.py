"""Interleaved step times of each arm, trained individually; and the batch size that fits into memory.

Uses the real networks, batches and training loop, in a temporary folder.
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
from resexp.training import StackState, TrainingData

ROUNDS, ROUND_SECONDS = 15, 0.05  # rounds for a median; minimum duration of a measurement


@dataclass(frozen=True)
class StepCost:
    """The cost of a training step of one arm.

    memory_bytes: weights, gradients, optimizer state, and activations that a batch saves for the backward pass.
    step_seconds, step_low, step_high: median and quartiles.
    relative: median ratio of the step time to that of the plain counterpart in the same round.
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
    """The cost of a step of each arm of each cell, with the first seed; the arms of a cell are interleaved, round by round."""
    first = [trial for trial in experiment.trials if trial.seed == experiment.trials[0].seed]
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for label, arms in config.cells(first, experiment.axes).items():
            states = [training.initial_state([trial], Path(folder), trial.name, device) for (trial,) in arms.values()]
            steppers = [stepper(state, state.batch_size) for state in states]
            repeats = max(1, math.ceil(ROUND_SECONDS / min(seconds_of(step, 1) for step in steppers)))
            rounds = [[seconds_of(step, repeats) for step in steppers] for _ in range(ROUNDS)]
            columns = list(zip(*rounds, strict=True))  # plain comes first
            costs += [_cost(" ".join(label), state, column, columns[0]) for state, column in zip(states, columns, strict=True)]
    return costs


def _cost(cell: str, state: StackState, seconds: Sequence[float], plain: Sequence[float]) -> StepCost:
    counted = count(state.network, state.training_data.input_shape)
    low, median, high = statistics.quantiles(seconds, n=4)
    optimizer_tensors = [
        value for moments in state.optimizer.state.values() for value in moments.values() if isinstance(value, torch.Tensor)
    ]
    weights = [*state.network.parameters(), *state.network.parameters()]  # twice, because each has a gradient
    static_bytes = sum(tensor.numel() * tensor.element_size() for tensor in (*weights, *optimizer_tensors))
    return StepCost(
        cell=cell,
        arm=state.trials[0].arm,
        parameters=counted.parameters,
        multiply_adds=counted.multiply_adds,
        activation_bytes=counted.activation_bytes,
        memory_bytes=static_bytes + counted.activation_bytes * state.batch_size,
        step_seconds=median,
        step_low=low,
        step_high=high,
        epoch_seconds=median * state.step_counts.per_epoch,
        relative=statistics.median(step / plain_step for step, plain_step in zip(seconds, plain, strict=True)),
    )


def stepper(state: StackState, images: int) -> Callable[[], None]:
    """Returns a function that makes one update on the first `images` of a batch, without logging; makes the first update."""
    state.step_counts = replace(state.step_counts, every=state.step_counts.steps + 1)
    state.step = next(step for step in itertools.count(1) if not state.step_counts.is_logging_step(step))
    stream = state.batches(0)
    state.network.train()

    def step() -> None:
        training.update(state, *slice_batch(images, state, *next(stream)))

    step()
    return step


def slice_batch(images: int, state: StackState, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    axis = 0 if len(state.trials) == 1 else 1
    return x.narrow(axis, 0, images), labels.narrow(axis, 0, images)


def seconds_of(step: Callable[[], object], repeats: int) -> float:
    """Mean seconds of `repeats` calls, including the work of the device."""
    _synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    _synchronize()
    return (time.perf_counter() - started) / repeats


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _memory(trial: Trial, data: TrainingData) -> tuple[int, int]:
    """Bytes of weights, gradients and both moments of Adam, and bytes that an image saves for the backward pass."""
    network = training.build(trial, data.input_shape, data.classes)
    static_bytes = 4 * sum(value.numel() * value.element_size() for value in network.parameters())
    return static_bytes, count(network, data.input_shape).activation_bytes


def oom_advice(trial: Trial, device: str) -> str:
    """Advice for a network that did not fit into memory, with the batch size that fits."""
    settings = trial.settings
    data = training.load_training_data(settings.data, device, settings.precision)
    static_bytes, image_bytes = _memory(trial, data)
    free = torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else runs.free_memory()
    images = max(0, free - static_bytes) // image_bytes
    message = f"out of memory: {free / 1e9:.2f} GB free on {device}, batch size {settings.training.batch_size}"
    if not 0 < images < settings.training.batch_size:
        return f"{message}; use fewer processes (--jobs 1), or a smaller network.width or network.depth"
    return f"{message}; about {images} images fit: training.batch_size={images}"


def memory(experiment: Experiment, device: str) -> dict[str, int]:
    """Bytes that each trial needs in training: weights, gradients, both moments of Adam, and saved activations of a batch."""
    trial_bytes: dict[str, int] = {}
    settings = experiment.shared
    data = training.load_training_data(settings.data, device, settings.precision)
    for arms in config.cells(experiment.trials, experiment.axes).values():
        for trials in arms.values():
            static_bytes, image_bytes = _memory(trials[0], data)
            bytes_of_each = static_bytes + trials[0].settings.training.batch_size * image_bytes
            trial_bytes |= {trial.name: bytes_of_each for trial in trials}
    return trial_bytes
