"""The experiment: strict YAML, overrides, grid -> trials, execution plan.

    load(source, overrides) -> Experiment -> .trials -> plan(experiment, ...)

Only this package knows the format of a config. Modules below `train.build` do not use configs.
"""

from resexp.config.differences import continues, departures, shared_differences
from resexp.config.editors import SCHEMA_FILE, named_values, schema
from resexp.config.expansion import expanded
from resexp.config.expectations import (
    ANY_RESIDUAL,
    MEASURES,
    PREDICTORS,
    TRAINABILITY,
    Expectation,
    Relation,
    Side,
    parse_expectation,
)
from resexp.config.grid import Experiment, conditions, experiment_from, limits, load, shipped, with_data_root
from resexp.config.keys import KEYS, SHORT, suggested_key
from resexp.config.models import (
    AXES,
    COARSE,
    DATASET_NAMES,
    INIT_NAMES,
    NORM_NAMES,
    PLACEMENT_NAMES,
    PROBE_NAMES,
    DataSettings,
    NetworkSettings,
    Settings,
    TrainingSettings,
    Trial,
)
from resexp.config.parsing import ConfigError, did_you_mean, escape_controls, read_document
from resexp.config.plan import Plan, Stack, cell_label, cells, halved, make_plan, pairs, stack_kind
from resexp.config.properties import SHORTCUT_NAMES, SHORTCUT_PROPERTIES, ShortcutProperties
from resexp.config.types import CUSTOM_NAMES, STORED, Scalars, TrialName
from resexp.config.variants import (
    ACTIVATION_NAMES,
    arm_name,
    control_arm,
    format_value,
    shortcut_factors,
    shortcut_name,
    shortcut_properties,
    variant,
)
