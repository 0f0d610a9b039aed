"""The map: first weights against depth, one field a cell; where shortcuts help, do nothing, and hurt."""

import altair as alt
import pandas as pd

from resexp.tables.frames import Frames, plane

FIELD = 190  # pixels of a map's side


def atlas(frames: Frames) -> alt.VConcatChart:
    """Test accuracy of each arm over depth and gain (n Var(W) of the first weights), and how far it lies above its plain twin.

    Means over seeds; blue fields gain by the shortcut, vermilion ones lose.
    """
    fields = plane(frames.results)
    regions = [_region(str(region), rows) for region, rows in fields.groupby("region", sort=False)]
    figure: alt.VConcatChart = alt.vconcat(*regions).resolve_scale(color="independent")
    return figure


def _region(region: str, fields: pd.DataFrame) -> alt.HConcatChart:
    arms = list(fields["arm"].unique())
    maps = [_map(fields[fields["arm"] == arm], arm, "accuracy", region) for arm in arms]
    maps += [_map(fields[fields["arm"] == arm], f"{arm} - plain", "difference", region) for arm in arms if arm != "plain"]
    figure: alt.HConcatChart = alt.hconcat(*maps).resolve_scale(color="independent")
    return figure


def _map(fields: pd.DataFrame, title: str, column: str, region: str) -> alt.LayerChart:
    """One panel: a field for each gain and depth."""
    data = fields.dropna(subset=[column]).round(4)
    titles = title if region == "all" else [title, region]
    x = alt.X("left:Q", title="depth", scale=alt.Scale(type="log", nice=False), axis=_ticks(data["depth"]))
    y = alt.Y("below:Q", title="gain", scale=alt.Scale(type="log", nice=False), axis=_ticks(data["gain"]))
    tips = ["depth:Q", "gain:Q", alt.Tooltip(f"{column}:Q", format="+.1%" if column == "difference" else ".1%"), "n:Q"]
    chart: alt.LayerChart = (
        alt.Chart(data)
        .mark_rect(stroke="white", strokeWidth=0.4)
        .encode(x=x, x2="right:Q", y=y, y2="above:Q", color=_colour(column), tooltip=tips)
        .properties(width=FIELD, height=FIELD, title=alt.Title(titles, fontSize=12))
    )
    return chart


def _ticks(values: pd.Series) -> alt.Axis:
    return alt.Axis(values=sorted(float(value) for value in values.unique()), format="~g", labelOverlap=True, grid=False)


def _colour(column: str) -> alt.Color:
    if column == "accuracy":
        scale = alt.Scale(domain=[0, 1], scheme="cividis")
        return alt.Color("accuracy:Q", title="accuracy", scale=scale, legend=alt.Legend(format="%", gradientLength=FIELD))
    scale = alt.Scale(domain=[-1, 0, 1], range=["#D55E00", "#f4f1ea", "#0072B2"])
    return alt.Color("difference:Q", title="difference", scale=scale, legend=alt.Legend(format="+%", gradientLength=FIELD))
