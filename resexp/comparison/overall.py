"""All results of a comparison, computed once and printed by tables and the report."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from resexp import inference, runs
from resexp.comparison.cells import Cell, cells
from resexp.comparison.depths import DepthTrend, depth_trends
from resexp.comparison.groups import column_names
from resexp.comparison.metrics import FILE_METRIC, Metric, metric_of, resolution, select_metric
from resexp.comparison.trainability import Trainability, trainability
from resexp.comparison.tuning import TunedComparison, best_settings, tuned
from resexp.comparison.weight_gradients import LayerGradients
from resexp.config.models import CompareSettings
from resexp.runs import Results

MARGIN = CompareSettings().margin  # of shares, if none is stated


@dataclass(frozen=True)
class Comparison:
    """Comparison of all arms by one metric; key: its key in a result; resolution: the value of one image.

    tuned: the rows of `--tune`; without `--tune`, each arm at its best setting over all axes. tuned_keys: the keys of `--tune`.
    looks: number of seeds after each round of training, of the pair with the most rounds. by_layer: the rows of `--by-layer`.
    """

    results: Results
    key: str
    metric: Metric
    resolution: float | None
    margin: float
    cells: list[Cell]
    tuned: list[TunedComparison]
    depths: list[DepthTrend]
    trainability: Trainability
    tuned_keys: tuple[str, ...] = ()
    looks: tuple[int, ...] = ()
    by_layer: tuple[LayerGradients, ...] = ()


def compare_results(
    results: Results,
    metric: str = "test_accuracy",
    at: str = "last",
    *,
    tune: Sequence[str] = (),
    unmatched: bool = False,
    images: bool = False,
) -> Comparison:
    """The comparison of all finished trials, with the options of `resexp compare`.

    Raises:
        ConfigError: an unknown metric, `at` or key.
        RunsError: a damaged log that the comparison needs.
    """
    if results.table:
        return compare_table(results, unmatched=unmatched)
    selected, key, chosen = select_metric(results, metric, at)
    return Comparison(
        results=selected,
        key=key,
        metric=chosen,
        resolution=resolution(selected, chosen),
        margin=selected.sources[0][1].shared.compare.margin,
        cells=cells(selected, key, unmatched=unmatched, images=images),
        tuned=tuned(selected, tune, key) if tune else best_settings(selected, key),
        depths=depth_trends(results),
        trainability=trainability(results),
        tuned_keys=column_names(selected, tune, "--tune"),
        looks=_looks(selected),
    )


def compare_table(results: Results, *, unmatched: bool = False) -> Comparison:
    """The comparison of the runs in result files of other programs, which have no depth, costs or training curves."""
    metric, table = metric_of(results, FILE_METRIC), results.table
    margin = table.margin if table and table.margin is not None else MARGIN if metric.percent else 0.0
    return Comparison(
        results=results,
        key=table.metric if table else FILE_METRIC,
        metric=metric,
        resolution=None,
        margin=margin,
        cells=cells(results, FILE_METRIC, unmatched=unmatched),
        tuned=[],
        depths=[],
        trainability=trainability(replace(results, records=())),
    )


def _looks(results: Results) -> tuple[int, ...]:
    folders = [folder for folder, _ in results.sources if (folder / "pairs.json").exists()]
    rounds = [summary.rounds for folder in folders for summary in runs.pair_summaries(folder)]
    return tuple(accumulate(len(entry.seeds) for entry in max(rounds, key=len))) if rounds else ()


@dataclass(frozen=True)
class SeedEstimate:
    """Half-width of a pair, and the seeds needed for +-`aim` with the 95% CI of that number; None above a million.

    This CI results from that of the SD, which n seeds estimate imprecisely.
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
    """The precision, and the seeds needed for +- half the margin; None without an interval of positive width."""
    differences = [arm.difference for cell in comparison.cells for arm in cell.arms if arm.difference]
    spread = sorted(
        (difference.half, difference.sd, difference.n) for difference in differences if difference.half and difference.sd
    )
    if not spread or not (comparison.metric.percent or comparison.results.table) or not comparison.margin:
        return None
    aim = comparison.margin / 2
    halves, sds, counts = zip(*spread, strict=True)
    median = statistics.median(halves), statistics.median(sds), statistics.median_low(counts)
    return SeedBudget(len(spread), aim, _seed_estimate(*median, aim), _seed_estimate(*spread[-1], aim))


def _seed_estimate(half: float, sd: float, n: int, aim: float) -> SeedEstimate:
    low, high = (inference.seeds_for(end, aim) for end in inference.sd_interval(sd, n))
    return SeedEstimate(half, inference.seeds_for(sd, aim), low, high)


@dataclass(frozen=True)
class PairingGain:
    """Variance reduction from pairing, over all pairs: correlations between arms; median ratio of paired to unpaired SD."""

    pairs: int
    lowest: float
    median: float
    highest: float
    ratio: float


def pairing_gain(comparison: Comparison) -> PairingGain | None:
    """None if no pair of arms varies over at least 3 seeds."""
    optional = [arm.contrast.pairing for cell in comparison.cells for arm in cell.arms]
    pairings = [pairing for pairing in optional if pairing and pairing.correlation is not None]
    if not pairings:
        return None
    correlations = sorted(pairing.correlation for pairing in pairings if pairing.correlation is not None)
    ratio = statistics.median(pairing.paired / pairing.unpaired for pairing in pairings)
    return PairingGain(len(pairings), correlations[0], statistics.median(correlations), correlations[-1], ratio)
