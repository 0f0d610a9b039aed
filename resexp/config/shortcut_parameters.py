"""Shortcuts in a config: their parameters, and the names of the arms."""

import re
from typing import Annotated, Any

from pydantic import Field

from resexp.config.types import FiniteFloat, Model, Scalars, UnitFloat


class NoParameters(Model):
    """A shortcut without parameters."""


class ScaledParameters(Model):
    """Factors of the shortcut and of the branch."""

    scale: FiniteFloat = 0.5
    branch: FiniteFloat = 1.0


class GateParameters(Model):
    """The initial bias of the gates."""

    bias: FiniteFloat = -6.0


class DropoutParameters(Model):
    """The fraction of elements that is dropped."""

    p: UnitFloat = 0.5


class StochasticDepthParameters(Model):
    """The probability with which the last block is kept."""

    survival: Annotated[float, Field(gt=0, le=1)] = 0.5


SHORTCUT_PARAMETERS: dict[str, type[Model]] = {
    "plain": NoParameters,
    "identity": NoParameters,
    "projection": NoParameters,
    "projection-all": NoParameters,
    "scaled": ScaledParameters,
    "gate": GateParameters,
    "gate-shortcut": GateParameters,
    "dropout": DropoutParameters,
    "rezero": NoParameters,
    "skipinit": NoParameters,
    "stochastic-depth": StochasticDepthParameters,
}
SHORTCUT_NAMES = tuple(SHORTCUT_PARAMETERS)
FREE_SHORTCUTS = ("plain", "identity", "scaled", "dropout", "stochastic-depth")  # without learnable parameters


# ---- names -----------------------------------------------------------------------------------------------------------


def format_value(value: Any) -> str:
    """A value formatted for names and labels: 0.001, 64, true, default, 'steps 400 factor 0.1'."""
    if isinstance(value, dict):
        return " ".join(f"{key} {format_value(inner)}" for key, inner in value.items())
    if value is None:
        return "default"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def arm_name(shortcut: str | Scalars) -> str:
    """`identity` -> identity; `{gate: {bias: -6}}` -> gate-bias-6."""
    if isinstance(shortcut, str):
        return shortcut
    ((name, parameters),) = shortcut.items()
    return "-".join([name, *(f"{key}{format_value(value)}" for key, value in parameters.items())])


def control_arm(arm: str) -> str:
    """The arm of the parameter-matched plain baseline of `arm`.

    Parameters of a built-in shortcut change its initial weights and never their number, so all its arms share one baseline.
    """
    names = (name for name, model in SHORTCUT_PARAMETERS.items() if re.fullmatch(_arm_pattern(name, model), arm))
    return f"plain-as-{next(names, arm)}"


def _arm_pattern(name: str, model: type[Model]) -> str:
    """A regular expression for the arms that `arm_name` gives to a shortcut."""
    return rf"{name}(-({'|'.join(model.model_fields)})[-+.e\d]+)*" if model.model_fields else name


def variant(setting: str | Scalars) -> tuple[str, dict[str, Any]]:
    """(name, parameters) of a shortcut or an activation; parameters that are not written have their defaults."""
    ((name, written),) = ({setting: {}} if isinstance(setting, str) else setting).items()
    model = SHORTCUT_PARAMETERS.get(name, NoParameters)
    return name, {key: field.default for key, field in model.model_fields.items()} | written


def shortcut_name(shortcut: str | Scalars) -> str:
    """The name without parameters."""
    return shortcut if isinstance(shortcut, str) else next(iter(shortcut))
