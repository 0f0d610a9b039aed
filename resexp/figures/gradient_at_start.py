"""Gradients at initialization, measured and predicted."""

import altair as alt

from resexp.comparison import Flow, flow
from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import BOUNDARIES, PANEL, color, depth_choice, paneled, tooltips
from resexp.tables.frames import initial_gradients
from resexp.tables.probe_lines import agreement
from resexp.tables.sentences import Sentence

FLOWS = {
    kind: Sentence(
        f"Gradients of plain networks {verb} at initialization",
        "both ends of the 95% CI of every plain network at the deepest depth",
    )
    for kind, verb in ((Flow.VANISHING, "vanish"), (Flow.STABLE, "are stable"), (Flow.EXPLODING, "explode"))
}


def _chart(data: FigureData) -> alt.FacetChart:
    rows = initial_gradients(data.frames).round({"relative": 3, "low": 3, "high": 3})
    x = alt.X("index:Q", title=BOUNDARIES, axis=alt.Axis(tickMinStep=1))
    base = alt.Chart(rows).transform_filter("datum.depth == depth_shown").encode(x=x, color=color(rows, data.frames.arms))
    title = "log10 |dL/dx|, last block = 0"
    bands = base.transform_filter("isValid(datum.low)").mark_area(opacity=0.25, line={"strokeWidth": 1, "opacity": 0.6})
    dots = base.transform_filter("isValid(datum.relative)").mark_circle(size=16, opacity=0.8)
    tips = [*tooltips("arm:N", "seed:Q", "block:N"), alt.Tooltip("relative:Q", format=".3f")]
    dots = dots.encode(y=alt.Y("relative:Q", title=title), tooltip=tips)
    chart = bands.encode(y=alt.Y("low:Q", title=title), y2=alt.Y2("high:Q")) + dots
    panels = paneled(chart.properties(width=PANEL, height=210), rows).add_params(depth_choice(rows))
    figure: alt.FacetChart = panels.resolve_scale(y="independent")
    return figure


def _finding(data: FigureData) -> str:
    """The kind of the gradients, if the intervals of the slopes of all plain networks are entirely of this kind."""
    depth = max((int(row.depth) for row in data.at_initialization), default=0)
    plain = [row for row in data.at_initialization if row.depth == depth and row.arm == "plain"]
    ends = [(row.blocks * row.slope.low, row.blocks * row.slope.high) for row in plain
            if row.slope and row.slope.low is not None and row.slope.high is not None]  # fmt: skip
    kinds = {flow(end) for pair in ends for end in pair}
    if len(kinds) != 1 or len(ends) < len(plain):
        return ""
    return FLOWS[kinds.pop()].text


GRADIENT_AT_START = Figure(
    section=Section.GRADIENTS,
    question="How large are gradients at initialization, and what does theory predict?",
    caption=(
        "Gradient norm of the activations at initialization, relative to the arm's last block. Dots are seeds, bands are "
        "theory. A band covers the range that the formula allows, plus two SDs over seeds if theory predicts them. An arm "
        "without a band has no known formula."
    ),
    chart=_chart,
    condition=lambda data: data.has_gradients and not initial_gradients(data.frames).empty,
    finding=_finding,
    sentences=lambda data: agreement(data.at_initialization),
)
