"""What is read of a network, by the names in `gradients.probes`; nothing here changes a network, a gradient or a random state.

Two kinds: those of `OF_THE_STEP` read the training step's own forward and backward, of every trial of a stack at once, by
`begin` and `end`; those of `APART` run by themselves on a fixed batch, of one network at a time, by `apart`.
"""

from resexp.probes.correlation import gradient_correlation, input_gradients
from resexp.probes.fixed import APART, apart
from resexp.probes.paths import along_paths, path_lengths
from resexp.probes.readings import OF_THE_STEP, Reading, Row, begin, end, norms
from resexp.probes.slopes import slope

PROBES = {**OF_THE_STEP, **APART}

__all__ = [
    "APART",
    "OF_THE_STEP",
    "PROBES",
    "Reading",
    "Row",
    "along_paths",
    "apart",
    "begin",
    "end",
    "gradient_correlation",
    "input_gradients",
    "norms",
    "path_lengths",
    "slope",
]
