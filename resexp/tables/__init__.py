"""Runs -> tables."""

from resexp.tables.cards import at_start, beyond, card_lines, equalities
from resexp.tables.cards import notes as card_notes
from resexp.tables.cells import METRICS, Arm, Best, Cell, best_against_best, cells, trial_rows
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
from resexp.tables.published import published_lines, published_rows

__all__ = [
    "METRICS",
    "TABLES",
    "Arm",
    "Best",
    "Cell",
    "accuracy_text",
    "as_json",
    "at_start",
    "best_against_best",
    "beyond",
    "card_lines",
    "card_notes",
    "cells",
    "difference_text",
    "equalities",
    "outcome_text",
    "percent",
    "published_lines",
    "published_rows",
    "slope_text",
    "trial_rows",
    "write_accuracy",
]
