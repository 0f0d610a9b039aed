"""Lines of text for a terminal of 80 columns."""

import textwrap
from collections.abc import Iterable

WIDTH = 80


def fitted(lines: Iterable[str]) -> list[str]:
    """The same lines; one that is too long goes on in the next, two columns further in than it began."""
    return [part for line in lines for part in (_parts(line) if len(line) > WIDTH else [line])]


def _parts(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
