"""Training error over depth."""

from collections.abc import Sequence

import altair as alt

from resexp.comparison import DepthTrend, Flow, flow
from resexp.figures.figure import Figure, FigureData, Section, after_training
from resexp.figures.panels import over_depth
from resexp.inference import DegradationVerdict, Difference
from resexp.tables import labels
from resexp.tables.sentences import Sentence, grouped

SENTENCES = {
    "rises": Sentence(
        "{verdict} although gradients do not vanish at initialization",
        "the verdict is 'degrades', and gradients of the deepest networks are not vanishing at initialization",
    ),
    "vanishes": Sentence(
        "{verdict} although gradients vanish at initialization",
        "the verdict is 'does not degrade', and the deepest networks are all above chance with gradients that are vanishing at "
        "initialization",
    ),
}
TITLES = {
    "rises": Sentence("Training error of plain networks rises with depth", "every plain arm has the verdict 'degrades'"),
    "rises less": Sentence(
        "Training error of plain networks rises with depth, and less with a shortcut",
        "in addition, the 95% CI of the degradation avoided is above 0 for every arm with a shortcut",
    ),
}


def _chart(data: FigureData) -> alt.FacetChart:
    frame = data.frames.results.assign(train_error=1 - data.frames.results["train_accuracy"])
    return over_depth(frame, data.frames.arms, "train_error", "training error")


def _is_above_zero(difference: Difference | None) -> bool:
    return difference is not None and difference.low is not None and difference.low > 0


def _finding(data: FigureData) -> str:
    rows = data.comparison.depths
    plain, residual = ([row for row in rows if (row.arm == "plain") is is_plain] for is_plain in (True, False))
    if not plain or any(row.degradation.verdict != DegradationVerdict.DEGRADES for row in plain):
        return ""
    less = residual and all(_is_above_zero(row.reduction) for row in residual)
    return after_training(TITLES["rises less" if less else "rises"].text, data)


def sentences(rows: Sequence[DepthTrend]) -> list[str]:
    """The verdicts on each arm, and whether its gradients would suggest another one."""
    return grouped({(row.arm, labels.condition(row.condition)): _kind(row) for row in rows})


def _kind(row: DepthTrend) -> str:
    """The verdict; with a remark if this arm shows only one of degradation and vanishing gradients."""
    verdict = row.degradation.verdict
    vanishing = row.growth is not None and flow(row.growth) == Flow.VANISHING
    if verdict == DegradationVerdict.DEGRADES and row.growth is not None and not vanishing:
        return SENTENCES["rises"].format(verdict=verdict)
    if verdict == DegradationVerdict.DOES_NOT_DEGRADE and vanishing and row.above_chance[0] == row.above_chance[1]:
        return SENTENCES["vanishes"].format(verdict=verdict)
    return str(verdict)


TRAINING_ERROR = Figure(
    section=Section.ERROR,
    question="Does training error rise with depth?",
    caption="Training error over depth, in eval mode. Only it can show degradation: a high test error could be overfitting.",
    chart=_chart,
    finding=_finding,
    sentences=lambda data: sentences(data.comparison.depths),
)
