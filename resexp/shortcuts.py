"""(a, S) for each shortcut: every block computes a F(x; W) + S(x; U), and plain is a = 1, S = 0.

Shapes: B batch, D width; B, C channels, H x W.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

Scale = Tensor | float
Term = Tensor | float

ONE, ZERO = 1.0, 0.0


@dataclass(frozen=True)
class Place:
    """Where a shortcut stands: shapes without the batch, as (D,) or (C, H, W); block `index` of `blocks`.

    `norm` makes the norm layer that a mapping shortcut carries, from its number of channels.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    index: int
    blocks: int
    norm: Callable[[int], nn.Module]

    @property
    def changes(self) -> bool:
        return self.inputs != self.outputs

    @property
    def stride(self) -> int:
        """2 where the image is halved (rounded up), else 1."""
        return 1 if self.inputs[1:] == self.outputs[1:] else 2


def join(a: Scale, branch: Tensor, s: Term) -> Tensor:
    """a F(x) + S(x), in which the constants a = 1 and S = 0 cost no operation."""
    scaled = branch if isinstance(a, float) and a == ONE else a * branch
    return scaled if isinstance(s, float) and s == ZERO else scaled + s


def option_a(x: Tensor, place: Place) -> Tensor:
    """x where shapes agree, else every second pixel and zero channels at the end: arXiv:1512.03385 §3.3 option A."""
    if not place.changes:
        return x
    extra = place.outputs[0] - place.inputs[0]
    return functional.pad(x[:, :, :: place.stride, :: place.stride], (0, 0, 0, 0, 0, extra))


class Plain(nn.Module):
    """a = 1, S = 0: no shortcut, the twin of every other."""

    def __init__(self, _place: Place) -> None:
        super().__init__()

    def forward(self, _x: Tensor) -> tuple[Scale, Term]:
        return ONE, ZERO


class Identity(nn.Module):
    """a = 1, S = x; option A where shapes change. No parameters: arXiv:1512.03385 §3.3."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return ONE, option_a(x, self.place)


def linear_map(place: Place) -> nn.Module:
    """U of S(x; U) = Ux: a matrix, or a 1x1 convolution with its norm; never a bias."""
    if len(place.inputs) == 1:
        return nn.Linear(place.inputs[0], place.outputs[0], bias=False)
    return nn.Conv2d(place.inputs[0], place.outputs[0], 1, place.stride, bias=False)


class ProjectionAll(nn.Module):
    """a = 1, S = Ux in every block: arXiv:1512.03385 §3.3 option C, and F(x, U) of x_i = H(x, W_i) + F(x, U_i)."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.map = linear_map(place)
        self.norm = place.norm(place.outputs[0]) if len(place.inputs) == 3 else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return ONE, self.norm(self.map(x))


def projection(place: Place) -> nn.Module:
    """a = 1, S = Ux where shapes change, x elsewhere: arXiv:1512.03385 §3.3 option B."""
    return ProjectionAll(place) if place.changes else Identity(place)


class SkipInit(nn.Module):
    """a = one learned scalar that starts at 1 / sqrt(blocks), S = x: arXiv:2002.10444 §4."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.alpha = nn.Parameter(torch.tensor(place.blocks**-0.5))

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return self.alpha, option_a(x, self.place)


SHORTCUTS: dict[str, Callable[[Place], nn.Module]] = {
    "plain": Plain,
    "identity": Identity,
    "projection": projection,
    "projection-all": ProjectionAll,
    "skipinit": SkipInit,
}
