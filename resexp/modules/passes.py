"""Passes of a network on one batch: its calls, its output, and its boundaries with their gradients."""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from resexp.config import ConfigError
from resexp.modules.boundaries import (
    Boundaries,
    Call,
    editing,
    first_tensor,
    recording,
)
from resexp.user_code import UserCode

Loss = Callable[[Any, Tensor], Any]  # (output of the network, target) -> scalar tensor
HINT = "; check --input, --batch and --loss"


def cross_entropy(output: Any, target: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, ..., K) and class indices (B, ...); (B, K) is the usual case."""
    logits = _logits(output)
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1))


def mean_squared_error(output: Any, target: Tensor) -> Tensor:
    """Mean of squared differences."""
    return functional.mse_loss(_logits(output), target)


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "mse": mean_squared_error}


def _logits(output: Any) -> Tensor:
    """The tensor that the loss is computed from: `logits` of an output object, otherwise its first tensor."""
    named = getattr(output, "logits", None) if not isinstance(output, dict) else output.get("logits")
    tensor = named if isinstance(named, Tensor) else first_tensor(output)
    if tensor is None:
        raise ConfigError(
            f"the network returns {type(output).__name__} without a floating-point tensor; give --loss MODULE:FUNCTION",
            where="--loss",
        )
    return tensor


@dataclass(frozen=True)
class Subject:
    """A network with the batch, the loss and the seed of its passes."""

    network: nn.Module
    x: Tensor
    y: Tensor
    loss: Loss
    seed: int


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass: the boundary tensors, their gradients and the gradients of the weights."""

    loss: Tensor
    boundaries: dict[str, Tensor]
    boundary_grads: list[Tensor | None]
    weights: dict[str, nn.Parameter]
    weight_grads: list[Tensor | None]


@contextmanager
def random_state() -> Iterator[None]:
    """Restores the state of every random number generator at the end."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global generator that the network may use
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices):
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002 - as above


def seed_all(seed: int) -> None:
    """Seeds every random number generator that a network may use."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - as above
    torch.manual_seed(seed)


def copied(module: nn.Module) -> nn.Module:
    """A copy in training mode.

    Raises:
        ConfigError: it has no trainable parameters, or cannot be copied.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        count = sum(1 for _ in module.parameters())
        reason = "all parameters are frozen (requires_grad is False)" if count else "it has no parameters"
        raise ConfigError(f"{type(module).__name__} has no gradients to measure: {reason}")
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ConfigError(f"{name} is lazy and has no shape yet; call the network once in the function that returns it")
        if not bool(parameter.isfinite().all()):
            raise ConfigError(f"{name} is not finite (NaN or infinite) at initialization; check the initialization")
    with UserCode(f"copying {type(module).__name__}"):
        return copy.deepcopy(module).train()


def matching(module: nn.Module, x: Tensor) -> Tensor:
    """Inputs with the type and device of the parameters; integers keep their type."""
    parameter = next(parameter for parameter in module.parameters() if parameter.is_floating_point())
    return x.to(parameter.device, parameter.dtype if x.is_floating_point() else x.dtype)


def output_of(module: nn.Module, x: Tensor, seed: int) -> Tensor:
    """The output of a copy of a network, as the built-in losses receive it."""
    with random_state(), torch.enable_grad():
        network = copied(module)
        seed_all(seed)
        with UserCode(f"the forward pass of {type(network).__name__}", HINT):
            output = network(matching(network, x))
    tensor = _logits(output)
    if tensor.ndim == 0 or len(tensor) != len(x):
        raise ConfigError(
            f"the network returns shape {tuple(tensor.shape)} for a batch of {len(x)}; its first axis must be the batch, "
            "or give --loss MODULE:FUNCTION"
        )
    return tensor


def forward(subject: Subject) -> Tensor:
    """The loss, a scalar, after every random number generator is seeded."""
    seed_all(subject.seed)
    with UserCode(f"the forward pass of {type(subject.network).__name__}", HINT):
        output = subject.network(subject.x)
    with UserCode("the loss", HINT):
        value = subject.loss(output, subject.y)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ConfigError("the loss must return a tensor with one element, the mean over the batch", where="--loss")
    return value.reshape(())


def calls_of(subject: Subject) -> list[Call]:
    """The calls of one forward pass, which must not train the network; restores its buffers."""
    network = subject.network
    versions = {name: parameter._version for name, parameter in network.named_parameters()}  # noqa: SLF001 - PyTorch has no other way to detect changes in place
    buffers = copy.deepcopy(dict(network.named_buffers()))
    with recording(network) as calls:
        value = forward(subject)
    for name, parameter in network.named_parameters():
        if parameter._version != versions[name] or parameter.grad is not None:  # noqa: SLF001 - as above
            raise ConfigError(
                f"the forward pass of {type(network).__name__} trains: it changes {name} or its gradient. "
                "Move backward() and the optimizer out of forward"
            )
    restore(network, buffers)
    if not value.requires_grad:
        raise ConfigError(
            "the loss does not depend on any parameter; remove torch.no_grad, detach or argmax from forward and loss"
        )
    if not calls:
        raise ConfigError(f"{type(network).__name__} calls no submodule, so it has no boundaries; split it into modules")
    return calls


def restore(network: nn.Module, buffers: dict[str, Tensor]) -> None:
    """Gives the buffers, such as running statistics, their earlier values."""
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            buffer.copy_(buffers[name])


def run(subject: Subject, chosen: Boundaries) -> Pass:
    """A pass that keeps the boundary tensors, apart from operations in place that follow."""
    network = subject.network
    buffers = copy.deepcopy(dict(network.named_buffers()))
    kept: dict[str, Tensor] = {}

    def keep(label: str, tensor: Tensor) -> Tensor:
        kept[label] = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
        return kept[label].clone()

    with editing(network, chosen, keep):
        value = forward(subject)
    weights = {
        name.removesuffix(".weight"): parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and parameter.ndim > 1
    }
    wanted = [*kept.values(), *weights.values()]
    with UserCode(f"the backward pass of {type(network).__name__}"):
        grads = torch.autograd.grad(value, wanted, allow_unused=True)
    restore(network, buffers)
    return Pass(value.detach(), kept, list(grads[: len(kept)]), weights, list(grads[len(kept) :]))
