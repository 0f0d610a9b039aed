"""From a trial's settings to its network: the second control, as wide as it takes."""

from itertools import count

import pytest
import torch

from resexp import config, training
from resexp.config import FREE_SHORTCUTS
from resexp.networks import build_network
from resexp.shortcuts import SHORTCUTS

pytestmark = pytest.mark.usefixtures("torch_state")

MLP = ("network.width=16", "network.depth=[8]", "network.norm=none", "network.init=he")
CNN = ("network.family=cnn", "network.width=8", "network.depth=[8]", "network.norm=none", "network.init=he")


def parameters(cell, shortcut, width):
    network = build_network(
        cell.family, depth=cell.depth, width=width, shortcut=shortcut, input_shape=(1, 8, 8), classes=10, block=cell.block,
        block_layers=cell.block_layers, placement=cell.placement, norm=cell.norm, scalars=cell.init == "fixup",
    )  # fmt: skip
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("shortcut", "overrides"),
    [
        pytest.param("projection-all", MLP, id="mlp"),
        pytest.param("rezero", MLP, id="one scalar a block is enough to ask for one more unit"),
        pytest.param("{gate: {bias: -1}}", (*MLP, "network.norm=layer"), id="gates, layer norm"),
        pytest.param("gate", (*MLP, "network.init=fixup"), id="Fixup's scalars count"),
        pytest.param("projection", CNN, id="cnn"),
        pytest.param("projection-all", (*CNN, "network.norm=batch", "network.placement=pre"), id="pre"),
        pytest.param("projection", (*CNN, "network.block=bottleneck", "network.depth=[11]"), id="bottleneck"),
    ],
)
def test_the_second_control_is_the_narrowest_plain_network_with_at_least_as_many_parameters(shortcut, overrides):
    more = [f"network.shortcut=[{shortcut}]", "network.plain_width=parameters", "seeds=1"]
    plain, control, residual = config.load("digits", [*overrides, *more]).trials
    cell = residual.settings.network
    counts = {t.arm: sum(p.numel() for p in training.build(t, (1, 8, 8), 10).parameters()) for t in (plain, control, residual)}
    width = next(width for width in count(1) if parameters(cell, "plain", width) >= counts[residual.arm])

    assert parameters(cell, "plain", width) == counts[control.arm]
    assert counts["plain"] < counts[residual.arm] <= counts[control.arm]
    assert parameters(cell, "plain", width - 1) < counts[residual.arm]


def test_under_group_norm_it_is_a_multiple_of_the_groups():
    cell = config.load("digits", [*MLP, "network.norm=group"]).trials[-1].settings.network
    width = training.matched_plain_width(cell, "projection-all", (1, 8, 8), 10)

    assert width % 8 == 0
    assert parameters(cell, "plain", width - 8) < parameters(cell, "projection-all", 16) <= parameters(cell, "plain", width)


class Half(torch.nn.Module):
    """a = 1, S = x / 2, with a look at a value when it is made: what no network without storage can give."""

    def __init__(self, _place):
        super().__init__()
        self.half = float(torch.tensor(0.5))

    def forward(self, x):
        return 1.0, self.half * x


class Own(Half):
    """One parameter more in each block."""

    def __init__(self, place):
        super().__init__(place)
        self.weight = torch.nn.Parameter(torch.ones(place.outputs[0]))


@pytest.mark.parametrize(("shortcut", "wider"), [(Half, False), (Own, True)])
def test_a_shortcut_of_ones_own_is_counted_as_it_is_trained(shortcut, wider, monkeypatch):
    monkeypatch.setitem(SHORTCUTS, "own", shortcut)
    cell = config.load("digits", MLP).trials[-1].settings.network
    width = training.matched_plain_width(cell, "own", (1, 8, 8), 10)

    assert (width > 16) is wider
    assert parameters(cell, "plain", width - 1) < parameters(cell, "own", 16) <= parameters(cell, "plain", width)


@pytest.mark.parametrize("overrides", [MLP, (*CNN, "network.norm=batch")], ids=["mlp", "cnn"])
def test_the_shortcuts_that_are_listed_as_free_are_those_that_bring_no_parameters(overrides):
    cell = config.load("digits", overrides).trials[-1].settings.network
    plain = parameters(cell, "plain", cell.width)
    free = {name for name in SHORTCUTS if parameters(cell, name, cell.width) == plain}

    assert free - {"projection"} == set(FREE_SHORTCUTS)  # in an mlp a projection has no place
