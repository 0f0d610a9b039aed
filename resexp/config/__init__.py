"""The experiment: strict YAML, overrides, grid -> trials, execution plan.

    load(source, overrides) -> Experiment -> .trials -> plan(experiment, ...)

Only this package knows the format of a config. Modules below `train.build` do not use configs.
"""

from resexp.config.editors import schema
from resexp.config.expansion import expanded
from resexp.config.expectations import ANY_RESIDUAL, MEASURES, Expectation, Relation, Side, parse_expectation
from resexp.config.grid import (
    Experiment,
    conditions,
    continues,
    departures,
    experiment_from,
    limits,
    load,
    same_recipe,
    shared_differences,
    shipped,
    with_data_root,
)
from resexp.config.keys import SHORT, suggested_key
from resexp.config.models import (
    ACTIVATION_NAMES,
    AXES,
    COARSE,
    DATASET_NAMES,
    INIT_NAMES,
    NORM_NAMES,
    PLACEMENT_NAMES,
    PROBE_NAMES,
    DataSettings,
    GradientSettings,
    NetworkSettings,
    Settings,
    TrainingSettings,
    Trial,
)
from resexp.config.parsing import ConfigError, did_you_mean, escape_controls, read_document
from resexp.config.plan import Plan, Stack, cell_label, cells, halved, make_plan, pairs, stack_kind, with_rounds
from resexp.config.shortcut_parameters import (
    FREE_SHORTCUTS,
    SHORTCUT_NAMES,
    SHORTCUT_PARAMETERS,
    arm_name,
    control_arm,
    format_value,
    shortcut_name,
)
from resexp.config.types import TrialName

__all__ = [
    "ACTIVATION_NAMES",
    "ANY_RESIDUAL",
    "AXES",
    "COARSE",
    "DATASET_NAMES",
    "FREE_SHORTCUTS",
    "INIT_NAMES",
    "MEASURES",
    "NORM_NAMES",
    "PLACEMENT_NAMES",
    "PROBE_NAMES",
    "SHORT",
    "SHORTCUT_NAMES",
    "SHORTCUT_PARAMETERS",
    "ConfigError",
    "DataSettings",
    "Expectation",
    "Experiment",
    "GradientSettings",
    "NetworkSettings",
    "Plan",
    "Relation",
    "Settings",
    "Side",
    "Stack",
    "TrainingSettings",
    "Trial",
    "TrialName",
    "arm_name",
    "cell_label",
    "cells",
    "conditions",
    "continues",
    "control_arm",
    "departures",
    "did_you_mean",
    "escape_controls",
    "expanded",
    "experiment_from",
    "format_value",
    "halved",
    "limits",
    "load",
    "make_plan",
    "pairs",
    "parse_expectation",
    "read_document",
    "same_recipe",
    "schema",
    "shared_differences",
    "shipped",
    "shortcut_name",
    "stack_kind",
    "suggested_key",
    "with_data_root",
    "with_rounds",
]
