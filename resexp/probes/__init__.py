"""The probes named in `gradients.probes`. A probe does not change the network, its gradients or a random state.

`STEP_PROBES` use the forward and backward pass of the training step, for all trials of a stack at once: `begin` and `end`.
`FIXED_BATCH_PROBES` run separate passes on a fixed batch, for one network at a time: `fixed_batch_probes`.
"""

from resexp.probes.correlation import gradient_correlation, input_gradients
from resexp.probes.fixed import FIXED_BATCH_PROBES, fixed_batch_probes
from resexp.probes.paths import gradients_by_path_length, path_lengths
from resexp.probes.readings import STEP_PROBES, LogRow, begin, end, norms
from resexp.probes.slopes import slope

PROBES = {**STEP_PROBES, **FIXED_BATCH_PROBES}
