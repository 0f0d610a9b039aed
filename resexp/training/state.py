"""The state of a stack in training: what it is, how far it has got, and what is said of it in runs/."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resexp import datasets, runs, stacking, streams
from resexp.config import Trial
from resexp.networks import Network
from resexp.training.data import StepCounts, TrainingData

PROBE_BATCH_SIZE = 64  # training images on which probes run apart


@dataclass
class StackState:
    """A stack in training: its trials, what they train on, where they write, how far they have got.

    `losses` (T,) of the steps since the last fetch stay on the device; from them `diverged` has the step at which a trial's
    loss first was not finite, -1 as long as it is. A trial that diverged, or whose result stands already, stays in the stack,
    and nothing is written for it any more: `open`.
    """

    trials: tuple[Trial, ...]
    training_data: TrainingData
    step_counts: StepCounts
    network: Network
    single_state_dict: dict[str, Tensor]  # the state dict of one trial alone, for its shapes
    costs: list[dict[str, int]]  # parameters and multiply-adds of each trial's network
    parameters: list[nn.Parameter]
    random: bool  # whether a shortcut leaves something to chance
    optimizer: torch.optim.Optimizer
    logs: tuple[Path, ...]
    checkpoint_path: Path
    diverged: list[int]
    active: list[bool]
    unstacked: list[Network] = field(default_factory=list)  # one network for each trial, where probes run apart
    probe_batch: tuple[Tensor, Tensor] | None = None  # the images and labels on which they do
    losses: list[Tensor] = field(default_factory=list)
    step: int = 0
    ends: dict[str, Any] = field(default_factory=dict)  # where the logs ended before the last step, once it has come
    best: dict[str, Any] = field(default_factory=dict)  # epoch and score of each trial; weights of all, stacked
    status_written_at: float = 0.0

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return self.step // self.step_counts.per_epoch


def fixed_batch(training_data: TrainingData, name: str) -> tuple[Tensor, Tensor]:
    """Normalised, un-augmented training images and their labels, stratified: the same for every trial of an experiment."""
    labels = training_data.training.labels
    number = min(PROBE_BATCH_SIZE, len(labels))
    index = datasets.held_out(labels.cpu(), number, streams.generator(0, "probes", name)).to(labels.device)
    return training_data.batch(index), labels[index]


def each_alone(run: StackState) -> Iterator[Network]:
    """The network of each trial by itself, with its present weights, for as long as the next one is not asked for."""
    weights, trials = run.network.state_dict(), len(run.trials)
    for trial, network in enumerate(run.unstacked):
        if network is not run.network:
            network.load_state_dict(stacking.unstack(weights, run.single_state_dict, trials, trial))
        yield network


def mark_diverged(run: StackState, made: int) -> None:
    """Fetches the losses of the steps up to `made`, exclusive, and closes the trials whose loss was not finite."""
    if run.losses:
        finite = torch.stack(run.losses).isfinite().T.tolist()
        first = made - len(run.losses)
        for trial, steps in enumerate(finite):
            if run.diverged[trial] < 0 and not all(steps):
                run.diverged[trial] = first + steps.index(False)
        run.losses.clear()
    for logs, was_open, step in zip(run.logs, run.active, run.diverged, strict=True):
        if was_open and step >= 0:  # its stack may train on for hours: the display must not wait for the result
            runs.set_status(logs, "running", step=step, steps=run.step_counts.steps, diverged=step)
    run.active = [was and at < 0 for was, at in zip(run.active, run.diverged, strict=True)]


def write_status(run: StackState, state: str) -> None:
    """Writes status.json of every trial that is still written for."""
    for logs, written in zip(run.logs, run.active, strict=True):
        if written:
            runs.set_status(logs, state, step=run.step, steps=run.step_counts.steps)
    run.status_written_at = time.monotonic()
