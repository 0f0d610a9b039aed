"""What each arm costs, as `resexp time` measured it, for a terminal of 80 columns."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any


def cost_lines(name: str, costs: Sequence[dict[str, Any]]) -> list[str]:
    """A line per arm of each cell: milliseconds a step with quartiles, seconds an epoch, memory, time against plain."""
    wide = max([12, *(len(cost["arm"]) for cost in costs)]) + 1
    form = f"  {{:<{wide}}}{{:>9}} {{:<15}}{{:>9}}{{:>11}}{{:>9}}"
    lines = [f"{name}: one training step of each arm alone, timed in turn; median [quartiles]"]
    lines += ["", form.format("arm", "ms/step", "", "s/epoch", "memory MB", "x plain")]
    for cell, of in groupby(costs, key=lambda cost: cost["cell"]):
        lines += ["", cell]
        for cost in of:
            median, low, high = (1e3 * cost[key] for key in ("step_seconds", "step_low", "step_high"))
            values = [f"{median:.2f}", f"[{low:.2f}, {high:.2f}]", f"{cost['epoch_seconds']:.2f}"]
            values += [f"{cost['memory_bytes'] / 1e6:,.1f}", f"{cost['relative']:.2f}"]
            lines.append(form.format(cost["arm"], *values))
    return [*lines, "", "Memory: weights, gradients, optimizer state, what a batch keeps for backward."]
