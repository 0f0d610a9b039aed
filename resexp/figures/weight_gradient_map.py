"""Norm of the weight gradient over layers and steps."""

import altair as alt
import pandas as pd

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import named, step_map
from resexp.tables.sentences import Sentence

MIN_LEVEL = -8  # log10; smaller norms have the same color
SENTENCES = {
    "smallest": Sentence(
        "{condition}: |dL/dW| is smallest {arms}.", "weight gradients were logged, and some are positive and finite"
    ),
    "arm": Sentence("in layer {layer} at step {step} ({arm}: {norm})", "as 'smallest'"),
}


def _means(data: FigureData) -> pd.DataFrame:
    """Mean level over seeds at the steps of the heat map, of every condition, depth, arm and layer."""
    rows = data.layers[data.layers["shown"]].dropna(subset=["level"])
    keys = ["condition", "depth", "arm", "step", "index", "layer"]
    return rows.groupby(keys, as_index=False, sort=False, observed=True)[["level"]].mean()


def _chart(data: FigureData) -> alt.FacetChart:
    rows = _means(data).drop(columns=["layer"]).round({"level": 2})
    rows["level"] = rows["level"].clip(lower=MIN_LEVEL)
    scale = alt.Scale(scheme="viridis", domain=[float(rows["level"].min()), float(rows["level"].max())])
    color = alt.Color("level:Q", title="log10 |dL/dW|", scale=scale)
    return step_map(rows, "weighted layer", color, alt.Tooltip("level:Q", title="log10 |dL/dW|", format=".2f"))


def _sentences(data: FigureData) -> list[str]:
    """Layer and step of the smallest norm in the deepest networks of each condition."""
    rows = _means(data)
    deepest = rows[rows["depth"] == rows["depth"].max()]
    lines = []
    for condition, of_condition in deepest.groupby("condition", sort=False, observed=True):
        smallest = of_condition.loc[of_condition.groupby("arm", sort=False, observed=True)["level"].idxmin()]
        arms = [
            SENTENCES["arm"].format(arm=row.arm, layer=row.layer, step=row.step, norm=f"{10.0**row.level:.1e}")
            for row in smallest.itertuples()
        ]
        label = named(condition, f"depth {deepest['depth'].iloc[0]}")
        lines.append(SENTENCES["smallest"].format(condition=label, arms=", ".join(arms)))
    return lines


WEIGHT_GRADIENT_MAP = Figure(
    section=Section.GRADIENTS,
    question="Which layers learn when?",
    caption=(
        "Norm of dL/dW over weighted layers and steps: mean of log10 over seeds, at up to 16 logging steps. Norms below 1e-8 "
        "have the darkest color. Cells are blank if the norm is 0 or not finite in all seeds."
    ),
    chart=_chart,
    condition=lambda data: bool(data.layers["level"].notna().any()),
    sentences=_sentences,
)
