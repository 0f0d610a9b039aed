"""Predictions for one arm at initialization: growth of its gradients, and distances of its activations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

LN10 = math.log(10)
Range = tuple[float, float]


@dataclass(frozen=True)
class Prediction:
    """Growth of gradients and activations, in the unit of the measured slope: orders of magnitude of a norm per block.

    law: exponential, power, polynomial, bounded (the product over all blocks has a limit) or none.
    low, high: change of log10 activation_grad_norm from output to input of each block, first block first.
    forward: change of log10 activation_rms from input to output of each block; None if unknown.
    variance: variance over seeds that each block adds to ln |dL/dx|^2 of one input; None if unknown.
    source: formula and reference, or the reason why there is no prediction.
    not_for: cases to which the formula does not apply.
    stages: the stage of each block; empty if all blocks have one shape.
    """

    law: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    forward: tuple[float, ...] | None = None
    variance: tuple[float, ...] | None = None
    source: str = ""
    not_for: str = ""
    stages: tuple[int, ...] = ()

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
        totals = np.append(np.cumsum(self.variance[::-1])[::-1], 0.0)
        return [math.sqrt(total) / LN10 for total in totals]

    def slope(self) -> Range | None:
        """(low, high) of the slope, fitted over interior boundaries as the measured slope is; None if it cannot be fitted."""
        weights = self._slope_weights()
        return None if weights is None else (float(weights @ np.array(self.low)), float(weights @ np.array(self.high)))

    def slope_spread(self) -> float | None:
        """Two SD over seeds of the fitted slope of one input, in orders of magnitude per block."""
        weights = self._slope_weights()
        if self.variance is None or weights is None:
            return None
        return math.sqrt(float(weights**2 @ np.array(self.variance))) / LN10

    def _slope_weights(self) -> np.ndarray | None:
        """The weight of each block in the fitted slope; they sum to 1 if all blocks have one stage."""
        blocks = len(self.low)
        stages = np.array([0, *(self.stages or [0] * blocks)])[1:blocks]  # of the interior boundaries x_1 .. x_{L-1}
        index = np.arange(1.0, blocks)
        for stage in set(stages.tolist()):
            index[stages == stage] -= index[stages == stage].mean()
        if not self.known or not (spread := float(index @ index)):
            return None
        return -np.append(0.0, np.cumsum(index)) / spread

    def depth_scale(self) -> Range | None:
        """(shortest, longest) number of blocks over which |dL/dx|^2 changes by a factor of e; inf if it does not change.

        None unless the law is exponential.
        """
        if self.law != "exponential":
            return None
        rates = [abs(2 * LN10 * _median(steps)) for steps in (self.low, self.high)]
        changes_sign = _median(self.low) < 0 < _median(self.high)
        fastest, slowest = max(rates), 0.0 if changes_sign else min(rates)
        return (1 / fastest if fastest > 1e-12 else math.inf, 1 / slowest if slowest > 1e-12 else math.inf)


@dataclass(frozen=True)
class DistancePrediction:
    """Distances of the activations of two inputs (1 minus their cosine) at the block boundaries x_0 .. x_L.

    middle: the median over seeds in layers of that width.
    low, high: from `middle` and the limit of large widths, with two SD over seeds around them.
    source, not_for: as in `Prediction`; without a prediction, the values are empty and `source` is the reason.
    """

    middle: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    source: str = ""
    not_for: str = ""

    @property
    def known(self) -> bool:
        return bool(self.middle)

    def blocks_until(self, share: float) -> float:
        """The number of blocks after which the distance is that share of its value at x_0; inf if it stays above it."""
        logs = [math.log(max(value, 1e-300)) for value in self.middle]
        limit = logs[0] + math.log(share)
        for index, (before, after) in enumerate(pairwise(logs)):
            if after <= limit:
                return index + (before - limit) / (before - after)
        return math.inf


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
