"""Any table as lines for a terminal: columns of the width that is there, color only where there is color."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from rich.text import Text

from resexp import config
from resexp.tables.colors import table_colors
from resexp.tables.model import Column, Medium, Row, Table, Tone, by_group, select
from resexp.tables.terminal import WIDTH, fitted, two_lines

INDENT = 2
STYLES = {
    Tone.GOOD: "bold green",
    Tone.BAD: "bold red",
    Tone.OPEN: "bold",
    Tone.NONE: "",
}


class Piece(NamedTuple):
    """A text in a line of a terminal, and the column at which it starts."""

    start: int
    text: str
    style: str = ""


def plain_lines(table: Table[Row], width: int = WIDTH) -> list[str]:
    """The same as `text_lines` without styles."""
    return [line.plain for line in text_lines(table, width)]


def text_lines(table: Table[Row], width: int = WIDTH, arms: Iterable[str] = ()) -> list[Text]:
    """The lines of a table with their styles, which a console prints if it has colors; arms: as in `arm_colors`.

    Text that does not fit its column is printed below its row; text of the first column is printed above it.
    """
    content = select(table, Medium.TEXT)
    rows = [(row, [config.escape_controls(cell, kept="\n") for cell in cells]) for row, cells in content.rows]
    columns, texts = content.columns, [cells for _, cells in rows]
    inline = [index for index, column in enumerate(columns) if column.below is None]
    widths, gap = _widths([columns[index] for index in inline], [[cells[index] for index in inline] for cells in texts], width)
    for index in inline[len(widths) :]:
        columns = [*columns[:index], replace(columns[index], below=f"{columns[index].heading}: "), *columns[index + 1 :]]
    starts = [INDENT + sum(widths[:index]) + gap * index for index in range(len(widths))]
    spans = {index: (start, start + size) for index, start, size in zip(inline, starts, widths, strict=False)}
    lines = _heading_lines(columns, spans) if len(spans) > 1 else []
    colors = table_colors(content, arms)
    for name, group in by_group(content._replace(rows=rows)):
        heading = _wrapped(config.escape_controls(name), width, 2)
        lines += [[], *([Piece(0, line, "bold")] for line in heading)] if name else []
        lines += [line for row, cells in group for line in _row_lines(columns, row, cells, spans, width, colors)]
    styled = [*map(_styled, lines), *([Text(), *wrapped_lines(table.notes, width)] if table.notes else [])]
    return styled if styled and styled[0] else styled[1:]  # a table without headings begins with its first group


def wrapped_lines(lines: Iterable[str], width: int = WIDTH) -> list[Text]:
    """Lines of prose; long lines continue on the next line, and control characters are escaped."""
    return [Text(line) for line in fitted([config.escape_controls(line, kept="\t") for line in lines], width)]


def _widths(columns: Sequence[Column[Row]], texts: Sequence[Sequence[str]], width: int) -> tuple[list[int], int]:
    """The width of each column, and the number of spaces between columns; columns at the end that do not fit have none.

    Where space is short, the column shrinks that gains most characters per text that no longer fits its column.
    """
    lengths = [[len(cells[index].partition("\n")[0]) for cells in texts] for index in range(len(columns))]
    least = [max(map(len, column.heading.split()), default=0) for column in columns]
    widths = [max([*map(len, two_lines(column.heading)), *sizes]) for column, sizes in zip(columns, lengths, strict=True)]
    for gap, most_texts in ((2, 0), (1, 0), (1, len(texts))):
        while sum(widths) + gap * (len(widths) - 1) > width - INDENT:
            options = []
            for index, current in enumerate(widths):
                smaller = max([least[index], *(size for size in lengths[index] if size < current)])
                count = sum(smaller < length <= current for length in lengths[index])
                if smaller < current and count <= most_texts:
                    options.append((count / (current - smaller), index, smaller))
            if not options:
                break
            _, index, widths[index] = min(options)
        else:
            return widths, 2 if sum(widths) + 2 * (len(widths) - 1) <= width - INDENT else gap
    while len(widths) > 1 and sum(widths) + len(widths) - 1 > width - INDENT:
        widths.pop()
    return widths, 1


def _heading_lines(columns: Sequence[Column[Row]], spans: dict[int, tuple[int, int]]) -> list[list[Piece]]:
    """The headings, wrapped in their columns; the last lines are next to each other."""
    lines: list[list[Piece]] = []
    wrapped = {index: textwrap.wrap(columns[index].heading, max(1, end - start)) for index, (start, end) in spans.items()}
    height = max(map(len, wrapped.values()), default=0)
    for number in range(-height, 0):
        pieces = []
        for index, (start, end) in spans.items():
            heading = wrapped[index][number] if len(wrapped[index]) >= -number else ""
            pieces.append(Piece(end - len(heading) if columns[index].number else start, heading, "bold"))
        lines.append(pieces)
    return lines


def _row_lines(
    columns: Sequence[Column[Row]],
    row: Row,
    cells: Sequence[str],
    spans: dict[int, tuple[int, int]],
    width: int,
    colors: Mapping[str, str],
) -> list[list[Piece]]:
    """A row: a long first text above it, then the texts that fit, then all other lines."""
    above: list[list[Piece]] = []
    line: list[Piece] = []
    below: list[list[Piece]] = []
    for index, column in enumerate(columns):
        style = colors.get(cells[index], "") if column.arm else STYLES[column.tone(row)]
        parts = cells[index].split("\n")
        if index not in spans:
            texts = [f"{column.below}{part}" for part in parts if part]
            below += [[_placed(INDENT + 2, line, style, width)] for text in texts for line in _wrapped(text, width, INDENT + 4)]
            continue
        start, end = spans[index]
        if len(parts[0]) <= end - start:
            line.append(Piece(end - len(parts[0]) if column.number else start, parts.pop(0), style))
        elif not line:
            above += [[Piece(INDENT, part, style)] for part in _wrapped(parts.pop(0), width - INDENT, 2)]
            line.append(Piece(start, ""))
        first = 0
        for part in (line for text in parts for line in _wrapped(text, width, INDENT + 4)):
            wanted = end - len(part) if column.number else start if start + len(part) <= width else INDENT + 2
            first = _put(below, _placed(max(INDENT + 2, wanted), part, style, width), first)
    return [*above, *([line] if any(piece.text for piece in line) else []), *below]


def _placed(start: int, text: str, style: str, width: int) -> Piece:
    """A text that begins at `start`, or earlier if the line ends there; a continued line has its own indent."""
    return Piece(0 if text.startswith(" ") else max(0, min(start, width - len(text))), text, style)


def _put(lines: list[list[Piece]], piece: Piece, first: int) -> int:
    """Adds a piece to the first line from `first` on with free space at its position; returns the number of the next line."""
    number = first
    while number < len(lines) and any(
        piece.start < other.start + len(other.text) + 2 and other.start < piece.start + len(piece.text) + 2
        for other in lines[number]
    ):
        number += 1
    if number == len(lines):
        lines.append([])
    lines[number].append(piece)
    return number + 1


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    """The text, or its lines if it is longer than a line; the first begins like the text, the others are indented."""
    if len(text) <= width:
        return [text]
    return textwrap.wrap(" " * max(0, indent - 2) + text, width, subsequent_indent=" " * indent, break_on_hyphens=False)


def _styled(pieces: Sequence[Piece]) -> Text:
    line = Text()
    for piece in sorted(piece for piece in pieces if piece.text):
        line.append(" " * (piece.start - len(line)))
        line.append(piece.text, piece.style)
    return line
