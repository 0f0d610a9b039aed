"""What is read of a network, by the names in `gradients.probes`; nothing here changes a network, a gradient or a random state.

Two kinds: those of `OF_THE_STEP` read the training step's own forward and backward, of every trial of a stack at once, by
`begin` and `end`; those of `APART` run by themselves on a fixed batch, of one network at a time, by `apart`.
"""

from resexp.probes.correlation import gradient_correlation, input_gradients
from resexp.probes.fixed import FIXED_BATCH_PROBES, fixed_batch_probes
from resexp.probes.paths import along_paths, path_lengths
from resexp.probes.readings import STEP_PROBES, LogRow, Measurement, begin, end, norms
from resexp.probes.slopes import slope

PROBES = {**STEP_PROBES, **FIXED_BATCH_PROBES}

__all__ = [
    "FIXED_BATCH_PROBES",
    "PROBES",
    "STEP_PROBES",
    "LogRow",
    "Measurement",
    "along_paths",
    "begin",
    "end",
    "fixed_batch_probes",
    "gradient_correlation",
    "input_gradients",
    "norms",
    "path_lengths",
    "slope",
]
