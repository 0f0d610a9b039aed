"""The reading of a training step: gradients and signals per layer, from the step's own forward and backward.

A reading is begun after `backward()` and ended after `optimizer.step()`:

    reading = begin(probes, network, boundaries, trials, optimizer)
    optimizer.step()
    rows = end(reading)

Gradients are those of the mean loss over the B examples of a trial's batch, before clipping, weight decay not included.
Norms are accumulated in float64: squares of 1e-25 vanish in float32. Of a stack of T trials every tensor leads with T, of a
single one none does.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from resexp.networks import Network, boundary_names, weighted_layers

LogRow = tuple[int | str | float, ...]
End = Callable[[], list[list[LogRow]]]


@dataclass(frozen=True)
class Measurement:
    """What a reading has seen so far: for each probe the function that ends it."""

    ends: dict[str, End]
    trials: int


def begin(
    names: Sequence[str], network: Network, boundaries: Sequence[Tensor], trials: int = 1, optimizer: Optimizer | None = None
) -> Measurement:
    """Begins a reading after `backward()`; `boundaries` are x_0 .. x_L of this step with retained gradients.

    Of the probes named, those that read the step; `apart` runs the others.
    """
    found = [name for name in names if name in STEP_PROBES]
    return Measurement({name: STEP_PROBES[name](network, boundaries, trials, optimizer) for name in found}, trials)


def end(reading: Measurement) -> list[dict[str, list[LogRow]]]:
    """Ends a reading after `optimizer.step()`: of each trial the rows of each probe, without step and epoch."""
    found = {name: ends() for name, ends in reading.ends.items()}
    return [{name: rows[trial] for name, rows in found.items()} for trial in range(reading.trials)]


def norms(tensors: Sequence[Tensor], trials: int = 1) -> list[list[float]]:
    """Frobenius norms of each trial's tensors, [trial][tensor], accumulated in float64, fetched in one transfer."""
    if not tensors:
        return [[] for _ in range(trials)]
    axes = [None if trials == 1 else tuple(range(1, t.ndim)) for t in tensors]  # no reshape: it would copy channels-last
    each = [torch.linalg.vector_norm(t, dim=of, dtype=torch.float64) for t, of in zip(tensors, axes, strict=True)]
    found: list[list[float]] = torch.stack(each).view(len(tensors), trials).T.tolist()
    return found


@torch.no_grad()
def gradient_norm(network: Network, _boundaries: Sequence[Tensor], trials: int, _optimizer: Optimizer | None = None) -> End:
    """index, layer, parameters, weight_grad_norm, weight_grad_rms, weight_norm, update_ratio per weighted layer.

    Of the weight tensor only. update_ratio = |W_{t+1} - W_t| / |W_t|, nan where |W_t| = 0.
    """
    layers = weighted_layers(network)
    sizes = [layer.weight.numel() // trials for layer in layers]
    before = [layer.weight.detach().clone() for layer in layers]
    grads = [layer.weight.grad for layer in layers]
    grad_norms = norms([torch.zeros_like(w) if g is None else g for w, g in zip(before, grads, strict=True)], trials)
    weight_norms = norms(before, trials)

    @torch.no_grad()
    def ends() -> list[list[LogRow]]:
        updates = norms([layer.weight - old for layer, old in zip(layers, before, strict=True)], trials)
        return [
            [
                (layer.index, layer.name, size, grad, grad / math.sqrt(size), weight, update / weight if weight else math.nan)
                for layer, size, grad, weight, update in zip(layers, sizes, *columns, strict=True)
            ]
            for columns in zip(grad_norms, weight_norms, updates, strict=True)
        ]

    return ends


@torch.no_grad()
def signal(network: Network, boundaries: Sequence[Tensor], trials: int, _optimizer: Optimizer | None = None) -> End:
    """index, block, activation_rms, activation_grad_norm per block boundary x_l, of which (B, ...) is one batch.

    activation_grad_norm = sqrt(B) |dL/dx_l|_F: the RMS over examples of the norm of one example's own gradient.
    """
    grads = [x.grad if x.grad is not None else torch.zeros_like(x) for x in boundaries]
    roots = [math.sqrt(x.numel() // trials) for x in boundaries]
    batch = math.sqrt(boundaries[0].shape[0 if trials == 1 else 1])
    columns = zip(norms([x.detach() for x in boundaries], trials), norms(grads, trials), strict=True)
    rows: list[list[LogRow]] = [
        [
            (index, name, size / root, batch * flow)
            for index, (name, root, size, flow) in enumerate(zip(boundary_names(network), roots, sizes, flows, strict=True))
        ]
        for sizes, flows in columns
    ]
    return lambda: rows


def eps_bound(network: Network, _boundaries: Sequence[Tensor], trials: int, optimizer: Optimizer | None = None) -> End:
    """index, layer, below_eps per weighted layer: the share of its weights with sqrt(v_hat) below Adam's eps.

    v_hat is the bias-corrected mean of squared gradients that the step itself divides by (arXiv:1412.6980 algorithm 1), of
    gradients as the optimizer gets them: clipped, and under adam with the weight decay. Below eps a weight makes less than half
    of the step that it would make without. One that never had a gradient has v = 0; an optimizer without eps gives no rows.
    """
    layers = weighted_layers(network)
    groups = [group for group in (optimizer.param_groups if optimizer else ()) if "eps" in group]
    group_of = {parameter: group for group in groups for parameter in group["params"]}

    @torch.no_grad()
    def ends() -> list[list[LogRow]]:
        if optimizer is None or not groups:
            return [[] for _ in range(trials)]
        shares = [below_eps(layer.weight, group_of[layer.weight], optimizer, trials) for layer in layers]
        columns = torch.stack(shares).T.tolist()
        return [[(layer.index, layer.name, share) for layer, share in zip(layers, column, strict=True)] for column in columns]

    return ends


def below_eps(weight: Tensor, group: dict[str, Any], optimizer: Optimizer, trials: int) -> Tensor:
    """(T,) the share of each trial's coordinates of a weight with sqrt(v_hat) < eps."""
    state = optimizer.state.get(weight)
    if not state:
        return torch.ones(trials, dtype=torch.float64, device=weight.device)
    corrected = state["exp_avg_sq"].double() / (1 - group["betas"][1] ** state["step"].double())
    bound: Tensor = corrected.sqrt() < group["eps"]
    return bound.reshape(trials, -1).double().mean(1)


STEP_PROBES: dict[str, Callable[[Network, Sequence[Tensor], int, Optimizer | None], End]] = {
    "gradient_norm": gradient_norm,
    "signal": signal,
    "eps_bound": eps_bound,
}
