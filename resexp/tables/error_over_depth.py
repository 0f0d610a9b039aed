"""The table of training error over depth: which arms degrade, and how much degradation the shortcut avoids."""

from dataclasses import asdict

from resexp.comparison import Comparison, DepthTrend
from resexp.inference.degradation import RULES
from resexp.tables.budget import budget_text
from resexp.tables.colors import verdict_tone
from resexp.tables.definitions import legend
from resexp.tables.formats import (
    bound_text,
    closing_text,
    difference_text,
    ends_text,
    percent,
    rise_text,
    slope_text,
    verdict_text,
)
from resexp.tables.labels import label_text
from resexp.tables.model import Column, Table, lines_text


def error_over_depth(comparison: Comparison) -> Table[DepthTrend]:
    """One row for each arm under each condition; the depths are in the title if all rows compare the same ones."""
    shared = _shared_ends(comparison)

    def rise(row: DepthTrend) -> str:
        ends = ends_text(row)
        return lines_text(rise_text(row), "" if ends == shared else ends, bound_text(row))

    budget = budget_text(comparison)
    after, depths = f" after {budget}" if budget else "", shared or "deepest - best shallower depth"
    return Table(
        title=f"Training error{after}, {depths}, points [95% CI], margin {percent(comparison.margin)}",
        columns=[
            Column("arm", lambda row: row.arm, "arm", arm=True),
            Column(
                "verdict", lambda row: lines_text(verdict_text(row), closing_text(row)),
                tone=lambda row: verdict_tone(row.degradation.verdict),
                meaning=lambda row: (str(row.degradation.verdict), RULES[row.degradation.verdict]),
            ),
            Column("training error, points [95% CI]", rise, "train error", number=True),
            Column(
                "degradation avoided vs plain, points [95% CI]", lambda row: difference_text(row.reduction),
                "degradation avoided", number=True,
            ),
            Column("slope at init", lambda row: slope_text(row.slope), "slope", number=True),
        ],
        rows=comparison.depths,
        group=Column("condition", lambda row: label_text(row.condition)),
        notes=legend("degradation avoided", "margin"),
        record=lambda row: {**asdict(row), "closing": row.closing},
    )  # fmt: skip


def _shared_ends(comparison: Comparison) -> str:
    """The depths that all rows with an interval compare; '' if they compare different ones."""
    ends = {ends_text(row) for row in comparison.depths if row.degradation.contrast}
    return ends.pop() if len(ends) == 1 else ""
