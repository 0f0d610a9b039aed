"""One forward and backward pass, as in a training step: the only one in the package."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from resexp.networks import Noise
from resexp.training.recipe import autocast


def forward_backward(
    network: Callable[..., Tensor],
    x: Tensor,
    labels: Tensor,
    boundaries: list[Tensor] | None = None,
    noise: Sequence[Noise] = (),
    *,
    trials: int = 1,
    precision: str = "float32",
    label_smoothing: float = 0.0,
    boundaries_only: bool = False,
) -> tuple[Tensor, Tensor]:
    """(loss of each example of each trial (T B,), logits). The gradients are those of each trial's mean loss.

    Appends the block boundaries to `boundaries`, with their gradients. boundaries_only: the weights get no gradients.
    """
    with autocast(precision, x.device):
        logits = network(x, boundaries, noise)
    for boundary in boundaries or ():
        boundary.retain_grad()
    losses = functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), reduction="none", label_smoothing=label_smoothing
    )
    weights = torch.full_like(losses, trials / len(losses))
    torch.autograd.backward(losses, weights, inputs=boundaries if boundaries_only else None)
    return losses.detach(), logits.detach()
