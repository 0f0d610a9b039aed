"""Gradients of a network against finite differences in float64."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from resexp.modules.boundaries import (
    Boundaries,
    editing,
)
from resexp.modules.passes import Pass, Subject, forward, restore, run
from resexp.runs import SelfCheck

MAX_PAIRS = 8  # neighboring boundaries at which the chain rule is checked
STEP = 1e-7  # of a finite difference, relative to the size of what is changed


def self_checks(subject: Subject, chosen: Boundaries) -> Iterator[SelfCheck]:
    """The loss along a direction of all weights, and the chain rule between neighboring boundaries.

    The network becomes float64.
    """
    if subject.x.device.type == "mps":  # has no float64
        return
    x, y = (tensor.double() if tensor.is_floating_point() else tensor for tensor in (subject.x, subject.y))
    double = replace(subject, network=subject.network.double(), x=x, y=y)
    result = run(double, chosen)
    buffers = copy.deepcopy(dict(double.network.named_buffers()))
    generator = torch.Generator().manual_seed(subject.seed)
    yield _weight_check(result, generator, lambda: _value(double, buffers))
    kept, grads = list(result.boundaries.values()), result.boundary_grads
    pairs = range(len(kept) - 1)
    for index in list(pairs)[:: -(-len(pairs) // MAX_PAIRS) or 1]:
        before, after = grads[index], grads[index + 1]
        if before is None or after is None:
            continue
        point = kept[index].detach()
        direction = point * _like(point, generator)  # zeros stay zero: ReLU and max pooling have no derivative there
        ends = [_shifted(double, chosen, index, sign * STEP * direction, buffers) for sign in (1, -1)]
        change = (ends[0] - ends[1]) / (2 * STEP)
        scale = float((before * point).norm())
        names = list(result.boundaries)[index : index + 2]
        yield SelfCheck(
            f"chain rule {names[0]} to {names[1]}", float((before * direction).sum()), float((after * change).sum()), scale
        )


def _weight_check(result: Pass, generator: torch.Generator, value: Callable[[], float]) -> SelfCheck:
    weights = [weight for weight, grad in zip(result.weights.values(), result.weight_grads, strict=True) if grad is not None]
    grads = [grad for grad in result.weight_grads if grad is not None]
    directions = [_like(weight, generator) for weight in weights]
    directions = [d * w.detach() for d, w in zip(directions, weights, strict=True)]
    expected = math.fsum(float((g * d).sum()) for g, d in zip(grads, directions, strict=True))
    scale = math.sqrt(math.fsum(float((g * w.detach()).norm() ** 2) for g, w in zip(grads, weights, strict=True)))
    losses = []
    with torch.no_grad():
        for sign in (1, -1):
            for weight, direction in zip(weights, directions, strict=True):
                weight.add_(direction, alpha=sign * STEP)
            losses.append(value())
            for weight, direction in zip(weights, directions, strict=True):
                weight.sub_(direction, alpha=sign * STEP)
    return SelfCheck("loss along a direction of the weights", expected, (losses[0] - losses[1]) / (2 * STEP), scale)


def _like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)


def _value(subject: Subject, buffers: dict[str, Tensor]) -> float:
    with torch.no_grad():
        value = float(forward(subject))
    restore(subject.network, buffers)
    return value


def _shifted(subject: Subject, chosen: Boundaries, index: int, shift: Tensor, buffers: dict[str, Tensor]) -> Tensor:
    """The boundary after `index` if the one at `index` is shifted."""
    following: list[Tensor] = []
    order: list[str] = []

    def edit(label: str, tensor: Tensor) -> Tensor:
        position = len(order)
        order.append(label)
        if position == index + 1:
            following.append(tensor.detach().clone())
        return tensor + shift if position == index else tensor

    with torch.no_grad(), editing(subject.network, chosen, edit):
        forward(subject)
    restore(subject.network, buffers)
    return following[0]
