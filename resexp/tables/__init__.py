"""Tables and texts of results."""

from resexp.tables.ablation import dissection
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
from resexp.tables.costs import costs_of_steps
from resexp.tables.documents import FORMATS, trial_rows, write_accuracy
from resexp.tables.experiment_list import experiment_list, listed_experiment
from resexp.tables.formats import (
    accuracy_text,
    contrast_text,
    dead_trials,
    diverged_text,
    missing_text,
    outcome_text,
    progress_text,
)
from resexp.tables.guess_table import guess_table, question_text
from resexp.tables.labels import cell_labels, cell_text
from resexp.tables.model import Part
from resexp.tables.module_probe import QUANTITIES, ModuleProbe
from resexp.tables.module_probe_lines import module_csv, module_json, module_parts
from resexp.tables.network_costs import NetworkRows, layer_costs, network_costs
from resexp.tables.outputs import FORMS, OUTPUTS, as_json_parts, as_lines
from resexp.tables.pair_summaries import (
    equalities,
    extra_cost,
    matched_pairs,
    pair_notes,
    pair_overview,
    pair_warnings,
)
from resexp.tables.probe_lines import probe_parts
from resexp.tables.programs import document, schema_name
from resexp.tables.published import published_rows
from resexp.tables.remedies import advice, probe_diagnoses
from resexp.tables.reproduced import reproduced
from resexp.tables.schemas import DOCUMENTS, output_schema
from resexp.tables.terminal import fitted
from resexp.tables.verdict_lines import PRIMARY, verdict_line, verdict_lines
