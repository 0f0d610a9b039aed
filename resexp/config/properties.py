"""What each shortcut is: its parameters, and the properties that the plan, the theory and the comparison read."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from resexp.config.types import FiniteFloat, Model, UnitFloat

Factors = Callable[[Any, int, int], tuple[float, float]]


class NoParameters(Model):
    """A shortcut or an activation without parameters."""


class ScaledParameters(Model):
    """Factors of the shortcut and of the branch."""

    scale: FiniteFloat = 0.5
    branch: FiniteFloat = 1.0


class DepthScaledParameters(Model):
    """The power of the number of blocks by which the branch is divided."""

    alpha: FiniteFloat = 0.5


class DecayedParameters(Model):
    """The factor of the shortcut in the last block."""

    final: Annotated[float, Field(ge=0, le=1)] = 0.6


class GateParameters(Model):
    """The initial bias of the gates."""

    bias: FiniteFloat = -6.0


class DropoutParameters(Model):
    """The fraction of elements that is dropped."""

    p: UnitFloat = 0.5


class StochasticDepthParameters(Model):
    """The probability with which the last block is kept."""

    survival: Annotated[float, Field(gt=0, le=1)] = 0.5


@dataclass(frozen=True)
class ShortcutProperties:
    """The properties of one shortcut; the defaults are those of a custom shortcut.

    parameters: names, bounds and defaults of its parameters.
    factors: (a, s) of a block a F(x) + S(x) with S = s x, at initialization; None if a or s is not a number. The arguments are
        the parameters, the index of the block from 0, and the number of blocks.
    is_constant: a and s never change, so that a stack stores them as two numbers per trial.
    is_linear: a is a constant and S is a matrix times x.
    has_weights: it has learnable parameters.
    is_padded: option A adds zero channels where shapes change.
    """

    parameters: type[Model] = NoParameters
    factors: Factors | None = None
    is_constant: bool = False
    is_linear: bool = False
    has_weights: bool = True
    is_padded: bool = False


_constant = partial(ShortcutProperties, is_constant=True, is_linear=True, has_weights=False, is_padded=True)
_random = partial(ShortcutProperties, has_weights=False, is_padded=True)
_learned = partial(ShortcutProperties, is_padded=True)


SHORTCUT_PROPERTIES: dict[str, ShortcutProperties] = {
    "plain": ShortcutProperties(factors=lambda _, _index, _blocks: (1.0, 0.0), is_constant=True, has_weights=False),
    "identity": _constant(factors=lambda _, _index, _blocks: (1.0, 1.0)),  # arXiv:1512.03385 §3.3
    "projection": ShortcutProperties(factors=lambda _, _index, _blocks: (1.0, 1.0), is_linear=True),  # where shapes agree
    "projection-all": ShortcutProperties(is_linear=True),
    "scaled": _constant(ScaledParameters, lambda p, _index, _blocks: (p.branch, p.scale)),  # arXiv:1603.05027 §3.1
    "gate": _learned(GateParameters),
    "gate-shortcut": _learned(GateParameters),
    "dropout": _random(DropoutParameters),
    "rezero": _learned(factors=lambda _, _index, _blocks: (0.0, 1.0)),  # arXiv:2003.04887 §3
    "skipinit": _learned(factors=lambda _, _index, blocks: (blocks**-0.5, 1.0)),  # arXiv:2002.10444 §4
    "stochastic-depth": _random(StochasticDepthParameters),
    # alpha = 0.5: arXiv:2310.02244, 2206.06929; alpha = 1: arXiv:2505.01618
    "depth-scaled": _constant(DepthScaledParameters, lambda p, _index, blocks: (blocks**-p.alpha, 1.0)),
    # s_l = 1 - l / L (1 - final) for l = 1 .. L: arXiv:2404.10947
    "decayed": _constant(DecayedParameters, lambda p, index, blocks: (1.0, 1 - (index + 1) / blocks * (1 - p.final))),
}
SHORTCUT_NAMES = tuple(SHORTCUT_PROPERTIES)
