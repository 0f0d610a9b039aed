"""The writers of tables: every format of a small table, with values that do not fit and text that could be markup."""

import csv
import io
import re
from dataclasses import asdict, dataclass, replace
from html.parser import HTMLParser

import pytest
from markupsafe import Markup
from rich.console import Console

from resexp.tables.colors import arm_colors
from resexp.tables.model import Column, Medium, Table, Tone
from resexp.tables.text_layout import plain_lines, text_lines
from resexp.tables.writers import csv_text, html_table, json_rows, latex_lines, markdown_lines


@dataclass(frozen=True)
class Fruit:
    family: str
    name: str
    price: float | None
    note: str = ""


FRUITS = [
    Fruit("citrus", "plain", -1.5),
    Fruit("citrus", "lime", 20.25, "ripe\nand green"),
    Fruit("pome", "apple", None, "good & <b>red</b>"),
]
HOSTILE = "<b>&'\" | a*b* `c` \\ _d_ $e$ %f {g} [h](i) #j ~k ^l e_f"


def columns() -> list[Column[Fruit]]:
    return [
        Column("fruit", lambda fruit: fruit.name, explain="arm", arm=True, data={"name": lambda fruit: fruit.name}),
        Column(
            "price in euros", lambda fruit: "-" if fruit.price is None else f"{fruit.price:+.2f}", explain="What it costs.",
            number=True, data={"price": lambda fruit: fruit.price}, media=frozenset(Medium) - {Medium.JSON},
        ),
        Column("remarks", lambda fruit: fruit.note),
        Column(data={"letters": lambda fruit: len(fruit.name)}),
        Column("empty", lambda _fruit: ""),
        Column("only on pages", lambda _fruit: "page", media=frozenset({Medium.HTML})),
    ]  # fmt: skip


def table(rows=FRUITS, **changes) -> Table[Fruit]:
    group = Column("family", lambda fruit: fruit.family)
    return replace(Table("Fruits", columns(), rows, group, record=asdict), **changes)


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and its text; checks that elements are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.words = [], [], ""
        self.feed(str(page))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += f"{data} "

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


# ---- text -------------------------------------------------------------------------------------------------------------------


def test_text_has_columns_of_aligned_values_below_the_names_of_groups():
    assert plain_lines(table(notes=["prices of today"])) == [
        "         price in",
        "  fruit     euros  remarks",
        "",
        "citrus",
        "  plain     -1.50",
        "  lime     +20.25  ripe",
        "                   and green",
        "",
        "pome",
        "  apple         -  good & <b>red</b>",
        "",
        "prices of today",
    ]


def test_text_that_does_not_fit_is_below_its_row_and_a_long_name_is_above_it():
    rows = [Fruit("", "kiwi", 1.0, "short"), Fruit("", "x" * 50, 2.0, "word " * 9), Fruit("", "fig", 3.0, "y " * 60 + "end")]
    lines = plain_lines(table(rows, group=None))

    assert max(map(len, lines)) <= 80
    above, row, below = (next(index for index, line in enumerate(lines) if text in line) for text in ("xxx", "+2.00", "word"))
    assert (row, below) == (above + 1, row) or (row, below) == (above + 1, above + 2)
    assert lines[above].startswith("  xxx")
    assert [lines[-3].split(), lines[-2].split()[0], lines[-1].split()[-1]] == [["fig", "+3.00"], "y", "end"]


def test_a_value_stays_in_its_row_if_another_one_makes_more_space():
    rows = [Fruit("", f"name{n}", 10.0**n, "remark") for n in range(6)] + [Fruit("", "name", 1.0, "r" * 70)]
    lines = plain_lines(table(rows, group=None))

    assert all(line.split()[0].startswith("name") and line.endswith("remark") for line in lines[2:8])
    assert lines[8].split() == ["name", "+1.00"]
    assert lines[9].strip() == "r" * 70


def test_columns_that_fit_in_no_width_are_below_each_row_with_their_heading():
    wide = [Column(f"heading{n:02}", lambda fruit: fruit.name) for n in range(12)]
    lines = plain_lines(Table("", wide, FRUITS[:1]))

    assert max(map(len, lines)) <= 80
    assert lines[0].split() == [f"heading{n:02}" for n in range(7)]
    assert [line.strip() for line in lines[2:]] == [f"heading{n:02}: plain" for n in range(7, 12)]


def test_a_column_below_the_rows_has_its_words_before_each_line_and_no_heading():
    below = Column("cost", lambda fruit: fruit.note, below="cost: ", tone=lambda _fruit: Tone.NONE)
    lines = plain_lines(Table("", [columns()[0], below], FRUITS))

    assert lines == ["  plain", "  lime", "    cost: ripe", "    cost: and green", "  apple",
                     "    cost: good & <b>red</b>"]  # fmt: skip


def test_a_table_without_columns_has_only_its_notes():
    empty = Table("", [], [], notes=["one | two"])

    assert plain_lines(empty) == ["one | two"]
    assert markdown_lines(empty) == ["- one | two"]


def test_a_terminal_prints_colors_unless_they_are_unwanted_and_uses_its_width():
    options = {"force_terminal": True, "legacy_windows": False, "width": 120, "color_system": "truecolor"}
    row = text_lines(table([Fruit("", "plain", 1.0, "word " * 20)]), 120)[-1]
    printed = {}
    for no_color in (False, True):
        console = Console(**options, no_color=no_color)
        with console.capture() as capture:
            console.print(row, soft_wrap=True)
        printed[no_color] = capture.get()

    color = re.compile(r"\x1b\[(38;[0-9;]+|3[0-7])mplain\x1b\[0m")  # rich caches the codes of a style
    assert color.search(printed[False])
    assert not re.search(r"\x1b\[3[0-9]", printed[True])
    assert ("word " * 20).strip() in row.plain


def test_control_characters_are_escaped_in_text():
    lines = plain_lines(table([Fruit("a\x1b[31m", "b\x1b[32m", 1.0, "c\rd")], notes=["e\x1b"]))

    assert "\x1b" not in "".join(lines)
    assert "\r" not in "".join(lines)


# ---- Markdown, HTML, LaTeX --------------------------------------------------------------------------------------------------


def test_markdown_has_the_group_as_its_first_column_and_numbers_at_the_right():
    assert markdown_lines(table(notes=["prices of *today*"])) == [
        "| family | fruit | price in euros | remarks |",
        "| --- | --- | ---: | --- |",
        "| citrus | plain | -1.50 |  |",
        "| citrus | lime | +20.25 | ripe; and green |",
        r"| pome | apple | - | good & \<b>red\</b> |",
        "",
        r"- prices of \*today\*",
    ]


def test_markdown_escapes_markup():
    (line,) = markdown_lines(table([Fruit(HOSTILE, "a", 1.0)], notes=()))[2:]

    assert line.startswith(r"""| \<b>&'" \| a\*b\* \`c\` \\ \_d\_ $e$ %f {g} [h]\(i) #j ~k ^l e_f | a |""")


def test_html_has_headings_with_explanations_and_names_each_row_and_group():
    page = Parsed(html_table(table(notes=["prices"])))

    assert [(head["scope"], head.get("title"), head.get("class")) for head in page.all("th")[:3]] == [
        ("col", None, None),
        ("col", "Network variant within a configuration, named after its shortcut: plain, identity, and so on.", None),
        ("col", "What it costs.", "n"),
    ]
    assert [head for head in page.all("th") if head["scope"] == "rowgroup"] == [
        {"scope": "rowgroup", "rowspan": "2"}, {"scope": "rowgroup"},
    ]  # fmt: skip
    assert [(head["class"], head["style"]) for head in page.all("th") if head["scope"] == "row"] == [
        ("arm", f"--arm: {color}") for color in arm_colors(fruit.name for fruit in FRUITS).values()
    ]
    assert (len(page.all("tbody")), len(page.all("tr")), len(page.all("td")), len(page.all("li"))) == (2, 4, 9, 1)
    assert page.all("div")[0] == {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "Fruits"}
    assert "only on pages" in page.words
    assert "empty" not in page.words


@pytest.mark.parametrize("tone", [Tone.GOOD, Tone.BAD, Tone.OPEN])
def test_a_verdict_has_a_class_and_its_text_in_html(tone):
    page = Parsed(
        html_table(Table("", [Column("a", lambda row: row), Column("b", lambda row: row, tone=lambda _: tone)], ["c d"]))
    )

    assert page.all("span")[-1] == {"class": f"chip {tone}"}
    assert page.words.split() == ["a", "b", "c", "d", "c", "d"]


def test_a_column_may_have_markup_of_its_own_in_html():
    column = Column("a", lambda row: row, markup=lambda row: Markup("<b>{}</b>").format(row))
    page = Parsed(html_table(Table("", [column], ["<i>"], column)))

    assert len(page.all("b")) == 2
    assert page.words.split() == ["a", "a", "<i>", "<i>"]


def test_html_escapes_markup_everywhere():
    hostile = Column(HOSTILE, lambda fruit: fruit.note, explain=HOSTILE)
    page = Parsed(
        html_table(Table(HOSTILE, [hostile, hostile], [Fruit("", "a", 1.0, f"{HOSTILE}\n{HOSTILE}")], hostile, [HOSTILE]))
    )

    assert {name for name, _ in page.elements} == {"div", "table", "thead", "tr", "th", "tbody", "br", "ul", "li", "td"}
    assert page.all("div")[0]["aria-label"] == page.all("th")[0]["title"] == HOSTILE
    assert page.words.count(HOSTILE) >= 4


def test_latex_has_one_cell_per_column_minus_signs_and_the_group_once():
    lines = latex_lines(table(notes=["slope: log10 |dL/dx| <= 1."]))
    start = lines.index(r"\toprule")

    assert r"\caption{Fruits. Slope: $\log_{10} |\partial L/\partial x|$ $\le$ 1.}" in lines
    assert r"\begin{tabular}{@{}llrl@{}}" in lines
    assert lines[start + 1 : -3] == [
        r"family & fruit & \shortstack[r]{price in\\{}euros} & remarks \\",
        r"\midrule",
        r"citrus & plain & $-$1.50 &  \\",
        r" & lime & +20.25 & ripe; and green \\",
        r"\addlinespace",
        r"pome & apple & -- & good \& $<$b$>$red$<$/b$>$ \\",
    ]


def test_no_line_break_of_latex_is_followed_by_a_bracket_or_a_star():
    column = Column("beyond width [95% CI]", lambda row: row, number=True)
    lines = latex_lines(Table("", [column], ["[+1.0, -2.0]", "*"]))

    assert lines[-7:-3] == [
        r"\shortstack[r]{beyond width\\{}[95\% CI]} \\",
        r"\midrule",
        r"{}[+1.0, $-$2.0] \\",
        r"{}* \\",
    ]


# ---- CSV and JSON -----------------------------------------------------------------------------------------------------------


def test_csv_contains_the_data_of_all_columns_with_nine_digits():
    rows = list(csv.reader(io.StringIO(csv_text(table([Fruit("", 'a, "b"\n', 1 / 3), Fruit("", "c", None)])))))

    assert rows == [["name", "price", "letters"], ['a, "b"\n', "0.333333333", "7"], ["c", "", "1"]]


def test_json_contains_the_record_of_a_row_and_the_data_of_columns():
    assert json_rows(table(FRUITS[:1])) == [{**asdict(FRUITS[0]), "letters": 5}]
    assert json_rows(table(FRUITS[:1], record=None)) == [{"name": "plain", "letters": 5}]


def test_a_table_without_rows_has_its_headings_in_every_format():
    empty = table([])

    assert plain_lines(empty)[-1].split() == ["fruit", "euros", "remarks", "empty"]
    assert markdown_lines(empty) == [
        "| family | fruit | price in euros | remarks | empty |",
        "| --- | --- | ---: | --- | --- |",
    ]
    assert len(Parsed(html_table(empty)).all("th")) == 6
    assert r"family & fruit & \shortstack[r]{price in\\{}euros} & remarks & empty \\" in latex_lines(empty)
    assert csv_text(empty) == "name,price,letters\n"
    assert json_rows(empty) == []
