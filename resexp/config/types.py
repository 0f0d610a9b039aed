"""Types of the values in a config: strict, and each with the words that say what is allowed."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt


class Model(BaseModel):
    """Strict and frozen: no coercion, no unknown keys, no change after loading."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


def _fraction_or_count(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a fraction (0.1) or a number of images (500)")  # noqa: TRY004 - pydantic collects ValueError
    if value < 0 or (isinstance(value, float) and not value < 1):
        raise ValueError("must be a fraction in [0, 1) or a number of images, 0 or more")
    return value


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError("must be at least 1 (a number n means seeds 0 to n-1), or a list of seeds")
        return tuple(range(value))
    if not isinstance(value, list | tuple) or not all(type(seed) is int and seed >= 0 for seed in value) or not value:
        raise ValueError("must be a number n (seeds 0 to n-1) or a list of whole numbers, 0 or more")
    repeated = sorted({seed for seed in value if value.count(seed) > 1})
    if repeated:
        raise ValueError(f"seed {repeated[0]} stands twice; a repeated seed is the same trial, not a second sample")
    return tuple(value)


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _shortcut(value: Any) -> Any:
    if isinstance(value, dict):
        if len(value) != 1 or not isinstance(next(iter(value.values())), dict):
            raise ValueError("must be a name or one mapping such as {name: {parameter: value}}")
        return value
    if not isinstance(value, str):
        raise ValueError("must be a name or one mapping such as {name: {parameter: value}}")  # noqa: TRY004 - as above
    return value


def _auto_or_count(value: Any) -> Any:
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError("must be auto or a whole number, 1 or more")


def _interval(value: Any) -> Any:
    if (type(value) is int and value >= 1) or (isinstance(value, str) and re.fullmatch(r"[1-9]\d*[smh]", value)):
        return value
    raise ValueError("must be a time such as 60s, 5m, 1h, or a number of steps")


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", value) or value.endswith("."):
        raise ValueError("must be a folder name: letters, digits, '.', '_', '-', at most 60 of them")
    return value


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        raise ValueError("must be one of auto, cpu, cuda, cuda:<number>, mps")
    return value


PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
UnitFloat = Annotated[float, Field(ge=0, lt=1)]
FractionOrCount = Annotated[float | int, BeforeValidator(_fraction_or_count)]
AutoOrCount = Annotated[Literal["auto"] | PositiveInt, BeforeValidator(_auto_or_count)]
Seeds = Annotated[tuple[int, ...], BeforeValidator(_seeds)]
Interval = Annotated[str | int, BeforeValidator(_interval)]
Name = Annotated[str, AfterValidator(_name)]
Device = Annotated[str, AfterValidator(_device)]
Scalars = dict[str, dict[str, float | int | str | bool]]
Shortcut = Annotated[str | Scalars, BeforeValidator(_shortcut)]
LISTED = BeforeValidator(_listed)  # before a tuple: YAML has only lists
