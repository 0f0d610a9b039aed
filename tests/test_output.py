"""Output streams: characters that an encoding lacks are replaced, a closed pipe ends the program, -o writes to its target."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import Answer, Program

from resexp import cli
from resexp.cli import output, program
from resexp.tables.terminal import SHADES

QUESTION = "Помогает ли shortcut? 残差有用吗?"
ENCODINGS = ["ascii", "cp1252"]
COMMANDS = [command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback]


@pytest.fixture(scope="module")
def asked(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with tiny.yaml, trained under a question in Cyrillic and Chinese."""
    folder = tmp_path_factory.mktemp("asked") / "runs"
    command = [sys.executable, "-m", "resexp", "train", str(tiny_file), "seeds=2", f"question={QUESTION!r}", "--jobs", "1"]
    subprocess.run([*command, "--quiet", "--runs", str(folder)], check=True, timeout=120, capture_output=True)
    return folder


def encoded(monkeypatch: pytest.MonkeyPatch, encoding: str) -> tuple[io.BytesIO, io.BytesIO]:
    """Streams as a shell gives them, strict and of an encoding; returns what is written to them."""
    streams = io.BytesIO(), io.BytesIO()
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding=encoding, errors="strict", write_through=True))
    return streams


# ---- encodings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "command",
    [
        ["compare", "tiny"],
        ["compare", "tiny", "--format", "md"],
        ["compare", "tiny", "--format", "csv"],
        ["compare", "tiny", "--format", "json"],
        ["compare", "tiny", "--format", "tex"],
        ["compare", "tiny", "--by-image", "--p-values"],
        ["report", "tiny", "-o", "-"],
        ["report", "tiny", "-o", "-", "--format", "text"],
        ["report", "tiny", "-o", "-", "--format", "md"],
        ["watch", "tiny"],
        ["export", "tensorboard", "tiny"],
        ["show", QUESTION],
        ["compare", QUESTION],
    ],
    ids=" ".join,
)
def test_no_encoding_ends_a_command(
    command: list[str], encoding: str, in_process: None, call: Program, asked: Path, tmp_path: Path, monkeypatch: Any
):
    folder = ["--to", str(tmp_path), "--runs", asked] if command[0] == "export" else ["--runs", asked]
    out, err = encoded(monkeypatch, encoding)
    code = call(*command, *(folder if command[0] != "show" else [])).code

    written = out.getvalue().decode("utf-8" if command == ["report", "tiny", "-o", "-"] else encoding)
    assert code == (2 if QUESTION in command else 0)
    assert bool(written) == (code == 0)
    assert "Traceback" not in err.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_no_encoding_ends_the_help(command: list[str], encoding: str, call: Program, monkeypatch: pytest.MonkeyPatch):
    out, _ = encoded(monkeypatch, encoding)

    assert call(*command, "--help").code == 0
    assert "Usage" in out.getvalue().decode(encoding)


def test_a_table_is_as_it_was_but_for_what_cannot_be_shown(
    in_process: None, call: Program, asked: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = call("compare", "tiny", "--runs", asked).out
    shown = {}
    for encoding in ("ascii", "cp1252"):
        out, _ = encoded(monkeypatch, encoding)
        call("compare", "tiny", "--runs", asked)
        shown[encoding] = out.getvalue().decode(encoding)

    in_cp1252 = "".join(letter if ord(letter) < 256 else "?" for letter in whole)
    assert (QUESTION in whole, "±" in whole) == (True, True)
    assert shown["cp1252"] == in_cp1252
    assert shown["ascii"] == in_cp1252.replace("±", "+-")


def test_every_character_that_we_print_has_a_substitute_of_ascii():
    assert all(text.isascii() and text.isprintable() for text in output.SUBSTITUTES.values())
    assert set(SHADES) - {" "} <= output.SUBSTITUTES.keys()
    assert set("±→█") <= output.SUBSTITUTES.keys()


def test_a_closed_stream_is_written_to_nowhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", None)
    output.prepare_streams()
    with sys.stdout:
        program.print_result("a result")


# ---- a reader that is gone ---------------------------------------------------------------------------------------------------


def to_nobody(*arguments: str) -> Answer:
    """The program with a stdout whose reader is gone before it begins."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "resexp", *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    os.close(write)
    return Answer(done.returncode, "", done.stderr)


@pytest.mark.parametrize("arguments", [["schema"], ["--version"], ["--help"], ["watch", "tiny"]], ids=" ".join)
def test_who_has_seen_enough_is_told_nothing(arguments: list[str], asked: Path):
    answer = to_nobody(*arguments, *(["--runs", str(asked)] if arguments[0] == "watch" else []))

    assert answer == (1, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_behind_stdout_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "resexp", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )

    assert (done.returncode, done.stderr) == (1, "resexp: No space left on device\n")


# ---- report -o ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "written", "begins"),
    [
        pytest.param(["-o", "{}/x.html"], "x.html", "<!doctype html>", id="html by its ending"),
        pytest.param(["-o", "{}/x.md"], "x.md", f"# {QUESTION}", id="Markdown by its ending"),
        pytest.param(["-o", "{}/x.txt"], "x.txt", QUESTION, id="text by its ending"),
        pytest.param(["-o", "{}/x", "--format", "md"], "x", f"# {QUESTION}", id="Markdown by option"),
        pytest.param(["-o", "{}/x"], "x", "<!doctype html>", id="no ending"),
        pytest.param(["-o", "{}"], "report.html", "<!doctype html>", id="a folder"),
        pytest.param(["-o", "{}", "--format", "text"], "report.txt", QUESTION, id="text into a folder"),
    ],
)
def test_a_report_is_what_its_name_says(options: list[str], written: str, begins: str, call: Any, asked: Path, tmp_path: Path):
    answer = call("report", "tiny", "--runs", asked, *[option.format(tmp_path) for option in options])

    assert answer == (0, f"{tmp_path / written}\n", "")
    assert (tmp_path / written).read_text(encoding="utf-8").startswith(begins)
    assert [path.name for path in tmp_path.iterdir()] == [written]


@pytest.mark.parametrize("form", ["html", "md", "text"])
def test_a_report_to_stdout_is_the_one_of_a_file_and_leaves_none(
    form: str, call: Any, asked: Path, tmp_path: Path, monkeypatch: Any
):
    monkeypatch.chdir(tmp_path)
    call("report", "tiny", "--runs", asked, "--format", form, "-o", "file")
    answer = call("report", "tiny", "--runs", asked, "--format", form, "-o", "-")

    assert answer == (0, Path("file").read_text(encoding="utf-8"), "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "x.pdf"], ["x.pdf", "--figures pdf"]),
        (["-o", "x.PDF", "--format", "html"], ["x.PDF", "--figures pdf"]),
        (["-o", "x.docx"], [".docx", ".html", "--format"]),
        (["-o", "x.md", "--format", "html"], ["x.md", "--format"]),
        (["-o", "-", "--figures", "png"], ["--figures", "-o FILE"]),
        (["-o", "-", "--open"], ["--open", "-o FILE"]),
    ],
    ids=" ".join,
)
def test_what_a_report_cannot_be_is_refused(
    options: list[str], words: list[str], call: Any, asked: Path, tmp_path: Path, monkeypatch: Any
):
    monkeypatch.chdir(tmp_path)
    answer = call("report", "tiny", "--runs", asked, *options)

    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert [word for word in words if word not in answer.err] == []
    assert list(tmp_path.iterdir()) == []
