"""Gradient norm of the activations over blocks and steps."""

import altair as alt

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import CONDITION, PANEL, depth_choice


def _chart(data: FigureData) -> alt.FacetChart:
    rows = data.profiles.dropna(subset=["relative"]).round({"relative": 2}).drop(columns=["level", "block"])
    rows["relative"] = rows["relative"].clip(-8, 8)
    chart = (
        alt.Chart(rows)
        .transform_filter("datum.depth == depth_shown")
        .mark_rect()
        .encode(
            x=alt.X("step:O", title="training step (logging steps)", axis=alt.Axis(labelOverlap=True, ticks=False)),
            y=alt.Y("index:O", title="block boundary", axis=alt.Axis(labelOverlap=True, ticks=False)),
            color=alt.Color(
                "relative:Q",
                title="orders of magnitude",
                scale=alt.Scale(domain=[-8, -2, 0, 2, 8], range=["#000000", "#5b2a6e", "#e9e4da", "#c2571a", "#7a1f0d"]),
            ),
            tooltip=["arm:N", "step:Q", "index:Q", alt.Tooltip("relative:Q", format=".2f")],
        )
        .properties(width=PANEL, height=170)
    )
    conditions, arms = list(rows["condition"].unique()), list(rows["arm"].unique())
    row = alt.Row("condition:N", sort=conditions, title=None, header=alt.Header(labelExpr=CONDITION))
    panels = chart.facet(row=row, column=alt.Column("arm:N", sort=arms, title=None))
    figure: alt.FacetChart = panels.add_params(depth_choice(rows)).resolve_scale(y="independent")
    return figure


GRADIENT_MAP = Figure(
    section=Section.GRADIENTS,
    question="Where and when do gradients vanish or explode?",
    caption=(
        "Gradient norm over blocks and steps, relative to the arm's last block, in orders of magnitude: mean over seeds. "
        "Black and purple mean vanishing gradients, orange and red exploding gradients."
    ),
    chart=_chart,
    condition=lambda data: data.has_gradients,
)
