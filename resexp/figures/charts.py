"""Charts with a panel for each condition: over depth, over steps, over blocks."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from resexp.tables.colors import arm_colors
from resexp.tables.frames import Frames, initial_gradients, profiles

PANEL = 330
CONDITION = "datum.value == 'all' ? '' : datum.value"  # the title of a panel; a single panel has none
BOUNDARIES = "block boundary (0 = after the stem, nearest to the input)"


def color(frame: pd.DataFrame, arms: Sequence[str] = ()) -> alt.Color:
    """The color of each arm of the frame; `arms`: all arms of the experiment, whose order decides the colors."""
    domain = ["plain", *(arm for arm in frame["arm"].unique() if arm != "plain")]
    colors = arm_colors([*arms, *domain])
    scale = alt.Scale(domain=domain, range=[colors[arm] for arm in domain])
    return alt.Color("arm:N", title=None, scale=scale, legend=alt.Legend(orient="top", columns=6, symbolOpacity=1))


def paneled(chart: alt.Chart | alt.LayerChart, frame: pd.DataFrame) -> alt.FacetChart:
    """One panel per condition, two in a row."""
    conditions = list(frame["condition"].unique())
    header = alt.Header(labelFontSize=13, labelFontWeight="bold", labelExpr=CONDITION)
    facet = alt.Facet("condition:N", title=None, sort=conditions, header=header)
    panels = chart.facet(facet, columns=min(2, len(conditions)))
    figure: alt.FacetChart = panels.resolve_axis(x="independent", y="independent")
    return figure


def _over_depth(frame: pd.DataFrame, arms: Sequence[str], column: str, title: str) -> alt.FacetChart:
    data = frame[["condition", "arm", "depth", "seed", column]].dropna()
    x = alt.X("depth:Q", title="depth (weighted layers)", scale=alt.Scale(type="log", base=2, nice=False, padding=12))
    x = x.axis(values=sorted(int(depth) for depth in data["depth"].unique()), grid=False)
    y = alt.Y(f"{column}:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    base = alt.Chart(data).encode(color=color(frame, arms))
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("depth:Q"), alt.Tooltip("seed:Q"), alt.Tooltip(f"{column}:Q", format=".2%")]
    dots = base.mark_circle(size=38, opacity=0.55).encode(x=x, y=y, tooltip=tips)
    lines = base.mark_line(strokeWidth=2).encode(x=x, y=alt.Y(f"median({column}):Q", title=title))
    return paneled((lines + dots).properties(width=PANEL, height=190), data)


def accuracy_over_depth(frames: Frames) -> alt.FacetChart:
    """Test accuracy with the final weights over depth. Each dot is a seed, and the line connects medians."""
    return _over_depth(frames.results, frames.arms, "test_accuracy", "test accuracy")


def training_error_over_depth(frames: Frames) -> alt.FacetChart:
    """Training error over depth, in eval mode. Only it can show degradation: a high test error could be overfitting."""
    frame = frames.results.assign(train_error=1 - frames.results["train_accuracy"])
    return _over_depth(frame, frames.arms, "train_error", "training error")


def depth_choice(data: pd.DataFrame) -> alt.Parameter:
    depths = [int(depth) for depth in sorted(data["depth"].unique())]
    return alt.param(name="depth_shown", value=depths[-1], bind=alt.binding_select(options=depths, name="depth "))


def curves(frames: Frames) -> alt.FacetChart:
    """Training loss over steps: one thin line per seed and a thick line for the median over seeds."""
    data = frames.metrics[["condition", "arm", "depth", "seed", "step", "train_loss"]]
    data = data.assign(train_loss=data["train_loss"].map(lambda loss: float(f"{loss:.4g}")))
    choice = depth_choice(data)
    base = (
        alt.Chart(data)
        .transform_filter("datum.depth == depth_shown && datum.train_loss > 0")
        .encode(x=alt.X("step:Q", title="training step"), color=color(data, frames.arms))
    )
    y = alt.Y("train_loss:Q", title="training loss", scale=alt.Scale(type="log"), axis=alt.Axis(format="~g", tickCount=5))
    thin = base.mark_line(strokeWidth=0.8, opacity=0.5).encode(y=y, detail="seed:N")
    thick = base.mark_line(strokeWidth=2.5).encode(y=alt.Y("median(train_loss):Q", title="training loss"))
    panels = paneled((thin + thick).properties(width=PANEL, height=190), data)
    figure: alt.FacetChart = panels.add_params(choice).resolve_scale(y="independent")
    return figure


def gradient_at_start(frames: Frames) -> alt.FacetChart:
    """Gradient norm of the activations at initialization, relative to the arm's last block. Dots are seeds, bands are theory.

    A band covers the range that the formula allows, plus two SDs over seeds if theory predicts them. An arm without a band has
    no known formula.
    """
    data = initial_gradients(frames).round({"relative": 3, "low": 3, "high": 3})
    x = alt.X("index:Q", title=BOUNDARIES, axis=alt.Axis(tickMinStep=1))
    base = alt.Chart(data).transform_filter("datum.depth == depth_shown").encode(x=x, color=color(data, frames.arms))
    title = "log10 |dL/dx|, last block = 0"
    bands = base.transform_filter("isValid(datum.low)").mark_area(opacity=0.25, line={"strokeWidth": 1, "opacity": 0.6})
    dots = base.transform_filter("isValid(datum.relative)").mark_circle(size=16, opacity=0.8)
    tips = ["arm:N", "seed:Q", "block:N", alt.Tooltip("relative:Q", format=".3f")]
    dots = dots.encode(y=alt.Y("relative:Q", title=title), tooltip=tips)
    chart = bands.encode(y=alt.Y("low:Q", title=title), y2="high:Q") + dots
    panels = paneled(chart.properties(width=PANEL, height=210), data).add_params(depth_choice(data))
    figure: alt.FacetChart = panels.resolve_scale(y="independent")
    return figure


def shown_steps(frame: pd.DataFrame) -> list[int]:
    """Steps at which profiles are drawn: the first, the last one up to step 10, and the last."""
    steps = sorted(int(step) for step in frame["step"].unique())
    return sorted({steps[0], max((step for step in steps if step <= 10), default=steps[0]), steps[-1]})


def _profile(frames: Frames, column: str, title: str) -> alt.FacetChart:
    data = profiles(frames.signals)
    data = data[data["step"].isin(shown_steps(data))].dropna(subset=[column]).round({column: 3})
    dash = alt.StrokeDash("step:O", title="step", legend=alt.Legend(orient="top"))
    chart = (
        alt.Chart(data.drop(columns=[name for name in ("relative", "level") if name != column]))
        .transform_filter("datum.depth == depth_shown")
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("index:Q", title=BOUNDARIES, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{column}:Q", title=title),
            color=color(data, frames.arms),
            strokeDash=dash,
            tooltip=["arm:N", "step:Q", "block:N", alt.Tooltip(f"{column}:Q", format=".2f")],
        )
        .properties(width=PANEL, height=210)
    )
    return paneled(chart, data).add_params(depth_choice(data))


def gradient_profile(frames: Frames) -> alt.FacetChart:
    """Gradient norm of the activations over blocks, relative to the arm's last block: mean of log10 over seeds."""
    return _profile(frames, "relative", "log10 |dL/dx|, last block = 0")


def gradient_level(frames: Frames) -> alt.FacetChart:
    """Gradient norm of the activations over blocks, in absolute terms: mean of log10 over seeds.

    A network that has fitted its data has small gradients in all blocks, although they do not vanish.
    """
    return _profile(frames, "level", "log10 |dL/dx|")


def gradient_map(frames: Frames) -> alt.FacetChart:
    """Gradient norm over blocks and steps, relative to the arm's last block, in orders of magnitude: mean over seeds.

    Black and purple mean vanishing gradients, orange and red exploding gradients.
    """
    data = profiles(frames.signals).dropna(subset=["relative"]).round({"relative": 2}).drop(columns=["level", "block"])
    data["relative"] = data["relative"].clip(-8, 8)
    chart = (
        alt.Chart(data)
        .transform_filter("datum.depth == depth_shown")
        .mark_rect()
        .encode(
            x=alt.X("step:O", title="training step (logging steps)", axis=alt.Axis(labelOverlap=True, ticks=False)),
            y=alt.Y("index:O", title="block boundary", axis=alt.Axis(labelOverlap=True, ticks=False)),
            color=alt.Color(
                "relative:Q",
                title="orders of magnitude",
                scale=alt.Scale(domain=[-8, -2, 0, 2, 8], range=["#000000", "#5b2a6e", "#e9e4da", "#c2571a", "#7a1f0d"]),
            ),
            tooltip=["arm:N", "step:Q", "index:Q", alt.Tooltip("relative:Q", format=".2f")],
        )
        .properties(width=PANEL, height=170)
    )
    conditions, arms = list(data["condition"].unique()), list(data["arm"].unique())
    row = alt.Row("condition:N", sort=conditions, title=None, header=alt.Header(labelExpr=CONDITION))
    panels = chart.facet(row=row, column=alt.Column("arm:N", sort=arms, title=None))
    figure: alt.FacetChart = panels.add_params(depth_choice(data)).resolve_scale(y="independent")
    return figure
