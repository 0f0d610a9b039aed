"""docs/tutorials: the commands of each page run in order and print what the page shows.

A page shows a session in blocks for a console. A line that begins with `$ ` is a command, the lines after it are its output,
and a line `...` replaces output that is left out. The first line of a Python block can name its file: `# net.py` writes it,
`# net.py, continued` appends to it.
"""

import glob
import io
import json
import os
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

import resexp
from resexp import config, extensions

DOCS = Path(__file__).parent.parent / "docs"
TUTORIALS = sorted(DOCS.glob("tutorials/*.md"))
SHORTER = {  # (page, command) -> a shorter training that prints the same words
    ("first-comparison", "train digits"): ("seeds=2", "epochs=10"),
    ("lesson", "train lesson"): ("training.steps=2",),
    ("read-the-report", "train digits"): ("depth=8", "seeds=1", "training.steps=2"),
}


class Block(NamedTuple):
    """A fenced block: its language and its text."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(*match) for match in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]


def sessions(text: str) -> list[tuple[str, str]]:
    """(command, shown output) of a console block."""
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)


# Sentences and counts that follow from training. They are equal on most machines, but not on all.
TRAINED = r"- (At depth|Training error|Best settings) .*?(?= - |$)"
AT_CHANCE = r",? ?\(?\d+ at chance\)?"
LARGE = r"([+-])\d\d\.\d (?=\[)"  # a difference of ten points or more; its sign does not depend on the machine


def pieces(output: str, *, signs: bool) -> list[str]:
    """The parts of an output between omissions, without numbers, charts and results that depend on the machine."""
    text = re.sub(TRAINED, " ... ", re.sub(AT_CHANCE, "", " ".join(output.split())))
    text = re.sub(r"[▁▂▃▄▅▆▇█]+", " ", text)
    text = re.sub(LARGE, r"\1# ", text) if signs else text
    text = re.sub(r"[+-]?\d+([.,]\d+)*(e[+-]?\d+)?", "#", text.replace("]*", "]"))
    return [" ".join(piece.split()) for piece in text.split("...") if piece.strip()]


def test_output_is_compared_without_numbers():
    shown = "a  12.3 ± 0.1\n  b  -1e-5 [-2, 3]*  -12.0 [3]\n...\n- At depth 64, x rose.\n- Next: y\n"
    printed = "- At depth 8, x fell. - Next: y 0 of 6 trials, 3 at chance; z ▂▄"

    assert pieces(shown, signs=True) == ["a # ± # b # [#, #] -# [#]", "- Next: y"]
    assert pieces(shown, signs=False) == ["a # ± # b # [#, #] # [#]", "- Next: y"]
    assert pieces(printed, signs=True) == ["- Next: y # of # trials; z"]


class Keyboard(io.StringIO):
    """An input that shows what is typed, after a prompt."""

    def readline(self, size: int | None = -1, /) -> str:
        line = super().readline(size)
        sys.stderr.write(f"> {line}")
        return line


def write(block: Block) -> None:
    """Writes a block of Python that begins with the name of its file."""
    if match := re.match(r"# (\w+\.py)(, continued)?\n", block.text):
        path = Path(match[1])
        path.write_text((f"{path.read_text()}\n\n{block.text}" if match[2] else block.text), encoding="utf-8")


@pytest.fixture
def session(call, in_process, capsys, tmp_path, monkeypatch):
    """Runs a command of a page in an empty folder; returns the exit status and everything that was printed."""
    monkeypatch.chdir(tmp_path)
    status = 0

    def answer(command: str, page: str, typed: str) -> str:
        nonlocal status
        program, *words = expanded(shlex.split(command))
        with new_process(tmp_path):
            if program == "echo":
                return f"{status}\n"
            if program == "python":
                return f"{python(words, monkeypatch)}{capsys.readouterr().out}"
            assert program == "resexp"
            monkeypatch.setattr(sys, "stdin", Keyboard(typed))
            status, out, err = call(*words, *SHORTER.get((page, " ".join(words[:2])), ()))
            return f"{err}\n{out}\n{err}"  # a page shows one of them first

    return answer


def expanded(words: list[str]) -> list[str]:
    """The words with patterns replaced by the paths that match them, as in a shell."""
    return [path for word in words for path in (sorted(glob.glob(word)) if word.endswith("/*") else [word])]  # noqa: PTH207


def python(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a file, or a module after -m."""
    is_module = words[0] == "-m"
    monkeypatch.setattr(sys, "argv", words[is_module:])
    (runpy.run_module if is_module else runpy.run_path)(words[is_module], run_name="__main__")
    return ""


@contextmanager
def new_process(folder: Path) -> Iterator[None]:
    """Imports from `folder`, and afterwards forgets what was imported."""
    with (
        patch.dict(resexp.SHORTCUTS),
        patch.dict(resexp.SHORTCUT_PROPERTIES),
        patch.dict(config.CUSTOM_NAMES),
        patch.dict(os.environ, {extensions.VARIABLE: ""}),
        patch.object(sys, "path", [str(folder), *sys.path]),
    ):
        yield
    extensions._imported.cache_clear()
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == folder:
            del sys.modules[name]


def check(page: Path, run: Callable[[str, str, str], str]) -> None:
    """Every command of a page prints what is shown after it, in this order."""
    for block in blocks(page):
        if block.language == "python":
            write(block)
        for command, shown in sessions(block.text) if block.language == "console" else ():
            typed = "".join(re.findall(r"^> (.*\n)", shown, re.MULTILINE)) or "1\n1\n1\n"
            printed = run(command, page.stem, typed)
            end, signs = 0, page.stem == "first-comparison"
            output = "...".join(pieces(printed, signs=signs))
            for piece in pieces(shown, signs=signs):
                start = output.find(piece, end)
                assert start >= 0, f"{page.name}: {command}\nis not printed: {piece}\n\n{printed}"
                end = start + len(piece)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_command_of_a_tutorial_prints_what_the_page_shows(page, session):
    check(page, session)


def test_the_page_on_the_report_has_the_committed_numbers():
    demo = json.loads((DOCS / "demo.json").read_text(encoding="utf-8"))
    differences = [arm["difference"] for cell in demo["cells"] for arm in cell["arms"] if arm["difference"]]
    differences += [row["difference"] for row in demo["best_settings"]]
    intervals = {tuple(round(100 * value[key], 1) for key in ("mean", "low", "high")) for value in differences}
    page = (DOCS / "tutorials" / "read-the-report.md").read_text(encoding="utf-8")
    quoted = re.findall(r"([+-][\d.]+) \[([+-][\d.]+),\s+([+-][\d.]+)\]", page)

    assert len(quoted) == 3
    assert {tuple(map(float, values)) for values in quoted} <= intervals
