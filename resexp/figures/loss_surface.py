"""Validation loss around the final weights, from `resexp dissect`."""

import altair as alt
import numpy as np

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import paneled_by_arm, tooltips

MAX_LOSS = 100.0  # higher losses and NaN have the same color


def _chart(data: FigureData) -> alt.FacetChart:
    frame = data.ablations["surface"]
    rows = frame[frame["seed"] == frame["seed"].min()][["condition", "arm", "depth", "alpha", "beta", "val_loss"]]
    clipped = rows["val_loss"].fillna(np.inf).clip(1e-6, MAX_LOSS)
    rows = rows.assign(level=np.log10(clipped).round(3), val_loss=rows["val_loss"].map(lambda loss: f"{loss:.4g}"))
    half = 1 / (rows["alpha"].nunique() - 1)
    rows = rows.assign(left=rows["alpha"] - half, right=rows["alpha"] + half, low=rows["beta"] - half, high=rows["beta"] + half)
    reach = alt.Scale(domain=[-1 - half, 1 + half], nice=False)
    axis = alt.Axis(values=[-1, 0, 1], grid=False)
    chart = (
        alt.Chart(rows.round(4))
        .transform_filter("datum.depth == depth_shown")
        .mark_rect()
        .encode(
            x=alt.X("left:Q", title="first direction", scale=reach, axis=axis),
            x2=alt.X2("right:Q"),
            y=alt.Y("low:Q", title="second direction", scale=reach, axis=axis),
            y2=alt.Y2("high:Q"),
            color=alt.Color("level:Q", title="log10 loss", scale=alt.Scale(scheme="magma", reverse=True)),
            tooltip=[*tooltips("arm:N", "alpha:Q", "beta:Q"), alt.Tooltip("val_loss:N", title="loss")],
        )
        .properties(width=220, height=220)
    )
    return paneled_by_arm(chart, rows)


SURFACE = Figure(
    section=Section.ABLATION,
    question="What does the loss surface look like around the final weights?",
    caption=(
        "Validation loss around the final weights of the first seed, with one scale for all panels. The two directions "
        "are random, filter-normalized, and the same for both arms. A loss that is above 100 or not finite is black."
    ),
    chart=_chart,
    condition=lambda data: not data.ablations["surface"].empty,
)
