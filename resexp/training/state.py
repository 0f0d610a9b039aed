"""The state of a stack during training, and its status files in runs/."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resexp import datasets, runs, stacking, streams
from resexp.config import Trial
from resexp.datasets import Images
from resexp.networks import Network, Noise
from resexp.training.data import StepCounts, TrainingData
from resexp.training.graph import CapturedStep

PROBE_BATCH_SIZE = 64  # training images in the fixed batch of probes


@dataclass
class StackState:
    """A stack during training: trials, data, networks, options of a step, folders and progress.

    `losses`: tensors (T,) of the steps since the last transfer, on the device.
    `diverged`: for each trial the first step with a non-finite loss, or -1.
    `active`: for each trial whether its logs are written. A diverged or finished trial stays in the stack but writes nothing.
    """

    trials: tuple[Trial, ...]
    training_data: TrainingData
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]  # from a step on
    test_images: Callable[[], Images]
    step_counts: StepCounts
    network: Network
    single_state_dict: dict[str, Tensor]  # state dict of one network before stacking, for its shapes
    costs: list[dict[str, int]]  # parameters and multiply-adds of each trial's network
    parameters: list[nn.Parameter]
    sample_noise: Callable[[int, Tensor], Sequence[Noise]]  # of stochastic shortcuts, by completed updates and images
    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[int], float]  # of the update that follows so many completed updates
    probes: Sequence[str]
    batch_size: int
    checkpoint_every: str | int
    forward_backward: Callable[..., tuple[Tensor, Tensor]]  # with the options of the recipe
    clip_norm: float | None
    compiled: bool
    trial_paths: tuple[Path, ...]
    checkpoint_path: Path
    diverged: list[int]
    active: list[bool]
    captured_step: CapturedStep | None = None  # steps between logging steps, with compile: cuda-graph
    single_networks: list[Network] = field(default_factory=list)  # one per trial, for probes on a fixed batch
    probe_batch: tuple[Tensor, Tensor] | None = None  # images and labels of the fixed batch
    losses: list[Tensor] = field(default_factory=list)
    step: int = 0
    log_positions: dict[str, Any] = field(default_factory=dict)  # of each log, before the final evaluation
    best_epochs: dict[str, Any] = field(default_factory=dict)  # epoch and score of each trial; stacked weights
    status_written_at: float = 0.0

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return self.step // self.step_counts.per_epoch


def fixed_batch(training_data: TrainingData, name: str) -> tuple[Tensor, Tensor]:
    """Stratified training images, normalized but not augmented, and their labels; equal for all trials of an experiment."""
    labels = training_data.training.labels
    number = min(PROBE_BATCH_SIZE, len(labels))
    index = datasets.held_out(labels.cpu(), number, streams.generator(0, "probes", name)).to(labels.device)
    return training_data.batch(index), labels[index]


def current_networks(state: StackState) -> Iterator[Network]:
    """Yields the network of each trial with its current weights."""
    state_dict, trials = state.network.state_dict(), len(state.trials)
    for trial, network in enumerate(state.single_networks):
        if network is not state.network:
            network.load_state_dict(stacking.unstack(state_dict, state.single_state_dict, trials, trial))
        yield network


def mark_diverged(state: StackState, steps_done: int) -> None:
    """Transfers the losses of the steps before `steps_done`, and deactivates trials with a non-finite loss."""
    if state.losses:
        finite = torch.stack(state.losses).isfinite().T.tolist()
        first_step = steps_done - len(state.losses)
        for trial, finite_steps in enumerate(finite):
            if state.diverged[trial] < 0 and not all(finite_steps):
                state.diverged[trial] = first_step + finite_steps.index(False)
        state.losses.clear()
    for trial_path, was_active, step in zip(state.trial_paths, state.active, state.diverged, strict=True):
        if was_active and step >= 0:  # its stack may train for hours; the live display must not wait for the result
            runs.set_status(trial_path, "running", step=step, steps=state.step_counts.steps, diverged=step)
    state.active = [was_active and step < 0 for was_active, step in zip(state.active, state.diverged, strict=True)]


def write_status(state: StackState, status: str) -> None:
    """Writes status.json of every active trial."""
    with runs.checked_once():
        for trial_path, is_active in zip(state.trial_paths, state.active, strict=True):
            if is_active:
                runs.set_status(trial_path, status, step=state.step, steps=state.step_counts.steps)
    state.status_written_at = time.monotonic()
