"""The training loop. It trains a stack: one trial, or several trials of one shape as one network.

`step` counts completed optimizer updates. Log rows of step s are written after checkpoint s, so resuming from checkpoint s
truncates every log to its length at that time. Values are transferred from the device only at logging steps and epochs.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from resexp import checkpoint, probes, runs, stacking
from resexp.config import Trial
from resexp.networks import Network, Noise, multiply_adds
from resexp.training.data import batch_index, batches, check_compilation, load_training_data, step_counts, test_images
from resexp.training.evaluation import evaluate_and_save
from resexp.training.graph import CapturedStep
from resexp.training.measures import Stopped, evaluate, never
from resexp.training.precise import measuring
from resexp.training.recipe import (
    build,
    clip,
    learning_rates,
    make_capturable,
    make_optimizer,
    sample_noise,
    set_learning_rate,
    uncompiled,
)
from resexp.training.state import StackState, current_networks, fixed_batch, mark_diverged, write_status
from resexp.training.step import forward_backward

STATUS_SECONDS = 1.0  # between two updates of status.json; no result depends on it


def train_stack(trials: Sequence[Trial], folder: Path, name: str, device: str, stop: Callable[[], bool] = never) -> str:
    """Trains the stack `name` and writes its results; returns "finished", or "interrupted" if `stop()` was true.

    Resumes from the checkpoint of the stack if there is one.

    Raises:
        DataError: images missing or damaged.
        RunsError: a damaged checkpoint.
        OSError: the folder is not writable.
    """
    state = initial_state(trials, folder, name, device)
    resume(state)
    try:
        loop(state, stop)
        with measuring(state, stop):
            evaluate_and_save(state, stop)
    except Stopped:
        save(state)
        write_status(state, "interrupted")
        return "interrupted"
    runs.discard(state.checkpoint_path)
    return "finished"


def initial_state(trials: Sequence[Trial], folder: Path, name: str, device: str) -> StackState:
    """The state of a stack at initialization. Checks which trials have results in `folder`, and writes nothing."""
    target, settings, recipe = torch.device(device), trials[0].settings, trials[0].settings.training
    check_compilation(settings, device)
    training_data = load_training_data(settings.data, device, settings.precision)
    images, seeds = len(training_data.training), [trial.seed for trial in trials]
    counts = step_counts(images, recipe.batch_size, recipe.steps, recipe.epochs, settings.gradients.every)
    networks = [build(trial, training_data.input_shape, training_data.classes) for trial in trials]
    single_state_dict = networks[0].state_dict()
    network = stacking.stack(networks, batch_index(seeds)).to(target)
    has_noise = any(hasattr(block.shortcut, "draw") for block in network.blocks)
    trial_paths = tuple(runs.trial_folder(folder, trial.name) for trial in trials)
    state = StackState(
        trials=tuple(trials),
        training_data=training_data,
        batches=partial(batches, training_data, seeds, recipe.batch_size, settings.data.augment),
        test_images=partial(test_images, settings.data, device),
        step_counts=counts,
        network=network,
        single_state_dict=single_state_dict,
        costs=costs(trials, networks, training_data.input_shape),
        parameters=list(network.parameters()),
        sample_noise=partial(sample_noise, network, seeds) if has_noise else lambda _step, _x: (),
        optimizer=make_optimizer(network, recipe, {name for name, value in single_state_dict.items() if value.ndim < 2}),
        learning_rate=learning_rates(recipe, counts.steps),
        probes=settings.gradients.probes,
        batch_size=recipe.batch_size,
        checkpoint_every=recipe.checkpoint_every,
        forward_backward=partial(
            forward_backward, trials=len(trials), precision=settings.precision, label_smoothing=recipe.label_smoothing
        ),
        clip_norm=recipe.clip_norm,
        compiled=settings.compile is True,
        trial_paths=trial_paths,
        checkpoint_path=runs.checkpoint_file(folder, name),
        diverged=[-1] * len(trials),
        active=[not runs.has_result(trial_path) for trial_path in trial_paths],
    )
    if state.compiled:
        network.compile(dynamic=False)
    if settings.compile == "cuda-graph":
        capture_steps(state)
    if any(isinstance(probes.PROBES[name], probes.FixedBatchProbe) for name in state.probes):
        state.single_networks = [single_network.to(target) for single_network in networks]
        state.probe_batch = fixed_batch(training_data, settings.data.name)
    return state


def capture_steps(state: StackState) -> None:
    """Lets the steps between logging steps be replayed as one CUDA graph."""
    make_capturable(state.optimizer)
    state.captured_step = CapturedStep(partial(unlogged_update, state))


def costs(trials: Sequence[Trial], networks: Sequence[Network], input_shape: tuple[int, ...]) -> list[dict[str, int]]:
    """Parameters and multiply-adds of each trial's network, counted once per arm."""
    networks_by_arm = {trial.arm: network for trial, network in zip(trials, networks, strict=True)}
    costs_by_arm = {
        arm: {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "multiply_adds": multiply_adds(network, input_shape),
        }
        for arm, network in networks_by_arm.items()
    }
    return [costs_by_arm[trial.arm] for trial in trials]


def resume(state: StackState) -> None:
    """Loads the checkpoint, if there is one, and truncates the logs of unfinished trials to their length at that time.

    Raises:
        RunsError: a damaged checkpoint; logs that do not match it.
    """
    unfinished = [
        (trial, trial_path)
        for trial, trial_path, is_active in zip(state.trials, state.trial_paths, state.active, strict=True)
        if is_active
    ]
    try:
        saved = checkpoint.load_checkpoint(state.checkpoint_path, state.training_data.shift.device)
        if saved is not None:
            for trial, trial_path in unfinished:
                positions = saved["logs"]
                runs.truncate_logs(trial_path, positions.get(trial.name, positions.get(trial_path.name)))
    except runs.RunsError as error:
        raise runs.RunsError(f"{error}; to train the stack from the beginning, delete {state.checkpoint_path}") from None
    if saved is not None:
        state.network.load_state_dict(saved["network"])
        state.optimizer.load_state_dict(saved["optimizer"])
        state.step, state.best_epochs, state.diverged = saved["step"], saved["best"], saved["diverged"]
        mark_diverged(state, state.step)
    for trial, trial_path in unfinished:
        if saved is None:
            runs.clear(trial_path)
        runs.write_trial(trial_path, trial)


def loop(state: StackState, stop: Callable[[], bool]) -> None:
    """Trains to the last step, or until every trial has diverged."""
    steps, per_epoch = state.step_counts.steps, state.step_counts.per_epoch
    stream = state.batches(state.step)
    is_due, epoch_start = checkpoint_rule(state.checkpoint_every), time.perf_counter()
    state.network.train()
    for step in range(state.step, steps + 1):
        state.step = step
        if stop():
            raise Stopped
        if is_due(step):
            save(state)
        if step == steps:
            state.log_positions = stack_log_positions(state)
        if step % per_epoch == 0 or step == steps:
            epoch_start = evaluate_epoch(state, epoch_start, stop)
        if not any(state.active):
            break
        if step < steps:
            update(state, *next(stream))


def update(state: StackState, x: Tensor, labels: Tensor) -> None:
    """One optimizer update of every trial; at a logging step, also the probes."""
    set_learning_rate(state.optimizer, state.learning_rate(state.step))
    noise = state.sample_noise(state.step, x)
    if not (state.probes and state.step_counts.is_logging_step(state.step)):
        step = state.captured_step or partial(unlogged_update, state)
        state.losses.append(step(x, labels, noise))
        return
    boundaries = eager_boundaries(state, x, labels, noise) if state.compiled else list[Tensor]()
    state.losses.append(gradients(state, x, labels, noise, None if state.compiled else boundaries))
    measurement = probes.begin(state.probes, state.network, boundaries, len(state.trials), state.optimizer)
    fixed_rows = fixed_batch_rows(state)
    apply_gradients(state)
    step_rows = probes.end(measurement)
    write_probe_rows(state, [{**rows, **more_rows} for rows, more_rows in zip(step_rows, fixed_rows, strict=True)])


def unlogged_update(state: StackState, x: Tensor, labels: Tensor, noise: Sequence[Noise]) -> Tensor:
    """One optimizer update without probes; returns the losses (T,)."""
    losses = gradients(state, x, labels, noise)
    apply_gradients(state)
    return losses


def gradients(
    state: StackState, x: Tensor, labels: Tensor, noise: Sequence[Noise], boundaries: list[Tensor] | None = None
) -> Tensor:
    """Computes the gradients of a step; returns the losses (T,), and appends the block boundaries to `boundaries`."""
    for parameter in state.parameters:
        parameter.grad = None
    losses, _ = state.forward_backward(state.network, x, labels, boundaries, noise)
    return losses.view(len(state.trials), -1).sum(1)


def apply_gradients(state: StackState) -> None:
    if state.clip_norm is not None:
        clip(state.network, len(state.trials), state.clip_norm)
    state.optimizer.step()


def eager_boundaries(state: StackState, x: Tensor, labels: Tensor, noise: Sequence[Noise]) -> list[Tensor]:
    """The block boundaries of this step with their gradients, from a separate pass that is not compiled.

    Boundaries inside a compiled network are not accessible. The pass updates copies of the running statistics and does not
    change gradients of the weights.
    """
    boundaries: list[Tensor] = []
    buffers = {name: buffer.clone() for name, buffer in state.network.named_buffers()}
    with uncompiled(compiled=True):
        network = partial(functional_call, state.network, buffers)
        state.forward_backward(lambda *inputs: network(inputs), x, labels, boundaries, noise, boundaries_only=True)
    return boundaries


def fixed_batch_rows(state: StackState) -> list[dict[str, Sequence[probes.LogRow]]]:
    """The rows of the probes that use the fixed batch, for each trial before its update."""
    if state.probe_batch is None:
        return [{} for _ in state.trials]
    return [probes.fixed_batch_probes(state.probes, network, *state.probe_batch) for network in current_networks(state)]


def write_probe_rows(state: StackState, rows: Sequence[dict[str, Sequence[probes.LogRow]]]) -> None:
    """Appends the probe rows of each active trial to its logs, after the update of a logging step."""
    mark_diverged(state, state.step + 1)
    with runs.checked_once():
        for trial_path, is_active, trial_rows in zip(state.trial_paths, state.active, rows, strict=True):
            for name, probe_rows in trial_rows.items() if is_active else ():
                if probe_rows:
                    columns = probes.column_names(probes.PROBES[name])
                    log_rows = [(state.step, state.epoch, *row) for row in probe_rows]
                    runs.append(trial_path / runs.probe_file(name), log_rows, columns)
    if time.monotonic() - state.status_written_at > STATUS_SECONDS:
        write_status(state, "running")


def evaluate_epoch(state: StackState, epoch_start: float, stop: Callable[[], bool]) -> float:
    """Evaluates all trials, logs metrics and times, and updates the best epochs; returns when the next epoch begins."""
    mark_diverged(state, state.step)  # waits for the device, so that training time is not counted as evaluation time
    epoch_end, trials = time.perf_counter(), len(state.trials)
    with measuring(state, stop):
        training = evaluate(state.network, state.training_data.sample, state.training_data, trials, stop)
        validation = evaluate(state.network, state.training_data.validation, state.training_data, trials, stop)
        update_best(state, validation)
    rate = state.learning_rate(state.step)
    now = time.perf_counter()
    seconds = ((epoch_end - epoch_start if state.step else 0.0) / trials, (now - epoch_end) / trials)
    with runs.checked_once():
        for trial, trial_path in enumerate(state.trial_paths):
            if state.active[trial]:
                runs.append(trial_path / "metrics.csv", [(state.step, state.epoch, rate, *training[trial], *validation[trial])])
                runs.append(trial_path / "timing.csv", [(state.step, state.epoch, *seconds)])
        write_status(state, "running")
    return now


def update_best(state: StackState, validation: Sequence[tuple[float, float]]) -> None:
    """Updates the best epoch of each trial and its weights: highest accuracy, then lowest loss, then earliest epoch."""
    state_dict, best = state.network.state_dict(), state.best_epochs
    if not best:
        best |= {"epoch": [None] * len(validation), "score": [(-math.inf, -math.inf)] * len(validation)}
        best["weights"] = {key: value.detach().clone() for key, value in state_dict.items()}
    improved = [
        trial
        for trial, (loss, accuracy) in enumerate(validation)
        if state.active[trial] and math.isfinite(loss) and (accuracy, -loss) > tuple(best["score"][trial])
    ]
    for trial in improved:
        best["epoch"][trial], best["score"][trial] = state.epoch, (validation[trial][1], -validation[trial][0])
    for key, value in state_dict.items() if improved else ():
        stacking.copy_rows(value, best["weights"][key], improved, len(validation))


def checkpoint_rule(every: str | int) -> Callable[[int], bool]:
    """Returns a function that tells whether to save before a step: every N steps, or when that much time has passed."""
    if isinstance(every, int):
        return lambda step: step > 0 and step % every == 0
    seconds, last_save = interval_seconds(every), time.monotonic()

    def is_due(_step: int) -> bool:
        nonlocal last_save
        if time.monotonic() - last_save < seconds:
            return False
        last_save = time.monotonic()
        return True

    return is_due


def interval_seconds(every: str) -> int:
    """The number of seconds in '60s', '10m' or '2h'."""
    return int(every[:-1]) * {"s": 1, "m": 60, "h": 3600}[every[-1]]


def checkpoint_count(every: str | int, steps: int, seconds: float) -> int:
    """The number of checkpoints that are written in a training of that many steps and seconds."""
    return steps // every if isinstance(every, int) else int(seconds // interval_seconds(every))


def stack_log_positions(state: StackState) -> dict[str, Any]:
    """The current positions of the logs of each unfinished trial."""
    trials = zip(state.trials, state.trial_paths, strict=True)
    return {trial.name: runs.log_positions(trial_path) for trial, trial_path in trials if not runs.has_result(trial_path)}


def save(state: StackState) -> None:
    """Writes the checkpoint of this step: everything that cannot be recomputed, and the positions of the logs."""
    mark_diverged(state, state.step)
    content = {
        "step": state.step,
        "best": state.best_epochs,
        "diverged": state.diverged,
        "logs": state.log_positions or stack_log_positions(state),
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    checkpoint.save_checkpoint(state.checkpoint_path, content)
