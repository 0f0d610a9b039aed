"""What each arm costs, as `resexp time` measured it."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any


def cost_lines(name: str, costs: Sequence[Mapping[str, Any]]) -> list[str]:
    """For a terminal of 80 columns: a line per arm of each cell."""
    wide = max([12, *(len(cost["arm"]) for cost in costs)]) + 1
    form = f"  {{:<{wide}}}{{:>9}} {{:<15}}{{:>9}}{{:>11}}{{:>9}}"
    lines = [f"{name}: one training step of each arm alone, timed in turn; median [quartiles]"]
    lines += ["", form.format("arm", "ms/step", "", "s/epoch", "memory MB", "x plain")]
    for cell, of in groupby(costs, key=lambda cost: cost["cell"]):
        lines += ["", cell, *(form.format(cost["arm"], *cost_row(cost)) for cost in of)]
    return [*lines, "", "Memory: weights, gradients, optimizer state, what a batch keeps for backward."]


def cost_row(cost: Mapping[str, Any]) -> list[str]:
    """Milliseconds a step with quartiles, seconds an epoch, memory, time against plain."""
    median, low, high = (1e3 * float(cost[key]) for key in ("step_seconds", "step_low", "step_high"))
    values = [f"{median:.2f}", f"[{low:.2f}, {high:.2f}]", f"{float(cost['epoch_seconds']):.2f}"]
    return [*values, f"{float(cost['memory_bytes']) / 1e6:,.1f}", f"{float(cost['relative']):.2f}"]
