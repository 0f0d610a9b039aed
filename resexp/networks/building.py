"""Plain and residual MLPs and CNNs from plain arguments.

Depth counts weighted layers on the longest path: stem + layers of each block + classifier. State dict keys are in the order
of the forward pass; docs/networks.md lists them.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from resexp import config
from resexp.networks.activations import ACTIVATIONS, make_activation
from resexp.networks.blocks import Block, Network
from resexp.shortcuts import SHORTCUTS, BlockSpec, make_shortcut

EPS, GROUPS, STAGES = 1e-5, 8, 3
FAMILIES, BLOCKS = ("mlp", "cnn"), ("basic", "bottleneck")

# (mlp, cnn) normalization layers for a number of features or channels.
NORMS: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], nn.Module]]] = {
    "none": (lambda _: nn.Identity(), lambda _: nn.Identity()),
    "batch": (lambda width: nn.BatchNorm1d(width, EPS), lambda channels: nn.BatchNorm2d(channels, EPS)),
    "layer": (lambda width: nn.LayerNorm(width, EPS), lambda channels: nn.GroupNorm(1, channels, EPS)),
    "group": (lambda width: nn.GroupNorm(GROUPS, width, EPS), lambda channels: nn.GroupNorm(GROUPS, channels, EPS)),
}


# ---- placement of normalization and activation ----------------------------------------------------------------------


@dataclass(frozen=True)
class Placement:
    """Normalization N and activation A before a branch L N A L N A ... L of layers L, at its end, and after the addition.

    If N or A is placed before the branch, the stem L N A omits it, and the tail applies it once before the classifier.
    """

    before: str
    end: str
    after: str


PLACEMENTS: dict[str, Placement] = {
    "post": Placement("", "N", "A"),  # arXiv:1512.03385 figure 2
    "pre": Placement("NA", "", ""),  # arXiv:1603.05027 figure 4(e), full pre-activation
    "branch": Placement("", "NA", ""),  # 1603.05027 figure 4(c), ReLU before addition: H(x, W) + F(x, U)
    "post-norm": Placement("", "", "NA"),  # 1603.05027 figure 4(b), BN after addition
    "pre-act-only": Placement("A", "N", ""),  # 1603.05027 figure 4(d), ReLU-only pre-activation
}


# ---- the layers of a block --------------------------------------------------------------------------------------------

EXPANSION = 4  # output width of a bottleneck divided by its inner width


@dataclass(frozen=True)
class Layer:
    """A weighted layer of a branch: its output width as a multiple of the inner width, and the side of its kernel."""

    expansion: int
    kernel: int


def branch_layers(family: str, block: str, block_layers: int) -> list[Layer]:
    """basic: 3x3 layers of one width; bottleneck: 1x1, 3x3, and a widening 1x1 layer (arXiv:1512.03385 figure 5).

    Raises:
        ValueError: a bottleneck in an mlp.
    """
    if block == "basic":
        return [Layer(1, 3)] * block_layers
    if family == "mlp":
        raise ValueError("block 'bottleneck' consists of convolutions; use block 'basic' in an mlp")
    return [Layer(1, 1), Layer(1, 3), Layer(EXPANSION, 1)]


class Shift(nn.Module):
    """x + a learned scalar, initialized to 0: Fixup's third rule, arXiv:1901.09321 §3."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Multiplier(nn.Module):
    """x times a learned scalar, initialized to 1: Fixup's third rule, arXiv:1901.09321 §3."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


@dataclass(frozen=True)
class LayerTypes:
    """The layer types of a network: normalization N, activation A and weighted layers, with Fixup's scalars if `scalars`."""

    norm: Callable[[int], nn.Module]
    activation: Callable[[], nn.Module]
    layer: Callable[[int, int, int, int], nn.Module]  # inputs, outputs, kernel, stride
    scalars: bool

    def placed(self, letters: str, channels: int, number: str = "") -> Iterator[tuple[str, nn.Module]]:
        """(name, layer) for each letter; without normalization, the letter N gives no layer."""
        for letter in letters:
            if letter == "N" and not isinstance(norm := self.norm(channels), nn.Identity):
                yield f"norm{number}", norm
            if letter == "A":
                yield from self.shifted(f"act{number}", self.activation())

    def shifted(self, name: str, layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """A layer or activation, after Fixup's scalar shift if `scalars`."""
        if self.scalars:
            yield f"{name}_shift", Shift()
        yield name, layer


# ---- building ------------------------------------------------------------------------------------------------------


def build_network(
    family: str,
    *,
    depth: int,
    width: int,
    shortcut: str | config.Scalars,
    input_shape: tuple[int, ...],
    classes: int,
    block: str = "basic",
    block_layers: int = 2,
    placement: str = "post",
    norm: str = "none",
    activation: str | config.Scalars = "relu",
    pad: str = "end",
    scalars: bool = False,
) -> Network:
    """An mlp or a cnn from plain arguments, with PyTorch default initialization; `initialize` applies another one.

    Args:
        family: "mlp" (a flattened image through layers of one width) or "cnn" (3x3 stem, three stages of w, 2w, 4w
            channels, of which the second and third halve the image, global average pool: arXiv:1512.03385 §4.2).
        depth: weighted layers on the longest path; depth - 2 is a multiple of the layers of a block (mlp) or of three
            times as many (cnn).
        width: hidden units, or channels of the first stage (in a bottleneck, of its inner layers).
        shortcut: a key of SHORTCUTS, or one with parameters: {"gate": {"bias": -6}}.
        input_shape: (C, H, W) of one image.
        classes: K.
        block: "basic", or "bottleneck" (cnn only: 1x1, 3x3, 1x1).
        block_layers: weighted layers of a basic block.
        placement: a key of PLACEMENTS.
        norm: a key of NORMS. Layers have a bias only with "none": normalization cancels a bias.
        activation: a key of ACTIVATIONS, or one with parameters: {"leaky-relu": {"slope": 0.1}}.
        pad: where option A adds zero channels: "end" or "both".
        scalars: a scalar shift before each layer and activation and a scalar multiplier at the end of each branch,
            instead of biases: Fixup's third rule.

    Raises:
        ValueError: an unknown name, width or block_layers below 1, or a depth or block that the family does not support.
    """
    _check(family=family, block=block, shortcut=shortcut, placement=placement, norm=norm, activation=activation)
    _check_counts(width=width, block_layers=block_layers)
    convolutional = family == "cnn"
    layers = branch_layers(family, block, block_layers)
    count = blocks_per_stage(depth, len(layers), STAGES if convolutional else 1)
    create_layer = partial(_convolution if convolutional else _linear, bias=norm == "none" and not scalars)
    layer_types = LayerTypes(NORMS[norm][convolutional], partial(make_activation, activation, depth - 1), create_layer, scalars)
    order = PLACEMENTS[placement]
    # A map on a shortcut is followed by normalization if the branch ends with normalization.
    map_norm = NORMS[norm if "N" in order.end else "none"][convolutional]
    output_width = width * layers[-1].expansion
    shapes = _image_shapes(width, output_width, input_shape, count) if convolutional else [(width,)] * (count + 1)
    specs = [BlockSpec(*ends, index, len(shapes) - 1, map_norm, pad) for index, ends in enumerate(pairwise(shapes))]
    blocks = [_block(spec, shortcut, layers, order, layer_types, spec.index // count) for spec in specs]
    flatten, pool = ("flatten", nn.Flatten()), ("pool", nn.AdaptiveAvgPool2d(1))
    stem: list[tuple[str, nn.Module]] = [] if convolutional else [flatten]
    stem += layer_types.shifted("layer", create_layer(input_shape[0] if convolutional else math.prod(input_shape), width, 3, 1))
    stem += layer_types.placed("NA".removesuffix(order.before), width)
    tail = [*layer_types.placed(order.before, shapes[-1][0]), *([pool, flatten] if convolutional else [])]
    tail += [("shift", Shift())] if scalars else []
    return Network(_sequence(stem), blocks, _sequence(tail), nn.Linear(shapes[-1][0], classes))


def _check(**values: str | config.Scalars) -> None:
    """Raises ValueError for the first value that is not allowed for its argument."""
    for kind, value in values.items():
        name, allowed = value if isinstance(value, str) else next(iter(value), None), ALLOWED[kind]
        if name not in allowed:
            raise ValueError(f"{kind} {name!r} is not one of {', '.join(allowed)}")


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} {count} is not a positive integer")


ALLOWED: dict[str, Collection[str]] = {
    "family": FAMILIES, "block": BLOCKS, "shortcut": SHORTCUTS, "placement": PLACEMENTS, "norm": NORMS,
    "activation": ACTIVATIONS,
}  # fmt: skip


def blocks_per_stage(depth: int, layers: int, stages: int) -> int:
    """The number of blocks per stage in a network of that depth; raises ValueError if it is not an integer."""
    count, rest = divmod(depth - 2, layers * stages)
    if count < 0 or rest:
        raise ValueError(f"depth {depth} is not 2 plus a multiple of {layers * stages}")
    return count


def _block(
    spec: BlockSpec, shortcut: str | config.Scalars, layers: list[Layer], order: Placement, layer_types: LayerTypes, stage: int
) -> Block:
    inputs, stride, inner = spec.inputs[0], spec.stride, spec.outputs[0] // layers[-1].expansion
    branch: list[tuple[str, nn.Module]] = []
    for n, layer in enumerate(layers, start=1):
        outputs = inner * layer.expansion
        branch += layer_types.shifted(f"layer{n}", layer_types.layer(inputs, outputs, layer.kernel, stride))
        branch += layer_types.placed("NA" if n < len(layers) else order.end, outputs, str(n))
        inputs, stride = outputs, 1
    branch += [("multiplier", Multiplier())] if layer_types.scalars else []
    before = layer_types.placed(order.before, spec.inputs[0])
    after = layer_types.placed(order.after, spec.outputs[0])
    block = Block(_sequence(before), _sequence(branch), make_shortcut(shortcut, spec), _sequence(after))
    block.stage = stage
    # arXiv:1603.05027 §4.1: the first block, and blocks that change shape, apply the activation before the input is split.
    block.shares_activation = bool(order.before) and (spec.index == 0 or spec.changes)
    return block


def _sequence(layers: Iterable[tuple[str, nn.Module]]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _linear(inputs: int, outputs: int, _kernel: int, _stride: int, *, bias: bool) -> nn.Module:
    return nn.Linear(inputs, outputs, bias=bias)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, *, bias: bool) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def _image_shapes(width: int, output_width: int, inputs: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """Shapes of x_0 .. x_L: `count` blocks per stage; each stage halves the side (rounded up) and doubles the channels."""
    _, height, columns = inputs
    stages = [(output_width * 2**stage, -(-height // 2**stage), -(-columns // 2**stage)) for stage in range(STAGES)]
    return [(width, height, columns), *(shape for shape in stages for _ in range(count))]
