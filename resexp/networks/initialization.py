"""Initialization: one rule per name, one random stream per parameter."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from resexp import streams
from resexp.networks.blocks import Network
from resexp.networks.layers import branch_weights, weighted_layers


def _no_rescaling(_network: Network) -> None:
    """Leaves the network unchanged."""


@dataclass(frozen=True)
class Init:
    """An initialization. `draw(weight, generator=...)` fills a weight; `scale(weight)` is fan_in * Var(W) for its shape.

    `draws_biases`: biases are U(+-1/sqrt(fan_in)), as in torch, instead of 0. `rescale` changes the network after all draws.
    `mirrors`: only W of each weight [[W, -W], [-W, W]] is drawn. The stem is [W; -W], the classifier is [W, -W].
    """

    draw: Callable[..., object]
    scale: Callable[[Tensor], float]
    draws_biases: bool = False
    rescale: Callable[[Network], None] = _no_rescaling
    mirrors: bool = False


def _delta_orthogonal(weight: Tensor, generator: torch.Generator) -> None:
    """An orthogonal matrix at the center of the kernel, 0 elsewhere: arXiv:1806.05393 §2.4. A matrix has only a center."""
    nn.init.zeros_(weight)
    center = weight if weight.ndim == 2 else weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]
    nn.init.orthogonal_(center, generator=generator)


def _identity(weight: Tensor, generator: torch.Generator) -> None:
    """The identity matrix, or the kernel of the identity (a Dirac kernel); He initialization if the layer changes width."""
    if weight.shape[0] != weight.shape[1]:
        nn.init.kaiming_normal_(weight, generator=generator)
    elif weight.ndim == 2:
        nn.init.eye_(weight)
    else:
        nn.init.dirac_(weight)


def _mirror(weight: Tensor, *, rows: bool, columns: bool, draw: Callable[[Tensor], object]) -> None:
    """Fills a weight with a drawn W and its negative: [[W, -W], [-W, W]], along (input) channels in a convolution.

    A layer maps (relu(z), relu(-z)) to (Wz, -Wz), because relu(z) - relu(-z) = z.
    """
    outputs, inputs = weight.shape[0] // (2 if rows else 1), weight.shape[1] // (2 if columns else 1)
    draw(weight[:outputs, :inputs])
    if columns:
        weight[:outputs, inputs:] = -weight[:outputs, :inputs]
    if rows:
        weight[outputs:] = -weight[:outputs]


def _fixup(network: Network) -> None:
    """Rules 1 and 2 of arXiv:1901.09321 §3, for L branches of m layers; `build_network` adds the scalars of rule 3.

    The last layer of every branch and the classifier are 0; other branch layers are multiplied by L^(-1 / (2m - 2)).
    """
    for block in network.blocks:
        *inner, last = branch_weights(block)
        for weight in inner:
            weight.mul_(len(network.blocks) ** (-1 / (2 * len(inner))))
        nn.init.zeros_(last)
    for parameter in network.classifier.parameters():
        nn.init.zeros_(parameter)


INITS: dict[str, Init] = {
    "pytorch": Init(partial(nn.init.kaiming_uniform_, a=math.sqrt(5)), lambda _: 1 / 3, draws_biases=True),
    "he": Init(nn.init.kaiming_normal_, lambda _: 2.0),  # arXiv:1502.01852 §2.2
    "xavier": Init(nn.init.xavier_uniform_, lambda w: 2 * w.shape[1] / (w.shape[1] + w.shape[0])),
    "orthogonal": Init(nn.init.orthogonal_, lambda w: min(1.0, w[0].numel() / w.shape[0])),  # arXiv:1312.6120
    "delta-orthogonal": Init(_delta_orthogonal, lambda w: min(1.0, w.shape[1] / w.shape[0])),
    "fixup": Init(nn.init.kaiming_normal_, lambda _: 2.0, rescale=_fixup),
    "identity": Init(_identity, lambda w: 1.0 if w.shape[0] == w.shape[1] else 2.0),
    # arXiv:1702.08591; the scale is that of a hidden layer
    "looks-linear": Init(_delta_orthogonal, lambda w: 2 * min(1.0, w.shape[1] / w.shape[0]), mirrors=True),
}


@torch.no_grad()
def initialize(
    network: Network, seed: int, init: str, init_scale: float | None = None, *, zero_init_residual: bool = False
) -> None:
    """Fills every weight and bias from a stream of (seed, parameter name), so the networks of a pair share common weights.

    Scalars and the biases of gates keep the values with which they were built.

    Args:
        network: changed in place.
        seed: of the trial.
        init: a key of INITS.
        init_scale: fan_in * Var(W) of hidden layers (stem and branches), instead of the value of `init`; not for looks-linear.
        zero_init_residual: set every branch to 0: the parameters of its last normalization layer, or of its last layer, are 0.
    """
    rule = INITS[init]
    hidden = {id(layer.module) for layer in weighted_layers(network)[:-1] if not layer.name.endswith("shortcut")}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            weight, bias = module.weight, module.bias
            draw = partial(rule.draw, generator=streams.generator(seed, "parameter", f"{name}.weight"))
            if rule.mirrors:
                _mirror(weight, rows=module is not network.classifier, columns=not name.startswith("stem."), draw=draw)
            else:
                draw(weight)
            if init_scale is not None and id(module) in hidden:
                weight.mul_(math.sqrt(init_scale / rule.scale(weight)))
            if bias is not None:
                bound = weight[0].numel() ** -0.5 if rule.draws_biases else 0.0
                nn.init.uniform_(bias, -bound, bound, generator=streams.generator(seed, "parameter", f"{name}.bias"))
    rule.rescale(network)
    if zero_init_residual:
        _zero_branches(network)


def _zero_branches(network: Network) -> None:
    """Sets the last normalization layer or weighted layer of each branch to 0 (zero gamma: arXiv:1706.02677 §5.1)."""
    for block in network.blocks:
        modules = [
            module
            for module in block.get_submodule("branch").modules()
            if "weight" in dict(module.named_parameters(recurse=False))
        ]
        for parameter in modules[-1].parameters(recurse=False):
            nn.init.zeros_(parameter)
