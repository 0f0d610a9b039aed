"""Times of whole commands: demo, grid of init scales and depths, two trainings at once, start-up; writes docs/benchmarks.md.

    python benchmarks/demo.py [rounds]

Run it on an idle machine.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tables import publish, ratio, resexp, seconds, spread, table

GRID = (
    "name=grid", "network.norm=none", "network.init=he", "network.depth=[4,8,12,16,24,32,48,64]", "seeds=3",
    "network.init_scale=[0.25,0.333333,0.5,0.75,1,1.25,1.5,1.75,2,2.25,2.5,3]",
)  # fmt: skip


def training_seconds(folder: str, *overrides: str) -> float:
    """Seconds from the first step to the last row of an experiment, from the times of its files; excludes start-up."""
    resexp("train", "digits", "--quiet", "--runs", folder, *overrides)
    (plan,) = Path(folder).glob("*/plan.json")
    return max(path.stat().st_mtime for path in Path(folder).glob("*/trials/*/*")) - plan.stat().st_mtime


def at_once(commands: Sequence[Sequence[str]]) -> float:
    """Wall-clock seconds until all commands, started together, have finished."""
    start = time.perf_counter()
    processes = [subprocess.Popen(line, stderr=subprocess.DEVNULL) for line in commands]
    if any(process.wait() for process in processes):
        raise SystemExit("a training failed")
    return time.perf_counter() - start


def two_at_once(rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of one small training, and of two of them at the same time, interleaved."""
    single, together = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            small = ("--quiet", "seeds=2", "network.depth=[32]", "network.init=[pytorch,he]")
            lines = [
                [sys.executable, "-m", "resexp", "train", "digits", "--runs", f"{folder}/{name}", *small] for name in "abc"
            ]
            single.append(at_once(lines[:1]))
            together.append(at_once(lines[1:]))
    return single, together


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        demo = [training_seconds(f"{folder}/{number}") for number in range(rounds)]
        compare = [seconds(lambda: resexp("compare", "--runs", f"{folder}/0")) for _ in range(7)]
        grid = training_seconds(f"{folder}/grid", *GRID)
    startup = [seconds(lambda: resexp("--help")) for _ in range(7)]
    single, together = two_at_once(rounds)
    rows = [
        ["digits: 96 trials, first step to last row, s", spread(demo)],
        ["12 initialization scales x 8 depths x 2 arms x 3 seeds: 576 trials, first step to last row, s", f"{grid:.0f}"],
        ["digits, depth 32, 2 seeds, one command alone, s", spread(single)],
        ["two such commands at once / one alone", ratio(together, single)],
        ["resexp --help, s", spread(startup, ".2f")],
        ["resexp compare on 96 trials, s", spread(compare, ".2f")],
    ]
    publish("demo", f"python benchmarks/demo.py {rounds}", table("Whole commands", rows, ("", "median (range)")))


if __name__ == "__main__":
    main()
