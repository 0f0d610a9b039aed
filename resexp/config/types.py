"""Strict types of the values in a config; each error message says which values are allowed."""

import math
import re
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from resexp.config.parsing import did_you_mean, escape_controls

# Limits far above practical values. Larger values are mistakes or attacks and are refused before they cost time or memory.
# An experiment within these limits is stored in less than parsing.MAX_BYTES.
MAX_TRIALS = 100_000  # cells times seeds, without plain counterparts
MAX_SEEDS = 10_000
MAX_SEED = 2**53 - 1  # the largest integer that every JSON parser represents exactly
MAX_VALUES = 1_000  # in any other list: an axis, milestones
MAX_STEPS = 10**9
MAX_IMAGES = 10**9
MAX_CHARACTERS = 4_096  # of a question or a data folder
MAX_PATH = 150  # characters of experiment and trial name together; paths below runs/ stay under 200


CUSTOM_NAMES: dict[str | None, set[str]] = {}  # field -> names that a program has added, such as norm -> {"mine"}
STORED = {"stored": True}  # the context in which a stored config is read: its names were checked before


def _known_name(value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    is_custom = isinstance(value, str) and (value in CUSTOM_NAMES.get(info.field_name, ()) or info.context == STORED)
    return value if is_custom else check(value)


CUSTOM_HINT = "; if a file of yours defines it, add --import FILE.py"
EXTENSIBLE = WrapValidator(_known_name)  # a dict of the training half has these names, and can have more


class Model(BaseModel):
    """Strict and frozen: no coercion, no unknown keys, no change after loading."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


def _fraction_or_count(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a fraction (0.1) or a number of images (500)")  # noqa: TRY004 - pydantic collects ValueError
    if value < 0 or (isinstance(value, float) and not value < 1):
        raise ValueError("must be a fraction in [0, 1) or a number of images, 0 or more")
    if value > MAX_IMAGES:
        raise ValueError(f"must be at most {MAX_IMAGES}")
    return value


def _seeds(value: Any) -> Any:
    if type(value) is int:
        if not 1 <= value <= MAX_SEEDS:
            raise ValueError(
                f"must be at least 1 and at most {MAX_SEEDS} (a number n means seeds 0 to n-1), or a list of seeds"
            )
        return tuple(range(value))
    if not isinstance(value, list | tuple) or not value or not all(type(seed) is int and seed >= 0 for seed in value):
        raise ValueError("must be a number n (seeds 0 to n-1) or a list of whole numbers, 0 or more")
    if len(value) > MAX_SEEDS or max(value) > MAX_SEED:
        raise ValueError(f"must have at most {MAX_SEEDS} seeds, none above {MAX_SEED}")
    if len(set(value)) < len(value):
        repeated = min(seed for seed, count in Counter(value).items() if count > 1)
        raise ValueError(f"contains seed {repeated} twice; a repeated seed is the same trial, not a second sample")
    return tuple(value)


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _variant(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or len(value) != 1 or not isinstance(parameters := next(iter(value.values())), dict):
        raise ValueError("must be a name or one mapping such as {name: {parameter: value}}")
    for name, parameter in parameters.items():
        if not isinstance(parameter, str | int) and not (isinstance(parameter, float) and math.isfinite(parameter)):
            if ":" in name:
                raise ValueError("needs a space after each colon: {gate: {bias: -6}}")
            raise ValueError(f"has {name}, which must be a finite number, text, true or false")
    return value


def _auto_or_count(value: Any) -> Any:
    if value == "auto" or (type(value) is int and 1 <= value <= MAX_VALUES):
        return value
    raise ValueError(f"must be auto or a whole number from 1 to {MAX_VALUES}")


def _compilation(value: Any) -> Any:
    if value == "cuda-graph" or isinstance(value, bool):
        return value
    raise ValueError(f"must be true, false or cuda-graph{did_you_mean(value, ('true', 'false', 'cuda-graph'))}")


def _interval(value: Any) -> Any:
    if (type(value) is int and 1 <= value <= MAX_STEPS) or (isinstance(value, str) and re.fullmatch(INTERVAL, value)):
        return value
    raise ValueError("must be a time such as 60s, 5m, 1h, or a number of steps")


def _text(value: str) -> str:
    if escape_controls(value, kept="\n\t") != value:
        raise ValueError("must be text without control characters")
    return value


def _is_device(name: str) -> bool:
    """Whether Windows reserves the name for a device, with any extension."""
    return re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", name.partition(".")[0].lower()) is not None


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", value) or value.endswith("."):
        raise ValueError("must be a folder name of at most 60 characters: letters, digits, '.', '_', '-'")
    if _is_device(value):
        raise ValueError("is a reserved device name on Windows; choose another name")
    return value


def trial_name(value: str) -> str:
    """`value`, if it is safe as the name of a trial or a stack, which is a folder or file name, on every system.

    Raises:
        ValueError: with the allowed characters.
    """
    if not re.fullmatch(TRIAL_NAME, value) or ".." in value or value.endswith(".") or _is_device(value):
        raise ValueError(
            "cannot name a trial; use at most 200 letters, digits, '.', '_', '+', '-', without '..', not a Windows device"
        )
    return value


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,4})?", value):
        raise ValueError(
            f"must be one of auto, cpu, cuda, cuda:<number>, mps{did_you_mean(value, ('auto', 'cpu', 'cuda', 'mps'))}"
        )
    return value


INTERVAL = r"[1-9][0-9]{0,8}[smh]"
TRIAL_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}"

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
UnitFloat = Annotated[float, Field(ge=0, lt=1)]
Steps = Annotated[int, Field(gt=0, le=MAX_STEPS)]
ImageCount = Annotated[int, Field(gt=0, le=MAX_IMAGES)]
Milestones = Annotated[tuple[Steps, ...], Field(max_length=MAX_VALUES)]
FractionOrCount = Annotated[
    Annotated[float, Field(ge=0, lt=1)] | Annotated[int, Field(ge=0, le=MAX_IMAGES)], BeforeValidator(_fraction_or_count)
]
AutoOrCount = Annotated[Literal["auto"] | Annotated[int, Field(gt=0, le=MAX_VALUES)], BeforeValidator(_auto_or_count)]
Seeds = Annotated[tuple[int, ...], BeforeValidator(_seeds)]
Compilation = Annotated[bool | Literal["cuda-graph"], BeforeValidator(_compilation)]
CheckpointInterval = Annotated[Annotated[str, Field(pattern=f"^{INTERVAL}$")] | Steps, BeforeValidator(_interval)]
Text = Annotated[str, Field(max_length=MAX_CHARACTERS), AfterValidator(_text)]
Name = Annotated[str, AfterValidator(_name)]
TrialName = Annotated[str, AfterValidator(trial_name)]
Device = Annotated[str, AfterValidator(_device)]
Scalars = dict[str, dict[str, FiniteFloat | int | str | bool]]
Variant = Annotated[str | Scalars, BeforeValidator(_variant)]  # a shortcut or an activation
LISTED = BeforeValidator(_listed)  # before a tuple: YAML has only lists
