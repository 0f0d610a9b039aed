"""The probes that run apart from the training step, on a fixed batch."""

from collections.abc import Callable, Sequence

from torch import Tensor

from resexp.networks import Network
from resexp.probes.correlation import gradient_correlation
from resexp.probes.paths import path_lengths
from resexp.probes.readings import Row

Probe = Callable[[Network, Tensor, Tensor], Sequence[Row]]

APART: dict[str, Probe] = {
    "gradient_correlation": lambda network, x, _labels: [gradient_correlation(network, x)],
    "path_lengths": path_lengths,
}


def apart(names: Sequence[str], network: Network, x: Tensor, labels: Tensor) -> dict[str, Sequence[Row]]:
    """The rows of those named that run apart, without step and epoch: of one network, on images x (B, C, H, W)."""
    return {name: APART[name](network, x, labels) for name in names if name in APART}
