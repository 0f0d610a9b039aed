"""Any table as Markdown, HTML, LaTeX, CSV or JSON; `text_layout` prints it on a terminal."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from resexp import runs
from resexp.tables.colors import table_colors
from resexp.tables.definitions import DEFINITIONS
from resexp.tables.model import Column, Medium, Row, Table, Tone, by_group, select
from resexp.tables.terminal import two_lines

# ---- Markdown and HTML ------------------------------------------------------------------------------------------------------

MARKDOWN_ESCAPES = {"\\": r"\\", "*": r"\*", "`": r"\`"}


def markdown_text(text: str) -> str:
    """Text that Markdown prints unchanged; lines are joined by semicolons."""
    words = "".join(MARKDOWN_ESCAPES.get(letter, letter) for letter in "; ".join(text.splitlines()))
    return re.sub(r"(?<!\w)_|_(?!\w)|(?<=\])(?=\()|<(?=[\w/!?])", lambda match: f"\\{match[0]}", words)


def markdown_lines(table: Table[Row]) -> list[str]:
    """The table, then its notes as a list."""
    content = select(table, Medium.MARKDOWN)
    lines = [[column.heading for column in content.columns], *(cells for _, cells in content.rows)]
    lines = [[markdown_text(cell).replace("|", r"\|") for cell in cells] for cells in lines]
    lines.insert(1, ["---:" if column.number else "---" for column in content.columns])
    notes = [f"- {markdown_text(note)}" for note in table.notes]
    return [*(f"| {' | '.join(line)} |" for line in lines if line), *([""] if notes and content.columns else []), *notes]


MIN_LONG = 40  # characters of a text that is printed in a wide column


def html_table(table: Table[Row], arms: Iterable[str] = ()) -> Markup:
    """The table in a region that scrolls, then its notes as a list; arms: as in `arm_colors`."""
    content = select(table, Medium.HTML)
    colors = table_colors(content, arms)
    columns, notes = content.columns, [element("li", escape(note)) for note in table.notes]
    grouped = bool(columns) and columns[0] is table.group
    header = next((index for index, column in enumerate(columns) if not column.shared and column is not table.group), 0)
    bodies = []
    for _, lines in by_group(content):
        rows = []
        for number, (row, cells) in enumerate(lines):
            parts = [_html_group(columns[0], row, cells[0], len(lines))] if grouped and number == 0 else []
            parts += [
                _html_cell(columns[index], row, cells[index], colors, is_header=index == header)
                for index in range(int(grouped), len(columns))
            ]
            rows.append(element("tr", *parts))
        bodies.append(element("tbody", *rows))
    head = element("thead", element("tr", *map(_html_heading, columns)))
    region = {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": table.title}
    scrolled = element("div", element("table", head, *bodies), **region) if columns else Markup()
    return scrolled + (element("ul", *notes, **{"class": "words"}) if notes else Markup()) + _html_legend(table, columns)


def _html_legend(table: Table[Row], columns: Sequence[Column[Row]]) -> Markup:
    """The meaning of columns and verdicts, unless a note states it."""
    terms = {column.heading: DEFINITIONS.get(column.explain, column.explain) for column in columns if column.explain}
    terms |= dict(column.meaning(row) for column in columns if column.meaning for row in table.rows)
    notes = " ".join(table.notes)
    shown = [element("dt", escape(term)) + element("dd", escape(text)) for term, text in terms.items() if text[1:] not in notes]
    legend = element("summary", escape("Legend")) + element("dl", *shown)
    return element("details", legend, **{"class": "legend"}) if shown else Markup()


def element(name: str, *content: Markup, **attributes: object) -> Markup:
    """An element of HTML; attributes that are empty are left out."""
    written = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items() if value)
    end = "\n" if name in ("tr", "tbody", "thead", "div") else ""
    return Markup(f"<{name}{written}>{''.join(content)}</{name}>{end}")  # noqa: S704 - content is markup, attributes are escaped


def _html_heading(column: Column[Row]) -> Markup:
    heading = escape(column.heading.replace(" - ", " \N{MINUS SIGN} "))
    explain = DEFINITIONS.get(column.explain, column.explain)
    return element("th", heading, **{"scope": "col", "class": "n" if column.number else "", "title": explain})


def _html_group(column: Column[Row], row: Row, text: str, rows: int) -> Markup:
    return element("th", _html_content(column, row, text), scope="rowgroup", rowspan=rows if rows > 1 else "")


def _html_cell(column: Column[Row], row: Row, text: str, colors: Mapping[str, str], *, is_header: bool) -> Markup:
    color = colors.get(text) if column.arm else None
    names = ["n"] if column.number else ["long"] if len(text) > MIN_LONG else []
    names += ["arm"] if color else []
    style = f"--arm: {color}" if color else ""
    attributes = {"scope": "row" if is_header else "", "class": " ".join(names), "style": style}
    return element("th" if is_header else "td", _html_content(column, row, text), **attributes)


def _html_content(column: Column[Row], row: Row, text: str) -> Markup:
    """The lines of a cell. A verdict has a colored background around its first line; a short first line is not broken."""
    if column.markup:
        return column.markup(row)
    tone = column.tone(row)
    first, *others = map(escape, text.split("\n"))
    if tone in (Tone.GOOD, Tone.BAD, Tone.OPEN):
        meaning = column.meaning(row)[1] if column.meaning else ""
        first = element("span", first, **{"class": f"chip {tone}", "title": meaning})
    elif not column.number and " " in first and len(first) <= MIN_LONG // 2:
        first = element("span", first, **{"class": "counts"})
    return Markup("<br>").join([first, *others])


# ---- LaTeX ------------------------------------------------------------------------------------------------------------------

ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$",
    "|": r"\textbar{}", "\n": " ", "\t": " ",
}  # fmt: skip
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0327": "c"}
MAX_HEADING = 12  # characters of a heading in one line
FORMULAS = {"log10 |dL/dx|": r"$\log_{10} |\partial L/\partial x|$", "<=": r"$\le$"}


def latex_text(text: str) -> str:
    """Text that LaTeX prints unchanged under any input encoding; characters that its fonts lack become question marks."""
    return "".join(ESCAPES.get(letter) or _latex_letter(letter) for letter in text).replace("--", "-{}-")


def _latex_letter(letter: str) -> str:
    if letter.isascii():
        return letter if letter.isprintable() else "?"
    parts = unicodedata.normalize("NFD", letter)
    known = len(parts) == 2 and parts[0].isascii() and parts[1] in ACCENTS
    return rf"\{ACCENTS[parts[1]]}{{{parts[0]}}}" if known else "?"


def latex_words(text: str) -> str:
    """The same with formulas in math mode."""
    words = latex_text(text)
    for formula, math in FORMULAS.items():
        words = words.replace(latex_text(formula), math)
    return re.sub(r"(?<= )-(?= |$)", "$-$", words)


def latex_lines(table: Table[Row]) -> list[str]:
    """A table that requires only the package booktabs; the caption consists of its title and its notes."""
    content = select(table, Medium.LATEX)
    caption = " ".join(latex_words(line[:1].upper() + line[1:]) for line in table.notes)
    alignment = "".join("r" if column.number else "l" for column in content.columns)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{latex_words(table.title)}. {caption}}}"]
    lines += [r"\footnotesize", r"\setlength{\tabcolsep}{2.5pt}"]  # eight columns fit the width of an article
    lines += [rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}", r"\toprule"]
    lines += [" & ".join(map(_latex_heading, content.columns)) + r" \\", r"\midrule"]
    for number, (_, group) in enumerate(by_group(content)):
        lines += [r"\addlinespace"] if number and table.group else []
        for row_number, (_, cells) in enumerate(group):
            texts = [
                "" if row_number and (column.shared or column is table.group) else _latex_cell(column, cell)
                for column, cell in zip(content.columns, cells, strict=True)
            ]
            lines.append(" & ".join(texts) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def _latex_heading(column: Column[Row]) -> str:
    """A long heading has two lines, so that the table fits the width of an article."""
    lines = two_lines(column.heading) if len(column.heading) > MAX_HEADING else [column.heading]
    position = "r" if column.number else "l"
    words = r"\\{}".join(map(latex_words, lines))  # LaTeX would read a bracket after a line break as a length
    return rf"\shortstack[{position}]{{{words}}}" if len(lines) > 1 else words


def _latex_cell(column: Column[Row], text: str) -> str:
    """Hyphens before digits are minus signs in columns of numbers."""
    words = latex_text("; ".join(text.split("\n")))
    words = re.sub(r"-(?=\d)", "$-$", words) if column.number else words
    words = f"{{}}{words}" if words.startswith(("[", "*")) else words  # as in headings
    return "--" if words == "-" else words


# ---- CSV and JSON -----------------------------------------------------------------------------------------------------------


def csv_text(table: Table[Row], columns: Sequence[str] = (), records: Sequence[Mapping[str, Any]] = ()) -> str:
    """The data of all columns, one line for each row; numbers as in the files of an experiment.

    columns, records: further columns, empty in the rows of the table, and further lines, empty in columns that they lack.
    """
    values = {name: value for column in table.columns if Medium.CSV in column.media for name, value in column.data.items()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*values, *columns])
    for record in [*({name: value(row) for name, value in values.items()} for row in table.rows), *records]:
        writer.writerow([runs.format_cell(record[name]) if name in record else "" for name in (*values, *columns)])
    return text.getvalue()


def json_rows(table: Table[Row]) -> list[dict[str, Any]]:
    """The records of the rows, with the data of all columns that JSON contains."""
    values = {name: value for column in table.columns if Medium.JSON in column.media for name, value in column.data.items()}
    return [{**(table.record(row) if table.record else {}), **{name: value(row) for name, value in values.items()}}
            for row in table.rows]  # fmt: skip
