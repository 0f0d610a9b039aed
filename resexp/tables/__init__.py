"""Runs -> tables."""

from resexp.tables.cells import METRICS, Arm, Best, Cell, axis_value, best_against_best, cells, trial_rows
from resexp.tables.formats import (
    TABLES,
    accuracy_text,
    as_json,
    difference_text,
    outcome_text,
    percent,
    slope_text,
    write_accuracy,
)

__all__ = [
    "METRICS",
    "TABLES",
    "Arm",
    "Best",
    "Cell",
    "accuracy_text",
    "as_json",
    "axis_value",
    "best_against_best",
    "cells",
    "difference_text",
    "outcome_text",
    "percent",
    "slope_text",
    "trial_rows",
    "write_accuracy",
]
