"""The end of a stack: the test part is read, once, and every trial gets its predictions, weights and result."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from resexp import checkpoint, runs, stacking
from resexp.datasets import Images
from resexp.training.data import test_images
from resexp.training.measures import dead_layers, evaluate, logits_of, outcome, slope_at
from resexp.training.state import StackState, mark_diverged

Scores = tuple[float | None, float | None]  # loss, accuracy


def evaluate_and_save(run: StackState, stop: Callable[[], bool]) -> None:
    """Writes what remains of every trial that has no result yet.

    Raises:
        Stopped: `stop()` was true during an evaluation; the network has its final weights, and no result is written.
    """
    trials, network = len(run.trials), run.network
    test = test_images(run.trials[0].settings.data, str(run.training_data.shift.device))
    mark_diverged(run, run.step)
    unfinished = [trial for trial, logs in enumerate(run.logs) if not runs.has_result(logs)]
    save_weights(run, unfinished, network.state_dict(), "weights.pt")
    parts = list(logits_of(network, test, run.training_data, trials, stop))
    logits = torch.cat([part for part, _ in parts], dim=1)
    best: list[Scores] = [(None, None)] * trials
    if run.best:
        chosen = [trial for trial in unfinished if run.best["epoch"][trial] is not None]
        save_weights(run, chosen, run.best["weights"], "best.pt")
        last = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(run.best["weights"])
        try:
            measured = evaluate(network, test, run.training_data, trials, stop)
        finally:
            network.load_state_dict(last)
        best = [measured[trial] if trial in chosen else (None, None) for trial in range(trials)]
    for trial in unfinished:
        finish(run, trial, logits[trial], test, best[trial])


def save_weights(run: StackState, trials: list[int], weights: stacking.StateDict, name: str) -> None:
    for trial in trials:
        checkpoint.save_tensors(
            run.logs[trial] / name, stacking.unstack(weights, run.single_state_dict, len(run.trials), trial)
        )


def finish(run: StackState, trial: int, logits: Tensor, test: Images, best: Scores) -> None:
    """predictions.csv.gz and result.json of one trial, from its logits on the test part."""
    logs, diverged = run.logs[trial], run.diverged[trial]
    measured = {key: float(value) for key, value in runs.read_rows(logs / "metrics.csv")[-1].items()}
    sound = diverged < 0 and math.isfinite(measured["train_loss"])
    accuracy, loss = predict(run, trial, logits, test) if sound else (None, None)
    ended = outcome(measured["train_accuracy"], measured["train_loss"], run.training_data.sample.labels.cpu())
    probes_read = run.trials[trial].settings.gradients.probes
    starts, ends = (slope_at(logs, step, run.network) for step in (0, run.step_counts.end_of_first_epoch))
    runs.write_result(
        logs,
        {
            "trial": run.trials[trial].name,
            "arm": run.trials[trial].arm,
            "seed": run.trials[trial].seed,
            "status": "finished",
            "outcome": ended if sound else "diverged",
            "test_accuracy": accuracy,
            "test_loss": loss,
            "best_test_accuracy": best[1],
            "best_test_loss": best[0],
            "best_epoch": run.best["epoch"][trial] if run.best else None,
            **{key: measured[key] if sound else None for key in ("train_accuracy", "train_loss", "val_accuracy")},
            "slope_start": starts,
            "slope_end": ends,
            **({"dead_layers": dead_layers(logs)} if "gradient_norm" in probes_read else {}),
            **run.costs[trial],
            "steps": run.step if diverged < 0 else diverged,
        },
    )


def predict(run: StackState, trial: int, logits: Tensor, test: Images) -> tuple[float, float]:
    """(accuracy, loss) on the test set; writes predictions.csv.gz, with class names if the images have files."""
    labels = test.labels
    chosen = logits.argmax(1)
    shares = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    columns = [range(len(labels)), labels.tolist(), chosen.tolist(), shares.tolist()]
    if test.files:
        columns += [*([test.classes[n] for n in column] for column in columns[1:3]), test.files]
    more = runs.MORE_COLUMNS["predictions.csv.gz"] if test.files else ()
    runs.write_rows(run.logs[trial] / "predictions.csv.gz", zip(*columns, strict=True), more)
    return (chosen == labels).double().mean().item(), functional.cross_entropy(logits, labels).item()
