"""Stacking: trials of one shape as one network, in which parameters and activations have an additional first axis of trials.

    network = stack([network_1, ..., network_T])      # (T, B, C, H, W) -> (T, B, K)
    unstack(network.state_dict(), [...], t)           # the state dict of network_t

The code of the network is unchanged. A parameter with at most one axis is stored as (T, 1, ..., *shape), so that it broadcasts
against (T, B, D) instead of (B, D). Layers that multiply matrices, average over the batch or refer to axes by number have
stacked versions in this module. Trials are independent: no operation reduces over T.

Convolutions become one convolution with T groups. On a CPU it is slower than separate networks, so cnns are stacked only with
`training.stack: T`.

Shapes: T trials, B batch, D width; C channels, H x W pixels. A batch of images (T, B, C, H, W) is a view of (B, T C, H, W).
"""

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from resexp.networks import Network, Noise
from resexp.shortcuts import ONE, ZERO, Constant, Scale, Term, join, option_a

StateDict = Mapping[str, Tensor]


# ---- stacked layers -----------------------------------------------------------------------------------------------------


def repeated(x: Tensor, runs: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Views of the batches of consecutive trials with the same seed, from (S, B, ...): `runs` has (index in S, trials)."""
    return [x[index].expand(trials, *x.shape[1:]) for index, trials in runs]


class Linear(nn.Linear):
    """x W^T + b of each trial: (T, B, in), (T, out, in), (T, 1, out) -> (T, B, out).

    The input layer also takes one batch per seed, (S, B, in); only it has `runs`, as in `repeated`.
    """

    runs: Sequence[tuple[int, int]] = ()

    def forward(self, x: Tensor) -> Tensor:
        if self.runs and not x.requires_grad:
            inputs = [x] if len(x) == len(self.weight) else repeated(x, self.runs)
            output: Tensor = InputProduct.apply(self.weight, self.bias, *inputs)
            return output
        weight = self.weight.transpose(1, 2)
        has_bias = self.bias is not None
        return torch.baddbmm(self.bias, x, weight) if has_bias else torch.bmm(x, weight)


class InputProduct(torch.autograd.Function):
    """x W^T + b for inputs x that need no gradient: (T, out, in), (T, 1, out), parts of (T, B, in) -> (T, B, out).

    The products and the order of summation are those of `torch.baddbmm`. But the parts of x can be views that share memory,
    and the gradient of W needs no copy: torch would compute it as (T, in, out).
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *inputs)
        ctx.has_bias = bias is not None
        sizes = [len(x) for x in inputs]
        weights = weight.transpose(1, 2).split_with_sizes(sizes)
        if bias is None:
            return torch.cat([torch.bmm(*pair) for pair in zip(inputs, weights, strict=True)])
        return torch.cat([torch.baddbmm(*terms) for terms in zip(bias.split_with_sizes(sizes), inputs, weights, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, *inputs = ctx.saved_tensors
        sizes = [len(x) for x in inputs]
        grad_weight = grad.new_empty(weight.shape)
        for part, x, result in zip(
            grad.transpose(1, 2).split_with_sizes(sizes), inputs, grad_weight.split_with_sizes(sizes), strict=True
        ):
            torch.bmm(part, x.to(grad.dtype), out=result)
        grad_bias = grad.sum(1, keepdim=True).to(weight.dtype) if ctx.has_bias else None
        return grad_weight.to(weight.dtype), grad_bias, *[None] * len(inputs)


class LayerNorm(nn.LayerNorm):
    """Layer norm over D of each example; weight and bias (T, 1, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, functional.layer_norm(x, self.normalized_shape, eps=self.eps), self.weight)


class GroupNorm(nn.GroupNorm):
    """Group norm over groups of D, or of C and the pixels, of each example; weight and bias (T, 1, D)."""

    def forward(self, x: Tensor) -> Tensor:
        normalized = functional.group_norm(x.flatten(0, 1), self.num_groups, eps=self.eps)
        pixels = [1] * (x.ndim - 3)
        weight, bias = (value.view(*value.shape, *pixels) for value in (self.weight, self.bias))
        return torch.addcmul(bias, normalized.view_as(x), weight)


class BatchNorm1d(nn.BatchNorm1d):
    """Batch norm over B of each trial, as one batch norm of (B, T D); weight, bias and running statistics (T, 1, D)."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        momentum = self.momentum or 0.0
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the average over all batches, as in torch
                momentum = 1 / int(self.num_batches_tracked.view(-1)[0])
        normalized = functional.batch_norm(
            x.transpose(0, 1).flatten(1, 2),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.view(-1),
            self.bias.view(-1),
            self.training,
            momentum,
            self.eps,
        )
        return normalized.view(x.shape[1], len(x), -1, *x.shape[3:]).transpose(0, 1)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm over B and the pixels of each trial, as one batch norm of (B, T C, H, W)."""

    forward = BatchNorm1d.forward  # type: ignore[assignment] # the same computation, with more axes


class Conv2d(nn.Conv2d):
    """A convolution of each trial, as one convolution with T groups; weight (T, out, in, k, k), bias (T, 1, out).

    The input layer also takes one batch per seed, (S, B, C, H, W); `runs` is as in `repeated`.
    """

    runs: Sequence[tuple[int, int]] = ()

    def forward(self, x: Tensor) -> Tensor:
        x = x if len(x) == len(self.weight) else torch.cat(repeated(x, self.runs))
        bias = None if self.bias is None else self.bias.flatten()
        images, weight = x.transpose(0, 1).flatten(1, 2), self.weight.flatten(0, 1)
        output = functional.conv2d(images, weight, bias, self.stride, self.padding, groups=len(x))
        return output.view(x.shape[1], len(x), -1, *output.shape[2:]).transpose(0, 1)


class GlobalAverage(nn.AdaptiveAvgPool2d):
    """(T, B, C, H, W) -> (T, B, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((3, 4), keepdim=True)


class Flatten(nn.Flatten):
    """(T, B, C, H, W) -> (T, B, C H W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2)


STACKED_TYPES: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: Linear,
    nn.LayerNorm: LayerNorm,
    nn.GroupNorm: GroupNorm,
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.Conv2d: Conv2d,
    nn.AdaptiveAvgPool2d: GlobalAverage,
    nn.Flatten: Flatten,
}


class Constants(nn.Module):
    """a and S = s x from vectors of T constants, (T, 1, 1) or (T, 1, 1, 1, 1): all constant shortcuts in one stack."""

    def __init__(self, shortcuts: Sequence[Constant]) -> None:
        super().__init__()
        self.spec = shortcuts[0].spec
        self.a = _constant([shortcut.a for shortcut in shortcuts], len(self.spec.inputs))
        self.s = _constant([shortcut.s for shortcut in shortcuts], len(self.spec.inputs))

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return self.a, ZERO if isinstance(self.s, float) and self.s == ZERO else join(self.s, option_a(x, self.spec), ZERO)


def _constant(values: Sequence[float], axes: int) -> nn.Buffer | float:
    """A buffer for examples with that many axes, or the number if all values are 1 or all are 0, which costs no operation."""
    if set(values) in ({ONE}, {ZERO}):
        return values[0]
    return nn.Buffer(torch.tensor(values, dtype=torch.float64).view(-1, 1, *[1] * axes), persistent=False)


# ---- stacking -----------------------------------------------------------------------------------------------------------


def stack(networks: Sequence[Network], batch_index: Sequence[int] = ()) -> Network:
    """One network from T networks; a single network is returned unchanged.

    With `batch_index`, the batch of each trial, the stacked network also takes S batches for T trials.

    Raises:
        ValueError: the networks cannot be stacked: their layers differ in type, or convolutions are combined with scalars,
            gates or random shortcuts.
    """
    if len(networks) == 1:
        return networks[0]
    if any(isinstance(module, nn.Conv2d) for module in networks[0].modules()):
        for module in networks[0].modules():
            own_axes = {parameter.ndim for parameter in module.parameters(recurse=False)}
            if own_axes & {0, 3} or hasattr(module, "draw"):
                raise ValueError(f"{type(module).__name__} cannot be stacked together with convolutions")
    stacked = cast("Network", _stacked(networks)).to(networks[0].classifier.weight.dtype)
    input_layer = next(module for module in stacked.modules() if isinstance(module, Linear | Conv2d))
    input_layer.runs = tuple((index, len(list(trials))) for index, trials in itertools.groupby(batch_index))
    return stacked


def _stacked(modules: Sequence[nn.Module]) -> nn.Module:
    constants = [module for module in modules if isinstance(module, Constant)]
    if len(constants) == len(modules):
        return Constants(constants)
    first = modules[0]
    if {type(module) for module in modules} != {type(first)}:
        raise ValueError(f"{', '.join(sorted({type(module).__name__ for module in modules}))} cannot be stacked")
    stacked = copy.copy(first)
    stacked.__class__ = STACKED_TYPES.get(type(first), type(first))
    stacked._parameters, stacked._buffers, stacked._modules = {}, {}, {}  # noqa: SLF001 - the copy shares those of `first`
    for name, parameter in first._parameters.items():  # noqa: SLF001 - includes a bias that is None, which must stay None
        values = (
            None if parameter is None else nn.Parameter(stack_tensors([getattr(module, name).detach() for module in modules]))
        )
        stacked.register_parameter(name, values)
    for name, _ in first.named_buffers(recurse=False):
        stacked.register_buffer(name, stack_tensors([getattr(module, name) for module in modules]))
    for name, _ in first.named_children():
        stacked.add_module(name, _stacked([module.get_submodule(name) for module in modules]))
    return stacked


def stack_tensors(tensors: Sequence[Tensor]) -> Tensor:
    """(T, *shape), with axes of size 1 after T if `shape` has fewer than two, to broadcast against (T, B, D)."""
    first = tensors[0]
    return torch.stack(list(tensors)).view(len(tensors), *[1] * (2 - first.ndim), *first.shape)


def unstack(state_dict: StateDict, single_state_dict: StateDict, trials: int, trial: int) -> dict[str, Tensor]:
    """A copy of the state dict of one of `trials` trials, in the shapes of `single_state_dict`."""
    if trials == 1:
        return dict(state_dict)
    return {name: tensor[trial].reshape(single_state_dict[name].shape).clone() for name, tensor in state_dict.items()}


def join_noise(trial_noise: Sequence[list[Noise]]) -> list[Noise]:
    """Stacked noise of each block, from the noise of each trial."""
    if len(trial_noise) == 1:
        return trial_noise[0]
    return [None if draws[0] is None else stack_tensors(draws) for draws in zip(*trial_noise, strict=True)]


def copy_rows(source: Tensor, target: Tensor, rows: Sequence[int], trials: int) -> None:
    """Copies the rows of the trials `rows` from one stacked tensor to another; if there is one trial, the whole tensor."""
    if trials == 1:
        target.copy_(source)
    else:
        target[list(rows)] = source[list(rows)]
