"""Gradient norm of the activations over blocks, relative to the last block."""

import pandas as pd

from resexp.comparison import flow
from resexp.figures.figure import Figure, Section
from resexp.figures.panels import profile
from resexp.tables.frames import Frames, profiles
from resexp.tables.sentences import Sentence, grouped

SENTENCES = {
    "initial": Sentence("{flow} at initialization", "gradients of networks of one stage were logged at one step only"),
    "always": Sentence("{flow} throughout training", "the gradients are of one kind at all logging steps"),
    "changes": Sentence("{flow} at first, {last} at the end", "the first and the last kind differ"),
    "returns": Sentence(
        "{flow} except when {other} in between",
        "the gradients are of the same kind at the first and last logging step, and of another in between",
    ),
}


def sentences(frames: Frames) -> list[str]:
    """The kinds of gradients of the deepest networks during training."""
    return grouped({(arm, condition): _kind(growths) for condition, arm, growths in _growths(frames)})


def _kind(growths: pd.Series) -> str:
    kinds = [flow(growth) for growth in growths]
    if len(kinds) == 1:
        return SENTENCES["initial"].format(flow=kinds[0])
    if len(set(kinds)) == 1:
        return SENTENCES["always"].format(flow=kinds[0])
    if kinds[-1] != kinds[0]:
        return SENTENCES["changes"].format(flow=kinds[0], last=kinds[-1])
    return SENTENCES["returns"].format(flow=kinds[0], other=next(kind for kind in kinds if kind != kinds[0]))


def _growths(frames: Frames) -> list[tuple[str, str, pd.Series]]:
    """(condition, arm, growth over the whole network by step) of the deepest networks: mean profile, inner boundaries.

    Only networks of one stage are included, in which all blocks have the same shape.
    """
    level = profiles(frames.signals[~frames.signals["staged"]]).dropna(subset=["relative"])
    rows = []
    for (condition, arm), arm_rows in level.groupby(["condition", "arm"], sort=False):
        deepest = arm_rows[arm_rows["depth"] == arm_rows["depth"].max()]
        blocks = deepest["index"].max()
        inner = deepest[(deepest["index"] > 0) & (deepest["index"] < blocks)]
        growths = blocks * inner.groupby("step").apply(_slope, include_groups=False).dropna()
        if len(growths):
            rows.append((str(condition), str(arm), growths))
    return rows


def _slope(rows: pd.DataFrame) -> float:
    x, y = rows["index"] - rows["index"].mean(), rows["relative"]
    return -float((x * y).sum() / (x * x).sum()) if len(rows) > 1 else float("nan")


GRADIENT_PROFILE = Figure(
    section=Section.GRADIENTS,
    question="How does the gradient profile change during training?",
    caption="Gradient norm of the activations over blocks, relative to the arm's last block: mean of log10 over seeds.",
    chart=lambda data: profile(data, "relative", "log10 |dL/dx|, last block = 0"),
    condition=lambda data: data.has_gradients,
    sentences=lambda data: sentences(data.frames),
)
