"""What theory says of the networks of an experiment, as rows for tables and figures. Nothing here is measured."""

from typing import TYPE_CHECKING

from resexp import theory
from resexp.config import Network, Settings
from resexp.runs import Results
from resexp.tables.labels import condition
from resexp.theory import Prediction

if TYPE_CHECKING:
    import pandas as pd

SIDES = {"digits": 8, "mnist": 28, "fashion-mnist": 28, "cifar10": 32, "cifar100": 32}  # pixels, for a cnn's borders


def prediction_of(settings: Settings, network: Network | None = None) -> Prediction:
    """Of one trial's network, or of another one on its images and in its batches."""
    side = settings.data.image_size or SIDES.get(settings.data.name)
    return theory.predict(network or settings.network, settings.training.batch_size, side)


def bands(results: Results) -> "pd.DataFrame":
    """corner, depth, arm, index, low, high: log10 |dL/dx| at each block boundary, relative to the last, as theory has it.

    Two standard deviations over seeds are added where theory knows them. No rows where it knows no formula.
    """
    import pandas as pd  # noqa: PLC0415 - takes half a second, which `compare` does not need

    rows, seen = [], set()
    for record in results.records:
        keys = (condition(results.label(record)), record.trial.settings.network.depth, record.trial.arm)
        if keys not in seen and record.result:
            seen.add(keys)
            predicted = prediction_of(record.trial.settings)
            spread = predicted.band() or [0.0] * (len(predicted.low) + 1)
            levels = predicted.profile() if predicted.known else []
            rows += [(*keys, index, low - spread[index], high + spread[index]) for index, (low, high) in enumerate(levels)]
    return pd.DataFrame(rows, columns=["condition", "depth", "arm", "index", "low", "high"])
