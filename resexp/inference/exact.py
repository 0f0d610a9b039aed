"""Exact tests for few seeds, each by counting every possibility: nothing is assumed of a distribution, nothing is drawn."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtr

TIE = 1e-9  # sums that differ by less, relative to all there is to sum, are equal
MAX_RANKED = 120  # values of a rank test that are counted: 0.1 seconds
MAX_PAIRS = 40  # of a sign-flip test: 2 x 2^20 sums


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided exact p of a mean difference of 0: the share of all 2^n choices of signs with a mean at least as far from 0.

    Valid where either sign of each difference, a finite number, is equally likely; `smallest_sign_flip` is the least it can be.
    Counted by halves: every sum is one of the first half's 2^(n/2) plus one of the second's.

    Raises:
        ValueError: more than 40 differences.
    """
    values = np.abs(np.asarray(differences, dtype=np.float64))
    if len(values) > MAX_PAIRS:
        raise ValueError(f"an exact sign-flip test of more than {MAX_PAIRS} pairs")
    least = abs(math.fsum(differences)) - TIE * float(values.sum())
    if least <= 0:
        return 1.0
    first, second = (_sums(half) for half in (values[: len(values) // 2], values[len(values) // 2 :]))
    second.sort()
    above = len(second) - np.searchsorted(second, least - first, side="left")
    return float(2 * above.sum() / 2 ** len(values))  # as many sums lie as far below 0


def _sums(values: np.ndarray) -> np.ndarray:
    """All 2^n sums with either sign."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def smallest_sign_flip(n: int) -> float:
    """The least p that n differences can have: all of one sign."""
    return min(1.0, 2.0 ** (1 - n))


def holm(p: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected so that any false alarm among them is as rare as promised (Holm 1979)."""
    order = sorted(range(len(p)), key=lambda place: p[place])
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected


def fisher_exact(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided exact p that k of n in both samples come from one rate (Fisher 1935): tables no likelier than the one seen."""
    (a, m), (b, n) = first, second
    total = a + b
    ways = {k: math.comb(m, k) * math.comb(n, total - k) for k in range(max(0, total - n), min(m, total) + 1)}
    return sum(count for count in ways.values() if count <= ways[a]) / sum(ways.values())


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided exact p that two samples come from one distribution (Mann and Whitney 1947), ties included.

    The share of all ways to split the pooled values into samples of these sizes whose rank sum is at least as far from its mean
    as the observed one. Ties share the middle of their ranks; infinite values rank last or first. n = 0 gives 1. Of more
    than 120 values the possibilities are not counted; the normal approximation with correction for ties is used instead.
    """
    ranks, n = _doubled_ranks([*first, *second]), len(first) + len(second)
    observed = sum(ranks[: len(first)])
    if n > MAX_RANKED:
        variance = len(first) * len(second) / n * np.var(ranks, ddof=1)
        return float(2 * ndtr(-abs(observed - len(first) * (n + 1)) / math.sqrt(variance))) if variance else 1.0
    shares, distances = _rank_sums(ranks, len(first))
    return min(1.0, float(shares[distances >= distances[observed]].sum()))


def smallest_mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """The smallest attainable p of `mann_whitney` for samples of these sizes and these pooled values, 0 for more than 120."""
    ranks = _doubled_ranks([*first, *second])
    if len(ranks) > MAX_RANKED:
        return 0.0
    shares, distances = _rank_sums(ranks, len(first))
    return float(shares[distances == distances[shares > 0].max()].sum())


def _rank_sums(ranks: Sequence[int], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each sum of doubled ranks: the share of all subsets of `size` values that have it, and its distance from the mean."""
    most = sum(sorted(ranks)[len(ranks) - size :])
    subsets = np.zeros((size + 1, most + 1))  # counts; exact below 2^53, above it to the rounding of a double
    subsets[0, 0] = 1
    for rank in ranks:
        subsets[1:, rank:] += subsets[:-1, : max(0, most + 1 - rank)]
    return subsets[size] / subsets[size].sum(), np.abs(np.arange(most + 1) - size * (len(ranks) + 1))


def highest_last(table: Sequence[Sequence[float]]) -> float:
    """One-sided exact p that the last value of each row is no higher than the others: for the sum of its ranks within rows.

    Under the hypothesis every order of a row's values is equally likely, so each rank of the row is; ties share their middle
    rank, and the ranks counted are those of each row, so the test stays exact. The smallest p of S rows of K values is K^-S.
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
    """Twice the rank of each value, 1 for the smallest; equal values share the middle of their ranks."""
    return [2 * sum(other < value for other in row) + sum(other == value for other in row) + 1 for value in row]
