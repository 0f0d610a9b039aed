"""Test accuracy over depth."""

import altair as alt

from resexp.comparison import Effect
from resexp.figures.figure import Figure, FigureData, Section, after_training
from resexp.figures.panels import over_depth
from resexp.tables.findings import at_deepest
from resexp.tables.frames import Frames
from resexp.tables.sentences import Sentence

SENTENCES = {"diverged": Sentence("{count} of {total} networks diverged and have no dot.", "some networks diverged")}
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
AGREEING = {
    "more accurate": {Effect.MAKES_TRAINABLE, Effect.MORE_ACCURATE},
    "less accurate": {Effect.MAKES_UNTRAINABLE, Effect.LESS_ACCURATE},
}


def _chart(data: FigureData) -> alt.FacetChart:
    return over_depth(data.frames.results, data.frames.arms, "test_accuracy", "test accuracy")


def _finding(data: FigureData) -> str:
    pairs = at_deepest(data.pair_findings)
    effects = {pair.effect for pair in pairs}
    for name, kinds in AGREEING.items():
        if effects and effects <= kinds:
            return after_training(TITLES[name].format(depth=pairs[0].label["depth"]), data)
    return ""


def sentences(frames: Frames) -> list[str]:
    """The number of networks that are not drawn."""
    count = int(frames.results["test_accuracy"].isna().sum())
    return [SENTENCES["diverged"].format(count=count, total=len(frames.results))] if count else []


ACCURACY = Figure(
    section=Section.CONDITIONS,
    question="How accurate are networks with and without a shortcut?",
    caption="Test accuracy with the final weights over depth. Each dot is a seed, and the line connects medians.",
    chart=_chart,
    finding=_finding,
    sentences=lambda data: sentences(data.frames),
)
