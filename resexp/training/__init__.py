"""build(trial), the one builder; run(trial), the loop.

A config ends here: `recipe` turns a trial's settings into plain arguments, and nothing below sees them.
"""

from resexp.training.data import (
    DTYPES,
    DeviceError,
    StepCounts,
    TrainingData,
    batches,
    device_name,
    is_out_of_memory,
    kernels,
    load_training_data,
    prepare_process,
    process_restored,
    read,
    resolve_device,
    step_counts,
    test_images,
)
from resexp.training.evaluation import finish, save_weights
from resexp.training.loop import begin, checkpoints, evaluate_epoch, save, train_stack, update
from resexp.training.measures import evaluate, never, outcome
from resexp.training.precise import PRECISE_IMAGES, measuring, precise_batch_norm
from resexp.training.recipe import (
    TWIN_INITS,
    build,
    clip,
    learning_rate,
    make_optimizer,
    precision_of,
    sample_noise,
    width_of_control,
)
from resexp.training.state import StackState

__all__ = [
    "DTYPES",
    "PRECISE_IMAGES",
    "TWIN_INITS",
    "DeviceError",
    "StackState",
    "StepCounts",
    "TrainingData",
    "batches",
    "begin",
    "build",
    "checkpoints",
    "clip",
    "device_name",
    "evaluate",
    "evaluate_epoch",
    "finish",
    "is_out_of_memory",
    "kernels",
    "learning_rate",
    "load_training_data",
    "make_optimizer",
    "measuring",
    "never",
    "outcome",
    "precise_batch_norm",
    "precision_of",
    "prepare_process",
    "process_restored",
    "read",
    "resolve_device",
    "sample_noise",
    "save",
    "save_weights",
    "step_counts",
    "test_images",
    "train_stack",
    "update",
    "width_of_control",
]
