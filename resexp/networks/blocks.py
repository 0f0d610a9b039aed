"""Plain and residual MLPs and CNNs from one block formula.

    x' = after(a F(h; W) + S(u; U)),  h = before(x),  u = h where the shortcut shares the activation, else x

    placement   before     F (per weighted layer L, norm N, activation A)   after
    post        -          L N (A L N)*                                     A         arXiv:1512.03385
    pre         N A        L (N A L)*                                       -         arXiv:1603.05027
    branch      -          L N (A L N)* A                                   -         the article's H(x, W) + F(x, U)

Depth counts weighted layers on the longest path: stem + block_layers per block + classifier. State-dict keys, in the
order of the forward pass: stem.layer, stem.norm, blocks.<i>.before.norm, blocks.<i>.branch.{layer1, norm1, layer2, ...},
blocks.<i>.shortcut, tail.norm, classifier.

Shapes: B batch, D width, C x H x W image, K classes.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from resexp.shortcuts import SHORTCUTS, Place, join

EPS, GROUPS, STAGES = 1e-5, 8, 3

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}

# (mlp, cnn) norm layers from a number of features or channels.
NORMS: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], nn.Module]]] = {
    "none": (lambda _: nn.Identity(), lambda _: nn.Identity()),
    "batch": (lambda width: nn.BatchNorm1d(width, EPS), lambda channels: nn.BatchNorm2d(channels, EPS)),
    "layer": (lambda width: nn.LayerNorm(width, EPS), lambda channels: nn.GroupNorm(1, channels, EPS)),
    "group": (lambda width: nn.GroupNorm(GROUPS, width, EPS), lambda channels: nn.GroupNorm(GROUPS, channels, EPS)),
}


# ---- the block, and the network around it -------------------------------------------------------------------------


class Block(nn.Module):
    """One block; placement and shortcut are values in it."""

    def __init__(self, before: nn.Module, branch: nn.Module, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before, self.branch, self.shortcut, self.after = before, branch, shortcut, after
        self.stage = 0
        self.shares_activation = False

    def forward(self, x: Tensor) -> Tensor:
        h = self.before(x)
        a, s = self.shortcut(h if self.shares_activation else x)
        joined: Tensor = self.after(join(a, self.branch(h), s))
        return joined


class Network(nn.Module):
    """stem -> blocks -> tail -> classifier; (B, ...) -> logits (B, K)."""

    def __init__(self, stem: nn.Module, blocks: list[Block], tail: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.tail = tail
        self.classifier = classifier

    def forward(self, x: Tensor, boundaries: list[Tensor] | None = None) -> Tensor:
        """Logits of a batch. Block boundaries x_0 (the stem's output) to x_L are appended to `boundaries` if given."""
        x = self.stem(x)
        kept = [x]
        for block in self.blocks:
            x = block(x)
            kept.append(x)
        if boundaries is not None:
            boundaries.extend(kept)
        logits: Tensor = self.classifier(self.tail(x))
        return logits


# ---- building ------------------------------------------------------------------------------------------------------


Layer = Callable[[tuple[int, ...], tuple[int, ...]], nn.Module]  # a weighted layer from its input and output shapes
Make = Callable[[int], nn.Module]


def build_network(
    family: str,
    *,
    depth: int,
    width: int,
    shortcut: str,
    input_shape: tuple[int, ...],
    classes: int,
    block_layers: int = 2,
    placement: str = "post",
    norm: str = "none",
    activation: str = "relu",
) -> Network:
    """An mlp or a cnn from plain arguments, with torch's own start; `initialise` draws one by name.

    Args:
        family: "mlp" (a flattened image through layers of one width) or "cnn" (3x3 stem, three stages of w, 2w, 4w
            channels, the second and third halving the image, global average pool: arXiv:1512.03385 §4.2).
        depth: weighted layers on the longest path; depth - 2 is a multiple of block_layers (mlp) or of
            3 block_layers (cnn).
        width: hidden units, or channels of the first stage.
        shortcut: a key of SHORTCUTS.
        input_shape: (C, H, W) of one image.
        classes: K.
        block_layers: weighted layers per block.
        placement: "post", "pre" or "branch"; see the module's table.
        norm: a key of NORMS. Layers have a bias only under "none": a norm takes a bias out again.
        activation: a key of ACTIVATIONS.

    Raises:
        ValueError: a depth that the family cannot have.
    """
    convolutional = family == "cnn"
    stages = STAGES if convolutional else 1
    count, rest = divmod(depth - 2, block_layers * stages)
    if count < 0 or rest:
        raise ValueError(f"depth {depth} is not 2 plus a multiple of {block_layers * stages}")
    make_norm, act = NORMS[norm][convolutional], ACTIVATIONS[activation]
    layer = partial(_convolution if convolutional else _linear, bias=norm == "none")
    shapes = _image_shapes(width, input_shape, count) if convolutional else [(width,)] * (count + 1)
    carried = NORMS["none" if placement == "pre" else norm][convolutional]  # arXiv:1603.05027: a clean path in pre
    places = [Place(*ends, index, len(shapes) - 1, carried) for index, ends in enumerate(pairwise(shapes))]
    blocks = [_block(place, shortcut, block_layers, placement, layer, make_norm, act) for place in places]
    for place, block in zip(places, blocks, strict=True):
        block.stage = place.index // count
    stem_inputs = input_shape if convolutional else (math.prod(input_shape),)
    first = {"flatten": nn.Identity() if convolutional else nn.Flatten(), "layer": layer(stem_inputs, shapes[0])}
    last = {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()} if convolutional else {}
    outer = [{"norm": make_norm(shape[0]), "act": act()} for shape in (shapes[0], shapes[-1])]
    stem, tail = (first, outer[1] | last) if placement == "pre" else (first | outer[0], last)
    return Network(_sequence(stem), blocks, _sequence(tail), nn.Linear(shapes[-1][0], classes))


def _block(
    place: Place,
    shortcut: str,
    block_layers: int,
    placement: str,
    layer: Layer,
    norm: Make,
    act: Callable[[], nn.Module],
) -> Block:
    pre = placement == "pre"
    before = {"norm": norm(place.inputs[0]), "act": act()} if pre else {}
    branch: dict[str, nn.Module] = {}
    for n in range(1, block_layers + 1):
        if pre and n > 1:
            branch |= {f"norm{n}": norm(place.outputs[0]), f"act{n}": act()}
        branch[f"layer{n}"] = layer(place.inputs if n == 1 else place.outputs, place.outputs)
        if not pre:
            branch[f"norm{n}"] = norm(place.outputs[0])
            if n < block_layers or placement == "branch":
                branch[f"act{n}"] = act()
    after = {"act": act()} if placement == "post" else {}
    block = Block(_sequence(before), _sequence(branch), SHORTCUTS[shortcut](place), _sequence(after))
    block.shares_activation = pre and (place.index == 0 or place.changes)  # arXiv:1603.05027 §4.1
    return block


def _sequence(parts: dict[str, nn.Module]) -> nn.Sequential:
    """Named parts in a row; norms that are none leave no trace."""
    return nn.Sequential(OrderedDict((k, part) for k, part in parts.items() if not isinstance(part, nn.Identity)))


def _linear(inputs: tuple[int, ...], outputs: tuple[int, ...], *, bias: bool) -> nn.Module:
    return nn.Linear(inputs[0], outputs[0], bias=bias)


def _convolution(inputs: tuple[int, ...], outputs: tuple[int, ...], *, bias: bool) -> nn.Module:
    stride = 1 if inputs[1:] == outputs[1:] else 2
    return nn.Conv2d(inputs[0], outputs[0], 3, stride, padding=1, bias=bias)


def _image_shapes(width: int, inputs: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """Shapes of x_0 .. x_L: `count` blocks a stage, each stage half the side (rounded up) and twice the channels."""
    _, height, columns = inputs
    stages = [(width * 2**stage, -(-height // 2**stage), -(-columns // 2**stage)) for stage in range(STAGES)]
    return [(width, height, columns), *(shape for shape in stages for _ in range(count))]
