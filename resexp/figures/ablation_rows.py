"""The logs of `resexp dissect` as data frames."""

from typing import Any

import pandas as pd

from resexp import runs
from resexp.runs import Results
from resexp.tables.frames import read_log
from resexp.tables.labels import condition


def read_ablation(results: Results, part: str) -> pd.DataFrame:
    """The rows of <part>.csv of every finished trial, with its condition, arm, depth and seed; empty if no trial has the file.

    Raises:
        RunsError: a file is damaged; the message names it.
    """
    columns = [*runs.COLUMNS[runs.ABLATION_FILES[part]], "condition", "arm", "depth", "seed"]
    frames = [pd.DataFrame(columns=columns)]
    for record in results.records:
        frame = read_log(record.folder / runs.ABLATION_FILES[part]) if record.result else pd.DataFrame()
        if len(frame):
            keys: dict[str, Any] = {
                "condition": condition(results.label(record)),
                "arm": record.trial.arm,
                "seed": record.trial.seed,
            }
            frames.append(frame.assign(**keys, depth=record.trial.settings.network.depth))
    return pd.concat(frames[1:], ignore_index=True) if frames[1:] else frames[0]
