"""Build the network of a trial (`build`) and train a stack of trials (`train_stack`).

Config objects end at the builders: `build`, `make_optimizer`, `learning_rates`, `load_training_data` and `initial_state`.
What they call takes plain arguments.
"""

from resexp.training.data import (
    DTYPES,
    DeviceError,
    TrainingData,
    batches,
    check_compilation,
    device_name,
    is_out_of_memory,
    kernels,
    load_training_data,
    prepare_process,
    process_restored,
    read_images,
    resolve_device,
    step_counts,
    test_images,
)
from resexp.training.evaluation import save_result, save_weights
from resexp.training.graph import WARM_UP_STEPS
from resexp.training.loop import checkpoint_count, evaluate_epoch, initial_state, save, train_stack, update
from resexp.training.measures import evaluate, never, outcome
from resexp.training.precise import PRECISE_IMAGES, measuring, precise_batch_norm
from resexp.training.recipe import (
    PLAIN_INITS,
    autocast,
    build,
    clip,
    learning_rates,
    make_optimizer,
    matched_plain_width,
    sample_noise,
)
from resexp.training.state import StackState
from resexp.training.step import forward_backward
