"""The columns of every log of runs/, each declared once: readers, writers, data frames and runs/README.md follow. No torch.

A log is a class with a field for each column. Logs of a trial begin with `step` and `epoch`, which their classes leave out.
"""

import math
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints


class Explain(NamedTuple):
    """The meaning of a column. optional: some files do not have it; such columns come last."""

    text: str
    unit: str = ""
    optional: bool = False


class LogColumn(NamedTuple):
    """One column of a log. kind: int, float or str."""

    name: str
    kind: type
    unit: str
    explain: str
    optional: bool


# ---- logs of a trial, by training step --------------------------------------------------------------------------------


class MetricsRow(NamedTuple):
    """Loss and accuracy at step 0 and after every epoch."""

    lr: Annotated[float, Explain("learning rate of the next step")]
    train_loss: Annotated[float, Explain("mean cross-entropy on at most 10,000 training images")]
    train_accuracy: Annotated[float, Explain("share of correct predictions on these images")]
    val_loss: Annotated[float, Explain("mean cross-entropy on the validation images")]
    val_accuracy: Annotated[float, Explain("share of correct predictions on the validation images")]


class GradientRow(NamedTuple):
    """The weights of a weighted layer and their gradient, without the bias."""

    index: Annotated[int, Explain("number of the layer, from the input")]  # type: ignore[assignment]  # hides tuple.index
    layer: Annotated[str, Explain("name of the layer")]
    parameters: Annotated[int, Explain("number of weights")]
    weight_grad_norm: Annotated[float, Explain("norm of dL/dW")]
    weight_grad_rms: Annotated[float, Explain("this norm divided by the square root of `parameters`")]
    weight_norm: Annotated[float, Explain("norm of W")]
    update_ratio: Annotated[float, Explain("norm of the update of W, divided by the norm of W")]


class SignalRow(NamedTuple):
    """The activations at a block boundary and their gradients."""

    index: Annotated[int, Explain("number of the boundary; 0 is the input of the first block")]  # type: ignore[assignment]  # as above
    block: Annotated[str, Explain("the block that ends there; `stem` at the input of the first block")]
    activation_rms: Annotated[float, Explain("root mean square (RMS) of the activations x")]
    activation_grad_norm: Annotated[float, Explain("RMS over examples of the norm of dL/dx of one example")]
    activation_cosine_distance: Annotated[
        float,
        Explain("1 minus the mean cosine similarity over pairs of examples; 0 if all inputs look alike", optional=True),
    ] = math.nan


class EpsBoundRow(NamedTuple):
    """The effect of eps on the update of a weighted layer; Adam and AdamW only."""

    index: Annotated[int, Explain("number of the layer, from the input")]  # type: ignore[assignment]  # as above
    layer: Annotated[str, Explain("name of the layer")]
    below_eps: Annotated[
        float,
        Explain("share of its weights with sqrt(v_hat) < `training.eps`; the update of this step divides by sqrt(v_hat)"),
    ]


class GradientCorrelationRow(NamedTuple):
    """cos(d logit_0 / dx_i, d logit_0 / dx_j) over pairs of images i < j; images without a gradient are in no pair."""

    pairs: Annotated[int, Explain("number of pairs")]
    gradient_correlation: Annotated[float, Explain("mean over the pairs")]
    sd: Annotated[float, Explain("standard deviation over the pairs")]


class PathLengthRow(NamedTuple):
    """The gradient g_k along all paths through exactly k branches, at the input of the first block; g is the whole gradient."""

    length: Annotated[int, Explain("k")]
    share: Annotated[float, Explain("`<g_k, g> / <g, g>`; shares sum to 1, and one may be negative")]
    norm: Annotated[float, Explain("sqrt(B) |g_k|, with B images")]


class TimingRow(NamedTuple):
    """Times of an epoch of the stack, divided by its number of trials."""

    train_seconds: Annotated[float, Explain("training", "s")]
    evaluation_seconds: Annotated[float, Explain("evaluation after the epoch", "s")]


# ---- other tables -------------------------------------------------------------------------------------------------------


class CostRow(NamedTuple):
    """The cost of an arm, measured by `resexp time`."""

    cell: Annotated[str, Explain("configuration")]
    arm: Annotated[str, Explain("network variant")]
    parameters: Annotated[int, Explain("number of parameters of the network")]
    multiply_adds: Annotated[int, Explain("multiply-adds per image")]
    activation_bytes: Annotated[int, Explain("saved for the backward pass, per image", "B")]
    memory_bytes: Annotated[
        int, Explain("weights, gradients, optimizer state, and what a batch saves for the backward pass", "B")
    ]
    step_seconds: Annotated[float, Explain("median of a training step", "s")]
    step_low: Annotated[float, Explain("lower quartile of a training step", "s")]
    step_high: Annotated[float, Explain("upper quartile of a training step", "s")]
    epoch_seconds: Annotated[float, Explain("`step_seconds` times the steps of an epoch", "s")]
    relative: Annotated[float, Explain("median ratio of the step time to that of the plain network in the same round")]


class PredictionRow(NamedTuple):
    """The prediction for a test image."""

    index: Annotated[int, Explain("number of the image")]  # type: ignore[assignment]  # as above
    label: Annotated[int, Explain("label")]
    prediction: Annotated[int, Explain("predicted label")]
    label_probability: Annotated[float, Explain("predicted probability of the label")]
    label_name: Annotated[str, Explain("class name of the label, for an image folder", optional=True)]
    prediction_name: Annotated[str, Explain("class name of the prediction, for an image folder", optional=True)]
    file: Annotated[str, Explain("path relative to `data.root`, for an image folder", optional=True)]


class LesionRow(NamedTuple):
    """The whole network, or one without the branch of a block, on the validation set."""

    index: Annotated[int, Explain("number of the block, as in `signals.csv`; 0 is the whole network")]  # type: ignore[assignment]  # as above
    block: Annotated[str, Explain("name of the block")]
    without: Annotated[str, Explain("what the block computes without its branch, see below")]
    val_loss: Annotated[float, Explain("mean cross-entropy")]
    val_error: Annotated[float, Explain("share of wrong predictions")]
    error_increase: Annotated[float, Explain("difference from the error of the whole network")]


class ShortcutScaleRow(NamedTuple):
    """A network with scaled shortcuts on the validation set."""

    scale: Annotated[float, Explain("every S is multiplied by it")]
    val_loss: Annotated[float, Explain("mean cross-entropy")]
    val_error: Annotated[float, Explain("share of wrong predictions")]


class SurfaceRow(NamedTuple):
    """A network near the trained one on the validation set."""

    alpha: Annotated[float, Explain("steps along a random direction, scaled filter by filter")]
    beta: Annotated[float, Explain("steps along a second one")]
    val_loss: Annotated[float, Explain("mean cross-entropy")]
    val_error: Annotated[float, Explain("share of wrong predictions")]


# ---- files --------------------------------------------------------------------------------------------------------------

STEP = LogColumn("step", int, "", "completed updates", optional=False)
EPOCH = LogColumn("epoch", int, "", "completed epochs", optional=False)
# Files of the probes that this package contains; the log of any other probe is named like it.
PROBE_FILES = {
    "gradient_norm": "gradients.csv",
    "signal": "signals.csv",
    "eps_bound": "eps_bound.csv",
    "gradient_correlation": "gradient_correlation.csv",
    "path_lengths": "path_lengths.csv",
}
TRIAL_LOGS: dict[str, type] = {
    "metrics.csv": MetricsRow,
    "gradients.csv": GradientRow,
    "signals.csv": SignalRow,
    "eps_bound.csv": EpsBoundRow,
    "gradient_correlation.csv": GradientCorrelationRow,
    "path_lengths.csv": PathLengthRow,
    "timing.csv": TimingRow,
}
TABLES: dict[str, type] = {
    "cost.csv": CostRow,
    "predictions.csv.gz": PredictionRow,
    "lesion.csv": LesionRow,
    "shortcut_scale.csv": ShortcutScaleRow,
    "surface.csv": SurfaceRow,
}


def probe_file(probe: str) -> str:
    return PROBE_FILES.get(probe, f"{probe}.csv")


def columns_of(row: type) -> tuple[LogColumn, ...]:
    """The columns that the fields of a row declare; a field without `Explain` has no explanation."""
    return tuple(_column(name, hint) for name, hint in get_type_hints(row, include_extras=True).items())


def _column(name: str, hint: Any) -> LogColumn:
    kind, explain = get_args(hint) if get_origin(hint) is Annotated else (hint, Explain(""))
    return LogColumn(name, kind, explain.unit, explain.text, explain.optional)


LOG_COLUMNS: dict[str, tuple[LogColumn, ...]] = {
    **{file: (STEP, EPOCH, *columns_of(row)) for file, row in TRIAL_LOGS.items()},
    **{file: columns_of(row) for file, row in TABLES.items()},
}
COLUMNS = {file: tuple(column.name for column in columns) for file, columns in LOG_COLUMNS.items()}


def markdown_tables(files: dict[str, type]) -> str:
    """The tables of runs/README.md: the content of each file and its columns."""
    lines = ["| file | column | type | meaning |", "| --- | --- | --- | --- |"]
    for file, row in files.items():
        cells = [(f"`{file}`", "", "", row.__doc__ or "")]
        for column in columns_of(row):
            unit = f" ({column.unit})" if column.unit else ""
            cells.append(("", f"`{column.name}`", column.kind.__name__, column.explain + unit))
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells]
    return "\n".join(lines) + "\n"
