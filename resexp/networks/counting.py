"""Costs of a network: parameters, multiply-adds, and the bytes that autograd saves for the backward pass.

Counted by torch (FlopCounterMode, saved_tensors_hooks) in passes that do not change the network. Costs that grow with the
batch size are given per image.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from resexp import streams
from resexp.networks.blocks import Network
from resexp.networks.layers import weighted_layers

SMALL_BATCH, LARGE_BATCH = 2, 4  # images; batch norm over units needs at least two


@dataclass(frozen=True)
class LayerCost:
    """Costs of a weighted layer: output shape of one image, weights and biases, multiply-adds, activation memory.

    `activation_bytes` counts what is saved for the backward pass from the call of this layer until the call of the next
    weighted layer. It includes the normalization, activation and addition after this layer. Images count for the stem.
    """

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int


@dataclass(frozen=True)
class NetworkCost:
    """Costs of a network; parameters of normalization layers, gates and scalars are included in the total only."""

    layers: tuple[LayerCost, ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int


def count(network: Network, input_shape: Sequence[int]) -> NetworkCost:
    """Costs of one image of `input_shape`, by layer in depth order and in total; inside autocast, with autocast."""
    with torch.inference_mode(mode=False):  # in inference mode autograd would save nothing
        return _count(network, input_shape)


def _count(network: Network, input_shape: Sequence[int]) -> NetworkCost:
    # This comes first: in autocast, torch 2.8 reuses weights that were cast while gradients were off (pytorch/pytorch#158232).
    (small, _), (large, outputs) = (_saved_bytes(network, batch, input_shape) for batch in (SMALL_BATCH, LARGE_BATCH))
    flops = _flops(network, input_shape)
    modules = {module: f"{type(network).__name__}.{name}" for name, module in network.named_modules()}
    layers = tuple(
        LayerCost(
            layer.name,
            outputs[layer.name],
            _parameters(layer.module),
            flops[modules[layer.module]] // 2,
            (large[layer.name] - small[layer.name]) // (LARGE_BATCH - SMALL_BATCH),
        )
        for layer in weighted_layers(network)
    )
    activation_bytes = sum(layer.activation_bytes for layer in layers)
    return NetworkCost(layers, _parameters(network), flops["Global"] // 2, activation_bytes)


def multiply_adds(network: Network, input_shape: Sequence[int]) -> int:
    """Multiply-adds of matrix products and convolutions in the forward pass of one image (two operations each)."""
    return _flops(network, input_shape)["Global"] // 2


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _flops(network: Network, input_shape: Sequence[int]) -> dict[str, int]:
    """Floating-point operations of the forward pass of one image, by module name; "Global" is their total."""
    with _mode(network, training=False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        _forward(network, 1, input_shape)
    return {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}


def _saved_bytes(network: Network, batch: int, input_shape: Sequence[int]) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """(bytes saved in a training pass of `batch` images, output shape of one image), both by weighted layer.

    The bytes include tensors that do not grow with the batch: weights, running statistics, means. The difference between two
    batch sizes excludes them.
    """
    layers = weighted_layers(network)
    saved, outputs, current = dict.fromkeys([layer.name for layer in layers], 0), {}, layers[0].name
    storages: dict[int, torch.UntypedStorage] = {}  # kept alive, so that no two share an id

    def enter(name: str, _module: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        nonlocal current
        current = name

    def leave(name: str, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[name] = tuple(output.shape[1:])

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in storages:
            storages[id(storage)] = storage
            saved[current] += storage.nbytes()
        return tensor

    with ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.module.register_forward_pre_hook(partial(enter, layer.name)))
            hooks.enter_context(layer.module.register_forward_hook(partial(leave, layer.name)))
        with _mode(network, training=True), torch.enable_grad(), saved_tensors_hooks(save, lambda tensor: tensor):
            _forward(network, batch, input_shape)
    return saved, outputs


def _forward(network: Network, batch: int, input_shape: Sequence[int]) -> None:
    """A pass on images of zeros; it updates copies of the running statistics and draws noise from separate streams."""
    weight = network.classifier.weight
    x = torch.zeros(batch, *input_shape, dtype=weight.dtype, device=weight.device)
    stream = partial(streams.generator, 0, "count", device=x.device)
    noise = network.sample_noise(batch, stream) if network.training else ()
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    functional_call(network, buffers, (x, None, noise))


@contextmanager
def _mode(network: Network, *, training: bool) -> Iterator[None]:
    """A context with the network in training or eval mode; afterwards every module is in its previous mode."""
    modes = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
