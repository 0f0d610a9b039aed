"""Parts that figures share: panels for each condition, colors of arms, charts over depth and over blocks."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import altair as alt
import pandas as pd

from resexp.figures.figure import FigureData
from resexp.tables.colors import arm_colors
from resexp.tables.labels import NO_AXIS
from resexp.tables.terminal import shade, shade_levels

PANEL = 330
CONDITION = "datum.value == 'all' ? '' : datum.value"  # the title of a panel; a single panel has none
LEAST_DISTANCE = -6  # log10 of a cosine distance: smaller ones are drawn like it where larger ones must remain legible
LEGEND = 72  # characters in a row of the legend, 4 of them for each symbol and gap
MAX_STEPS = 6  # logging steps per arm in text
LOG_LABEL = "format(datum.value, datum.value < 1e-3 ? '.0e' : '~g')"  # 0.01 and 1e-5 on a log axis
BOUNDARIES = "block boundary (0 = after the stem, nearest to the input)"


def color(frame: pd.DataFrame, arms: Sequence[str] = ()) -> alt.Color:
    """The color of each arm of the frame; `arms`: all arms of the experiment, whose order decides the colors."""
    domain = ["plain", *(arm for arm in frame["arm"].unique() if arm != "plain")]
    colors = arm_colors([*arms, *domain])
    scale = alt.Scale(domain=domain, range=[colors[arm] for arm in domain])
    columns = max(1, min(6, LEGEND // (max(map(len, domain)) + 4)))
    legend = alt.Legend(orient="top", columns=columns, labelLimit=0, symbolOpacity=1)
    return alt.Color("arm:N", title=None, scale=scale, legend=legend)


def tooltips(*fields: str) -> list[alt.Tooltip]:
    """Fields of a tooltip as objects: for a string, Altair spends milliseconds on finding its class."""
    return [alt.Tooltip(field) for field in fields]


def paneled(chart: alt.Chart | alt.LayerChart, frame: pd.DataFrame) -> alt.FacetChart:
    """One panel per condition, two in a row."""
    conditions = list(frame["condition"].unique())
    header = alt.Header(labelFontSize=13, labelFontWeight="bold", labelExpr=CONDITION)
    facet = alt.Facet("condition:N", title=None, sort=conditions, header=header)
    panels = chart.facet(facet, columns=min(2, len(conditions)))
    figure: alt.FacetChart = panels.resolve_axis(x="independent", y="independent")
    return figure


def paneled_by_arm(chart: alt.Chart, frame: pd.DataFrame) -> alt.FacetChart:
    """One panel per condition and arm, a row for each condition, at a depth that the reader chooses."""
    conditions, arms = list(frame["condition"].unique()), list(frame["arm"].unique())
    row = alt.Row("condition:N", sort=conditions, title=None, header=alt.Header(labelExpr=CONDITION))
    panels = chart.facet(row=row, column=alt.Column("arm:N", sort=arms, title=None))
    figure: alt.FacetChart = panels.add_params(depth_choice(frame))
    return figure


def step_map(frame: pd.DataFrame, y_title: str, color: alt.Color, tooltip: alt.Tooltip) -> alt.FacetChart:
    """A heat map of `color` over logging steps and block boundaries or layers, for each condition and arm."""
    axis = alt.Axis(labelOverlap=True, ticks=False)
    chart = (
        alt.Chart(frame)
        .transform_filter("datum.depth == depth_shown")
        .mark_rect()
        .encode(
            x=alt.X("step:O", title="training step (logging steps)", axis=axis),
            y=alt.Y("index:O", title=y_title, axis=axis),
            color=color,
            tooltip=[*tooltips("arm:N", "step:Q", "index:Q"), tooltip],
        )
        .properties(width=PANEL, height=170)
    )
    figure: alt.FacetChart = paneled_by_arm(chart, frame).resolve_scale(y="independent")
    return figure


def letters(data: FigureData, column: str, explanation: str) -> list[str]:
    """A column of `profiles` of the deepest networks in plain text, input first: a row for each of a few logging steps."""
    depth = data.profiles["depth"].max()
    deepest = data.profiles[data.profiles["depth"] == depth].dropna(subset=[column])
    lines = [f"depth {depth}, {explanation}"]
    rows = deepest.groupby(["condition", "arm"], sort=False)
    for condition, arms in groupby(rows, key=lambda row: row[0][0]):
        lines += ["", str(condition)]
        for (_, arm), arm_rows in arms:
            lines += _steps(str(arm), arm_rows, column)
    return lines


def _steps(arm: str, arm_rows: pd.DataFrame, column: str) -> list[str]:
    steps: Sequence[Any] = sorted(arm_rows["step"].unique())
    count = min(MAX_STEPS, len(steps))
    shown = sorted({steps[round(n * (len(steps) - 1) / max(1, count - 1))] for n in range(count)})
    lines = []
    for step in shown:
        levels = arm_rows[arm_rows["step"] == step].sort_values("index")[column]
        norms = [10 ** min(float(level), 300.0) for level in levels]
        bar = "".join(shade(level) for level in shade_levels(norms, 1.0))
        lines.append(f"  {arm if step == shown[0] else '':<20} step {step:>7}  |{bar}|")
    return lines


def over_depth(frame: pd.DataFrame, arms: Sequence[str], column: str, title: str) -> alt.FacetChart:
    """A column in [0, 1] over depth: a dot per seed and a line through medians."""
    data = frame[["condition", "arm", "depth", "seed", column]].dropna()
    x = alt.X("depth:Q", title="depth (weighted layers)", scale=alt.Scale(type="log", base=2, nice=False, padding=12))
    x = x.axis(values=sorted(int(depth) for depth in data["depth"].unique()), grid=False)
    y = alt.Y(f"{column}:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    base = alt.Chart(data).encode(color=color(frame, arms))
    tips = [*tooltips("arm:N", "depth:Q", "seed:Q"), alt.Tooltip(f"{column}:Q", format=".2%")]
    dots = base.mark_circle(size=38, opacity=0.55).encode(x=x, y=y, tooltip=tips)
    lines = base.mark_line(strokeWidth=2).encode(x=x, y=alt.Y(f"median({column}):Q", title=title))
    return paneled((lines + dots).properties(width=PANEL, height=190), data)


def depth_choice(data: pd.DataFrame) -> alt.Parameter:
    """A menu of depths, initially the deepest; charts filter by `datum.depth == depth_shown`."""
    depths = [int(depth) for depth in sorted(data["depth"].unique())]
    return alt.param(name="depth_shown", value=depths[-1], bind=alt.binding_select(options=depths, name="depth "))


def shown_steps(frame: pd.DataFrame) -> list[int]:
    """Steps at which profiles are drawn: the first, the last one up to step 10, and the last."""
    steps = sorted(int(step) for step in frame["step"].unique())
    return sorted({steps[0], max((step for step in steps if step <= 10), default=steps[0]), steps[-1]})


def profile(data: FigureData, column: str, title: str) -> alt.FacetChart:
    """`relative` or `level` of `profiles` over block boundaries, at some logging steps."""
    rows = data.profiles
    rows = rows[rows["step"].isin(shown_steps(rows))].dropna(subset=[column]).round({column: 3})
    dash = alt.StrokeDash("step:O", title="step", legend=alt.Legend(orient="top"))
    chart = (
        alt.Chart(rows.drop(columns=[name for name in ("relative", "level", "distance") if name != column]))
        .transform_filter("datum.depth == depth_shown")
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("index:Q", title=BOUNDARIES, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{column}:Q", title=title),
            color=color(rows, data.frames.arms),
            strokeDash=dash,
            tooltip=[*tooltips("arm:N", "step:Q", "block:N"), alt.Tooltip(f"{column}:Q", format=".2f")],
        )
        .properties(width=PANEL, height=210)
    )
    return paneled(chart, rows).add_params(depth_choice(rows))


def validation_error(title: str) -> alt.Y:
    """The axis of ablations."""
    return alt.Y("val_error:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))


def named(condition: object, *arm: object) -> str:
    """'layer norm, plain'; without the condition if there is only one."""
    return ", ".join(str(part) for part in (condition, *arm) if part != NO_AXIS)
