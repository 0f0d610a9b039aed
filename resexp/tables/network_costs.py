"""The costs of networks and of their layers, for `resexp show`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from resexp.tables.model import Column, Table


class Counts(Protocol):
    """Costs of a layer or a network, for one image."""

    @property
    def parameters(self) -> int: ...
    @property
    def multiply_adds(self) -> int: ...
    @property
    def activation_bytes(self) -> int: ...


class Layer(Counts, Protocol):
    """Costs of a layer with weights."""

    @property
    def name(self) -> str: ...
    @property
    def output(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class CostRow:
    """A layer with the number of equal blocks that are omitted after it, or a whole network.

    configurations: those whose networks of this arm are equal.
    """

    configurations: str
    arm: str
    counts: Counts
    layer: str = ""
    output: str = ""
    omitted: int = 0


@dataclass(frozen=True)
class NetworkRows:
    """A network: its layers, each with the number of equal blocks that are omitted after it, and its total cost."""

    configurations: str
    arm: str
    layers: Sequence[tuple[Layer, int]]
    total: Counts


COUNTS: list[Column[CostRow]] = [
    Column(
        "parameters", lambda row: f"{row.counts.parameters:,}", number=True,
        data={"parameters": lambda row: row.counts.parameters},
    ),
    Column(
        "multiply-adds", lambda row: f"{row.counts.multiply_adds:,}", number=True,
        data={"multiply_adds": lambda row: row.counts.multiply_adds},
    ),
    Column(
        "activations", lambda row: f"{row.counts.activation_bytes:,} B", number=True,
        data={"activation_bytes": lambda row: row.counts.activation_bytes},
    ),
]  # fmt: skip
ARM: Column[CostRow] = Column(
    "arm", lambda row: row.arm, "arm", arm=True,
    data={"configurations": lambda row: row.configurations, "arm": lambda row: row.arm},
)  # fmt: skip
NOTES = ["Multiply-adds and activations (saved for the backward pass) are for one image."]


def network_costs(networks: Sequence[NetworkRows]) -> Table[CostRow]:
    """One row for each network."""
    rows = [CostRow(network.configurations, network.arm, network.total) for network in networks]
    group = Column[CostRow]("configurations", lambda row: row.configurations)
    return Table("Cost of each network", [ARM, *COUNTS], rows, group=group, notes=NOTES, key="networks")


def layer_costs(networks: Sequence[NetworkRows]) -> Table[CostRow]:
    """One row for each layer, and for each network as a whole; equal blocks between the first and the last are omitted."""
    rows = []
    for network in networks:
        names = network.configurations, network.arm
        rows += [CostRow(*names, layer, layer.name, str(layer.output), omitted) for layer, omitted in network.layers]
        rows.append(CostRow(*names, network.total, "total (+ norm layers)"))
    return Table(
        title="Cost of each layer",
        key="layers",
        columns=[
            Column(data=ARM.data),
            Column("layer", lambda row: row.layer, data={"layer": lambda row: row.layer}),
            Column("output", lambda row: row.output, data={"output": lambda row: row.output}),
            *COUNTS,
            Column(
                "omitted", lambda row: f"... {row.omitted} more blocks of the same" if row.omitted else "", below="",
                data={"omitted_blocks": lambda row: row.omitted},
            ),
        ],
        rows=rows,
        group=Column("network", lambda row: f"{row.arm}: {row.configurations}"),
        notes=NOTES,
    )  # fmt: skip
