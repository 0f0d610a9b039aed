"""The streams of the program: they show what their encoding can show, and a reader that is gone is no error of ours."""

import codecs
import io
import os
import sys
from typing import Any, NoReturn, TextIO

from typer.core import TyperGroup

# What an encoding without the character shows instead; every other character becomes a question mark.
SUBSTITUTES = {
    "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "—": "-", "±": "+-", "\N{MULTIPLICATION SIGN}": "x", "≤": "<=", "≥": ">=",
    "→": "->", "←": "<-", "·": ".", "…": "...", "•": "*", "“": '"', "”": '"',
    "\N{LEFT SINGLE QUOTATION MARK}": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "░": ".", "▒": "+", "▓": "*", **dict(zip("▁▂▃▄▅▆▇█", ".:-=+*%#", strict=True)),
}  # fmt: skip


def substituted(error: UnicodeError) -> tuple[str, int]:
    """The error handler of `prepare_streams`: see codecs.register_error."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(SUBSTITUTES.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


def prepare_streams() -> None:
    """Has both streams substitute what they cannot encode; one that is closed is written to nowhere."""
    codecs.register_error("resexp", substituted)
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open as long as the program
        elif hasattr(stream, "reconfigure"):  # whoever calls us may have put any object there
            stream.reconfigure(errors="resexp")


def write(text: str, encoding: str | None = None) -> None:
    """Writes to stdout at once, in its own encoding or in another; ends the program where its reader has seen enough."""
    try:
        if encoding and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding=encoding)
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _end()


def _end() -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed when Python ends
    sys.exit(1)


class Commands(TyperGroup):
    """The commands. Typer takes every broken pipe for a closed stdout, every end of file for Ctrl-D; here neither is one."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, EOFError) as error:
            raise ConnectionError(f"a process or server that resexp talks to has ended ({type(error).__name__})") from error
