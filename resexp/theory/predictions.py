"""The prediction for one arm, in the unit of the measured slope: orders of magnitude of a norm per block."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resexp.theory.formulas import Range

LN10 = math.log(10)


@dataclass(frozen=True)
class Prediction:
    """The prediction for one arm at initialization.

    law: exponential, power, polynomial, bounded (the product over all blocks has a limit) or none.
    low, high: change of log10 activation_grad_norm from output to input of each block, first block first.
    forward: change of log10 activation_rms from input to output of each block; None if unknown.
    variance: variance over seeds that each block adds to ln |dL/dx|^2; None if unknown.
    source: formula and reference, or the reason why there is no prediction.
    not_for: cases to which the formula does not apply.
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
        """Two SD over seeds around `profile`, in orders of magnitude of the gradient norm of one input."""
        if self.variance is None:
            return None
        blocks = len(self.low)
        return [math.sqrt(self.variance * (blocks - index)) / LN10 for index in range(blocks + 1)]

    def slope(self) -> Range | None:
        """(low, high) of the slope, fitted over interior boundaries as the measured slope is; None if it cannot be fitted."""
        slopes = [_fitted_slope(levels[1:-1]) for levels in zip(*self.profile(), strict=True)]
        return (slopes[0], slopes[1]) if self.known and len(self.low) > 2 else None

    def slope_spread(self) -> float | None:
        """Two SD over seeds of the fitted slope of one input, in orders of magnitude per block."""
        count = len(self.low) - 1  # interior boundaries: the gradient changes in count - 1 independent steps
        if self.variance is None or count < 2:
            return None
        index = np.arange(count) - (count - 1) / 2
        weights = np.cumsum(index / (index @ index))[:-1]
        return math.sqrt(self.variance * float(weights @ weights)) / LN10

    def depth_scale(self) -> Range | None:
        """(shortest, longest) number of blocks over which |dL/dx|^2 changes by a factor of e; inf if it does not change.

        Networks deeper than a few depth scales are hard to train: about 6 (Schoenholz et al. 2017, arXiv:1611.01232), or 16
        with batch norm (Yang et al. 2019, arXiv:1902.08129). None unless the law is exponential.
        """
        if self.law != "exponential":
            return None
        rates = [abs(2 * LN10 * _median(steps)) for steps in (self.low, self.high)]
        changes_sign = _median(self.low) < 0 < _median(self.high)
        fastest, slowest = max(rates), 0.0 if changes_sign else min(rates)
        return (1 / fastest if fastest > 1e-12 else math.inf, 1 / slowest if slowest > 1e-12 else math.inf)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def _fitted_slope(levels: Sequence[float]) -> float:
    """Minus the slope of a straight line through the levels."""
    if len(levels) < 2:
        return math.nan
    index = np.arange(len(levels)) - (len(levels) - 1) / 2
    return -float(index @ np.asarray(levels) / (index @ index))
