"""The heat map over depth and init_scale: where shortcuts help, make no difference, or hurt."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import named
from resexp.tables.colors import PLAIN, RESIDUAL, arm_colors
from resexp.tables.formats import percent
from resexp.tables.frames import Frames
from resexp.tables.planes import ALL_DIVERGED, MIXED, TRAINED, plane, separated
from resexp.tables.sentences import Sentence

SIDE = 190  # pixels of a panel
MAX_ARMS_PER_ROW = 2
MAX_REACH = 1e6  # layers; drawn if no trainability limit is predicted
INIT_SCALE = "\u03c3_w\u00b2 = fan_in \u00b7 Var(W)"


def _chart(data: FigureData) -> alt.VConcatChart:
    cells = plane(data.frames.results)
    limits = data.frames.boundaries
    regions = [
        _region(str(region), rows, limits[limits["region"] == region], arm_colors(data.frames.arms))
        for region, rows in cells.groupby("region", sort=False)
    ]
    figure: alt.VConcatChart = alt.vconcat(*regions).resolve_scale(color="independent")
    return figure


def _region(
    region: str, cells: pd.DataFrame, limits: pd.DataFrame, colors: Mapping[str, str]
) -> alt.HConcatChart | alt.VConcatChart:
    """Panels of accuracy and of difference with one legend each: in one row, or in two rows if there are many arms."""
    arms = list(cells["arm"].unique())
    accuracies = [_panel(cells, limits, [arm], "accuracy", region, colors) for arm in arms]
    compared = cells[cells["arm"] != "plain"].dropna(subset=["difference"])["arm"].unique()
    differences = [_panel(cells, limits, [arm, "plain"], "difference", region, colors) for arm in compared]
    rows = [alt.hconcat(*panels) for panels in (accuracies, differences) if panels]
    figure: alt.HConcatChart | alt.VConcatChart = alt.hconcat(*rows) if len(arms) <= MAX_ARMS_PER_ROW else alt.vconcat(*rows)
    independent: alt.HConcatChart | alt.VConcatChart = figure.resolve_scale(color="independent")
    return independent


def _panel(
    all_cells: pd.DataFrame, limits: pd.DataFrame, arms: Sequence[str], column: str, region: str, colors: Mapping[str, str]
) -> alt.LayerChart:
    """One panel: a cell for each init_scale and depth of the first arm, and the predicted limit of each arm."""
    cells = all_cells[all_cells["arm"] == arms[0]]
    data = cells.dropna(subset=[column]).round(4)
    title = " - ".join(arms)
    x = alt.X("left:Q", title="depth", scale=_scale(data["left"], data["right"]), axis=_ticks(data["depth"]))
    y = alt.Y("below:Q", title=INIT_SCALE, scale=_scale(data["below"], data["above"]), axis=_ticks(data["init_scale"]))
    tips = _tips(column)
    chart = alt.Chart(data).mark_rect(stroke="white", strokeWidth=0.4)
    layers = [chart.encode(x=x, x2=alt.X2("right:Q"), y=y, y2=alt.Y2("above:Q"), color=_color(column), tooltip=tips)]
    for arm in arms:
        reach = limits[limits["arm"] == arm].assign(reach=limits["reach"].clip(upper=MAX_REACH)).round(4)
        line = alt.Chart(reach).encode(x=alt.X("reach:Q"), y=alt.Y("init_scale:Q"), order=alt.Order("init_scale:Q"))
        for width, paint in ((4.0, "white"), (2.0, colors[arm])):
            layers.append(line.mark_line(clip=True, strokeWidth=width, color=paint))
    layers += _marks(cells, column, tips)
    heading = alt.Title(title if region == "all" else [title, region], fontSize=12)
    return alt.LayerChart(layer=layers, width=SIDE, height=SIDE, title=heading)


def _tips(column: str) -> list[alt.Tooltip]:
    """The tooltips of a cell: the median or the difference of medians, with range and outcomes of its seeds."""
    tips = [alt.Tooltip("depth:Q"), alt.Tooltip("init_scale:Q", title=INIT_SCALE)]
    if column == "difference":
        tips += [alt.Tooltip("difference:Q", title="difference of medians", format="+.1%")]
        return [*tips, alt.Tooltip("outcomes:N", title="seeds"), alt.Tooltip("plain_outcomes:N", title="seeds of plain")]
    tips += [alt.Tooltip("accuracy:Q", title="median test accuracy", format=".1%")]
    tips += [alt.Tooltip(f"{end}:Q", format=".1%") for end in ("lowest", "highest")]
    return [*tips, alt.Tooltip("outcomes:N", title="seeds")]


def _marks(cells: pd.DataFrame, column: str, tips: Sequence[alt.Tooltip]) -> list[alt.Chart]:
    """A mark on each cell whose seeds have different outcomes or all diverged; in a difference also those of the plain arm."""
    marks = cells["mark"]
    if column == "difference":
        marks = marks.where(marks != "", cells["plain_mark"])
    marked = cells.assign(mark=marks)[marks != ""].round(4)
    if marked.empty:
        return []
    scale = alt.Scale(domain=[MIXED, ALL_DIVERGED], range=["circle", "cross"])
    legend = alt.Legend(symbolStrokeColor="black", symbolFillColor="transparent")
    shape = alt.Shape("mark:N", title="seeds", scale=scale, legend=legend)
    encoded = alt.Chart(marked).encode(x=alt.X("depth:Q"), y=alt.Y("init_scale:Q"), shape=shape, tooltip=list(tips))
    halo = encoded.mark_point(size=55, strokeWidth=3.5, color="white", filled=False)
    return [halo, encoded.mark_point(size=55, strokeWidth=1.5, color="black", filled=False)]


def _scale(low: pd.Series, high: pd.Series) -> alt.Scale:
    return alt.Scale(type="log", nice=False, domain=[float(low.min()), float(high.max())])


def _ticks(values: pd.Series) -> alt.Axis:
    return alt.Axis(values=sorted(float(value) for value in values.unique()), format="~g", labelOverlap=True, grid=False)


def _color(column: str) -> alt.Color:
    if column == "accuracy":
        scale = alt.Scale(domain=[0, 1], scheme="cividis")
        return alt.Color("accuracy:Q", title="test accuracy", scale=scale, legend=alt.Legend(format="%", gradientLength=SIDE))
    scale = alt.Scale(domain=[-1, 0, 1], range=[PLAIN, "#f4f1ea", RESIDUAL[0]], interpolate="rgb")
    return alt.Color("difference:Q", title="difference", scale=scale, legend=alt.Legend(format="+%", gradientLength=SIDE))


SENTENCES = {
    "map": Sentence(
        "{arm}: at least {change} points above plain in {better} of {total} configurations, at least {change} below in {worse} "
        "(range {lowest} to {highest}).",
        "both arms have an accuracy in a configuration of the heat map",
    ),
    "mixed": Sentence(
        "outcomes differ across seeds in {count} of {total} configurations (circles)",
        "seeds of a configuration of the heat map have different outcomes",
    ),
    "diverged networks": Sentence("{count} of {total} networks diverged", "networks of the heat map diverged"),
    "blank": Sentence(
        "{count} configurations are blank because their median network diverged",
        "the median network of a configuration diverged",
    ),
    "theory": Sentence("{arm}: {sides}.", "a formula predicts the trainability limit"),
    "separated": Sentence(
        "{arm}: {reach} of {total} configurations are on the predicted side of the limit ({gradient} with the limit of the "
        "gradient alone, {distance} with that of the cosine distance); a configuration trains with at least {share} of the "
        "arm's highest median accuracy.",
        "a limit is predicted in the range of the heat map",
    ),
    "side": Sentence(
        "{side}: {count} configurations, median accuracy {median}% (range {lowest}% to {highest}%)",
        "configurations are on this side of the predicted limit",
    ),
}
MIN_CHANGE = 0.05  # of accuracy, in the sentences


def sentences(frames: Frames) -> list[str]:
    """The number of configurations in which each shortcut helps or hurts, and the accuracies around the predicted limit."""
    lines = []
    for (region, arm), arm_rows in plane(frames.results).groupby(["region", "arm"], sort=False):
        differences = arm_rows["difference"].dropna()
        if arm != "plain" and len(differences):
            lowest, highest = (percent(value, sign="+") for value in (differences.min(), differences.max()))
            better, worse = int((differences >= MIN_CHANGE).sum()), int((differences <= -MIN_CHANGE).sum())
            counts = {"better": better, "worse": worse, "total": len(differences)}
            ends = {"change": f"{100 * MIN_CHANGE:g}", "lowest": lowest, "highest": highest}
            lines.append(SENTENCES["map"].format(arm=named(region, arm), **counts, **ends))
        lines += _sides(named(region, arm), arm_rows, frames.boundaries)
    return [*lines, *_outcomes(frames.results)]


def _outcomes(results: pd.DataFrame) -> list[str]:
    """For each arm: configurations whose seeds have different outcomes, diverged networks, configurations without a median."""
    with_scale = results.dropna(subset=["init_scale"])
    lines = []
    for (region, arm), cells in plane(results).groupby(["region", "arm"], sort=False):
        outcomes = with_scale[(with_scale["region"] == region) & (with_scale["arm"] == arm)]["outcome"]
        diverged, mixed, blank = (outcomes == "diverged").sum(), (cells["mark"] == MIXED).sum(), cells["accuracy"].isna().sum()
        parts = [SENTENCES["mixed"].format(count=mixed, total=len(cells))] if mixed else []
        parts += [SENTENCES["diverged networks"].format(count=diverged, total=len(outcomes))] if diverged else []
        parts += [SENTENCES["blank"].format(count=blank)] if blank else []
        if parts:
            lines.append(f"{named(region, arm)}: {', '.join(parts)}.")
    return lines


def _sides(name: str, arm_rows: pd.DataFrame, limits: pd.DataFrame) -> list[str]:
    """The accuracies within and beyond the predicted limit; empty if no formula is known."""
    known = arm_rows.dropna(subset=["accuracy"]).merge(limits, on=["region", "arm", "init_scale"])
    near = known["depth"] <= known["reach"]
    sides = (
        [("within the predicted limit", near), ("beyond it", ~near)]
        if not near.all()
        else [("no limit is predicted in this range", near)]
    )
    counts = [
        SENTENCES["side"].format(
            side=side,
            count=inside.sum(),
            lowest=percent(known["accuracy"][inside].min()),
            highest=percent(known["accuracy"][inside].max()),
            median=percent(known["accuracy"][inside].median()),
        )
        for side, inside in sides
        if inside.any()
    ]
    lines = [SENTENCES["theory"].format(arm=name, sides="; ".join(counts))] if counts else []
    if not near.all():
        right = separated(arm_rows, limits)
        counted = {limit: count for limit, (count, _) in right.items()}
        lines.append(SENTENCES["separated"].format(arm=name, total=len(known), share=f"{100 * TRAINED:g}%", **counted))
    return lines


ATLAS = Figure(
    section=Section.MAP,
    question="Where does a shortcut help, make no difference, or hurt?",
    caption=(
        "Test accuracy over depth and \u03c3_w\u00b2 (fan_in \u00b7 Var(W) of initial weights), and difference from "
        "plain. Cells show medians over all seeds. Diverged seeds rank below all others, and a cell is blank if the "
        "median seed diverged. Circles mark cells whose seeds have different outcomes, crosses cells in which all seeds "
        "diverged. In a difference, they mark such cells of either arm. In blue cells the shortcut helps, in vermilion "
        "cells it hurts. Lines are the predicted trainability limits: the depth at which the cosine distance of two "
        "inputs falls to e^-6 of its value at the first block, or 6 depth scales of the gradient (16 with batch norm), "
        "whichever is smaller. They have the color of their arm, vermilion for plain. An arm without a line "
        "has no formula, or no limit in this range."
    ),
    chart=_chart,
    condition=lambda data: data.has_heat_map,
    sentences=lambda data: sentences(data.frames),
)
