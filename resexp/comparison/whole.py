"""Everything that a comparison says, computed once; tables and the report print it."""

import statistics as python_statistics
from collections.abc import Sequence
from dataclasses import dataclass

from resexp import statistics
from resexp.comparison.cells import Cell, cells
from resexp.comparison.depths import OverDepth, over_depth
from resexp.comparison.groups import named
from resexp.comparison.metrics import Metric, chosen, resolution
from resexp.comparison.tuning import Tuned, best_against_best, tuned
from resexp.runs import Results
from resexp.statistics import Pairing


@dataclass(frozen=True)
class Comparison:
    """Results beside each other by one figure: `key` in results, `metric` what it is; `resolution`: one image.

    tuned: the rows of `--tune`, or best against best over all axes where nothing was asked for.
    """

    results: Results
    key: str
    metric: Metric
    resolution: float | None
    margin: float
    cells: list[Cell]
    tuned: list[Tuned]
    depths: list[OverDepth]
    asked: tuple[str, ...] = ()


def compared(
    results: Results,
    metric: str = "test_accuracy",
    at: str = "last",
    *,
    tune: Sequence[str] = (),
    unmatched: bool = False,
    images: bool = False,
) -> Comparison:
    """The comparison of what has been trained; options as `resexp compare` has them.

    Raises:
        ConfigError: an unknown metric, place or key.
        RunsError: damaged logs, where they are read.
    """
    found, key, what = chosen(results, metric, at)
    return Comparison(
        results=found,
        key=key,
        metric=what,
        resolution=resolution(found, what),
        margin=found.sources[0][1].shared.compare.margin,
        cells=cells(found, key, unmatched=unmatched, images=images),
        tuned=tuned(found, tune, key) if tune else best_against_best(found, key),
        depths=over_depth(results),
        asked=named(found, tune, "--tune"),
    )


@dataclass(frozen=True)
class Plan:
    """How wide the intervals are (half-widths, median and widest of `pairs`), and the seeds that +-`aim` takes."""

    pairs: int
    median: float
    widest: float
    aim: float
    seeds: int | None
    most: int | None


def plan(comparison: Comparison) -> Plan | None:
    """What +- half the margin would take; None where no pair has an interval of any width, or the figure is no share."""
    found = [arm.difference for cell in comparison.cells for arm in cell.arms if arm.difference]
    halves = sorted((of.half, of.sd) for of in found if of.half and of.sd)
    if not halves or not comparison.metric.percent or not comparison.margin:
        return None
    aim = comparison.margin / 2
    median, sd = (python_statistics.median(of) for of in zip(*halves, strict=True))
    widest, largest = halves[-1]
    return Plan(len(halves), median, widest, aim, statistics.seeds_for(sd, aim), statistics.seeds_for(largest, aim))


@dataclass(frozen=True)
class Bought:
    """What pairing bought over all pairs: correlations of the arms over seeds; the median ratio of paired to unpaired sd."""

    pairs: int
    lowest: float
    median: float
    highest: float
    ratio: float


def bought(comparison: Comparison) -> Bought | None:
    """None where no pair of arms varies over at least 3 seeds."""
    every = [arm.contrast.pairing for cell in comparison.cells for arm in cell.arms]
    found: list[tuple[float, Pairing]] = [(of.correlation, of) for of in every if of and of.correlation is not None]
    if not found:
        return None
    correlations = sorted(correlation for correlation, _ in found)
    ratio = python_statistics.median(of.paired / of.unpaired for _, of in found)
    return Bought(len(found), correlations[0], python_statistics.median(correlations), correlations[-1], ratio)
