"""The weighted layers of a network in depth order, and its block boundaries, by the names that logs use."""

from dataclasses import dataclass

from torch import Tensor, nn

from resexp.networks.blocks import Block, Network


@dataclass(frozen=True)
class WeightedLayer:
    """A layer with a weight: its depth index (0 nearest to the input), its name in logs, the module."""

    index: int
    name: str
    module: nn.Linear | nn.Conv2d

    @property
    def weight(self) -> Tensor:
        return self.module.weight


def weighted_layers(network: Network) -> list[WeightedLayer]:
    """The weighted layers in depth order; a shortcut's map follows under the index of its block's last layer."""
    layers = [WeightedLayer(0, "stem", _weighted(network.stem)[0])]
    for number, block in enumerate(network.blocks):
        main, maps = _weighted(block.get_submodule("branch")), _weighted(block.get_submodule("shortcut"))
        for n, module in enumerate(main, start=1):
            layers.append(WeightedLayer(layers[-1].index + 1, f"blocks.{number}.layer{n}", module))
        last = layers[-1].index
        layers += [WeightedLayer(last, f"blocks.{number}.shortcut", module) for module in maps]
    return [*layers, WeightedLayer(layers[-1].index + 1, "classifier", network.classifier)]


def branch_weights(block: nn.Module) -> list[Tensor]:
    """The weights of the layers of a block's branch, in their order."""
    return [module.weight for module in _weighted(block.get_submodule("branch"))]


def _weighted(module: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]


def boundary_names(network: Network) -> list[str]:
    """Names of the block boundaries x_0 .. x_L as logs have them: stem, blocks.0, blocks.1, ..."""
    return ["stem", *(f"blocks.{number}" for number in range(len(network.blocks)))]


def boundary_stages(network: Network) -> list[int]:
    """The stage of each boundary's producer; the stem counts to the first."""
    return [0, *(block.stage for block in network.blocks if isinstance(block, Block))]
