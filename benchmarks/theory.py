"""Predictions of `resexp.theory` against networks at initialization; writes docs/gradients.md.

    python benchmarks/theory.py [seeds] [width]

The option --only selects cases by name, and --measurements keeps the measured values in a file.
Each case is built by `resexp` at several depths, on the handwritten digits in batches of 128 unless stated otherwise. Two
quantities are measured, without training: the slope of the gradient profile, and the distance of activations at the last block
boundary (1 minus the mean cosine over pairs of images). A measured value is the mean over seeds with its 95% CI, for distances
the mean of logarithms. It agrees with theory if the CI overlaps the predicted range, which includes two SDs over seeds.
"""

import argparse
import json
import math
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tables import publish, table
from torch import Tensor

from resexp import config, inference, probes, theory, training
from resexp.config import Trial
from resexp.networks import boundary_stages
from resexp.tables.theory_bands import IMAGES

DOCUMENT = Path(__file__).parent.parent / "docs" / "gradients.md"
DEPTHS = (8, 32, 64)
ROUNDING = 1e-12  # distances below it are rounding errors of float32
PLAIN: dict[str, Any] = {"shortcut": "plain"}
HALF = {"scaled": {"scale": 0.5, "branch": 1.0}}

CASES: dict[str, dict[str, Any]] = {
    **{
        f"plain, {activation}, {init}": {**PLAIN, "activation": activation, "init": init}
        for activation in ("relu", "tanh", "gelu")
        for init in ("he", "pytorch", "xavier", "orthogonal")
        if (activation, init) not in (("gelu", "orthogonal"), ("relu", "orthogonal"))
    },
    "plain, tanh, orthogonal, pre": {**PLAIN, "activation": "tanh", "init": "orthogonal", "placement": "pre"},
    **{
        f"plain, {norm} norm, {activation}": {**PLAIN, "norm": norm, "activation": activation, "init": "he"}
        for norm in ("layer", "batch", "group")
        for activation in ("relu", "tanh", "gelu")
    },
    "plain, layer norm, relu, width 64": {**PLAIN, "norm": "layer", "init": "he", "width": 64},
    "plain, group norm, relu, width 64": {**PLAIN, "norm": "group", "init": "he", "width": 64},
    "plain, relu, he, width 64": {**PLAIN, "init": "he", "width": 64},
    **{
        f"identity, {placement}, {norm} norm": {"placement": placement, "norm": norm, "init": "he"}
        for placement in ("post", "pre", "branch")
        for norm in ("layer", "batch", "group")
    },
    **{f"identity, {placement}, he": {"placement": placement, "init": "he"} for placement in ("post", "pre", "branch")},
    "identity, post, pytorch": {},
    "identity, post, pytorch, width 64": {"width": 64},
    "identity, post, layer norm, width 64": {"width": 64, "norm": "layer", "init": "he"},
    "identity, pre, layer norm, width 64": {"width": 64, "norm": "layer", "init": "he", "placement": "pre"},
    **{
        f"identity, pre, batch norm, B = {batch}": {"placement": "pre", "norm": "batch", "init": "he", "batch": batch}
        for batch in (8, 16, 64)
    },
    "identity, branch, batch norm, B = 8": {"placement": "branch", "norm": "batch", "init": "he", "batch": 8},
    **{
        f"identity, pre, {activation}, {init}": {"placement": "pre", "activation": activation, "init": init}
        for activation, init in (("tanh", "he"), ("tanh", "pytorch"), ("tanh", "xavier"), ("gelu", "he"))
    },
    "identity, post, tanh, he": {"activation": "tanh", "init": "he"},
    "identity, branch, pytorch, one layer": {"placement": "branch", "block_layers": 1},
    **{
        f"{name}, {placement}, he": {"shortcut": shortcut, "placement": placement, "init": "he"}
        for name, shortcut in (("skipinit", "skipinit"), ("scaled 0.5, 1", HALF))
        for placement in ("post", "pre", "branch")
    },
    **{
        f"{name}, post, layer norm": {"shortcut": shortcut, "norm": "layer", "init": "he"}
        for name, shortcut in (("skipinit", "skipinit"), ("scaled 0.9, 0.3", {"scaled": {"scale": 0.9, "branch": 0.3}}))
    },
    **{
        f"projection-all, post, {init}": {"shortcut": "projection-all", "init": init}
        for init in ("he", "pytorch", "xavier")
    },
    "projection-all, post, he, width 64": {"shortcut": "projection-all", "init": "he", "width": 64},
    "projection-all, branch, pytorch, one layer": {"shortcut": "projection-all", "placement": "branch", "block_layers": 1},
    "stochastic depth, pre, he": {"shortcut": "stochastic-depth", "placement": "pre", "init": "he"},
    "dropout, pre, he": {"shortcut": "dropout", "placement": "pre", "init": "he"},
    **{
        f"cnn, {shortcut}, he": {"family": "cnn", "width": 16, "depth": 20, "shortcut": shortcut, "init": "he"}
        for shortcut in ("plain", "identity")
    },
}  # fmt: skip


class Result(NamedTuple):
    """One case at one depth; `measured` is (mean, low, high), and `predicted` (middle, low, high)."""

    case: str
    depth: int
    quantity: str
    measured: tuple[float, ...]
    predicted: tuple[float, ...]

    @property
    def overlaps(self) -> bool:
        rounded = self.quantity == "distance" and max(self.measured[0], self.predicted[0]) < ROUNDING
        return rounded or (self.measured[1] <= self.predicted[2] and self.measured[2] >= self.predicted[1])

    def row(self) -> tuple[str, ...]:
        form = "+.4f" if self.quantity == "slope" else ".3g"
        values = (f"{mean:{form}} [{low:{form}}, {high:{form}}]" for mean, low, high in (self.measured, self.predicted))
        return self.case, str(self.depth), self.quantity, *values, "yes" if self.overlaps else "**no**"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", type=int, nargs="?", default=5)
    parser.add_argument("width", type=int, nargs="?", default=1024)
    parser.add_argument("--only", default="", help="cases whose name contains this text; the result is not written to the docs")
    parser.add_argument("--measurements", type=Path, help="file that keeps the measured values, to predict them again")
    options = parser.parse_args()
    kept = options.measurements
    measurements = json.loads(kept.read_text(encoding="utf-8")) if kept and kept.exists() else {}
    jobs = [
        (name, {"width": options.width, **keys}, depth)
        for name, keys in CASES.items()
        if options.only in name
        for depth in ([keys["depth"]] if "depth" in keys else DEPTHS)
    ]
    results: list[Result] = []
    with ProcessPoolExecutor(int(os.environ.get("WORKERS", "2"))) as pool:
        futures = {
            (name, depth): pool.submit(measure, keys, depth, options.seeds)
            for name, keys, depth in jobs
            if f"{name}, depth {depth}" not in measurements
        }
        for name, keys, depth in jobs:
            label = f"{name}, depth {depth}"
            if label not in measurements:
                measurements[label] = futures[name, depth].result()
                if kept:
                    kept.write_text(json.dumps(measurements), encoding="utf-8")
            for result in compared(name, keys, depth, *measurements[label]):
                results.append(result)
                print(*result.row(), sep=" | ", flush=True)
    summary = "".join(
        f"- {quantity}: {sum(result.overlaps for result in results if result.quantity == quantity)} of "
        f"{sum(result.quantity == quantity for result in results)} intervals overlap the predicted range\n"
        for quantity in ("slope", "distance")
    )
    columns = ("case", "depth", "quantity", "measured", "predicted", "overlap")
    if options.only:
        print(summary)
        return
    exceptions = [result.row() for result in results if not result.overlaps]
    text = f"{summary}\n{table('Intervals that do not overlap', exceptions, columns)}"
    publish("theory", f"python benchmarks/theory.py {options.seeds} {options.width}", text, DOCUMENT)


def experiment(keys: dict[str, Any], depth: int, seeds: int) -> tuple[Trial, ...]:
    network = {key: value for key, value in keys.items() if key not in ("batch", "depth")}
    raw = {
        "name": "theory",
        "network": {"depth": depth, "plain": False, **network},
        "training": {"batch_size": keys.get("batch", 128), "epochs": 1, "stack": 1},
        "seeds": seeds,
        "device": "cpu",
    }
    return config.experiment_from(raw).trials


def measure(keys: dict[str, Any], depth: int, seeds: int) -> tuple[list[float], list[list[float]]]:
    """(slope, distance at each block boundary) of each seed."""
    torch.set_num_threads(1)
    slopes, distances = zip(*(at_initialization(trial) for trial in experiment(keys, depth, seeds)), strict=True)
    return list(slopes), list(distances)


def compared(name: str, keys: dict[str, Any], depth: int, slopes: list[float], distances: list[list[float]]) -> list[Result]:
    """The slope and the distance at the last boundary, measured and predicted; the latter from the measured one at x_0."""
    settings = experiment(keys, depth, 1)[0].settings
    arguments = settings.network, settings.training.batch_size, *reversed(IMAGES["digits"])
    predicted, results = theory.predict(*arguments), []
    slope, spread = predicted.slope(), predicted.slope_spread() or 0.0
    if slope:
        results.append(Result(name, depth, "slope", interval(slopes), (sum(slope) / 2, slope[0] - spread, slope[1] + spread)))
    first, last = (interval([math.log(max(profile[end], 1e-300)) for profile in distances]) for end in (0, -1))
    expected = theory.predict_distance(*arguments, math.exp(first[0]))
    if expected.known:
        ends = (expected.middle[-1], expected.low[-1], expected.high[-1])
        results.append(Result(name, depth, "distance", tuple(math.exp(value) for value in last), ends))
    return results


def interval(values: list[float]) -> tuple[float, float, float]:
    difference = inference.paired_difference(values)
    mean = difference.mean
    return mean, mean if difference.low is None else difference.low, mean if difference.high is None else difference.high


def at_initialization(trial: Trial) -> tuple[float, list[float]]:
    """(slope, distance at each block boundary) of a trial on the first batch of its training images."""
    with tempfile.TemporaryDirectory() as folder:
        state = training.initial_state([trial], Path(folder), "theory", "cpu")
        x, labels = next(training.batches(state.trials, state.training_data, state.step_counts.per_epoch, 0))
        network, boundaries = state.network.train(), list[Tensor]()
        noise = training.sample_noise(network, state.trials, 0, x) if state.has_noise else ()
        state.forward_backward(network, x, labels, boundaries, noise, boundaries_only=True)
        grads = [float(boundary.grad.double().norm()) if boundary.grad is not None else 0.0 for boundary in boundaries]
        return probes.slope(grads, boundary_stages(network)), [distance(boundary.detach()) for boundary in boundaries]


def distance(x: Tensor) -> float:
    """1 minus the mean cosine over pairs of different images, without cancellation."""
    rows = x.double().flatten(1)
    units = rows / rows.norm(dim=1, keepdim=True)
    return float((units - units.mean(0)).square().sum(1).mean()) * len(units) / (len(units) - 1)


if __name__ == "__main__":
    main()
