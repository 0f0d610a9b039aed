"""Figures that an expectation can be about: of every arm of a cell seed by seed, or one for all seeds with its range."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from resexp import config, runs
from resexp.comparison import Label, by_depth, errors, groups, growth, value
from resexp.runs import Outcome, Results, TrialRecord

Range = tuple[float, float, float]


@dataclass(frozen=True)
class MeasuredValues:
    """Of one arm. seeds: a figure for each; or, the same for all seeds, low and high with the figure between them.

    lost: seeds that diverged and have no value. ends: how each seed ended, where the value depends on the end. times: what
    the values of the seeds are to be multiplied by, with low and high as well. since: the smallest value that a seed may have,
    where a log has only every so many steps. depths: between which a value is a rise.
    """

    seeds: dict[int, float] | None = None
    single: Range | None = None
    lost: frozenset[int] = frozenset()
    ends: dict[int, tuple[str, ...]] = field(default_factory=dict)
    times: Range = (1.0, 1.0, 1.0)
    since: dict[int, float] = field(default_factory=dict)
    depths: tuple[int, ...] = ()

    def at(self, seed: int, end: int) -> float:
        """The value of a seed (`end` 1), the smallest (0) or the largest (2) that it may have."""
        seeds = self.seeds or {}
        return (self.since.get(seed, seeds[seed]) if end == 0 else seeds[seed]) * self.times[end]

    def has_mixed_outcomes(self, seeds: Collection[int]) -> bool:
        """Whether these seeds ended differently."""
        ends = [self.ends[seed] for seed in seeds if seed in self.ends]
        return any(len(set(each)) > 1 for each in zip(*ends, strict=True))


Cells = list[tuple[Label, dict[str, MeasuredValues], TrialRecord]]  # with a trial of the cell, for its settings
OfTrial = Callable[[TrialRecord], float | None]


def _each(read: Callable[[TrialRecord, float | None], float | None], *, of_the_end: bool = True) -> "Measure":
    def measure(results: Results, number: float | None) -> Cells:
        found: Cells = []
        for label, arms in groups(results):
            figures = {arm: _figures(records, lambda record: read(record, number), of_the_end=of_the_end)
                       for arm, records in arms.items()}  # fmt: skip
            present = {arm: of for arm, of in figures.items() if of.seeds or of.lost}
            found.append((label, present, next(iter(arms.values()))[0]))
        return found

    return measure


def _figures(records: Sequence[TrialRecord], read: OfTrial, *, of_the_end: bool) -> MeasuredValues:
    found = {record.trial.seed: figure for record in records if record.result and (figure := read(record)) is not None}
    ends = _outcomes(records) if of_the_end else {}
    lost = frozenset(seed for seed, outcome in ends.items() if outcome == "diverged" and seed not in found)
    return MeasuredValues(seeds=found, lost=lost, ends={seed: (outcome,) for seed, outcome in ends.items()})


def _outcomes(records: Sequence[TrialRecord]) -> dict[int, str]:
    return {record.trial.seed: record.result["outcome"] for record in records if record.result}


def _result(key: str, *, of_the_end: bool = True, error: bool = False) -> "Measure":
    def read(record: TrialRecord, _number: float | None) -> float | None:
        found = value(record, key)
        return found if found is None or not error else 1 - found

    return _each(read, of_the_end=of_the_end)


def _above_chance(record: TrialRecord, _number: float | None) -> float | None:
    return float(record.result["outcome"] == Outcome.ABOVE_CHANCE) if record.result else None


def _steps_to_loss(results: Results, number: float | None) -> Cells:
    """The first logged step at which the training loss is no higher than that, inf where it never is.

    It may have been so at any step after the one that was logged before: `since`.
    """
    cells: Cells = []
    for label, arms in groups(results):
        figures = {arm: _steps(records, number or 0.0) for arm, records in arms.items()}
        present = {arm: figure for arm, figure in figures.items() if figure.seeds or figure.lost}
        cells.append((label, present, next(iter(arms.values()))[0]))
    return cells


def _steps(records: Sequence[TrialRecord], loss: float) -> MeasuredValues:
    ends = {record.folder: _first_at(record, loss) for record in records if record.result}
    figures = _figures(records, lambda record: ends[record.folder][1], of_the_end=True)
    return replace(figures, since={record.trial.seed: ends[record.folder][0] for record in records if record.result})


def _first_at(record: TrialRecord, loss: float) -> tuple[float, float]:
    """(the step after the last one logged above that loss, the first one logged at it)."""
    rows = runs.read_rows(record.folder / "metrics.csv")
    if not rows:
        raise runs.RunsError(f"{record.folder / 'metrics.csv'}: missing or empty; resexp train trains its trial again")
    since = 0.0
    for row in rows:
        if float(row["train_loss"]) <= loss:
            return since, float(row["step"])
        since = float(row["step"]) + 1
    return math.inf, math.inf


def _degradation(results: Results, _number: float | None) -> Cells:
    """Rise of the training error from the shallowest to the deepest network; a cell is a corner."""
    found: Cells = []
    for label, curves in by_depth(results):
        rises = {arm: _rise(curve) for arm, curve in curves.items() if len(curve) > 1}
        deepest = max(next(iter(curves.values())))
        present = {arm: of for arm, of in rises.items() if of.seeds or of.lost}
        found.append((label, present, next(iter(curves.values()))[deepest][0]))
    return found


def _rise(curve: dict[int, list[TrialRecord]]) -> MeasuredValues:
    depths = min(curve), max(curve)
    low, high = (errors(curve)[depth] for depth in depths)
    shallow, deep = (_outcomes(curve[depth]) for depth in depths)
    both = [seed for seed in high if seed in low]
    rises = {seed: high[seed] - low[seed] for seed in both if math.isfinite(low[seed])}
    ends: dict[int, tuple[str, ...]] = {seed: (shallow[seed], deep[seed]) for seed in both}
    return MeasuredValues(seeds=rises, lost=frozenset(both) - rises.keys(), ends=ends, depths=depths)


# ---- one for all seeds -----------------------------------------------------------------------------------------------------


def _constant(key: str) -> "Measure":
    def measure(results: Results, _number: float | None) -> Cells:
        found: Cells = []
        for label, arms in groups(results):
            counts = {arm: next((of for record in records if (of := value(record, key)) is not None), None)
                      for arm, records in arms.items()}  # fmt: skip
            present = {arm: MeasuredValues(single=(of, of, of)) for arm, of in counts.items() if of is not None}
            found.append((label, present, next(iter(arms.values()))[0]))
        return found

    return measure


def _timed(key: str) -> "Measure":
    """From cost.csv, which `resexp time` writes: arms that train in one stack have no time of their own."""

    def measure(results: Results, _number: float | None) -> Cells:
        costs = _costs(results)
        found: Cells = []
        for label, arms in groups(results):
            rows = {arm: next((costs[of] for record in records if (of := str(record.folder)) in costs), None)
                    for arm, records in arms.items()}  # fmt: skip
            present = {arm: MeasuredValues(single=_range(row, key)) for arm, row in rows.items() if row}
            found.append((label, present, next(iter(arms.values()))[0]))
        return found

    return measure


def _range(row: dict[str, str], key: str) -> Range:
    """Low, figure, high; an epoch is as uncertain as its steps."""
    figure, low, step, high = (float(row[of]) for of in (key, "step_low", "step_seconds", "step_high"))
    return (figure * low / step, figure, figure * high / step) if key.endswith("_seconds") else (figure, figure, figure)


def _costs(results: Results) -> dict[str, dict[str, str]]:
    """Folder of a trial -> the row of its arm in cost.csv."""
    found: dict[str, dict[str, str]] = {}
    for folder, experiment in results.sources:
        rows = {(row["cell"], row["arm"]): row for row in runs.read_rows(folder / "cost.csv")}
        for label, arms in config.cells(experiment.trials, experiment.axes).items() if rows else ():
            for arm, trials in arms.items():
                if (" ".join(label), arm) in rows:
                    found |= {str(runs.trial_folder(folder, trial.name)): rows[" ".join(label), arm] for trial in trials}
    return found


def _time_to_loss(results: Results, number: float | None) -> Cells:
    """Steps to that loss times the arm's own seconds a step, with their quartiles."""
    seconds = {str(label): figures for label, figures, _ in _timed("step_seconds")(results, None)}
    found: Cells = []
    for label, figures, record in _steps_to_loss(results, number):
        timed = {
            arm: replace(of, times=times.single)
            for arm, of in figures.items()
            if (times := seconds[str(label)].get(arm)) and times.single
        }
        found.append((label, timed, record))
    return found


Measure = Callable[[Results, float | None], Cells]

MEASURES: dict[str, Measure] = {
    "test_accuracy": _result("test_accuracy"),
    "best_test_accuracy": _result("best_test_accuracy"),
    "train_accuracy": _result("train_accuracy"),
    "val_accuracy": _result("val_accuracy"),
    "test_error": _result("test_accuracy", error=True),
    "train_error": _result("train_accuracy", error=True),
    "val_error": _result("val_accuracy", error=True),
    "test_loss": _result("test_loss"),
    "train_loss": _result("train_loss"),
    "slope_start": _result("slope_start", of_the_end=False),
    "slope_end": _result("slope_end", of_the_end=False),
    "gradient_growth": _each(lambda record, _number: growth(record), of_the_end=False),
    "above_chance": _each(_above_chance, of_the_end=False),
    "degradation": _degradation,
    "parameters": _constant("parameters"),
    "multiply_adds": _constant("multiply_adds"),
    "step_seconds": _timed("step_seconds"),
    "epoch_seconds": _timed("epoch_seconds"),
    "memory_bytes": _timed("memory_bytes"),
    "activation_bytes": _timed("activation_bytes"),
    "steps_to_loss": _steps_to_loss,
    "time_to_loss": _time_to_loss,
}
