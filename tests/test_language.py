"""The language of everything that a person reads, as a test and as a command: python tests/test_language.py [PATH ...]"""

import ast
import importlib
import io
import json
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main
import yaml

ROOT = Path.cwd().resolve() if __name__ == "__main__" else Path(__file__).resolve().parent.parent
INSTEAD = {  # pattern -> what to write; case-insensitive, a space matches every white space
    r"\b(He|PyTorch|Xavier|Kaiming)('s)? start\b": "... initialization",
    r"\bfirst weights?\b": "initial weights",
    r"\blast weights\b": "final weights",
    r"\b(test|validation|training|train) part\b": "... set",
    r"\btwins?\b": "plain counterpart",
    r"\bsecond controls?\b": "parameter-matched baseline",
    r"\bcorners?\b": "condition",
    r"\btheory('s)? line\b": "predicted trainability limit",
    r"\btheory sees\b": "predicted trainability limit",
    r"\bsees? (no|the) end\b": "predicted trainability limit",
    r"\bkeeps? (its|their) size\b": "remain stable",
    r"\bends? alike\b": "same outcome",
    r"\bend(ed)? (alike|differently)\b": "same outcome, different outcomes",
    r"\bcannot tell\b": "inconclusive",
    r"not shown worse": "not converged",
    r"\bmatters\b": "margin",
    r"\bbest against best\b": "each at its best setting",
    r"\bholds? (the|their) (truth|mean)\b": "covers",
    r"\bfalse alarms?\b": "false positives",
    r"\bthe article('s)?\b": "a citation",
    r"\bgo(es)? on\b": "continue, resume",
    r"\bmend(s|ed|ing)?\b": "fix, repair",
    r"\btorn\b": "truncated",
    r"\bnoticed?s?\b": "detect",
    r"\bseal(s|ed)?\b": "checksum",
    r"\bstands? (beside|twice|below|there|in|for)\b": "is, appears, is stored in",
    r"\blies? (in|here|there|off|under|beside|below)\b": "is, appears, is stored in",
    r"\bbehind\b": "after",
    r"\bbut for\b": "except",
    r"\bfor ever\b": "indefinitely",
    r"\banew\b": "again",
    r"\ball the same\b": "anyway",
    r"\b(runs?|writes?|tells?) no more\b": "no longer ...",
    r"\b(is|are) no (pair|plain|depth|arm|number|trial|level|part|key|row|figure|finished|value|text)\b": "is not a ...",
    r"(^|[.;:] )(Who|What) (is|was|are|were|lies|stands|has|happens|no)\b(?![^.]*\?)": "a noun as the subject",
    r"\b(one's|our) own\b": "custom",
    r"\bstrangers?\b": "untrusted",
    r"\bdear\b": "expensive",
    r"\bweighs? \d": "is ... GB",
    r"\bdesk\b": "the name of the module or script",
    r"\btorture\b": "stress tests",
    r"\broom of\b": "space for, memory of",
    r"\d %": "95% without a space",
    r"\} %": "{}% without a space",
    r"\b(initialis|normalis|colour|favour|grey|licence(?!\.\w)|centre)": "American spelling",
}
NEVER = [(re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE), instead) for pattern, instead in INSTEAD.items()]
EXCEPTION = re.compile(r"style: ok \(.+\)\s*(-->|#\})?$", re.MULTILINE)  # at the end of the line of a finding
GROUPS = ["docs", "notebook", "configs", "messages", "templates", "docstrings", "comments"]
CATCH_ALL = {"of", "found", "place", "told", "it", "like", "alone"}
SHADOWS_ON_PURPOSE: dict[str, str] = {}  # module directly in resexp -> why its standard-library name does no harm


class Text(NamedTuple):
    """A stretch of prose; a newline in `text` is a newline of the file, except where `last` is given."""

    group: str
    line: int
    text: str
    last: int = 0
    table: bool = False


class Finding(NamedTuple):
    path: Path
    line: int
    match: str
    instead: str
    group: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {' '.join(self.match.split())!r} -> write: {self.instead}"


def without(pattern: str, text: str, filler: str = "") -> str:
    """The text without what the pattern matches; every line keeps its number."""
    return re.sub(pattern, lambda match: filler + "\n" * match[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)


def markdown(source: str, group: str = "docs", first: int = 1) -> Iterator[Text]:
    """One text per paragraph, heading, list item and table cell."""
    source = without(r"^( *)(```|~~~).*?^\1\2$", source)
    source = without(r"<!-- begin .*?<!-- end .*?-->|<!--.*?-->|</?[a-z][^<>]*>|(?<=\])\([^)]*\)|^\[\S+\]: .*?$", source)
    lines: list[str] = []
    for number, line in enumerate([*source.split("\n"), ""], first):
        marker = re.match(r"\s*([-*+]|\d+\.|>|#+)\s+|\s*\||\s*$", line)
        if marker and lines:
            yield Text(group, number - len(lines), "\n".join(lines))
            lines = []
        if marker and "|" in marker[0]:
            yield from (Text(group, number, cell.strip(), table=True) for cell in line.split("|"))
        elif line.strip():
            lines.append(line[marker.end() :] if marker else line)
        if lines and line.startswith("#"):
            yield Text(group, number, lines.pop())


def notebook(source: str) -> Iterator[Text]:
    for cell in json.loads(source)["cells"]:
        if cell["cell_type"] == "markdown" and cell["source"]:
            before = source.partition(json.dumps(cell["source"][0], ensure_ascii=False))[0]
            yield from markdown("".join(cell["source"]), "notebook", before.count("\n") + 1)


def comment_blocks(comments: Iterable[tuple[int, bool, str]], group: str) -> Iterator[Text]:
    """Joins comments on successive lines; each is a line number, whether the line has nothing else, and the text."""
    numbered = enumerate(comments)
    for _, block in groupby(numbered, key=lambda item: (item[1][1], item[1][0] - item[0] if item[1][1] else item[0])):
        lines = [comment for _, comment in block]
        yield Text(group, lines[0][0], "\n".join(text for _, _, text in lines))


def configuration(source: str) -> Iterator[Text]:
    """Comments, and the values that are shown to the reader."""
    matches = [(number, re.match(r"(\s*|.*?\s)#\s?(.*)", line)) for number, line in enumerate(source.splitlines(), 1)]
    yield from comment_blocks(((number, not match[1].strip(), match[2]) for number, match in matches if match), "configs")
    nodes = [yaml.compose(source, Loader=yaml.SafeLoader)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            nodes.append(value)
            if isinstance(value, yaml.ScalarNode) and key.value in {"question", "text", "note", "source"}:
                yield Text("configs", key.start_mark.line + 1, value.value.replace("\n", " "), value.end_mark.line + 1)


def template(source: str) -> Iterator[Text]:
    source = without(r"<(script|style)\b.*?</\1>|\{#.*?#\}|\{%.*?%\}", source)
    source = without(r"\{\{.*?\}\}", source, "{}")
    paragraph = r"</?(?:p|li|h\d|t[dhr]|caption|figcaption|summary|title|div|span|option)\b"
    source = re.sub(paragraph, "\0\\g<0>", source)
    line = 1
    for part in without(r"<[^<>]*>", source).split("\0"):
        yield Text("templates", line, part)
        line += part.count("\n")


def python(source: str, path: Path) -> Iterator[Text]:
    """Comments, docstrings, and of the package the string literals with a space; {} replaces a value of an f-string."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    yield from comment_blocks(
        ((token.start[0], token.line.lstrip().startswith("#"), token.string.lstrip("#! ")) for token in comments), "comments"
    )
    known: set[ast.AST] = set()  # strings that are part of something larger
    commands: set[ast.AST] = set()  # docstrings that are help texts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.decorator_list and path.parts[:2] == ("resexp", "cli"):
            commands.add(node.body[0])
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            known.add(node.value)
            yield Text("messages" if node in commands else "docstrings", node.lineno, node.value.value)
        elif isinstance(node, ast.JoinedStr | ast.Constant) and node not in known and path.parts[0] == "resexp":
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            known.update(parts)
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
            if " " in text:
                yield Text("messages", node.lineno, text.replace("\n", " "), node.end_lineno or 0)


def files(*folders: Path) -> list[Path]:
    """All files with a language, or those among the given files and folders."""
    patterns = ["README.md CHANGELOG.md SECURITY.md docs/*.md runs/README.md docs/*.ipynb configs/*.yaml resexp/claims/*.yaml"]
    patterns += ["resexp/published/*.yaml resexp/templates/*.j2 resexp/**/*.py tests/*.py benchmarks/*.py"]
    everything = [path for pattern in " ".join(patterns).split() for path in sorted(ROOT.glob(pattern))]
    chosen = {folder.resolve() for folder in folders}
    return [path.relative_to(ROOT) for path in everything if not chosen or chosen & {path, *path.parents}]


@cache
def texts(path: Path, source: str) -> list[Text]:
    readers = {".md": markdown, ".ipynb": notebook, ".yaml": configuration, ".j2": template}
    prose = python(source, path) if path.suffix == ".py" else readers[path.suffix](source)
    return [text._replace(text=without(r"`+[^`]+`+", text.text, "CODE")) for text in prose]


def findings(path: Path, source: str) -> Iterator[Finding]:
    """Forbidden patterns, and in the docs long sentences and those with two semicolons."""
    lines = source.splitlines()
    for text in texts(path, source):
        for match, instead in ((match, instead) for pattern, instead in NEVER for match in pattern.finditer(text.text)):
            start = text.line + text.text.count("\n", 0, match.start())
            numbers = [number for number, line in enumerate(lines[start - 1 : text.last], start) if match[0].strip() in line]
            line = (numbers or [start])[0]
            if not EXCEPTION.search(lines[line - 1]):
                yield Finding(path, line, match[0], instead, text.group)
        if text.group == "docs" and not text.table:
            yield from long_sentences(path, text)


def long_sentences(path: Path, text: Text) -> Iterator[Finding]:
    line = text.line
    for sentence in re.split(r"((?<!al\.)(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)(?<!cf\.)(?<=[.!?])[\"')*_]*\s+)", text.text):
        count = len(words(sentence))
        if count > 35 or sentence.count(";") > 1:
            instead = f"shorter sentences ({count} words, semicolons: {sentence.count(';')})"
            yield Finding(path, line, f"{sentence[:50]} ...", instead, "sentences")
        line += sentence.count("\n")


def words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_][\w'-]*", text)


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def report(paths: list[Path]) -> str:
    """All findings, then per group the forbidden patterns, the words, and the patterns per 1,000 words."""
    everything = sorted(finding for path in paths for finding in findings(path, read(path)))
    hits = Counter(finding.group for finding in everything)
    counts = Counter[str]()
    for path in paths:
        for text in texts(path, read(path)):
            counts[text.group] += len(words(text.text))
    lines = [f"{'group':12}{'hits':>6}{'words':>8}  hits per 1,000 words"]
    lines += [
        f"{group:12}{hits[group]:6}{counts[group]:8,}{1000 * hits[group] / max(counts[group], 1):8.1f}" for group in GROUPS
    ]
    lines += [f"{'sentences':12}{hits['sentences']:6}   too long or with two semicolons, in docs"]
    return "\n".join([*map(str, everything), "", *lines])


EVERYTHING = files()


@pytest.fixture(scope="module")
def everything():
    return [finding for path in EVERYTHING for finding in findings(path, read(path))]


@pytest.fixture(scope="module")
def program():
    return typer.main.get_command(importlib.import_module("resexp.cli").app)


@pytest.mark.parametrize("group", [*GROUPS, "sentences"])
def test_the_language_is_plain(everything, group):
    hits = [str(finding) for finding in everything if finding.group == group]

    assert not hits, f"{len(hits)} hits\n" + "\n".join(hits)


def test_there_are_at_most_ten_exceptions():
    assert sum(len(EXCEPTION.findall(read(path))) for path in EVERYTHING) <= 10


def hits_in(name, source):
    source = source.replace("OK", "style: ok (a quotation)")
    return [(finding.group, finding.line, finding.match) for finding in findings(Path(name), source)]


def test_markdown_is_read_without_code_links_and_generated_blocks():
    source = """# A twin
A paragraph that [goes
on](twin.html) with `a twin`.

```

a twin

```
<!-- begin speed -->
a twin
<!-- end speed -->
- a list item
- anew
- anew <!-- OK -->

| a | torn file |
"""

    assert hits_in("README.md", source) == [
        ("docs", 1, "twin"),
        ("docs", 2, "goes\non"),
        ("docs", 14, "anew"),
        ("docs", 17, "torn"),
    ]


def test_a_sentence_is_short_and_has_one_semicolon():
    long = " ".join(["word"] * 36)
    source = f"{long[5:]}. Next; one.\nA; b; c.\n\n- {long}\n\n| {long} |\n\n```\n{long}\n```\n"

    assert [(group, line) for group, line, _ in hits_in("README.md", source)] == [("sentences", 2), ("sentences", 4)]


def test_yaml_is_read_in_comments_and_shown_values():
    source = """# It goes
# on.
question: >
  Is there
  a twin?
lr: [0.1]  # a corner
claims:
  - text: anew
    expect: "twin > plain"
    note: >
      It is torn.
"""

    assert sorted(hits_in("configs/x.yaml", source)) == [
        ("configs", 1, "goes\non"),
        ("configs", 5, "twin"),
        ("configs", 6, "corner"),
        ("configs", 8, "anew"),
        ("configs", 11, "torn"),
    ]


def test_python_is_read_in_messages_docstrings_and_comments():
    source = '''"""A module that goes
on, `twin`."""
twin = {"twin": 1}  # a corner
text = (
    f"{twin} %, "
    "a torn file"
)
quoted = "a torn file"  # OK

@app.command()
def train():
    """Train anew."""
'''

    assert sorted(hits_in("resexp/cli/x.py", source)) == [
        ("comments", 3, "corner"),
        ("docstrings", 1, "goes\non"),
        ("messages", 5, "} %"),
        ("messages", 6, "torn"),
        ("messages", 12, "anew"),
    ]
    assert {group for group, _, _ in hits_in("tests/x.py", source)} == {"comments", "docstrings"}


def test_templates_are_read_without_code():
    source = (
        "<style>twin {}</style>\n{# twin #}\n{% if twin %}<p class='twin'>{{ twin }} %</p>{% endif %}\n<p>What is equal</p>\n"
    )

    assert hits_in("resexp/templates/x.j2", source) == [("templates", 3, "} %"), ("templates", 4, "What is")]


def test_notebooks_are_read_in_their_text():
    cells = [{"cell_type": "code", "source": ["# a twin\n"]}, {"cell_type": "markdown", "source": ["Text\n", "and a twin\n"]}]

    assert hits_in("docs/x.ipynb", json.dumps({"cells": cells}, indent=1)) == [("notebook", 13, "twin")]


def parameters(command, name="resexp"):
    for parameter in command.params:
        yield f"{name} {parameter.opts[0]}", parameter.help or ""
    for child, subcommand in getattr(command, "commands", {}).items():
        yield from parameters(subcommand, f"{name} {child}")


def test_the_help_of_every_option_is_one_short_text(program):
    helps = dict(parameters(program))
    odd = {name: text for name, text in helps.items() if len(text) > 100 or not re.fullmatch(r"(?s)[A-Z'\"`].*[^.]\.", text)}

    assert "resexp train --jobs" in helps
    assert not odd


def test_readme_package_and_help_say_skip_connection(program):
    description = tomllib.loads(read(Path("pyproject.toml")))["project"]["description"]
    for text in (read(Path("README.md")), description, program.help):
        assert "skip connection" in re.sub(r"\W+", " ", text.lower().replace("skip (shortcut) ", "skip "))


def test_every_claim_stands_alone():
    texts_of_claims = [
        claim["text"]
        for path in ROOT.glob("resexp/claims/*.yaml")
        for claim in yaml.safe_load(path.read_text("utf-8"))["claims"]
    ]

    assert texts_of_claims
    assert not [text for text in texts_of_claims if re.match(r"(So|And|They|It)\b|A shortcut passes them", text)]


@pytest.mark.parametrize("section", ["Install", "Quick start", "Who is it for", "Alternatives", "Citing"])
def test_readme_has_the_section(section):
    assert re.search(rf"^## {section}\b", read(Path("README.md")), re.MULTILINE | re.IGNORECASE)


def test_a_legend_of_every_column_follows_the_first_table_of_readme():
    header, legend = re.search(r"^(\|.*?)\n(?:\|.*\n)+(.*?)^#", read(Path("README.md")), re.MULTILINE | re.DOTALL).groups()
    columns = {cell.split(",")[0].strip() for cell in header.strip("|").split("|")}

    assert not {column for column in columns if column.lower() not in " ".join(legend.lower().split())}


def bound_names(tree):
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.FunctionDef(name=name):
                yield name


def test_names_say_what_they_hold():
    catch_all = Counter(
        path.as_posix()
        for path in EVERYTHING
        if path.suffix == ".py"
        for name in bound_names(ast.parse(read(path)))
        if name in CATCH_ALL
    )

    assert catch_all.total() <= 20, catch_all


def test_every_file_name_occurs_once():
    stems = Counter(path.stem for path in (ROOT / "resexp").rglob("*.py") if not path.stem.startswith("__"))

    assert not [stem for stem, count in stems.items() if count > 1]


def test_no_module_has_the_name_of_one_of_the_standard_library():
    modules = {path.stem for path in (ROOT / "resexp").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}

    assert modules & sys.stdlib_module_names == set(SHADOWS_ON_PURPOSE)


if __name__ == "__main__":
    sys.stdout.write(report(files(*map(Path, sys.argv[1:]))) + "\n")
