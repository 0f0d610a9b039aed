"""Logs of all trials as data frames for figures: one row per reading, the trial's arm, depth and corner beside it."""

from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from resexp import runs
from resexp.runs import Results
from resexp.tables.labels import condition, region
from resexp.tables.planes import boundaries
from resexp.tables.theory_bands import bands


@dataclass(frozen=True)
class Frames:
    """results: a row per finished trial. metrics, signals: a row per logged row of these trials.

    `staged` marks signals of networks whose blocks have several shapes. bands, boundaries: what theory says, from the
    functions of that name. arms: all arms, with or without a finished trial, in the order of the experiment.
    """

    results: pd.DataFrame
    metrics: pd.DataFrame
    signals: pd.DataFrame
    bands: pd.DataFrame
    boundaries: pd.DataFrame
    arms: tuple[str, ...] = ()


def read_frames(found: Results) -> Frames:
    """Frames of every finished trial.

    Raises:
        RunsError: a damaged log, by name.
    """
    results, metrics, signals = [], [], []
    for record in found.records:
        if record.result:
            keys: dict[str, Any] = {
                "arm": record.trial.arm,
                "depth": record.trial.settings.network.depth,
                "condition": condition(found.label(record)),
                "region": region(found.label(record)),
                "init_scale": record.trial.settings.network.init_scale,
                "seed": record.trial.seed,
            }
            results.append({**record.result, **keys})
            staged = record.trial.settings.network.family == "cnn"
            metrics.append(_log(record.folder / "metrics.csv").assign(**keys))
            signals.append(_log(record.folder / "signals.csv").assign(**keys, staged=staged))
    return Frames(
        results=pd.DataFrame(results),
        metrics=pd.concat(metrics, ignore_index=True),
        signals=pd.concat(signals, ignore_index=True),
        bands=bands(found),
        boundaries=boundaries(found),
        arms=tuple(dict.fromkeys(record.trial.arm for record in found.records)),
    )


def _log(path: Path) -> pd.DataFrame:
    columns = list(runs.COLUMNS[path.name])
    text = runs.read_text(path)
    frame = pd.read_csv(StringIO(text)) if text else pd.DataFrame(columns=columns)
    if list(frame.columns) != columns:
        raise runs.RunsError(f"{path}: damaged (columns {','.join(columns)} expected)")
    return frame


def levels(signals: pd.DataFrame) -> pd.DataFrame:
    """The same rows with `level`, log10 of activation_grad_norm, and `relative`, how far it lies above the own last block's.

    Zeros (below 1e-38) and non-finite values have none.
    """
    frame = signals.copy()
    frame["level"] = np.log10(frame["activation_grad_norm"].where(lambda norm: (norm > 0) & np.isfinite(norm)))
    trial = ["condition", "depth", "arm", "seed", "step"]
    last = frame.loc[frame.groupby(trial)["index"].idxmax(), [*trial, "level"]].rename(columns={"level": "last"})
    frame = frame.merge(last, on=trial)
    frame["relative"] = frame["level"] - frame["last"]
    return frame.drop(columns=["last"])


def profiles(signals: pd.DataFrame) -> pd.DataFrame:
    """`levels` per corner, depth, arm, step and block, averaged over seeds."""
    keys = ["condition", "depth", "arm", "step", "index", "block"]
    return levels(signals).groupby(keys, as_index=False, sort=False)[["relative", "level"]].mean()


def at_start(frames: Frames) -> pd.DataFrame:
    """Before the first step: `relative` of every seed and block, then `low` and `high`, theory's band, of every block."""
    keys = ["condition", "depth", "arm", "index"]
    found = frames.signals[frames.signals["step"] == 0]
    measured = levels(found).dropna(subset=["relative"])[[*keys, "seed", "block", "relative"]]
    shown = measured[["condition", "depth", "arm"]].drop_duplicates()
    return pd.concat([measured, frames.bands.merge(shown, on=["condition", "depth", "arm"])], ignore_index=True)
