"""Rows of logs -> points of curves."""

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
BY_PLACE = {  # file: the column that names the place, and the columns that are curves of it
    "signals.csv": ("block", ("activation_grad_norm", "activation_rms")),
    "gradients.csv": ("layer", ("weight_grad_norm", "update_ratio")),
}


class Point(NamedTuple):
    """One value of the curve `tag`, such as train/loss or activation_grad_norm/blocks.0."""

    tag: str
    step: int
    value: float


def points(trial: Path) -> Iterator[Point]:
    """Every point of a trial's logs so far, file by file, each in the order of its steps.

    Raises:
        RunsError: a damaged log, by name.
    """
    for row in runs.read_rows(trial / "metrics.csv"):
        yield from (Point(tag, int(row["step"]), float(row[column])) for column, tag in METRICS.items())
    for file, (place, columns) in BY_PLACE.items():
        for row in runs.read_rows(trial / file):
            yield from (Point(f"{column}/{row[place]}", int(row["step"]), float(row[column])) for column in columns)


def settings_of(trial: Trial) -> dict[str, Any]:
    """The settings of a trial by dotted key, as trackers want them."""
    flat: dict[str, Any] = {"arm": trial.arm, "seed": trial.seed}
    for section, value in trial.settings.model_dump(mode="json").items():
        flat |= {f"{section}.{key}": of for key, of in value.items()} if isinstance(value, dict) else {section: value}
    return flat


def absent(package: str, extra: str) -> ConfigError:
    """What is said where a tracker is not installed."""
    return ConfigError(f"{package} is not installed; pip install {extra}")
