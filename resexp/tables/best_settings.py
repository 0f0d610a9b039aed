"""The table of each arm at its best setting: one row for each arm of each comparison of two selections."""

from dataclasses import dataclass

from resexp.comparison import Choice, Comparison, TunedComparison
from resexp.tables.formats import accuracy_text, choice_text, tuned_text
from resexp.tables.labels import label_text
from resexp.tables.model import Column, Table

SELECTED = "selected by mean validation accuracy of one half of the seeds, reported on the other"


@dataclass(frozen=True)
class ChoiceRow:
    """A selected setting, of the plain or of the residual arm of a comparison."""

    comparison: TunedComparison
    choice: Choice


def best_settings(comparison: Comparison) -> Table[ChoiceRow]:
    """Two rows for each comparison: plain, then the residual arm with its difference."""
    metric, resolution = comparison.metric, comparison.resolution
    keys = ", ".join(comparison.tuned_keys) if comparison.tuned_keys else "setting"

    def difference(row: ChoiceRow) -> str:
        return "" if row.choice is row.comparison.plain else tuned_text(row.comparison, metric, resolution)

    def group(row: ChoiceRow) -> str:
        return f"{label_text(row.comparison.label)}{f', {row.comparison.how}' if comparison.tuned_keys else ''}"

    return Table(
        title=f"Each at its best {keys}, difference [95% CI]",
        columns=[
            Column("arm", lambda row: row.choice.arm, "arm", arm=True),
            Column(
                "accuracy (%)" if metric.percent else "mean", lambda row: accuracy_text(row.choice.summary, metric), "±",
                number=True,
            ),
            Column(
                f"residual - plain{', points' if metric.percent else ''} [95% CI]", difference, "95% CI", number=True
            ),
            Column("setting", lambda row: choice_text(row.choice), f"Settings are {SELECTED}."),
        ],
        rows=[ChoiceRow(row, choice) for row in comparison.tuned for choice in (row.plain, row.residual)],
        group=Column("configuration", group),
    )  # fmt: skip
