"""Output streams. Characters missing from the encoding are replaced, and a closed pipe is not an error."""

import codecs
import io
import os
import sys
from typing import Any, NoReturn, TextIO

from typer.core import TyperGroup

# Substitutes for characters that an encoding lacks; every other such character becomes a question mark.
SUBSTITUTES = {
    "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "—": "-", "±": "+-", "\N{MULTIPLICATION SIGN}": "x", "≤": "<=", "≥": ">=",
    "→": "->", "←": "<-", "·": ".", "…": "...", "•": "*", "“": '"', "”": '"',
    "\N{LEFT SINGLE QUOTATION MARK}": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "░": ".", "▒": "+", "▓": "*", **dict(zip("▁▂▃▄▅▆▇█", ".:-=+*%#", strict=True)),
}  # fmt: skip


def substituted(error: UnicodeError) -> tuple[str, int]:
    """The error handler of `prepare_streams`, see codecs.register_error."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(SUBSTITUTES.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


def prepare_streams() -> None:
    """Makes both streams replace characters that they cannot encode; output to a closed stream is discarded."""
    codecs.register_error("resexp", substituted)
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open until the program ends
        elif hasattr(stream, "reconfigure"):  # a caller may have replaced the stream with any object
            stream.reconfigure(errors="resexp")


def write(text: str, encoding: str | None = None) -> None:
    """Writes to stdout without buffering, in its own or another encoding; ends the program if the pipe is closed."""
    try:
        if encoding and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding=encoding)
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _end()


def _end() -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes the rest at exit
    sys.exit(1)


class Commands(TyperGroup):
    """The commands. Unlike Typer, it does not treat every broken pipe as a closed stdout, or every EOFError as Ctrl-D."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, EOFError) as error:
            raise ConnectionError(
                f"a process or server that resexp communicates with has ended ({type(error).__name__})"
            ) from error
