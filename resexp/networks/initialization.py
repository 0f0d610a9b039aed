"""How weights start: one rule per name, one random stream per parameter."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resexp import streams
from resexp.networks.blocks import Network
from resexp.networks.layers import branch_weights, weighted_layers


def _leave(_network: Network) -> None:
    """Nothing is changed after the draw."""


@dataclass(frozen=True)
class Init:
    """`draw(weight, generator)` fills a weight; `spread(weight)` is its n Var(W), n = fan_in, from its shape alone.

    `draws_biases`: U(+-1/sqrt(fan_in)) as torch does, else 0. `rescale` changes the network after all is drawn.
    """

    draw: Callable[[Tensor, torch.Generator], object]
    spread: Callable[[Tensor], float]
    draws_biases: bool = False
    rescale: Callable[[Network], None] = _leave


def _delta_orthogonal(weight: Tensor, generator: torch.Generator) -> None:
    """An orthogonal matrix at the kernel's centre, zero around it: arXiv:1806.05393 §2.4. A matrix is its own centre."""
    nn.init.zeros_(weight)
    centre = weight if weight.ndim == 2 else weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]
    nn.init.orthogonal_(centre, generator=generator)


def _fixup(network: Network) -> None:
    """Rules 1 and 2 of arXiv:1901.09321 §3, for L branches of m layers; the scalars of rule 3 are built in.

    The last layer of every branch and the classifier are 0; all other layers of a branch shrink by L^(-1 / (2m - 2)).
    """
    for block in network.blocks:
        *inner, last = branch_weights(block)
        for weight in inner:
            weight.mul_(len(network.blocks) ** (-1 / (2 * len(inner))))
        nn.init.zeros_(last)
    for parameter in network.classifier.parameters():
        nn.init.zeros_(parameter)


INITS: dict[str, Init] = {
    "pytorch": Init(
        lambda w, g: nn.init.kaiming_uniform_(w, a=math.sqrt(5), generator=g),
        lambda _: 1 / 3,
        draws_biases=True,
    ),
    "he": Init(lambda w, g: nn.init.kaiming_normal_(w, generator=g), lambda _: 2.0),  # arXiv:1502.01852 §2.2
    "xavier": Init(lambda w, g: nn.init.xavier_uniform_(w, generator=g), lambda w: 2 * w.shape[1] / (w.shape[1] + w.shape[0])),
    "orthogonal": Init(  # arXiv:1312.6120
        lambda w, g: nn.init.orthogonal_(w, generator=g), lambda w: min(1.0, w[0].numel() / w.shape[0])
    ),
    "delta-orthogonal": Init(_delta_orthogonal, lambda w: min(1.0, w.shape[1] / w.shape[0])),
    "fixup": Init(lambda w, g: nn.init.kaiming_normal_(w, generator=g), lambda _: 2.0, rescale=_fixup),
}


@torch.no_grad()
def initialize(
    network: Network, seed: int, init: str, init_scale: float | None = None, *, zero_init_residual: bool = False
) -> None:
    """Fills every weight and bias from its own stream (seed, parameter name), so twins share what they have in common.

    Scalars and the biases of gates keep the start that they were built with.

    Args:
        network: changed in place.
        seed: of the trial.
        init: a key of INITS.
        init_scale: n Var(W) of hidden layers (stem and branches) instead of the init's own.
        zero_init_residual: every branch ends in zero: its last norm's gain and bias, or its last layer's weight and bias, are 0.
    """
    rule = INITS[init]
    hidden = {id(layer.module) for layer in weighted_layers(network)[:-1] if not layer.name.endswith("shortcut")}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            weight, bias = module.weight, module.bias
            rule.draw(weight, streams.generator(seed, "parameter", f"{name}.weight"))
            if init_scale is not None and id(module) in hidden:
                weight.mul_(math.sqrt(init_scale / rule.spread(weight)))
            if bias is not None:
                bound = weight[0].numel() ** -0.5 if rule.draws_biases else 0.0
                nn.init.uniform_(bias, -bound, bound, generator=streams.generator(seed, "parameter", f"{name}.bias"))
    rule.rescale(network)
    if zero_init_residual:
        _zero_last(network)


def _zero_last(network: Network) -> None:
    """The last norm or layer of each branch becomes 0; of a norm, the zero-gamma of arXiv:1706.02677 §5.1."""
    for block in network.blocks:
        parts = [
            part for part in block.get_submodule("branch").modules() if "weight" in dict(part.named_parameters(recurse=False))
        ]
        for parameter in parts[-1].parameters(recurse=False):
            nn.init.zeros_(parameter)
