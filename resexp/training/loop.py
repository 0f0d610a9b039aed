"""The training loop, readable from top to bottom.

`step` counts completed optimizer updates. Everything that is written for step s follows checkpoint s, so a resume from s
cuts every log back to the rows before s and goes on.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resexp import checkpoint, probes, runs
from resexp.config import Trial
from resexp.networks import Network, multiply_adds
from resexp.training.material import DTYPES, Lengths, Material, batches, lengths, material, test_images
from resexp.training.measures import evaluate, logits_of, outcome, slope_at
from resexp.training.recipe import build, draws, learning_rate, make_optimizer, precision_of


@dataclass
class Run:
    """One trial in training: what it is, what it trains on, where it writes, how far it has got."""

    trial: Trial
    material: Material
    length: Lengths
    network: Network
    optimizer: torch.optim.Optimizer
    logs: Path
    saved: Path
    step: int = 0
    best: dict[str, Any] | None = None

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return self.step // self.length.per_epoch


def never() -> bool:
    """The answer of a caller that never wants training to stop early."""
    return False


def run(trial: Trial, folder: Path, cohort: str, device: str, stop: Callable[[], bool] = never) -> str:
    """Trains one trial to its result and returns its state: finished, or interrupted when `stop()` said so.

    Continues from the cohort's checkpoint if there is one.

    Raises:
        DataError: images missing or damaged.
        RunsError: a damaged checkpoint.
        OSError: nowhere to write.
    """
    begun = begin(trial, folder, cohort, device)
    ended = loop(begun, stop)
    if ended == "interrupted":
        runs.set_status(begun.logs, ended, step=begun.step, steps=begun.length.steps)
        return ended
    conclude(begun, ended)
    begun.saved.unlink(missing_ok=True)
    return "finished"


def begin(trial: Trial, folder: Path, cohort: str, device: str) -> Run:
    """The trial at its start, or where its checkpoint left it, with logs that go exactly that far."""
    place = torch.device(device)
    found = material(trial.settings.data, device, DTYPES[trial.settings.precision])
    network = build(trial, found.input_shape, found.classes).to(place)
    optimizer = make_optimizer(network, trial.settings.training)
    logs, saved = runs.trial_folder(folder, trial.name), runs.checkpoint_file(folder, cohort)
    begun = Run(trial, found, lengths(trial.settings, len(found.training)), network, optimizer, logs, saved)
    state = checkpoint.load(saved, place)
    if state is None:
        runs.clear(logs)
    else:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        begun.step, begun.best = state["step"], state["best"]
        for name in runs.LOGS:
            runs.cut(logs / name, begun.step)
    runs.write_text(logs / "trial.yaml", runs.to_yaml(trial.model_dump(mode="json")))
    return begun


def loop(run: Run, stop: Callable[[], bool]) -> str:
    """Trains to the end: trained, diverged or interrupted."""
    steps, per_epoch = run.length.steps, run.length.per_epoch
    stream = batches(run.trial, run.material, per_epoch, run.step)
    due, clock = checkpoint_rule(run.trial.settings.training.checkpoint_every), time.perf_counter()
    run.network.train()
    for step in range(run.step, steps + 1):
        run.step = step
        stopping = stop()
        if stopping or due(step):
            save(run)
        if stopping:
            return "interrupted"
        if step % per_epoch == 0 or step == steps:
            clock = close_epoch(run, clock)
        if step < steps and not math.isfinite(update(run, *next(stream))):
            return "diverged"
    return "trained"


def update(run: Run, x: Tensor, labels: Tensor) -> float:
    """One optimizer update and, when it is due, its reading; the mean loss of the batch. Nothing moves if it is not finite."""
    recipe, names = run.trial.settings.training, run.trial.settings.gradients.probes
    boundaries: list[Tensor] | None = [] if names and run.length.reads(run.step) else None
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, run.step, run.length.steps)
    with precision_of(run.trial.settings, x.device):
        logits = run.network(x, boundaries, draws(run.network, run.trial.seed, run.step, x))
    loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    if not math.isfinite(value := loss.item()):
        return value
    for boundary in boundaries or ():
        boundary.retain_grad()
    run.optimizer.zero_grad()
    torch.autograd.backward(loss)
    reading = probes.begin(names, run.network, boundaries) if boundaries is not None else None
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(run.network.parameters(), recipe.clip_norm)
    run.optimizer.step()
    if reading is not None:
        for name, rows in probes.end(reading).items():
            runs.append(run.logs / runs.PROBE_FILES[name], [(run.step, run.epoch, *row) for row in rows])
        runs.set_status(run.logs, "running", step=run.step, steps=run.length.steps)
    return value


def close_epoch(run: Run, clock: float) -> float:
    """Measures and logs, remembers the best epoch; returns the time from which the next epoch counts."""
    trained = time.perf_counter()
    measured = [evaluate(run.network, part, run.material) for part in (run.material.sample, run.material.validation)]
    (_, _), (loss, accuracy) = measured
    rate = learning_rate(run.trial.settings.training, run.step, run.length.steps)
    runs.append(run.logs / "metrics.csv", [(run.step, run.epoch, rate, *measured[0], *measured[1])])
    if math.isfinite(loss) and (run.best is None or (accuracy, -loss) > (run.best["accuracy"], -run.best["loss"])):
        weights = {key: value.detach().clone() for key, value in run.network.state_dict().items()}
        run.best = {"epoch": run.epoch, "accuracy": accuracy, "loss": loss, "weights": weights}
    now = time.perf_counter()
    runs.append(run.logs / "timing.csv", [(run.step, run.epoch, trained - clock if run.step else 0.0, now - trained)])
    runs.set_status(run.logs, "running", step=run.step, steps=run.length.steps)
    return now


def checkpoint_rule(every: str | int) -> Callable[[int], bool]:
    """Whether to save before a step: each `every` steps, or when that much time has passed since the last."""
    if isinstance(every, int):
        return lambda step: step > 0 and step % every == 0
    seconds = int(every[:-1]) * {"s": 1, "m": 60, "h": 3600}[every[-1]]
    last = time.monotonic()

    def due(_step: int) -> bool:
        nonlocal last
        if time.monotonic() - last < seconds:
            return False
        last = time.monotonic()
        return True

    return due


def save(run: Run) -> None:
    """The checkpoint of this step: everything that cannot be computed again."""
    weights, optimizer = run.network.state_dict(), run.optimizer.state_dict()
    checkpoint.save(run.saved, {"step": run.step, "best": run.best, "network": weights, "optimizer": optimizer})


def conclude(run: Run, ended: str) -> None:
    """Reads the test part, once, and writes predictions, weights and result.json."""
    network, logs = run.network, run.logs
    test = test_images(run.trial.settings.data, str(run.material.shift.device))
    checkpoint.save(logs / "weights.pt", network.state_dict())
    last = final = dict[str, float]()
    measured = {key: float(value) for key, value in runs.read_rows(logs / "metrics.csv")[-1].items()}
    if not math.isfinite(measured["train_loss"]):
        ended = "diverged"
    if ended == "trained":
        last, final = tested(run), measured
        ended = outcome(measured["train_accuracy"], run.material.sample.labels.cpu())
    best: tuple[float | None, float | None] = (None, None)
    if run.best:
        checkpoint.save(logs / "best.pt", run.best["weights"])
        network.load_state_dict(run.best["weights"])
        best = evaluate(network, test, run.material)
    starts, ends = (slope_at(logs, step, network) for step in (0, run.length.end_of_first_epoch))
    runs.finish(
        logs,
        {
            "trial": run.trial.name,
            "arm": run.trial.arm,
            "seed": run.trial.seed,
            "status": "finished",
            "outcome": ended,
            "test_accuracy": last.get("accuracy"),
            "test_loss": last.get("loss"),
            "best_test_accuracy": best[1],
            "best_test_loss": best[0],
            "best_epoch": run.best["epoch"] if run.best else None,
            **{key: final.get(key) for key in ("train_accuracy", "train_loss", "val_accuracy")},
            "slope_start": starts,
            "slope_end": ends,
            "parameters": sum(p.numel() for p in network.parameters()),
            "multiply_adds": multiply_adds(network, run.material.input_shape),
            "steps": run.step,
        },
    )


def tested(run: Run) -> dict[str, float]:
    """Loss and accuracy on the test part; writes predictions.csv.gz."""
    test = test_images(run.trial.settings.data, str(run.material.shift.device))
    found = list(logits_of(run.network, test, run.material))
    logits, labels = torch.cat([logits for logits, _ in found]), torch.cat([labels for _, labels in found])
    chosen = logits.argmax(1)
    shares = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    rows = zip(range(len(labels)), labels.tolist(), chosen.tolist(), shares.tolist(), strict=True)
    runs.write_rows(run.logs / "predictions.csv.gz", rows)
    return {
        "loss": functional.cross_entropy(logits, labels).item(),
        "accuracy": (chosen == labels).double().mean().item(),
    }
