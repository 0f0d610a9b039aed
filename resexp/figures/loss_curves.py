"""Training loss over steps."""

import altair as alt

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import PANEL, color, depth_choice, paneled


def _chart(data: FigureData) -> alt.FacetChart:
    rows = data.frames.metrics[["condition", "arm", "depth", "seed", "step", "train_loss"]]
    rows = rows.assign(train_loss=rows["train_loss"].map(lambda loss: float(f"{loss:.4g}")))
    choice = depth_choice(rows)
    base = (
        alt.Chart(rows)
        .transform_filter("datum.depth == depth_shown && datum.train_loss > 0")
        .encode(x=alt.X("step:Q", title="training step"), color=color(rows, data.frames.arms))
    )
    y = alt.Y("train_loss:Q", title="training loss", scale=alt.Scale(type="log"), axis=alt.Axis(format="~g", tickCount=5))
    thin = base.mark_line(strokeWidth=0.8, opacity=0.5).encode(y=y, detail=alt.Detail("seed:N"))
    thick = base.mark_line(strokeWidth=2.5).encode(y=alt.Y("median(train_loss):Q", title="training loss"))
    panels = paneled((thin + thick).properties(width=PANEL, height=190), rows)
    figure: alt.FacetChart = panels.add_params(choice).resolve_scale(y="independent")
    return figure


CURVES = Figure(
    section=Section.CONDITIONS,
    question="How does the training loss fall?",
    caption="Training loss over steps: one thin line per seed and a thick line for the median over seeds.",
    chart=_chart,
)
