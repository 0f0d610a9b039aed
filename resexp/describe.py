"""The networks of an experiment as text: the cost of each layer, and the summary of every pair."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import torch

from resexp import config, datasets, pairs, runs, training
from resexp.config import Experiment
from resexp.networks import LayerCost, NetworkCost, count


def describe(experiment: Experiment) -> tuple[list[str], list[runs.PairSummary], str | None]:
    """(layer tables for a terminal of 80 columns, pair summaries, reason if there are none); reads the data, trains nothing.

    Raises:
        DataError: an image folder is missing or damaged; tables of other data sets need no images.
        DeviceError: the device is not available.
    """
    data = experiment.shared.data
    device = training.resolve_device(experiment.shared.device)
    input_shape: tuple[int, ...]
    try:
        training_data = training.load_training_data(data, device, training.DTYPES[experiment.shared.precision])
        input_shape, classes, missing = training_data.input_shape, training_data.classes, None
    except datasets.DataError as error:
        if data.name not in datasets.SHAPES:
            raise
        (input_shape, classes), missing = datasets.SHAPES[data.name], str(error)
    lines = [f"{data.name}: images {input_shape}, {classes} classes"]
    for label, arms in config.cells(experiment.trials, experiment.axes).items():
        first = next(iter(arms.values()))[0]
        with training.autocast(first.settings.precision, torch.device("cpu")):
            cost = count(training.build(first, input_shape, classes), input_shape)
        lines += ["", " ".join(label), *layer_table(first.arm, cost)]
    return lines, [] if missing else pairs.pair_summaries(experiment, device), missing


def layer_table(arm: str, cost: NetworkCost) -> list[str]:
    """Layers with weights: output shape, parameters, multiply-adds and activation memory saved for backward, for one image."""
    form = "  {:<21}{:<15}{:>12}{:>15}{:>15}"

    def row(name: str, output: str, cost: LayerCost | NetworkCost) -> str:
        return form.format(name, output, f"{cost.parameters:,}", f"{cost.multiply_adds:,}", f"{cost.activation_bytes:,} B")

    lines = [f"  arm {arm}", form.format("layer", "output", "parameters", "multiply-adds", "activations")]
    for layers, omitted_blocks in _folded(cost.layers):
        lines += [row(layer.name, str(layer.output), layer) for layer in layers]
        lines += [f"  ... {omitted_blocks} more blocks of the same"] if omitted_blocks else []
    return [*lines, row("total (+ norm layers)", "", cost)]


def _folded(layers: Sequence[LayerCost]) -> list[tuple[list[LayerCost], int]]:
    """(layers of a block, number of equal blocks omitted after it); of more than three, only first and last are shown."""
    blocks = [list(block) for _, block in groupby(layers, key=lambda layer: layer.name.rpartition(".")[0])]
    runs = [list(run) for _, run in groupby(blocks, key=lambda block: [replace(layer, name="") for layer in block])]
    shown = []
    for run in runs:
        is_long = len(run) > 3
        shown += [(run[0], len(run) - 2), (run[-1], 0)] if is_long else [(block, 0) for block in run]
    return shown
