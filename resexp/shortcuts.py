"""(a, S) for each shortcut: every block computes a F(x; W) + S(x; U), and plain is a = 1, S = 0.

A shortcut is made from its place and its parameters, SHORTCUTS[name](place, **parameters), and maps the block's input to
(a, S): a module, or a function of x where nothing is learned. What it leaves to chance is drawn outside: `draw` makes it
for one training step, and it comes in as a second argument; without it the shortcut answers for evaluation.

Shapes: B batch, D width; B, C channels, H x W.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Scale = Tensor | float
Term = Tensor | float
Made = nn.Module | Callable[[Tensor], tuple[Scale, Term]]

ONE, ZERO = 1.0, 0.0


@dataclass(frozen=True)
class BlockSpec:
    """Where a shortcut stands: shapes without the batch, as (D,) or (C, H, W); block `index` of `blocks`.

    `norm` makes the norm layer that a mapping shortcut carries, from its number of channels. `pad` says where option A
    puts its zero channels: "end", or "both" (half of them in front, rounded down).
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    index: int
    blocks: int
    norm: Callable[[int], nn.Module]
    pad: str = "end"

    def __post_init__(self) -> None:
        if self.pad not in ("end", "both"):
            raise ValueError(f"pad {self.pad!r} is not one of end, both")

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


def option_a(x: Tensor, place: BlockSpec) -> Tensor:
    """x where shapes agree, else every second pixel and zero channels: arXiv:1512.03385 §3.3 option A."""
    if not place.changes:
        return x
    extra = place.outputs[0] - place.inputs[0]
    front = extra // 2 if place.pad == "both" else 0
    return functional.pad(x[:, :, :: place.stride, :: place.stride], (0, 0, 0, 0, front, extra - front))


def linear_map(place: BlockSpec) -> nn.Linear | nn.Conv2d:
    """U of Ux: a matrix, or a 1x1 convolution with the block's stride; never a bias."""
    if len(place.inputs) == 1:
        return nn.Linear(place.inputs[0], place.outputs[0], bias=False)
    return nn.Conv2d(place.inputs[0], place.outputs[0], 1, place.stride, bias=False)


# ---- nothing, and x -----------------------------------------------------------------------------------------------


class Plain(nn.Module):
    """a = 1, S = 0: no shortcut, the twin of every other."""

    constants = (ONE, ZERO)  # a, and s of S = s x

    def __init__(self, _place: BlockSpec) -> None:
        super().__init__()

    def forward(self, _x: Tensor) -> tuple[Scale, Term]:
        return ONE, ZERO


class Scaled(nn.Module):
    """a = branch, S = scale x; option A where shapes change. No parameters.

    1, 1: the identity of arXiv:1512.03385 §3.3. 0.5, 1 and 0.5, 0.5: constant scaling, arXiv:1603.05027 §3.1.
    """

    def __init__(self, place: BlockSpec, scale: float = 0.5, branch: float = 1.0) -> None:
        super().__init__()
        self.place, self.scale, self.branch = place, float(scale), float(branch)
        self.constants = (self.branch, self.scale)

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return self.branch, join(self.scale, option_a(x, self.place), ZERO)


def identity(place: BlockSpec) -> nn.Module:
    """a = 1, S = x; option A where shapes change. No parameters: arXiv:1512.03385 §3.3."""
    return Scaled(place, ONE, ONE)


# ---- learned maps -------------------------------------------------------------------------------------------------


class ProjectionAll(nn.Module):
    """a = 1, S = Ux in every block: arXiv:1512.03385 §3.3 option C, and F(x, U) of x_i = H(x, W_i) + F(x, U_i)."""

    def __init__(self, place: BlockSpec) -> None:
        super().__init__()
        self.map = linear_map(place)
        self.norm = place.norm(place.outputs[0]) if len(place.inputs) == 3 else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return ONE, self.norm(self.map(x))


def projection(place: BlockSpec) -> nn.Module:
    """a = 1, S = Ux where shapes change, x elsewhere: arXiv:1512.03385 §3.3 option B."""
    return ProjectionAll(place) if place.changes else identity(place)


# ---- gates --------------------------------------------------------------------------------------------------------


class GateShortcut(nn.Module):
    """a = 1, S = (1 - g(x)) x with g(x) = sigmoid(Ux + bias), one gate per unit or channel and pixel; x by option A.

    Shortcut-only gating, arXiv:1603.05027 §3.1; `bias` is where every bias starts.
    """

    def __init__(self, place: BlockSpec, bias: float = -6.0) -> None:
        super().__init__()
        self.place = place
        self.map = linear_map(place)
        self.bias = nn.Parameter(torch.full((place.outputs[0], *[1] * (len(place.outputs) - 1)), float(bias)))

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(g, (1 - g) x)."""
        g = torch.sigmoid(self.map(x) + self.bias)
        return g, (1 - g) * option_a(x, self.place)

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return ONE, self.gates(x)[1]


class Gate(GateShortcut):
    """a = g(x), S = (1 - g(x)) x: exclusive gating, arXiv:1603.05027 §3.1; the highway network of arXiv:1505.00387."""

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return self.gates(x)


# ---- a learned scalar on the branch -------------------------------------------------------------------------------


class LearnedScale(nn.Module):
    """a = one learned scalar that starts at `start`, S = x; option A where shapes change."""

    def __init__(self, place: BlockSpec, start: float) -> None:
        super().__init__()
        self.place = place
        self.alpha = nn.Parameter(torch.tensor(start))

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return self.alpha, option_a(x, self.place)


def rezero(place: BlockSpec) -> nn.Module:
    """a starts at 0, S = x: arXiv:2003.04887 §3. At the start only the scalars of a block have a gradient."""
    return LearnedScale(place, ZERO)


def skipinit(place: BlockSpec) -> nn.Module:
    """a starts at 1 / sqrt(blocks), S = x: arXiv:2002.10444 §4."""
    return LearnedScale(place, place.blocks**-0.5)


# ---- left to chance -----------------------------------------------------------------------------------------------


class Dropout(nn.Module):
    """a = 1, S = x with a share p of its elements set to 0 and the others divided by 1 - p: arXiv:1603.05027 §3.1."""

    def __init__(self, place: BlockSpec, p: float = 0.5) -> None:
        super().__init__()
        self.place, self.p = place, float(p)

    def draw(self, batch: int, generator: torch.Generator) -> Tensor:
        """The factor of each element, (B, *outputs): 0 or 1 / (1 - p)."""
        kept = torch.empty(batch, *self.place.outputs, device=generator.device)
        return kept.bernoulli_(1 - self.p, generator=generator) / (1 - self.p)

    def forward(self, x: Tensor, factors: Tensor | None = None) -> tuple[Scale, Term]:
        s = option_a(x, self.place)
        return ONE, s if factors is None else factors.to(s.dtype) * s


class StochasticDepth(nn.Module):
    """a = b ~ Bernoulli(p_l), one draw for a batch, S = x; in evaluation a = p_l: arXiv:1603.09382 §3.

    p_l = 1 - l / L (1 - survival) for l = 1 .. L; `survival` is p_L. A block that is left out is computed all the same:
    its weights have a gradient of exactly 0, and the running statistics of its norms see every batch.
    """

    def __init__(self, place: BlockSpec, survival: float = 0.5) -> None:
        super().__init__()
        self.place = place
        self.probability = 1 - (place.index + 1) / place.blocks * (1 - float(survival))

    def draw(self, _batch: int, generator: torch.Generator) -> Tensor:
        """0 or 1, for the whole batch."""
        return torch.empty((), device=generator.device).bernoulli_(self.probability, generator=generator)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> tuple[Scale, Term]:
        return self.probability if kept is None else kept.to(x.dtype), option_a(x, self.place)


SHORTCUTS: dict[str, Callable[..., Made]] = {
    "plain": Plain,
    "identity": identity,
    "projection": projection,
    "projection-all": ProjectionAll,
    "scaled": Scaled,
    "gate": Gate,
    "gate-shortcut": GateShortcut,
    "dropout": Dropout,
    "rezero": rezero,
    "skipinit": skipinit,
    "stochastic-depth": StochasticDepth,
}


FROM_PLACE = "made from its place, as in lambda place: lambda x: (1.0, 0.5 * x)"


class Computed(nn.Module):
    """(a, S) of a function of x: nothing of it is learned."""

    def __init__(self, function: Callable[[Tensor], tuple[Scale, Term]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return self.function(x)


def make_shortcut(shortcut: str | Mapping[str, Mapping[str, Any]], place: BlockSpec) -> nn.Module:
    """The shortcut of that name at its place, or with parameters, {"gate": {"bias": -6}}.

    Raises:
        TypeError: a shortcut of one's own that is neither a module nor a function, or a function that holds weights.
    """
    ((name, parameters),) = ({shortcut: {}} if isinstance(shortcut, str) else shortcut).items()
    try:
        made = SHORTCUTS[name](place, **parameters)
    except (TypeError, AttributeError) as error:
        error.add_note(f"the shortcut {name} is {FROM_PLACE}")
        raise
    if isinstance(made, nn.Module):
        return made
    if not callable(made):
        raise TypeError(f"the shortcut {name} is {FROM_PLACE}; found {made!r}")
    if any(isinstance(of.cell_contents, nn.Module | nn.Parameter) for of in getattr(made, "__closure__", None) or ()):
        raise TypeError(f"the shortcut {name} is a function that holds weights, which would not be trained; make it a Module")
    return Computed(made)
