"""Finished experiments without training: the test chooses every number."""

import json
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
LAUNCH = runs.Launch.model_validate_json(json.dumps(START))
RESULT = {
    "outcome": "above_chance", "test_accuracy": None, "test_loss": 1.0, "best_test_accuracy": None, "best_test_loss": 1.0,
    "best_epoch": 1, "train_accuracy": None, "train_loss": 0.1, "val_accuracy": None, "slope_start": math.nan,
    "slope_end": math.nan, "parameters": 100, "multiply_adds": 90, "steps": 20,
}  # fmt: skip

Values = Callable[[Trial], dict[str, Any]]


def experiment(runs_dir: Path, values: Values, *overrides: str) -> tuple[Path, Experiment]:
    """The config digits with `overrides`; every trial is finished with `values(trial)`, or waiting if these are empty."""
    created = config.load("digits", list(overrides))
    folder = runs_dir / created.name
    folder.mkdir(parents=True)
    runs.begin(created, folder, config.make_plan(created, "cpu", 2), LAUNCH, [])
    for trial in created.trials:
        chosen = values(trial)
        if chosen:
            finish(folder, trial, chosen)
    return folder, created


def results(*arguments: Any) -> runs.Results:
    """The results of such an experiment."""
    return runs.results_of(*experiment(*arguments))


def finish(folder: Path, trial: Trial, values: dict[str, Any]) -> None:
    """Writes the files of one finished trial: logs of two steps with four block boundaries and three layers.

    `distance_start` of the values is the distance at every boundary.
    """
    trial_folder = runs.trial_folder(folder, trial.name)
    runs.clear(trial_folder)
    accuracy = values.get("val_accuracy", values.get("test_accuracy"))
    logged = math.nan if accuracy is None else accuracy
    for step in (0, 20):
        runs.append(
            trial_folder / "metrics.csv", [(step, step // 20, 0.001, values.get("loss", 2.0) / (1 + step), logged, 2.0, logged)]
        )
        runs.append(trial_folder / "timing.csv", [(step, step // 20, 0.5 if step else 0.0, 0.1)])
        flows = [values.get("flow", 1.0) ** (3 - index) for index in range(4)]
        rows = [
            (step, 0, index, f"blocks.{index}", 1.0, flow, values.get("distance_start", 0.5))
            for index, flow in enumerate(flows)
        ]
        runs.append(trial_folder / "signals.csv", rows)
        layers = enumerate(("stem", "blocks.0.layer1", "classifier"))
        rows = [(step, step // 20, index, layer, 4, flows[index], flows[index] / 2, 1.0, 0.01) for index, layer in layers]
        runs.append(trial_folder / "gradients.csv", rows)
    named = {"trial": trial.name, "arm": trial.arm, "seed": trial.seed, "status": "finished"}
    runs.write_result(trial_folder, {**RESULT, **named, "train_accuracy": accuracy, "val_accuracy": accuracy, **values})
