"""The reading of a training step: gradients and signals per layer, from the step's own forward and backward.

A reading is begun after `backward()` and ended after `optimizer.step()`:

    reading = begin(probes, network, boundaries)
    optimizer.step()
    rows = end(reading)

Gradients are those of the mean loss over the B examples of the batch, before clipping, weight decay not included.
Norms are accumulated in float64: squares of 1e-25 vanish in float32.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resexp.networks import Network, boundary_names, weighted_layers

Row = tuple[int | str | float, ...]
End = Callable[[], list[Row]]


@dataclass(frozen=True)
class Reading:
    """What a reading has seen so far: for each probe the function that ends it."""

    ends: dict[str, End]


def begin(names: Sequence[str], network: Network, boundaries: Sequence[Tensor]) -> Reading:
    """Begins a reading after `backward()`; `boundaries` are x_0 .. x_L of this step with retained gradients."""
    return Reading({name: PROBES[name](network, boundaries) for name in names})


def end(reading: Reading) -> dict[str, list[Row]]:
    """Ends a reading after `optimizer.step()`: the rows of each probe, without the step and epoch that lead them."""
    return {name: ends() for name, ends in reading.ends.items()}


def norms(tensors: Sequence[Tensor]) -> list[float]:
    """Frobenius norms, accumulated in float64, fetched in one transfer."""
    if not tensors:
        return []
    found: list[float] = torch.stack([torch.linalg.vector_norm(t, dtype=torch.float64) for t in tensors]).tolist()
    return found


@torch.no_grad()
def gradient_norm(network: Network, _boundaries: Sequence[Tensor]) -> End:
    """index, layer, parameters, weight_grad_norm, weight_grad_rms, weight_norm, update_ratio per weighted layer.

    Of the weight tensor only. update_ratio = |W_{t+1} - W_t| / |W_t|, nan where |W_t| = 0.
    """
    layers = weighted_layers(network)
    before = [layer.weight.detach().clone() for layer in layers]
    grads = [layer.weight.grad for layer in layers]
    grad_norms = norms([torch.zeros_like(w) if g is None else g for w, g in zip(before, grads, strict=True)])
    weight_norms = norms(before)

    @torch.no_grad()
    def ends() -> list[Row]:
        updates = norms([layer.weight.double() - old.double() for layer, old in zip(layers, before, strict=True)])
        columns = zip(layers, grad_norms, weight_norms, updates, strict=True)
        return [
            (layer.index, layer.name, layer.weight.numel(), grad, grad / math.sqrt(layer.weight.numel()), weight,
             update / weight if weight else math.nan)
            for layer, grad, weight, update in columns
        ]  # fmt: skip

    return ends


@torch.no_grad()
def signal(network: Network, boundaries: Sequence[Tensor]) -> End:
    """index, block, activation_rms, activation_grad_norm per block boundary x_l, of which (B, ...) is one batch.

    activation_grad_norm = sqrt(B) |dL/dx_l|_F: the RMS over examples of the norm of one example's own gradient.
    """
    grads = [x.grad if x.grad is not None else torch.zeros_like(x) for x in boundaries]
    sizes = norms([x.detach() for x in boundaries])
    flows = norms(grads)
    rows: list[Row] = [
        (index, name, size / math.sqrt(x.numel()), math.sqrt(len(x)) * flow)
        for index, (name, x, size, flow) in enumerate(zip(boundary_names(network), boundaries, sizes, flows, strict=True))
    ]
    return lambda: rows


PROBES: dict[str, Callable[[Network, Sequence[Tensor]], End]] = {"gradient_norm": gradient_norm, "signal": signal}


def slope(flows: Sequence[float], stages: Sequence[int]) -> float:
    """Decades per block towards the input by which activation_grad_norm grows (> 0) or vanishes (< 0).

    Least squares of log10 over interior block boundaries, with one level per stage: the stem's output and the last
    boundary are left out, and so is what underflowed to 0 or is not finite. nan where fewer than two points remain
    in every stage.

    Args:
        flows: activation_grad_norm at x_0 .. x_L.
        stages: the stage that made each boundary.
    """
    points = [
        (stage, index, math.log10(flow))
        for index, (flow, stage) in enumerate(zip(flows, stages, strict=True))
        if 0 < index < len(flows) - 1 and flow > 0 and math.isfinite(flow)
    ]
    depth, logs = [], []
    for stage in {stage for stage, _, _ in points}:
        inside = np.array([(index, log) for of, index, log in points if of == stage])
        depth.append(inside[:, 0] - inside[:, 0].mean())
        logs.append(inside[:, 1] - inside[:, 1].mean())
    if not depth or not (spread := float(np.square(np.concatenate(depth)).sum())):
        return math.nan
    return -float(np.concatenate(depth) @ np.concatenate(logs)) / spread
