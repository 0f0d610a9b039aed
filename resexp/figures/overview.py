"""The first picture of a report: one column of small panels for each question, one row for each condition."""

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import altair as alt
import pandas as pd

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import BOUNDARIES, LEAST_DISTANCE, LOG_LABEL, color
from resexp.tables.findings import at_deepest
from resexp.tables.labels import NO_AXIS, condition
from resexp.tables.sentences import Sentence

MAX_CONDITIONS = 4
MAX_ARMS = 2  # whose effects fit the title of a panel
WIDTH = 380  # pixels of a panel; the page chooses the width that its window allows
LETTERS = 36  # of a heading, which is wider than a narrow panel otherwise
HEIGHTS = (250, 130, 88, 66)  # pixels of a panel for 1 to 4 conditions
SENTENCES = {
    "shown": Sentence(
        "{shown} of {total} conditions are drawn here, one for each kind of effect at least; the figures below have all.",
        "the experiment has more than 4 conditions",
    ),
}


@dataclass(frozen=True)
class Panel:
    """A question, and the measurement that answers it.

    single: the question if there is one depth only.
    rows: condition, arm, x and value of each point; no rows if nothing was logged. seeds: whether a row is a seed, drawn as a
    dot, with a line through the medians. verdicts: whether the titles state the effect of the shortcut. log: whether the
    vertical axis is logarithmic.
    """

    question: str
    measured: str
    rows: Callable[[FigureData], pd.DataFrame]
    x_title: str
    seeds: bool = False
    verdicts: bool = False
    single: str = ""
    log: bool = False


def _initial(data: FigureData, column: str) -> pd.DataFrame:
    """A column of `profiles` at initialization, in the deepest networks."""
    if data.frames.signals.empty:
        return pd.DataFrame()
    rows = data.profiles
    rows = rows[(rows["step"] == rows["step"].min()) & (rows["depth"] == rows["depth"].max())].dropna(subset=[column])
    points: pd.DataFrame = rows.assign(x=rows["index"], value=rows[column].round(2))[["condition", "arm", "x", "value"]]
    return points


def _distances(data: FigureData) -> pd.DataFrame:
    rows = _initial(data, "distance")
    if rows.empty:
        return rows
    return rows.assign(value=[float(f"{10 ** max(value, LEAST_DISTANCE):.3g}") for value in rows["value"]])


def _training_error(data: FigureData) -> pd.DataFrame:
    rows = data.frames.results.dropna(subset=["train_accuracy"])
    rows = rows.assign(value=1 - rows["train_accuracy"].astype(float), x=rows["depth"])
    return rows[["condition", "arm", "x", "value"]].round(4)


# A further question is one more entry, for example another column of the profile.
PANELS = (
    Panel(
        question="Do gradients reach the first layer?",
        measured="log10 |dL/dx| at initialization, last block = 0",
        rows=lambda data: _initial(data, "relative"),
        x_title=BOUNDARIES,
    ),
    Panel(
        question="Do different inputs still look different at the last layer?",
        measured="cosine distance of activations at initialization",
        rows=_distances,
        x_title=BOUNDARIES,
        log=True,
    ),
    Panel(
        question="Does training error rise with depth?",
        measured="training error of the final weights, a dot for each seed",
        rows=_training_error,
        x_title="depth (weighted layers)",
        seeds=True,
        verdicts=True,
        single="How large is training error?",
    ),
)


def _column(panel: Panel, rows: pd.DataFrame, heading: list[str], conditions: list[str], data: FigureData) -> alt.VConcatChart:
    """The panels of one question below each other; all have the same axes."""
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("x:Q", title=panel.x_title), alt.Tooltip("value:Q", title=panel.measured)]
    charts = []
    for number, name in enumerate(conditions, 1):
        base = alt.Chart(rows[rows["condition"] == name]).encode(
            x=_x(panel, rows, labels=number == len(conditions)), color=color(rows, data.frames.arms)
        )
        line = base.mark_line(strokeWidth=2.5).encode(y=_y(panel, rows))
        dots = base.mark_circle(size=36, opacity=0.55).encode(y=_y(panel, rows, "value"), tooltip=tips)
        chart = line + dots if panel.seeds else line.encode(tooltip=tips)
        title = _effects(data, name) if panel.verdicts else "deepest networks" if name == NO_AXIS else name
        height = HEIGHTS[len(conditions) - 1]
        charts.append(chart.properties(width=WIDTH, height=height, title=alt.Title(title, fontSize=12, offset=4)))
    question = alt.Title(heading, subtitle=panel.measured, fontSize=14, subtitleFontSize=11, offset=8)
    figure: alt.VConcatChart = alt.vconcat(*charts, spacing=6).properties(title=question)
    return figure


def _x(panel: Panel, rows: pd.DataFrame, *, labels: bool) -> alt.X:
    """The horizontal axis; only the lowest panel has labels."""
    x = alt.X("x:Q", title=panel.x_title if labels else None)
    if not panel.seeds:
        return x.scale(nice=False).axis(tickMinStep=1, tickCount=8, grid=False, labels=labels, ticks=labels)
    depths = sorted(int(depth) for depth in rows["x"].unique())
    return x.scale(type="log", base=2, nice=False, padding=12).axis(values=depths, grid=False, labels=labels, ticks=labels)


def _y(panel: Panel, rows: pd.DataFrame, value: str = "") -> alt.Y:
    """The vertical axis: a share of networks, or orders of magnitude, of which at least one in each direction is shown."""
    if panel.seeds:
        return alt.Y(f"{value or 'median(value)'}:Q", title=None).scale(domain=[0, 1]).axis(format="%", values=[0, 0.5, 1])
    if panel.log:
        decades = max(1, math.ceil(-math.log10(float(rows["value"].min()))))
        step = math.ceil(decades / 3)
        ticks = [10.0**-power for power in range(0, decades + step, step)]
        y = alt.Y("value:Q", title=None).scale(type="log", domain=[ticks[-1], max(1.0, float(rows["value"].max()))])
        return y.axis(values=ticks, labelExpr=LOG_LABEL)
    ends = [min(float(rows["value"].min()), -1.0), max(float(rows["value"].max()), 1.0)]
    return alt.Y("value:Q", title=None).scale(domain=ends, nice=True).axis(tickCount=4)


def _effects(data: FigureData, name: str) -> str:
    """'layer norm, He init: makes trainable': a condition and the effects of few shortcuts in its deepest networks."""
    pairs = [pair for pair in at_deepest(data.pair_findings) if condition(pair.label) == name]
    title = "deepest networks" if name == NO_AXIS else name
    if not 0 < len(pairs) <= MAX_ARMS:
        return title
    effects = [pair.chip if len(pairs) == 1 else f"{pair.residual.name} {pair.chip}" for pair in pairs]
    return f"{title}: {', '.join(effects)}"


def _conditions(data: FigureData) -> list[str]:
    """At most 4 conditions: the first one of each kind of effect at the deepest depth, then the others in their order."""
    every = [str(name) for name in data.frames.results["condition"].unique()]
    first = {finding.effect: condition(finding.label) for finding in reversed(at_deepest(data.pair_findings))}
    chosen = list(dict.fromkeys([*(name for name in first.values() if name in every), *every]))[:MAX_CONDITIONS]
    return [name for name in every if name in chosen]


def _chart(data: FigureData) -> alt.HConcatChart:
    conditions = _conditions(data)
    shown = []
    for panel in PANELS:
        rows = panel.rows(data)
        if len(rows) and len(rows := rows[rows["condition"].isin(conditions)]):
            question = panel.question if len(set(rows["x"])) > 1 else panel.single
            shown.append((panel, rows, textwrap.wrap(question, LETTERS)))
    lines = max(len(heading) for _, _, heading in shown)
    columns = [
        _column(panel, rows, [*[""] * (lines - len(heading)), *heading], conditions, data) for panel, rows, heading in shown
    ]
    figure: alt.HConcatChart = alt.hconcat(*columns, spacing=30, usermeta={"stretch": True})
    return figure


def _sentences(data: FigureData) -> list[str]:
    total = data.frames.results["condition"].nunique()
    return [SENTENCES["shown"].format(shown=MAX_CONDITIONS, total=total)] if total > MAX_CONDITIONS else []


OVERVIEW = Figure(
    section=Section.ANSWER,
    question="What does a shortcut change, in one picture?",
    caption=(
        "Gradients and distances are those of the deepest networks: gradient norm of the activations, and cosine distance of "
        "the activations of two inputs, mean of log10 over seeds. Distances below 1e-6 are drawn there. Lines of training "
        "error connect medians over seeds. Their titles state the effect "
        "of the shortcut on the test accuracy of the deepest networks."
    ),
    chart=_chart,
    condition=lambda data: not data.has_heat_map,
    sentences=_sentences,
)
