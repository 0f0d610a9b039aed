"""The training loop, readable from top to bottom. It trains a stack: one trial, or many of one shape as one network.

`step` counts completed optimizer updates. Everything that is written for step s follows checkpoint s, so a resume from s
cuts every log back to where it ended then and goes on. Nothing is fetched from the device but at readings and epochs.
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
from torch.nn import functional

from resexp import checkpoint, probes, runs, stacking
from resexp.config import Trial
from resexp.networks import Network, Noise, multiply_adds
from resexp.training.data import DTYPES, batches, load_training_data, step_counts
from resexp.training.evaluation import evaluate_and_save
from resexp.training.measures import Stopped, evaluate, never
from resexp.training.precise import measuring
from resexp.training.recipe import build, clip, learning_rate, make_optimizer, precision_of, sample_noise, uncompiled
from resexp.training.state import StackState, each_alone, fixed_batch, mark_diverged, write_status

STATUS_SECONDS = 1.0  # between two entries in status.json, on which no result depends


def train_stack(trials: Sequence[Trial], folder: Path, name: str, device: str, stop: Callable[[], bool] = never) -> str:
    """Trains the stack `name` to its results and returns its state: finished, or interrupted when `stop()` said so.

    Continues from the stack's checkpoint if there is one.

    Raises:
        DataError: images missing or damaged.
        RunsError: a damaged checkpoint.
        OSError: nowhere to write.
    """
    begun = begin(trials, folder, name, device)
    resume(begun)
    try:
        loop(begun, stop)
        with measuring(begun, stop):
            evaluate_and_save(begun, stop)
    except Stopped:
        save(begun)
        write_status(begun, "interrupted")
        return "interrupted"
    runs.discard(begun.checkpoint_path)
    return "finished"


def begin(trials: Sequence[Trial], folder: Path, name: str, device: str) -> StackState:
    """The stack at its start; nothing is read from its folder but which of its results stand, and nothing is written."""
    place, settings = torch.device(device), trials[0].settings
    found = load_training_data(settings.data, device, DTYPES[settings.precision])
    networks = [build(trial, found.input_shape, found.classes) for trial in trials]
    single_state_dict = networks[0].state_dict()
    network = stacking.stack(networks).to(place)
    logs = tuple(runs.trial_folder(folder, trial.name) for trial in trials)
    begun = StackState(
        trials=tuple(trials),
        training_data=found,
        step_counts=step_counts(settings, len(found.training)),
        network=network,
        single_state_dict=single_state_dict,
        costs=costs(trials, networks, found.input_shape),
        parameters=list(network.parameters()),
        random=any(hasattr(block.shortcut, "draw") for block in network.blocks),
        optimizer=make_optimizer(
            network, settings.training, {name for name, value in single_state_dict.items() if value.ndim < 2}
        ),
        logs=logs,
        checkpoint_path=runs.checkpoint_file(folder, name),
        diverged=[-1] * len(trials),
        active=[not runs.has_result(of) for of in logs],
    )
    if settings.compile:
        network.compile(dynamic=False)
    if any(probe in probes.FIXED_BATCH_PROBES for probe in settings.gradients.probes):
        begun.unstacked, begun.probe_batch = [of.to(place) for of in networks], fixed_batch(found, settings.data.name)
    return begun


def costs(trials: Sequence[Trial], networks: Sequence[Network], input_shape: tuple[int, ...]) -> list[dict[str, int]]:
    """Parameters and multiply-adds of each trial's network, counted once for each arm."""
    of_arms = {trial.arm: network for trial, network in zip(trials, networks, strict=True)}
    counted = {
        arm: {"parameters": sum(p.numel() for p in of.parameters()), "multiply_adds": multiply_adds(of, input_shape)}
        for arm, of in of_arms.items()
    }
    return [counted[trial.arm] for trial in trials]


def resume(run: StackState) -> None:
    """Takes up the checkpoint, if there is one, and makes the logs of unfinished trials end where it was written.

    Raises:
        RunsError: a damaged checkpoint; logs that do not go with it.
    """
    unfinished = [(trial, logs) for trial, logs, is_open in zip(run.trials, run.logs, run.active, strict=True) if is_open]
    try:
        state = checkpoint.load_checkpoint(run.checkpoint_path, run.training_data.shift.device)
        if state is not None:
            for trial, logs in unfinished:
                positions = state["logs"]
                runs.truncate_logs(logs, positions.get(trial.name, positions.get(logs.name)))
    except runs.RunsError as error:
        raise runs.RunsError(f"{error}; delete {run.checkpoint_path} to train its trials from the start") from None
    if state is not None:
        run.network.load_state_dict(state["network"])
        run.optimizer.load_state_dict(state["optimizer"])
        run.step, run.best, run.diverged = state["step"], state["best"], state["diverged"]
        mark_diverged(run, run.step)
    for trial, logs in unfinished:
        if state is None:
            runs.clear(logs)
        runs.write_trial(logs, trial)


def loop(run: StackState, stop: Callable[[], bool]) -> None:
    """Trains to the end, or until every trial has diverged.

    Raises:
        Stopped: `stop()` was true before a step or within an evaluation; nothing of this step is written.
    """
    steps, per_epoch, recipe = run.step_counts.steps, run.step_counts.per_epoch, run.trials[0].settings.training
    stream = batches(run.trials, run.training_data, per_epoch, run.step)
    due, clock = checkpoint_rule(recipe.checkpoint_every), time.perf_counter()
    run.network.train()
    for step in range(run.step, steps + 1):
        run.step = step
        if stop():
            raise Stopped
        if due(step):
            save(run)
        if step == steps:
            run.ends = ends(run)
        if step % per_epoch == 0 or step == steps:
            clock = evaluate_epoch(run, clock, stop)
        if not any(run.active):
            break
        if step < steps:
            update(run, *next(stream))


def update(run: StackState, x: Tensor, labels: Tensor) -> None:
    """One optimizer update of every trial and, when it is due, its reading."""
    settings, trials = run.trials[0].settings, len(run.trials)
    recipe, names = settings.training, settings.gradients.probes
    boundaries: list[Tensor] | None = [] if names and run.step_counts.reads(run.step) else None
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, run.step, run.step_counts.steps)
    noise = sample_noise(run.network, run.trials, run.step, x) if run.random else ()
    if boundaries is not None and settings.compile:
        boundaries = eager_boundaries(run, x, labels, noise)
    each = losses_of(run, run.network, x, labels, None if settings.compile else boundaries, noise)
    run.losses.append(each.detach().view(trials, -1).sum(1))
    for parameter in run.parameters:
        parameter.grad = None
    torch.autograd.backward(each, torch.full_like(each, trials / len(each)))  # of each trial its own mean loss
    reading = probes.begin(names, run.network, boundaries, trials, run.optimizer) if boundaries is not None else None
    besides = fixed_batch_rows(run) if boundaries is not None else []
    if recipe.clip_norm is not None:
        clip(run.network, trials, recipe.clip_norm)
    run.optimizer.step()
    if reading is not None:
        write_probe_rows(run, [{**of, **beside} for of, beside in zip(probes.end(reading), besides, strict=True)])


def losses_of(
    run: StackState,
    network: Callable[..., Tensor],
    x: Tensor,
    labels: Tensor,
    boundaries: list[Tensor] | None,
    noise: Sequence[Noise],
) -> Tensor:
    """The loss of each example of each trial, (T B,); boundaries are given, with their gradients retained."""
    settings = run.trials[0].settings
    with precision_of(settings, x.device):
        logits = network(x, boundaries, noise)
    for boundary in boundaries or ():
        boundary.retain_grad()
    smoothing = settings.training.label_smoothing
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none", label_smoothing=smoothing)


def eager_boundaries(run: StackState, x: Tensor, labels: Tensor, noise: Sequence[Noise]) -> list[Tensor]:
    """The boundaries of this step with their gradients, by a pass of its own: a compiled network has none inside.

    It moves copies of the running statistics and leaves the gradients of the weights alone.
    """
    boundaries: list[Tensor] = []
    buffers = {name: buffer.clone() for name, buffer in run.network.named_buffers()}
    with uncompiled(run.trials[0].settings):
        network = partial(functional_call, run.network, buffers)
        each = losses_of(run, lambda *inputs: network(inputs), x, labels, boundaries, noise)
        seeds = torch.full_like(each, len(run.trials) / len(each))
        torch.autograd.backward(each, seeds, inputs=boundaries)
    return boundaries


def fixed_batch_rows(run: StackState) -> list[dict[str, Sequence[probes.LogRow]]]:
    """What the probes that run apart find of each trial before its update."""
    if run.probe_batch is None:
        return [{} for _ in run.trials]
    return [
        probes.fixed_batch_probes(run.trials[0].settings.gradients.probes, network, *run.probe_batch)
        for network in each_alone(run)
    ]


def write_probe_rows(run: StackState, rows: Sequence[dict[str, Sequence[probes.LogRow]]]) -> None:
    """Appends what was read of each trial in the step that has just been made."""
    mark_diverged(run, run.step + 1)
    for logs, written, of in zip(run.logs, run.active, rows, strict=True):
        for name, found in of.items() if written else ():
            if found:
                runs.append(logs / runs.PROBE_FILES[name], [(run.step, run.epoch, *row) for row in found])
    if time.monotonic() - run.status_written_at > STATUS_SECONDS:
        write_status(run, "running")


def evaluate_epoch(run: StackState, clock: float, stop: Callable[[], bool]) -> float:
    """Evaluates and logs, stores the best epochs; returns the time at which the next epoch begins.

    Raises:
        Stopped: `stop()` was true within an evaluation; nothing is logged.
    """
    mark_diverged(run, run.step)  # waits for the device, so that the seconds of training are those of training
    trained, trials = time.perf_counter(), len(run.trials)
    with measuring(run, stop):
        training = evaluate(run.network, run.training_data.sample, run.training_data, trials, stop)
        validation = evaluate(run.network, run.training_data.validation, run.training_data, trials, stop)
        update_best(run, validation)
    rate = learning_rate(run.trials[0].settings.training, run.step, run.step_counts.steps)
    now = time.perf_counter()
    spent = ((trained - clock if run.step else 0.0) / trials, (now - trained) / trials)
    for trial, logs in enumerate(run.logs):
        if run.active[trial]:
            runs.append(logs / "metrics.csv", [(run.step, run.epoch, rate, *training[trial], *validation[trial])])
            runs.append(logs / "timing.csv", [(run.step, run.epoch, *spent)])
    write_status(run, "running")
    return now


def update_best(run: StackState, measured: Sequence[tuple[float, float]]) -> None:
    """Keeps the weights of each trial's best epoch: highest accuracy, ties by lower loss, then the earlier one."""
    weights, best = run.network.state_dict(), run.best
    if not best:
        best |= {"epoch": [None] * len(measured), "score": [(-math.inf, -math.inf)] * len(measured)}
        best["weights"] = {key: value.detach().clone() for key, value in weights.items()}
    better = [
        trial
        for trial, (loss, accuracy) in enumerate(measured)
        if run.active[trial] and math.isfinite(loss) and (accuracy, -loss) > tuple(best["score"][trial])
    ]
    for trial in better:
        best["epoch"][trial], best["score"][trial] = run.epoch, (measured[trial][1], -measured[trial][0])
    for key, value in weights.items() if better else ():
        stacking.copy_rows(value, best["weights"][key], better, len(measured))


def checkpoint_rule(every: str | int) -> Callable[[int], bool]:
    """Whether to save before a step: each `every` steps, or when that much time has passed since the last."""
    if isinstance(every, int):
        return lambda step: step > 0 and step % every == 0
    seconds, last = interval(every), time.monotonic()

    def due(_step: int) -> bool:
        nonlocal last
        if time.monotonic() - last < seconds:
            return False
        last = time.monotonic()
        return True

    return due


def interval(every: str) -> int:
    """Seconds of '60s', '10m' or '2h'."""
    return int(every[:-1]) * {"s": 1, "m": 60, "h": 3600}[every[-1]]


def checkpoints(every: str | int, steps: int, seconds: float) -> int:
    """How many checkpoints a training of so many steps and seconds writes."""
    return steps // every if isinstance(every, int) else int(seconds // interval(every))


def ends(run: StackState) -> dict[str, Any]:
    """The current end of the logs of each unfinished trial."""
    trials = zip(run.trials, run.logs, strict=True)
    return {trial.name: runs.log_positions(logs) for trial, logs in trials if not runs.has_result(logs)}


def save(run: StackState) -> None:
    """The checkpoint of this step: everything that cannot be computed again, and where the logs end."""
    mark_diverged(run, run.step)
    state = {
        "step": run.step,
        "best": run.best,
        "diverged": run.diverged,
        "logs": run.ends or ends(run),
        "network": run.network.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    checkpoint.save_checkpoint(run.checkpoint_path, state)
