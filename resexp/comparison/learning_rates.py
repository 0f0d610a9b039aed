"""Does the best learning rate depend on depth? The exponent p of best rate ~ blocks^p, for each arm under each condition."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resexp import inference, theory
from resexp.comparison.groups import Label, groups, value
from resexp.comparison.tuning import TIE
from resexp.inference import Difference
from resexp.runs import Outcome, Results, TrialRecord

MIN_DEPTHS, MIN_RATES = 3, 3  # of an exponent


@dataclass(frozen=True)
class RateTransfer:
    """The best learning rates of one arm under one condition, by depth.

    rates: depth -> geometric mean of the best rates over seeds. edges: depths at which the best rate of a seed is the smallest
    or the largest one. exponents: seed -> slope of log(best rate) over log(blocks) by least squares, for seeds with a best rate
    at 3 depths or more. exponent: their mean with Student's t interval. resolution: largest change of an exponent from rounding
    best rates to the grid, by half a step. deepest: a trial at the greatest depth.
    """

    condition: Label
    arm: str
    rates: dict[int, float]
    edges: tuple[int, ...]
    exponents: dict[int, float]
    exponent: Difference | None
    resolution: float
    deepest: TrialRecord

    @property
    def interval(self) -> tuple[float, float] | None:
        """The t interval extended by the resolution on both sides: seeds with the same best rates do not make it exact."""
        exponent = self.exponent
        if exponent is None or exponent.low is None or exponent.high is None:
            return None
        return exponent.low - self.resolution, exponent.high + self.resolution


def rate_transfers(results: Results) -> list[RateTransfer]:
    """One entry for each arm under each condition with at least three depths and three learning rates at each."""
    arms: dict[tuple[str, ...], tuple[Label, dict[int, list[TrialRecord]]]] = {}
    for label, group in groups(results):
        condition = {key: text for key, text in label.items() if key not in ("depth", "lr")}
        for arm, records in group.items():
            by_depth = arms.setdefault((*condition.values(), arm), (condition, {}))[1]
            for record in records if records[0].trial.parameters_of is None else ():
                by_depth.setdefault(record.trial.settings.network.depth, []).append(record)
    return [
        _transfer(condition, key[-1], dict(sorted(by_depth.items())))
        for key, (condition, by_depth) in arms.items()
        if len(by_depth) >= MIN_DEPTHS and all(len(_grid(records)) >= MIN_RATES for records in by_depth.values())
    ]


def _transfer(condition: Label, arm: str, by_depth: dict[int, list[TrialRecord]]) -> RateTransfer:
    best = {depth: _best_by_seed(records) for depth, records in by_depth.items()}
    grids = {depth: _grid(records) for depth, records in by_depth.items()}
    log_blocks = {depth: math.log(theory.block_count(records[0].trial.settings.network)) for depth, records in by_depth.items()}
    log_rates = {depth: {seed: np.log(rates).mean() for seed, rates in seeds.items()} for depth, seeds in best.items()}
    exponents: dict[int, float] = {}
    for seed in sorted({seed for seeds in best.values() for seed in seeds}):
        depths = [depth for depth, seeds in best.items() if seed in seeds]
        if len(depths) >= MIN_DEPTHS:
            weights = _slope_weights([log_blocks[depth] for depth in depths])
            exponents[seed] = float(weights @ [log_rates[depth][seed] for depth in depths])
    half_steps = [np.diff(np.log(grid)).max() / 2 for grid in grids.values()]
    return RateTransfer(
        condition=condition,
        arm=arm,
        rates={depth: math.exp(np.mean([*seeds.values()])) for depth, seeds in log_rates.items() if seeds},
        edges=tuple(
            depth
            for depth, seeds in best.items()
            if any({grids[depth][0], grids[depth][-1]}.intersection(rates) for rates in seeds.values())
        ),
        exponents=exponents,
        exponent=inference.paired_difference([*exponents.values()]) if exponents else None,
        resolution=float(np.abs(_slope_weights([*log_blocks.values()])) @ half_steps),
        deepest=by_depth[max(by_depth)][0],
    )


def _grid(records: Sequence[TrialRecord]) -> list[float]:
    return sorted({record.trial.settings.training.lr for record in records})


def _best_by_seed(records: Sequence[TrialRecord]) -> dict[int, list[float]]:
    """Seed -> rates with the highest validation accuracy of its networks above chance, at one depth.

    A seed is left out if not all of its rates have finished, or if no network is above chance.
    """
    accuracies: dict[int, dict[float, float | None]] = {}
    for record in records:
        if record.result:
            trained = record.result.outcome == Outcome.ABOVE_CHANCE
            accuracy = value(record, "val_accuracy") if trained else None
            accuracies.setdefault(record.trial.seed, {})[record.trial.settings.training.lr] = accuracy
    best = {}
    for seed, by_rate in accuracies.items():
        known = {rate: accuracy for rate, accuracy in by_rate.items() if accuracy is not None}
        if known and len(by_rate) == len(_grid(records)):
            best[seed] = [rate for rate, accuracy in known.items() if accuracy >= max(known.values()) - TIE]
    return best


def _slope_weights(positions: Sequence[float]) -> np.ndarray:
    """The weights with which values at these positions add up to their least-squares slope."""
    deviations = np.array(positions) - np.mean(positions)
    return np.asarray(deviations / (deviations @ deviations))
