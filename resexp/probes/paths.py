"""Path lengths: the share of the gradient that passes through k branches, for each k (Veit et al. 2016, arXiv:1605.06431).

A block is x' = act(a F(x) + S(x)). The backward pass is linear, so the gradient is the sum of the gradient through the branch
a F and the gradient through the shortcut S. The activation after the sum belongs to both.

Shapes: B batch, L blocks.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from resexp.networks import Block, Network
from resexp.probes.copies import float64_copy
from resexp.runs import PathLengthRow
from resexp.shortcuts import ONE, ZERO, Term, join


class BlockPass(NamedTuple):
    """Input, intermediate values and output of one block; `shortcut` is S, and 0.0 in a plain block."""

    x: Tensor
    branch: Tensor
    shortcut: Term
    total: Tensor
    output: Tensor


def path_lengths(network: Network, x: Tensor, labels: Tensor) -> list[PathLengthRow]:
    """One row for each of the path lengths k = 0 .. L: k is the number of branches on a path.

    share = <g_k, g> / <g, g>, where g = sum of g_k is the gradient of all paths. Shares sum to 1; a share can be negative or
    larger than 1. norm = sqrt(B) |g_k|_F, as in activation_grad_norm. Shares are nan if g is 0.
    """
    gradients = gradients_by_path_length(network, x, labels).flatten(1)
    total = gradients.sum(0)
    shares = (gradients @ total / (total @ total)).tolist()
    norms = (len(x) ** 0.5 * torch.linalg.vector_norm(gradients, dim=1)).tolist()
    return [PathLengthRow(length, *values) for length, values in enumerate(zip(shares, norms, strict=True))]


def gradients_by_path_length(network: Network, x: Tensor, labels: Tensor) -> Tensor:
    """g_0 .. g_L, (L + 1, B, ...) in float64: g_k is dL/dx_0 along all paths through exactly k branches.

    L is the mean cross-entropy, x_0 the input of the first block. The network runs in its current mode, with stochastic
    shortcuts as in evaluation. In training mode the gradient passes through batch norm statistics, as in the training step.
    """
    network = float64_copy(network)
    x = network.stem(x.to(torch.float64))
    passes = []
    for block in cast("Iterable[Block]", network.blocks):
        passes.append(_forward(block, x.detach().requires_grad_()))
        x = passes[-1].output
    x = x.detach().requires_grad_()
    loss = functional.cross_entropy(network.classifier(network.tail(x)), labels)
    (gradient,) = torch.autograd.grad(loss, x)
    return _backward(gradient[None], passes)


def _forward(block: Block, x: Tensor) -> BlockPass:
    h = block.before(x)
    a, shortcut = block.shortcut(h if block.shares_activation else x)
    branch = join(a, block.branch(h), ZERO)
    total = join(ONE, branch, shortcut)
    return BlockPass(x, branch, shortcut, total, block.after(total))


def _backward(gradients: Tensor, passes: Sequence[BlockPass]) -> Tensor:
    """Propagates gradients[k], the gradient through k branches, from the output of the last block to the input of the first."""
    for x, branch, shortcut, total, output in reversed(passes):
        at_sum = _vector_jacobian(output, total, gradients)
        via_branch, zero = _vector_jacobian(branch, x, at_sum), torch.zeros_like(x)[None]
        via_shortcut = _vector_jacobian(shortcut, x, at_sum) if isinstance(shortcut, Tensor) else torch.zeros_like(via_branch)
        gradients = torch.cat([via_shortcut, zero]) + torch.cat([zero, via_branch])
    return gradients


def _vector_jacobian(output: Tensor, inputs: Tensor, gradients: Tensor) -> Tensor:
    """Gradients (K, *inputs) from gradients (K, *output), in one batched vector-Jacobian product."""
    products: tuple[Tensor, ...] = torch.autograd.grad(output, inputs, gradients, retain_graph=True, is_grads_batched=True)
    return products[0]
