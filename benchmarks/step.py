"""Where the time of a training step goes, by kind of operation; prints a table and writes docs/benchmarks.md.

    python benchmarks/step.py

The shares are those of torch's profiler, which itself slows small operations down. Logging is off.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from speed import CNN, HELD_OUT, IMAGES, MLP, experiment, repeated, single_stack, use_random_images
from tables import publish, table
from torch.autograd.profiler_util import FunctionEventAvg

from resexp import costs, executors, training

STEPS = 20
# The first pattern that matches "operation shapes" names the kind.
KINDS = {
    "convolutions, forward": r"mkldnn_convolution|aten::convolution ",
    "convolutions, backward": r"convolution_backward",
    "batch norm": r"batch_norm",
    "input layer": r"(bmm|baddbmm).*784|InputProduct",
    "hidden layers, gradients of weights": r"aten::bmm \[\[\d+, 64, 128\]",
    "hidden layers, gradients of inputs": r"aten::bmm",
    "hidden layers, forward": r"aten::baddbmm",
    "activations": r"threshold|clamp_min|relu",
    "images: selection and normalization": r"index|28, 28|sub_|div_|uint8",
    "loss": r"softmax|nll|cross_entropy",
    "optimizer": r"adam|Adam|Optimizer",
    "copies of weight gradients": r"copy_ \[\[\d+, 64, 64\]|copy_ \[\[\d+, 10, 64\]",
    "biases": r"(copy_|sum) \[\[\d+, 128, ",
    "shortcuts: products and sums": r"(mul|add|add_) \[\[(\d+, )+",
    "Python, autograd and small operations": r"",
}


def shares(step: Callable[[], None]) -> dict[str, float]:
    """Kind of operation -> its share of the time."""
    step()
    with torch.profiler.profile(record_shapes=True) as profile:
        repeated(step, STEPS)()
    seconds: Counter[str] = Counter()
    event: FunctionEventAvg
    for event in profile.key_averages(group_by_input_shape=True):
        text = f"{event.key} {event.input_shapes}"
        seconds[next(kind for kind, pattern in KINDS.items() if re.search(pattern, text))] += event.self_cpu_time_total
    return {kind: seconds[kind] / seconds.total() for kind in KINDS}


def main() -> None:
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        executors.workers.set_up(1, experiment().shared)
        use_random_images((1, 28, 28), IMAGES + HELD_OUT)
        for seeds in (5, 10):
            trials = experiment(*MLP[:5], f"seeds={seeds}").trials
            state = training.initial_state(trials, Path(folder), f"stack {seeds}", "cpu")
            columns[f"MLP, {len(trials)} networks"] = shares(costs.stepper(state, 128))
        executors.workers.set_up(executors.cores(), experiment().shared)
        use_random_images((3, 32, 32), 2_048 + HELD_OUT)
        for arm in ("plain", "identity"):
            state = single_stack(Path(folder), *CNN, "training.batch_size=128", arm=arm)
            columns[f"ResNet-20, {arm}"] = shares(costs.stepper(state, 128))
    rows = [[kind, *(f"{100 * column[kind]:.1f}" for column in columns.values())] for kind in KINDS]
    publish("step", "python benchmarks/step.py", table("Shares of a training step, %", rows, ("", *columns)))


if __name__ == "__main__":
    main()
