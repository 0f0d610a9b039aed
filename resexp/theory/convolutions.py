"""Zero padding of convolutions: some taps of a 3x3 kernel fall outside the image and pass no gradient."""

import math
from collections.abc import Sequence

import numpy as np

Range = tuple[float, float]


def borders(side: int) -> Range:
    """(low, high) of the factor by which zero padding reduces chi of a 3x3 convolution on an image of that side.

    At the border, some taps of the kernel fall outside the image. On a constant image the share inside is
    (3 side - 2)^2 / (3 side)^2. After many layers the factor is ((1 + 2 cos(pi / (side + 1))) / 3)^2, the largest eigenvalue
    of the map between second moments of neighboring pixels: 0.99 for side 32, 0.44 for side 2.
    """
    constant = ((3 * side - 2) / (3 * side)) ** 2
    return constant, max(constant, ((1 + 2 * math.cos(math.pi / (side + 1))) / 3) ** 2)


def padding_factors(sides: Sequence[int], kernels: Sequence[int]) -> list[float]:
    """The factor by which zero padding reduces |dL/dx|^2 in each block, backward from equal gradients in all pixels.

    `sides`: the side of the image at x_0 .. x_L; a block with two different sides has stride 2 in its first layer.
    `kernels`: the sides of the kernels of a block. Rows and columns behave alike, so one of them is followed.
    """
    pixels, factors = np.ones(sides[-1]), []
    for side, next_side in zip(sides[-2::-1], sides[:0:-1], strict=True):
        before = pixels.sum()
        for layer in reversed(range(len(kernels))):
            stride = 2 if layer == 0 and side != next_side else 1
            spread = np.zeros((side if layer == 0 else next_side) + 2)
            reach = kernels[layer] // 2
            for tap in range(-reach, reach + 1):
                spread[1 + tap : 1 + tap + stride * len(pixels) : stride] += pixels / kernels[layer]
            pixels = spread[1:-1]
        factors.append(float(pixels.sum() / before) ** 2)
        pixels = pixels / pixels.sum()
    return factors[::-1]
