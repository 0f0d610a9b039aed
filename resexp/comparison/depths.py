"""Training error over depth: who degrades, and what the shortcut takes away of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resexp import runs, statistics
from resexp.comparison.gradients import mean_growth
from resexp.comparison.groups import Label, groups, mixes, value
from resexp.runs import Results, State
from resexp.statistics import Degradation, Difference

FALLING = 0.05  # of the training loss, over the last tenth of the training
Curve = dict[int, list[State]]  # depth -> trials


@dataclass(frozen=True)
class OverDepth:
    """One arm of one corner: its verdict; `slope` of the deepest networks at the start stands beside it, never in it.

    growth: orders of magnitude by which their gradient grows from output to input, at initialization.
    trained: of the deepest networks, and how many there are: where none trains at any depth, none degrades either.
    removed: by how much less its training error rises than plain's, None where either arm mixes outcomes at an end.
    """

    corner: Label
    arm: str
    found: Degradation
    slope: float | None
    removed: Difference | None
    trained: tuple[int, int]
    growth: float | None = None


def over_depth(results: Results) -> list[OverDepth]:
    """The verdict on every arm of every corner that has at least two depths; margin: that of the first experiment's config."""
    margin = results.sources[0][1].shared.compare.margin
    found = []
    for corner, curves in by_depth(results):
        for arm, curve in curves.items():
            verdict = _verdict(curve, margin)
            if verdict:
                deepest = [state for state in curve[max(curve)] if state.result]
                slopes = [slope for state in deepest if (slope := value(state, "slope_start")) is not None]
                slope = math.fsum(slopes) / len(slopes) if slopes else None
                trained = sum(state.result["outcome"] == "trained" for state in deepest if state.result)
                removed = _removed(curves.get("plain"), curve, arm)
                found.append(OverDepth(corner, arm, verdict, slope, removed, (trained, len(deepest)), mean_growth(deepest)))
    return found


def by_depth(results: Results) -> list[tuple[Label, dict[str, Curve]]]:
    """(corner, arm -> depth -> trials), the cells of one corner in one."""
    corners: dict[tuple[str, ...], tuple[Label, dict[str, Curve]]] = {}
    for label, arms in groups(results):
        rest = {key: of for key, of in label.items() if key != "depth"}
        for arm, states in arms.items():
            curve = corners.setdefault(tuple(rest.values()), (rest, {}))[1].setdefault(arm, {})
            curve.setdefault(states[0].trial.settings.network.depth, []).extend(states)
    return list(corners.values())


def errors(curve: Curve) -> dict[int, dict[int, float]]:
    """depth -> seed -> training error of the last weights; inf where training diverged."""
    return {
        depth: {
            state.trial.seed: math.inf if (accuracy := value(state, "train_accuracy")) is None else 1 - accuracy
            for state in states
            if state.result
        }
        for depth, states in curve.items()
    }


def _verdict(curve: Curve, margin: float) -> Degradation | None:
    of, mixed = errors(curve), _mixed_ends(curve)
    verdict = statistics.degradation(of, margin, mixed=mixed, falling=False)
    if verdict and verdict.verdict == statistics.DEGRADES and _falls(curve[max(curve)]):  # logs are read only then
        return statistics.degradation(of, margin, mixed=mixed, falling=True)
    return verdict


def _mixed_ends(curve: Curve) -> bool:
    return any(mixes(curve[depth]) for depth in (min(curve), max(curve)))


def _removed(plain: Curve | None, curve: Curve, arm: str) -> Difference | None:
    if plain is None or arm == "plain" or _mixed_ends(plain) or _mixed_ends(curve):
        return None
    return statistics.removed(errors(plain), errors(curve))


def _falls(states: Sequence[State]) -> bool:
    """Whether the training loss still falls by more than 5 % over the last tenth, in the mean over seeds."""
    falls = [fall for state in states if state.result and (fall := _last_tenth(state)) is not None]
    return bool(falls) and math.fsum(falls) / len(falls) > FALLING


def _last_tenth(state: State) -> float | None:
    """The share of the training loss that was lost since the last reading before the last tenth; None where it diverged."""
    rows = [(int(row["step"]), float(row["train_loss"] or "nan")) for row in runs.read_rows(state.folder / "metrics.csv")]
    before = [loss for step, loss in rows if step <= 0.9 * rows[-1][0]]
    if not before or not (before[-1] > 0 and math.isfinite(rows[-1][1])):
        return None
    return 1 - rows[-1][1] / before[-1]
