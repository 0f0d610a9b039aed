"""What gradients and signals are at initialisation: the reading of a training step, of every arm at every seed, untrained."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from resexp import config, pairs, probes, training
from resexp.config import Experiment, Trial
from resexp.networks import boundary_names, boundary_stages, weighted_layers
from resexp.training import StackState

PROBES = ("gradient_norm", "signal")


@dataclass(frozen=True)
class InitMeasurement:
    """One trial at its start, on one batch of its first epoch, by block boundary and by weighted layer.

    The columns of signals.csv and gradients.csv, as `probes` defines them.
    """

    trial: str
    batch: int
    width: int
    blocks: tuple[str, ...]
    layers: tuple[str, ...]
    activation_rms: tuple[float, ...]
    activation_grad_norm: tuple[float, ...]
    weight_grad_norm: tuple[float, ...]
    slope: float


def measure(experiment: Experiment, device: str, batches: int = 1) -> list[InitMeasurement]:
    """A reading of every trial on each of its first `batches` batches; nothing is trained, nothing is left behind.

    Raises:
        DataError: images missing or damaged.
    """
    trials = {trial.name: _as_it_is(trial) for trial in experiment.trials}
    found: list[InitMeasurement] = []
    with tempfile.TemporaryDirectory() as folder:
        for stack in config.make_plan(experiment, device, 1).stacks:
            run = training.begin([trials[name] for name in stack.trials], Path(folder), stack.name, device)
            stream = training.batches(run.trials, run.training_data, run.step_counts.per_epoch, 0)
            for batch in range(batches):
                found += _readings(run, batch, *next(stream))
    return found


def _as_it_is(trial: Trial) -> Trial:
    """Uncompiled: that would take longer than all there is to measure."""
    return trial.model_copy(update={"settings": trial.settings.model_copy(update={"compile": False})})


def _readings(run: StackState, batch: int, x: Tensor, labels: Tensor) -> Iterator[InitMeasurement]:
    network, trials, settings = run.network.train(), run.trials, run.trials[0].settings
    boundaries: list[Tensor] = []
    with training.precision_of(settings, x.device):
        logits = network(x, boundaries, training.sample_noise(network, trials, batch, x) if run.random else ())
    for boundary in boundaries:
        boundary.retain_grad()
    network.zero_grad()
    smoothing = settings.training.label_smoothing
    each = functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none", label_smoothing=smoothing)
    torch.autograd.backward(each, torch.full_like(each, len(trials) / len(each)))  # of each trial its own mean loss
    rows = probes.end(probes.begin(PROBES, network, boundaries, len(trials)))
    names, stages, width = boundary_names(network), boundary_stages(network), _width(run)
    layers = tuple(layer.name for layer in weighted_layers(network))
    for trial, of in zip(trials, rows, strict=True):
        signals, flows = (_column(of["signal"], place) for place in (2, 3))
        weights, slope = _column(of["gradient_norm"], 3), probes.slope(flows, stages)
        yield InitMeasurement(trial.name, batch, width, tuple(names), layers, signals, flows, weights, slope)


def _column(rows: Sequence[probes.LogRow], place: int) -> tuple[float, ...]:
    return tuple(float(row[place]) for row in rows)


def _width(run: StackState) -> int:
    """That of one trial: a stack's weights lead with the trials."""
    if len(run.trials) == 1:
        return pairs.width_of(run.network)
    return weighted_layers(run.network)[0].weight.shape[1]
