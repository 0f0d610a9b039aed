"""The shortcut `balanced`: a block computes cos(t) F(x) + sin(t) x with a learned angle t, so that a^2 + s^2 = 1.

    resexp train digits --import examples/balanced.py network.shortcut=identity,balanced

If F(x) and x have the same length and are orthogonal, the block keeps this length at every angle.
"""

import math

import torch

import resexp
from resexp.shortcuts import BlockSpec


class Balanced(torch.nn.Module):
    """One angle for each block, initialized to pi / 4: F(x) and x have equal weights."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        if spec.changes:
            raise ValueError("balanced needs blocks that keep the shape; use family: mlp")
        self.angle = torch.nn.Parameter(torch.tensor(math.pi / 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.angle.cos(), self.angle.sin() * x


resexp.SHORTCUTS["balanced"] = Balanced
# For theory: at initialization, a = s = 0.5^0.5.
resexp.SHORTCUT_PROPERTIES["balanced"] = resexp.ShortcutProperties(
    factors=lambda _parameters, _index, _blocks: (0.5**0.5, 0.5**0.5)
)
