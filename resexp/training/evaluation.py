"""Final evaluation of a stack: predictions on the test set, weights and result of every trial."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from resexp import checkpoint, runs, stacking
from resexp.datasets import Images
from resexp.training.measures import dead_layers, distance_at, evaluate, logits_of, outcome, slope_at
from resexp.training.state import StackState, mark_diverged

Scores = tuple[float | None, float | None]  # loss, accuracy


def evaluate_and_save(state: StackState, stop: Callable[[], bool]) -> None:
    """Evaluates every trial without a result on the test set, and writes its weights, predictions and result."""
    trials, network = len(state.trials), state.network
    test = state.test_images()
    mark_diverged(state, state.step)
    unfinished = [trial for trial, trial_path in enumerate(state.trial_paths) if not runs.has_result(trial_path)]
    save_weights(state, unfinished, network.state_dict(), "weights.pt")
    batches = list(logits_of(network, test, state.training_data, trials, stop))
    logits = torch.cat([batch for batch, _ in batches], dim=1)
    best_scores: list[Scores] = [(None, None)] * trials
    if state.best_epochs:
        with_best = [trial for trial in unfinished if state.best_epochs["epoch"][trial] is not None]
        save_weights(state, with_best, state.best_epochs["weights"], "best.pt")
        final = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(state.best_epochs["weights"])
        try:
            scores = evaluate(network, test, state.training_data, trials, stop)
        finally:
            network.load_state_dict(final)
        best_scores = [scores[trial] if trial in with_best else (None, None) for trial in range(trials)]
    for trial in unfinished:
        save_result(state, trial, logits[trial], test, best_scores[trial])


def save_weights(state: StackState, trials: list[int], state_dict: stacking.StateDict, name: str) -> None:
    for trial in trials:
        checkpoint.save_tensors(
            state.trial_paths[trial] / name, stacking.unstack(state_dict, state.single_state_dict, len(state.trials), trial)
        )


def save_result(state: StackState, trial: int, logits: Tensor, test: Images, best: Scores) -> None:
    """Writes predictions.csv.gz and result.json of one trial, from its logits on the test set."""
    trial_path, diverged = state.trial_paths[trial], state.diverged[trial]
    metrics = {key: float(value) for key, value in runs.read_rows(trial_path / "metrics.csv")[-1].items()}
    is_finite = diverged < 0 and math.isfinite(metrics["train_loss"])
    accuracy, loss = save_predictions(state, trial, logits, test) if is_finite else (None, None)
    final_outcome = outcome(metrics["train_accuracy"], metrics["train_loss"], state.training_data.sample.labels.cpu())
    slope_start, slope_end = (slope_at(trial_path, step, state.network) for step in (0, state.step_counts.end_of_first_epoch))
    runs.write_result(
        trial_path,
        {
            "trial": state.trials[trial].name,
            "arm": state.trials[trial].arm,
            "seed": state.trials[trial].seed,
            "status": "finished",
            "outcome": final_outcome if is_finite else "diverged",
            "test_accuracy": accuracy,
            "test_loss": loss,
            "best_test_accuracy": best[1],
            "best_test_loss": best[0],
            "best_epoch": state.best_epochs["epoch"][trial] if state.best_epochs else None,
            **{key: metrics[key] if is_finite else None for key in ("train_accuracy", "train_loss", "val_accuracy")},
            "slope_start": slope_start,
            "slope_end": slope_end,
            "distance_start": distance_at(trial_path, 0),
            **({"dead_layers": dead_layers(trial_path)} if "gradient_norm" in state.probes else {}),
            **state.costs[trial],
            "steps": state.step if diverged < 0 else diverged,
        },
    )


def save_predictions(state: StackState, trial: int, logits: Tensor, test: Images) -> tuple[float, float]:
    """(accuracy, loss) on the test set; writes predictions.csv.gz, with class names if the images have files."""
    labels = test.labels
    predictions = logits.argmax(1)
    probabilities = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    columns = [range(len(labels)), labels.tolist(), predictions.tolist(), probabilities.tolist()]
    if test.files:
        columns += [*([test.classes[n] for n in column] for column in columns[1:3]), test.files]
    runs.write_rows(state.trial_paths[trial] / "predictions.csv.gz", list(zip(*columns, strict=True)))
    return (predictions == labels).double().mean().item(), functional.cross_entropy(logits, labels).item()
