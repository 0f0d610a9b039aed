"""What a data set is once it has been read."""

from dataclasses import dataclass

import torch
from torch import Tensor

from resexp.config import ConfigError


class DataError(ConfigError):
    """Images that cannot be used: names the file, what is wrong with it, what to do (exit code 2)."""


@dataclass(frozen=True)
class Images:
    """(N, C, H, W) uint8 pixels from 0 to `brightest`, and (N,) labels."""

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    brightest: int = 255

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, index: Tensor) -> "Images":
        return Images(self.pixels[index], self.labels[index], self.classes, self.brightest)

    def to(self, device: torch.device) -> "Images":
        return Images(self.pixels.to(device), self.labels.to(device), self.classes, self.brightest)
