"""Logs of all trials as data frames for figures: one row per reading, the trial's arm, depth and corner beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from resexp import runs
from resexp.runs import Results


@dataclass(frozen=True)
class Frames:
    """results: a row per finished trial. metrics, signals: a row per logged row of these trials.

    `staged` marks signals of networks whose blocks have several shapes.
    """

    results: pd.DataFrame
    metrics: pd.DataFrame
    signals: pd.DataFrame


def is_plane(results: pd.DataFrame) -> bool:
    """Whether gain and depth span a plane that can be drawn as a map."""
    return not results.empty and results["gain"].nunique() > 2 and results["depth"].nunique() > 2


def plane(results: pd.DataFrame) -> pd.DataFrame:
    """A row per region, arm, depth and gain: mean test accuracy, n, and how far it lies above the plain arm's.

    `left`, `right`, `below`, `above` bound its field of the map: geometric means of neighbouring depths and gains.
    """
    found = results.dropna(subset=["test_accuracy", "gain"]).astype({"test_accuracy": float, "gain": float})
    keys = ["region", "arm", "depth", "gain"]
    mean = found.groupby(keys, sort=False)["test_accuracy"].agg(accuracy="mean", n="count").reset_index()
    plain = mean[mean["arm"] == "plain"].drop(columns=["arm", "n"]).rename(columns={"accuracy": "twin"})
    mean = mean.merge(plain, on=["region", "depth", "gain"], how="left")
    mean["difference"] = mean["accuracy"] - mean["twin"]
    for key, low, high in (("depth", "left", "right"), ("gain", "below", "above")):
        edges = _edges(sorted(mean[key].unique()))
        mean[low], mean[high] = (mean[key].map({value: edge[side] for value, edge in edges.items()}) for side in (0, 1))
    return mean.drop(columns=["twin"])


def _edges(values: Sequence[float]) -> dict[float, tuple[float, float]]:
    """(lower, upper) edge of each value on a logarithmic axis; the outer ones lie as far out as the nearest inner ones."""
    inner = [math.sqrt(a * b) for a, b in pairwise(values)]
    edges = [values[0] ** 2 / inner[0], *inner, values[-1] ** 2 / inner[-1]]
    return {value: (edges[place], edges[place + 1]) for place, value in enumerate(values)}


def corner(label: dict[str, str]) -> str:
    """What sets a cell apart beside its depth: 'norm layer, init he'."""
    return ", ".join(f"{key} {value}" for key, value in label.items() if key != "depth") or "all"


def read_frames(found: Results) -> Frames:
    """Frames of every finished trial.

    Raises:
        RunsError: a damaged log, by name.
    """
    results, metrics, signals = [], [], []
    for state in found.states:
        if state.result:
            keys: dict[str, Any] = {
                "arm": state.trial.arm,
                "depth": state.trial.settings.network.depth,
                "corner": corner(found.label(state)),
                "region": corner({key: value for key, value in found.label(state).items() if key != "gain"}),
                "gain": state.trial.settings.network.gain,
                "seed": state.trial.seed,
            }
            results.append({**state.result, **keys})
            staged = state.trial.settings.network.family == "cnn"
            metrics.append(_log(state.folder / "metrics.csv").assign(**keys))
            signals.append(_log(state.folder / "signals.csv").assign(**keys, staged=staged))
    return Frames(pd.DataFrame(results), *(pd.concat(logs, ignore_index=True) for logs in (metrics, signals)))


def _log(path: Path) -> pd.DataFrame:
    columns = list(runs.COLUMNS[path.name])
    text = runs.read_text(path)
    frame = pd.read_csv(StringIO(text)) if text else pd.DataFrame(columns=columns)
    if list(frame.columns) != columns:
        raise runs.RunsError(f"{path}: damaged (columns {','.join(columns)} expected)")
    return frame


def profiles(signals: pd.DataFrame) -> pd.DataFrame:
    """log10 of activation_grad_norm per corner, depth, arm, step and block, averaged over seeds.

    `relative` is against the arm's own last block, `level` absolute; zeros (below 1e-38) and non-finite values are left out.
    """
    frame = signals.copy()
    flow = frame["activation_grad_norm"].where(lambda norm: (norm > 0) & np.isfinite(norm))
    frame["level"] = np.log10(flow)
    trial = ["corner", "depth", "arm", "seed", "step"]
    last = frame.loc[frame.groupby(trial)["index"].idxmax(), [*trial, "level"]].rename(columns={"level": "last"})
    frame = frame.merge(last, on=trial)
    frame["relative"] = frame["level"] - frame["last"]
    keys = ["corner", "depth", "arm", "step", "index", "block"]
    return frame.groupby(keys, as_index=False, sort=False)[["relative", "level"]].mean()
