"""The output of a command, lines and tables, in the format that was requested."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from resexp.config import ConfigError
from resexp.tables.model import Part, Table
from resexp.tables.programs import document
from resexp.tables.schemas import DOCUMENTS
from resexp.tables.terminal import fitted
from resexp.tables.text_layout import plain_lines
from resexp.tables.writers import csv_text, json_rows, latex_lines, latex_text, markdown_lines, markdown_text


def as_lines(parts: Sequence[Part]) -> str:
    """For a terminal of 80 columns."""
    lines = list[str]()
    for part in parts:
        if isinstance(part, str):
            lines += fitted([part])
        else:
            lines += ["", *fitted([part.title]), "", *plain_lines(part)]
    return "\n".join(lines) + "\n"


def as_markdown_parts(parts: Sequence[Part]) -> str:
    """Lines as text, tables below their titles."""
    blocks = [
        markdown_text(part.strip()) if isinstance(part, str) else "\n".join([f"**{part.title}**", "", *markdown_lines(part)])
        for part in parts
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def as_latex_parts(parts: Sequence[Part]) -> str:
    """Tables that require only the package booktabs; lines are comments."""
    blocks = [f"% {latex_text(part)}" if isinstance(part, str) else "\n".join([*latex_lines(part), ""]) for part in parts]
    return "\n".join([r"% \usepackage{booktabs}", *blocks]) + "\n"


def as_json_parts(parts: Sequence[Part], command: str, values: Mapping[str, Any]) -> str:
    """The values of a command, and the rows of each table by its key; null for a table that is not in the output."""
    rows = {part.key: json_rows(part) for part in _tables(parts)}
    return document(command, {**dict.fromkeys(DOCUMENTS[command]), **values, **rows})


def as_csv_parts(parts: Sequence[Part]) -> str:
    """The only table.

    Raises:
        ConfigError: there are several tables.
    """
    tables = _tables(parts)
    if len(tables) > 1:
        names = " and ".join(table.key for table in tables)
        raise ConfigError(f"csv contains one table, but the output has {names}; use json", where="--format csv")
    return "".join(map(csv_text, tables))


def _tables(parts: Sequence[Part]) -> list[Table[Any]]:
    return [part for part in parts if isinstance(part, Table)]


FORMS = ("table", "csv", "json", "md", "tex")
OUTPUTS: dict[str, Callable[[Sequence[Part]], str]] = {
    "table": as_lines,
    "csv": as_csv_parts,
    "md": as_markdown_parts,
    "tex": as_latex_parts,
}
