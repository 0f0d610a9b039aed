"""ACTIVATIONS[name](layers, **parameters) creates an activation for a network in which `layers` layers are followed by one."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from resexp import config
from resexp.theory.tailoring import leaky_relu_scale, tat_slope


class TailoredLeakyReLU(nn.Module):
    """Leaky ReLU times sqrt(2 / (1 + slope^2)), which preserves the mean square with orthogonal weights: arXiv:2203.08120.

    The slope is that of `tat_slope`, so that the plain network maps orthogonal inputs to inputs with cosine similarity eta.
    """

    def __init__(self, layers: int, eta: float = 0.9) -> None:
        super().__init__()
        self.slope = tat_slope(eta, layers)
        self.scale = leaky_relu_scale(self.slope)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * functional.leaky_relu(x, self.slope)

    def extra_repr(self) -> str:
        return f"slope={self.slope:.4g}, scale={self.scale:.4g}"


def leaky_relu(_layers: int, slope: float = 0.01) -> nn.Module:
    """torch's leaky ReLU, without the factor of `TailoredLeakyReLU`."""
    return nn.LeakyReLU(slope)


ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": lambda _layers: nn.ReLU(),
    "tanh": lambda _layers: nn.Tanh(),
    "gelu": lambda _layers: nn.GELU(),
    "silu": lambda _layers: nn.SiLU(),  # arXiv:1702.03118
    "leaky-relu": leaky_relu,
    "tat": TailoredLeakyReLU,
}


def make_activation(activation: str | config.Scalars, layers: int) -> nn.Module:
    name, parameters = config.variant(activation)
    return ACTIVATIONS[name](layers, **parameters)
