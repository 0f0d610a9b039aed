"""The cost of each arm, measured by `resexp time`."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from resexp.tables.terminal import fitted


def cost_lines(name: str, costs: Sequence[Mapping[str, Any]]) -> list[str]:
    """For a terminal of 80 columns: a line for each arm of each configuration."""
    width = max([12, *(len(cost["arm"]) for cost in costs)]) + 1
    form = f"  {{:<{width}}}{{:>9}} {{:<15}}{{:>9}}{{:>11}}{{:>9}}"
    lines = [f"{name}: one training step of each arm, trained individually; median [quartiles]"]
    lines += ["", form.format("arm", "ms/step", "", "s/epoch", "memory MB", "x plain")]
    for cell, rows in groupby(costs, key=lambda cost: cost["cell"]):
        lines += ["", cell, *(form.format(cost["arm"], *cost_row(cost)) for cost in rows)]
    return [
        *lines,
        "",
        *fitted(["Memory: weights, gradients, optimizer state and activations saved for the backward pass of a batch."]),
        "x plain: time of a step divided by that of the plain network.",
    ]


def cost_row(cost: Mapping[str, Any]) -> list[str]:
    """Milliseconds per step with quartiles, seconds per epoch, memory, time divided by that of plain."""
    median, low, high = (1e3 * float(cost[key]) for key in ("step_seconds", "step_low", "step_high"))
    values = [f"{median:.2f}", f"[{low:.2f}, {high:.2f}]", f"{float(cost['epoch_seconds']):.2f}"]
    return [*values, f"{float(cost['memory_bytes']) / 1e6:,.1f}", f"{float(cost['relative']):.2f}"]
