"""The headline of a gradient profile: decades per block."""

import math
from collections.abc import Sequence

import numpy as np


def slope(flows: Sequence[float], stages: Sequence[int]) -> float:
    """Decades per block towards the input by which activation_grad_norm grows (> 0) or vanishes (< 0).

    Least squares of log10 over interior block boundaries, with one level per stage: the stem's output and the last
    boundary are left out, and so is what underflowed to 0 or is not finite. nan where fewer than two points remain
    in every stage.

    Args:
        flows: activation_grad_norm at x_0 .. x_L.
        stages: the stage that made each boundary.
    """
    points = [
        (stage, index, math.log10(flow))
        for index, (flow, stage) in enumerate(zip(flows, stages, strict=True))
        if 0 < index < len(flows) - 1 and flow > 0 and math.isfinite(flow)
    ]
    depth, logs = [], []
    for stage in {stage for stage, _, _ in points}:
        inside = np.array([(index, log) for of, index, log in points if of == stage])
        depth.append(inside[:, 0] - inside[:, 0].mean())
        logs.append(inside[:, 1] - inside[:, 1].mean())
    if not depth or not (spread := float(np.square(np.concatenate(depth)).sum())):
        return math.nan
    return -float(np.concatenate(depth) @ np.concatenate(logs)) / spread
