"""Measures of a hypothesis: for each arm of a cell, a value per seed, or one value for all seeds with its range."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from resexp import config, runs
from resexp.comparison import Label, by_depth, errors, groups, growth, rate_transfers, value
from resexp.runs import Outcome, Results, TrialRecord

Estimate = tuple[float, float, float]  # (low, value, high)


@dataclass(frozen=True)
class MeasuredValues:
    """A measure of one arm. seeds: a value per seed; or single: (low, value, high), the same for all seeds.

    diverged: seeds without a value. outcomes: those of each seed, if the value depends on the final weights. factor: (low,
    value, high), by which the values of the seeds are multiplied. earliest: smallest possible value of a seed, if a log has
    gaps between its steps. error: largest error of the value of a seed. depths: the two depths between which a value is a rise.
    """

    seeds: dict[int, float] | None = None
    single: Estimate | None = None
    diverged: frozenset[int] = frozenset()
    outcomes: dict[int, tuple[str, ...]] = field(default_factory=dict)
    factor: Estimate = (1.0, 1.0, 1.0)
    earliest: dict[int, float] = field(default_factory=dict)
    error: float = 0.0
    depths: tuple[int, ...] = ()

    def at(self, seed: int, end: int) -> float:
        """The smallest possible (`end` 0), the measured (1) or the largest possible (2) value of a seed."""
        seeds = self.seeds or {}
        value = (self.earliest.get(seed, seeds[seed]) if end == 0 else seeds[seed]) * self.factor[end]
        return value + (end - 1) * self.error

    def has_mixed_outcomes(self, seeds: Collection[int]) -> bool:
        """Whether the outcomes of these seeds differ."""
        outcomes = [self.outcomes[seed] for seed in seeds if seed in self.outcomes]
        return any(len(set(at_depth)) > 1 for at_depth in zip(*outcomes, strict=True))


MeasuredCells = list[tuple[Label, dict[str, MeasuredValues], TrialRecord]]  # with a trial of the cell, for its settings
ReadTrial = Callable[[TrialRecord], float | None]


def _cells(results: Results, measure: Callable[[Sequence[TrialRecord]], MeasuredValues | None]) -> MeasuredCells:
    """The arms of each cell that have a value, from the trials of each arm."""
    cells: MeasuredCells = []
    for label, arms in groups(results):
        measured = {arm: measure(records) for arm, records in arms.items()}
        cells.append((label, _present(measured), next(iter(arms.values()))[0]))
    return cells


def _present(measured: Mapping[str, MeasuredValues | None]) -> dict[str, MeasuredValues]:
    return {arm: values for arm, values in measured.items() if values and (values.seeds or values.single or values.diverged)}


def _per_seed(read: Callable[[TrialRecord, float | None], float | None], *, final: bool = True) -> "Measure":
    """A measure from the value of each trial; final: whether the value depends on the final weights."""
    return lambda results, number: _cells(
        results, lambda records: _values(records, lambda record: read(record, number), final=final)
    )


def _values(records: Sequence[TrialRecord], read: ReadTrial, *, final: bool) -> MeasuredValues:
    seeds = {record.trial.seed: number for record in records if record.result and (number := read(record)) is not None}
    outcomes = _outcomes(records) if final else {}
    diverged = frozenset(seed for seed, outcome in outcomes.items() if outcome == "diverged" and seed not in seeds)
    return MeasuredValues(seeds=seeds, diverged=diverged, outcomes={seed: (outcome,) for seed, outcome in outcomes.items()})


def _outcomes(records: Sequence[TrialRecord]) -> dict[int, str]:
    return {record.trial.seed: record.result.outcome for record in records if record.result}


def _result(key: str, *, final: bool = True, error: bool = False) -> "Measure":
    def read(record: TrialRecord, _number: float | None) -> float | None:
        number = value(record, key)
        return number if number is None or not error else 1 - number

    return _per_seed(read, final=final)


def _steps_to_loss(results: Results, number: float | None) -> MeasuredCells:
    """The first logged step at which the training loss is at most `number`, inf if it never is.

    The loss may have reached it at any step after the previous logged one: `earliest`.
    """
    return _cells(results, lambda records: _steps(records, number or 0.0))


def _steps(records: Sequence[TrialRecord], loss: float) -> MeasuredValues:
    ranges = {record.folder: _step_range(record, loss) for record in records if record.result}
    values = _values(records, lambda record: ranges[record.folder][1], final=True)
    return replace(values, earliest={record.trial.seed: ranges[record.folder][0] for record in records if record.result})


def _step_range(record: TrialRecord, loss: float) -> tuple[float, float]:
    """(step after the last logged one with a higher loss, first logged step with at most this loss)."""
    rows = runs.read_rows(record.folder / "metrics.csv")
    if not rows:
        raise runs.RunsError(f"{record.folder / 'metrics.csv'}: missing or empty; run `resexp train` to train its trial again")
    earliest = 0.0
    for row in rows:
        if float(row["train_loss"]) <= loss:
            return earliest, float(row["step"])
        earliest = float(row["step"]) + 1
    return math.inf, math.inf


def _degradation(results: Results, _number: float | None) -> MeasuredCells:
    """Rise of the training error from the shallowest to the deepest network; a cell contains all depths of a condition."""
    cells: MeasuredCells = []
    for label, curves in by_depth(results):
        rises = {arm: _rise(curve) for arm, curve in curves.items() if len(curve) > 1}
        deepest = max(next(iter(curves.values())))
        cells.append((label, _present(rises), next(iter(curves.values()))[deepest][0]))
    return cells


def _rise(curve: dict[int, list[TrialRecord]]) -> MeasuredValues:
    depths = min(curve), max(curve)
    low, high = (errors(curve)[depth] for depth in depths)
    shallow, deep = (_outcomes(curve[depth]) for depth in depths)
    common = [seed for seed in high if seed in low]
    rises = {seed: high[seed] - low[seed] for seed in common if math.isfinite(low[seed])}
    outcomes: dict[int, tuple[str, ...]] = {seed: (shallow[seed], deep[seed]) for seed in common}
    return MeasuredValues(seeds=rises, diverged=frozenset(common) - rises.keys(), outcomes=outcomes, depths=depths)


def _lr_exponent(results: Results, _number: float | None) -> MeasuredCells:
    """Exponent of the best learning rate over the number of blocks; a cell contains all depths and rates of a condition."""
    conditions: dict[tuple[str, ...], tuple[Label, dict[str, MeasuredValues], TrialRecord]] = {}
    for transfer in rate_transfers(results):
        cell = (transfer.condition, dict[str, MeasuredValues](), transfer.deepest)
        arms = conditions.setdefault(tuple(transfer.condition.values()), cell)[1]
        arms.update(_present({transfer.arm: MeasuredValues(seeds=transfer.exponents, error=transfer.resolution)}))
    return list(conditions.values())


# ---- one value for all seeds ------------------------------------------------------------------------------------------------


def _constant(key: str) -> "Measure":
    def counted(records: Sequence[TrialRecord]) -> MeasuredValues | None:
        counts = [count for record in records if (count := value(record, key)) is not None]
        return MeasuredValues(single=(counts[0],) * 3) if counts else None

    return lambda results, _number: _cells(results, counted)


def _timed(key: str) -> "Measure":
    """From cost.csv, which `resexp time` writes: the training time of an arm in a stack cannot be separated from the others."""

    def measure(results: Results, _number: float | None) -> MeasuredCells:
        costs = _costs(results)

        def timed(records: Sequence[TrialRecord]) -> MeasuredValues | None:
            row = next((costs[folder] for record in records if (folder := str(record.folder)) in costs), None)
            return MeasuredValues(single=_estimate(row, key)) if row else None

        return _cells(results, timed)

    return measure


def _estimate(row: dict[str, str], key: str) -> Estimate:
    """(low, value, high); the relative range of an epoch is that of its steps."""
    number, low, step, high = (float(row[column]) for column in (key, "step_low", "step_seconds", "step_high"))
    return (number * low / step, number, number * high / step) if key.endswith("_seconds") else (number, number, number)


def _costs(results: Results) -> dict[str, dict[str, str]]:
    """Folder of a trial -> the row of its arm in cost.csv."""
    costs: dict[str, dict[str, str]] = {}
    for folder, experiment in results.sources:
        rows = {(row["cell"], row["arm"]): row for row in runs.read_rows(folder / "cost.csv")}
        for label, arms in config.cells(experiment.trials, experiment.axes).items() if rows else ():
            for arm, trials in arms.items():
                if (" ".join(label), arm) in rows:
                    costs |= {str(runs.trial_folder(folder, trial.name)): rows[" ".join(label), arm] for trial in trials}
    return costs


def _time_to_loss(results: Results, number: float | None) -> MeasuredCells:
    """Steps to this loss times the seconds per step of the arm, with their quartiles."""
    seconds = {str(label): arms for label, arms, _ in _timed("step_seconds")(results, None)}
    cells: MeasuredCells = []
    for label, arms, record in _steps_to_loss(results, number):
        timed = {
            arm: replace(values, factor=step_seconds.single)
            for arm, values in arms.items()
            if (step_seconds := seconds[str(label)].get(arm)) and step_seconds.single
        }
        cells.append((label, timed, record))
    return cells


Measure = Callable[[Results, float | None], MeasuredCells]

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
    "slope_start": _result("slope_start", final=False),
    "slope_end": _result("slope_end", final=False),
    "gradient_growth": _per_seed(lambda record, _number: growth(record), final=False),
    "above_chance": _per_seed(
        lambda record, _number: float(record.result.outcome == Outcome.ABOVE_CHANCE) if record.result else None, final=False
    ),
    "degradation": _degradation,
    "parameters": _constant("parameters"),
    "multiply_adds": _constant("multiply_adds"),
    "step_seconds": _timed("step_seconds"),
    "epoch_seconds": _timed("epoch_seconds"),
    "memory_bytes": _timed("memory_bytes"),
    "activation_bytes": _timed("activation_bytes"),
    "steps_to_loss": _steps_to_loss,
    "time_to_loss": _time_to_loss,
    "lr_exponent": _lr_exponent,
}


FILE_METRIC = _result("value")  # the metric of results from a file


@dataclass(frozen=True)
class Unit:
    """The unit of a measure in text: the factor, the unit of a value, and that of a difference."""

    factor: float = 1.0
    value: str = ""
    difference: str = ""


PERCENT, POINTS = Unit(100.0, "%", " points"), Unit(100.0, " points", " points")
SECONDS, BYTES, STEPS = Unit(1.0, " s", " s"), Unit(1.0, " B", " B"), Unit(1.0, " steps", " steps")
MAGNITUDES = Unit(1.0, " orders of magnitude", " orders of magnitude")
PER_BLOCK = Unit(1.0, " orders of magnitude per block", " orders of magnitude per block")
UNITS = {
    **{f"{name}_{kind}": PERCENT for name in ("test", "train", "val") for kind in ("accuracy", "error")},
    "best_test_accuracy": PERCENT,
    "above_chance": PERCENT,
    "degradation": POINTS,
    "slope_start": PER_BLOCK,
    "slope_end": PER_BLOCK,
    "gradient_growth": MAGNITUDES,
    "step_seconds": SECONDS,
    "epoch_seconds": SECONDS,
    "time_to_loss": SECONDS,
    "memory_bytes": BYTES,
    "activation_bytes": BYTES,
    "steps_to_loss": STEPS,
}  # of the other measures, the name says what is counted
