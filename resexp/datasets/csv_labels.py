"""Labels of images from a CSV file with the columns `file` and `label`."""

import codecs
import csv
import io
from pathlib import Path

from resexp.datasets.images import DataError, read

COLUMNS = ("file", "label")


def labels_in(table: Path) -> dict[str, tuple[str, int]]:
    """(label, line number) by file, a path with forward slashes; other columns are ignored. Line 1 is the header.

    The separator is a comma, semicolon or tab, whichever is most frequent in the header. The encoding is UTF-8 or UTF-16.

    Raises:
        DataError: no such file; not a CSV file; missing columns; an empty or duplicate label (the message names the line).
    """
    if not read(table, Path.is_file):
        raise DataError(f"{table}: no such file; data.labels is a path relative to data.root, or an absolute one")
    text = read(table, _text)
    header = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
    labels: dict[str, tuple[str, int]] = {}
    try:
        columns = [cell.strip().lower() for cell in next(rows, [])]
        if missing := [name for name in COLUMNS if name not in columns]:
            raise DataError(f"{table}:1: no column {' and no column '.join(missing)}; the header must be: file,label")
        for row in rows:
            line, cells = rows.line_num, dict(zip(columns, (cell.strip() for cell in row), strict=False))
            if not any(cells.values()):
                continue
            for name in COLUMNS:
                if not cells.get(name):
                    raise DataError(f"{table}:{line}: no {name}; every line needs a file and a label")
            file = Path(cells["file"].replace("\\", "/")).as_posix()
            if file in labels:
                raise DataError(
                    f"{table}:{line}: {file} already has a label in line {labels[file][1]}; remove one of the lines"
                )
            labels[file] = cells["label"], line
    except csv.Error as error:
        raise DataError(f"{table}:{rows.line_num}: not a CSV file ({error}); replace it") from None
    return labels


def _text(table: Path) -> str:
    content = table.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")
