"""Spearman's rank correlation over the arms of many configurations, with an interval from resampled configurations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resexp.inference.intervals import LEVEL

RESAMPLES = 2_000
STREAM = "resampled configurations"  # its bytes seed the generator


@dataclass(frozen=True)
class RankCorrelation:
    """A correlation, or the difference of two; low and high are None for a single configuration."""

    value: float
    low: float | None
    high: float | None
    arms: int
    configurations: int


def rank_correlation(
    predictor: Sequence[float],
    outcome: Sequence[float],
    configurations: Sequence[int],
    *,
    minus: Sequence[float] | None = None,
    level: float = LEVEL,
) -> RankCorrelation | None:
    """The correlation of `predictor` with `outcome`, less that of `minus`, and its percentile interval; None for equal values.

    One value per arm. A resample draws as many configurations as there are, with replacement, each with all its arms. Resamples
    without a correlation, because all their values are equal, are left out.
    """
    members, counts = np.unique(configurations, return_inverse=True)
    n = len(members)
    draws = np.random.default_rng(list(STREAM.encode())).integers(n, size=(RESAMPLES, n))
    drawn = np.stack([np.bincount(draw, minlength=n) for draw in draws])
    weights = np.concatenate([np.ones((1, len(outcome))), drawn[:, counts]])
    values = spearman(predictor, outcome, weights)
    if minus is not None:
        values = values - spearman(minus, outcome, weights)
    if np.isnan(values[0]):
        return None
    tails = (1 - level) / 2, (1 + level) / 2
    low, high = np.nanquantile(values[1:], tails).tolist() if n > 1 else (None, None)
    return RankCorrelation(float(values[0]), low, high, len(outcome), n)


def spearman(first: Sequence[float], second: Sequence[float], weights: np.ndarray) -> np.ndarray:
    """The rank correlation for each row of `weights`, which counts how often each pair of values occurs.

    Ties have the mean of their ranks. NaN if all values of one side are equal.
    """
    deviations = []
    for values in (first, second):
        distinct, group = np.unique(values, return_inverse=True)
        counts = weights @ np.eye(len(distinct))[group]
        ranks = (counts.cumsum(axis=1) - counts / 2)[:, group]
        deviations.append(ranks - (weights * ranks).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True))
    covariance, *variances = ((weights * a * b).sum(axis=1) for a, b in (deviations, deviations[:1] * 2, deviations[1:] * 2))
    with np.errstate(invalid="ignore"):
        return np.asarray(covariance / np.sqrt(variances[0] * variances[1]))
