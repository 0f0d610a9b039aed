"""Norm of the weight gradient of each layer, plain and residual networks side by side."""

import altair as alt
import pandas as pd

from resexp.comparison import Moment
from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import color, depth_choice, tooltips
from resexp.tables.labels import NO_AXIS

SIDE = 330  # pixels of a panel; the page narrows panels of this width on small screens
LAYERS = "weighted layer (0 = stem, nearest to the input)"


def by_layer(data: FigureData, column: str, title: str) -> alt.VConcatChart:
    """A log10 column of `layer_frame` over layers: a row of panels per condition, a panel per arm, a line per moment."""
    rows = data.layers[data.layers["moment"] != ""].dropna(subset=[column])
    keys = ["condition", "depth", "arm", "moment", "index", "layer"]
    means = rows.groupby(keys, as_index=False, sort=False, observed=True)[[column]].mean()
    means["value"] = (10 ** means.pop(column)).map(lambda value: float(f"{value:.7g}"))
    shown_moments = [moment for moment in Moment if moment in set(means["moment"])]
    conditions = [
        _condition(str(condition), condition_rows, data.frames.arms, shown_moments, title)
        for condition, condition_rows in means.groupby("condition", sort=False, observed=True)
    ]
    figure = alt.VConcatChart(vconcat=conditions)
    figure["params"] = [depth_choice(means).param]  # add_params would require a name for each chart
    return figure


def _condition(condition: str, rows: pd.DataFrame, arms: tuple[str, ...], moments: list[Moment], title: str) -> alt.FacetChart:
    """The panels of one condition, which share the vertical axis."""
    dash = alt.StrokeDash("moment:N", title=None, sort=moments, legend=alt.Legend(orient="bottom"))
    dash = dash.scale(alt.Scale(domain=moments, range=[[1, 0], [6, 3], [2, 2]][: len(moments)]))
    tips = [*tooltips("arm:N", "moment:N", "layer:N"), alt.Tooltip("value:Q", title=title, format=".3~e")]
    lines = (
        alt.Chart(rows)
        .transform_filter("datum.depth == depth_shown")
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("index:Q", title=LAYERS, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title=title, scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e", tickCount=6)),
            color=color(rows, arms),
            strokeDash=dash,
            tooltip=tips,
        )
        .properties(width=SIDE, height=190)
    )
    shown = [arm for arm in arms if arm in set(rows["arm"])]
    panels = lines.facet(alt.Facet("arm:N", title=None, sort=shown), columns=min(2, len(shown)))
    if condition != NO_AXIS:
        panels = panels.properties(title=condition)
    figure: alt.FacetChart = panels.resolve_axis(x="independent", y="independent")
    return figure


WEIGHT_GRADIENT = Figure(
    section=Section.GRADIENTS,
    question="How large is the weight gradient of each layer?",
    caption=(
        "Norm of dL/dW of each weighted layer: geometric mean over seeds, on a log axis that all arms of a condition share. "
        "The end is the last logging step. Layers whose norm is 0 or not finite in all seeds have no point."
    ),
    chart=lambda data: by_layer(data, "level", "|dL/dW|"),
    condition=lambda data: bool(data.layers["level"].notna().any()),
)
