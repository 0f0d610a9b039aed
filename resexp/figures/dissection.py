"""Charts of the results of `resexp dissect`, in the colors of all other figures."""

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from resexp import runs
from resexp.figures.charts import CONDITION, PANEL, color, depth_choice, paneled
from resexp.runs import Results
from resexp.tables.labels import condition

MAX_LOSS = 100.0  # higher losses and NaN have the same color
TEXT_COLUMNS = ["block", "without"]


def read_dissection(results: Results, part: str) -> pd.DataFrame:
    """The rows of <part>.csv of every finished trial, with its condition, arm, depth and seed; empty if no trial has the file.

    Raises:
        RunsError: a file is damaged; the message names it.
    """
    columns = [*runs.COLUMNS[runs.ABLATION_FILES[part]], "condition", "arm", "depth", "seed"]
    frames = [pd.DataFrame(columns=columns)]
    for record in results.records:
        rows = runs.read_rows(record.folder / runs.ABLATION_FILES[part]) if record.result else []
        if rows:
            frame = pd.DataFrame(rows)
            numbers = [column for column in frame if column not in TEXT_COLUMNS]
            keys: dict[str, Any] = {
                "condition": condition(results.label(record)),
                "arm": record.trial.arm,
                "seed": record.trial.seed,
            }
            frame = frame.astype(dict.fromkeys(numbers, float)).assign(**keys, depth=record.trial.settings.network.depth)
            frames.append(frame)
    return pd.concat(frames[1:], ignore_index=True) if frames[1:] else frames[0]


def _error(title: str) -> alt.Y:
    return alt.Y("val_error:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))


def lesions(frame: pd.DataFrame, arms: Sequence[str] = ()) -> alt.FacetChart:
    """Validation error without one block's branch. Dots are seeds, lines their means, dashed lines the intact networks.

    A block without a shortcut is replaced by the identity. If it also changes shapes, it cannot be removed and has no dot.
    """
    data = frame[["condition", "arm", "depth", "seed", "index", "block", "without", "val_error"]]
    base = alt.Chart(data).transform_filter("datum.depth == depth_shown").encode(color=color(data, arms))
    without = base.transform_filter("datum.index > 0").encode(
        x=alt.X(
            "index:Q",
            title="removed block (1 = nearest to the input)",
            scale=alt.Scale(zero=False, nice=False, padding=12),
            axis=alt.Axis(tickMinStep=1, grid=False),
        )
    )
    title = "validation error"
    tips = ["arm:N", "seed:Q", "block:N", "without:N", alt.Tooltip("val_error:Q", format=".2%")]
    dots = without.mark_circle(size=30, opacity=0.5).encode(y=_error(title), tooltip=tips)
    lines = without.mark_line(strokeWidth=2).encode(y=alt.Y("mean(val_error):Q", title=title))
    intact = (
        base.transform_filter("datum.index == 0").mark_rule(strokeDash=[4, 3]).encode(y=alt.Y("mean(val_error):Q", title=title))
    )
    panels = paneled((lines + dots + intact).properties(width=PANEL, height=190), data)
    figure: alt.FacetChart = panels.add_params(depth_choice(data))
    return figure


def shortcut_scales(frame: pd.DataFrame, arms: Sequence[str] = ()) -> alt.FacetChart:
    """Validation error with every shortcut scaled by s after training: a thin line per seed, a thick line for their mean.

    An arm without shortcuts has no line.
    """
    data = frame[["condition", "arm", "depth", "seed", "scale", "val_error"]]
    x = alt.X(
        "scale:Q", title="s (1 = trained network, 0 = no shortcut)", scale=alt.Scale(domain=[1, 0]), axis=alt.Axis(grid=False)
    )
    base = alt.Chart(data).transform_filter("datum.depth == depth_shown").encode(x=x, color=color(data, arms))
    thin = base.mark_line(strokeWidth=0.8, opacity=0.5).encode(y=_error("validation error"), detail="seed:N")
    thick = base.mark_line(strokeWidth=2.5, point=True).encode(y=alt.Y("mean(val_error):Q", title="validation error"))
    panels = paneled((thin + thick).properties(width=PANEL, height=190), data)
    figure: alt.FacetChart = panels.add_params(depth_choice(data))
    return figure


def surfaces(frame: pd.DataFrame, _arms: Sequence[str] = ()) -> alt.FacetChart:
    """Validation loss around the final weights of the first seed, with one scale for all panels.

    The two directions are random, filter-normalized, and the same for both arms. A loss that is above 100 or not finite is
    black.
    """
    data = frame[frame["seed"] == frame["seed"].min()][["condition", "arm", "depth", "alpha", "beta", "val_loss"]]
    clipped = data["val_loss"].fillna(np.inf).clip(1e-6, MAX_LOSS)
    data = data.assign(level=np.log10(clipped).round(3), val_loss=data["val_loss"].map(lambda loss: f"{loss:.4g}"))
    half = 1 / (data["alpha"].nunique() - 1)
    data = data.assign(left=data["alpha"] - half, right=data["alpha"] + half, low=data["beta"] - half, high=data["beta"] + half)
    reach = alt.Scale(domain=[-1 - half, 1 + half], nice=False)
    axis = alt.Axis(values=[-1, 0, 1], grid=False)
    chart = (
        alt.Chart(data.round(4))
        .transform_filter("datum.depth == depth_shown")
        .mark_rect()
        .encode(
            x=alt.X("left:Q", title="first direction", scale=reach, axis=axis),
            x2="right:Q",
            y=alt.Y("low:Q", title="second direction", scale=reach, axis=axis),
            y2="high:Q",
            color=alt.Color("level:Q", title="log10 loss", scale=alt.Scale(scheme="magma", reverse=True)),
            tooltip=["arm:N", "alpha:Q", "beta:Q", alt.Tooltip("val_loss:N", title="loss")],
        )
        .properties(width=220, height=220)
    )
    conditions, arms = list(data["condition"].unique()), list(data["arm"].unique())
    row = alt.Row("condition:N", sort=conditions, title=None, header=alt.Header(labelExpr=CONDITION))
    panels = chart.facet(row=row, column=alt.Column("arm:N", sort=arms, title=None))
    figure: alt.FacetChart = panels.add_params(depth_choice(data))
    return figure


DISSECTION_FIGURES: dict[str, Callable[..., alt.FacetChart]] = {
    "lesion": lesions,
    "scale": shortcut_scales,
    "surface": surfaces,
}
