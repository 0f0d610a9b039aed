"""Training accuracy over quantities at initialization: which of them predicts whether a network trains?"""

import math

import altair as alt
import pandas as pd

from resexp.comparison import PREDICTORS
from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import color, tooltips
from resexp.tables.labels import label_text
from resexp.tables.predictors import interval_text
from resexp.tables.sentences import Sentence

SIDE = 220  # pixels of a panel
SMALLEST = 1e-16  # on logarithmic axes; rounding errors of a distance are as large
SENTENCES = {
    "correlations": Sentence(
        "Spearman correlation with training accuracy [95% CI]: {correlations}.",
        "at least eight arms have a value of the predictor, and their training accuracies differ",
    ),
    "correlation": Sentence("{predictor} {value} {interval}", "as above"),
}


def _chart(data: FigureData) -> alt.VConcatChart:
    arms = data.comparison.trainability.arms
    columns = {name: [arm.initial.get(name, math.nan) for arm in arms] for name in data.comparison.trainability.correlations()}
    frame = pd.DataFrame(
        {
            "arm": [arm.name for arm in arms],
            "configuration": [label_text(arm.label) for arm in arms],
            "train_accuracy": [round(arm.train_accuracy, 4) for arm in arms],
            **columns,
        }
    )
    panels = []
    for name in columns:
        predictor = PREDICTORS[name]
        largest = frame[name][frame[name] < math.inf].max()
        rows = frame[["arm", "configuration", "train_accuracy", name]].dropna()
        rows[name] = [float(f"{number:.4g}") for number in rows[name].clip(SMALLEST, largest)]
        axis = alt.Axis(grid=False, tickCount=5, format="~e" if predictor.log else "~g", labelOverlap=True)
        x = alt.X(f"{name}:Q", title=predictor.label, scale=alt.Scale(type="log" if predictor.log else "linear"), axis=axis)
        y = alt.Y("train_accuracy:Q", title="training accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
        tips = [
            *tooltips("arm:N", "configuration:N"),
            alt.Tooltip("train_accuracy:Q", format=".1%"),
            alt.Tooltip(f"{name}:Q", format=".3g"),
        ]
        chart = (
            alt.Chart(rows)
            .mark_circle(size=42, opacity=0.7)
            .encode(x=x, y=y, color=color(frame, data.frames.arms), tooltip=tips)
        )
        panels.append(chart.properties(width=SIDE, height=SIDE))
    figure: alt.VConcatChart = alt.vconcat(alt.hconcat(*panels))
    return figure


def _sentences(data: FigureData) -> list[str]:
    correlations = [
        SENTENCES["correlation"].format(
            predictor=PREDICTORS[name].label,
            value=f"{correlation.value:.2f}",
            interval=interval_text(correlation),
        )
        for name, correlation in data.comparison.trainability.correlations().items()
    ]
    return [SENTENCES["correlations"].format(correlations=", ".join(correlations))]


PREDICTED_ACCURACY = Figure(
    section=Section.INPUTS,
    question="What predicts trainability?",
    caption=(
        "Final training accuracy of each arm in each configuration, over quantities at initialization; means over seeds. "
        "Cosine distance is measured at the last block boundary, gradient growth over all blocks, in orders of magnitude."
    ),
    chart=_chart,
    condition=lambda data: bool(data.comparison.trainability.correlations()),
    sentences=_sentences,
    beside_map=True,
)
