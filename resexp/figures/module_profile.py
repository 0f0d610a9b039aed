"""Gradient norm and cosine distance over the boundaries of any network, for `resexp probe MODULE:FACTORY --figure`."""

import math

import altair as alt
import pandas as pd

from resexp.figures.panels import tooltips
from resexp.tables.module_probe import ModuleProbe

PANELS = {"activation_grad_norm": "log10 |dL/dx|", "activation_cosine_distance": "log10 cosine distance of activations"}


def module_profile(probe: ModuleProbe) -> alt.HConcatChart:
    """Two panels over the boundaries, from input to output, with a line for each seed; values of 0 are left out."""
    rows = [
        {"index": row.index, "boundary": row.name, "seed": measurement.seed, "quantity": key, "value": math.log10(value)}
        for row in probe.boundaries
        for key, seeds in row.values.items()  # noqa: PD011 - not a data frame
        for measurement, value in zip(probe.measurements, seeds, strict=True)
        if 0 < value < math.inf
    ]
    frame = pd.DataFrame(rows, columns=["index", "boundary", "seed", "quantity", "value"])
    panels = [
        alt.Chart(frame[frame["quantity"] == key])
        .mark_line(strokeWidth=1.5, point=alt.OverlayMarkDef(size=18))
        .encode(
            x=alt.X("index:Q", title="boundary (0 is nearest to the input)", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
            detail=alt.Detail("seed:N"),
            tooltip=[*tooltips("boundary:N", "seed:N"), alt.Tooltip("value:Q", format=".2f")],
        )
        .properties(width=330, height=210)
        for key, title in PANELS.items()
    ]
    chart: alt.HConcatChart = alt.hconcat(*panels).properties(title=probe.name)
    return chart
