"""Cost of one training step of the deepest published networks, with 1202 layers and 1001 (bottleneck), at batch size 8.

    python benchmarks/deepest.py [network]

Prints one line per network, each measured in a separate process. Requires the module `resource` (Linux or macOS).
"""

import resource
import subprocess
import sys
import time

import torch
from torch.nn import functional

from resexp.networks import build_network, initialize

BATCH, CLASSES, SHAPE = 8, 10, (3, 32, 32)
NETWORKS = {
    "resnet-1202": {"depth": 1202, "shortcut": "identity"},  # arXiv:1512.03385 §4.2
    "resnet-1001": {"depth": 1001, "shortcut": "projection", "placement": "pre", "block": "bottleneck"},  # arXiv:1603.05027
}
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss


def peak() -> float:
    """Peak resident memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT / 2**30


def measure(name: str) -> None:
    """Prints parameters, seconds of one SGD step on random images, and peak memory from importing torch to the end."""
    network = build_network("cnn", width=16, norm="batch", input_shape=SHAPE, classes=CLASSES, **NETWORKS[name])
    initialize(network, 0, "he")
    parameters = sum(p.numel() for p in network.parameters())
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    x = torch.randn(BATCH, *SHAPE, generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    loss = functional.cross_entropy(network(x), torch.arange(BATCH) % CLASSES)
    loss.backward()
    optimizer.step()
    seconds = time.perf_counter() - start
    print(f"{name}  {parameters:>12,} parameters  {seconds:6.1f} s per step  peak {peak():5.2f} GiB  loss {loss.item():.3f}")


def main() -> None:
    if len(sys.argv) > 1:
        measure(sys.argv[1])
        return
    print(f"one SGD step on {BATCH} random images {SHAPE}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    for name in NETWORKS:
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
