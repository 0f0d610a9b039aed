"""Gradients and activations at initialization: the probes of a training step, for every arm and seed, without training."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from resexp import config, probes, training
from resexp.config import Experiment
from resexp.networks import boundary_names, boundary_stages, weighted_layers
from resexp.runs import GradientRow, SignalRow
from resexp.training import StackState

MEASURED = ("gradient_norm", "signal")


@dataclass(frozen=True)
class InitMeasurement:
    """Gradients and activations of one trial at initialization, on one batch of its first epoch.

    `blocks` names the block boundaries, `layers` the weighted layers. The values have the names and definitions of the columns
    of signals.csv and gradients.csv. distance: activation_cosine_distance at the last boundary.
    """

    trial: str
    batch: int
    width: int
    blocks: tuple[str, ...]
    layers: tuple[str, ...]
    activation_rms: tuple[float, ...]
    activation_grad_norm: tuple[float, ...]
    activation_cosine_distance: tuple[float, ...]
    weight_grad_norm: tuple[float, ...]
    slope: float
    distance: float


def measure(experiment: Experiment, device: str, batches: int = 1) -> list[InitMeasurement]:
    """Measures every trial on each of its first `batches` batches; trains nothing and leaves no files."""
    trials = {  # compilation would take longer than the measurement
        trial.name: trial.model_copy(update={"settings": trial.settings.model_copy(update={"compile": False})})
        for trial in experiment.trials
    }
    measurements: list[InitMeasurement] = []
    with tempfile.TemporaryDirectory() as folder:
        for stack in config.make_plan(experiment, device, 1).stacks:
            state = training.initial_state([trials[name] for name in stack.trials], Path(folder), stack.name, device)
            stream = state.batches(0)
            for batch in range(batches):
                measurements += _measure_batch(state, batch, *next(stream))
    return measurements


def _measure_batch(state: StackState, batch: int, x: Tensor, labels: Tensor) -> Iterator[InitMeasurement]:
    network, trials, boundaries = state.network.train(), state.trials, list[Tensor]()
    network.zero_grad()
    state.forward_backward(network, x, labels, boundaries, state.sample_noise(batch, x))
    rows = probes.end(probes.begin(MEASURED, network, boundaries, len(trials)))
    names, stages = boundary_names(network), boundary_stages(network)
    first_weight = weighted_layers(network)[0].weight
    width = len(first_weight if len(trials) == 1 else first_weight[0])  # of one network; the first axis of a stack is the trial
    layers = tuple(layer.name for layer in weighted_layers(network))
    for trial, trial_rows in zip(trials, rows, strict=True):
        signals = cast("Sequence[SignalRow]", trial_rows["signal"])
        gradients = cast("Sequence[GradientRow]", trial_rows["gradient_norm"])
        grad_norms = tuple(row.activation_grad_norm for row in signals)
        distances = tuple(row.activation_cosine_distance for row in signals)
        yield InitMeasurement(
            trial=trial.name,
            batch=batch,
            width=width,
            blocks=tuple(names),
            layers=layers,
            activation_rms=tuple(row.activation_rms for row in signals),
            activation_grad_norm=grad_norms,
            activation_cosine_distance=distances,
            weight_grad_norm=tuple(row.weight_grad_norm for row in gradients),
            slope=probes.slope(grad_norms, stages),
            distance=distances[-1],
        )
