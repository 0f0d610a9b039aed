"""The keys of a config, one pydantic model per section; every value here is one cell of the grid."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt

NORM_NAMES = ("none", "batch", "layer", "group")
INIT_NAMES = ("pytorch", "he", "xavier", "orthogonal", "delta-orthogonal", "fixup")
PLACEMENT_NAMES = ("post", "pre", "branch", "post-norm", "pre-act-only")
ACTIVATION_NAMES = ("relu", "tanh", "gelu")
DATASET_NAMES = ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "image-folder")
PROBE_NAMES = ("gradient_norm", "signal")

# Keys that may hold a list; in the order in which they stand in trial names, with their short form there.
AXES = {
    "network.family": "{}",
    "network.depth": "d{}",
    "network.width": "w{}",
    "network.shortcut": "{}",
    "network.block": "{}",
    "network.block_layers": "layers{}",
    "network.placement": "{}",
    "network.norm": "norm-{}",
    "network.activation": "{}",
    "network.init": "init-{}",
    "network.gain": "gain{}",
    "network.zero_last": "zero-last-{}",
    "training.batch_size": "batch{}",
    "training.optimizer": "{}",
    "training.lr": "lr{}",
    "training.eps": "eps{}",
    "training.weight_decay": "decay{}",
}

# Part of the file format, but brought by a later release: refused by name instead of as nonsense.
PLANNED: dict[str, tuple[Any, ...]] = {
    "network.plain_width": ("parameters",),
    "compile": (True,),
}


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


Scalars = dict[str, dict[str, float | int | str | bool]]
Shortcut = Annotated[str | Scalars, BeforeValidator(_shortcut)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
UnitFloat = Annotated[float, Field(ge=0, lt=1)]
AutoOrCount = Annotated[Literal["auto"] | PositiveInt, BeforeValidator(_auto_or_count)]


# ---- parameters of shortcuts -------------------------------------------------------------------------------------------

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]


class NoParameters(Model):
    """A shortcut that has nothing to choose."""


class ScaledParameters(Model):
    """Factors of the shortcut and of the branch."""

    scale: FiniteFloat = 0.5
    branch: FiniteFloat = 1.0


class GateParameters(Model):
    """Where the biases of the gates start."""

    bias: FiniteFloat = -6.0


class DropoutParameters(Model):
    """The share of elements that is dropped."""

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


# ---- the sections of a config ------------------------------------------------------------------------------------------


class Data(Model):
    """Which images, and what is done to them before the network sees them."""

    name: Literal["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "image-folder"] = "digits"
    root: str | None = None
    image_size: PositiveInt | None = None
    download: bool = False
    validation: Annotated[float | int, BeforeValidator(_fraction_or_count)] = 0.1
    limit: PositiveInt | None = None
    normalize: Literal["channel", "pixel", "none"] = "channel"
    augment: Literal["none", "crop-flip"] = "none"


class Network(Model):
    """One architecture: a cell of the grid and, through `shortcut`, an arm."""

    family: Literal["mlp", "cnn"] = "mlp"
    depth: Annotated[int, Field(ge=2)] = 8
    width: PositiveInt = 64
    shortcut: Shortcut = "identity"
    plain: bool = True
    plain_width: Literal["same", "parameters"] = "same"
    block: Literal["basic", "bottleneck"] = "basic"
    block_layers: PositiveInt = 2
    placement: Literal["post", "pre", "branch", "post-norm", "pre-act-only"] = "post"
    norm: Literal["none", "batch", "layer", "group"] = "none"
    activation: Literal["relu", "tanh", "gelu"] = "relu"
    init: Literal["pytorch", "he", "xavier", "orthogonal", "delta-orthogonal", "fixup"] = "pytorch"
    gain: PositiveFloat | None = None
    zero_last: bool = False


class Warmup(Model):
    """The first `steps` steps run at `factor` times the learning rate."""

    steps: PositiveInt
    factor: PositiveFloat


class Training(Model):
    """The recipe. `step` counts completed optimizer updates."""

    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    batch_size: PositiveInt = 64
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    lr: PositiveFloat = 1e-3
    momentum: UnitFloat = 0.0
    nesterov: bool = False
    betas: Annotated[tuple[UnitFloat, UnitFloat], BeforeValidator(_listed)] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    decay: Literal["all", "weights"] = "all"
    schedule: Literal["constant", "step", "cosine"] = "constant"
    milestones: Annotated[tuple[PositiveInt, ...], BeforeValidator(_listed)] = ()
    gamma: PositiveFloat = 0.1
    warmup: Warmup | None = None
    label_smoothing: UnitFloat = 0.0
    clip_norm: PositiveFloat | None = None
    checkpoint_every: Annotated[str | int, BeforeValidator(_interval)] = "60s"
    cohort: AutoOrCount = "auto"
    threads: AutoOrCount = "auto"


class Gradients(Model):
    """When gradients are read, and which probes read them."""

    every: PositiveInt = 25
    probes: Annotated[tuple[Literal["gradient_norm", "signal"], ...], BeforeValidator(_listed)] = (
        "gradient_norm",
        "signal",
    )


class Compare(Model):
    """What `resexp compare` is to confirm."""

    primary: str | None = None
    margin: Annotated[float, Field(ge=0, le=1)] = 0.01


class Settings(Model):
    """One cell of an experiment with every default written out."""

    name: Annotated[str, AfterValidator(_name)]
    question: str | None = None
    data: Data = Data()
    network: Network = Network()
    training: Training = Training()
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = (0, 1, 2, 3, 4)
    device: Annotated[str, AfterValidator(_device)] = "auto"
    precision: Literal["float32", "float64", "tf32", "bfloat16"] = "float32"
    compile: bool = False
    deterministic: bool = True
    gradients: Gradients = Gradients()
    compare: Compare = Compare()


class Trial(Model):
    """One network to train: an arm of a cell, at one seed."""

    name: str
    arm: str
    seed: int
    settings: Settings


def arm_name(shortcut: str | Scalars) -> str:
    """`identity` -> identity; `{gate: {bias: -6}}` -> gate-bias-6."""
    if isinstance(shortcut, str):
        return shortcut
    ((name, parameters),) = shortcut.items()
    return "-".join([name, *(f"{key}{format_value(value)}" for key, value in parameters.items())])


def shortcut_name(shortcut: str | Scalars) -> str:
    """The name alone, without parameters."""
    return shortcut if isinstance(shortcut, str) else next(iter(shortcut))


def format_value(value: Any) -> str:
    """A value as it stands in names: 0.001, 64, true, default."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.9g}" if isinstance(value, float) else str(value)
