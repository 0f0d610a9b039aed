"""Relative update of the weights of each layer."""

import math

from resexp.comparison import Moment
from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.weight_gradient import by_layer
from resexp.tables.sentences import Sentence

SENTENCES = {
    "updates": Sentence(
        "At initialization, the median layer of networks of depth {depth} changes by {arms} in one step.",
        "relative updates were logged at initialization, and some are positive and finite",
    ),
    "arm": Sentence("{percent}% ({arm})", "as 'updates'; a range if conditions differ"),
}


def _sentences(data: FigureData) -> list[str]:
    """The median over layers of the mean relative update in the deepest networks, at initialization."""
    depth = data.layers["depth"].max()
    rows = data.layers[(data.layers["depth"] == depth) & (data.layers["moment"] == Moment.START)]
    rows = rows.assign(update=rows["update"].fillna(-math.inf))  # an update of exactly 0
    means = rows.groupby(["condition", "arm", "index"], sort=False, observed=True)["update"].mean()
    medians = means.groupby(["condition", "arm"], sort=False, observed=True).median()
    arms = []
    for arm, by_condition in medians.groupby("arm", sort=False, observed=True):
        ends = dict.fromkeys(f"{100 * 10**end:.2g}" for end in (by_condition.min(), by_condition.max()))
        arms.append(SENTENCES["arm"].format(arm=arm, percent="% to ".join(ends)))
    return [SENTENCES["updates"].format(depth=depth, arms=", ".join(arms))] if arms else []


RELATIVE_UPDATE = Figure(
    section=Section.GRADIENTS,
    question="How much does one step change the weights of each layer?",
    caption=(
        "Relative update |dW| / |W| of each weighted layer in one training step: geometric mean over seeds, on a log axis that "
        "all arms of a condition share. The end is the last logging step."
    ),
    chart=lambda data: by_layer(data, "update", "|dW| / |W|"),
    condition=lambda data: bool(data.layers["update"].notna().any()),
    sentences=_sentences,
)
