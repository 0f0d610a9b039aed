"""Training error over depth: which arms degrade, and how much degradation the shortcut removes."""

import math
from dataclasses import dataclass, replace

from resexp import inference, runs
from resexp.comparison.gradients import mean_growth
from resexp.comparison.groups import Label, groups, has_mixed_outcomes, value
from resexp.inference import Degradation, DegradationVerdict, Difference
from resexp.runs import Outcome, Results, TrialRecord

FINAL_SHARE = 0.1  # share of training over which the change of the gap is measured
TrialsByDepth = dict[int, list[TrialRecord]]  # depth -> trials


@dataclass(frozen=True)
class DepthTrend:
    """One arm under one condition: training error over depth, and gradients of the deepest networks at initialization.

    slope, growth: mean gradient growth per block and over the whole network, in orders of magnitude from output to input. They
    do not affect the verdict. above_chance: (number above chance, number finished) of the deepest networks; diverged: their
    number that diverged. reduction: rise of the training error of plain minus that of this arm, None if either arm has mixed
    outcomes at an end. change: change of the contrast over the last tenth of training, None unless the arm degrades with an
    interval.
    """

    condition: Label
    arm: str
    degradation: Degradation
    slope: float | None
    reduction: Difference | None
    above_chance: tuple[int, int]
    diverged: int = 0
    change: Difference | None = None
    growth: float | None = None

    @property
    def closing(self) -> bool:
        """Whether the gap between the deepest and the best shallower depth is still closing."""
        return self.change is not None and self.change.high is not None and self.change.high < 0


def depth_trends(results: Results) -> list[DepthTrend]:
    """The verdict on each arm under each condition with at least two depths; the margin is that of the first experiment."""
    margin = results.sources[0][1].shared.compare.margin
    rows = []
    for condition, curves in by_depth(results):
        for arm, curve in curves.items():
            mixed = {depth for depth, records in curve.items() if has_mixed_outcomes(records)}
            verdict = inference.degradation(errors(curve), margin, mixed)
            if verdict:
                rows.append(_trend(condition, arm, curve, verdict, _reduction(curves.get("plain"), curve, arm)))
    return rows


def _trend(condition: Label, arm: str, curve: TrialsByDepth, verdict: Degradation, reduction: Difference | None) -> DepthTrend:
    deepest = [record for record in curve[max(curve)] if record.result]
    slopes = [slope for record in deepest if (slope := value(record, "slope_start")) is not None]
    above_chance, diverged = (_outcomes(deepest).count(outcome) for outcome in (Outcome.ABOVE_CHANCE, Outcome.DIVERGED))
    any_above_chance = any(Outcome.ABOVE_CHANCE in _outcomes(records) for records in curve.values())
    if not any_above_chance or (not above_chance and verdict.verdict == DegradationVerdict.DOES_NOT_DEGRADE):
        verdict = replace(verdict, verdict=DegradationVerdict.UNTRAINED)
    return DepthTrend(
        condition=condition,
        arm=arm,
        degradation=verdict,
        slope=math.fsum(slopes) / len(slopes) if slopes else None,
        reduction=reduction,
        above_chance=(above_chance, len(deepest)),
        diverged=diverged,
        change=_change(curve, verdict) if verdict.verdict == DegradationVerdict.DEGRADES and verdict.contrast else None,
        growth=mean_growth(deepest),
    )


def _outcomes(records: list[TrialRecord]) -> list[str]:
    return [record.result.outcome for record in records if record.result]


def by_depth(results: Results) -> list[tuple[Label, dict[str, TrialsByDepth]]]:
    """(condition, arm -> depth -> trials): the cells of all depths under one condition together."""
    conditions: dict[tuple[str, ...], tuple[Label, dict[str, TrialsByDepth]]] = {}
    for label, arms in groups(results):
        condition = {key: text for key, text in label.items() if key != "depth"}
        for arm, records in arms.items():
            curve = conditions.setdefault(tuple(condition.values()), (condition, {}))[1].setdefault(arm, {})
            curve.setdefault(records[0].trial.settings.network.depth, []).extend(records)
    return list(conditions.values())


def errors(curve: TrialsByDepth) -> dict[int, dict[int, float]]:
    """depth -> seed -> training error of the final weights; inf if training diverged."""
    return {
        depth: {
            record.trial.seed: math.inf if (accuracy := value(record, "train_accuracy")) is None else 1 - accuracy
            for record in records
            if record.result
        }
        for depth, records in curve.items()
    }


def _has_mixed_ends(curve: TrialsByDepth) -> bool:
    return any(has_mixed_outcomes(curve[depth]) for depth in (min(curve), max(curve)))


def _reduction(plain: TrialsByDepth | None, curve: TrialsByDepth, arm: str) -> Difference | None:
    if plain is None or arm == "plain" or _has_mixed_ends(plain) or _has_mixed_ends(curve):
        return None
    return inference.degradation_reduction(errors(plain), errors(curve))


def _change(curve: TrialsByDepth, verdict: Degradation) -> Difference | None:
    """Change of the gap (deepest minus best shallower depth) over the last tenth of training; None if it was not logged."""
    records = {(depth, record.trial.seed): record for depth in curve for record in curve[depth]}
    changes = []
    for seed, best in verdict.best.items():
        deep, shallow = (_last_tenth(records[depth, seed]) for depth in (max(curve), best))
        if deep is None or shallow is None:
            return None
        changes.append(deep - shallow)
    return inference.paired_difference(changes)


def _last_tenth(record: TrialRecord) -> float | None:
    """Change of the training error since the last logged row before the last tenth of training."""
    rows = [(int(row["step"]), float(row["train_accuracy"] or "nan")) for row in runs.read_rows(record.folder / "metrics.csv")]
    before = [accuracy for step, accuracy in rows if step <= (1 - FINAL_SHARE) * rows[-1][0]]
    change = before[-1] - rows[-1][1] if before else math.nan
    return change if math.isfinite(change) else None
