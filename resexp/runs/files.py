"""Files of runs/: names, columns, formats; how they are written and read. No torch.

Files are written whole (beside, fsync, rename) or appended; a torn last line of an appended file is dropped on reading.
"""

import csv
import gzip
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

COLUMNS = {
    "metrics.csv": ("step", "epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"),
    "gradients.csv": (
        "step", "epoch", "index", "layer", "parameters",
        "weight_grad_norm", "weight_grad_rms", "weight_norm", "update_ratio",
    ),
    "signals.csv": ("step", "epoch", "index", "block", "activation_rms", "activation_grad_norm"),
    "timing.csv": ("step", "epoch", "train_seconds", "evaluation_seconds"),
    "cost.csv": (
        "cell", "arm", "parameters", "multiply_adds", "activation_bytes", "memory_bytes",
        "step_seconds", "step_low", "step_high", "epoch_seconds", "relative",
    ),
    "predictions.csv.gz": ("index", "label", "prediction", "label_probability"),
}  # fmt: skip
PROBE_FILES = {"gradient_norm": "gradients.csv", "signal": "signals.csv"}
BESIDE = re.compile(r"\..+\.\d+")  # a file that is being written: .<name>.<process>
LOGS = ("metrics.csv", "gradients.csv", "signals.csv", "timing.csv")
# Equal between two runs of one plan, and sealed by result.json; timing.csv is free.
SEALED = ("trial.yaml", "metrics.csv", "gradients.csv", "signals.csv", "predictions.csv.gz", "weights.pt", "best.pt")

Cell = int | float | str | None


class RunsError(Exception):
    """A results folder that cannot be used: names it, says what is wrong and what to do."""


# ---- writing ----------------------------------------------------------------------------------------------------------


def format_cell(value: Cell) -> str:
    """A value as logs have it: 9 significant digits; nan and inf by name; nothing for None."""
    if value is None:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """The whole file or nothing: written beside, then renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: object, *, durable: bool = True) -> None:
    """Non-finite numbers become null: JSON has no others."""
    write_bytes(path, (json.dumps(_finite(value), indent=1, ensure_ascii=False) + "\n").encode(), durable=durable)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _PlainDumper(yaml.SafeDumper):
    """Lists of scalars stay on one line; floats are written so that every YAML reader sees a number."""


_PlainDumper.add_representer(
    list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)
)
_PlainDumper.add_representer(
    float,
    lambda dumper, value: dumper.represent_scalar(
        "tag:yaml.org,2002:float", text if "." in (text := repr(value)) or "n" in text else text.replace("e", ".0e")
    ),
)

# Text that YAML 1.2 reads as a number (1e3) is quoted, though PyYAML alone would not.
_PlainDumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def to_yaml(value: object) -> str:
    """YAML with keys in their order."""
    return yaml.dump(value, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=120)


def _lines(rows: Iterable[Sequence[Cell]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[format_cell(cell) for cell in row] for row in rows])
    return text.getvalue()


def append(path: Path, rows: Iterable[Sequence[Cell]]) -> None:
    """Appends rows in one write; the header comes first in a new file."""
    text = _lines(rows)
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text if file.tell() else _lines([COLUMNS[path.name]]) + text)


def write_rows(path: Path, rows: Iterable[Sequence[Cell]]) -> None:
    """A finished table, gzipped by name; the same rows give the same bytes."""
    content = (_lines([COLUMNS[path.name]]) + _lines(rows)).encode()
    write_bytes(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def cut(path: Path, step: int) -> None:
    """Drops the rows of `step` and later ones, and a torn last line: what a resume from `step` will write again."""
    if path.exists():
        rows = read_rows(path)
        kept = [list(row.values()) for row in rows if int(row["step"]) < step]
        write_text(path, _lines([COLUMNS[path.name]]) + _lines(kept))


# ---- reading ----------------------------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """The complete lines of an appended file; '' while there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except UnicodeDecodeError:
        raise RunsError(f"{path}: damaged (not text)") from None
    return text[: text.rfind("\n") + 1]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a log by column.

    Raises:
        RunsError: other columns than the log's, or a row with too few or too many of them.
    """
    reader = csv.reader(io.StringIO(read_text(path)))
    header = next(reader, None)
    if header is None:
        return []
    rows = list(reader)
    if tuple(header) != COLUMNS[path.name] or any(len(row) != len(header) for row in rows):
        raise RunsError(f"{path}: damaged (columns {','.join(COLUMNS[path.name])} expected in every line)")
    return [dict(zip(header, row, strict=True)) for row in rows]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
