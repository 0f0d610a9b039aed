"""Tables and texts of results."""

from resexp.tables.ablation import dissection_lines
from resexp.tables.answer import answer_lines, trained_lines
from resexp.tables.at_initialization import (
    InitDiagnostics,
    init_diagnostics,
    logged_init_diagnostics,
    probe_csv,
    probe_json,
)
from resexp.tables.by_layer import by_layer_lines
from resexp.tables.compared import comparison_lines
from resexp.tables.costs import cost_lines
from resexp.tables.documents import TABLES, trial_rows, write_accuracy
from resexp.tables.formats import (
    accuracy_text,
    contrast_text,
    dead_trials,
    diverged_text,
    missing_text,
    outcome_text,
    progress_text,
    slope_text,
)
from resexp.tables.pair_summaries import (
    equalities,
    extra_cost,
    pair_notes,
    pair_overview_lines,
    pair_summary_lines,
    pair_warnings,
)
from resexp.tables.probe_lines import probe_lines
from resexp.tables.published import published_rows
from resexp.tables.terminal import fitted
from resexp.tables.verdict_lines import PRIMARY, verdict_line, verdict_lines

__all__ = [
    "PRIMARY",
    "TABLES",
    "InitDiagnostics",
    "accuracy_text",
    "answer_lines",
    "by_layer_lines",
    "comparison_lines",
    "contrast_text",
    "cost_lines",
    "dead_trials",
    "dissection_lines",
    "diverged_text",
    "equalities",
    "extra_cost",
    "fitted",
    "init_diagnostics",
    "logged_init_diagnostics",
    "missing_text",
    "outcome_text",
    "pair_notes",
    "pair_overview_lines",
    "pair_summary_lines",
    "pair_warnings",
    "probe_csv",
    "probe_json",
    "probe_lines",
    "progress_text",
    "published_rows",
    "slope_text",
    "trained_lines",
    "trial_rows",
    "verdict_line",
    "verdict_lines",
    "write_accuracy",
]
