"""A table as data: its columns, its rows, and what each column means. `writers` prints it in six formats."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Any, Generic, NamedTuple, TypeVar

from markupsafe import Markup

Row = TypeVar("Row")
Value = str | float | None


class Medium(StrEnum):
    """The formats of a table."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    LATEX = "latex"
    CSV = "csv"
    JSON = "json"


EVERYWHERE = frozenset(Medium)
IN_TEXT = frozenset({Medium.TEXT})


class Tone(StrEnum):
    """The meaning of a color. Text states the same, so that color is never the only sign."""

    GOOD = "good"
    BAD = "bad"
    OPEN = "open"
    NONE = "none"


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a table.

    heading: '' if the column exists only as data. text: what a person reads, possibly in several lines. explain: a term of
    `definitions.DEFINITIONS`, or a text; HTML shows it if the mouse is over the heading. number: whether the text is aligned at
    its right end. arm: whether the text is the name of an arm, which has the color of this arm. shared: whether all rows of a
    group have the same text; LaTeX prints it once. below: if it is not None, a terminal prints the text below its row, after
    these words. data: columns of CSV and keys of JSON -> their values. media: the formats that contain the column. markup: HTML
    of the cell instead of its text. meaning: a verdict and its rule, which the legend lists.
    """

    heading: str = ""
    text: Callable[[Row], str] = lambda _row: ""
    explain: str = ""
    number: bool = False
    arm: bool = False
    tone: Callable[[Row], Tone] = lambda _row: Tone.NONE
    shared: bool = False
    below: str | None = None
    data: Mapping[str, Callable[[Row], Value]] = field(default_factory=dict)
    media: frozenset[Medium] = EVERYWHERE
    markup: Callable[[Row], Markup] | None = None
    meaning: Callable[[Row], tuple[str, str]] | None = None


@dataclass(frozen=True)
class Table(Generic[Row]):
    """A table.

    title: its caption or label; text and Markdown leave headings to the caller. group: consecutive rows with the same text
    belong together; a terminal prints the text as a heading above them, other formats as their first column. notes: lines
    below the table. record: the complete record of a row in JSON, to which columns add their data.

    A column without a single text is left out, unless the table has no rows. key: the name of its rows in JSON.
    """

    title: str
    columns: Sequence[Column[Row]]
    rows: Sequence[Row]
    group: Column[Row] | None = None
    notes: Sequence[str] = ()
    record: Callable[[Row], dict[str, Any]] | None = None
    key: str = ""


Part = str | Table[Any]  # of the output of a command: a line or a table


def lines_text(*lines: str) -> str:
    """The lines that are not empty, as one text."""
    return "\n".join(filter(None, lines))


class Shown(NamedTuple, Generic[Row]):
    """The columns of one format, the row and the texts of each line of the table, and the name of the group of each."""

    columns: Sequence[Column[Row]]
    rows: Sequence[tuple[Row, list[str]]]
    groups: Sequence[str]


def select(table: Table[Row], medium: Medium) -> Shown[Row]:
    """The columns with a heading or a text in this format; the group is the first of them, except in text."""
    group = table.group if table.group and medium in table.group.media else None
    candidates = [*([group] if group and medium != Medium.TEXT else []), *table.columns]
    columns = [column for column in candidates if medium in column.media and (column.heading or column.below is not None)]
    texts = [[column.text(row) for column in columns] for row in table.rows]
    kept = [index for index in range(len(columns)) if not texts or any(cells[index] for cells in texts)]
    return Shown(
        [columns[index] for index in kept],
        [(row, [cells[index] for index in kept]) for row, cells in zip(table.rows, texts, strict=True)],
        [table.group.text(row) if table.group else "" for row in table.rows],
    )


def by_group(content: Shown[Row]) -> Iterator[tuple[str, list[tuple[Row, list[str]]]]]:
    """(name, lines) of all groups: consecutive lines with the same name."""
    for name, lines in groupby(zip(content.groups, content.rows, strict=True), key=lambda pair: pair[0]):
        yield name, [line for _, line in lines]
