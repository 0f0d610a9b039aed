"""Gradient norm of the activations over blocks and steps."""

import altair as alt

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import letters, step_map


def _chart(data: FigureData) -> alt.FacetChart:
    rows = data.profiles.dropna(subset=["relative"]).round({"relative": 2}).drop(columns=["level", "distance", "block"])
    rows["relative"] = rows["relative"].clip(-8, 8)
    color = alt.Color(
        "relative:Q",
        title="orders of magnitude",
        scale=alt.Scale(domain=[-8, -2, 0, 2, 8], range=["#000000", "#5b2a6e", "#e9e4da", "#c2571a", "#7a1f0d"]),
    )
    return step_map(rows, "block boundary", color, alt.Tooltip("relative:Q", format=".2f"))


GRADIENT_MAP = Figure(
    section=Section.GRADIENTS,
    question="Where and when do gradients vanish or explode?",
    caption=(
        "Gradient norm over blocks and steps, relative to the arm's last block, in orders of magnitude: mean over seeds. "
        "Black and purple mean vanishing gradients, orange and red exploding gradients."
    ),
    chart=_chart,
    condition=lambda data: data.has_gradients,
    letters=lambda data: letters(
        data, "relative", "|dL/dx| from the stem to the last block; full: norm of the last block, blank: 1e-6 of it"
    ),
)
