"""docs/tutorials: the commands of each page run in order and print what the page shows. docs/how-to: every command is accepted.

A page shows a session in blocks for a console. A line that begins with `$ ` is a command, the lines after it are its output,
and a line `...` replaces output that is left out. The first line of a Python block can name its file: `# net.py` writes it,
`# net.py, continued` appends to it.
"""

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
GUIDES = sorted(DOCS.glob("how-to/*.md"))
SHORTER = {  # (page, command) -> a shorter training that prints the same words
    ("first-comparison", "train digits"): ("seeds=2",),
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
TRAINED = r"- (At depth|Training error|Best settings) .*?(?= - |$)|,? ?\(?\d+ at chance\)?"


def pieces(output: str) -> list[str]:
    """The parts of an output between omissions, without numbers, charts and results that depend on the machine."""
    text = re.sub(TRAINED, " ... ", " ".join(output.split()))
    text = re.sub(r"[▁▂▃▄▅▆▇█]+", " ", text)
    text = re.sub(r"([+-])\d\d\.\d (?=\[)", r"\1# ", text)  # the sign of a large difference
    text = re.sub(r"[+-]?\d[\d.,]*(e[+-]?\d+)?", "#", text.replace("]*", "]"))
    return [" ".join(piece.split()) for piece in text.split("...") if piece.strip()]


def test_output_is_compared_without_numbers():
    shown = "a  12.3 ± 0.1\n  b  -1e-5 [-2, 3]*  -12.0 [3]\n...\n- At depth 64, x rose.\n- Next: y\n"
    printed = "- At depth 8, x fell. - Next: y 0 of 6 trials, 3 at chance; z ▂▄"

    assert pieces(shown) == ["a # ± # b # [#, #] -# [#]", "- Next: y"]
    assert pieces(printed) == ["- Next: y # of # trials", "; z"]


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

    def answer(command: str, page: str) -> str:
        nonlocal status
        program, *words = shlex.split(command)
        with new_process(tmp_path):
            if program == "echo":
                return f"{status}\n"
            if program == "python":
                monkeypatch.setattr(sys, "argv", words)
                runpy.run_path(words[0], run_name="__main__")
                return capsys.readouterr().out
            assert program == "resexp"
            status, out, err = call(*words, *SHORTER.get((page, " ".join(words[:2])), ()))
            return f"{err}\n{out}\n{err}"  # a page shows one of them first

    return answer


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


def check(page: Path, run: Callable[[str, str], str]) -> None:
    """Every command of a page prints what is shown after it, in this order."""
    for block in blocks(page):
        if block.language == "python":
            write(block)
        for command, shown in sessions(block.text) if block.language == "console" else ():
            printed = run(command, page.stem)
            end = 0
            output = "...".join(pieces(printed))
            for piece in pieces(shown):
                start = output.find(piece, end)
                assert start >= 0, f"{page.name}: {command}\nis not printed: {piece}\n\n{printed}"
                end = start + len(piece)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_command_of_a_tutorial_prints_what_the_page_shows(page, session):
    check(page, session)
