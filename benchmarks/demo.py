"""How long the demo's training takes, and what two trainings at once cost each other; medians of wall-clock seconds.

    python benchmarks/demo.py [repetitions]

Prints one line per measurement. Nothing else should run on the machine.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence


def command(runs: str, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "resexp", "train", "digits", "--quiet", "--runs", runs, *overrides]


def seconds(commands: Sequence[Sequence[str]]) -> float:
    """Wall-clock seconds until all commands, started together, have ended."""
    begun = time.perf_counter()
    processes = [subprocess.Popen(line, stderr=subprocess.DEVNULL) for line in commands]
    if any(process.wait() for process in processes):
        raise SystemExit("a training failed")
    return time.perf_counter() - begun


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    small = ("seeds=1", "network.depth=[32]")
    alone, together, whole = [], [], []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            alone.append(seconds([command(f"{folder}/a", *small)]))
            together.append(seconds([command(f"{folder}/b", *small), command(f"{folder}/c", *small)]))
    with tempfile.TemporaryDirectory() as folder:
        whole.append(seconds([command(folder)]))
    ratios = [both / one for one, both in zip(alone, together, strict=True)]
    print(f"digits, depth 32, one seed, alone        {statistics.median(alone):6.1f} s")
    print(f"two of them at once                      {statistics.median(together):6.1f} s")
    print(f"ratio, median of {repetitions} pairs                  {statistics.median(ratios):6.2f}")
    print(f"digits, the whole demo                   {whole[0]:6.1f} s")


if __name__ == "__main__":
    main()
