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
    plain, residual = ([_right(state) for state in arm] for arm in zip(*found, strict=True))
    if len({len(of) for of in (*plain, *residual)}) > 1:
        raise RunsError(f"{found[0][0].folder / 'predictions.csv.gz'}: of other images than its twin's")
    return statistics.over_images(np.asarray(residual) - np.asarray(plain))


def _right(state: State) -> np.ndarray:
    """1.0 for each test image that was named rightly, in the order of the images."""
    rows = runs.read_rows(state.folder / "predictions.csv.gz")
    if not rows:
        raise RunsError(f"{state.folder / 'predictions.csv.gz'}: missing or empty; --by-image needs it")
    return np.array([row["label"] == row["prediction"] for row in rows], dtype=np.float64)
