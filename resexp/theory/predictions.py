"""What the formulas say of one arm of one cell, in the unit of the measured slope: decades of a norm per block."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resexp.theory.formulas import Range

LN10 = math.log(10)


@dataclass(frozen=True)
class Prediction:
    """What theory says of one arm at initialisation.

    low, high: decades that activation_grad_norm gains from the end of each block to its beginning, block 1 first.
    forward: decades that activation_rms gains over each block; None where that is not known.
    variance: of ln |dL/dx|^2 over seeds that each block adds; None where that is not known.
    law: exponential | power | polynomial | total (a bounded factor over all blocks) | none.
    """

    law: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    forward: tuple[float, ...] | None = None
    variance: float | None = None
    source: str = ""
    not_for: str = ""

    @property
    def known(self) -> bool:
        return self.law != "none"

    def profile(self) -> list[Range]:
        """(low, high) of log10 activation_grad_norm at each block boundary x_0 .. x_L, relative to the last one."""
        levels = [np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]]) for steps in (self.low, self.high)]
        return [(float(low), float(high)) for low, high in zip(*levels, strict=True)]

    def band(self) -> list[float] | None:
        """Half-width of two standard deviations over seeds around `profile`, in decades of the norm of one input."""
        if self.variance is None:
            return None
        blocks = len(self.low)
        return [math.sqrt(self.variance * (blocks - index)) / LN10 for index in range(blocks + 1)]

    def slope(self) -> Range | None:
        """Decades per block towards the input, fitted over interior boundaries as the measured slope is; None for no fit."""
        inside = [_fitted(levels[1:-1]) for levels in zip(*self.profile(), strict=True)]
        return (inside[0], inside[1]) if self.known and len(self.low) > 2 else None

    def slope_spread(self) -> float | None:
        """Two standard deviations over seeds of the fitted slope of one input, in decades per block."""
        count = len(self.low) - 1  # interior boundaries, between which the gradient makes count - 1 independent steps
        if self.variance is None or count < 2:
            return None
        index = np.arange(count) - (count - 1) / 2
        weights = np.cumsum(index / (index @ index))[:-1]
        return math.sqrt(self.variance * float(weights @ weights)) / LN10

    def depth_scale(self) -> Range | None:
        """Blocks over which |dL/dx|^2 changes by a factor e (nearest, farthest); inf where it does not change.

        A network is hard to train beyond a few of them: about 6 for plain networks (Schoenholz 2017, arXiv:1611.01232),
        16 under batch norm (Yang 2019, arXiv:1902.08129). None but for exponential laws.
        """
        if self.law != "exponential":
            return None
        rates = [abs(2 * LN10 * _middle(steps)) for steps in (self.low, self.high)]
        crosses = _middle(self.low) < 0 < _middle(self.high)
        near, far = max(rates), 0.0 if crosses else min(rates)
        return (1 / near if near > 1e-12 else math.inf, 1 / far if far > 1e-12 else math.inf)


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def _fitted(levels: Sequence[float]) -> float:
    """Minus the slope of a straight line through the levels."""
    if len(levels) < 2:
        return math.nan
    index = np.arange(len(levels)) - (len(levels) - 1) / 2
    return -float(index @ np.asarray(levels) / (index @ index))
