"""Everything that a comparison says, computed once; tables and the report print it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from resexp import inference, runs
from resexp.comparison.cells import Cell, cells
from resexp.comparison.depths import DepthTrend, depth_trends
from resexp.comparison.groups import named
from resexp.comparison.metrics import Metric, resolution, select_metric
from resexp.comparison.tuning import TunedComparison, best_settings, tuned
from resexp.inference import Pairing
from resexp.runs import Results


@dataclass(frozen=True)
class Comparison:
    """Results beside each other by one figure: `key` in results, `metric` what it is; `resolution`: one image.

    tuned: the rows of `--tune`, or each arm at its best setting over all axes where nothing was asked for. looks: how many
    seeds a pair had after each round of training, of the pair that has grown most often.
    """

    results: Results
    key: str
    metric: Metric
    resolution: float | None
    margin: float
    cells: list[Cell]
    tuned: list[TunedComparison]
    depths: list[DepthTrend]
    asked: tuple[str, ...] = ()
    looks: tuple[int, ...] = ()


def compare_results(
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
    found, key, what = select_metric(results, metric, at)
    return Comparison(
        results=found,
        key=key,
        metric=what,
        resolution=resolution(found, what),
        margin=found.sources[0][1].shared.compare.margin,
        cells=cells(found, key, unmatched=unmatched, images=images),
        tuned=tuned(found, tune, key) if tune else best_settings(found, key),
        depths=depth_trends(results),
        asked=named(found, tune, "--tune"),
        looks=_looks(found),
    )


def _looks(results: Results) -> tuple[int, ...]:
    present = [folder for folder, _ in results.sources if (folder / "pairs.json").exists()]
    rounds = [pair_summary.get("rounds", []) for folder in present for pair_summary in runs.pair_summaries(folder)]
    return tuple(accumulate(len(each["seeds"]) for each in max(rounds, key=len))) if rounds else ()


@dataclass(frozen=True)
class SeedEstimate:
    """A pair's half-width, and the seeds needed for +-`aim`, with the 95% CI of that number; None above a million.

    The CI is from that of the pair's SD, which n seeds estimate imprecisely.
    """

    half: float
    seeds: int | None
    low: int | None
    high: int | None


@dataclass(frozen=True)
class SeedBudget:
    """Half-widths over `pairs` pairs and the seeds needed for +-`aim`, for the median pair and the widest."""

    pairs: int
    aim: float
    median: SeedEstimate
    widest: SeedEstimate


def seed_budget(comparison: Comparison) -> SeedBudget | None:
    """The precision and the seeds for +- half the margin; None without an interval of positive width."""
    differences = [arm.difference for cell in comparison.cells for arm in cell.arms if arm.difference]
    spread = sorted((each.half, each.sd, each.n) for each in differences if each.half and each.sd)
    if not spread or not comparison.metric.percent or not comparison.margin:
        return None
    aim = comparison.margin / 2
    halves, sds, counts = zip(*spread, strict=True)
    middle = statistics.median(halves), statistics.median(sds), statistics.median_low(counts)
    return SeedBudget(len(spread), aim, _needed(*middle, aim), _needed(*spread[-1], aim))


def _needed(half: float, sd: float, n: int, aim: float) -> SeedEstimate:
    low, high = (inference.seeds_for(end, aim) for end in inference.sd_interval(sd, n))
    return SeedEstimate(half, inference.seeds_for(sd, aim), low, high)


@dataclass(frozen=True)
class PairingGain:
    """What pairing bought over all pairs: correlations of the arms over seeds; the median ratio of paired to unpaired sd."""

    pairs: int
    lowest: float
    median: float
    highest: float
    ratio: float


def pairing_gain(comparison: Comparison) -> PairingGain | None:
    """None where no pair of arms varies over at least 3 seeds."""
    every = [arm.contrast.pairing for cell in comparison.cells for arm in cell.arms]
    found: list[tuple[float, Pairing]] = [(of.correlation, of) for of in every if of and of.correlation is not None]
    if not found:
        return None
    correlations = sorted(correlation for correlation, _ in found)
    ratio = statistics.median(of.paired / of.unpaired for _, of in found)
    return PairingGain(len(found), correlations[0], statistics.median(correlations), correlations[-1], ratio)
