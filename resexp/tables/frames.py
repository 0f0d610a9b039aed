"""Logs of all trials as data frames for figures: one row per reading, the trial's arm, depth and corner beside it."""

from dataclasses import dataclass
from io import StringIO
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
