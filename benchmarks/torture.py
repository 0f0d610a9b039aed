"""Kills a training with SIGKILL at random moments, continues it, and compares every file with an undisturbed run.

    python benchmarks/torture.py [kills] [seed]

Prints one line per kill and exits 1 when a file differs.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = ("seeds=2", "network.depth=[8]", "training.epochs=4", "training.checkpoint_every=7")
FREE = {"timing.csv", "status.json", "environment.json", ".lock"}


def start(runs: Path) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "resexp", "train", "digits", "--quiet", "--runs", str(runs), *CONFIG]
    return subprocess.Popen(line, stderr=subprocess.DEVNULL, start_new_session=True)


def files(runs: Path) -> dict[str, bytes]:
    found = (path for path in runs.rglob("*") if path.is_file() and path.name not in FREE)
    return {str(path.relative_to(runs)): path.read_bytes() for path in found}


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    draw = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)  # noqa: S311 - moments, not secrets
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        start(Path(folder) / "calm").wait()
        length = time.perf_counter() - begun
        calm = files(Path(folder) / "calm")
        done = round_number = 0
        while done < kills:
            round_number += 1
            runs = Path(folder) / f"round-{round_number}"
            while done < kills:
                process = start(runs)
                try:
                    process.wait(draw.uniform(0.2, 1.0) * length)
                    break
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    done += 1
                    print(f"kill {done}: {len(files(runs))} files so far", flush=True)
            if start(runs).wait():
                raise SystemExit("a continued training failed")
            after = files(runs)
            different = sorted(name for name in calm.keys() | after.keys() if calm.get(name) != after.get(name))
            print(f"round {round_number}: {len(calm)} files, {len(different)} differ {different[:5]}", flush=True)
            if different:
                raise SystemExit(1)


if __name__ == "__main__":
    main()
