"""The networks of an experiment: their costs by layer, and the summary of every pair."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch

from resexp import config, datasets, pairs, runs, training
from resexp.config import Experiment
from resexp.networks import LayerCost, NetworkCost


@dataclass(frozen=True)
class Description:
    """networks: cells by their tags, the arm, and the cost of its network; equal networks are listed once, for all their cells.

    missing: the reason why pair summaries are missing, or None.
    """

    images: str
    networks: list[tuple[list[str], str, NetworkCost]]
    pair_summaries: list[runs.PairSummary]
    missing: str | None


def describe(experiment: Experiment) -> Description:
    """Reads the data, trains nothing.

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
    cells: dict[tuple[str, NetworkCost], list[str]] = {}
    costs: pairs.Costs = {}
    for label, arms in config.cells(experiment.trials, experiment.axes).items():
        first = next(iter(arms.values()))[0]
        cost = pairs.cost_of(first, training.build(first, input_shape, classes), input_shape, torch.device("cpu"), costs)
        cells.setdefault((first.arm, cost), []).append(" ".join(label))
    return Description(
        f"{data.name}: images {input_shape}, {classes} classes",
        [(tags, arm, cost) for (arm, cost), tags in cells.items()],
        [] if missing else pairs.pair_summaries(experiment, device, costs),
        missing,
    )


def folded(layers: Sequence[LayerCost]) -> list[tuple[LayerCost, int]]:
    """(layer, number of equal blocks omitted after it); of more than three equal blocks, only first and last are listed."""
    blocks = [list(block) for _, block in groupby(layers, key=lambda layer: layer.name.rpartition(".")[0])]
    listed: list[tuple[LayerCost, int]] = []
    for _, group in groupby(blocks, key=lambda block: [replace(layer, name="") for layer in block]):
        first, *others = group
        omitted = len(others) - 1 if len(others) > 2 else 0
        listed += [(layer, 0) for layer in first[:-1]] + [(first[-1], omitted)]
        listed += [(layer, 0) for block in (others[-1:] if omitted else others) for layer in block]
    return listed
