"""Heat maps over depth and init_scale: their cells, and the predicted trainability limit."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from resexp import theory
from resexp.config import Settings
from resexp.runs import Outcome, Results
from resexp.tables.labels import region
from resexp.tables.theory_bands import distances_of, prediction_of

# Depth scales of |dL/dx|^2 beyond which networks were not trained: Yang et al. 2019, arXiv:1902.08129 (batch norm).
DEPTH_SCALES = {"batch": 16}
# Depth scales of the correlation of two inputs, Schoenholz et al. 2017, arXiv:1611.01232; also used for the gradient.
DEFAULT_DEPTH_SCALES = 6
INIT_SCALES = 13  # of a boundary
LIMITS = ("gradient", "distance", "reach")
MIN_VALUES = 3  # init_scales and depths of a heat map
MIXED, ALL_DIVERGED = "outcomes differ", "all diverged"  # marks on the cells of the heat map


def is_plane(results: pd.DataFrame) -> bool:
    """Whether the results have enough init_scales and depths for a heat map."""
    valid = _with_accuracy(results)
    return min(valid["init_scale"].nunique(), valid["depth"].nunique()) >= MIN_VALUES


def _with_accuracy(results: pd.DataFrame) -> pd.DataFrame:
    """The results with an init_scale and an accuracy; diverged networks have no accuracy."""
    return results.dropna(subset=["test_accuracy", "init_scale"]).astype({"test_accuracy": float, "init_scale": float})


def plane(results: pd.DataFrame) -> pd.DataFrame:
    """A row per region, arm, depth and init_scale: median test accuracy of n seeds, their outcomes, difference from plain.

    `accuracy`, `lowest`, `highest`: median and range in [0, 1]. Diverged networks have no accuracy and rank below all others,
    so that they count in the median. It is NaN if a middle seed diverged.
    `outcomes`: '2 above chance, 1 diverged'; `mark`: MIXED if these differ, ALL_DIVERGED if all seeds diverged, else "".
    `difference`: median minus the plain arm's. `left`, `right`, `below`, `above` bound the cell on the heat map: geometric
    means of neighboring depths and init_scales.
    """
    valid = results.dropna(subset=["init_scale"]).astype({"test_accuracy": float, "init_scale": float})
    keys = ["region", "arm", "depth", "init_scale"]
    rows = [{**dict(zip(keys, key, strict=True)), **_cell(seeds)} for key, seeds in valid.groupby(keys, sort=False)]
    cells = pd.DataFrame(rows)
    plain_columns = {"accuracy": "plain_accuracy", "outcomes": "plain_outcomes", "mark": "plain_mark"}
    plain = cells[cells["arm"] == "plain"][["region", "depth", "init_scale", *plain_columns]].rename(columns=plain_columns)
    cells = cells.merge(plain, on=["region", "depth", "init_scale"], how="left")
    cells["difference"] = cells["accuracy"] - cells["plain_accuracy"]
    for key, low, high in (("depth", "left", "right"), ("init_scale", "below", "above")):
        bounds = edges(sorted(cells[key].unique()))
        cells[low], cells[high] = (cells[key].map({value: ends[side] for value, ends in bounds.items()}) for side in (0, 1))
    return cells


def _cell(seeds: pd.DataFrame) -> dict[str, Any]:
    """Median, range and outcomes of the seeds of one cell."""
    ranked = sorted(seeds["test_accuracy"].fillna(-math.inf))
    middle = [ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]]
    counts = {outcome: int((seeds["outcome"] == outcome).sum()) for outcome in Outcome}
    kinds = [outcome for outcome, count in counts.items() if count]
    return {
        "accuracy": sum(middle) / 2 if math.isfinite(middle[0]) else math.nan,
        "lowest": seeds["test_accuracy"].min(),
        "highest": seeds["test_accuracy"].max(),
        "n": len(seeds),
        "outcomes": ", ".join(f"{counts[outcome]} {outcome.replace('_', ' ')}" for outcome in kinds),
        "mark": MIXED if len(kinds) > 1 else ALL_DIVERGED if kinds == ["diverged"] else "",
    }


def edges(values: Sequence[float]) -> dict[float, tuple[float, float]]:
    """(lower, upper) edge of each value on a logarithmic axis; the outermost cells are symmetric around their value."""
    inner = [math.sqrt(a * b) for a, b in pairwise(values)]
    lines = [values[0] ** 2 / inner[0], *inner, values[-1] ** 2 / inner[-1]]
    return dict(zip(values, pairwise(lines), strict=True))


def boundaries(results: Results) -> pd.DataFrame:
    """region, arm, init_scale, gradient, distance, reach: predicted limits in weighted layers, over the range of the heat map.

    gradient: 6 depth scales of the gradient, 16 with batch norm. distance: the depth at which the distance of two inputs is
    e^-6 of its value at x_0, which is 6 depth scales if it falls exponentially. reach, the trainability limit: the smaller of
    them. A limit is inf if the quantity stays within it. Arms without a formula have no rows.
    """
    deepest: dict[tuple[str, str], Settings] = {}
    init_scales: set[float] = set()
    for record in results.records:
        settings, keys = record.trial.settings, (region(results.label(record)), record.trial.arm)
        if settings.network.init_scale is not None and record.result:
            init_scales.add(settings.network.init_scale)
            if keys not in deepest or settings.network.depth > deepest[keys].network.depth:
                deepest[keys] = settings
    rows = [
        (*keys, init_scale, *limits, min(limits))
        for keys, settings in deepest.items()
        for init_scale in _init_scale_axis(sorted(init_scales))
        if (limits := _limits(settings, init_scale)) is not None
    ]
    return pd.DataFrame(rows, columns=["region", "arm", "init_scale", "gradient", "distance", "reach"])


def _init_scale_axis(init_scales: Sequence[float]) -> list[float]:
    """The init_scales of the results and others between and around them, from edge to edge; empty without a heat map."""
    if len(init_scales) < MIN_VALUES:
        return []
    bounds = edges(init_scales)
    return sorted({*init_scales, *map(float, np.geomspace(bounds[init_scales[0]][0], bounds[init_scales[-1]][1], INIT_SCALES))})


def _limits(settings: Settings, init_scale: float) -> tuple[float, float] | None:
    """(gradient, distance) limit of a network with that init_scale; None without a formula."""
    network = settings.network.model_copy(update={"init_scale": init_scale})
    gradient, distances = prediction_of(settings, network), distances_of(settings, network)
    if not gradient.known:
        return None
    rate = sum(1 / blocks for blocks in gradient.depth_scale() or (math.inf,)) / 2
    gradient_blocks = DEPTH_SCALES.get(network.norm, DEFAULT_DEPTH_SCALES) / rate if rate else math.inf
    distance_blocks = distances.blocks_until(math.exp(-DEFAULT_DEPTH_SCALES)) if distances.known else math.inf
    layers = theory.layers_of_block(network)
    return 2 + layers * gradient_blocks, 2 + layers * distance_blocks


TRAINED = 0.9  # of the highest median accuracy of an arm's heat map: configurations that train


def separated(cells: pd.DataFrame, limits: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """(configurations on the predicted side, all) for each limit: those that train should be within it, others beyond."""
    known = cells.dropna(subset=["accuracy"]).merge(limits, on=["region", "arm", "init_scale"])
    trains = known["accuracy"] >= TRAINED * cells["accuracy"].max()
    return {name: (int((trains == (known["depth"] <= known[name])).sum()), len(known)) for name in LIMITS if len(known)}
