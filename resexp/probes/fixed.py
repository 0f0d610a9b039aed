"""The probes that run outside the training step, on a fixed batch."""

from collections.abc import Callable, Sequence

from torch import Tensor

from resexp.networks import Network
from resexp.probes.correlation import gradient_correlation
from resexp.probes.paths import path_lengths
from resexp.probes.readings import LogRow

Probe = Callable[[Network, Tensor, Tensor], Sequence[LogRow]]

FIXED_BATCH_PROBES: dict[str, Probe] = {
    "gradient_correlation": lambda network, x, _labels: [gradient_correlation(network, x)],
    "path_lengths": path_lengths,
}


def fixed_batch_probes(names: Sequence[str], network: Network, x: Tensor, labels: Tensor) -> dict[str, Sequence[LogRow]]:
    """The rows of the named fixed-batch probes for one network, without step and epoch. x: images (B, C, H, W)."""
    return {name: FIXED_BATCH_PROBES[name](network, x, labels) for name in names if name in FIXED_BATCH_PROBES}
