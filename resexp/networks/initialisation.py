"""How weights start: one rule per name, one random stream per parameter."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resexp import streams
from resexp.networks.blocks import Network
from resexp.networks.layers import weighted_layers


@dataclass(frozen=True)
class Init:
    """`draw(weight, generator)` fills a weight; `spread(fan_in, fan_out)` is its n Var(W), n = fan_in.

    `draws_biases`: U(+-1/sqrt(fan_in)) as torch does, else 0.
    """

    draw: Callable[[Tensor, torch.Generator], object]
    spread: Callable[[int, int], float]
    draws_biases: bool = False


def _delta_orthogonal(weight: Tensor, generator: torch.Generator) -> None:
    """An orthogonal matrix at the kernel's centre, zero around it: arXiv:1806.05393 §2.4. A matrix is its own centre."""
    nn.init.zeros_(weight)
    centre = weight if weight.ndim == 2 else weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]
    nn.init.orthogonal_(centre, generator=generator)


INITS: dict[str, Init] = {
    "pytorch": Init(
        lambda w, g: nn.init.kaiming_uniform_(w, a=math.sqrt(5), generator=g),
        lambda _in, _out: 1 / 3,
        draws_biases=True,
    ),
    "he": Init(lambda w, g: nn.init.kaiming_normal_(w, generator=g), lambda _in, _out: 2.0),  # arXiv:1502.01852 §2.2
    "xavier": Init(lambda w, g: nn.init.xavier_uniform_(w, generator=g), lambda n_in, n_out: 2 * n_in / (n_in + n_out)),
    "orthogonal": Init(
        lambda w, g: nn.init.orthogonal_(w, generator=g), lambda n_in, n_out: min(1.0, n_in / n_out)
    ),  # arXiv:1312.6120
    "delta-orthogonal": Init(_delta_orthogonal, lambda n_in, n_out: min(1.0, n_in / n_out)),
}


@torch.no_grad()
def initialise(network: Network, seed: int, init: str, gain: float | None = None, *, zero_last: bool = False) -> None:
    """Fills every weight and bias from its own stream (seed, parameter name), so twins share what they have in common.

    Args:
        network: changed in place.
        seed: of the trial.
        init: a key of INITS.
        gain: n Var(W) of hidden layers (stem and branches) instead of the init's own.
        zero_last: every branch ends in zero: the last norm's gain, or the last layer's weight where no norm follows it.
    """
    rule = INITS[init]
    hidden = {id(layer.module) for layer in weighted_layers(network)[:-1] if not layer.name.endswith("shortcut")}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            weight, bias = module.weight, module.bias
            fan_in, fan_out = weight[0].numel(), weight.shape[0] * weight[0, 0].numel()
            rule.draw(weight, streams.generator(seed, "parameter", f"{name}.weight"))
            if gain is not None and id(module) in hidden:
                weight.mul_(math.sqrt(gain / rule.spread(fan_in, fan_out)))
            if bias is not None:
                bound = fan_in**-0.5 if rule.draws_biases else 0.0
                nn.init.uniform_(bias, -bound, bound, generator=streams.generator(seed, "parameter", f"{name}.bias"))
    if zero_last:
        for block in network.blocks:
            weights = [name for name, _ in block.named_parameters() if name.startswith("branch") and name.endswith("weight")]
            nn.init.zeros_(block.get_parameter(weights[-1]))
