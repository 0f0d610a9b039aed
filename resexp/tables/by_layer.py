"""Weight gradients at the first and the last weighted layer, and their growth: one table for all formats."""

from collections.abc import Sequence

from resexp.comparison import LayerGradients
from resexp.tables.definitions import legend
from resexp.tables.labels import label_text
from resexp.tables.model import Column, Table
from resexp.tables.text_layout import plain_lines

ENDS = "Norm of the weight gradient dL/dW at that weighted layer, geometric mean over seeds; -: 0 or not finite."


def weight_gradients(rows: Sequence[LayerGradients]) -> Table[LayerGradients]:
    """One row for each arm, configuration and moment of training."""
    return Table(
        title="Weight gradients by layer",
        columns=[
            Column("arm", lambda row: row.arm, "arm", arm=True),
            Column("logging step", lambda row: row.moment),
            Column("|dL/dW|, first layer", lambda row: norm_text(row.ends[0]), ENDS, number=True),
            Column("|dL/dW|, last layer", lambda row: norm_text(row.ends[1]), ENDS, number=True),
            Column("growth [95% CI]", layer_growth_text, "layer growth", number=True),
        ],
        rows=rows,
        group=Column("configuration", lambda row: label_text(row.label)),
        notes=[f"|dL/dW|: {ENDS[:1].lower()}{ENDS[1:]}", *legend("layer growth")],
    )


def by_layer_lines(rows: Sequence[LayerGradients]) -> list[str]:
    """The table of `resexp compare --by-layer` for a terminal of 80 columns."""
    if not rows:
        return ["No weight gradients were logged. Add gradient_norm to gradients.probes and train."]
    table = weight_gradients(rows)
    return [table.title, "", *plain_lines(table)]


def norm_text(norm: float | None) -> str:
    """'1.6e-31'; '-' without a positive finite norm."""
    return "-" if norm is None else f"{norm:.1e}"


def layer_growth_text(row: LayerGradients) -> str:
    """'-9.52 [-9.60, -9.44]'; '-' if a norm of each seed is 0 or not finite."""
    if row.growth is None:
        return "-"
    ends = "" if row.growth.low is None else f" [{row.growth.low:+.2f}, {row.growth.high:+.2f}]"
    return f"{row.growth.mean:+.2f}{ends}"
