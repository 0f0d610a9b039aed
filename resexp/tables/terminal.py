"""Lines of text for a terminal of 80 columns."""

import math
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 80
BAR_WIDTH, DARKEST = 16, -6.0  # characters of a chart in a line; log10 of the relative norm at which it is blank
SHADES = " ▁▂▃▄▅▆▇█"


def fitted(lines: Iterable[str]) -> list[str]:
    """The same lines; long lines continue on the next line, indented by two more spaces."""
    return [part for line in lines for part in (_parts(line) if len(line) > WIDTH else [line])]


def _parts(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def shade_levels(norms: Sequence[float], full: float) -> list[float]:
    """A norm at up to 16 block boundaries, input first, on a log scale: 1 is `full` or more, 0 is 1e-6 of it or less.

    Empty if `full` is 0 or not finite.
    """
    if not (full > 0 and math.isfinite(full)):
        return []
    count = min(BAR_WIDTH, len(norms))
    chosen = [norms[round(n * (len(norms) - 1) / max(1, count - 1))] for n in range(count)]
    log_ratios = [math.log10(value) - math.log10(full) if value > 0 and math.isfinite(value) else DARKEST for value in chosen]
    return [1 - min(1.0, max(0.0, value / DARKEST)) for value in log_ratios]


def shade(level: float) -> str:
    """The block character of a level from 0 to 1."""
    return SHADES[round(level * (len(SHADES) - 1))]
