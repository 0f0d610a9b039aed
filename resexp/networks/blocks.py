"""The block formula, and the network around its blocks.

    x' = after(a F(h; W) + S(u; U)),  h = before(x),  u = h if branch and shortcut share the activation, otherwise x

Shapes: B batch, D width, C x H x W image, K classes.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from resexp.shortcuts import join

Noise = Tensor | None


class Block(nn.Module):
    """One block. `before` and `after` are given by the placement; `shortcut` maps u to (a, S)."""

    def __init__(self, before: nn.Module, branch: nn.Module, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before, self.branch, self.shortcut, self.after = before, branch, shortcut, after
        self.stage = 0
        self.shares_activation = False

    def forward(self, x: Tensor, noise: Noise = None) -> Tensor:
        h = self.before(x)
        u = h if self.shares_activation else x
        a, s = self.shortcut(u) if noise is None else self.shortcut(u, noise)
        output: Tensor = self.after(join(a, self.branch(h), s))
        return output


class Network(nn.Module):
    """stem -> blocks -> tail -> classifier; (B, ...) -> logits (B, K)."""

    def __init__(self, stem: nn.Module, blocks: list[Block], tail: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.tail = tail
        self.classifier = classifier

    def forward(self, x: Tensor, boundaries: list[Tensor] | None = None, noise: Sequence[Noise] = ()) -> Tensor:
        """Logits of a batch.

        Args:
            x: images (B, C, H, W).
            boundaries: a list to which the block boundaries x_0 (the output of the stem) to x_L are appended.
            noise: the result of `sample_noise` for this training step; empty in evaluation.
        """
        x = self.stem(x)
        activations = [x]
        for block, block_noise in zip(self.blocks, noise or [None] * len(self.blocks), strict=True):
            x = block(x, block_noise)
            activations.append(x)
        if boundaries is not None:
            boundaries.extend(activations)
        logits: Tensor = self.classifier(self.tail(x))
        return logits

    def sample_noise(self, batch: int, generator: Callable[[int], torch.Generator]) -> list[Noise]:
        """The random draws of the shortcuts for one training step of `batch` examples; None for deterministic shortcuts.

        `generator(l)` returns the stream of block l. It is called for stochastic shortcuts only.
        """
        samplers = [getattr(block.shortcut, "draw", None) for block in self.blocks]
        return [sampler and sampler(batch, generator(index)) for index, sampler in enumerate(samplers)]
