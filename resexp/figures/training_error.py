"""Training error over depth."""

from collections.abc import Sequence

import altair as alt

from resexp.comparison import DepthTrend, Flow, flow
from resexp.figures.figure import Figure, FigureData, Section, after_training
from resexp.figures.panels import named, over_depth
from resexp.inference import DegradationVerdict, Difference
from resexp.tables import labels
from resexp.tables.findings import gradient_words
from resexp.tables.formats import closing_text, ends_text, points_text
from resexp.tables.sentences import Sentence

SENTENCES = {
    "error": Sentence("{arm}: training error {verdict}.{addition}", "the arm has finished networks of at least 2 depths"),
    "closing": Sentence("; {closing} of training", "as 'closing' in resexp.tables.formats"),
    "rises": Sentence(
        " Its gradients at initialization are {gradients}, so training error can rise without vanishing gradients.",
        "the verdict is 'degrades', and gradients of the deepest networks are not vanishing at initialization",
    ),
    "vanishes": Sentence(
        " Its gradients at initialization are {gradients}, so gradients can vanish although training error does not rise.",
        "the verdict is 'does not degrade', and the deepest networks are all above chance with gradients that are vanishing at "
        "initialization",
    ),
}
VERDICTS = {
    DegradationVerdict.DEGRADES: Sentence("is higher at the deepest than at the best shallower depth"),
    DegradationVerdict.DOES_NOT_DEGRADE: Sentence("does not rise with depth by the margin"),
    DegradationVerdict.INCONCLUSIVE: Sentence("is not shown to rise with depth"),
    DegradationVerdict.UNTRAINED: Sentence("is at chance, or training diverged"),
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
    """The verdict on each arm's training error, and whether its gradients would suggest another one."""
    return [
        SENTENCES["error"].format(
            arm=named(labels.condition(row.condition), row.arm),
            verdict=f"{VERDICTS[row.degradation.verdict].text}{_by(row)}",
            addition=_contrast_with_gradients(row),
        )
        for row in rows
    ]


def _by(row: DepthTrend) -> str:
    contrast, closing = row.degradation.contrast, closing_text(row)
    text = (
        f": {points_text(contrast)}, {ends_text(row)}"
        if contrast and row.degradation.verdict != DegradationVerdict.UNTRAINED
        else ""
    )
    return text + (SENTENCES["closing"].format(closing=closing) if closing else "")


def _contrast_with_gradients(row: DepthTrend) -> str:
    """A sentence on the difference between degradation and vanishing gradients, if this arm shows only one of them."""
    if row.growth is None:
        return ""
    vanishing = flow(row.growth) == Flow.VANISHING
    if row.degradation.verdict == DegradationVerdict.DEGRADES and not vanishing:
        return SENTENCES["rises"].format(gradients=gradient_words(row.growth))
    if (
        row.degradation.verdict == DegradationVerdict.DOES_NOT_DEGRADE
        and vanishing
        and row.above_chance[0] == row.above_chance[1]
    ):
        return SENTENCES["vanishes"].format(gradients=gradient_words(row.growth))
    return ""


TRAINING_ERROR = Figure(
    section=Section.ERROR,
    question="Does training error rise with depth?",
    caption="Training error over depth, in eval mode. Only it can show degradation: a high test error could be overfitting.",
    chart=_chart,
    finding=_finding,
    sentences=lambda data: sentences(data.comparison.depths),
)
