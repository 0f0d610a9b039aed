"""The slope of a gradient profile: change of log10 |dL/dx| per block from output to input."""

import math
from collections.abc import Sequence

import numpy as np


def slope(grad_norms: Sequence[float], stages: Sequence[int]) -> float:
    """Change of log10 activation_grad_norm per block from output to input: negative is vanishing, positive exploding.

    A least-squares fit over interior block boundaries, with a common slope and one intercept per stage. The first and last
    boundary are left out, and so are values that are 0 or not finite. nan if every stage has fewer than two points.

    Args:
        grad_norms: activation_grad_norm at x_0 .. x_L.
        stages: the stage of the block that outputs each boundary.
    """
    points = [
        (stage, index, math.log10(norm))
        for index, (norm, stage) in enumerate(zip(grad_norms, stages, strict=True))
        if 0 < index < len(grad_norms) - 1 and norm > 0 and math.isfinite(norm)
    ]
    depth, logs = [], []
    for stage in {stage for stage, _, _ in points}:
        inside = np.array([(index, log) for point_stage, index, log in points if point_stage == stage])
        depth.append(inside[:, 0] - inside[:, 0].mean())
        logs.append(inside[:, 1] - inside[:, 1].mean())
    if not depth or not (spread := float(np.square(np.concatenate(depth)).sum())):
        return math.nan
    return -float(np.concatenate(depth) @ np.concatenate(logs)) / spread
