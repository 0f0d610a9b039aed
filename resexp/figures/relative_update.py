"""Relative update of the weights of each layer."""

import math

from resexp.comparison import Moment
from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import named
from resexp.figures.weight_gradient import by_layer
from resexp.tables.sentences import Sentence

SENTENCES = {
    "updates": Sentence(
        "{condition}: at initialization the median layer changes by {arms} in one step.",
        "relative updates were logged at initialization, and some are positive and finite",
    ),
    "arm": Sentence("{median}% ({arm})", "as 'updates'"),
}


def _sentences(data: FigureData) -> list[str]:
    """The median over layers of the mean relative update in the deepest networks of each condition, at initialization."""
    depth = data.layers["depth"].max()
    rows = data.layers[(data.layers["depth"] == depth) & (data.layers["moment"] == Moment.START)]
    rows = rows.assign(update=rows["update"].fillna(-math.inf))  # an update of exactly 0
    lines = []
    for condition, of_condition in rows.groupby("condition", sort=False, observed=True):
        medians = (
            of_condition.groupby(["arm", "index"], sort=False, observed=True)["update"]
            .mean()
            .groupby("arm", sort=False, observed=True)
            .median()
        )
        arms = [SENTENCES["arm"].format(arm=arm, median=f"{100 * 10**median:.2g}") for arm, median in medians.items()]
        lines.append(SENTENCES["updates"].format(condition=named(condition, f"depth {depth}"), arms=", ".join(arms)))
    return lines


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
