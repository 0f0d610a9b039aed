"""From the settings of a trial to its network: the width of the parameter-matched plain baseline."""

from itertools import count

import pytest
import torch

from resexp import config, training
from resexp.config import SHORTCUT_PROPERTIES
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
        pytest.param("rezero", MLP, id="one scalar per block requires one more unit"),
        pytest.param("{gate: {bias: -1}}", (*MLP, "network.norm=layer"), id="gates, layer norm"),
        pytest.param("gate", (*MLP, "network.init=fixup"), id="Fixup's scalars count"),
        pytest.param("projection", CNN, id="cnn"),
        pytest.param("projection-all", (*CNN, "network.norm=batch", "network.placement=pre"), id="pre"),
        pytest.param("projection", (*CNN, "network.block=bottleneck", "network.depth=[11]"), id="bottleneck"),
    ],
)
def test_the_baseline_is_the_narrowest_plain_network_with_at_least_as_many_parameters(shortcut, overrides):
    more = [f"network.shortcut=[{shortcut}]", "network.plain_width=parameters", "seeds=1"]
    plain, baseline, residual = config.load("digits", [*overrides, *more]).trials
    cell = residual.settings.network
    counts = {
        trial.arm: sum(parameter.numel() for parameter in training.build(trial, (1, 8, 8), 10).parameters())
        for trial in (plain, baseline, residual)
    }
    width = next(width for width in count(1) if parameters(cell, "plain", width) >= counts[residual.arm])

    assert parameters(cell, "plain", width) == counts[baseline.arm]
    assert counts["plain"] < counts[residual.arm] <= counts[baseline.arm]
    assert parameters(cell, "plain", width - 1) < counts[residual.arm]


def test_with_group_norm_its_width_is_a_multiple_of_the_groups():
    cell = config.load("digits", [*MLP, "network.norm=group"]).trials[-1].settings.network
    width = training.matched_plain_width(cell, "projection-all", (1, 8, 8), 10)

    assert width % 8 == 0
    assert parameters(cell, "plain", width - 8) < parameters(cell, "projection-all", 16) <= parameters(cell, "plain", width)


class Half(torch.nn.Module):
    """a = 1, S = x / 2; the constructor reads a value, so it cannot run on the meta device."""

    def __init__(self, _spec):
        super().__init__()
        self.half = float(torch.tensor(0.5))

    def forward(self, x):
        return 1.0, self.half * x


class Weighted(Half):
    """A shortcut with one weight vector per block."""

    def __init__(self, spec):
        super().__init__(spec)
        self.weight = torch.nn.Parameter(torch.ones(spec.outputs[0]))


@pytest.mark.parametrize(("shortcut", "wider"), [(Half, False), (Weighted, True)])
def test_the_parameters_of_a_custom_shortcut_are_counted(shortcut, wider, monkeypatch):
    monkeypatch.setitem(SHORTCUTS, "mine", shortcut)
    cell = config.load("digits", MLP).trials[-1].settings.network
    width = training.matched_plain_width(cell, "mine", (1, 8, 8), 10)

    assert (width > 16) is wider
    assert parameters(cell, "plain", width - 1) < parameters(cell, "mine", 16) <= parameters(cell, "plain", width)


@pytest.mark.parametrize("overrides", [MLP, (*CNN, "network.norm=batch")], ids=["mlp", "cnn"])
def test_only_shortcuts_without_weights_have_no_parameters(overrides):
    cell = config.load("digits", overrides).trials[-1].settings.network
    plain = parameters(cell, "plain", cell.width)
    free = {name for name in SHORTCUTS if parameters(cell, name, cell.width) == plain}

    without_weights = {name for name, properties in SHORTCUT_PROPERTIES.items() if not properties.has_weights}
    assert free - {"projection"} == without_weights  # an mlp has no shape change for a projection
