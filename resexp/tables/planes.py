"""Experiments that span a plane of first weights and depth: its fields, and where theory sees the end of training on it."""

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
from resexp.tables.theory_bands import prediction_of

# Depth scales of |dL/dx|^2 over which networks were found to train: Schoenholz 2017, arXiv:1611.01232; Yang 2019, 1902.08129.
SCALES = {"batch": 16}
WITHOUT_BATCH_NORM = 6
INIT_SCALES = 97  # of a boundary
MIN_VALUES = 3  # init_scales and depths of a map
MIXED, GONE = "outcomes differ", "all diverged"  # marks on the cells of the heat map


def is_plane(results: pd.DataFrame) -> bool:
    """Whether the init_scales and depths of what has an accuracy span a plane that can be drawn as a map."""
    found = _placed(results)
    return min(found["init_scale"].nunique(), found["depth"].nunique()) >= MIN_VALUES


def _placed(results: pd.DataFrame) -> pd.DataFrame:
    """What has a place on a map, and an accuracy: diverged networks have none."""
    return results.dropna(subset=["test_accuracy", "init_scale"]).astype({"test_accuracy": float, "init_scale": float})


def plane(results: pd.DataFrame) -> pd.DataFrame:
    """A row per region, arm, depth and init_scale: the median test accuracy of its n seeds, their outcomes, the difference to plain.

    `accuracy`, `lowest`, `highest`: median and range in [0, 1]. Diverged networks have no accuracy and rank below all others,
    so that they count in the median, which is nan if the middle seed diverged (of an even number: either middle one).
    `outcomes`: '2 trained, 1 diverged'; `mark`: MIXED where these differ, GONE where all seeds diverged, else "".
    `difference`: median minus the plain arm's. `left`, `right`, `below`, `above` bound the cell on the map: geometric means of
    neighboring depths and init_scales.
    """
    placed = results.dropna(subset=["init_scale"]).astype({"test_accuracy": float, "init_scale": float})
    keys = ["region", "arm", "depth", "init_scale"]
    rows = [{**dict(zip(keys, key, strict=True)), **_cell(seeds)} for key, seeds in placed.groupby(keys, sort=False)]
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
        "outcomes": ", ".join(f"{counts[outcome]} {outcome}" for outcome in kinds),
        "mark": MIXED if len(kinds) > 1 else GONE if kinds == ["diverged"] else "",
    }


def edges(values: Sequence[float]) -> dict[float, tuple[float, float]]:
    """(lower, upper) edge of each value on a logarithmic axis; the outer ones lie as far out as the nearest inner ones."""
    inner = [math.sqrt(a * b) for a, b in pairwise(values)]
    lines = [values[0] ** 2 / inner[0], *inner, values[-1] ** 2 / inner[-1]]
    return dict(zip(values, pairwise(lines), strict=True))


def boundaries(results: Results) -> pd.DataFrame:
    """region, arm, init_scale, reach: the depth at which theory sees the end of training, over the whole map.

    In weighted layers: 6 depth scales of the gradient, 16 with batch norm. inf where the gradient keeps its size; no rows for
    arms whose gradient changes otherwise than exponentially, or whose formula is not known.
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
        (*keys, init_scale, reach)
        for keys, settings in deepest.items()
        for init_scale in _over(sorted(init_scales))
        if (reach := _reach(settings, init_scale)) is not None
    ]
    return pd.DataFrame(rows, columns=["region", "arm", "init_scale", "reach"])


def _over(init_scales: Sequence[float]) -> list[float]:
    """The init_scales trained and others between and around them, from edge to edge of the map; none where there is no map."""
    if len(init_scales) < MIN_VALUES:
        return []
    fields = edges(init_scales)
    return sorted({*init_scales, *map(float, np.geomspace(fields[init_scales[0]][0], fields[init_scales[-1]][1], INIT_SCALES))})


def _reach(settings: Settings, init_scale: float) -> float | None:
    network = settings.network.model_copy(update={"init_scale": init_scale})
    found = prediction_of(settings, network).depth_scale()
    if found is None:
        return None
    rate = sum(1 / blocks for blocks in found) / 2
    blocks = SCALES.get(network.norm, WITHOUT_BATCH_NORM) / rate if rate else math.inf
    return 2 + theory.layers_of_block(network) * blocks
