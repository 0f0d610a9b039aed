"""The keys of a config, one pydantic model per section. An instance is one cell of the grid.

Upper bounds are far above practical values, see `types`.
"""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from resexp.config.types import (
    EXTENSIBLE,
    LISTED,
    AutoOrCount,
    CheckpointInterval,
    Device,
    FractionOrCount,
    ImageCount,
    Milestones,
    Model,
    Name,
    PositiveFloat,
    Seeds,
    Steps,
    Text,
    TrialName,
    UnitFloat,
    Variant,
)
from resexp.config.variants import ACTIVATION_PARAMETERS, variants_schema

NORM_NAMES = ("none", "batch", "layer", "group")
COARSE = ("tf32", "bfloat16")  # precisions with a shorter mantissa than float32
INIT_NAMES = ("pytorch", "he", "xavier", "orthogonal", "delta-orthogonal", "fixup", "identity", "looks-linear")
PLACEMENT_NAMES = ("post", "pre", "branch", "post-norm", "pre-act-only")
DATASET_NAMES = ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "image-folder")
PROBE_NAMES = ("gradient_norm", "signal", "eps_bound", "gradient_correlation", "path_lengths")

# Keys that may have a list of values, in their order in trial names, each with its format there.
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
    "network.init_scale": "scale{}",
    "network.zero_init_residual": "zero-init-residual-{}",
    "training.batch_size": "batch{}",
    "training.optimizer": "{}",
    "training.lr": "lr{}",
    "training.eps": "eps{}",
    "training.weight_decay": "decay{}",
}


# ---- the sections of a config ------------------------------------------------------------------------------------------


class DataSettings(Model):
    """The images and their preprocessing."""

    name: Annotated[Literal["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "image-folder"], EXTENSIBLE] = "digits"
    root: Annotated[
        Text | None, Field(description="Folder of the data sets, or the image folder itself; $VAR and ~ are expanded.")
    ] = None
    labels: Annotated[
        Text | None,
        Field(
            description="CSV file with the columns file and label, for an image folder without class folders; relative to root."
        ),
    ] = None
    image_size: Annotated[int, Field(gt=0, le=10_000)] | None = None
    download: bool = False
    validation: FractionOrCount = 0.1
    limit: ImageCount | None = None
    limit_validation: Annotated[
        ImageCount | None, Field(description="Number of validation images to use, for a quick trial; not for a result.")
    ] = None
    limit_test: Annotated[
        ImageCount | None, Field(description="Number of test images to use, for a quick trial; not for a result.")
    ] = None
    normalize: Literal["channel", "pixel", "none"] = "channel"
    augment: Literal["none", "crop-flip"] = "none"


class NetworkSettings(Model):
    """One architecture; `shortcut` selects the arm."""

    family: Literal["mlp", "cnn"] = "mlp"
    depth: Annotated[int, Field(ge=2, le=100_000)] = 8
    width: Annotated[int, Field(gt=0, le=100_000)] = 64
    shortcut: Annotated[
        Variant,
        Field(description="Name of a shortcut, or one with parameters: {gate: {bias: -6}}; the plain network has none."),
    ] = "identity"
    plain: bool = True
    plain_width: Literal["same", "parameters"] = "same"
    block: Literal["basic", "bottleneck"] = "basic"
    block_layers: Annotated[int, Field(gt=0, le=1_000)] = 2
    placement: Literal["post", "pre", "branch", "post-norm", "pre-act-only"] = "post"
    norm: Annotated[Literal["none", "batch", "layer", "group"], EXTENSIBLE] = "none"
    activation: Annotated[
        Variant,
        WithJsonSchema(variants_schema(ACTIVATION_PARAMETERS)),
        Field(description="Name of an activation, or one with parameters: {tat: {eta: 0.9}}."),
    ] = "relu"
    init: Annotated[
        Literal["pytorch", "he", "xavier", "orthogonal", "delta-orthogonal", "fixup", "identity", "looks-linear"],
        EXTENSIBLE,
        Field(description="Initialization of every weight. With identity and looks-linear, plain networks keep inputs apart."),
    ] = "pytorch"
    init_scale: PositiveFloat | None = None
    zero_init_residual: bool = False


class Warmup(Model):
    """The first `steps` steps use `factor` times the learning rate."""

    steps: Steps
    factor: PositiveFloat


class TrainingSettings(Model):
    """The training recipe. A step is one optimizer update."""

    epochs: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    steps: Steps | None = None
    batch_size: Annotated[int, Field(gt=0, le=10_000_000)] = 64
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    lr: PositiveFloat = 1e-3
    momentum: UnitFloat = 0.0
    nesterov: bool = False
    betas: Annotated[tuple[UnitFloat, UnitFloat], LISTED] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    decay: Literal["all", "weights"] = "all"
    schedule: Literal["constant", "step", "cosine"] = "constant"
    milestones: Annotated[Milestones, LISTED] = ()
    gamma: PositiveFloat = 0.1
    warmup: Warmup | None = None
    label_smoothing: UnitFloat = 0.0
    clip_norm: PositiveFloat | None = None
    checkpoint_every: CheckpointInterval = "60s"
    stack: AutoOrCount = "auto"
    threads: AutoOrCount = "auto"


class GradientSettings(Model):
    """The logging interval of the gradient probes, and the probes."""

    every: Steps = 25
    probes: Annotated[
        tuple[Annotated[TrialName, WithJsonSchema({"type": "string", "enum": list(PROBE_NAMES)})], ...],
        LISTED,
        Field(description="Names of probes; each writes a log."),
    ] = ("gradient_norm", "signal")


class CompareSettings(Model):
    """The primary hypothesis, and the margin (the smallest effect of interest)."""

    primary: Text | None = None
    margin: Annotated[float, Field(ge=0, le=1)] = 0.01


class Settings(Model):
    """One cell of an experiment, including all defaults."""

    name: Name
    question: Text | None = None
    data: DataSettings = DataSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    seeds: Seeds = (0, 1, 2, 3, 4)
    device: Device = "auto"
    precision: Literal["float32", "float64", "tf32", "bfloat16"] = "float32"
    compile: bool = False
    deterministic: bool = True
    gradients: GradientSettings = GradientSettings()
    compare: CompareSettings = CompareSettings()


class Trial(Model):
    """One network to train: an arm of a cell, at one seed.

    `parameters_of` marks the parameter-matched plain baseline of a shortcut: the narrowest plain network that has at least as
    many parameters as the network with that shortcut.
    """

    name: TrialName
    arm: TrialName
    seed: int
    settings: Settings
    parameters_of: Variant | None = None
