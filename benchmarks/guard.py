"""The share of the write guard in a training that logs every step, by CPU time; prints a table and writes docs/benchmarks.md.

    python benchmarks/guard.py [rounds]

Whole trainings of digits in this process, through the executor: lock, attempt, steps, logs, evaluations, results. The guard is
timed inside the training: its share is smaller than the difference between two trainings on a shared machine.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest.mock import patch

from tables import publish, spread, table

import resexp
from resexp.runs import fences
from resexp.runs.files import write_guard

STEPS = 300
SETTINGS = ("network.depth=20", "network.init=he", "network.norm=none", "gradients.every=1", "training.epochs=null")
STACKS = {"2": "seeds=1", "10": "seeds=5"}  # a plain and an identity network per seed


def train(seeds: str) -> tuple[float, list[float]]:
    """CPU seconds of the training of one stack, and of every call of its write guard."""
    calls: list[float] = []

    def timed(guard: Callable[[], None]) -> AbstractContextManager[None]:
        def measured() -> None:
            begin = time.process_time()
            guard()
            calls.append(time.process_time() - begin)

        return write_guard(measured)

    with tempfile.TemporaryDirectory() as folder, patch.object(fences, "write_guard", timed):
        start = time.process_time()
        resexp.train("digits", *SETTINGS, f"training.steps={STEPS}", "training.stack=10", seeds, "name=guard", runs_dir=folder)
        return time.process_time() - start, calls


def row(networks: str, seeds: str, rounds: int) -> list[str]:
    measured = [train(seeds) for _ in range(rounds + 1)][1:]  # the first round warms up
    return [
        networks,
        spread([total for total, _ in measured], ".2f"),
        f"{len(measured[0][1]):,}",
        spread([1e6 * sum(calls) / len(calls) for _, calls in measured], ".0f"),
        spread([100 * sum(calls) / total for total, calls in measured], ".2f"),
    ]


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    columns = ("networks in the stack", "CPU s", "calls of the guard", "CPU µs per call", "share of the CPU time, %")
    rows = [row(*stack, number) for stack in STACKS.items()]
    publish(
        "guard",
        f"python benchmarks/guard.py {number}",
        table(f"Write guard: MLP of depth 20, {STEPS} logging steps", rows, columns),
    )
