"""CSV, TSV and Parquet files -> rows of text, each with its file and row number."""

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resexp.config import ConfigError
from resexp.result_files.layouts import converted

EXTENSIONS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
DELIMITERS = (",", ";", "\t")
GZIP = b"\x1f\x8b"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
MAX_BYTES = 2**30  # of an unpacked file


@dataclass(frozen=True)
class Row:
    """The cells of one row by column; place: its file and row, 'a.csv, row 3'."""

    file: str
    place: str
    cells: dict[str, str]


@dataclass(frozen=True)
class FileTable:
    """The rows of all files, which have the same columns."""

    files: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def is_table(source: str) -> bool:
    """Whether a source of `compare` is a result file: a file, or a name of no experiment, with the extension of one."""
    return source.lower().endswith(EXTENSIONS)


def read_tables(paths: Sequence[str | Path]) -> FileTable:
    """All rows of the files.

    Raises:
        ConfigError: a file that cannot be read as a table, or files with different columns.
    """
    tables = [_read(Path(path)) for path in paths]
    first = tables[0]
    for table in tables[1:]:
        if differing := sorted({*first.columns} ^ {*table.columns}):
            present, absent = (first, table) if differing[0] in first.columns else (table, first)
            problem = f"has no column {differing[0]!r}, which {present.files[0]} has; the files need the same columns"
            raise ConfigError(problem, where=absent.files[0])
    rows = tuple(row for table in tables for row in table.rows)
    return FileTable(tuple(dict.fromkeys(str(path) for path in paths)), first.columns, rows)


def _read(path: Path) -> FileTable:
    where = str(path)
    if path.is_dir():
        raise ConfigError("is a folder, not a file", where=where)
    lines = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    if not lines:
        raise ConfigError("is empty; a table needs a row with the names of its columns", where=where)
    (_, header), *body = lines
    names = [name.strip() for name in header]
    duplicates = [name for name in names if name and names.count(name) > 1]
    if duplicates:
        raise ConfigError(f"has several columns {duplicates[0]!r}; rename or delete all but one", where=where)
    if not body:
        raise ConfigError("has a header, but no rows", where=where)
    rows = []
    for number, cells in body:
        if len(cells) != len(names):
            problem = f"row {number} has {len(cells)} cells, but the header has {len(names)}"
            raise ConfigError(problem, where=where)
        rows.append((number, dict(zip(names, (cell.strip() for cell in cells), strict=True))))
    columns, converted_rows = converted(path, names, rows)
    return FileTable(
        (where,), tuple(columns), tuple(Row(where, f"{where}, row {number}", cells) for number, cells in converted_rows)
    )


def _text(path: Path) -> str:
    where = str(path)
    try:
        raw = path.read_bytes()
        if raw.startswith(GZIP):
            with gzip.open(io.BytesIO(raw)) as file:
                raw = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"cannot be read: {reason}", where=where) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"has more than {MAX_BYTES:,} bytes", where=where)
    encoding = "utf-16" if raw.startswith(UTF16) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        raise ConfigError("is not text in UTF-8 or UTF-16; save it as CSV in UTF-8", where=where) from None
    if "\0" in text:
        raise ConfigError("contains NUL bytes, so it is damaged or not a text file; export it again", where=where)
    return text


def _csv(path: Path) -> list[tuple[int, list[str]]]:
    """(row number, cells) of all rows that are not empty. Row numbers count from 1, with the header, as spreadsheets do."""
    text = _text(path)
    header = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)  # the comma if there is none
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ConfigError(f"is not valid CSV: {error}", where=str(path)) from None
    return [(number, cells) for number, cells in enumerate(lines, 1) if any(cell.strip() for cell in cells)]


def _parquet(path: Path) -> list[tuple[int, list[str]]]:
    import pandas as pd  # noqa: PLC0415 - only for Parquet; `--help` starts without it

    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise ConfigError("needs pyarrow to be read; run `pip install pyarrow`", where=str(path)) from None
    except (OSError, ValueError, NotImplementedError) as error:  # the errors of pyarrow are among these
        raise ConfigError(f"cannot be read as Parquet: {' '.join(str(error).split())}", where=str(path)) from None
    cells = [["" if pd.isna(cell) else str(cell) for cell in row] for row in frame.itertuples(index=False)]
    return list(enumerate([[*map(str, frame.columns)], *cells], 1))
