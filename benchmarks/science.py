"""Gradients at initialization compared with closed forms and published values; writes docs/gradients.md.

    python benchmarks/science.py [seeds]

Networks are built by `resexp`, with width 256 unless stated otherwise; the data are the handwritten digits in batches of 128.
A factor is the change of the squared gradient norm per layer or block, from output to input: the geometric mean over seeds with
its 95% CI.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import linear_regression
from typing import Any

import torch
from tables import publish, table
from torch import Tensor

from resexp import config, inference, initial_diagnostics, probes
from resexp.networks import build_network, initialize
from resexp.tables import InitDiagnostics
from resexp.tables import init_diagnostics as summarize_diagnostics

DOCUMENT = Path(__file__).parent.parent / "docs" / "gradients.md"
BASE = ("network.width=256", "network.norm=none", "network.init=he", "training.batch_size=128")
SPANS = ((2, 14), (14, 26), (26, 52))
Row = tuple[str, str, str]


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rows = [row for measure in (plain, residual, underflow, correlation, paths) for row in measure(seeds)]
    text = table("Measured and expected values", rows, ("quantity", "expected", "measured"))
    publish("science", f"python benchmarks/science.py {seeds}", text, DOCUMENT)


# ---- growth ---------------------------------------------------------------------------------------------------------------


def init_diagnostics(seeds: int, *overrides: str) -> list[InitDiagnostics]:
    experiment = config.load("digits", [*BASE, f"seeds={seeds}", *overrides])
    measurements = [asdict(measurement) for measurement in initial_diagnostics.measure(experiment, "cpu")]
    return summarize_diagnostics(experiment, measurements)


def factor(arm: InitDiagnostics, layers: int) -> str:
    """Factor of the squared norm per layer or block, from the slope over interior block boundaries."""
    slope = arm.slope
    assert slope is not None
    assert slope.low is not None
    assert slope.high is not None
    mean, low, high = (10 ** (2 * growth / layers) for growth in (slope.mean, slope.low, slope.high))
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def log_squared_norms(arm: InitDiagnostics) -> list[float]:
    """ln |dL/dx|^2 at x_0 .. x_L, mean over seeds."""
    return [2 * math.log(10) * (spread.mean or math.nan) for spread in arm.spreads["activation_grad_norm"]]


def plain(seeds: int) -> Iterator[Row]:
    inits = {"he": ("1", "1.106"), "xavier": ("1/2", None), "pytorch": ("1/6", "1/3")}
    for index, activation in enumerate(("relu", "tanh")):
        for init, expected in inits.items():
            if expected[index]:
                arm, _ = init_diagnostics(seeds, "network.depth=52", f"network.init={init}", f"network.activation={activation}")
                yield f"plain, {activation}, {init}: factor per layer", str(expected[index]), factor(arm, 2)
    arm, _ = init_diagnostics(seeds, "network.depth=52", "network.init=xavier", "network.activation=tanh")
    levels = [math.exp(level - log_squared_norms(arm)[-1]) for level in log_squared_norms(arm)]
    shown = (5, 10, 15, 20)  # blocks of two layers: x_l is the output of layer 2 l + 1 of 51
    share = ", ".join(f"{(2 * block + 1) / 51:.3f}" for block in shown)
    yield (
        "plain, tanh, xavier: squared norm relative to the last, after layer 11, 21, 31, 41 of 51",
        f"{share} (l / L)",
        ", ".join(f"{levels[block]:.3f}" for block in shown),
    )
    arm, identity = init_diagnostics(
        seeds, "network.depth=56", "network.norm=batch", "network.block_layers=1", "network.placement=pre"
    )
    yield "plain, batch norm: factor per layer", "1.42 to 1.467", factor(arm, 1)
    blocks = [4, 8, 16, 32]
    exponent = linear_regression(
        [math.log(block) for block in blocks], [log_squared_norms(identity)[block] for block in blocks]
    ).slope
    yield "residual, batch norm, pre, 54 blocks of one layer: exponent of the power law", "-1.467", f"{exponent:.2f}"
    predicted = [2 * math.log(10) * low for low, _ in identity.prediction.profile()]
    factors = (
        ", ".join(f"{math.exp((norms[a] - norms[b]) / (b - a)):.3f}" for a, b in SPANS)
        for norms in (predicted, log_squared_norms(identity))
    )
    spans = ", ".join(f"{a}-{b}" for a, b in SPANS)
    yield (
        f"residual, batch norm, pre, 54 blocks of one layer: factor per block over blocks {spans} (equal if exponential)",
        *factors,
    )


def residual(seeds: int) -> Iterator[Row]:
    for placement, expected in (("pre", "2"), ("post", "2.05 to 2.40")):
        _, arm = init_diagnostics(seeds, "network.depth=42", f"network.placement={placement}")
        yield f"residual, He, {placement}: factor per block", expected, factor(arm, 1)
    for placement in ("pre", "post"):
        _, arm = init_diagnostics(seeds, "network.depth=66", f"network.placement={placement}", "network.shortcut=skipinit")
        low, high = (math.exp(2 * math.log(10) * log_norm) for log_norm in arm.prediction.profile()[1])
        shown = f"{low:.2f}" if high / low < 1.005 else f"{low:.2f} to {high:.2f}"
        total = math.exp(log_squared_norms(arm)[1] - log_squared_norms(arm)[-1])
        yield (
            f"skipinit, 32 blocks, {placement}: total factor from x_L to x_1",
            f"{shown} (e = 2.72 for independent branches)",
            f"{total:.2f}",
        )


# ---- norms whose squares underflow -----------------------------------------------------------------------------------------


def underflow(seeds: int) -> Iterator[Row]:
    deep = ("network.depth=80", "network.init=pytorch", "network.width=64")
    single, double = (init_diagnostics(seeds, *deep, f"precision={dtype}")[0] for dtype in ("float32", "float64"))
    name = "plain, PyTorch initialization, depth 80, width 64"
    first = [10 ** (arm.spreads["weight_grad_norm"][0].mean or math.nan) for arm in (single, double)]
    yield (
        f"{name}: gradient norm of the first layer",
        f"{first[1]:.6e} (in float64)",
        f"{first[0]:.6e}",
    )
    slope = single.slope
    assert slope is not None
    yield f"{name}: factor of the norm per layer", "0.408", f"{10 ** (slope.mean / 2):.4f}"


# ---- shattered gradients, and paths -----------------------------------------------------------------------------------------


def mean_text(values: Sequence[float]) -> str:
    mean = inference.paired_difference(list(values))
    assert mean.low is not None
    assert mean.high is not None
    return f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]"


def network(seed: int, **keys: Any) -> Any:
    built = build_network("mlp", input_shape=(1, 16, 16), classes=10, norm="batch", width=256, block_layers=1, **keys)
    initialize(built, seed, "he")
    return built


def gaussian(seed: int) -> Tensor:
    return torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(seed))


def correlation(seeds: int) -> Iterator[Row]:
    for layers in (1, 2, 3, 4):
        correlations = [
            probes.gradient_correlation(network(seed, depth=layers + 1, shortcut="plain"), gaussian(seed))[1]
            for seed in range(seeds)
        ]
        yield (
            f"gradient correlation, plain + batch norm, {layers} ReLU layer(s)",
            f"{0.5**layers:.3f} (1/2^L)",
            mean_text(correlations),
        )
    for blocks in (4, 16, 50):
        correlations = [
            probes.gradient_correlation(network(seed, depth=blocks + 2, shortcut="identity", placement="pre"), gaussian(seed))[
                1
            ]
            for seed in range(seeds)
        ]
        yield f"gradient correlation, residual + batch norm, pre, {blocks} blocks", "sub-exponential", mean_text(correlations)


def paths(seeds: int) -> Iterator[Row]:
    labels = torch.arange(64) % 10
    for layers in (1, 2):
        name = f"54 blocks of {layers} layer(s), pre, batch norm"
        means, inside = [], []
        for seed in range(seeds):
            built = build_network(
                "mlp", input_shape=(1, 16, 16), classes=10, norm="batch", width=64, block_layers=layers,
                depth=2 + 54 * layers, shortcut="identity", placement="pre",
            )  # fmt: skip
            initialize(built, seed, "he")
            shares = [share for _, share, _ in probes.path_lengths(built, gaussian(seed), labels)]
            means.append(sum(length * share for length, share in enumerate(shares)))
            inside.append(sum(shares[5:18]))
        yield f"{name}: mean path length", "27 by path count", mean_text(means)
        yield (
            f"{name}: share of lengths 5 to 17",
            "0.0045 by path count; almost all after training (Veit et al. 2016)",
            mean_text(inside),
        )


if __name__ == "__main__":
    main()
