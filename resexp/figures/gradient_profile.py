"""Gradient norm of the activations over blocks, relative to the last block."""

import pandas as pd

from resexp.comparison import flow
from resexp.figures.figure import Figure, Section
from resexp.figures.panels import named, profile
from resexp.tables.formats import growth_text
from resexp.tables.frames import Frames, profiles
from resexp.tables.sentences import Sentence

SENTENCES = {
    "profile": Sentence(
        "{arm}, depth {depth}: gradients are {flow} at initialization ({growth} orders of magnitude from output to "
        "input){later}.",
        "gradients of networks of one stage were logged, at initialization at least",
    ),
    "always": Sentence(
        ", and {flow} at every later logging step, up to step {step}", "the gradients are of one kind at all logging steps"
    ),
    "comes and goes": Sentence(
        "; {other} at step {step}, {flow} again at the last logging step",
        "the gradients are of the same kind at the first and last logging step, and of another in between",
    ),
    "from": Sentence(
        "; {flow} from step {step} on",
        "the kind at the last logging step differs from that at initialization, and is the same from this step on",
    ),
}


def sentences(frames: Frames) -> list[str]:
    """The gradients of the deepest networks at initialization, and the logging step at which their kind changes."""
    return [
        SENTENCES["profile"].format(
            arm=named(condition, arm),
            depth=depth,
            flow=flow(growths.iloc[0]),
            growth=growth_text(growths.iloc[0]),
            later=_later(growths),
        )
        for condition, arm, depth, growths in _growths(frames)
    ]


def _growths(frames: Frames) -> list[tuple[str, str, int, pd.Series]]:
    """(condition, arm, depth, growth over the whole network by step) of the deepest networks: mean profile, inner boundaries.

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
            rows.append((str(condition), str(arm), int(deepest["depth"].iloc[0]), growths))
    return rows


def _slope(rows: pd.DataFrame) -> float:
    x, y = rows["index"] - rows["index"].mean(), rows["relative"]
    return -float((x * y).sum() / (x * x).sum()) if len(rows) > 1 else float("nan")


def _later(growths: pd.Series) -> str:
    """'; vanishing from step 5 on'; or that the kind never changes, or that it changes and returns."""
    kinds = [flow(growth) for growth in growths]
    if len(kinds) < 2:
        return ""
    if len(set(kinds)) == 1:
        return SENTENCES["always"].format(flow=kinds[0], step=growths.index[-1])
    if kinds[-1] == kinds[0]:
        other = next(index for index, kind in enumerate(kinds) if kind != kinds[0])
        return SENTENCES["comes and goes"].format(other=kinds[other], step=growths.index[other], flow=kinds[-1])
    last_other = max(index for index, kind in enumerate(kinds) if kind != kinds[-1])
    return SENTENCES["from"].format(flow=kinds[-1], step=growths.index[last_other + 1])


GRADIENT_PROFILE = Figure(
    section=Section.GRADIENTS,
    question="How does the gradient profile change during training?",
    caption="Gradient norm of the activations over blocks, relative to the arm's last block: mean of log10 over seeds.",
    chart=lambda data: profile(data, "relative", "log10 |dL/dx|, last block = 0"),
    condition=lambda data: data.has_gradients,
    sentences=lambda data: sentences(data.frames),
)
