"""Cosine distance of activations over blocks and steps."""

import altair as alt

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import LEAST_DISTANCE, letters, step_map


def _chart(data: FigureData) -> alt.FacetChart:
    rows = data.profiles.dropna(subset=["distance"]).round({"distance": 2}).drop(columns=["relative", "level", "block"])
    rows["distance"] = rows["distance"].clip(lower=LEAST_DISTANCE)
    scale = alt.Scale(scheme="viridis", domain=[LEAST_DISTANCE, 0], clamp=True)
    color = alt.Color("distance:Q", title="log10 distance", scale=scale)
    return step_map(rows, "block boundary", color, alt.Tooltip("distance:Q", title="log10 distance", format=".2f"))


DISTANCE_MAP = Figure(
    section=Section.INPUTS,
    question="Where and when do different inputs look alike?",
    caption=(
        "Cosine distance of activations over blocks and steps: mean of log10 over seeds. Dark colors mean that all "
        "inputs look alike. Distances below 1e-6 have the darkest color."
    ),
    chart=_chart,
    condition=lambda data: data.has_distances,
    letters=lambda data: letters(
        data, "distance", "cosine distance of activations from the stem to the last block; full: 1, blank: 1e-6"
    ),
)
