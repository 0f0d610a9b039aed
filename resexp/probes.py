"""The reading of a training step: gradients and signals per layer, from the step's own forward and backward.

A reading is begun after `backward()` and ended after `optimizer.step()`:

    reading = begin(probes, network, boundaries, trials)
    optimizer.step()
    rows = end(reading)

Gradients are those of the mean loss over the B examples of a trial's batch, before clipping, weight decay not included.
Norms are accumulated in float64: squares of 1e-25 vanish in float32. Of a stack of T trials every tensor leads with T, of a
single one none does.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resexp.networks import Network, boundary_names, weighted_layers

Row = tuple[int | str | float, ...]
End = Callable[[], list[list[Row]]]


@dataclass(frozen=True)
class Reading:
    """What a reading has seen so far: for each probe the function that ends it."""

    ends: dict[str, End]
    trials: int


def begin(names: Sequence[str], network: Network, boundaries: Sequence[Tensor], trials: int = 1) -> Reading:
    """Begins a reading after `backward()`; `boundaries` are x_0 .. x_L of this step with retained gradients."""
    return Reading({name: PROBES[name](network, boundaries, trials) for name in names}, trials)


def end(reading: Reading) -> list[dict[str, list[Row]]]:
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
def gradient_norm(network: Network, _boundaries: Sequence[Tensor], trials: int) -> End:
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
    def ends() -> list[list[Row]]:
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
def signal(network: Network, boundaries: Sequence[Tensor], trials: int) -> End:
    """index, block, activation_rms, activation_grad_norm per block boundary x_l, of which (B, ...) is one batch.

    activation_grad_norm = sqrt(B) |dL/dx_l|_F: the RMS over examples of the norm of one example's own gradient.
    """
    grads = [x.grad if x.grad is not None else torch.zeros_like(x) for x in boundaries]
    roots = [math.sqrt(x.numel() // trials) for x in boundaries]
    batch = math.sqrt(boundaries[0].shape[0 if trials == 1 else 1])
    columns = zip(norms([x.detach() for x in boundaries], trials), norms(grads, trials), strict=True)
    rows: list[list[Row]] = [
        [
            (index, name, size / root, batch * flow)
            for index, (name, root, size, flow) in enumerate(zip(boundary_names(network), roots, sizes, flows, strict=True))
        ]
        for sizes, flows in columns
    ]
    return lambda: rows


PROBES: dict[str, Callable[[Network, Sequence[Tensor], int], End]] = {"gradient_norm": gradient_norm, "signal": signal}


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
