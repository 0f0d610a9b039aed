"""Gradient correlation: similarity of the gradients of different inputs (Balduzzi et al. 2017, arXiv:1702.08591).

Shapes: B batch, C x H x W image.
"""

import torch
from torch import Tensor, nn

from resexp.networks import Network
from resexp.probes.copies import float64_copy
from resexp.runs import GradientCorrelationRow


def gradient_correlation(network: Network, x: Tensor) -> GradientCorrelationRow:
    """Number, mean and SD of cos(d logit_0 / dx_i, d logit_0 / dx_j) over the pairs i < j of the inputs x (B, C, H, W).

    Inputs with a gradient of 0 (all units dead) are left out; without any pair, the values are nan. sd is the SD over pairs.
    Pairs share inputs, so no standard error follows from it.
    """
    gradients = input_gradients(network, x)
    lengths = torch.linalg.vector_norm(gradients, dim=1)
    has_direction = (lengths > 0) & lengths.isfinite()
    directions = gradients[has_direction] / lengths[has_direction, None]
    first, second = torch.triu_indices(len(directions), len(directions), offset=1, device=directions.device)
    cosines = (directions @ directions.T)[first, second]
    mean = cosines.mean()
    sd = (cosines - mean).square().mean().sqrt().item()
    return GradientCorrelationRow(pairs=len(cosines), gradient_correlation=mean.item(), sd=sd)


def input_gradients(network: Network, x: Tensor) -> Tensor:
    """d logit_0(x_i) / dx_i of each input, (B, C H W) in float64, with constant batch norm statistics.

    The statistics are those of this batch, and constants in the backward pass. Otherwise every logit would depend on every
    input. The gradients of a batch would sum to 0 after the first batch norm, and the mean cosine would be -1 / (B - 1) at any
    depth.
    """
    network = float64_copy(network).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.register_forward_pre_hook(_use_batch_stats)
    inputs = x.detach().to(torch.float64, copy=True).requires_grad_()
    (gradients,) = torch.autograd.grad(network(inputs)[:, 0].sum(), inputs)
    return gradients.flatten(1)


@torch.no_grad()
def _use_batch_stats(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    """Replaces running statistics with those of the batch; in eval mode they are constants for autograd."""
    (x,) = inputs
    axes = [axis for axis in range(x.ndim) if axis != 1]
    norm.running_mean, norm.running_var = x.mean(axes), x.var(axes, correction=0)
