"""Norm of the weight gradient of each layer, plain and residual networks side by side."""

import altair as alt
import pandas as pd

from resexp.comparison import Moment
from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import color, depth_choice, named
from resexp.tables.labels import NO_AXIS
from resexp.tables.sentences import Sentence

SIDE = 330  # pixels of a panel; the page narrows panels of this width on small screens
LAYERS = "weighted layer (0 = stem, nearest to the input)"
SENTENCES = {
    "growth": Sentence(
        "{condition}: from the last to the first layer, log10 |dL/dW| changes by {arms}.",
        "weight gradients of both layers were logged, and are positive and finite",
    ),
    "arm": Sentence("{start} at initialization and {end} at the end ({arm})", "as 'growth'"),
}


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
    tips = ["arm:N", "moment:N", "layer:N", alt.Tooltip("value:Q", title=title, format=".3~e")]
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


def _sentences(data: FigureData) -> list[str]:
    """The growth of the gradient in the deepest networks of each condition: one sentence for all arms."""
    depth = data.layers["depth"].max()
    rows = data.layers[(data.layers["depth"] == depth) & (data.layers["moment"] != "")].dropna(subset=["level"])
    keys = ["condition", "arm", "moment"]
    ends = rows.groupby([*keys, "seed"], sort=False, observed=True)["level"].agg(["first", "last"])
    growths = (ends["first"] - ends["last"]).groupby(keys, sort=False, observed=True).mean()
    lines = []
    for condition, of_condition in growths.groupby("condition", sort=False, observed=True):
        arms = [
            SENTENCES["arm"].format(arm=arm, **{end: f"{by_moment.loc[(condition, arm, moment)]:+.1f}" for end, moment in ENDS})
            for arm, by_moment in of_condition.groupby("arm", sort=False, observed=True)
            if all((condition, arm, moment) in by_moment.index for _, moment in ENDS)
        ]
        if arms:
            label = named(condition, f"depth {depth}")
            lines.append(SENTENCES["growth"].format(condition=label, arms=", ".join(arms)))
    return lines


ENDS = (("start", Moment.START), ("end", Moment.END))
WEIGHT_GRADIENT = Figure(
    section=Section.GRADIENTS,
    question="How large is the weight gradient of each layer?",
    caption=(
        "Norm of dL/dW of each weighted layer: geometric mean over seeds, on a log axis that all arms of a condition share. "
        "The end is the last logging step. Layers whose norm is 0 or not finite in all seeds have no point."
    ),
    chart=lambda data: by_layer(data, "level", "|dL/dW|"),
    condition=lambda data: bool(data.layers["level"].notna().any()),
    sentences=_sentences,
)
