"""Test accuracy over depth."""

import altair as alt
import pandas as pd

from resexp.comparison import Effect
from resexp.figures.figure import Figure, FigureData, Section, after_training
from resexp.figures.panels import named, over_depth
from resexp.tables.findings import deepest
from resexp.tables.formats import percent
from resexp.tables.frames import Frames
from resexp.tables.sentences import Sentence

SENTENCES = {
    "accuracy": Sentence("{arms}.", "always: medians over seeds at the smallest and the largest depth"),
    "diverged": Sentence("{count} of {total} diverged", "networks diverged at this depth"),
}
TITLES = {
    "more accurate": Sentence(
        "At depth {depth} networks with a shortcut are more accurate",
        "at the deepest depth every pair is 'makes trainable' or 'more accurate'",
    ),
    "less accurate": Sentence(
        "At depth {depth} networks with a shortcut are less accurate",
        "at the deepest depth every pair is 'makes untrainable' or 'less accurate'",
    ),
}


def _chart(data: FigureData) -> alt.FacetChart:
    return over_depth(data.frames.results, data.frames.arms, "test_accuracy", "test accuracy")


def _finding(data: FigureData) -> str:
    depth = deepest(data.pair_findings)
    effects = {finding.effect for finding in data.pair_findings if int(finding.label["depth"]) == depth}
    if effects and effects <= {Effect.MAKES_TRAINABLE, Effect.MORE_ACCURATE}:
        return after_training(TITLES["more accurate"].format(depth=depth), data)
    worse = effects and effects <= {Effect.MAKES_UNTRAINABLE, Effect.LESS_ACCURATE}
    return after_training(TITLES["less accurate"].format(depth=depth), data) if worse else ""


def sentences(frames: Frames) -> list[str]:
    """The median of each arm at the smallest and at the largest depth, for each condition."""
    lines = []
    for condition, rows in frames.results.groupby("condition", sort=False):
        spans = "; ".join(_span(str(arm), arm_rows) for arm, arm_rows in rows.groupby("arm", sort=False))
        lines.append(SENTENCES["accuracy"].format(arms=f"{named(condition)}: {spans}" if condition != "all" else spans))
    return lines


def _span(arm: str, rows: pd.DataFrame) -> str:
    """'plain 94.2% at depth 8, 10.0% (1 of 3 diverged) at depth 64'."""
    ends = [rows[rows["depth"] == depth] for depth in sorted({rows["depth"].min(), rows["depth"].max()})]
    return f"{arm} " + ", ".join(f"{_median(rows_at)} at depth {rows_at['depth'].iloc[0]}" for rows_at in ends)


def _median(rows: pd.DataFrame) -> str:
    """'94.2%'; diverged networks are left out of the median and counted."""
    known = rows["test_accuracy"].dropna().astype(float)
    missing = len(rows) - len(known)
    diverged = SENTENCES["diverged"].format(count=missing, total=len(rows)) if missing else ""
    if not len(known):
        return diverged
    return f"{percent(known.median())}%" + (f" ({diverged})" if diverged else "")


ACCURACY = Figure(
    section=Section.CONDITIONS,
    question="How accurate are networks with and without a shortcut?",
    caption="Test accuracy with the final weights over depth. Each dot is a seed, and the line connects medians.",
    chart=_chart,
    finding=_finding,
    sentences=lambda data: sentences(data.frames),
)
