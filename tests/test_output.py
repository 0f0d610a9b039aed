"""Output streams: characters missing from an encoding are replaced, a closed pipe ends the program, -o selects the file."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
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
def trained_runs(tiny_runs: Callable[..., Path]) -> Path:
    """runs/ with tiny.yaml, trained with a question in Cyrillic and Chinese."""
    return tiny_runs("seeds=2", f"question={QUESTION!r}")


def encoded(monkeypatch: pytest.MonkeyPatch, encoding: str) -> tuple[io.BytesIO, io.BytesIO]:
    """Replaces both streams by strict ones with an encoding, as a shell sets them up; returns the bytes written to them."""
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
def test_a_command_works_with_every_encoding(
    command: list[str], encoding: str, in_process: None, call: Program, trained_runs: Path, tmp_path: Path, monkeypatch: Any
):
    folder = ["--to", str(tmp_path), "--runs", trained_runs] if command[0] == "export" else ["--runs", trained_runs]
    out, err = encoded(monkeypatch, encoding)
    code = call(*command, *(folder if command[0] != "show" else [])).code

    written = out.getvalue().decode("utf-8" if command == ["report", "tiny", "-o", "-"] else encoding)
    assert code == (2 if QUESTION in command else 0)
    assert bool(written) == (code == 0)
    assert "Traceback" not in err.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_the_help_works_with_every_encoding(command: list[str], encoding: str, call: Program, monkeypatch: pytest.MonkeyPatch):
    out, _ = encoded(monkeypatch, encoding)

    assert call(*command, "--help").code == 0
    assert "Usage" in out.getvalue().decode(encoding)


def test_a_table_changes_only_in_characters_that_the_encoding_lacks(
    in_process: None, call: Program, trained_runs: Path, monkeypatch: pytest.MonkeyPatch
):
    table = call("compare", "tiny", "--runs", trained_runs).out
    shown = {}
    for encoding in ("ascii", "cp1252"):
        out, _ = encoded(monkeypatch, encoding)
        call("compare", "tiny", "--runs", trained_runs)
        shown[encoding] = out.getvalue().decode(encoding)

    in_cp1252 = "".join(letter if ord(letter) < 256 else "?" for letter in table)
    assert (QUESTION in table, "±" in table) == (True, True)
    assert shown["cp1252"] == in_cp1252
    assert shown["ascii"] == in_cp1252.replace("±", "+-")


def test_every_printed_character_has_an_ascii_substitute():
    assert all(text.isascii() and text.isprintable() for text in output.SUBSTITUTES.values())
    assert set(SHADES) - {" "} <= output.SUBSTITUTES.keys()
    assert set("±→█") <= output.SUBSTITUTES.keys()


def test_output_to_a_closed_stream_is_discarded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", None)
    output.prepare_streams()
    with sys.stdout:
        program.print_result("a result")


# ---- a closed pipe -----------------------------------------------------------------------------------------------------------


def with_stdout(stdout: Any, *arguments: str) -> Answer:
    """The program in a process with this stdout."""
    command = [sys.executable, "-m", "resexp", *arguments]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    return Answer(done.returncode, "", done.stderr)


@pytest.mark.parametrize("arguments", [["schema"], ["--version"], ["--help"], ["watch", "tiny"]], ids=" ".join)
def test_a_closed_pipe_ends_the_program_without_a_message(arguments: list[str], trained_runs: Path):
    read, write = os.pipe()
    os.close(read)
    answer = with_stdout(write, *arguments, *(["--runs", str(trained_runs)] if arguments[0] == "watch" else []))
    os.close(write)

    assert answer == (1, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_stdout_on_a_full_disk_gives_one_line():
    with Path("/dev/full").open("w") as full:
        assert with_stdout(full, "--version") == (1, "", "resexp: No space left on device\n")


# ---- report -o ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "file_name", "beginning"),
    [
        pytest.param(["-o", "{}/x.html"], "x.html", "<!doctype html>", id="HTML by extension"),
        pytest.param(["-o", "{}/x.md"], "x.md", f"# {QUESTION}", id="Markdown by extension"),
        pytest.param(["-o", "{}/x.txt"], "x.txt", QUESTION, id="text by extension"),
        pytest.param(["-o", "{}/x", "--format", "md"], "x", f"# {QUESTION}", id="Markdown by option"),
        pytest.param(["-o", "{}/x"], "x", "<!doctype html>", id="no extension"),
        pytest.param(["-o", "{}"], "report.html", "<!doctype html>", id="a folder"),
        pytest.param(["-o", "{}", "--format", "text"], "report.txt", QUESTION, id="text to a folder"),
    ],
)
def test_the_format_of_a_report_follows_its_file_name(
    options: list[str], file_name: str, beginning: str, call: Any, trained_runs: Path, tmp_path: Path
):
    answer = call("report", "tiny", "--runs", trained_runs, *[option.format(tmp_path) for option in options])

    assert answer == (0, f"{tmp_path / file_name}\n", "")
    assert (tmp_path / file_name).read_text(encoding="utf-8").startswith(beginning)
    assert [path.name for path in tmp_path.iterdir()] == [file_name]


@pytest.mark.parametrize("form", ["html", "md", "text"])
def test_a_report_on_stdout_equals_the_one_in_a_file(
    form: str, call: Any, trained_runs: Path, tmp_path: Path, monkeypatch: Any
):
    monkeypatch.chdir(tmp_path)
    call("report", "tiny", "--runs", trained_runs, "--format", form, "-o", "file")
    answer = call("report", "tiny", "--runs", trained_runs, "--format", form, "-o", "-")

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
def test_an_unsupported_report_is_refused(
    options: list[str], words: list[str], call: Any, trained_runs: Path, tmp_path: Path, monkeypatch: Any
):
    monkeypatch.chdir(tmp_path)
    answer = call("report", "tiny", "--runs", trained_runs, *options)

    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert [word for word in words if word not in answer.err] == []
    assert list(tmp_path.iterdir()) == []
