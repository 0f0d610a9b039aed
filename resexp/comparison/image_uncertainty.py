"""Uncertainty of a difference due to the choice of test images, from predictions.csv.gz."""

import math
from collections.abc import Sequence

import numpy as np

from resexp import inference, runs
from resexp.runs import RunsError, TrialRecord

PREDICTIONS = "predictions.csv.gz"


def over_test_images(seed_pairs: Sequence[tuple[TrialRecord, TrialRecord]]) -> float:
    """Half-width of the 95% interval of residual minus plain over other test images, with these networks.

    Raises:
        RunsError: damaged predictions, or predictions for different images.
    """
    records = _records_by_arm(seed_pairs)
    predictions = [_read_predictions(record) for record in records]
    for record, images in zip(records, predictions, strict=True):
        if not _same_images(images, predictions[0]):
            raise RunsError(f"{record.folder / PREDICTIONS}: the test images differ from those of {records[0].folder}")
    return inference.image_half_width(_differences(predictions))


def image_error(seed_pairs: Sequence[tuple[TrialRecord, TrialRecord]]) -> tuple[float, int] | None:
    """(standard error of the mean difference over test images, number of images); None without predictions for the same images.

    Missing or damaged predictions are not an error: the p-value then covers seeds only, and `doctor` lists the file.
    """
    records = _records_by_arm(seed_pairs)
    try:
        for record in records:
            if record.result:
                runs.check_digests(record.folder, record.result, [PREDICTIONS])
        predictions = [_read_predictions(record) for record in records]
    except RunsError:
        return None
    if not all(_same_images(images, predictions[0]) for images in predictions) or len(predictions[0][0]) < 2:
        return None
    by_image = _differences(predictions).mean(axis=0)
    return float(by_image.std(ddof=1)) / math.sqrt(len(by_image)), len(by_image)


def _records_by_arm(seed_pairs: Sequence[tuple[TrialRecord, TrialRecord]]) -> list[TrialRecord]:
    """The trials of all pairs; those of the plain arm come first."""
    return [record for arm in zip(*seed_pairs, strict=True) for record in arm]


Predictions = tuple[np.ndarray, np.ndarray, np.ndarray]  # label, prediction and file of each test image


def _read_predictions(record: TrialRecord) -> Predictions:
    """Label, prediction and file ('' if it has none) of each test image, in the order of the images."""
    columns = runs.read_columns(record.folder / PREDICTIONS)
    labels = columns["label"]
    if not labels:
        raise RunsError(f"{record.folder / PREDICTIONS}: missing or empty; train its trial again, or omit --by-image")
    return np.array(labels), np.array(columns["prediction"]), np.array(columns.get("file") or [""] * len(labels))


def _same_images(images: Predictions, first: Predictions) -> bool:
    have_files = bool(images[2][0] and first[2][0])
    return np.array_equal(images[0], first[0]) and (not have_files or np.array_equal(images[2], first[2]))


def _differences(predictions: Sequence[Predictions]) -> np.ndarray:
    """(seeds, images): 1 if only the residual network is correct, -1 if only the plain one is, otherwise 0."""
    correct = np.array([labels == predicted for labels, predicted, _ in predictions], dtype=np.float64)
    return correct[len(predictions) // 2 :] - correct[: len(predictions) // 2]
