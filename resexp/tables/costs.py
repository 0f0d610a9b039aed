"""The cost of each arm, measured by `resexp time`."""

from collections.abc import Mapping, Sequence
from typing import Any

from resexp.tables.model import Column, Table
from resexp.tables.text_layout import plain_lines

Cost = Mapping[str, Any]


def cost_lines(name: str, costs: Sequence[Cost]) -> list[str]:
    """For a terminal of 80 columns."""
    table = costs_of_steps(name, costs)
    return [table.title, "", *plain_lines(table)]


def costs_of_steps(name: str, costs: Sequence[Cost]) -> Table[Cost]:
    """One row for each arm of each configuration."""
    return Table(
        title=f"{name}: cost of a training step",
        columns=[
            Column("arm", lambda cost: cost["arm"], "arm", arm=True),
            Column("ms per step", lambda cost: f"{_milliseconds(cost, 'step_seconds'):.2f}", number=True),
            Column("quartiles", _quartiles, number=True),
            Column("s per epoch", lambda cost: f"{float(cost['epoch_seconds']):.2f}", number=True),
            Column("memory, MB", lambda cost: f"{float(cost['memory_bytes']) / 1e6:,.1f}", number=True),
            Column("\N{MULTIPLICATION SIGN} plain", lambda cost: f"{float(cost['relative']):.2f}", number=True),
        ],
        rows=costs,
        group=Column("configuration", lambda cost: cost["cell"]),
        notes=[
            "Each arm is trained individually. Times of a step are medians and quartiles.",
            "Memory: weights, gradients, optimizer state and activations saved for the backward pass of a batch.",
            "\N{MULTIPLICATION SIGN} plain: time of a step divided by that of the plain network.",
        ],
    )


def _milliseconds(cost: Cost, key: str) -> float:
    return 1e3 * float(cost[key])


def _quartiles(cost: Cost) -> str:
    return f"[{_milliseconds(cost, 'step_low'):.2f}, {_milliseconds(cost, 'step_high'):.2f}]"
