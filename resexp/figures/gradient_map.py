"""Gradient norm of the activations over blocks and steps."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import altair as alt
import pandas as pd

from resexp.figures.figure import Figure, FigureData, Section
from resexp.figures.panels import step_map
from resexp.tables.terminal import shade, shade_levels

MAX_STEPS = 6  # logging steps per arm in text


def _chart(data: FigureData) -> alt.FacetChart:
    rows = data.profiles.dropna(subset=["relative"]).round({"relative": 2}).drop(columns=["level", "block"])
    rows["relative"] = rows["relative"].clip(-8, 8)
    color = alt.Color(
        "relative:Q",
        title="orders of magnitude",
        scale=alt.Scale(domain=[-8, -2, 0, 2, 8], range=["#000000", "#5b2a6e", "#e9e4da", "#c2571a", "#7a1f0d"]),
    )
    return step_map(rows, "block boundary", color, alt.Tooltip("relative:Q", format=".2f"))


def _letters(data: FigureData) -> list[str]:
    """Gradient norms of the deepest networks, input first: one row per logging step, relative to the arm's last block."""
    depth = data.profiles["depth"].max()
    deepest = data.profiles[data.profiles["depth"] == depth].dropna(subset=["relative"])
    lines = [f"depth {depth}, |dL/dx| from the stem to the last block; full: norm of the last block, blank: 1e-6 of it"]
    rows = deepest.groupby(["condition", "arm"], sort=False)
    for condition, arms in groupby(rows, key=lambda row: row[0][0]):
        lines += ["", str(condition)]
        for (_, arm), arm_rows in arms:
            lines += _steps(str(arm), arm_rows)
    return lines


def _steps(arm: str, arm_rows: pd.DataFrame) -> list[str]:
    steps: Sequence[Any] = sorted(arm_rows["step"].unique())
    count = min(MAX_STEPS, len(steps))
    shown = sorted({steps[round(n * (len(steps) - 1) / max(1, count - 1))] for n in range(count)})
    lines = []
    for step in shown:
        levels = arm_rows[arm_rows["step"] == step].sort_values("index")["relative"]
        norms = [10 ** min(float(level), 300.0) for level in levels]
        bar = "".join(shade(level) for level in shade_levels(norms, 1.0))
        lines.append(f"  {arm if step == shown[0] else '':<20} step {step:>7}  |{bar}|")
    return lines


GRADIENT_MAP = Figure(
    section=Section.GRADIENTS,
    question="Where and when do gradients vanish or explode?",
    caption=(
        "Gradient norm over blocks and steps, relative to the arm's last block, in orders of magnitude: mean over seeds. "
        "Black and purple mean vanishing gradients, orange and red exploding gradients."
    ),
    chart=_chart,
    condition=lambda data: data.has_gradients,
    letters=_letters,
)
