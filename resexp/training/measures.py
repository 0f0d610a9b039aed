"""What is measured of a network outside the training step: losses, accuracies, outcomes, slopes."""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from resexp import datasets, probes, runs
from resexp.datasets import Images
from resexp.networks import Network, boundary_stages
from resexp.training.material import Material

EVALUATION_BATCH = 2_000
SETTLED = 2  # the first step at which every layer of a network that starts with zeros can have a gradient


@torch.no_grad()
def logits_of(network: Network, images: Images, material: Material, trials: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """(float64 logits (T, B, K), labels (B,)) batch by batch, in eval mode, never augmented; the mode is restored."""
    mode, size = network.training, max(1, EVALUATION_BATCH // trials)
    network.eval()
    for start in range(0, len(images), size):
        x = datasets.normalised(images.pixels[start : start + size], material.shift, material.scale)
        logits = network(x if trials == 1 else x.expand(trials, *x.shape))
        yield logits.reshape(trials, len(x), -1).to("cpu", torch.float64), images.labels[start : start + size].cpu()
    network.train(mode)


def evaluate(network: Network, images: Images, material: Material, trials: int = 1) -> list[tuple[float, float]]:
    """(mean cross-entropy without smoothing, accuracy in [0, 1]) of each trial; nan for no images."""
    if not len(images):
        return [(math.nan, math.nan)] * trials
    losses, correct = torch.zeros(trials, dtype=torch.float64), torch.zeros(trials, dtype=torch.float64)
    for logits, labels in logits_of(network, images, material, trials):
        each = functional.cross_entropy(logits.flatten(0, 1), labels.repeat(trials), reduction="none")
        losses += each.view(trials, -1).sum(1)
        correct += (logits.argmax(2) == labels).sum(1)
    return list(zip((losses / len(images)).tolist(), (correct / len(images)).tolist(), strict=True))


def outcome(train_accuracy: float, labels: Tensor) -> str:
    """`stuck` when the final training accuracy is within three binomial standard errors of the most frequent class."""
    frequent = torch.bincount(labels).max().item() / len(labels)
    return "stuck" if train_accuracy <= frequent + 3 * math.sqrt(frequent * (1 - frequent) / len(labels)) else "trained"


def dead_layers(logs: Path) -> list[str]:
    """Names of the weighted layers whose weight gradient is exactly 0 at every logging step of gradients.csv.

    Layers behind something that starts at 0 have no gradient until it has moved: in the first step (zeroed branches, rezero) or
    in the first two (fixup, which also zeroes the classifier). A log that ends there shows no dead layers.
    """
    rows = runs.read_rows(logs / "gradients.csv")
    if not rows or int(rows[-1]["step"]) < SETTLED:
        return []
    alive = {row["layer"] for row in rows if float(row["weight_grad_norm"]) != 0}
    return [layer for layer in dict.fromkeys(row["layer"] for row in rows) if layer not in alive]


def slope_at(logs: Path, step: int, network: Network) -> float:
    """The slope of the reading at `step` as signals.csv has it; nan where there is none."""
    rows = [row for row in runs.read_rows(logs / "signals.csv") if int(row["step"]) == step]
    if not rows:
        return math.nan
    return probes.slope([float(row["activation_grad_norm"]) for row in rows], boundary_stages(network))
