"""Exports of trackers in which the run is not a column: charts of Weights & Biases, and scalars of TensorBoard.

Both become one row per run and step with the columns run, run_arm and run_pair. run_pair is the number at the end of the name
of the run, run_arm the rest without separators and the word seed: identity_seed3 is pair 3 of the arm identity.
"""

import re
from collections.abc import Sequence
from pathlib import Path

NumberedRow = tuple[int, dict[str, str]]
TENSORBOARD = ["Wall time", "Step", "Value"]
RANGES = ("__MIN", "__MAX")  # of a line that W&B smooths or groups
_SERIES = re.compile(r"(.+) - (.+)")
_RUN = re.compile(r"(.*?)[-_. ]*(?:seed|s)?[-_.= ]*(\d+)", re.IGNORECASE)
_DOWNLOAD = re.compile(r"(?:run-)?(.+?)(?:-tag-.*)?")


def converted(path: Path, columns: Sequence[str], rows: Sequence[NumberedRow]) -> tuple[Sequence[str], Sequence[NumberedRow]]:
    """The columns and rows, of an export with the run as columns; other tables stay as they are."""
    if list(columns) == TENSORBOARD:
        stem = path.name.removesuffix(".gz").removesuffix(path.suffixes[-1] if ".gz" not in path.suffixes else ".csv")
        download = _DOWNLOAD.fullmatch(stem)
        named = _run_columns(download[1] if download else stem)
        return [*columns, *named], [(number, {**cells, **named}) for number, cells in rows]
    series = {name: match for name in columns[1:] if (match := _SERIES.fullmatch(name))}
    lines = {name: match for name, match in series.items() if not name.endswith(RANGES)}
    if not lines or any(f"{name}{end}" not in series for name in lines for end in RANGES):
        return columns, rows
    others = [name for name in columns if name not in series]
    metrics = list(dict.fromkeys(match[2] for match in lines.values()))
    runs = list(dict.fromkeys(match[1] for match in lines.values()))
    long = []
    for run in runs:
        for number, cells in rows:
            values = {metric: cells.get(f"{run} - {metric}", "") for metric in metrics}
            if any(values.values()):  # runs log different steps
                long.append((number, {**{name: cells[name] for name in others}, **_run_columns(run), **values}))
    return [*others, "run", "run_arm", "run_pair", *metrics], long


def _run_columns(run: str) -> dict[str, str]:
    match = _RUN.fullmatch(run)
    arm, pair = (match[1], match[2]) if match else (run, "")
    return {"run": run, "run_arm": arm or run, "run_pair": pair}
