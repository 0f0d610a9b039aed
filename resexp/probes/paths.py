"""The path view: how much of the gradient has come through how many branches (Veit et al. 2016, arXiv:1605.06431).

A block is x' = act(a F(x) + S(x)). By the linearity of the backward pass its gradient is that through the branch a F plus that
past it, through S, and the activation after the sum belongs to both.

Shapes: B batch, L blocks.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from resexp.networks import Block, Network
from resexp.probes.copies import float64_copy
from resexp.shortcuts import ONE, ZERO, Term, join

PathLength = tuple[int, float, float]


class Crossing(NamedTuple):
    """One block with what lies between its input and its output; S is 0.0 where there is none."""

    x: Tensor
    branch: Tensor
    shortcut: Term
    joined: Tensor
    out: Tensor


def path_lengths(network: Network, x: Tensor, labels: Tensor) -> list[PathLength]:
    """(length, share, norm) for the lengths k = 0 .. L of paths: k is the number of branches that a path goes through.

    share = <g_k, g> / <g, g>, where g = sum of g_k is the whole gradient: they sum to 1, and one of them may be negative or
    more than 1. norm = sqrt(B) |g_k|_F, as activation_grad_norm has it. nan where g is 0.
    """
    along = along_paths(network, x, labels).flatten(1)
    whole = along.sum(0)
    shares = (along @ whole / (whole @ whole)).tolist()
    lengths = (len(x) ** 0.5 * torch.linalg.vector_norm(along, dim=1)).tolist()
    return list(zip(range(len(along)), shares, lengths, strict=True))


def along_paths(network: Network, x: Tensor, labels: Tensor) -> Tensor:
    """g_0 .. g_L, (L + 1, B, ...) in float64: dL/dx_0 of the mean cross-entropy along all paths through exactly k branches.

    x_0 is the first block's input. The network answers in its mode, without what shortcuts leave to chance: in train mode
    the gradient goes through the statistics of batch norms, as that of the training step does.
    """
    alone = float64_copy(network)
    x = alone.stem(x.to(torch.float64))
    crossings = []
    for block in cast("Iterable[Block]", alone.blocks):
        crossings.append(_cross(block, x.detach().requires_grad_()))
        x = crossings[-1].out
    x = x.detach().requires_grad_()
    loss = functional.cross_entropy(alone.classifier(alone.tail(x)), labels)
    (flow,) = torch.autograd.grad(loss, x)
    return _carried(flow[None], crossings)


def _cross(block: Block, x: Tensor) -> Crossing:
    h = block.before(x)
    a, shortcut = block.shortcut(h if block.shares_activation else x)
    branch = join(a, block.branch(h), ZERO)
    joined = join(ONE, branch, shortcut)
    return Crossing(x, branch, shortcut, joined, block.after(joined))


def _carried(flows: Tensor, crossings: Sequence[Crossing]) -> Tensor:
    """Carries flows[k], the gradient by k branches, from behind the last block to before the first."""
    for x, branch, shortcut, joined, out in reversed(crossings):
        joint = _back(out, joined, flows)
        through, none = _back(branch, x, joint), torch.zeros_like(x)[None]
        past = _back(shortcut, x, joint) if isinstance(shortcut, Tensor) else torch.zeros_like(through)
        flows = torch.cat([past, none]) + torch.cat([none, through])
    return flows


def _back(output: Tensor, inputs: Tensor, flows: Tensor) -> Tensor:
    """All flows (K, *output) back to the inputs (K, *inputs) in one batched vector-Jacobian product."""
    found: tuple[Tensor, ...] = torch.autograd.grad(output, inputs, flows, retain_graph=True, is_grads_batched=True)
    return found[0]
