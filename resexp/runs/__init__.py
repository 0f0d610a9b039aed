"""Results folders: the only package that knows the names, columns and states of files in runs/. No torch."""

from resexp.runs.columns import (
    COLUMNS,
    LOG_COLUMNS,
    EpsBoundRow,
    GradientCorrelationRow,
    GradientRow,
    PathLengthRow,
    SignalRow,
    columns_of,
    probe_file,
)
from resexp.runs.endings import CHANGED, line_endings_changed, restore_line_endings, write_attributes
from resexp.runs.environment import PACKAGES, free_memory, launch_entry, peak_memory, processor
from resexp.runs.examination import examine, experiments
from resexp.runs.fences import SupersededError, attempt
from resexp.runs.files import (
    ABLATION_FILES,
    CHECKSUMMED,
    LOGS,
    RunsError,
    append,
    checked_once,
    discard,
    format_cell,
    json_digest,
    log_position,
    log_text,
    previous_path,
    read_columns,
    read_rows,
    read_text,
    read_with_digest,
    sha256,
    truncate_log,
    write_bytes,
    write_json,
    write_rows,
    write_text,
    write_with_digest,
)
from resexp.runs.folders import (
    LAYOUT,
    archive,
    begin,
    check_unchanged,
    checkpoint_file,
    damaged_checkpoints,
    find,
    is_complete,
    move_to_trash,
    orphaned_trials,
    read_experiment,
    read_plan,
    refuse_links,
    remove_temporary_files,
    write_plan,
)
from resexp.runs.locks import Lease, assert_held, experiment_lock, holder, is_training, lock, lock_stack
from resexp.runs.module_measurements import ModuleMeasurement, SelfCheck
from resexp.runs.packing import pack
from resexp.runs.records import (
    AtStart,
    Equalities,
    ExtraCost,
    Guess,
    GuessKind,
    ImportRecord,
    Launch,
    Outcome,
    PairSummary,
    Result,
    guesses,
    launches,
    pair_summaries,
    with_rounds,
)
from resexp.runs.results import Results, TableSource, Track, TrialRecord, read_results, results_of, trial_records
from resexp.runs.serialization import to_yaml
from resexp.runs.targets import readable, target
from resexp.runs.trials import (
    check_digests,
    clear,
    has_result,
    log_positions,
    read_state,
    read_trial,
    result,
    set_failed,
    set_status,
    status,
    trained_settings,
    trial_folder,
    truncate_logs,
    write_result,
    write_trial,
)
