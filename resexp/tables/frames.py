"""Logs of all trials as data frames for figures: one row per logged row, with the arm, depth and condition of its trial."""

import csv
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from resexp import runs
from resexp.comparison import LayerLog
from resexp.runs import Results, Track, TrialRecord
from resexp.tables.labels import condition, region
from resexp.tables.planes import boundaries
from resexp.tables.theory_bands import bands


@dataclass(frozen=True)
class Frames:
    """results: a row per finished trial. metrics, signals: a row per logged row of these trials.

    `staged` marks signals of networks whose blocks have several shapes. bands, boundaries: predictions of theory, from the
    functions of that name. arms: all arms, with or without a finished trial, in the order of the experiment.
    """

    results: pd.DataFrame
    metrics: pd.DataFrame
    signals: pd.DataFrame
    bands: pd.DataFrame
    boundaries: pd.DataFrame
    arms: tuple[str, ...] = ()


def read_frames(experiment_results: Results, track: Track = iter) -> Frames:
    """Frames of every finished trial; `track` as in `FigureData`.

    Raises:
        RunsError: a log is damaged; the message names the file.
    """
    finished = [record for record in experiment_results.records if record.result]
    keys = [_keys(experiment_results, record) for record in finished]
    results = [{**record.result.content, **key} for record, key in zip(finished, keys, strict=True) if record.result]
    staged = [record.trial.settings.network.family == "cnn" for record in finished]
    columns = pd.DataFrame(keys)
    return Frames(
        results=pd.DataFrame(results),
        metrics=read_logs("metrics.csv", finished, columns, track),
        signals=read_logs("signals.csv", finished, columns.assign(staged=staged), track),
        bands=bands(experiment_results),
        boundaries=boundaries(experiment_results),
        arms=tuple(dict.fromkeys(record.trial.arm for record in experiment_results.records)),
    )


def _keys(results: Results, record: TrialRecord) -> dict[str, Any]:
    """The columns that identify a trial."""
    label = results.label(record)
    return {
        "arm": record.trial.arm,
        "depth": record.trial.settings.network.depth,
        "condition": condition(label),
        "region": region(label),
        "init_scale": record.trial.settings.network.init_scale,
        "seed": record.trial.seed,
    }


def read_logs(name: str, records: Sequence[TrialRecord], keys: pd.DataFrame, track: Track = iter) -> pd.DataFrame:
    """All rows of a log of these trials, each followed by the row of its trial in `keys`.

    Columns have their declared types; a column that a log lacks is NaN. Logs with equal columns are parsed at once, because
    parsing each one takes several times as long.

    Raises:
        RunsError: a log is damaged; the message names it.
    """
    declared = {column.name: column.kind for column in runs.LOG_COLUMNS.get(name, ())}
    tracked = zip(records, track([record.trial for record in records]), strict=True)
    logs = [(number, *runs.log_text(record.folder / name)) for number, (record, _) in enumerate(tracked)]
    frames, trials = list[pd.DataFrame](), list[int]()
    for header, equal_logs in itertools.groupby((log for log in logs if log[2]), key=lambda log: log[1]):
        texts = {number: text for number, _, text in equal_logs}
        counts = [_row_count(text) for text in texts.values()]
        try:
            frame = pd.read_csv(StringIO("".join(texts.values())), names=header, dtype=declared or None)
        except ValueError:
            frame = pd.DataFrame()
        if len(frame) != sum(counts):
            for number in texts:
                runs.read_columns(records[number].folder / name)  # names the damaged cell
            raise runs.RunsError(f"{records[next(iter(texts))].folder.parent}: {name} of a trial is damaged")
        frames.append(frame)
        trials += [number for number, count in zip(texts, counts, strict=True) for _ in range(count)]
    kinds = declared or dict.fromkeys(logs[0][1] if logs else (), float)
    empty = pd.DataFrame({column: pd.Series(dtype=kind) for column, kind in kinds.items()})
    rows = pd.concat(frames, ignore_index=True) if frames else empty
    ordered = rows.reindex(columns=list(declared)) if declared else rows
    return pd.concat([ordered, keys.take(trials).reset_index(drop=True)], axis=1)


def _row_count(text: str) -> int:
    """The number of rows of a log; a quoted cell may contain line breaks."""
    return len(list(csv.reader(StringIO(text)))) if '"' in text else text.count("\n")


def layer_frame(results: Results, logs: Mapping[Path, LayerLog]) -> pd.DataFrame:
    """A row per finished trial, logging step of `logs` and weighted layer, with `level` and `update` in log10.

    level: weight_grad_norm; update: update_ratio; both are NaN for zeros and non-finite values. moment: the moment of the step,
    or ''. shown: whether the step is on the heat map, on which all trials of a condition and depth have the same steps.

    Raises:
        RunsError: a log is damaged; the message names the file.
    """
    trials, lines = [], []
    for record in results.records:
        if record.folder in logs:
            log = logs[record.folder]
            moments = {step: moment for moment, step in log.moments.items()}
            keys = _keys(results, record).values()
            for step, rank in log.ranks.items():
                trials.append((*keys, step, moments.get(step, ""), rank, log.stride, len(log.lines[step])))
                lines += log.lines[step]
    names = ["arm", "depth", "condition", "region", "init_scale", "seed", "step", "moment", "rank", "stride", "layers"]
    steps = pd.DataFrame(trials, columns=names).astype(dict.fromkeys(["arm", "condition", "moment"], "category"))
    stride = steps.groupby(["condition", "depth"], observed=True)["stride"].transform("max")
    steps = steps.assign(shown=steps["rank"] % stride == 0).drop(columns=["region", "init_scale", "rank", "stride"])
    types: dict[str, Any] = {"index": int, "layer": "category", "weight_grad_norm": float, "update_ratio": float}
    try:
        columns = runs.COLUMNS["gradients.csv"]
        rows = pd.read_csv(StringIO("\n".join(lines)), names=columns, usecols=list(types), dtype=types)
    except ValueError:
        for folder in logs:
            runs.read_columns(folder / "gradients.csv")  # names the damaged file
        raise
    frame = steps.loc[steps.index.repeat(steps.pop("layers"))].reset_index(drop=True)
    frame = frame.assign(index=rows["index"], layer=rows["layer"])
    for column, name in (("weight_grad_norm", "level"), ("update_ratio", "update")):
        frame[name] = np.log10(rows[column].where(lambda value: (value > 0) & np.isfinite(value)))
    return frame


FLOOR = 1e-16  # of a cosine distance in charts: smaller ones are rounding errors of float32


def levels(signals: pd.DataFrame) -> pd.DataFrame:
    """The same rows with `level`, log10 of activation_grad_norm, and `relative`, its difference from the last block's level.

    Both are NaN for zeros (below 1e-38) and non-finite values. distance: log10 of the cosine distance, at least that of FLOOR.
    """
    frame = signals.copy()
    frame["level"] = np.log10(frame["activation_grad_norm"].where(lambda norm: (norm > 0) & np.isfinite(norm)))
    trial = ["condition", "depth", "arm", "seed", "step"]
    last = frame.loc[frame.groupby(trial)["index"].idxmax(), [*trial, "level"]].rename(columns={"level": "last"})
    frame = frame.merge(last, on=trial)
    frame["relative"] = frame["level"] - frame["last"]
    distances = frame["activation_cosine_distance"]
    frame["distance"] = np.log10(distances.where(np.isfinite(distances)).clip(lower=FLOOR))
    return frame.drop(columns=["last"])


def profiles(signals: pd.DataFrame) -> pd.DataFrame:
    """`levels` per condition, depth, arm, step and block, averaged over seeds."""
    keys = ["condition", "depth", "arm", "step", "index", "block"]
    return levels(signals).groupby(keys, as_index=False, sort=False)[["relative", "level", "distance"]].mean()


def initial_gradients(frames: Frames) -> pd.DataFrame:
    """At initialization: `relative` of every seed and block; then `low` and `high`, the predicted band, of every block."""
    keys = ["condition", "depth", "arm", "index"]
    initial = frames.signals[frames.signals["step"] == 0]
    measured = levels(initial).dropna(subset=["relative"])[[*keys, "seed", "block", "relative"]]
    shown = measured[["condition", "depth", "arm"]].drop_duplicates()
    return pd.concat([measured, frames.bands.merge(shown, on=["condition", "depth", "arm"])], ignore_index=True)
