"""Plain and residual MLPs and CNNs from plain arguments.

Depth counts weighted layers on the longest path: stem + layers of each block + classifier. State-dict keys stand in the
order of the forward pass; docs/networks.md lists them.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from resexp.networks.blocks import Block, Network
from resexp.shortcuts import SHORTCUTS, BlockSpec, make_shortcut

EPS, GROUPS, STAGES = 1e-5, 8, 3
FAMILIES, BLOCKS = ("mlp", "cnn"), ("basic", "bottleneck")

Shortcut = str | Mapping[str, Mapping[str, Any]]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}

# (mlp, cnn) norm layers from a number of features or channels.
NORMS: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], nn.Module]]] = {
    "none": (lambda _: nn.Identity(), lambda _: nn.Identity()),
    "batch": (lambda width: nn.BatchNorm1d(width, EPS), lambda channels: nn.BatchNorm2d(channels, EPS)),
    "layer": (lambda width: nn.LayerNorm(width, EPS), lambda channels: nn.GroupNorm(1, channels, EPS)),
    "group": (lambda width: nn.GroupNorm(GROUPS, width, EPS), lambda channels: nn.GroupNorm(GROUPS, channels, EPS)),
}


# ---- where norms and activations stand ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placement:
    """Norms N and activations A around a branch of layers L N A L N A ... L: before it, at its end, after the addition.

    What stands before a branch is left out of the stem, L N A, and made up for at the tail.
    """

    before: str
    end: str
    after: str


PLACEMENTS: dict[str, Placement] = {
    "post": Placement("", "N", "A"),  # arXiv:1512.03385 figure 2
    "pre": Placement("NA", "", ""),  # arXiv:1603.05027 figure 4(e), full pre-activation
    "branch": Placement("", "NA", ""),  # the article's H(x, W) + F(x, U); 1603.05027 figure 4(c), ReLU before addition
    "post-norm": Placement("", "", "NA"),  # 1603.05027 figure 4(b), BN after addition
    "pre-act-only": Placement("A", "N", ""),  # 1603.05027 figure 4(d), ReLU-only pre-activation
}


# ---- the layers of a block --------------------------------------------------------------------------------------------

EXPANSION = 4  # of a bottleneck's output over its inner width


@dataclass(frozen=True)
class Layer:
    """A weighted layer of a branch: its output as a multiple of the inner width, the side of its kernel."""

    widening: int
    kernel: int


def branch_layers(family: str, block: str, block_layers: int) -> list[Layer]:
    """basic: 3x3 layers of one width; bottleneck: 1x1, 3x3, 1x1 that widens: arXiv:1512.03385 figure 5.

    Raises:
        ValueError: a bottleneck in an mlp.
    """
    if block == "basic":
        return [Layer(1, 3)] * block_layers
    if family == "mlp":
        raise ValueError("a bottleneck is a block of convolutions; an mlp has basic blocks")
    return [Layer(1, 1), Layer(1, 3), Layer(EXPANSION, 1)]


class Shift(nn.Module):
    """x + a learned scalar that starts at 0: Fixup's third rule, arXiv:1901.09321 §3."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Multiplier(nn.Module):
    """x times a learned scalar that starts at 1: Fixup's third rule, arXiv:1901.09321 §3."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


@dataclass(frozen=True)
class Parts:
    """How the parts of a network are made: letters N (norm), A (activation) and weighted layers."""

    norm: Callable[[int], nn.Module]
    act: Callable[[], nn.Module]
    layer: Callable[[int, int, int, int], nn.Module]  # inputs, outputs, kernel, stride
    scalars: bool

    def named(self, letters: str, channels: int, number: str = "") -> Iterator[tuple[str, nn.Module]]:
        """(name, part) for each letter; norms that are none leave no trace."""
        for letter in letters:
            if letter == "N" and not isinstance(norm := self.norm(channels), nn.Identity):
                yield f"norm{number}", norm
            if letter == "A":
                yield from self.shifted(f"act{number}", self.act())

    def shifted(self, name: str, part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """A layer or activation, behind Fixup's scalar where there is one."""
        if self.scalars:
            yield f"{name}_shift", Shift()
        yield name, part


# ---- building ------------------------------------------------------------------------------------------------------


def build_network(
    family: str,
    *,
    depth: int,
    width: int,
    shortcut: Shortcut,
    input_shape: tuple[int, ...],
    classes: int,
    block: str = "basic",
    block_layers: int = 2,
    placement: str = "post",
    norm: str = "none",
    activation: str = "relu",
    pad: str = "end",
    scalars: bool = False,
) -> Network:
    """An mlp or a cnn from plain arguments, with torch's own start; `initialise` draws one by name.

    Args:
        family: "mlp" (a flattened image through layers of one width) or "cnn" (3x3 stem, three stages of w, 2w, 4w
            channels, the second and third halving the image, global average pool: arXiv:1512.03385 §4.2).
        depth: weighted layers on the longest path; depth - 2 is a multiple of the layers of a block (mlp) or of three
            times as many (cnn).
        width: hidden units, or channels of the first stage (of its inner layers in a bottleneck).
        shortcut: a key of SHORTCUTS, or one with parameters: {"gate": {"bias": -6}}.
        input_shape: (C, H, W) of one image.
        classes: K.
        block: "basic", or "bottleneck" (cnn only: 1x1, 3x3, 1x1).
        block_layers: weighted layers of a basic block.
        placement: a key of PLACEMENTS.
        norm: a key of NORMS. Layers have a bias only under "none": a norm takes a bias out again.
        activation: a key of ACTIVATIONS.
        pad: where option A puts its zero channels: "end" or "both".
        scalars: a scalar shift before each layer and activation and a scalar multiplier at the end of each branch,
            instead of biases: Fixup's third rule.

    Raises:
        ValueError: an unknown name, a width or block_layers below 1, a depth or block that the family cannot have.
    """
    _check(family=family, block=block, shortcut=shortcut, placement=placement, norm=norm, activation=activation)
    _check_counts(width=width, block_layers=block_layers)
    convolutional = family == "cnn"
    layers = branch_layers(family, block, block_layers)
    count = blocks_per_stage(depth, len(layers), STAGES if convolutional else 1)
    layer = partial(_convolution if convolutional else _linear, bias=norm == "none" and not scalars)
    parts = Parts(NORMS[norm][convolutional], ACTIVATIONS[activation], layer, scalars)
    where = PLACEMENTS[placement]
    carried = NORMS[norm if "N" in where.end else "none"][convolutional]  # a map is normed where its branch is
    widened = width * layers[-1].widening
    shapes = _image_shapes(width, widened, input_shape, count) if convolutional else [(width,)] * (count + 1)
    places = [BlockSpec(*ends, index, len(shapes) - 1, carried, pad) for index, ends in enumerate(pairwise(shapes))]
    blocks = [_block(place, shortcut, layers, where, parts, place.index // count) for place in places]
    flatten, pool = ("flatten", nn.Flatten()), ("pool", nn.AdaptiveAvgPool2d(1))
    stem: list[tuple[str, nn.Module]] = [] if convolutional else [flatten]
    stem += parts.shifted("layer", layer(input_shape[0] if convolutional else math.prod(input_shape), width, 3, 1))
    stem += parts.named("NA".removesuffix(where.before), width)
    tail = [*parts.named(where.before, shapes[-1][0]), *([pool, flatten] if convolutional else [])]
    tail += [("shift", Shift())] if scalars else []
    return Network(_sequence(stem), blocks, _sequence(tail), nn.Linear(shapes[-1][0], classes))


def _check(**named: Shortcut) -> None:
    """Raises ValueError for the first value that is none of its kind."""
    for kind, value in named.items():
        name, allowed = value if isinstance(value, str) else next(iter(value), None), ALLOWED[kind]
        if name not in allowed:
            raise ValueError(f"{kind} {name!r} is not one of {', '.join(allowed)}")


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} {count} is not a whole number from 1")


ALLOWED: dict[str, Collection[str]] = {
    "family": FAMILIES, "block": BLOCKS, "shortcut": SHORTCUTS, "placement": PLACEMENTS, "norm": NORMS,
    "activation": ACTIVATIONS,
}  # fmt: skip


def blocks_per_stage(depth: int, layers: int, stages: int) -> int:
    """Blocks of a stage in a network of that depth; raises ValueError where there is no whole number of them."""
    count, rest = divmod(depth - 2, layers * stages)
    if count < 0 or rest:
        raise ValueError(f"depth {depth} is not 2 plus a multiple of {layers * stages}")
    return count


def _block(place: BlockSpec, shortcut: Shortcut, layers: list[Layer], where: Placement, parts: Parts, stage: int) -> Block:
    inputs, stride, inner = place.inputs[0], place.stride, place.outputs[0] // layers[-1].widening
    branch: list[tuple[str, nn.Module]] = []
    for n, layer in enumerate(layers, start=1):
        outputs = inner * layer.widening
        branch += parts.shifted(f"layer{n}", parts.layer(inputs, outputs, layer.kernel, stride))
        branch += parts.named("NA" if n < len(layers) else where.end, outputs, str(n))
        inputs, stride = outputs, 1
    branch += [("multiplier", Multiplier())] if parts.scalars else []
    before = parts.named(where.before, place.inputs[0])
    after = parts.named(where.after, place.outputs[0])
    block = Block(_sequence(before), _sequence(branch), make_shortcut(shortcut, place), _sequence(after))
    block.stage = stage
    # arXiv:1603.05027 §4.1: the first unit, and those that change shapes, activate before their paths part
    block.shares_activation = bool(where.before) and (place.index == 0 or place.changes)
    return block


def _sequence(parts: Iterable[tuple[str, nn.Module]]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))


def _linear(inputs: int, outputs: int, _kernel: int, _stride: int, *, bias: bool) -> nn.Module:
    return nn.Linear(inputs, outputs, bias=bias)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, *, bias: bool) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def _image_shapes(width: int, widened: int, inputs: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """Shapes of x_0 .. x_L: `count` blocks a stage, each stage half the side (rounded up) and twice the channels."""
    _, height, columns = inputs
    stages = [(widened * 2**stage, -(-height // 2**stage), -(-columns // 2**stage)) for stage in range(STAGES)]
    return [(width, height, columns), *(shape for shape in stages for _ in range(count))]
