"""Validation error without one block, from `resexp dissect`."""

import altair as alt

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import PANEL, color, depth_choice, paneled, tooltips, validation_error


def _chart(data: FigureData) -> alt.FacetChart:
    frame = data.ablations["lesion"]
    rows = frame[["condition", "arm", "depth", "seed", "index", "block", "without", "val_error"]]
    base = alt.Chart(rows).transform_filter("datum.depth == depth_shown").encode(color=color(rows, data.frames.arms))
    without = base.transform_filter("datum.index > 0").encode(
        x=alt.X(
            "index:Q",
            title="removed block (1 = nearest to the input)",
            scale=alt.Scale(zero=False, nice=False, padding=12),
            axis=alt.Axis(tickMinStep=1, grid=False),
        )
    )
    title = "validation error"
    tips = [*tooltips("arm:N", "seed:Q", "block:N", "without:N"), alt.Tooltip("val_error:Q", format=".2%")]
    dots = without.mark_circle(size=30, opacity=0.5).encode(y=validation_error(title), tooltip=tips)
    lines = without.mark_line(strokeWidth=2).encode(y=alt.Y("mean(val_error):Q", title=title))
    intact = (
        base.transform_filter("datum.index == 0").mark_rule(strokeDash=[4, 3]).encode(y=alt.Y("mean(val_error):Q", title=title))
    )
    panels = paneled((lines + dots + intact).properties(width=PANEL, height=190), rows)
    figure: alt.FacetChart = panels.add_params(depth_choice(rows))
    return figure


LESION = Figure(
    section=Section.ABLATION,
    question="How much does a trained network's error rise when one block is removed?",
    caption=(
        "Validation error without one block's branch. Dots are seeds, lines their means, dashed lines the intact "
        "networks. A block without a shortcut is replaced by the identity. If it also changes shapes, it cannot be "
        "removed and has no dot."
    ),
    chart=_chart,
    condition=lambda data: not data.ablations["lesion"].empty,
)
