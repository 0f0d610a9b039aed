"""Weight gradients at the first and the last weighted layer, and their growth, as lines for a terminal of 80 columns."""

from collections.abc import Sequence
from itertools import groupby

from resexp.comparison import LayerGradients
from resexp.tables.definitions import legend
from resexp.tables.labels import label_text
from resexp.tables.terminal import fitted

NOTES = (
    "first, last: norm of the weight gradient dL/dW at the first and the last weighted layer, geometric mean over seeds",
    "-: 0 or not finite",
)
FORM = "  {:<12} {:<17} {:>8} {:>8}  {}"
MAX_NAME = 12  # characters of an arm's name in the row of its numbers


def by_layer_lines(rows: Sequence[LayerGradients]) -> list[str]:
    """The table of `resexp compare --by-layer`: a row for each arm and moment of each configuration."""
    if not rows:
        return ["No weight gradients were logged. Add gradient_norm to gradients.probes and train."]
    lines = [
        "Weight gradients by layer",
        *NOTES,
        *legend("layer growth"),
        "",
        FORM.format("arm", "", "first", "last", "growth [95% CI]"),
    ]
    for label, cell_rows in groupby(rows, key=lambda row: label_text(row.label)):
        lines += ["", label]
        for arm, arm_rows in groupby(cell_rows, key=lambda row: row.arm):
            lines += [f"  {arm}"] if len(arm) > MAX_NAME else []
            for index, row in enumerate(arm_rows):
                name = arm if index == 0 and len(arm) <= MAX_NAME else ""
                lines.append(FORM.format(name, row.moment, *map(norm_text, row.ends), layer_growth_text(row)))
    return fitted(lines)


def norm_text(norm: float | None) -> str:
    """'1.6e-31'; '-' without a positive finite norm."""
    return "-" if norm is None else f"{norm:.1e}"


def layer_growth_text(row: LayerGradients) -> str:
    """'-9.52 [-9.60, -9.44]'; '-' if a norm of each seed is 0 or not finite."""
    if row.growth is None:
        return "-"
    ends = "" if row.growth.low is None else f" [{row.growth.low:+.2f}, {row.growth.high:+.2f}]"
    return f"{row.growth.mean:+.2f}{ends}"
