"""What a network costs: parameters, multiply-adds, and the bytes that autograd keeps for the backward pass.

All by torch's own counters, in passes that leave the network as it was. What grows with a batch is per image.
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

FEW, MANY = 2, 4  # images; a batch norm over units needs two


@dataclass(frozen=True)
class LayerCost:
    """A weighted layer: output shape of one image, weights and biases of its own, multiply-adds, bytes kept.

    `activation_bytes` is what is saved for the backward pass from this layer's call until the next weighted layer's: that
    of its norm, its activation and the addition behind it too. The images themselves are with the stem.
    """

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int


@dataclass(frozen=True)
class NetworkCost:
    """A whole network; parameters of norms, gates and scalars stand in the total alone."""

    layers: tuple[LayerCost, ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int


def count(network: Network, input_shape: Sequence[int]) -> NetworkCost:
    """What one image of `input_shape` costs, by layer in depth order and in total; under autocast, what it costs there."""
    with torch.inference_mode(mode=False):  # under which autograd would keep nothing
        return _count(network, input_shape)


def _count(network: Network, input_shape: Sequence[int]) -> NetworkCost:
    # First: under autocast torch 2.8 goes on with weights that it cast while gradients were off (pytorch/pytorch#158232).
    (few, _), (many, outputs) = (_kept_for_backward(network, batch, input_shape) for batch in (FEW, MANY))
    flops = _flops(network, input_shape)
    modules = {module: f"{type(network).__name__}.{name}" for name, module in network.named_modules()}
    layers = tuple(
        LayerCost(
            layer.name,
            outputs[layer.name],
            _parameters(layer.module),
            flops[modules[layer.module]] // 2,
            (many[layer.name] - few[layer.name]) // (MANY - FEW),
        )
        for layer in weighted_layers(network)
    )
    kept = sum(layer.activation_bytes for layer in layers)
    return NetworkCost(layers, _parameters(network), flops["Global"] // 2, kept)


def multiply_adds(network: Network, input_shape: Sequence[int]) -> int:
    """Multiply-adds of one image's forward pass: matrix products and convolutions, two floating-point operations each."""
    return _flops(network, input_shape)["Global"] // 2


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _flops(network: Network, input_shape: Sequence[int]) -> dict[str, int]:
    """Floating-point operations of one image's forward pass, by torch's name of the module; all under "Global"."""
    with _mode(network, training=False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        _forward(network, 1, input_shape)
    return {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}


def _kept_for_backward(
    network: Network, batch: int, input_shape: Sequence[int]
) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """(bytes saved in a training pass of `batch` images, output shape of one) by weighted layer.

    Whatever does not grow with the batch is in it: weights, running statistics, means. Two batches tell it apart.
    """
    layers = weighted_layers(network)
    kept, outputs, present = dict.fromkeys([layer.name for layer in layers], 0), {}, layers[0].name
    storages: dict[int, torch.UntypedStorage] = {}  # held, so that no two of them share an id

    def enter(name: str, _module: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        nonlocal present
        present = name

    def leave(name: str, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[name] = tuple(output.shape[1:])

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in storages:
            storages[id(storage)] = storage
            kept[present] += storage.nbytes()
        return tensor

    with ExitStack() as watched:
        for layer in layers:
            watched.enter_context(layer.module.register_forward_pre_hook(partial(enter, layer.name)))
            watched.enter_context(layer.module.register_forward_hook(partial(leave, layer.name)))
        with _mode(network, training=True), torch.enable_grad(), saved_tensors_hooks(save, lambda tensor: tensor):
            _forward(network, batch, input_shape)
    return kept, outputs


def _forward(network: Network, batch: int, input_shape: Sequence[int]) -> None:
    """A pass of empty images; it moves copies of the running statistics and draws from streams of its own."""
    weight = network.classifier.weight
    x = torch.zeros(batch, *input_shape, dtype=weight.dtype, device=weight.device)
    chance = partial(streams.generator, 0, "count", device=x.device)
    noise = network.sample_noise(batch, chance) if network.training else ()
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    functional_call(network, buffers, (x, None, noise))


@contextmanager
def _mode(network: Network, *, training: bool) -> Iterator[None]:
    """The network in training or evaluation, and every module back in its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
