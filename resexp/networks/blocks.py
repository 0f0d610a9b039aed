"""The block formula, and the network around its blocks.

    x' = after(a F(h; W) + S(u; U)),  h = before(x),  u = h where the shortcut shares the activation, else x

Shapes: B batch, D width, C x H x W image, K classes.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from resexp.shortcuts import join

Noise = Tensor | None


class Block(nn.Module):
    """One block; placement and shortcut are values in it."""

    def __init__(self, before: nn.Module, branch: nn.Module, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before, self.branch, self.shortcut, self.after = before, branch, shortcut, after
        self.stage = 0
        self.shares_activation = False

    def forward(self, x: Tensor, draw: Noise = None) -> Tensor:
        h = self.before(x)
        u = h if self.shares_activation else x
        a, s = self.shortcut(u) if draw is None else self.shortcut(u, draw)
        joined: Tensor = self.after(join(a, self.branch(h), s))
        return joined


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
            boundaries: to which the block boundaries x_0 (the stem's output) to x_L are appended.
            noise: what `sample_noise` returned for this training step; none in evaluation.
        """
        x = self.stem(x)
        kept = [x]
        for block, block_noise in zip(self.blocks, noise or [None] * len(self.blocks), strict=True):
            x = block(x, block_noise)
            kept.append(x)
        if boundaries is not None:
            boundaries.extend(kept)
        logits: Tensor = self.classifier(self.tail(x))
        return logits

    def sample_noise(self, batch: int, generator: Callable[[int], torch.Generator]) -> list[Noise]:
        """What shortcuts leave to chance in one training step of `batch` examples; None where nothing is.

        `generator(l)` is the stream of block l; it is asked for only where there is something to draw.
        """
        chances = [getattr(block.shortcut, "draw", None) for block in self.blocks]
        return [chance and chance(batch, generator(place)) for place, chance in enumerate(chances)]
