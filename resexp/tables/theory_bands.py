"""Predictions of theory for the networks of an experiment, as rows for tables and figures; nothing is measured."""

from typing import TYPE_CHECKING

from resexp import theory
from resexp.config import NetworkSettings, Settings
from resexp.runs import Results
from resexp.tables.labels import condition
from resexp.theory import DistancePrediction, Prediction

if TYPE_CHECKING:
    import pandas as pd

# (channels, side) of the images, for the scale of the first layer and the padding of CNNs.
IMAGES = {"digits": (1, 8), "mnist": (1, 28), "fashion-mnist": (1, 28), "cifar10": (3, 32), "cifar100": (3, 32)}


def prediction_of(settings: Settings, network: NetworkSettings | None = None) -> Prediction:
    """The prediction for the network of a trial, or for another network with the same images and batch size."""
    return theory.predict(network or settings.network, settings.training.batch_size, *_image(settings))


def distances_of(
    settings: Settings, network: NetworkSettings | None = None, distance: float | None = None
) -> DistancePrediction:
    """The same for the distances of activations; `distance` is the measured one at x_0."""
    shape = _image(settings)
    return theory.predict_distance(network or settings.network, settings.training.batch_size, *shape, distance)


def _image(settings: Settings) -> tuple[int | None, int]:
    """(side, channels) of the images; the side is None if it is not known before the images are read."""
    channels, side = IMAGES.get(settings.data.name, (3, None))
    return settings.data.image_size or side, channels


def bands(results: Results) -> "pd.DataFrame":
    """condition, depth, arm, index, low, high: predicted log10 |dL/dx| at each block boundary, relative to the last.

    The band includes two SDs over seeds if theory predicts them. Arms without a formula have no rows.
    """
    import pandas as pd  # noqa: PLC0415 - takes half a second, and `compare` does not need it

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
