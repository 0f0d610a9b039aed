"""The logs of `resexp dissect` as data frames."""

import pandas as pd

from resexp import runs
from resexp.runs import Results
from resexp.tables.frames import read_logs
from resexp.tables.labels import condition


def read_ablation(results: Results, part: str) -> pd.DataFrame:
    """The rows of <part>.csv of every finished trial, with its condition, arm, depth and seed; empty if no trial has the file.

    Raises:
        RunsError: a file is damaged; the message names it.
    """
    finished = [record for record in results.records if record.result]
    keys = {
        "condition": [condition(results.label(record)) for record in finished],
        "arm": [record.trial.arm for record in finished],
        "seed": [record.trial.seed for record in finished],
        "depth": [record.trial.settings.network.depth for record in finished],
    }
    return read_logs(runs.ABLATION_FILES[part], finished, pd.DataFrame(keys))
