"""Step probes: gradients and activations per layer, from the forward and backward pass of the training step.

A measurement begins after `backward()` and ends after `optimizer.step()`:

    measurement = begin(probes, network, boundaries, trials, optimizer)
    optimizer.step()
    rows = end(measurement)

Gradients are those of the mean loss over the B examples of a trial's batch, before clipping and without weight decay.
Norms are accumulated in float64, because squares of 1e-25 underflow in float32. In a stack of T > 1 trials, the first axis of
every tensor is T.
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
Finisher = Callable[[], list[list[LogRow]]]


@dataclass(frozen=True)
class Measurement:
    """A measurement that has begun: for each probe the function that returns its rows after the update."""

    finishers: dict[str, Finisher]
    trials: int


def begin(
    names: Sequence[str], network: Network, boundaries: Sequence[Tensor], trials: int = 1, optimizer: Optimizer | None = None
) -> Measurement:
    """Begins a measurement after `backward()`; `boundaries` are x_0 .. x_L of this step with retained gradients.

    Runs the step probes among `names`; `fixed_batch_probes` runs the others.
    """
    step_probes = [name for name in names if name in STEP_PROBES]
    return Measurement({name: STEP_PROBES[name](network, boundaries, trials, optimizer) for name in step_probes}, trials)


def end(measurement: Measurement) -> list[dict[str, list[LogRow]]]:
    """Ends a measurement after `optimizer.step()`: for each trial the rows of each probe, without step and epoch."""
    probe_rows = {name: finish() for name, finish in measurement.finishers.items()}
    return [{name: rows[trial] for name, rows in probe_rows.items()} for trial in range(measurement.trials)]


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
    """index, layer, parameters, weight_grad_norm, weight_grad_rms, weight_norm, update_ratio of each weighted layer.

    For the weight tensor only, without the bias. update_ratio = |W_{t+1} - W_t| / |W_t|, and nan if |W_t| = 0.
    """
    layers = weighted_layers(network)
    sizes = [layer.weight.numel() // trials for layer in layers]
    before = [layer.weight.detach().clone() for layer in layers]
    grads = [layer.weight.grad for layer in layers]
    grad_norms = norms([torch.zeros_like(w) if g is None else g for w, g in zip(before, grads, strict=True)], trials)
    weight_norms = norms(before, trials)

    @torch.no_grad()
    def finish() -> list[list[LogRow]]:
        updates = norms([layer.weight - old for layer, old in zip(layers, before, strict=True)], trials)
        return [
            [
                (layer.index, layer.name, size, grad, grad / math.sqrt(size), weight, update / weight if weight else math.nan)
                for layer, size, grad, weight, update in zip(layers, sizes, *columns, strict=True)
            ]
            for columns in zip(grad_norms, weight_norms, updates, strict=True)
        ]

    return finish


@torch.no_grad()
def signal(network: Network, boundaries: Sequence[Tensor], trials: int, _optimizer: Optimizer | None = None) -> Finisher:
    """index, block, activation_rms, activation_grad_norm of each block boundary x_l of shape (B, ...).

    activation_grad_norm = sqrt(B) |dL/dx_l|_F: the root mean square over examples of the gradient norm of one example.
    """
    grads = [x.grad if x.grad is not None else torch.zeros_like(x) for x in boundaries]
    root_sizes = [math.sqrt(x.numel() // trials) for x in boundaries]
    root_batch = math.sqrt(boundaries[0].shape[0 if trials == 1 else 1])
    columns = zip(norms([x.detach() for x in boundaries], trials), norms(grads, trials), strict=True)
    rows: list[list[LogRow]] = [
        [
            (index, name, norm / root_size, root_batch * grad_norm)
            for index, (name, root_size, norm, grad_norm) in enumerate(
                zip(boundary_names(network), root_sizes, activation_norms, grad_norms, strict=True)
            )
        ]
        for activation_norms, grad_norms in columns
    ]
    return lambda: rows


def eps_bound(network: Network, _boundaries: Sequence[Tensor], trials: int, optimizer: Optimizer | None = None) -> Finisher:
    """index, layer, below_eps of each weighted layer: the share of its weights with sqrt(v_hat) below Adam's eps.

    v_hat is the bias-corrected mean of squared gradients in the denominator of the update (arXiv:1412.6980 algorithm 1). The
    gradients are those that the optimizer receives: after clipping, and for adam with weight decay. If sqrt(v_hat) is below
    eps, eps reduces the update of the weight by more than half. A weight that never had a gradient has v = 0. Optimizers
    without eps give no rows.
    """
    layers = weighted_layers(network)
    groups = [group for group in (optimizer.param_groups if optimizer else ()) if "eps" in group]
    group_of = {parameter: group for group in groups for parameter in group["params"]}

    @torch.no_grad()
    def finish() -> list[list[LogRow]]:
        if optimizer is None or not groups:
            return [[] for _ in range(trials)]
        shares = [below_eps(layer.weight, group_of[layer.weight], optimizer, trials) for layer in layers]
        columns = torch.stack(shares).T.tolist()
        return [[(layer.index, layer.name, share) for layer, share in zip(layers, column, strict=True)] for column in columns]

    return finish


def below_eps(weight: Tensor, group: dict[str, Any], optimizer: Optimizer, trials: int) -> Tensor:
    """The share of the elements of a weight with sqrt(v_hat) < eps for each trial, (T,)."""
    moments = optimizer.state.get(weight)
    if not moments:
        return torch.ones(trials, dtype=torch.float64, device=weight.device)
    corrected = moments["exp_avg_sq"].double() / (1 - group["betas"][1] ** moments["step"].double())
    is_below: Tensor = corrected.sqrt() < group["eps"]
    return is_below.reshape(trials, -1).double().mean(1)


STEP_PROBES: dict[str, Callable[[Network, Sequence[Tensor], int, Optimizer | None], Finisher]] = {
    "gradient_norm": gradient_norm,
    "signal": signal,
    "eps_bound": eps_bound,
}
