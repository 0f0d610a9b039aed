"""How much of a difference is the luck of the test images, from predictions.csv.gz."""

from collections.abc import Sequence

import numpy as np

from resexp import runs, statistics
from resexp.runs import RunsError, State


def over_test_images(found: Sequence[tuple[State, State]]) -> float:
    """Half-width of the 95 % interval of residual minus plain over other test images, with these networks.

    Raises:
        RunsError: predictions that are damaged, or of other images.
    """
    states = [state for arm in zip(*found, strict=True) for state in arm]  # plain first
    named = [_named(state) for state in states]
    for state, (labels, _, files) in zip(states, named, strict=True):
        known = bool(files[0] and named[0][2][0])
        if not np.array_equal(labels, named[0][0]) or (known and not np.array_equal(files, named[0][2])):
            raise RunsError(f"{state.folder / 'predictions.csv.gz'}: of other images than those of {states[0].folder}")
    right = np.array([labels == predictions for labels, predictions, _ in named], dtype=np.float64)
    return statistics.over_images(right[len(found) :] - right[: len(found)])


def _named(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The label, the prediction and the file ('' where there is none) of each test image, in the order of the images."""
    rows = runs.read_rows(state.folder / "predictions.csv.gz")
    if not rows:
        raise RunsError(f"{state.folder / 'predictions.csv.gz'}: missing or empty; --by-image needs it")
    return (
        np.array([row["label"] for row in rows]),
        np.array([row["prediction"] for row in rows]),
        np.array([row.get("file", "") for row in rows]),
    )
