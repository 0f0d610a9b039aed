"""Diagnostics of any torch.nn.Module at initialization, for `resexp probe MODULE:FACTORY` and `resexp.probe`.

load("net.py:make")                          the function that returns the network
measure(module, x, y, loss, at=["layer*.*"])  gradients and activations at the boundaries, and checks of itself
"""

from resexp.modules.factories import find_loss, inputs_of, networks, refuse_huge, targets_of
from resexp.modules.measuring import measure
from resexp.modules.references import load
