"""Points of curves, from the rows of logs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from resexp import runs
from resexp.config import ConfigError, Trial

METRICS = {
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "val_loss": "val/loss",
    "val_accuracy": "val/accuracy",
    "lr": "train/lr",
}
BY_LAYER = {  # file: the column that names the block or layer, and the columns that become curves
    "signals.csv": ("block", ("activation_grad_norm", "activation_rms")),
    "gradients.csv": ("layer", ("weight_grad_norm", "update_ratio")),
}


class Point(NamedTuple):
    """One value of the curve `tag`, such as train/loss or activation_grad_norm/blocks.0."""

    tag: str
    step: int
    value: float


def points(trial_path: Path) -> Iterator[Point]:
    """Every point of a trial's logs so far, file by file, in the order of steps."""
    for row in runs.read_rows(trial_path / "metrics.csv"):
        yield from (Point(tag, int(row["step"]), float(row[column])) for column, tag in METRICS.items())
    for file, (layer, columns) in BY_LAYER.items():
        for row in runs.read_rows(trial_path / file):
            yield from (Point(f"{column}/{row[layer]}", int(row["step"]), float(row[column])) for column in columns)


def settings_of(trial: Trial) -> dict[str, Any]:
    """The settings of a trial by dotted key, for trackers."""
    flat: dict[str, Any] = {"arm": trial.arm, "seed": trial.seed}
    for section, value in trial.settings.model_dump(mode="json").items():
        flat |= {f"{section}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {section: value}
    return flat


def not_installed(package: str, extra: str) -> ConfigError:
    """The error if a tracker is not installed."""
    return ConfigError(f"{package} is not installed; pip install {extra}")
