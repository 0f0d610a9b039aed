"""Start-up of the commands, relative to `import torch` in the same round; prints a table and writes docs/benchmarks.md.

    python benchmarks/startup.py [rounds]

The experiment is tiny: digits, two networks of depth 8, one epoch. CPU seconds include all processes that a command starts.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tables import publish, ratio, spread, table

TINY = ("digits", "network.depth=8", "network.init=he", "network.norm=none", "training.epochs=1", "seeds=1", "name=tiny")
# Python imports this module in every process of the command.
COUNTER = "import os, pathlib\npathlib.Path(os.environ['STARTUP_COUNT'], str(os.getpid())).touch()\n"


@dataclass(frozen=True)
class Start:
    """What one command took: seconds to the first output, in total and of CPU time, and its Python processes."""

    first_output: float
    seconds: float
    cpu: float
    processes: int


def start(*command: str) -> Start:
    """Runs Python with these arguments.

    Raises:
        SystemExit: the command failed.
    """
    with tempfile.TemporaryDirectory() as counted, tempfile.TemporaryDirectory() as modules:
        (Path(modules) / "sitecustomize.py").write_text(COUNTER, encoding="utf-8")
        path = os.pathsep.join([modules, *filter(None, [os.environ.get("PYTHONPATH")])])
        variables = {**os.environ, "PYTHONPATH": path, "STARTUP_COUNT": counted}
        before, begin, first_output = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0.0
        with subprocess.Popen(
            [sys.executable, *command], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout is not None
            output = process.stdout.read1()
            first_output = time.perf_counter() - begin
            output += process.stdout.read()
        seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: {output.decode()}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Start(first_output, seconds, cpu, len(list(Path(counted).iterdir())))


def one_round() -> dict[str, Start]:
    """Every command once; `report` reads the experiment that `train` has trained."""
    with tempfile.TemporaryDirectory() as folder:
        resexp, runs = ("-m", "resexp"), ("--runs", folder)
        return {
            "import torch": start("-c", "import torch"),
            "train": start(*resexp, "train", *TINY, *runs),
            "train --dry-run": start(*resexp, "train", *TINY[:-1], "name=other", "--dry-run", *runs),
            "probe": start(*resexp, "probe", *TINY[:-1]),
            "show": start(*resexp, "show", *TINY[:-1]),
            "doctor": start(*resexp, "doctor", *runs),
            "report": start(*resexp, "report", "tiny", *runs),
        }


def rows(rounds: Sequence[dict[str, Start]]) -> list[list[str]]:
    torch_starts = [measured["import torch"] for measured in rounds]
    cells = []
    for command in rounds[0]:
        starts = [measured[command] for measured in rounds]
        cells.append(
            [
                f"`{command}`",
                spread([s.cpu for s in starts], ".2f"),
                ratio([s.cpu for s in starts], [s.cpu for s in torch_starts]),
                spread([s.seconds for s in starts], ".2f"),
                ratio([s.seconds for s in starts], [s.seconds for s in torch_starts]),
                spread([s.first_output for s in starts], ".2f") if command != "import torch" else "",
                f"{max(s.processes for s in starts)}",
            ]
        )
    return cells


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    columns = (
        "command",
        "CPU s",
        "CPU relative to `import torch`",
        "wall s",
        "wall relative to `import torch`",
        "first output, s",
        "Python processes",
    )
    measured_rounds = [one_round() for _ in range(number)]
    text = table("Start-up: digits, two networks of depth 8, one epoch", rows(measured_rounds), columns)
    publish("startup", f"python benchmarks/startup.py {number}", text)
