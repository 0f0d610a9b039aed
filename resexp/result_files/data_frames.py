"""A pandas frame -> the same rows of text as from a file."""

from typing import TYPE_CHECKING

from resexp.config import ConfigError
from resexp.result_files.reading import FileTable, Row

if TYPE_CHECKING:
    import pandas as pd


def from_frame(frame: "pd.DataFrame", name: str = "frame") -> FileTable:
    """The rows of a frame; numbers keep all their digits.

    Raises:
        ConfigError: no rows, or several columns with one name.
    """
    columns = [str(column) for column in frame.columns]
    duplicates = [column for column in columns if columns.count(column) > 1]
    if duplicates:
        raise ConfigError(f"has several columns {duplicates[0]!r}; rename or delete all but one", where=name)
    if frame.empty:
        raise ConfigError("has no rows", where=name)
    missing = frame.isna().to_numpy()
    rows = [
        ["" if missing[index][column] else str(cell) for column, cell in enumerate(row)]
        for index, row in enumerate(frame.itertuples(index=False))
    ]
    return FileTable(
        (name,),
        tuple(columns),
        tuple(Row(name, f"{name}, row {label}", dict(zip(columns, row, strict=True)))
              for label, row in zip(frame.index, rows, strict=True)),
    )  # fmt: skip
