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

EVALUATION_BATCH = 1_000


@torch.no_grad()
def logits_of(network: Network, images: Images, material: Material) -> Iterator[tuple[Tensor, Tensor]]:
    """(float64 logits, labels) batch by batch, in eval mode, never augmented; the mode is restored."""
    mode = network.training
    network.eval()
    for start in range(0, len(images), EVALUATION_BATCH):
        x = datasets.normalised(images.pixels[start : start + EVALUATION_BATCH], material.shift, material.scale)
        logits = network(x)
        yield logits.to("cpu", torch.float64), images.labels[start : start + EVALUATION_BATCH].cpu()
    network.train(mode)


def evaluate(network: Network, images: Images, material: Material) -> tuple[float, float]:
    """(mean cross-entropy without smoothing, accuracy in [0, 1]); nan for no images."""
    loss = correct = 0.0
    for logits, labels in logits_of(network, images, material):
        loss += functional.cross_entropy(logits, labels, reduction="sum").item()
        correct += (logits.argmax(1) == labels).sum().item()
    return (loss / len(images), correct / len(images)) if len(images) else (math.nan, math.nan)


def outcome(train_accuracy: float, labels: Tensor) -> str:
    """`stuck` when the final training accuracy is within three binomial standard errors of the most frequent class."""
    frequent = torch.bincount(labels).max().item() / len(labels)
    return "stuck" if train_accuracy <= frequent + 3 * math.sqrt(frequent * (1 - frequent) / len(labels)) else "trained"


def slope_at(logs: Path, step: int, network: Network) -> float:
    """The slope of the reading at `step` as signals.csv has it; nan where there is none."""
    rows = [row for row in runs.read_rows(logs / "signals.csv") if int(row["step"]) == step]
    if not rows:
        return math.nan
    return probes.slope([float(row["activation_grad_norm"]) for row in rows], boundary_stages(network))
