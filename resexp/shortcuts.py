"""(a, S) for each shortcut: every block computes a F(x; W) + S(x; U), and plain is a = 1, S = 0.

SHORTCUTS[name](spec, **parameters) creates the shortcut of a block, given its `BlockSpec`. The shortcut maps the input of the
block to (a, S). It is a module, or a function of x if it has no parameters. A stochastic shortcut has a method `draw`, which
returns the random draws of one training step. They are the second argument of `forward`, which is omitted in evaluation.

Shapes: B batch, D width; B, C channels, H x W.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from resexp import config

Scale = Tensor | float
Term = Tensor | float
ShortcutCallable = nn.Module | Callable[[Tensor], tuple[Scale, Term]]

ONE, ZERO = 1.0, 0.0


@dataclass(frozen=True)
class BlockSpec:
    """The block of a shortcut: input and output shapes, (D,) or (C, H, W); its index, from 0; and the number of blocks.

    `norm` creates the normalization layer after the map of a shortcut, from its number of channels. `pad` is where option A
    adds zero channels: "end", or "both" (half of them in front, rounded down).
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
        """2 if the block halves the image (rounded up), otherwise 1."""
        return 1 if self.inputs[1:] == self.outputs[1:] else 2


def join(a: Scale, branch: Tensor, s: Term) -> Tensor:
    """a F(x) + S(x); the constants a = 1 and S = 0 cost no operation."""
    scaled = branch if isinstance(a, float) and a == ONE else a * branch
    return scaled if isinstance(s, float) and s == ZERO else scaled + s


def option_a(x: Tensor, spec: BlockSpec) -> Tensor:
    """x if shapes agree, otherwise every second pixel and zero channels: arXiv:1512.03385 §3.3 option A."""
    if not spec.changes:
        return x
    extra_channels = spec.outputs[0] - spec.inputs[0]
    front = extra_channels // 2 if spec.pad == "both" else 0
    return functional.pad(x[..., :: spec.stride, :: spec.stride], (0, 0, 0, 0, front, extra_channels - front))


def linear_map(spec: BlockSpec) -> nn.Linear | nn.Conv2d:
    """The map U: a matrix, or a 1x1 convolution with the stride of the block, without bias."""
    if len(spec.inputs) == 1:
        return nn.Linear(spec.inputs[0], spec.outputs[0], bias=False)
    return nn.Conv2d(spec.inputs[0], spec.outputs[0], 1, spec.stride, bias=False)


# ---- constant shortcuts -------------------------------------------------------------------------------------------


class Constant(nn.Module):
    """a and S = s x with two constants; option A where shapes change. No parameters."""

    def __init__(self, spec: BlockSpec, a: float, s: float) -> None:
        super().__init__()
        self.spec, self.a, self.s = spec, a, s

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return self.a, ZERO if self.s == ZERO else join(self.s, option_a(x, self.spec), ZERO)


def constant(name: str) -> Callable[..., nn.Module]:
    """The constant shortcut whose a and s are `factors` in `config.SHORTCUT_PROPERTIES[name]`."""
    return lambda spec, **parameters: Constant(spec, *_factors({name: parameters}, spec))


def _factors(shortcut: config.Scalars, spec: BlockSpec) -> tuple[float, float]:
    factors = config.shortcut_factors(shortcut, spec.index, spec.blocks)
    assert factors is not None
    return factors


# ---- learned maps -------------------------------------------------------------------------------------------------


class ProjectionAll(nn.Module):
    """a = 1, S = Ux in every block: arXiv:1512.03385 §3.3 option C."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.map = linear_map(spec)
        self.norm = spec.norm(spec.outputs[0]) if len(spec.inputs) == 3 else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return ONE, self.norm(self.map(x))


def projection(spec: BlockSpec) -> nn.Module:
    """a = 1, S = Ux if the block changes shape, otherwise S = x: arXiv:1512.03385 §3.3 option B."""
    return ProjectionAll(spec) if spec.changes else Constant(spec, ONE, ONE)


# ---- gates --------------------------------------------------------------------------------------------------------


class GateShortcut(nn.Module):
    """a = 1, S = (1 - g(x)) x with g(x) = sigmoid(Ux + bias), one gate per unit, or per channel and pixel; option A for x.

    Shortcut-only gating, arXiv:1603.05027 §3.1. `bias` is the initial value of every bias.
    """

    def __init__(self, spec: BlockSpec, bias: float = -6.0) -> None:
        super().__init__()
        self.spec = spec
        self.map = linear_map(spec)
        self.bias = nn.Parameter(torch.full((spec.outputs[0], *[1] * (len(spec.outputs) - 1)), float(bias)))

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(g, (1 - g) x)."""
        g = torch.sigmoid(self.map(x) + self.bias)
        return g, (1 - g) * option_a(x, self.spec)

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return ONE, self.gates(x)[1]


class Gate(GateShortcut):
    """a = g(x), S = (1 - g(x)) x: exclusive gating, arXiv:1603.05027 §3.1; the highway network of arXiv:1505.00387."""

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return self.gates(x)


# ---- a learned scalar on the branch -------------------------------------------------------------------------------


class LearnedScale(nn.Module):
    """a = one learned scalar, S = x; option A where shapes change."""

    def __init__(self, spec: BlockSpec, initial: float) -> None:
        super().__init__()
        self.spec = spec
        self.alpha = nn.Parameter(torch.tensor(initial))

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return self.alpha, option_a(x, self.spec)


def learned_scale(name: str) -> Callable[[BlockSpec], nn.Module]:
    """The shortcut whose learned scalar starts at the a of `factors` in `config.SHORTCUT_PROPERTIES[name]`.

    If it starts at 0, only this scalar has a gradient at initialization.
    """
    return lambda spec: LearnedScale(spec, _factors({name: {}}, spec)[0])


# ---- stochastic shortcuts -----------------------------------------------------------------------------------------


class Dropout(nn.Module):
    """a = 1, S = x with a random share p of elements set to 0 and the others divided by 1 - p: arXiv:1603.05027 §3.1."""

    def __init__(self, spec: BlockSpec, p: float = 0.5) -> None:
        super().__init__()
        self.spec, self.p = spec, float(p)

    def draw(self, batch: int, generator: torch.Generator) -> Tensor:
        """The factor of each element, (B, *outputs): 0 or 1 / (1 - p)."""
        mask = torch.empty(batch, *self.spec.outputs, device=generator.device)
        return mask.bernoulli_(1 - self.p, generator=generator) / (1 - self.p)

    def forward(self, x: Tensor, factors: Tensor | None = None) -> tuple[Scale, Term]:
        s = option_a(x, self.spec)
        return ONE, s if factors is None else factors.to(s.dtype) * s


class StochasticDepth(nn.Module):
    """a = b ~ Bernoulli(p_l), one draw for a batch, S = x; in evaluation a = p_l: arXiv:1603.09382 §3.

    p_l = 1 - l / L (1 - survival) for l = 1 .. L; `survival` is p_L. The branch is computed even if b = 0. Its weights then
    have a gradient of exactly 0, and the running statistics of its batch norm layers are updated.
    """

    def __init__(self, spec: BlockSpec, survival: float = 0.5) -> None:
        super().__init__()
        self.spec = spec
        self.probability = 1 - (spec.index + 1) / spec.blocks * (1 - float(survival))

    def draw(self, _batch: int, generator: torch.Generator) -> Tensor:
        """0 or 1, one value for the batch."""
        return torch.empty((), device=generator.device).bernoulli_(self.probability, generator=generator)

    def forward(self, x: Tensor, survives: Tensor | None = None) -> tuple[Scale, Term]:
        return self.probability if survives is None else survives.to(x.dtype), option_a(x, self.spec)


SHORTCUTS: dict[str, Callable[..., ShortcutCallable]] = {
    "plain": constant("plain"),
    "identity": constant("identity"),
    "projection": projection,
    "projection-all": ProjectionAll,
    "scaled": constant("scaled"),
    "gate": Gate,
    "gate-shortcut": GateShortcut,
    "dropout": Dropout,
    "rezero": learned_scale("rezero"),
    "skipinit": learned_scale("skipinit"),
    "stochastic-depth": StochasticDepth,
    "depth-scaled": constant("depth-scaled"),
    "decayed": constant("decayed"),
}

SHORTCUT_HINT = "a function of a BlockSpec that returns the shortcut, as in lambda spec: lambda x: (1.0, 0.5 * x)"


class FunctionShortcut(nn.Module):
    """(a, S) from a function of x, without parameters."""

    def __init__(self, function: Callable[[Tensor], tuple[Scale, Term]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> tuple[Scale, Term]:
        return self.function(x)


def make_shortcut(shortcut: str | config.Scalars, spec: BlockSpec) -> nn.Module:
    """The shortcut of a block.

    Raises:
        TypeError: a custom shortcut is neither a module nor a function, or is a function that uses weights.
    """
    name, parameters = config.variant(shortcut)
    try:
        created = SHORTCUTS[name](spec, **parameters)
    except (TypeError, AttributeError) as error:
        error.add_note(f"SHORTCUTS[{name!r}] must be {SHORTCUT_HINT}")
        raise
    if isinstance(created, nn.Module):
        return created
    if not callable(created):
        raise TypeError(f"SHORTCUTS[{name!r}] must be {SHORTCUT_HINT}; it returned {created!r}")
    if any(isinstance(cell.cell_contents, nn.Module | nn.Parameter) for cell in getattr(created, "__closure__", None) or ()):
        raise TypeError(f"the shortcut {name} is a function that uses weights, which would not be trained; make it a Module")
    return FunctionShortcut(created)
