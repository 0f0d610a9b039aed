"""The networks of an experiment as text: the cost of each layer, and the summary of every pair."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import torch

from resexp import config, datasets, pairs, runs, training
from resexp.config import Experiment
from resexp.networks import LayerCost, NetworkCost, count


def describe(experiment: Experiment, *, show_layers: bool = True) -> tuple[list[str], list[runs.PairSummary], str | None]:
    """(costs for a terminal of 80 columns, pair summaries, reason if there are none); reads the data, trains nothing.

    show_layers: a table of the layers of each network, otherwise one line with its total. Equal ones are printed once.

    Raises:
        DataError: an image folder is missing or damaged; tables of other data sets need no images.
        DeviceError: the device is not available.
    """
    data = experiment.shared.data
    device = training.resolve_device(experiment.shared.device)
    input_shape: tuple[int, ...]
    try:
        training_data = training.load_training_data(data, device, experiment.shared.precision)
        input_shape, classes, missing = training_data.input_shape, training_data.classes, None
    except datasets.DataError as error:
        if data.name not in datasets.SHAPES:
            raise
        (input_shape, classes), missing = datasets.SHAPES[data.name], str(error)
    lines = [f"{data.name}: images {input_shape}, {classes} classes"]
    labels: dict[tuple[str, ...], list[str]] = {}  # of the cells, by the description of their network
    for label, arms in config.cells(experiment.trials, experiment.axes).items():
        first = next(iter(arms.values()))[0]
        with training.autocast(first.settings.precision, torch.device("cpu")):
            cost = count(training.build(first, input_shape, classes), input_shape)
        description = layer_table(first.arm, cost) if show_layers else [total_line(first.arm, cost)]
        labels.setdefault(tuple(description), []).append(" ".join(label))
    for network, cells in labels.items():
        lines += [*([""] if show_layers else []), "; ".join(cells), *network]
    lines += [] if show_layers else ["Multiply-adds and activations (saved for the backward pass) are for one image."]
    return lines, [] if missing else pairs.pair_summaries(experiment, device), missing


def total_line(arm: str, cost: NetworkCost) -> str:
    """'  plain: 29,770 parameters, 29,312 multiply-adds, 2,048 B activations'."""
    image = f"{cost.multiply_adds:,} multiply-adds, {cost.activation_bytes:,} B activations"
    return f"  {arm}: {cost.parameters:,} parameters, {image}"


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
