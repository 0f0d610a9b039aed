"""Step probes: gradients and activations per layer, from the forward and backward pass of the training step.

Gradients are those of the mean loss over the B examples of a trial's batch, before clipping and without weight decay.
Norms are accumulated in float64, because squares of 1e-25 underflow in float32. In a stack of T > 1 trials, the first axis of
every tensor is T.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from resexp.networks import Network, boundary_names, weighted_layers
from resexp.probes.probe import Finisher
from resexp.runs import EpsBoundRow, GradientRow, SignalRow


def norms(tensors: Sequence[Tensor], trials: int = 1) -> list[list[float]]:
    """Frobenius norms of each trial's tensors, [trial][tensor], accumulated in float64, in one transfer from the device."""
    if not tensors:
        return [[] for _ in range(trials)]
    axes = [None if trials == 1 else tuple(range(1, t.ndim)) for t in tensors]  # no reshape: it would copy channels-last
    values = [torch.linalg.vector_norm(t, dim=dim, dtype=torch.float64) for t, dim in zip(tensors, axes, strict=True)]
    norms_by_trial: list[list[float]] = torch.stack(values).view(len(tensors), trials).T.tolist()
    return norms_by_trial


@torch.no_grad()
def gradient_norm(
    network: Network, _boundaries: Sequence[Tensor], trials: int, _optimizer: Optimizer | None = None
) -> Finisher:
    """The weights of each weighted layer and their gradient.

    For the weight tensor only, without the bias. update_ratio = |W_{t+1} - W_t| / |W_t|, and nan if |W_t| = 0.
    """
    layers = weighted_layers(network)
    sizes = [layer.weight.numel() // trials for layer in layers]
    before = [layer.weight.detach().clone() for layer in layers]
    grads = [layer.weight.grad for layer in layers]
    grad_norms = norms([torch.zeros_like(w) if g is None else g for w, g in zip(before, grads, strict=True)], trials)
    weight_norms = norms(before, trials)

    @torch.no_grad()
    def finish() -> list[list[GradientRow]]:
        updates = norms([layer.weight - old for layer, old in zip(layers, before, strict=True)], trials)
        return [
            [
                GradientRow(
                    index=layer.index,
                    layer=layer.name,
                    parameters=size,
                    weight_grad_norm=grad,
                    weight_grad_rms=grad / math.sqrt(size),
                    weight_norm=weight,
                    update_ratio=update / weight if weight else math.nan,
                )
                for layer, size, grad, weight, update in zip(layers, sizes, *columns, strict=True)
            ]
            for columns in zip(grad_norms, weight_norms, updates, strict=True)
        ]

    return finish


@torch.no_grad()
def signal(network: Network, boundaries: Sequence[Tensor], trials: int, _optimizer: Optimizer | None = None) -> Finisher:
    """The activations at each block boundary x_l of shape (B, ...), their gradients, and the distance between examples.

    activation_grad_norm = sqrt(B) |dL/dx_l|_F: the root mean square over examples of the gradient norm of one example.
    """
    grads = [x.grad if x.grad is not None else torch.zeros_like(x) for x in boundaries]
    root_sizes = [math.sqrt(x.numel() // trials) for x in boundaries]
    root_batch = math.sqrt(boundaries[0].shape[0 if trials == 1 else 1])
    activations = [x.detach() for x in boundaries]
    columns = zip(norms(activations, trials), norms(grads, trials), cosine_distances(activations, trials), strict=True)
    rows = [
        [
            SignalRow(
                index=index,
                block=name,
                activation_rms=norm / root_size,
                activation_grad_norm=root_batch * grad_norm,
                activation_cosine_distance=distance,
            )
            for index, (name, root_size, norm, grad_norm, distance) in enumerate(
                zip(boundary_names(network), root_sizes, *trial_columns, strict=True)
            )
        ]
        for trial_columns in columns
    ]
    return lambda: rows


@torch.no_grad()
def cosine_distances(activations: Sequence[Tensor], trials: int = 1) -> list[list[float]]:
    """1 minus the mean cosine similarity over pairs of different examples, [trial][tensor], for tensors of shape (B, ...).

    0 if all inputs look alike, nan if an activation is 0. It equals B / (B - 1) times the mean of |u_i - u|^2 over the unit
    vectors u_i of the examples, where u is their mean. Unlike 1 minus a mean of cosines near 1, this has no cancellation.
    """
    distances = []
    for x in activations:
        example = 0 if trials == 1 else 1
        axes = tuple(range(example + 1, x.ndim))  # no reshape: it would copy channels-last
        units = x / torch.linalg.vector_norm(x, dim=axes, keepdim=True, dtype=torch.float64)
        units -= units.mean(example, keepdim=True)
        squares = torch.linalg.vector_norm(units, dim=(example, *axes)).square()
        distances.append(squares / (units.shape[example] - 1))
    if not distances:
        return [[] for _ in range(trials)]
    distances_by_trial: list[list[float]] = torch.stack(distances).view(len(distances), trials).T.tolist()
    return distances_by_trial


def eps_bound(network: Network, _boundaries: Sequence[Tensor], trials: int, optimizer: Optimizer | None = None) -> Finisher:
    """One row for each weighted layer: the share of its weights with sqrt(v_hat) below Adam's eps.

    v_hat is the bias-corrected mean of squared gradients in the denominator of the update (arXiv:1412.6980 algorithm 1). The
    gradients are those that the optimizer receives: after clipping, and for adam with weight decay. If sqrt(v_hat) is below
    eps, eps reduces the update of the weight by more than half. A weight that never had a gradient has v = 0. Optimizers
    without eps give no rows.
    """
    layers = weighted_layers(network)
    groups = [group for group in (optimizer.param_groups if optimizer else ()) if "eps" in group]
    group_of = {parameter: group for group in groups for parameter in group["params"]}

    @torch.no_grad()
    def finish() -> list[list[EpsBoundRow]]:
        if optimizer is None or not groups:
            return [[] for _ in range(trials)]
        shares = [below_eps(layer.weight, group_of[layer.weight], optimizer, trials) for layer in layers]
        columns = torch.stack(shares).T.tolist()
        return [
            [EpsBoundRow(layer.index, layer.name, share) for layer, share in zip(layers, column, strict=True)]
            for column in columns
        ]

    return finish


def below_eps(weight: Tensor, group: dict[str, Any], optimizer: Optimizer, trials: int) -> Tensor:
    """The share of the elements of a weight with sqrt(v_hat) < eps for each trial, (T,)."""
    moments = optimizer.state.get(weight)
    if not moments:
        return torch.ones(trials, dtype=torch.float64, device=weight.device)
    corrected = moments["exp_avg_sq"].double() / (1 - group["betas"][1] ** moments["step"].double())
    is_below: Tensor = corrected.sqrt() < group["eps"]
    return is_below.reshape(trials, -1).double().mean(1)
