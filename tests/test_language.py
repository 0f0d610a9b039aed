"""Checks the language of everything that a person reads. Also a command: python tests/test_language.py [PATH ...]"""

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
INSTEAD = {  # pattern -> replacement; case-insensitive, a space matches any white space
    r"\b(He|PyTorch|Xavier|Kaiming)('s)? start\b": "... initialization",
    r"\b(first weights?|last weights)\b": "initial weights, final weights",
    r"\b(test|validation|training|train) part\b": "... set",
    r"\b(twins?|second controls?)\b": "plain counterpart, parameter-matched baseline",
    r"\bcorners?\b": "condition",
    r"\btheory('s)? line\b|\btheory sees\b|\bsees? (no|the) end\b": "predicted trainability limit",
    r"\bkeeps? (its|their) size\b": "remain stable",
    r"\b(ends? alike|end(ed)? (alike|differently))\b": "same outcome, different outcomes",
    r"\bcannot tell\b|not shown worse": "inconclusive, not converged",
    r"\bmatters\b": "margin",
    r"\bbest against best\b": "each at its best setting",
    r"\bholds? (the|their) (truth|mean)\b": "covers",
    r"\bfalse alarms?\b": "false positives",
    r"\bthe article('s)?\b": "a citation",
    r"\bgo(es)? on\b": "continue, resume",
    r"\bmend(s|ed|ing)?\b|\btorn\b": "fix, repair, truncated",
    r"\b(noticed?s?|seal(s|ed)?)\b": "detect, checksum",
    r"\bstands? (beside|twice|below|there|in|for)\b": "is, appears, is stored in",
    r"\blies? (in|here|there|off|under|beside|below)\b": "is, appears, is stored in",
    r"\b(behind|but for)\b": "after, except",
    r"\b(for ever|anew|all the same)\b": "indefinitely, again, anyway",
    r"\b(runs?|writes?|tells?) no more\b": "no longer ...",
    r"\b(is|are) no (pair|plain|depth|arm|number|trial|level|part|key|row|figure|finished|value|text)\b": "is not a ...",
    r"(^|[.;:] )(Who|What) (is|was|are|were|lies|stands|has|happens|no)\b(?![^.]*\?)": "a noun as the subject",
    r"\b(one's|our) own\b|\bstrangers?\b": "custom, untrusted",
    r"\bdear\b|\bweighs? \d|\broom of\b": "expensive, is ... GB, memory of",
    r"\b(desk|torture)\b": "the name of the module, stress tests",
    r"(\d|\}) %": "95% without a space",
    r"\b(initialis|normalis|colour|favour|grey|licence(?!\.\w)|centre)": "American spelling",
}
NEVER = [(re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE), instead) for pattern, instead in INSTEAD.items()]
EXCEPTION = re.compile(r"style: ok \(.+\)\s*(-->|#\})?$", re.MULTILINE)  # at the end of the line of a finding
GROUPS = ["docs", "notebook", "configs", "messages", "templates", "docstrings", "comments"]
CATCH_ALL = {"of", "found", "place", "told", "it", "like", "alone"}


class Text(NamedTuple):
    """A piece of prose. A newline in `text` is a newline of the file, unless `last` is given."""

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
    """Removes all matches of the pattern; line numbers remain the same."""
    return re.sub(pattern, lambda match: filler + "\n" * match[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)


def markdown(source: str, group: str = "docs", first: int = 1) -> Iterator[Text]:
    """Yields one text per paragraph, heading, list item and table cell."""
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
    """Joins comments on successive lines; a comment is (line number, whether the line has no code, text)."""
    numbered = enumerate(comments)
    for _, block in groupby(numbered, key=lambda item: (item[1][1], item[1][0] - item[0] if item[1][1] else item[0])):
        lines = [comment for _, comment in block]
        yield Text(group, lines[0][0], "\n".join(text for _, _, text in lines))


def configuration(source: str) -> Iterator[Text]:
    """Yields comments and the values that are shown to a reader."""
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
    """Yields comments, docstrings and, in the package, string literals with a space. Values of f-strings become {}."""
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
    """Returns all files that are checked, or those among the given files and folders."""
    patterns = ["README.md CHANGELOG.md SECURITY.md CONTRIBUTING.md AGENTS.md docs/**/*.md runs/README.md docs/*.ipynb"]
    patterns += ["configs/*.yaml resexp/claims/*.yaml resexp/published/*.yaml resexp/templates/*.j2 resexp/**/*.py"]
    patterns += ["tests/*.py benchmarks/*.py"]
    everything = [path for pattern in " ".join(patterns).split() for path in sorted(ROOT.glob(pattern))]
    chosen = {folder.resolve() for folder in folders}
    return [path.relative_to(ROOT) for path in everything if not chosen or chosen & {path, *path.parents}]


@cache
def texts(path: Path, source: str) -> list[Text]:
    readers = {".md": markdown, ".ipynb": notebook, ".yaml": configuration, ".j2": template}
    prose = python(source, path) if path.suffix == ".py" else readers[path.suffix](source)
    return [text._replace(text=without(r"`+[^`]+`+", text.text, "CODE")) for text in prose]


def findings(path: Path, source: str) -> Iterator[Finding]:
    """Yields forbidden patterns and, in docs, long sentences and sentences with two semicolons."""
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
    """Lists all findings, then hits, words and hits per 1,000 words of each group."""
    everything = sorted(finding for path in paths for finding in findings(path, read(path)))
    hits = Counter(finding.group for finding in everything)
    counts = Counter(text.group for path in paths for text in texts(path, read(path)) for _ in words(text.text))
    rows = [f"{group:12}{hits[group]:6}{counts[group]:8,}{1000 * hits[group] / max(counts[group], 1):8.1f}" for group in GROUPS]
    heading = f"{'group':12}{'hits':>6}{'words':>8}  hits per 1,000 words"
    sentences = f"{'sentences':12}{hits['sentences']:6}   too long or with two semicolons, in docs"
    return "\n".join([*map(str, everything), "", heading, *rows, sentences])


EVERYTHING = files()


@pytest.fixture(scope="module")
def everything():
    return [finding for path in EVERYTHING for finding in findings(path, read(path))]


@pytest.fixture(scope="module")
def program():
    return typer.main.get_command(importlib.import_module("resexp.cli").app)


@pytest.mark.parametrize("group", [*GROUPS, "sentences"])
def test_language_is_plain(everything, group):
    hits = [str(finding) for finding in everything if finding.group == group]

    assert not hits, f"{len(hits)} hits\n" + "\n".join(hits)


def test_there_are_at_most_ten_exceptions():
    assert sum(len(EXCEPTION.findall(read(path))) for path in EVERYTHING) <= 10


MARKDOWN = """# A twin
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
YAML = """# It goes
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
PYTHON = '''"""A module that goes
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
TEMPLATE = "<style>twin {}</style>\n{# twin #}\n{% if a %}<p class='twin'>{{ twin }} %</p>{% endif %}\n<p>What is equal</p>\n"
CELLS = [{"cell_type": "code", "source": ["# a twin\n"]}, {"cell_type": "markdown", "source": ["Text\n", "and a twin\n"]}]
LONG = " ".join(["word"] * 36)
SENTENCES = f"{LONG[5:]}. Next; one.\nA; b; c.\n\n- {LONG}\n\n| {LONG} |\n\n```\n{LONG}\n```\n"


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("README.md", MARKDOWN, "docs 1 twin, docs 2 goes on, docs 14 anew, docs 17 torn"),
        ("README.md", SENTENCES, f"sentences 2 A; b; c. ..., sentences 4 {LONG[:49]} ..."),
        ("configs/x.yaml", YAML, "configs 1 goes on, configs 5 twin, configs 6 corner, configs 8 anew, configs 11 torn"),
        (
            "resexp/cli/x.py",
            PYTHON,
            "comments 3 corner, docstrings 1 goes on, messages 5 } %, messages 6 torn, messages 12 anew",
        ),
        ("tests/x.py", PYTHON, "comments 3 corner, docstrings 1 goes on, docstrings 12 anew"),
        ("resexp/templates/x.j2", TEMPLATE, "templates 3 } %, templates 4 What is"),
        ("docs/x.ipynb", json.dumps({"cells": CELLS}, indent=1), "notebook 13 twin"),
    ],
)
def test_prose_is_checked_and_code_is_not(name, source, expected):
    hits = sorted(findings(Path(name), source.replace("OK", "style: ok (a quotation)")), key=lambda hit: (hit.group, hit.line))

    assert ", ".join(f"{hit.group} {hit.line} {' '.join(hit.match.split())}" for hit in hits) == expected


def parameters(command, name="resexp"):
    for parameter in command.params:
        yield f"{name} {parameter.opts[0]}", parameter.help or ""
    for child, subcommand in getattr(command, "commands", {}).items():
        yield from parameters(subcommand, f"{name} {child}")


def test_help_of_every_option_is_one_short_sentence(program):
    helps = dict(parameters(program))
    odd = {name: text for name, text in helps.items() if len(text) > 100 or not re.fullmatch(r"(?s)[A-Z'\"`].*[^.]\.", text)}

    assert "resexp train --jobs" in helps
    assert not odd


def test_readme_package_and_help_mention_skip_connections(program):
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


@pytest.mark.parametrize("section", ["Install", "Quick start", "What it measures", "Commands", "Alternatives", "Citing"])
def test_readme_has_the_section(section):
    assert re.search(rf"^## {section}\b", read(Path("README.md")), re.MULTILINE | re.IGNORECASE)


def test_a_legend_of_every_column_follows_the_transcript_in_readme():
    pattern = r"<!-- begin transcript -->(.*?)<!-- end transcript -->(.*?)^(?:#|<)"
    transcript, legend = re.search(pattern, read(Path("README.md")), re.MULTILINE | re.DOTALL).groups()
    columns = re.split(r"\s{2,}", next(part for part in transcript.split("\n\n") if "accuracy" in part).strip())

    assert {"arm", "above chance", "accuracy"} <= set(columns)
    assert not [word for word in [*columns, "±", "negative", "positive"] if word.lower() not in legend.lower()]


def bound_names(tree):
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.FunctionDef(name=name):
                yield name


def test_local_variables_have_no_catch_all_names():
    catch_all = Counter(
        path.as_posix()
        for path in EVERYTHING
        if path.suffix == ".py"
        for name in bound_names(ast.parse(read(path)))
        if name in CATCH_ALL
    )

    assert catch_all.total() <= 20, catch_all


def test_file_stems_are_unique():
    stems = Counter(path.stem for path in (ROOT / "resexp").rglob("*.py") if not path.stem.startswith("__"))

    assert not [stem for stem, count in stems.items() if count > 1]


def test_modules_do_not_shadow_the_standard_library():
    modules = {path.stem for path in (ROOT / "resexp").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}

    assert not modules & sys.stdlib_module_names


if __name__ == "__main__":
    sys.stdout.write(report(files(*map(Path, sys.argv[1:]))) + "\n")
