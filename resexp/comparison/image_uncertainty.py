"""How much of a difference is the luck of the test images, from predictions.csv.gz."""

import math
from collections.abc import Sequence

import numpy as np

from resexp import inference, runs
from resexp.runs import RunsError, TrialRecord

PREDICTIONS = "predictions.csv.gz"


def over_test_images(found: Sequence[tuple[TrialRecord, TrialRecord]]) -> float:
    """Half-width of the 95% interval of residual minus plain over other test images, with these networks.

    Raises:
        RunsError: predictions that are damaged, or of other images.
    """
    records = _states(found)
    named = [_named(record) for record in records]
    for record, images in zip(records, named, strict=True):
        if not _same_images(images, named[0]):
            raise RunsError(f"{record.folder / PREDICTIONS}: the test images differ from those of {records[0].folder}")
    return inference.image_half_width(_differences(named))


def image_error(found: Sequence[tuple[TrialRecord, TrialRecord]]) -> tuple[float, int] | None:
    """(standard error over test images of the mean difference, number of images); None without predictions of the same images.

    Predictions that are missing or damaged are no error: evidence is over seeds alone then, and `doctor` names the file.
    """
    records = _states(found)
    try:
        for record in records:
            runs.check_digests(record.folder, record.result or {}, [PREDICTIONS])
        named = [_named(record) for record in records]
    except RunsError:
        return None
    if not all(_same_images(images, named[0]) for images in named) or len(named[0][0]) < 2:
        return None
    each = _differences(named).mean(axis=0)
    return float(each.std(ddof=1)) / math.sqrt(len(each)), len(each)


def _states(found: Sequence[tuple[TrialRecord, TrialRecord]]) -> list[TrialRecord]:
    """The states of all pairs, plain first."""
    return [record for arm in zip(*found, strict=True) for record in arm]


Named = tuple[np.ndarray, np.ndarray, np.ndarray]


def _named(record: TrialRecord) -> Named:
    """The label, the prediction and the file ('' where there is none) of each test image, in the order of the images."""
    columns = runs.read_columns(record.folder / PREDICTIONS)
    labels = columns["label"]
    if not labels:
        raise RunsError(f"{record.folder / PREDICTIONS}: missing or empty; --by-image needs it")
    return np.array(labels), np.array(columns["prediction"]), np.array(columns.get("file") or [""] * len(labels))


def _same_images(images: Named, first: Named) -> bool:
    known = bool(images[2][0] and first[2][0])
    return np.array_equal(images[0], first[0]) and (not known or np.array_equal(images[2], first[2]))


def _differences(named: Sequence[Named]) -> np.ndarray:
    """(seeds, images): 1 where only the residual network is right, -1 where only the plain one is, else 0."""
    right = np.array([labels == predictions for labels, predictions, _ in named], dtype=np.float64)
    return right[len(named) // 2 :] - right[: len(named) // 2]
