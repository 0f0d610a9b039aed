"""Values that are a name, or a name with parameters such as {gate: {bias: -6}}: shortcuts and activations."""

import re
from typing import Annotated, Any

from pydantic import Field

from resexp.config.properties import SHORTCUT_PROPERTIES, NoParameters, ShortcutProperties
from resexp.config.types import Model, Scalars


class LeakyReluParameters(Model):
    """The slope for negative inputs: 0 is ReLU, 1 is linear, -1 is the absolute value."""

    slope: Annotated[float, Field(ge=-1, le=1)] = 0.01


class TatParameters(Model):
    """The correlation to which the plain network maps orthogonal inputs."""

    eta: Annotated[float, Field(gt=0, lt=1)] = 0.9


ACTIVATION_PARAMETERS: dict[str, type[Model]] = {
    "relu": NoParameters,
    "tanh": NoParameters,
    "gelu": NoParameters,
    "silu": NoParameters,
    "leaky-relu": LeakyReluParameters,
    "tat": TatParameters,
}
ACTIVATION_NAMES = tuple(ACTIVATION_PARAMETERS)


def parameter_model(name: str) -> type[Model] | None:
    """Names, bounds and defaults of the parameters of a shortcut or an activation; None if nothing is known of them."""
    properties = SHORTCUT_PROPERTIES.get(name)
    return properties.parameters if properties else ACTIVATION_PARAMETERS.get(name)


def variant(setting: str | Scalars) -> tuple[str, dict[str, Any]]:
    """(name, parameters) of a shortcut or an activation; parameters that are not written have their defaults."""
    ((name, written),) = ({setting: {}} if isinstance(setting, str) else setting).items()
    model = parameter_model(name) or NoParameters
    return name, {key: field.default for key, field in model.model_fields.items()} | written


def variants_schema(models: dict[str, type[Model]]) -> dict[str, Any]:
    """The JSON schema of a name in `models`, or of one mapping from a name to its parameters."""
    properties = {name: model.model_json_schema() for name, model in models.items() if model.model_fields}
    mapping = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [{"type": "string", "enum": list(models)}, mapping]}


# ---- shortcuts -------------------------------------------------------------------------------------------------------


def shortcut_name(shortcut: str | Scalars) -> str:
    """The name without parameters."""
    return variant(shortcut)[0]


def shortcut_properties(shortcut: str | Scalars) -> ShortcutProperties:
    """The properties of a shortcut, which for a custom one are the defaults."""
    return SHORTCUT_PROPERTIES.get(shortcut_name(shortcut), ShortcutProperties())


def shortcut_factors(shortcut: str | Scalars, index: int, blocks: int) -> tuple[float, float] | None:
    """(a, s) of the block `index` of `blocks` at initialization, see `ShortcutProperties`; None if they are not numbers."""
    properties, parameters = shortcut_properties(shortcut), variant(shortcut)[1]
    if properties.factors is None:
        return None
    a, s = properties.factors(properties.parameters(**parameters), index, blocks)
    return float(a), float(s)


# ---- names -----------------------------------------------------------------------------------------------------------


def format_value(value: Any) -> str:
    """A value formatted for names and labels: 0.001, 64, true, default, tat-eta0.9, 'steps 400 factor 0.1'."""
    if isinstance(value, dict):
        has_parameters = all(isinstance(inner, dict) for inner in value.values())
        return arm_name(value) if has_parameters else " ".join(f"{key} {format_value(inner)}" for key, inner in value.items())
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
    models = {name: properties.parameters for name, properties in SHORTCUT_PROPERTIES.items()}
    names = (name for name, model in models.items() if re.fullmatch(_arm_pattern(name, model), arm))
    return f"plain-as-{next(names, arm)}"


def _arm_pattern(name: str, model: type[Model]) -> str:
    """A regular expression for the arms that `arm_name` gives to a shortcut."""
    return rf"{name}(-({'|'.join(model.model_fields)})[-+.e\d]+)*" if model.model_fields else name
