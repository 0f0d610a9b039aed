"""Paired differences in test accuracy with their intervals: a forest plot over configurations."""

import altair as alt
import pandas as pd

from resexp.comparison import Arm, Comparison
from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import PANEL, color, paneled
from resexp.tables.labels import condition
from resexp.tables.sentences import Sentence

ROW = 17  # pixels
SENTENCES = {
    "arm": Sentence(
        "{arm}: the 95% CI is above 0 in {above} of {total} configurations and below 0 in {below}{without}.",
        "the arm has a paired difference with an interval",
    ),
    "without": Sentence(
        "; {count} others have no interval", "outcomes differ across seeds, a network diverged, or there is a single seed"
    ),
}


def _compared(comparison: Comparison) -> list[tuple[dict[str, str], Arm]]:
    """(label, arm) of all arms that have a plain counterpart."""
    return [
        (cell.label, arm)
        for cell in comparison.cells
        for arm in cell.arms
        if arm.name != "plain" and not arm.same_as_plain and not arm.unmatched
    ]


def _chart(data: FigureData) -> alt.FacetChart:
    rows = pd.DataFrame(
        [
            {
                "condition": condition(label), "arm": arm.name, "depth": int(label["depth"]), "n": arm.difference.n,
                "difference": arm.difference.mean, "low": arm.difference.low, "high": arm.difference.high,
            }
            for label, arm in _compared(data.comparison)
            if arm.difference
        ]
    ).astype({"low": float, "high": float})  # fmt: skip
    rows[["difference", "low", "high"]] = (100 * rows[["difference", "low", "high"]]).round(3)
    shown = [arm for arm in data.frames.arms if arm in set(rows["arm"])]
    depths = sorted(rows["depth"].unique())
    step = alt.Step(ROW * len(shown), **{"for": "position"})
    ends = [alt.Tooltip(f"{end}:Q", format="+.1f") for end in ("difference", "low", "high")]
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("depth:O"), *ends, alt.Tooltip("n:Q", title="seeds")]
    base = alt.Chart().encode(
        y=alt.Y("depth:O", sort=depths, title="depth", axis=alt.Axis(grid=False, domain=False)),
        yOffset=alt.YOffset("arm:N", sort=shown),
        color=color(rows, data.frames.arms).legend(orient="top", values=shown, symbolOpacity=1),
        tooltip=tips,
    )
    title = "residual \u2212 plain, points of test accuracy [95% CI]"
    intervals = base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q", title=title), x2=alt.X2("high:Q"))
    points = base.mark_circle(size=55, opacity=1).encode(x=alt.X("difference:Q", title=title))
    zero = alt.Chart().mark_rule(color="#888888", strokeDash=[4, 3]).encode(x=alt.datum(0))
    return paneled(alt.LayerChart(layer=[zero, intervals, points], data=rows, height=step, width=PANEL), rows)


def _sentences(data: FigureData) -> list[str]:
    """The signs of the intervals of each arm."""
    lines = []
    compared = [arm for _, arm in _compared(data.comparison)]
    for name in dict.fromkeys(arm.name for arm in compared):
        arms = [arm for arm in compared if arm.name == name]
        intervals = [(arm.difference.low, arm.difference.high) for arm in arms if arm.difference]
        ends = [(low, high) for low, high in intervals if low is not None and high is not None]
        if ends:
            above, below = sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends)
            count = len(arms) - len(ends)
            without = SENTENCES["without"].format(count=count) if count else ""
            lines.append(SENTENCES["arm"].format(arm=name, above=above, total=len(ends), below=below, without=without))
    return lines


PAIRED_DIFFERENCES = Figure(
    section=Section.CONDITIONS,
    question="How large are the differences between residual and plain networks?",
    caption=(
        "Difference in test accuracy of each arm and plain in each configuration: mean and 95% CI over seeds, paired by seed. "
        "Intervals are not corrected for the number of configurations."
    ),
    chart=_chart,
    condition=lambda data: any(arm.difference for _, arm in _compared(data.comparison)),
    sentences=_sentences,
)
