"""The keys of a config, one pydantic model per section. An instance is one cell of the grid.

Upper bounds are far above practical values, see `types`.
"""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from resexp.config.properties import SHORTCUT_NAMES
from resexp.config.types import (
    EXTENSIBLE,
    LISTED,
    AutoOrCount,
    CheckpointInterval,
    Compilation,
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

    name: Annotated[Literal["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "image-folder"], EXTENSIBLE] = Field(
        "digits", description="Data set. Without `root`, all except digits and image-folder are looked for in $RESEXP_DATA."
    )
    root: Annotated[
        Text | None,
        Field(
            description="Folder of the data sets, or the image folder itself; $VAR and ~ are expanded.", examples=["$HOME/data"]
        ),
    ] = None
    labels: Annotated[
        Text | None,
        Field(
            description="CSV file with the columns file and label, for an image folder without class folders; relative to "
            "root.",
            examples=["labels.csv"],
        ),
    ] = None
    image_size: Annotated[int, Field(gt=0, le=10_000)] | None = Field(
        None,
        description="Side in pixels to which the images of an image folder are resized; required there.",
        examples=[32],
    )
    download: bool = Field(default=False, description="Whether missing files of a published data set are downloaded to `root`.")
    validation: FractionOrCount = Field(
        0.1,
        description="Validation set, taken from the training images: a fraction, or a number of images.",
        examples=[0.1, 5000],
    )
    limit: ImageCount | None = Field(
        None, description="Number of training images to use, after the validation set is taken; null uses all.", examples=[1000]
    )
    limit_validation: Annotated[
        ImageCount | None,
        Field(description="Number of validation images to use, for a quick trial; not for a result.", examples=[100]),
    ] = None
    limit_test: Annotated[
        ImageCount | None,
        Field(description="Number of test images to use, for a quick trial; not for a result.", examples=[100]),
    ] = None
    normalize: Literal["channel", "pixel", "none"] = Field(
        "channel",
        description="Training-set mean that is subtracted: of each channel (then divided by its SD), of each pixel, or none.",
    )
    augment: Literal["none", "crop-flip"] = Field(
        "none",
        description="Augmentation of training images: a random shift by up to 1/8 of the height and a random horizontal flip.",
    )


class NetworkSettings(Model):
    """One architecture; `shortcut` selects the arm."""

    family: Literal["mlp", "cnn"] = Field(
        "mlp", description="Architecture: multilayer perceptron, or convolutional network as in He et al. 2015b."
    )
    depth: Annotated[int, Field(ge=2, le=100_000)] = Field(
        8,
        description="Number of weighted layers: 2 plus a multiple of the layers of a block (mlp), or of 3 times that (cnn).",
        examples=[20, 56],
    )
    width: Annotated[int, Field(gt=0, le=100_000)] = Field(
        64, description="Number of units of a hidden layer (mlp), or of channels in the first stage (cnn).", examples=[16, 64]
    )
    shortcut: Annotated[
        Variant,
        Field(
            description="Name of a shortcut, or one with parameters: {gate: {bias: -6}}; the plain network has none.",
            examples=[*SHORTCUT_NAMES, {"gate": {"bias": -6}}],
        ),
    ] = "identity"
    plain: bool = Field(default=True, description="Whether the plain network is added to every configuration of the grid.")
    plain_width: Literal["same", "parameters"] = Field(
        "same",
        description="With parameters: add a parameter-matched plain baseline for each shortcut that has parameters.",
    )
    block: Literal["basic", "bottleneck"] = Field(
        "basic", description="Block of a cnn: basic (3x3 convolutions), or bottleneck (1x1, 3x3, 1x1)."
    )
    block_layers: Annotated[int, Field(gt=0, le=1_000)] = Field(
        2, description="Number of weighted layers in a basic block.", examples=[1, 2, 3]
    )
    placement: Literal["post", "pre", "branch", "post-norm", "pre-act-only"] = Field(
        "post", description="Position of activation and normalization relative to the addition; the glossary has the formulas."
    )
    norm: Annotated[Literal["none", "batch", "layer", "group"], EXTENSIBLE] = Field(
        "none", description="Normalization layer after each weighted layer of a block."
    )
    activation: Annotated[
        Variant,
        WithJsonSchema(variants_schema(ACTIVATION_PARAMETERS)),
        Field(
            description="Name of an activation, or one with parameters: {tat: {eta: 0.9}}.", examples=[{"tat": {"eta": 0.9}}]
        ),
    ] = "relu"
    init: Annotated[
        Literal["pytorch", "he", "xavier", "orthogonal", "delta-orthogonal", "fixup", "identity", "looks-linear"],
        EXTENSIBLE,
        Field(description="Initialization of every weight. With identity and looks-linear, plain networks keep inputs apart."),
    ] = "pytorch"
    init_scale: PositiveFloat | None = Field(
        None,
        description="fan_in * Var(W) of hidden layers (He: 2, PyTorch default: 1/3); null keeps the scale of `init`.",
        examples=[1.0, 2.0],
    )
    zero_init_residual: bool = Field(
        default=False,
        description="Whether the last normalization or weighted layer of each branch is 0 at initialization (torchvision).",
    )


class Warmup(Model):
    """The first `steps` steps use `factor` times the learning rate."""

    steps: Steps = Field(description="Number of steps of the warm-up.", examples=[400])
    factor: PositiveFloat = Field(description="Factor of the learning rate during the warm-up.", examples=[0.1])


class TrainingSettings(Model):
    """The training recipe. A step is one optimizer update."""

    epochs: Annotated[int, Field(gt=0, le=1_000_000)] | None = Field(
        None, description="Number of passes over the training set; 20 if neither epochs nor steps is given.", examples=[20]
    )
    steps: Steps | None = Field(None, description="Number of optimizer updates, instead of `epochs`.", examples=[64_000])
    batch_size: Annotated[int, Field(gt=0, le=10_000_000)] = Field(
        64, description="Number of images in a mini-batch.", examples=[64, 128]
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field("adam", description="Optimizer, with the update rule of torch.optim.")
    lr: PositiveFloat = Field(1e-3, description="Learning rate.", examples=[1e-4, 1e-3, 0.1])
    momentum: UnitFloat = Field(0.0, description="Momentum of sgd.", examples=[0.9])
    nesterov: bool = Field(default=False, description="Whether sgd uses Nesterov momentum.")
    betas: Annotated[tuple[UnitFloat, UnitFloat], LISTED] = Field(
        (0.9, 0.999), description="Decay rates of the two running averages of adam and adamw.", examples=[[0.9, 0.999]]
    )
    eps: PositiveFloat = Field(1e-8, description="Term added to the denominator of adam and adamw.", examples=[1e-8])
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="Coefficient of weight decay; decoupled from the gradient for adamw.", examples=[1e-4]
    )
    decay: Literal["all", "weights"] = Field(
        "all",
        description="Parameters that weight decay changes: all, or weights (no biases, no normalization layers).",
    )
    schedule: Literal["constant", "step", "cosine"] = Field("constant", description="Learning-rate schedule.")
    milestones: Annotated[Milestones, LISTED] = Field(
        (), description="Steps at which schedule: step multiplies the learning rate by `gamma`.", examples=[[32_000, 48_000]]
    )
    gamma: PositiveFloat = Field(0.1, description="Factor of the learning rate at each milestone.", examples=[0.1])
    warmup: Warmup | None = Field(
        None,
        description="First steps with another learning rate: {steps: 400, factor: 0.1}.",
        examples=[{"steps": 400, "factor": 0.1}],
    )
    label_smoothing: UnitFloat = Field(0.0, description="Label smoothing of the training loss.", examples=[0.1])
    clip_norm: PositiveFloat | None = Field(
        None,
        description="Largest norm of the gradient of all parameters; larger ones are scaled down, after they are logged.",
        examples=[1.0],
    )
    checkpoint_every: CheckpointInterval = Field(
        "60s",
        description="Interval between checkpoints: a time such as 60s, or a number of steps.",
        examples=["60s", "5m", 1000],
    )
    stack: AutoOrCount = Field(
        "auto",
        description="Largest number of networks that are trained together as one batched network; auto stacks only mlps.",
        examples=["auto", 8],
    )
    threads: AutoOrCount = Field("auto", description="Number of threads per process.", examples=["auto", 2])


class GradientSettings(Model):
    """The logging interval of the gradient probes, and the probes."""

    every: Steps = Field(25, description="Number of steps between two logging steps.", examples=[25])
    probes: Annotated[
        tuple[Annotated[TrialName, WithJsonSchema({"type": "string", "enum": list(PROBE_NAMES)})], ...],
        LISTED,
        Field(description="Names of probes; each writes a log.", examples=[["gradient_norm", "signal"]]),
    ] = ("gradient_norm", "signal")


class CompareSettings(Model):
    """The primary hypothesis, and the margin (the smallest effect of interest)."""

    primary: Text | None = Field(
        None,
        description="Primary hypothesis, such as 'test_accuracy: identity > plain @ 95%'; its verdict is printed first.",
        examples=["test_accuracy: identity > plain @ 95%"],
    )
    margin: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="Smallest effect of interest, as a share: 0.01 is 1 point of accuracy.", examples=[0.01]
    )


class Settings(Model):
    """One cell of an experiment, including all defaults."""

    name: Name = Field(
        description="Name of the experiment and of its folder; default: the name of the file.", examples=["layer-norm"]
    )
    question: Text | None = Field(
        None,
        description="Question that the experiment answers; reports begin with it.",
        examples=["Does layer norm alone train 32 layers?"],
    )
    data: DataSettings = DataSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    seeds: Seeds = Field(
        (0, 1, 2, 3, 4), description="Number n of seeds (0 to n-1), or a list of seeds.", examples=[5, [0, 1, 2]]
    )
    device: Device = Field(
        "auto", description="Device: auto, cpu, cuda, cuda:<number> or mps.", examples=["auto", "cpu", "cuda", "cuda:0", "mps"]
    )
    precision: Literal["float32", "float64", "tf32", "bfloat16"] = Field(
        "float32", description="Floating-point precision of training; tf32 is available only on cuda."
    )
    compile: Compilation = Field(
        default=False,
        description="Whether the training step is compiled with torch.compile, or captured as one CUDA graph (cuda-graph).",
    )
    deterministic: bool = Field(default=True, description="Whether only deterministic algorithms are used.")
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
