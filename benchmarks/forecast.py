"""Forecasts of `resexp train --dry-run` and measured times of ten small experiments; writes docs/benchmarks.md.

    python benchmarks/forecast.py

With names of configs as arguments, it trains only those and writes nothing. Times are wall-clock seconds of whole commands, in
one process with one thread. $RESEXP_DATA is the folder of MNIST and Fashion-MNIST. Run it on an idle machine.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tables import machine, publish, resexp, seconds, table

CONFIGS = {
    "digits-short": """
        data: {name: digits}
        network: {depth: [8], width: 32}
        training: {steps: 50}
        seeds: 1
    """,
    "digits-stacks": """
        data: {name: digits}
        network: {depth: [8, 32], width: 32, norm: [none, layer], shortcut: [identity, gate]}
        training: {epochs: 6, batch_size: 32}
        seeds: 5
    """,
    "digits-one-by-one": """
        data: {name: digits}
        network: {depth: [16], norm: batch}
        training: {epochs: 6, stack: 1}
        seeds: 3
    """,
    "digits-every-step": """
        data: {name: digits}
        network: {depth: [12], width: 32, init: he}
        training: {steps: 150}
        gradients: {every: 1, probes: [gradient_norm, signal, eps_bound, gradient_correlation]}
        seeds: 2
    """,
    "digits-cnn": """
        data: {name: digits}
        network: {family: cnn, depth: [8], width: 8, norm: batch, init: he}
        training: {epochs: 4}
        seeds: 2
    """,
    "mnist-short": """
        data: {name: mnist}
        network: {depth: [8], width: 32, norm: layer}
        training: {steps: 60, batch_size: 128}
        seeds: 3
    """,
    "fashion-epochs": """
        data: {name: fashion-mnist, limit: 4000}
        network: {depth: [4], width: 64, init: he}
        training: {epochs: 15, batch_size: 500, optimizer: sgd, lr: 0.1}
        seeds: 2
    """,
    "fashion-cnn": """
        data: {name: fashion-mnist, limit: 2000, augment: crop-flip}
        network: {family: cnn, depth: [8], width: 4, norm: batch, init: he}
        training: {steps: 40, batch_size: 64}
        seeds: 1
    """,
    "mnist-long": """
        data: {name: mnist, limit: 10000}
        network: {depth: [20], width: 64, norm: batch, init: he}
        training: {epochs: 6, batch_size: 128, optimizer: adamw, schedule: cosine}
        seeds: 3
    """,
    "fashion-checkpoints": """
        data: {name: fashion-mnist, limit: 4000}
        network: {depth: [12], width: 128, shortcut: [gate], init: he}
        training: {steps: 200, checkpoint_every: 5}
        seeds: 2
    """,
}
ONE = ("--jobs", "1")


def parse_clock(text: str) -> int:
    """Seconds of '1:02:03' or '2:03'."""
    total = 0
    for part in text.split(":"):
        total = 60 * total + int(part)
    return total


def row(name: str, folder: Path) -> list[str]:
    """Name, forecast seconds, seconds of start-up in them, measured seconds, and forecast / measured."""
    path = folder / f"{name}.yaml"
    path.write_text(CONFIGS[name], encoding="utf-8")
    command = [sys.executable, "-m", "resexp", "train", str(path), "--dry-run", *ONE]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (durations,) = re.findall(r": about ([\d:]+), of which ([\d:]+) for startup", text)
    forecast, startup = map(parse_clock, durations)
    measured = seconds(lambda: resexp("train", str(path), "--quiet", *ONE, "--runs", str(folder)))
    return [name, f"{forecast}", f"{startup}", f"{measured:.1f}", f"{forecast / measured:.2f}"]


def main() -> None:
    names = sys.argv[1:] or list(CONFIGS)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        rows = [row(name, Path(folder)) for name in names]
    columns = ("", "forecast, s", "of which start-up, s", "measured, s", "forecast / measured")
    text = table("Forecasts of whole commands, --jobs 1", rows, columns)
    if sys.argv[1:]:
        print(f"{machine()}\n\n{text}")
    else:
        publish("forecast", "python benchmarks/forecast.py", text)


if __name__ == "__main__":
    main()
