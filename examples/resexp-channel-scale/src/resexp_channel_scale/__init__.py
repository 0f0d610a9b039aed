"""The shortcut `channel-scale`: S(x) = s * x with a learned scale s for each channel, and a = 1."""

import torch
from torch import Tensor, nn

import resexp
from resexp.shortcuts import BlockSpec


class ChannelScale(nn.Module):
    """A scale for each channel, initialized to 1."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        if spec.changes:
            raise ValueError("channel-scale needs blocks that keep the shape; use family: mlp")
        self.scale = nn.Parameter(torch.ones(spec.outputs[0]))

    def forward(self, x: Tensor) -> tuple[float, Tensor]:
        return 1.0, self.scale * x


# For theory: at initialization, a = 1 and s = 1.
resexp.SHORTCUT_PROPERTIES["channel-scale"] = resexp.ShortcutProperties(factors=lambda _parameters, _index, _blocks: (1.0, 1.0))
