"""The keys of a config, one pydantic model per section; every value here is one cell of the grid.

Upper bounds are far above what anybody trains; see `types`.
"""

from typing import Annotated, Literal

from pydantic import Field

from resexp.config.types import (
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
    Shortcut,
    Steps,
    Text,
    TrialName,
    UnitFloat,
)

NORM_NAMES = ("none", "batch", "layer", "group")
COARSE = ("tf32", "bfloat16")  # precisions with fewer digits than float32
INIT_NAMES = ("pytorch", "he", "xavier", "orthogonal", "delta-orthogonal", "fixup")
PLACEMENT_NAMES = ("post", "pre", "branch", "post-norm", "pre-act-only")
ACTIVATION_NAMES = ("relu", "tanh", "gelu")
DATASET_NAMES = ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "image-folder")
PROBE_NAMES = ("gradient_norm", "signal", "eps_bound", "gradient_correlation", "path_lengths")

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
    "network.init_scale": "scale{}",
    "network.zero_init_residual": "zero-init-residual-{}",
    "training.batch_size": "batch{}",
    "training.optimizer": "{}",
    "training.lr": "lr{}",
    "training.eps": "eps{}",
    "training.weight_decay": "decay{}",
}


# ---- the sections of a config ------------------------------------------------------------------------------------------


class Data(Model):
    """Which images, and what is done to them before the network sees them."""

    name: Literal["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "image-folder"] = "digits"
    root: Annotated[
        Text | None, Field(description="Folder of the data sets, or the image folder itself; $VAR and ~ are replaced.")
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
        ImageCount | None, Field(description="Number of validation images to use, for trying something out; not for a result.")
    ] = None
    limit_test: Annotated[
        ImageCount | None, Field(description="Number of test images to use, for trying something out; not for a result.")
    ] = None
    normalize: Literal["channel", "pixel", "none"] = "channel"
    augment: Literal["none", "crop-flip"] = "none"


class Network(Model):
    """One architecture: a cell of the grid and, through `shortcut`, an arm."""

    family: Literal["mlp", "cnn"] = "mlp"
    depth: Annotated[int, Field(ge=2, le=100_000)] = 8
    width: Annotated[int, Field(gt=0, le=100_000)] = 64
    shortcut: Shortcut = "identity"
    plain: bool = True
    plain_width: Literal["same", "parameters"] = "same"
    block: Literal["basic", "bottleneck"] = "basic"
    block_layers: Annotated[int, Field(gt=0, le=1_000)] = 2
    placement: Literal["post", "pre", "branch", "post-norm", "pre-act-only"] = "post"
    norm: Literal["none", "batch", "layer", "group"] = "none"
    activation: Literal["relu", "tanh", "gelu"] = "relu"
    init: Literal["pytorch", "he", "xavier", "orthogonal", "delta-orthogonal", "fixup"] = "pytorch"
    init_scale: PositiveFloat | None = None
    zero_init_residual: bool = False


class Warmup(Model):
    """The first `steps` steps run at `factor` times the learning rate."""

    steps: Steps
    factor: PositiveFloat


class Training(Model):
    """The recipe. `step` counts completed optimizer updates."""

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


class Gradients(Model):
    """When gradients are read, and which probes read them."""

    every: Steps = 25
    probes: Annotated[
        tuple[Literal["gradient_norm", "signal", "eps_bound", "gradient_correlation", "path_lengths"], ...], LISTED
    ] = ("gradient_norm", "signal")


class Compare(Model):
    """What `resexp compare` is to confirm."""

    primary: Text | None = None
    margin: Annotated[float, Field(ge=0, le=1)] = 0.01


class Settings(Model):
    """One cell of an experiment with every default written out."""

    name: Name
    question: Text | None = None
    data: Data = Data()
    network: Network = Network()
    training: Training = Training()
    seeds: Seeds = (0, 1, 2, 3, 4)
    device: Device = "auto"
    precision: Literal["float32", "float64", "tf32", "bfloat16"] = "float32"
    compile: bool = False
    deterministic: bool = True
    gradients: Gradients = Gradients()
    compare: Compare = Compare()


class Trial(Model):
    """One network to train: an arm of a cell, at one seed.

    `parameters_of` marks the second control: a plain network as wide as it takes to have the parameters of that shortcut's
    network, the narrowest that has at least as many.
    """

    name: TrialName
    arm: TrialName
    seed: int
    settings: Settings
    parameters_of: Shortcut | None = None
