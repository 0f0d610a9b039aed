"""Exact tests for few seeds that enumerate all possibilities: no assumption on the distribution, no random numbers."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtr

TIE = 1e-9  # sums are equal if they differ by less than this share of the sum of absolute values
MAX_RANKED = 120  # values of an exact rank test, which takes 0.1 seconds
MAX_PAIRS = 40  # of a sign-flip test: 2 x 2^20 sums


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided exact p-value of a mean difference of 0: share of all 2^n sign assignments with a mean at least as far from 0.

    Valid if both signs of each (finite) difference are equally likely. `smallest_sign_flip` is the smallest attainable p-value.
    Every sum is one of the 2^(n/2) sums of the first half plus one of those of the second half.

    Raises:
        ValueError: more than 40 differences.
    """
    values = np.abs(np.asarray(differences, dtype=np.float64))
    if len(values) > MAX_PAIRS:
        raise ValueError(f"{len(values)} pairs are too many for an exact sign-flip test; the maximum is {MAX_PAIRS}")
    observed = abs(math.fsum(differences)) - TIE * float(values.sum())
    if observed <= 0:
        return 1.0
    first, second = (_sums(half) for half in (values[: len(values) // 2], values[len(values) // 2 :]))
    second.sort()
    above = len(second) - np.searchsorted(second, observed - first, side="left")
    return float(2 * above.sum() / 2 ** len(values))  # by symmetry, as many sums are as far below 0


def _sums(values: np.ndarray) -> np.ndarray:
    """The sums of all 2^n sign assignments."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def smallest_sign_flip(n: int) -> float:
    """The smallest attainable p-value of n differences: all have the same sign."""
    return min(1.0, 2.0 ** (1 - n))


def holm(p: Sequence[float]) -> list[float]:
    """P-values of several tests, corrected to limit the probability of any false positive among them (Holm 1979)."""
    order = sorted(range(len(p)), key=lambda index: p[index])
    corrected, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = largest
    return corrected


def fisher_exact(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided exact p-value of equal rates in two samples (k, n) (Fisher 1935): all tables at most as likely as this one."""
    (a, m), (b, n) = first, second
    total = a + b
    ways = {k: math.comb(m, k) * math.comb(n, total - k) for k in range(max(0, total - n), min(m, total) + 1)}
    return sum(count for count in ways.values() if count <= ways[a]) / sum(ways.values())


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided exact p-value of equal distributions of two samples (Mann and Whitney 1947), ties included.

    Share of all splits of the pooled values into samples of these sizes whose rank sum is at least as far from its mean as the
    observed one. Ties have the mean of their ranks; infinite values rank first or last. n = 0 gives 1. For more than 120
    values the normal approximation with correction for ties is used.
    """
    ranks, n = _doubled_ranks([*first, *second]), len(first) + len(second)
    observed = sum(ranks[: len(first)])
    if n > MAX_RANKED:
        variance = len(first) * len(second) / n * np.var(ranks, ddof=1)
        return float(2 * ndtr(-abs(observed - len(first) * (n + 1)) / math.sqrt(variance))) if variance else 1.0
    shares, distances = _rank_sums(ranks, len(first))
    return min(1.0, float(shares[distances >= distances[observed]].sum()))


def smallest_mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """The smallest attainable p-value of `mann_whitney` for these sample sizes and pooled values; 0 for more than 120."""
    ranks = _doubled_ranks([*first, *second])
    if len(ranks) > MAX_RANKED:
        return 0.0
    shares, distances = _rank_sums(ranks, len(first))
    return float(shares[distances == distances[shares > 0].max()].sum())


def _rank_sums(ranks: Sequence[int], size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each sum of doubled ranks: share of all subsets of `size` values with this sum, and its distance from the mean."""
    largest = sum(sorted(ranks)[len(ranks) - size :])
    subsets = np.zeros((size + 1, largest + 1))  # counts, exact below 2^53
    subsets[0, 0] = 1
    for rank in ranks:
        subsets[1:, rank:] += subsets[:-1, : max(0, largest + 1 - rank)]
    return subsets[size] / subsets[size].sum(), np.abs(np.arange(largest + 1) - size * (len(ranks) + 1))


def highest_last(table: Sequence[Sequence[float]]) -> float:
    """One-sided exact p-value of "the last value of each row is not higher than the others", from its ranks within rows.

    Under the null hypothesis every order of the values of a row is equally likely, and so is each of its ranks. Ties have the
    mean of their ranks; since the test enumerates the actual ranks of each row, it remains exact. The smallest attainable
    p-value of S rows of K values is K^-S.
    """
    rows = [_doubled_ranks(row) for row in table]
    observed = sum(row[-1] for row in rows)
    counts: Mapping[int, int] = {0: 1}
    for row in rows:
        sums: Counter[int] = Counter()
        for total, ways in counts.items():
            for rank in row:
                sums[total + rank] += ways
        counts = sums
    return sum(ways for total, ways in counts.items() if total >= observed) / sum(counts.values())


def _doubled_ranks(row: Sequence[float]) -> list[int]:
    """Twice the rank of each value, where the smallest has rank 1; equal values have the mean of their ranks."""
    return [2 * sum(other < value for other in row) + sum(other == value for other in row) + 1 for value in row]
