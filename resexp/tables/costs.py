"""The cost of each arm, measured by `resexp time`."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from resexp.tables.labels import Labels, cell_text
from resexp.tables.model import Column, Table

Cost = Mapping[str, Any]


def costs_of_steps(name: str, costs: Sequence[Cost], labels: Labels) -> Table[Cost]:
    """One row for each arm of each configuration, with its record in cost.csv as data; labels: of the cells, by their tags."""
    return Table(
        title=f"{name}: cost of a training step",
        key="costs",
        columns=[
            Column("arm", lambda cost: cost["arm"], "arm", arm=True),
            Column("ms per step", lambda cost: _milliseconds(cost, "step_seconds"), number=True),
            Column(
                "quartiles",
                lambda cost: f"[{_milliseconds(cost, 'step_low')}, {_milliseconds(cost, 'step_high')}]",
                number=True,
            ),
            Column("s per epoch", lambda cost: f"{float(cost['epoch_seconds']):.2f}", number=True),
            Column("memory, MB", lambda cost: f"{float(cost['memory_bytes']) / 1e6:,.1f}", number=True),
            Column("\N{MULTIPLICATION SIGN} plain", lambda cost: f"{float(cost['relative']):.2f}", number=True),
            *(Column[Cost](data={key: itemgetter(key)}) for key in (costs[0] if costs else ())),
        ],
        rows=costs,
        group=Column("configuration", lambda cost: cell_text(cost["cell"], labels)),
        notes=[
            "Each arm is trained individually. Times of a step are medians and quartiles.",
            "Memory: weights, gradients, optimizer state and activations saved for the backward pass of a batch.",
            "\N{MULTIPLICATION SIGN} plain: time of a step divided by that of the plain network.",
        ],
    )


def _milliseconds(cost: Cost, key: str) -> str:
    return f"{1e3 * float(cost[key]):.2f}"
