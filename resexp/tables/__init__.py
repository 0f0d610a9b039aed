"""Runs -> tables."""

from resexp.tables.ablation import dissection_lines
from resexp.tables.at_initialization import Probed, Spread, probe_csv, probe_json, probed, probed_results
from resexp.tables.cards import at_start, beyond, card_lines, equalities
from resexp.tables.cards import notes as card_notes
from resexp.tables.cards import warnings as card_warnings
from resexp.tables.costs import cost_lines
from resexp.tables.documents import TABLES, trial_rows, write_accuracy
from resexp.tables.formats import (
    accuracy_text,
    beyond_width_text,
    contrast_text,
    dead_text,
    dead_trials,
    difference_text,
    diverged_text,
    missing_text,
    outcome_text,
    percent,
    progress_text,
    slope_text,
    tuned_text,
)
from resexp.tables.judged import PRIMARY, judged_lines, place_lines, verdict_line
from resexp.tables.probe_lines import probe_lines
from resexp.tables.published import published_lines, published_rows
from resexp.tables.terminal import fitted

__all__ = [
    "PRIMARY",
    "TABLES",
    "Probed",
    "Spread",
    "accuracy_text",
    "at_start",
    "beyond",
    "beyond_width_text",
    "card_lines",
    "card_notes",
    "card_warnings",
    "contrast_text",
    "cost_lines",
    "dead_text",
    "dead_trials",
    "difference_text",
    "dissection_lines",
    "diverged_text",
    "equalities",
    "fitted",
    "judged_lines",
    "missing_text",
    "outcome_text",
    "percent",
    "place_lines",
    "probe_csv",
    "probe_json",
    "probe_lines",
    "probed",
    "probed_results",
    "progress_text",
    "published_lines",
    "published_rows",
    "slope_text",
    "trial_rows",
    "tuned_text",
    "verdict_line",
    "write_accuracy",
]
