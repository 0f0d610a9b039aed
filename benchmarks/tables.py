"""Shared code of the benchmarks: interleaved timing, and tables for the terminal and for the docs."""

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import history
import torch

from resexp.runs.environment import processor

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleaved(calls: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each call in `rounds` rounds of all calls, after one round of warm-up."""
    times = [[seconds(call) for call in calls] for _ in range(rounds + 1)][1:]
    return [list(column) for column in zip(*times, strict=True)]


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """Median ratio over rounds with its range: '1.89 (1.85 to 1.97)'."""
    ratios = sorted(a / b for a, b in zip(above, below, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """Median with the range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def machine() -> str:
    """Hardware, versions and date of a measurement."""
    import os  # noqa: PLC0415 - only needed here

    system = f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"
    return f"{processor()}, {os.cpu_count()} cores, {system}; {datetime.now(UTC):%Y-%m-%d}"


def table(title: str, rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    lines = [f"### {title}", "", f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def publish(section: str, command: str, text: str, document: Path = DOCUMENT) -> None:
    """Prints the text, replaces the section of the document with it, and adds its ratios to the history."""
    content = f"```\n{command}\n```\n\n{machine()}\n\n{text}"
    history.append(section, machine(), text)
    print(content)
    begin, end = f"<!-- begin {section} -->\n", f"<!-- end {section} -->\n"
    before, _, rest = document.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    document.write_text(f"{before.rstrip()}\n\n{begin}{content}{end}{after}", encoding="utf-8")


def resexp(*arguments: str) -> None:
    """Runs the program in a separate process.

    Raises:
        SystemExit: the program failed.
    """
    completed = subprocess.run([sys.executable, "-m", "resexp", *arguments], capture_output=True, text=True, check=False)
    if completed.returncode:
        raise SystemExit(f"resexp {' '.join(arguments)}: {completed.stderr}")
