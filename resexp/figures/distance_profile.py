"""Cosine distance of activations at initialization over blocks, measured and predicted."""

import altair as alt
import numpy as np
import pandas as pd

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import BOUNDARIES, LOG_LABEL, PANEL, color, depth_choice, paneled, tooltips
from resexp.tables.frames import FLOOR
from resexp.tables.labels import condition, label_text
from resexp.tables.sentences import Sentence

ROUNDING = 1e-12  # distances below it are rounding errors of float32 if they are measured
SENTENCES = {
    "agreement": Sentence(
        "The distance at the last block is in the predicted range in {close} of {total} arms. "
        "Distances below 1e-12 count as equal.",
        "distances were logged and theory predicts them for one arm at least",
    ),
}


def _rows(data: FigureData) -> pd.DataFrame:
    """`distance` of every seed and block; then `low` and `high`, the predicted band, of every block."""
    keys = ["condition", "depth", "arm", "index"]
    initial = data.frames.signals[data.frames.signals["step"] == 0]
    initial = initial.rename(columns={"activation_cosine_distance": "distance"})
    initial = initial[np.isfinite(initial["distance"])]
    labels = [data.results.label(record) for record in data.results.records]
    conditions = {label_text(label): condition(label) for label in labels}
    bands = [
        (conditions[arm.cell], arm.depth, arm.arm, index, low, high)
        for arm in data.at_initialization
        for index, (low, high) in enumerate(zip(arm.distances.low, arm.distances.high, strict=True))
    ]
    measured, predicted = initial[[*keys, "seed", "block", "distance"]], pd.DataFrame(bands, columns=[*keys, "low", "high"])
    rows: pd.DataFrame = pd.concat([frame for frame in (measured, predicted) if len(frame)], ignore_index=True)
    columns = [name for name in ("distance", "low", "high") if name in rows]
    rows[columns] = rows[columns].clip(lower=FLOOR).map(lambda value: float(f"{value:.5g}"))
    return rows


def _chart(data: FigureData) -> alt.FacetChart:
    rows = _rows(data)
    x = alt.X("index:Q", title=BOUNDARIES, axis=alt.Axis(tickMinStep=1))
    base = alt.Chart(rows).transform_filter("datum.depth == depth_shown").encode(x=x, color=color(rows, data.frames.arms))
    axis = alt.Axis(labelExpr=LOG_LABEL, tickCount=6)
    scale, title = alt.Scale(type="log"), "cosine distance of activations"
    bands = base.transform_filter("isValid(datum.low)").mark_area(opacity=0.25, line={"strokeWidth": 1, "opacity": 0.6})
    dots = base.transform_filter("isValid(datum.distance)").mark_circle(size=16, opacity=0.8)
    tips = [*tooltips("arm:N", "seed:Q", "block:N"), alt.Tooltip("distance:Q", format=".3~g")]
    dots = dots.encode(y=alt.Y("distance:Q", title=title, scale=scale, axis=axis), tooltip=tips)
    chart = bands.encode(y=alt.Y("low:Q", title=title, scale=scale, axis=axis), y2=alt.Y2("high:Q")) + dots
    panels = paneled(chart.properties(width=PANEL, height=210), rows).add_params(depth_choice(rows))
    figure: alt.FacetChart = panels.resolve_scale(y="independent")
    return figure


def _sentences(data: FigureData) -> list[str]:
    compared = [arm for arm in data.at_initialization if arm.distance is not None and arm.distances.known]
    ends = [(arm.distances.low[-1], arm.distance or 0.0, arm.distances.high[-1]) for arm in compared]
    close = sum(low <= max(measured, ROUNDING) and measured <= max(high, ROUNDING) for low, measured, high in ends)
    return [SENTENCES["agreement"].format(close=close, total=len(compared))] if compared else []


DISTANCE_PROFILE = Figure(
    section=Section.INPUTS,
    question="How different do inputs look after each block at initialization, and what does theory predict?",
    caption=(
        "Cosine distance of activations at initialization: 1 minus the mean cosine similarity over pairs of inputs. Dots are "
        "seeds, bands are theory. A band begins at the measured distance at boundary 0. It covers the median over seeds, the "
        "limit of large widths, and two SDs over seeds. Distances below 1e-16 are drawn there. Activations in float32 cannot "
        "show distances below about 1e-15."
    ),
    chart=_chart,
    condition=lambda data: data.has_distances and bool(_rows(data)["distance"].notna().any()),
    sentences=_sentences,
)
