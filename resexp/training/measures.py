"""Measurements outside the training step: losses, accuracies, outcomes, slopes, dead layers."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from resexp import datasets, probes, runs
from resexp.datasets import Images
from resexp.networks import Network, boundary_stages
from resexp.runs import Outcome
from resexp.training.data import TrainingData

EVALUATION_BATCH = 2_000
FIRST_STEP_WITH_ALL_GRADIENTS = 2  # with weights initialized to 0, some layers have no gradient in earlier steps


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """Raised by functions with an argument `stop` if `stop()` is true. The computation is discarded, and nothing is written."""


def never() -> bool:
    """The default stop condition: never."""
    return False


@torch.no_grad()
def logits_of(
    network: Network, images: Images, training_data: TrainingData, trials: int = 1, stop: Callable[[], bool] = never
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (float64 logits (T, B, K), labels (B,)) of each batch, in eval mode and without augmentation; restores the mode.

    `stop` is called before each batch, if there are several.
    """
    mode, size = network.training, max(1, EVALUATION_BATCH // trials)
    has_several_batches = len(images) > size
    network.eval()
    for start in range(0, len(images), size):
        if has_several_batches and stop():
            network.train(mode)
            raise Stopped
        x = datasets.normalize(images.pixels[start : start + size], training_data.shift, training_data.scale)
        logits = network(x if trials == 1 else x.expand(trials, *x.shape))
        yield logits.reshape(trials, len(x), -1).to("cpu", torch.float64), images.labels[start : start + size].cpu()
    network.train(mode)


def evaluate(
    network: Network, images: Images, training_data: TrainingData, trials: int = 1, stop: Callable[[], bool] = never
) -> list[tuple[float, float]]:
    """(mean cross-entropy without label smoothing, accuracy in [0, 1]) of each trial; nan if there are no images."""
    if not len(images):
        return [(math.nan, math.nan)] * trials
    losses, correct = torch.zeros(trials, dtype=torch.float64), torch.zeros(trials, dtype=torch.float64)
    for logits, labels in logits_of(network, images, training_data, trials, stop):
        example_losses = functional.cross_entropy(logits.flatten(0, 1), labels.repeat(trials), reduction="none")
        losses += example_losses.view(trials, -1).sum(1)
        correct += (logits.argmax(2) == labels).sum(1)
    return list(zip((losses / len(images)).tolist(), (correct / len(images)).tolist(), strict=True))


def outcome(train_accuracy: float, train_loss: float, labels: Tensor) -> Outcome:
    """Whether a network is above chance on the training sample with these labels.

    Above chance has two criteria. The accuracy must exceed the share p of the most frequent class by more than three binomial
    standard errors. And the loss must be below that of guessing, the entropy of the class frequencies (ln K if K classes are
    equally frequent), unless the accuracy is at least 2 p. A network can be far more accurate than guessing and still have a
    high loss, because it is overconfident where it is wrong.
    """
    shares = torch.bincount(labels).double() / len(labels)
    chance_accuracy, chance_loss = shares.max().item(), torch.special.entr(shares).sum().item()
    is_accurate = train_accuracy > chance_accuracy + 3 * math.sqrt(chance_accuracy * (1 - chance_accuracy) / len(labels))
    is_informed = train_loss < chance_loss or train_accuracy >= 2 * chance_accuracy
    return Outcome.ABOVE_CHANCE if is_accurate and is_informed else Outcome.AT_CHANCE


def dead_layers(trial_path: Path) -> list[str]:
    """Names of the weighted layers whose weight gradient is exactly 0 at every logging step of gradients.csv.

    Layers after a factor that is 0 at initialization have no gradient until it has changed: in the first step (zeroed
    branches, rezero) or in the first two (fixup, which also zeroes the classifier). A log that ends there shows no dead layers.
    """
    rows = runs.read_rows(trial_path / "gradients.csv")
    if not rows or int(rows[-1]["step"]) < FIRST_STEP_WITH_ALL_GRADIENTS:
        return []
    alive = {row["layer"] for row in rows if float(row["weight_grad_norm"]) != 0}
    return [layer for layer in dict.fromkeys(row["layer"] for row in rows) if layer not in alive]


def distance_at(trial_path: Path, step: int) -> float:
    """activation_cosine_distance at the last block boundary, from signals.csv; nan if the log does not have it."""
    rows = [row for row in runs.read_rows(trial_path / "signals.csv") if int(row["step"]) == step]
    return float(rows[-1].get("activation_cosine_distance", math.nan)) if rows else math.nan


def slope_at(trial_path: Path, step: int, network: Network) -> float:
    """The slope at a logging step, computed from signals.csv; nan if the log has no rows of that step."""
    rows = [row for row in runs.read_rows(trial_path / "signals.csv") if int(row["step"]) == step]
    if not rows:
        return math.nan
    return probes.slope([float(row["activation_grad_norm"]) for row in rows], boundary_stages(network))
