"""Validation error with scaled shortcuts, from `resexp dissect`."""

import altair as alt

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import PANEL, color, depth_choice, paneled, validation_error


def _chart(data: FigureData) -> alt.FacetChart:
    frame = data.ablations["scale"]
    rows = frame[["condition", "arm", "depth", "seed", "scale", "val_error"]]
    x = alt.X(
        "scale:Q", title="s (1 = trained network, 0 = no shortcut)", scale=alt.Scale(domain=[1, 0]), axis=alt.Axis(grid=False)
    )
    base = alt.Chart(rows).transform_filter("datum.depth == depth_shown").encode(x=x, color=color(rows, data.frames.arms))
    thin = base.mark_line(strokeWidth=0.8, opacity=0.5).encode(
        y=validation_error("validation error"), detail=alt.Detail("seed:N")
    )
    thick = base.mark_line(strokeWidth=2.5, point=True).encode(y=alt.Y("mean(val_error):Q", title="validation error"))
    panels = paneled((thin + thick).properties(width=PANEL, height=190), rows)
    figure: alt.FacetChart = panels.add_params(depth_choice(rows))
    return figure


SCALE = Figure(
    section=Section.ABLATION,
    question="How strongly does a trained network depend on its shortcuts?",
    caption=(
        "Validation error with every shortcut scaled by s after training: a thin line per seed, a thick line for their "
        "mean. An arm without shortcuts has no line."
    ),
    chart=_chart,
    condition=lambda data: not data.ablations["scale"].empty,
)
