"""Runs -> tables."""

from resexp.tables.cards import at_start, beyond, card_lines, equalities
from resexp.tables.cards import notes as card_notes
from resexp.tables.cells import METRICS, Arm, Best, Cell, best_against_best, cells, trial_rows
from resexp.tables.costs import cost_lines
from resexp.tables.dissection import dissection_lines
from resexp.tables.formats import (
    TABLES,
    accuracy_text,
    as_json,
    best_text,
    beyond_width_text,
    difference_text,
    outcome_text,
    percent,
    slope_text,
    write_accuracy,
)
from resexp.tables.lines import fitted
from resexp.tables.probe_lines import probe_lines
from resexp.tables.probing import Probed, Spread, probe_csv, probe_json, probed, probed_results
from resexp.tables.published import published_lines, published_rows

__all__ = [
    "METRICS",
    "TABLES",
    "Arm",
    "Best",
    "Cell",
    "Probed",
    "Spread",
    "accuracy_text",
    "as_json",
    "at_start",
    "best_against_best",
    "best_text",
    "beyond",
    "beyond_width_text",
    "card_lines",
    "card_notes",
    "cells",
    "cost_lines",
    "difference_text",
    "dissection_lines",
    "equalities",
    "fitted",
    "outcome_text",
    "percent",
    "probe_csv",
    "probe_json",
    "probe_lines",
    "probed",
    "probed_results",
    "published_lines",
    "published_rows",
    "slope_text",
    "trial_rows",
    "write_accuracy",
]
