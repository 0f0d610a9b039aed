"""build(trial), the one builder; run(trial), the loop.

A config ends here: `recipe` turns a trial's settings into plain arguments, and nothing below sees them.
"""

from resexp.training.loop import begin, run, update
from resexp.training.material import (
    DTYPES,
    DeviceError,
    Lengths,
    Material,
    batches,
    device_name,
    is_out_of_memory,
    kernels,
    lengths,
    material,
    prepare_process,
    process_restored,
    resolve_device,
    source,
    test_images,
)
from resexp.training.measures import evaluate, never, outcome
from resexp.training.recipe import TWIN_INITS, build, clip, draws, learning_rate, make_optimizer, precision_of, width_of_control
from resexp.training.state import Run

__all__ = [
    "DTYPES",
    "TWIN_INITS",
    "DeviceError",
    "Lengths",
    "Material",
    "Run",
    "batches",
    "begin",
    "build",
    "clip",
    "device_name",
    "draws",
    "evaluate",
    "is_out_of_memory",
    "kernels",
    "learning_rate",
    "lengths",
    "make_optimizer",
    "material",
    "never",
    "outcome",
    "precision_of",
    "prepare_process",
    "process_restored",
    "resolve_device",
    "run",
    "source",
    "test_images",
    "update",
    "width_of_control",
]
