"""The probes named in `gradients.probes`. A probe does not change the network, its gradients or a random state.

`PROBES["mine"] = StepProbe(MineRow, begin_mine)` adds a probe that writes mine.csv, for trainings in this process.
"""

from resexp.probes.correlation import gradient_correlation, input_gradients
from resexp.probes.measurement import PROBES, begin, end, fixed_batch_probes
from resexp.probes.paths import gradients_by_path_length, path_lengths
from resexp.probes.probe import FixedBatchProbe, LogRow, StepProbe, column_names
from resexp.probes.readings import cosine_distances, norms
from resexp.probes.slopes import slope
