"""What benchmarks share: timing in turn, and a table that goes to the terminal and into docs/benchmarks.md."""

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from resexp.runs.environment import processor

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def in_turn(calls: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each call, `rounds` times, one after another in every round; the first round is left out."""
    every = [[seconds(call) for call in calls] for _ in range(rounds + 1)][1:]
    return [list(column) for column in zip(*every, strict=True)]


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """Median of the rounds' ratios with their range: '1.89 (1.85 to 1.97)'."""
    each = sorted(a / b for a, b in zip(above, below, strict=True))
    return f"{statistics.median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """Median and range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def machine() -> str:
    """Hardware, versions and date, as they belong beside every figure."""
    import os  # noqa: PLC0415 - one line needs it

    system = f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"
    return f"{processor()}, {os.cpu_count()} cores, {system}; {datetime.now(UTC):%Y-%m-%d}"


def table(title: str, rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    lines = [f"### {title}", "", f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def publish(section: str, command: str, text: str, document: Path = DOCUMENT) -> None:
    """Prints, and replaces the section of the document that this command writes."""
    whole = f"```\n{command}\n```\n\n{machine()}\n\n{text}"
    print(whole)
    begin, end = f"<!-- begin {section} -->\n", f"<!-- end {section} -->\n"
    before, _, rest = document.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    document.write_text(f"{before.rstrip()}\n\n{begin}{whole}{end}{after}", encoding="utf-8")


def resexp(*arguments: str) -> None:
    """The program as a process of its own."""
    done = subprocess.run([sys.executable, "-m", "resexp", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"resexp {' '.join(arguments)}: {done.stderr}")
