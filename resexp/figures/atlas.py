"""The heat map over depth and init_scale: where shortcuts help, make no difference, or hurt."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from resexp.tables.colors import PLAIN, RESIDUAL
from resexp.tables.frames import Frames
from resexp.tables.planes import ALL_DIVERGED, MIXED, plane

SIDE = 190  # pixels of a panel
MAX_ARMS_PER_ROW = 2
MAX_REACH = 1e6  # layers; drawn if no trainability limit is predicted
INIT_SCALE = "\u03c3_w\u00b2 = fan_in \u00b7 Var(W)"


def atlas(frames: Frames) -> alt.VConcatChart:
    """Test accuracy over depth and \u03c3_w\u00b2 (fan_in \u00b7 Var(W) of initial weights), and difference from plain.

    Cells show medians over all seeds. Diverged seeds rank below all others, and a cell is blank if the median seed diverged.
    Circles mark cells whose seeds have different outcomes, crosses cells in which all seeds diverged. In a difference, they
    mark such cells of either arm. In blue cells the shortcut helps, in vermilion cells it hurts. Lines are the predicted
    trainability limits: 6 depth scales of the gradient at initialization, 16 with batch norm. They are vermilion for plain and
    blue for the arm with a shortcut. An arm without a line has no formula, or no limit in this range.
    """
    cells = plane(frames.results)
    limits = frames.boundaries
    regions = [
        _region(str(region), rows, limits[limits["region"] == region]) for region, rows in cells.groupby("region", sort=False)
    ]
    figure: alt.VConcatChart = alt.vconcat(*regions).resolve_scale(color="independent")
    return figure


def _region(region: str, cells: pd.DataFrame, limits: pd.DataFrame) -> alt.HConcatChart | alt.VConcatChart:
    """Panels of accuracy and of difference with one legend each: in one row, or in two rows if there are many arms."""
    arms = list(cells["arm"].unique())
    accuracies = [_panel(cells, limits, [arm], "accuracy", region) for arm in arms]
    compared = cells[cells["arm"] != "plain"].dropna(subset=["difference"])["arm"].unique()
    differences = [_panel(cells, limits, [arm, "plain"], "difference", region) for arm in compared]
    rows = [alt.hconcat(*panels) for panels in (accuracies, differences) if panels]
    figure: alt.HConcatChart | alt.VConcatChart = alt.hconcat(*rows) if len(arms) <= MAX_ARMS_PER_ROW else alt.vconcat(*rows)
    independent: alt.HConcatChart | alt.VConcatChart = figure.resolve_scale(color="independent")
    return independent


def _panel(all_cells: pd.DataFrame, limits: pd.DataFrame, arms: Sequence[str], column: str, region: str) -> alt.LayerChart:
    """One panel: a cell for each init_scale and depth of the first arm, and the predicted limit of each arm."""
    cells = all_cells[all_cells["arm"] == arms[0]]
    data = cells.dropna(subset=[column]).round(4)
    title = " - ".join(arms)
    x = alt.X("left:Q", title="depth", scale=_scale(data["left"], data["right"]), axis=_ticks(data["depth"]))
    y = alt.Y("below:Q", title=INIT_SCALE, scale=_scale(data["below"], data["above"]), axis=_ticks(data["init_scale"]))
    tips = _tips(column)
    chart = alt.Chart(data).mark_rect(stroke="white", strokeWidth=0.4)
    layers = [chart.encode(x=x, x2="right:Q", y=y, y2="above:Q", color=_color(column), tooltip=tips)]
    for arm in arms:
        reach = limits[limits["arm"] == arm].assign(reach=limits["reach"].clip(upper=MAX_REACH)).round(4)
        line = alt.Chart(reach).encode(x="reach:Q", y="init_scale:Q", order="init_scale:Q")
        for width, paint in ((4.0, "white"), (2.0, PLAIN if arm == "plain" else RESIDUAL[0])):
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
    encoded = alt.Chart(marked).encode(x="depth:Q", y="init_scale:Q", shape=shape, tooltip=list(tips))
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
