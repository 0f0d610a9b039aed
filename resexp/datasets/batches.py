"""From uint8 images to the input of a network: normalization and augmentation of batches on the device.

Shapes: B batch, C channels, H x W pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from resexp.datasets.images import Images


def normalization_stats(training: Images, scheme: str) -> tuple[Tensor, Tensor]:
    """(shift, scale) such that (pixels - shift) / scale is normalized; float64, from the training images.

    channel: mean and standard deviation per channel (C, 1, 1). pixel: mean per pixel (C, H, W), unit range
    (arXiv:1512.03385 §4.2). none: unit range.
    """
    pixels = training.pixels.double()
    unit = torch.full((1, 1, 1), float(training.brightest), dtype=torch.float64)
    if scheme == "channel":
        std = pixels.std((0, 2, 3), correction=0)
        std[std == 0] = 1.0  # a constant channel
        return pixels.mean((0, 2, 3)).reshape(-1, 1, 1), std.reshape(-1, 1, 1)
    return (pixels.mean(0), unit) if scheme == "pixel" else (torch.zeros_like(unit), unit)


def normalize(pixels: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """(B, C, H, W) uint8 -> floating point with the dtype of `shift`."""
    return pixels.to(shift.dtype, copy=True).sub_(shift).div_(scale)


@dataclass(frozen=True)
class Augmentation:
    """A random change of training images.

    draw: (number of images, height, generator) -> random integers (n, B) on the CPU. They are few, so that the draws of a
    whole epoch are copied to the device at once. apply: (batch, draws on its device) -> augmented batch.
    """

    draw: Callable[[int, int, torch.Generator], Tensor]
    apply: Callable[[Tensor, Tensor], Tensor]


def draw_crop_flip(number: int, height: int, generator: torch.Generator) -> Tensor:
    """(3, B): row and column of the crop in the padded image, and 1 for an image that is mirrored."""
    offsets = [torch.randint(0, 2 * (height // 8) + 1, (number,), generator=generator) for _ in "yx"]
    return torch.stack([*offsets, (torch.rand(number, generator=generator) < 0.5).long()])


def crop_flip(batch: Tensor, draws: Tensor) -> Tensor:
    """Shifts each image by up to H // 8 pixels, filling with zeros (after normalization: the mean), and mirrors it at random.

    Padding by 4, a random 32x32 crop and a flip for 32x32 images: arXiv:1512.03385 §4.2.
    """
    B, C, H, W = batch.shape
    pad, (tops, lefts, mirrored) = H // 8, draws[:, :, None]
    columns = torch.arange(W, device=batch.device)
    rows = tops + torch.arange(H, device=batch.device)
    columns = torch.where(mirrored == 1, columns.flip(0), columns) + lefts
    pixel_index = (rows[:, :, None] * (W + 2 * pad) + columns[:, None, :]).reshape(B, 1, H * W)
    padded = functional.pad(batch, (pad, pad, pad, pad)).flatten(2)
    return padded.gather(2, pixel_index.expand(B, C, H * W)).reshape(B, C, H, W)


AUGMENTATIONS = {"crop-flip": Augmentation(draw_crop_flip, crop_flip)}
