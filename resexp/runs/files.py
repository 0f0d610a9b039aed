"""Files of runs/: names, columns, formats; how they are written and read. No torch.

Files are written atomically (temporary file, fsync, rename) or appended. Reading drops a truncated last line.
"""

import csv
import gzip
import hashlib
import io
import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from resexp import renamed
from resexp.runs.columns import COLUMNS, LOG_COLUMNS, PROBE_FILES, TRIAL_LOGS, LogColumn
from resexp.runs.serialization import to_json

ABLATION_FILES = {"lesion": "lesion.csv", "scale": "shortcut_scale.csv", "surface": "surface.csv"}
TEMPORARY_FILE = re.compile(r"\..+\.\d+")  # a file that is being written, or .stop.<number>: useless after its process ends
LOGS = tuple(TRIAL_LOGS)
# Identical in two trainings of one plan, with their digests in result.json; timing.csv differs.
CHECKSUMMED = ("trial.yaml", "metrics.csv", *PROBE_FILES.values(), "predictions.csv.gz", "weights.pt", "best.pt")

TEXT_SUFFIXES = (".csv", ".json", ".md", ".yaml")  # suffixes of text files, written with \n on every system

CsvValue = int | float | str | None


class RunsError(Exception):
    """A results folder that cannot be used: names it, says what is wrong and what to do."""


# ---- writing ----------------------------------------------------------------------------------------------------------


def format_cell(value: CsvValue) -> str:
    """A value as text for logs: 9 significant digits; nan and inf by name; '' for None."""
    if value is None:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


_guards: list[Callable[[], None]] = []  # called before every write


@contextmanager
def write_guard(guard: Callable[[], None]) -> Iterator[None]:
    """Calls `guard` before every write of this process; it raises an exception if the write is not allowed."""
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def check_guards() -> None:
    for guard in _guards:
        guard()


@contextmanager
def checked_once() -> Iterator[None]:
    """Calls the guards once, now, and not again for the writes inside: many short ones that follow one another at once."""
    check_guards()
    guards = _guards.copy()
    _guards.clear()
    try:
        yield
    finally:
        _guards[:] = guards


def write_bytes(path: Path, content: bytes, *, durable: bool = True, previous: Path | None = None) -> None:
    """Writes a file atomically, through a temporary file; the old file is kept as `previous`."""
    check_guards()
    temporary = path.with_name(f".{path.name}.{os.getpid()}{secrets.randbelow(10**6):06}")  # other hosts reuse process numbers
    with with_filename(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            check_guards()  # writing may have taken long
            if previous is not None and path.exists():
                path.replace(previous)
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextmanager
def with_filename(path: Path) -> Iterator[None]:
    """Adds the filename to an OSError, because errors on an open file have none."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    write_bytes(path, text.encode(), durable=durable)


def write_json(path: Path, value: object, *, durable: bool = True) -> None:
    """Writes a value as JSON; non-finite numbers become null, because JSON does not have them."""
    write_text(path, to_json(value), durable=durable)


def _lines(rows: Iterable[Sequence[CsvValue]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[format_cell(cell) for cell in row] for row in rows])
    return text.getvalue()


def append(path: Path, rows: Sequence[Sequence[CsvValue]], columns: Sequence[str] = ()) -> None:
    """Appends all rows or, if the disk is full, none; a new file begins with the header.

    columns: default is those in `COLUMNS`. A log that an earlier release began without optional columns continues without them.
    """
    check_guards()
    with with_filename(path), path.open("ab", buffering=0) as file:
        end = file.tell()
        if end and _optional(path.name):
            width = _width(path)
            rows = [row[:width] for row in rows]
        content = (_lines(rows) if end else _lines([columns or _header(path.name, rows), *rows])).encode()
        try:
            while content:
                content = content[file.write(content) :]
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


def _optional(name: str) -> list[str]:
    return [column.name for column in LOG_COLUMNS.get(name, ()) if column.optional]


def _width(path: Path) -> int:
    """The number of columns of a log."""
    with path.open("rb") as file:
        return file.readline().count(b",") + 1


def _header(name: str, rows: Sequence[Sequence[CsvValue]]) -> Sequence[str]:
    """The columns of a log, without the optional ones if its first row does not have them."""
    has_optional = rows and len(rows[0]) == len(COLUMNS[name])
    return COLUMNS[name] if has_optional else COLUMNS[name][: len(COLUMNS[name]) - len(_optional(name))]


def write_rows(path: Path, rows: Sequence[Sequence[CsvValue]]) -> None:
    """Writes a complete table; equal rows give equal bytes. Rows may lack the optional columns. A .gz file is compressed."""
    content = _lines([_header(path.name, rows), *rows]).encode()
    write_bytes(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


# ---- digests and log positions, which detect damage ---------------------------------------------------------------------


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_on_disk(path: Path) -> str:
    """The SHA-256 digest of a file, after its content was flushed to disk."""
    with with_filename(path), path.open("rb+") as file:
        os.fsync(file.fileno())
    return sha256(path)


def json_digest(values: dict[str, Any]) -> str:
    """The SHA-256 digest of a JSON object, without its key `seal`."""
    return hashlib.sha256(to_json({key: value for key, value in values.items() if key != "seal"}).encode()).hexdigest()


def write_with_digest(path: Path, content: bytes) -> None:
    """Writes the content followed by its digest; the old file is kept at `previous_path`."""
    write_bytes(path, content + hashlib.sha256(content).hexdigest().encode(), previous=previous_path(path))


def previous_path(path: Path) -> Path:
    """The path of the version of a checkpoint before the current one."""
    return path.with_suffix(".previous")


def read_with_digest(path: Path) -> bytes | None:
    """The content of a file that `write_with_digest` wrote; None if it does not exist.

    Raises:
        RunsError: the digest does not match.
    """
    try:
        stored = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    content, digest = stored[:-64], stored[-64:]
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise RunsError(f"{path}: damaged (checksum mismatch)")
    return content


def discard(path: Path) -> None:
    """Removes a checkpoint and its previous version."""
    check_guards()
    previous_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


LogPosition = tuple[int, str]


def log_position(path: Path) -> LogPosition | None:
    """(size in bytes, SHA-256 digest) of a log, after it was flushed to disk; None if it does not exist."""
    return (path.stat().st_size, digest_on_disk(path)) if path.exists() else None


def truncate_log(path: Path, position: LogPosition | None) -> None:
    """Truncates a log to an earlier position; the rows after it will be written again.

    Raises:
        RunsError: the content before that position has changed.
    """
    check_guards()
    if position is None:
        path.unlink(missing_ok=True)
        return
    size, digest = position
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content[:size]).hexdigest() != digest:
        raise RunsError(f"{path}: damaged (its first {size} bytes have changed since its checkpoint was written)")
    if len(content) > size:
        os.truncate(path, size)


# ---- reading ----------------------------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """The complete lines of an appended file; '' if it does not exist."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            text = file.read(MAX_BYTES).decode().replace("\r\n", "\n")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error):
        raise RunsError(f"{path}: damaged (not text)") from None
    return text[: text.rfind("\n") + 1]


MAX_BYTES = 2**30  # of an uncompressed log; a larger one may be a decompression bomb


def read_rows(path: Path, step: int | None = None) -> list[dict[str, str]]:
    """The rows of a log by column; step: only the rows of this step are parsed.

    Raises:
        RunsError: see `read_columns`.
    """
    columns = read_columns(path, step)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def read_columns(path: Path, step: int | None = None) -> dict[str, list[str]]:
    """The cells of a log by column, see `read_rows`. A log that is not in `LOG_COLUMNS` may have any columns and cells.

    Raises:
        RunsError: unexpected columns, a row with too few or too many cells, or text instead of a number.
    """
    header, text = log_text(path)
    if step is not None:
        text = "".join(line for line in text.splitlines(keepends=True) if line.startswith(f"{step},"))
    try:
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise RunsError(f"{path}: damaged ({error})") from None
    if set(map(len, rows)) - {len(header)}:
        raise RunsError(f"{path}: damaged (columns {','.join(header)} expected in every line)")
    cells = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in header]
    table = dict(zip(header, cells, strict=True))
    for column in LOG_COLUMNS.get(path.name, ())[: len(header)]:
        if column.kind is not str:
            _check_numbers(path, column, table[column.name])
    if path.name == "cost.csv":
        table["cell"] = [renamed.label(label) for label in table["cell"]]
    return table


def log_text(path: Path) -> tuple[list[str], str]:
    """(columns, lines below the header) of a log; files of earlier releases may lack the optional columns.

    Raises:
        RunsError: the log is not text, or has other columns than those declared for its name.
    """
    declared = COLUMNS.get(path.name, ())
    required = declared[: len(declared) - len(_optional(path.name))]
    header, _, text = read_text(renamed.existing(path)).partition("\n")
    names = renamed.columns(path.name, header.split(",")) if header else list(required)
    if declared and tuple(names) not in (required, declared):
        raise RunsError(f"{renamed.existing(path)}: damaged (columns {','.join(required)} expected)")
    return names, text


def _check_numbers(path: Path, column: LogColumn, cells: Sequence[str]) -> None:
    cell, parse = "", column.kind
    try:
        for cell in cells:
            parse(cell)
    except ValueError:
        raise RunsError(f"{path}: damaged ({column.name}: {cell[:40]!r} is not a number)") from None
