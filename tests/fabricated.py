"""A finished experiment made by hand: every number in it is chosen by the test, none by a training."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resexp import config, runs
from resexp.config import Experiment, Trial

START = {
    "time": "2026-01-01T00:00:00+00:00",
    "command": ["resexp", "train", "digits"],
    "resexp": "0.1.0",
    "python": "3.11.0",
    "packages": {"torch": "2.8.0"},
    "system": "Linux x86_64",
    "processor": "a processor",
    "cores": 2,
    "device": "cpu",
    "accelerator": "cpu",
    "data_sha256": "0" * 64,
    "images": [1294, 144, 359],
}
RESULT = {
    "outcome": "above_chance", "test_accuracy": None, "test_loss": 1.0, "best_test_accuracy": None, "best_test_loss": 1.0,
    "best_epoch": 1, "train_accuracy": None, "train_loss": 0.1, "val_accuracy": None, "slope_start": math.nan,
    "slope_end": math.nan, "parameters": 100, "multiply_adds": 90, "steps": 20,
}  # fmt: skip

Values = Callable[[Trial], dict[str, Any]]


def experiment(runs_dir: Path, values: Values, *overrides: str) -> tuple[Path, Experiment]:
    """digits with `overrides`, every trial finished with `values(trial)`; a trial for which it is empty is not trained."""
    found = config.load("digits", list(overrides))
    folder = runs_dir / found.name
    folder.mkdir(parents=True)
    runs.begin(found, folder, config.make_plan(found, "cpu", 2), START, pair_summaries=[])
    for trial in found.trials:
        chosen = values(trial)
        if chosen:
            finish(folder, trial, chosen)
    return folder, found


def results(*arguments: Any) -> runs.Results:
    """What has been trained of such an experiment."""
    return runs.results_of(*experiment(*arguments))


def finish(folder: Path, trial: Trial, values: dict[str, Any]) -> None:
    """The files of one finished trial: two epochs of metrics, two readings at four block boundaries."""
    place = runs.trial_folder(folder, trial.name)
    runs.clear(place)
    accuracy = values.get("val_accuracy", values.get("test_accuracy"))
    logged = math.nan if accuracy is None else accuracy
    for step in (0, 20):
        runs.append(place / "metrics.csv", [(step, step // 20, 0.001, 2.0 / (1 + step), logged, 2.0, logged)])
        runs.append(place / "timing.csv", [(step, step // 20, 0.5 if step else 0.0, 0.1)])
        flows = [values.get("flow", 1.0) ** (3 - index) for index in range(4)]
        rows = [(step, 0, index, f"blocks.{index}", 1.0, flow) for index, flow in enumerate(flows)]
        runs.append(place / "signals.csv", rows)
    named = {"trial": trial.name, "arm": trial.arm, "seed": trial.seed, "status": "finished"}
    runs.write_result(place, {**RESULT, **named, "train_accuracy": accuracy, "val_accuracy": accuracy, **values})
