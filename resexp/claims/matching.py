"""Which trials match the conditions of a hypothesis, such as `at depth=deepest, norm=layer`."""

import math
import re
from typing import Any

from resexp import config
from resexp.config import Expectation
from resexp.config.expectations import NUMBER
from resexp.runs import Results, TrialRecord

ENDS = {"deepest": max, "shallowest": min}


def matching_records(expectation: Expectation, results: Results) -> list[TrialRecord]:
    """The trials that match the conditions; `deepest` is the deepest depth among those that match the other conditions."""
    records = list(results.records)
    for key, wanted in sorted(expectation.where, key=_is_end):
        if _is_end((key, wanted)):
            depths = [_depth(record) for record in records]
            records = [record for record, depth in zip(records, depths, strict=True) if depth == ENDS[wanted](depths)]
        else:
            records = [record for record in records if _is_value(record.conditions.get(key), wanted)]
    return records


def _depth(record: TrialRecord) -> float:
    """The depth; of runs from a file, the number in the column depth."""
    try:
        return float(record.conditions["network.depth"])
    except (KeyError, ValueError):
        return math.nan  # equal to no depth


def _is_end(condition: tuple[str, str]) -> bool:
    key, wanted = condition
    return key == "network.depth" and wanted in ENDS


def _is_value(value: Any, wanted: str) -> bool:
    """Whether `wanted` is the value: as in the label of a cell, as Python prints it, or any spelling of the same number."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and re.fullmatch(NUMBER, wanted)
    return wanted in (config.format_value(value), str(value).replace(" ", "")) or (bool(number) and float(wanted) == value)
