"""build(trial), the one builder; run(trial), the loop.

A config ends here: `recipe` turns a trial's settings into plain arguments, and nothing below sees them.
"""

from resexp.training.conclusion import finish, save_weights
from resexp.training.data import (
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
    read,
    resolve_device,
    test_images,
)
from resexp.training.loop import begin, checkpoints, close_epoch, run, save, update
from resexp.training.measures import evaluate, never, outcome
from resexp.training.precise import PRECISE_IMAGES, measuring, precise_batch_norm
from resexp.training.recipe import TWIN_INITS, build, clip, draws, learning_rate, make_optimizer, precision_of, width_of_control
from resexp.training.state import Run

__all__ = [
    "DTYPES",
    "PRECISE_IMAGES",
    "TWIN_INITS",
    "DeviceError",
    "Lengths",
    "Material",
    "Run",
    "batches",
    "begin",
    "build",
    "checkpoints",
    "clip",
    "close_epoch",
    "device_name",
    "draws",
    "evaluate",
    "finish",
    "is_out_of_memory",
    "kernels",
    "learning_rate",
    "lengths",
    "make_optimizer",
    "material",
    "measuring",
    "never",
    "outcome",
    "precise_batch_norm",
    "precision_of",
    "prepare_process",
    "process_restored",
    "read",
    "resolve_device",
    "run",
    "save",
    "save_weights",
    "test_images",
    "update",
    "width_of_control",
]
