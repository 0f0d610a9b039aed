"""Many trials of one shape trained as one network: every parameter and every activation gains a leading axis of trials.

    network = stack([network_1, ..., network_T])      # (T, B, C, H, W) -> (T, B, K)
    unstack(network.state_dict(), [...], t)           # the state dict of trial t, as network_t has it

The code of the network runs unchanged. A parameter of up to one axis is stored as (T, 1, ..., *shape), so that it broadcasts
against (T, B, D) where it met (B, D) before; only parts that multiply matrices, take means over the batch or look at axes by
number have a form of their own here. Trials never touch each other: no operation reduces over T.

Shapes: T trials, B batch, D width. Only mlps are stacked: grouped convolutions are slower than one network after another.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from resexp.networks import Network, Noise
from resexp.shortcuts import ONE, ZERO, Plain, Scale, Scaled, Term, join

StateDict = Mapping[str, Tensor]


# ---- parts with a form of their own -------------------------------------------------------------------------------------


class Linear(nn.Linear):
    """x W^T + b per trial: (T, B, in), (T, out, in), (T, 1, out) -> (T, B, out)."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.transpose(1, 2)
        return torch.bmm(x, weight) if self.bias is None else torch.baddbmm(self.bias, x, weight)


class LayerNorm(nn.LayerNorm):
    """Over D of each example; weight and bias (T, 1, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, functional.layer_norm(x, self.normalized_shape, eps=self.eps), self.weight)


class GroupNorm(nn.GroupNorm):
    """Over the groups of D of each example; weight and bias (T, 1, D)."""

    def forward(self, x: Tensor) -> Tensor:
        normed = functional.group_norm(x.flatten(0, 1), self.num_groups, eps=self.eps)
        return torch.addcmul(self.bias, normed.view_as(x), self.weight)


class BatchNorm1d(nn.BatchNorm1d):
    """Over B of each trial: one norm over (B, T D) channels; weight, bias and running statistics (T, 1, D)."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        momentum = self.momentum or 0.0
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the average over all batches, as in torch's own
                momentum = 1 / int(self.num_batches_tracked.view(-1)[0])
        normed = functional.batch_norm(
            x.transpose(0, 1).flatten(1),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.view(-1),
            self.bias.view(-1),
            self.training,
            momentum,
            self.eps,
        )
        return normed.view(x.shape[1], len(x), -1).transpose(0, 1)


class Flatten(nn.Flatten):
    """(T, B, C, H, W) -> (T, B, C H W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2)


KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: Linear,
    nn.LayerNorm: LayerNorm,
    nn.GroupNorm: GroupNorm,
    nn.BatchNorm1d: BatchNorm1d,
    nn.Flatten: Flatten,
}


class Constants(nn.Module):
    """a and S = s x by two vectors of T constants, (T, 1, 1): plain, identity and scaled shortcuts side by side."""

    def __init__(self, shortcuts: Sequence[Plain | Scaled]) -> None:
        super().__init__()
        branch, scale = zip(*(shortcut.constants for shortcut in shortcuts), strict=True)
        self.a, self.s = _constant(branch), _constant(scale)

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return self.a, ZERO if isinstance(self.s, float) and self.s == ZERO else join(self.s, x, ZERO)


def _constant(values: Sequence[float]) -> nn.Buffer | float:
    """(T, 1, 1), or the number itself where it costs no operation."""
    if set(values) in ({ONE}, {ZERO}):
        return values[0]
    return nn.Buffer(torch.tensor(values, dtype=torch.float64).view(-1, 1, 1), persistent=False)


# ---- stacking -----------------------------------------------------------------------------------------------------------


def stack(networks: Sequence[Network]) -> Network:
    """One network of T; of a single one, that one itself.

    Raises:
        ValueError: networks that cannot be stacked: their parts differ in kind or shape, or they are no mlps.
    """
    return networks[0] if len(networks) == 1 else cast("Network", _stacked(networks)).to(networks[0].classifier.weight.dtype)


def _stacked(modules: Sequence[nn.Module]) -> nn.Module:
    constants = [module for module in modules if isinstance(module, Plain | Scaled)]
    if len(constants) == len(modules):
        return Constants(constants)
    first = modules[0]
    if {type(module) for module in modules} != {type(first)} or isinstance(first, nn.Conv2d):
        raise ValueError(f"{', '.join(sorted({type(module).__name__ for module in modules}))} cannot be stacked")
    made = copy.copy(first)
    made.__class__ = KINDS.get(type(first), type(first))
    made._parameters, made._buffers, made._modules = {}, {}, {}  # noqa: SLF001 - the copy still shares those of `first`
    for name, parameter in first._parameters.items():  # noqa: SLF001 - a bias that is None has to be one here too
        of = None if parameter is None else nn.Parameter(joined([getattr(module, name).detach() for module in modules]))
        made.register_parameter(name, of)
    for name, _ in first.named_buffers(recurse=False):
        made.register_buffer(name, joined([getattr(module, name) for module in modules]))
    for name, _ in first.named_children():
        made.add_module(name, _stacked([module.get_submodule(name) for module in modules]))
    return made


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """(T, *shape), with axes of 1 behind T where `shape` has fewer than two, to broadcast against (T, B, D)."""
    first = tensors[0]
    return torch.stack(list(tensors)).view(len(tensors), *[1] * (2 - first.ndim), *first.shape)


def unstack(state: StateDict, single_state_dict: StateDict, trials: int, trial: int) -> dict[str, Tensor]:
    """The state dict of one of `trials`, in the shapes of `like` and with storage of its own, as a single network has it."""
    if trials == 1:
        return dict(state)
    return {name: tensor[trial].reshape(single_state_dict[name].shape).clone() for name, tensor in state.items()}


def join_noise(of_trials: Sequence[list[Noise]]) -> list[Noise]:
    """What chance brings to each block, from what it brings to each trial."""
    if len(of_trials) == 1:
        return of_trials[0]
    return [None if draws[0] is None else joined(draws) for draws in zip(*of_trials, strict=True)]


def copy_rows(source: Tensor, target: Tensor, rows: Sequence[int], trials: int) -> None:
    """Copies what belongs to the trials `rows` from one stacked tensor into another; everything where there is one trial."""
    if trials == 1:
        target.copy_(source)
    else:
        target[list(rows)] = source[list(rows)]
