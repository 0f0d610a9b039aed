"""The networks of an experiment in words: what each layer costs; and the card of every pair."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import torch

from resexp import config, datasets, pairs, training
from resexp.config import Experiment
from resexp.networks import LayerCost, NetworkCost, count


def describe(experiment: Experiment) -> tuple[list[str], list[pairs.PairSummary], str | None]:
    """(layer tables for a terminal of 80 columns, cards, why there are no cards); reads the data, trains nothing.

    Raises:
        DataError: an image folder that is missing or damaged; other sets are laid out without their images.
        DeviceError: the named device is absent.
    """
    data = experiment.shared.data
    device = training.resolve_device(experiment.shared.device)
    input_shape: tuple[int, ...]
    try:
        found = training.load_training_data(data, device, training.DTYPES[experiment.shared.precision])
        input_shape, classes, missing = found.input_shape, found.classes, None
    except datasets.DataError as error:
        if data.name not in datasets.SHAPES:
            raise
        (input_shape, classes), missing = datasets.SHAPES[data.name], str(error)
    lines = [f"{data.name}: images {input_shape}, {classes} classes"]
    for label, arms in config.cells(experiment.trials, experiment.axes).items():
        first = next(iter(arms.values()))[0]
        with training.precision_of(first.settings, torch.device("cpu")):
            cost = count(training.build(first, input_shape, classes), input_shape)
        lines += ["", " ".join(label), *layer_table(first.arm, cost)]
    return lines, [] if missing else pairs.pair_summaries(experiment, device), missing


def layer_table(arm: str, cost: NetworkCost) -> list[str]:
    """Weighted layers with output shape, parameters, multiply-adds and bytes kept for backward, all of one image."""
    form = "  {:<21}{:<15}{:>12}{:>15}{:>15}"

    def row(name: str, output: str, of: LayerCost | NetworkCost) -> str:
        return form.format(name, output, f"{of.parameters:,}", f"{of.multiply_adds:,}", f"{of.activation_bytes:,} B")

    lines = [f"  arm {arm}", form.format("layer", "output", "parameters", "multiply-adds", "activations")]
    for layers, orphaned_trials in _folded(cost.layers):
        lines += [row(layer.name, str(layer.output), layer) for layer in layers]
        lines += [f"  ... {orphaned_trials} more blocks of the same"] if orphaned_trials else []
    return [*lines, row("total, norms included", "", cost)]


def _folded(layers: Sequence[LayerCost]) -> list[tuple[list[LayerCost], int]]:
    """(layers of a block, number of blocks to leave out after it): of more than three equal ones in a row, all but the ends."""
    blocks = [list(block) for _, block in groupby(layers, key=lambda layer: layer.name.rpartition(".")[0])]
    runs = [list(run) for _, run in groupby(blocks, key=lambda block: [replace(layer, name="") for layer in block])]
    kept = []
    for run in runs:
        long = len(run) > 3
        kept += [(run[0], len(run) - 2), (run[-1], 0)] if long else [(block, 0) for block in run]
    return kept
