"""Shattered gradients: how alike the gradients of different inputs are (Balduzzi et al. 2017, arXiv:1702.08591).

Shapes: B batch, C x H x W image.
"""

import torch
from torch import Tensor, nn

from resexp.networks import Network
from resexp.probes.copies import float64_copy

Cosines = tuple[int, float, float]


def gradient_correlation(network: Network, x: Tensor) -> Cosines:
    """(pairs, mean, sd) of cos(d logit_0 / dx_i, d logit_0 / dx_j) over the pairs i < j of the inputs x (B, C, H, W).

    An input without a gradient (all units dead) has no direction and is in no pair; nan where no pair is left. sd is that of
    the pairs, which share inputs: no standard error comes of it.
    """
    gradients = input_gradients(network, x)
    lengths = torch.linalg.vector_norm(gradients, dim=1)
    kept = (lengths > 0) & lengths.isfinite()
    units = gradients[kept] / lengths[kept, None]
    first, second = torch.triu_indices(len(units), len(units), offset=1, device=units.device)
    cosines = (units @ units.T)[first, second]
    mean = cosines.mean()
    return len(cosines), mean.item(), (cosines - mean).square().mean().sqrt().item()


def input_gradients(network: Network, x: Tensor) -> Tensor:
    """d logit_0(x_i) / dx_i of each input, (B, C H W) in float64, the statistics of batch norms held constant.

    They are measured in the forward pass and constants in the backward pass. Otherwise every logit depends on every input,
    the gradients of a batch sum to 0 behind the first norm, and the mean cosine is -1 / (B - 1) at any depth.
    """
    held = float64_copy(network).eval()
    for part in held.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.register_forward_pre_hook(_measure)
    inputs = x.detach().to(torch.float64, copy=True).requires_grad_()
    (gradients,) = torch.autograd.grad(held(inputs)[:, 0].sum(), inputs)
    return gradients.flatten(1)


@torch.no_grad()
def _measure(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    """Puts a batch's own statistics in the place of the running ones, which a norm in eval mode takes for constants."""
    (x,) = inputs
    axes = [axis for axis in range(x.ndim) if axis != 1]
    norm.running_mean, norm.running_var = x.mean(axes), x.var(axes, correction=0)
