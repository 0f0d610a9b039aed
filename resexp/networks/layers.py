"""The weighted layers of a network in depth order, and its block boundaries, with the names that logs use."""

from dataclasses import dataclass

from torch import Tensor, nn

from resexp.networks.blocks import Block, Network


@dataclass(frozen=True)
class WeightedLayer:
    """A weighted layer: its depth index (0 is nearest to the input), its name in logs, and the module."""

    index: int
    name: str
    module: nn.Linear | nn.Conv2d

    @property
    def weight(self) -> Tensor:
        return self.module.weight


def weighted_layers(network: Network) -> list[WeightedLayer]:
    """The weighted layers in depth order; the map of a shortcut follows the last layer of its block, with the same index."""
    layers = [WeightedLayer(0, "stem", _weighted(network.stem)[0])]
    for number, block in enumerate(network.blocks):
        branch_layers, maps = _weighted(block.get_submodule("branch")), _weighted(block.get_submodule("shortcut"))
        for n, module in enumerate(branch_layers, start=1):
            layers.append(WeightedLayer(layers[-1].index + 1, f"blocks.{number}.layer{n}", module))
        last = layers[-1].index
        layers += [WeightedLayer(last, f"blocks.{number}.shortcut", module) for module in maps]
    return [*layers, WeightedLayer(layers[-1].index + 1, "classifier", network.classifier)]


def branch_weights(block: nn.Module) -> list[Tensor]:
    """The weights of the layers of the branch of a block, in order."""
    return [module.weight for module in _weighted(block.get_submodule("branch"))]


def _weighted(module: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def boundary_names(network: Network) -> list[str]:
    """Names of the block boundaries x_0 .. x_L in logs: stem, blocks.0, blocks.1, ..."""
    return ["stem", *(f"blocks.{number}" for number in range(len(network.blocks)))]


def boundary_stages(network: Network) -> list[int]:
    """The stage of the block that outputs each boundary; the stem belongs to the first stage."""
    return [0, *(block.stage for block in network.blocks if isinstance(block, Block))]
