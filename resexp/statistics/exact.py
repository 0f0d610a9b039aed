"""Exact tests for few seeds, each by counting every possibility: nothing is assumed of a distribution, nothing is drawn."""

import functools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

TIE = 1e-9  # sums that differ by less, relative to all there is to sum, are equal
MOST_PAIRS = 40  # of a sign-flip test: 2 x 2^20 sums
MOST_DEPTHS = 12  # of a trend test: 2^12 sets of ranks


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided exact p of a mean difference of 0: the share of all 2^n choices of signs with a mean at least as far from 0.

    Valid where either sign of each difference, a finite number, is equally likely; `smallest_sign_flip` is the least it can be.
    Counted by halves: every sum is one of the first half's 2^(n/2) plus one of the second's.

    Raises:
        ValueError: more than 40 differences.
    """
    values = np.abs(np.asarray(differences, dtype=np.float64))
    if len(values) > MOST_PAIRS:
        raise ValueError(f"an exact sign-flip test of more than {MOST_PAIRS} pairs")
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


def fisher(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided exact p that k of n in both samples come from one rate (Fisher 1935): tables no likelier than the one seen."""
    (a, m), (b, n) = first, second
    total = a + b
    ways = {k: math.comb(m, k) * math.comb(n, total - k) for k in range(max(0, total - n), min(m, total) + 1)}
    return sum(count for count in ways.values() if count <= ways[a]) / sum(ways.values())


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided exact p that two samples come from one distribution (Mann and Whitney 1947), ties included.

    The share of all ways to split the pooled values into samples of these sizes whose rank sum is at least as far from its mean
    as the observed one. Ties share the middle of their ranks; infinite values rank last or first. n = 0 gives 1.
    """
    counts, mean = _rank_sums([*first, *second], len(first))
    ranks = _doubled_ranks([*first, *second])[: len(first)]
    distance = abs(sum(ranks) - mean)
    return sum(ways for total, ways in counts.items() if abs(total - mean) >= distance) / sum(counts.values())


def smallest_mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """The smallest attainable p of `mann_whitney` for samples of these sizes and these pooled values."""
    counts, mean = _rank_sums([*first, *second], len(first))
    farthest = max(abs(total - mean) for total in counts)
    return sum(ways for total, ways in counts.items() if abs(total - mean) == farthest) / sum(counts.values())


def _rank_sums(pooled: Sequence[float], size: int) -> tuple[dict[int, int], int]:
    """(doubled rank sum -> number of subsets of `size` values that have it, mean of that sum)."""
    ranks = _doubled_ranks(pooled)
    subsets: list[Counter[int]] = [Counter({0: 1}), *(Counter() for _ in range(size))]
    for rank in ranks:
        for chosen in range(size, 0, -1):
            for total, ways in subsets[chosen - 1].items():
                subsets[chosen][total + rank] += ways
    return subsets[size], size * (len(ranks) + 1)


def page(table: Sequence[Sequence[float]]) -> float | None:
    """One-sided exact p of Page's trend test: do values rise along the columns (depths), in rows (seeds) of their own?

    L = sum of column number times the mean rank of its values; ties have middle ranks, and the permutations counted are those
    of each row's own ranks, so the test stays exact (Page 1963, doi:10.1080/01621459.1963.10500843). None for fewer than two
    columns, no rows, or more than 12 columns.
    """
    if not table or not 2 <= len(table[0]) <= MOST_DEPTHS:
        return None
    rows = [_doubled_ranks(row) for row in table]
    seen = sum((column + 1) * rank for row in rows for column, rank in enumerate(row))
    counts = _ordered(tuple(sorted(tuple(sorted(row)) for row in rows)))
    return sum(ways for value, ways in counts.items() if value >= seen) / sum(counts.values())


def _doubled_ranks(row: Sequence[float]) -> list[int]:
    """Twice the rank of each value, 1 for the smallest; equal values share the middle of their ranks."""
    return [2 * sum(other < value for other in row) + sum(other == value for other in row) + 1 for value in row]


@functools.lru_cache(maxsize=32)
def _ordered(rows: tuple[tuple[int, ...], ...]) -> dict[int, int]:
    """In how many orders of the ranks of every row the sum over all rows is what; the same for all arms without ties."""
    counts = {0: 1}
    for ranks, times in Counter(rows).items():
        of_row = _permuted(ranks)
        for _ in range(times):
            found: dict[int, int] = {}
            for so_far, ways in counts.items():
                for value, more in of_row.items():
                    found[so_far + value] = found.get(so_far + value, 0) + ways * more
            counts = found
    return counts


def _permuted(ranks: tuple[int, ...]) -> dict[int, int]:
    """In how many orders of the ranks sum of column number times rank is what; by sets of ranks already placed."""
    found: list[dict[int, int]] = [{} for _ in range(2 ** len(ranks))]
    found[0][0] = 1
    for placed in range(len(found)):
        column = placed.bit_count() + 1
        for place, rank in enumerate(ranks):
            if not placed >> place & 1:
                after = found[placed | 1 << place]
                for value, ways in found[placed].items():
                    total = value + column * rank
                    after[total] = after.get(total, 0) + ways
    return found[-1]
