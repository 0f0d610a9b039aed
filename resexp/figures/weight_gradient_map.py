"""Norm of the weight gradient over layers and steps."""

import altair as alt

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import step_map

MIN_LEVEL = -8  # log10; smaller norms have the same color


def _chart(data: FigureData) -> alt.FacetChart:
    shown = data.layers[data.layers["shown"]].dropna(subset=["level"])
    keys = ["condition", "depth", "arm", "step", "index"]
    rows = shown.groupby(keys, as_index=False, sort=False, observed=True)[["level"]].mean().round({"level": 2})
    rows["level"] = rows["level"].clip(lower=MIN_LEVEL)
    scale = alt.Scale(scheme="viridis", domain=[float(rows["level"].min()), float(rows["level"].max())])
    color = alt.Color("level:Q", title="log10 |dL/dW|", scale=scale)
    return step_map(rows, "weighted layer", color, alt.Tooltip("level:Q", title="log10 |dL/dW|", format=".2f"))


WEIGHT_GRADIENT_MAP = Figure(
    section=Section.GRADIENTS,
    question="Which layers learn when?",
    caption=(
        "Norm of dL/dW over weighted layers and steps: mean of log10 over seeds, at up to 16 logging steps. Norms below 1e-8 "
        "have the darkest color. Cells are blank if the norm is 0 or not finite in all seeds."
    ),
    chart=_chart,
    condition=lambda data: bool(data.layers["level"].notna().any()),
)
