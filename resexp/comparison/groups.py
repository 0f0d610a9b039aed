"""Trials -> groups: the arms of each cell, their summaries, and their differences seed by seed."""

import math
from collections.abc import Sequence
from dataclasses import replace

from resexp import config, inference
from resexp.config import ConfigError
from resexp.inference import Difference, Summary
from resexp.runs import Results, TrialRecord

ROUNDING = 4e-9  # relative error of a difference: results are stored with nine digits
Label = dict[str, str]
Group = dict[str, list[TrialRecord]]  # arm -> trials


def groups(results: Results) -> list[tuple[Label, Group]]:
    """(label, arm -> trials) of each cell, in the order of the config; plain comes first."""
    cells: dict[tuple[str, ...], tuple[Label, Group]] = {}
    for record in results.records:
        label = results.label(record)
        arms = cells.setdefault(tuple(label.values()), (label, {}))[1]
        arms.setdefault(record.trial.arm, []).append(record)
    return [(label, dict(sorted(arms.items(), key=lambda arm: arm[0] != results.baseline))) for label, arms in cells.values()]


def order_by(results: Results, keys: Sequence[str]) -> Results:
    """The same trials, sorted by these columns first; their labels begin with them.

    Raises:
        ConfigError: a key that does not vary here; the message lists those that do.
    """
    columns = dict(zip(results.columns, results.axes, strict=True))
    first = [columns[name] for name in column_names(results, keys, "--by")]
    order = {
        key: list(dict.fromkeys(config.format_value(record.conditions.get(key)) for record in results.records)) for key in first
    }

    def position(record: TrialRecord) -> list[int]:
        return [order[key].index(config.format_value(record.conditions.get(key))) for key in first]

    axes = (*first, *(axis for axis in results.axes if axis not in first))
    return replace(results, axes=axes, records=tuple(sorted(results.records, key=position)))


def column_names(results: Results, keys: Sequence[str], option: str) -> tuple[str, ...]:
    """The columns of `keys`, without duplicates; a key is an axis, with or without its section (lr, training.lr).

    Raises:
        ConfigError: a key that does not vary here; the message lists those that do.
    """
    columns = dict(zip(results.axes, results.columns, strict=True))
    names = [columns.get(key, columns.get(config.SHORT.get(key, key), key)) for key in keys]
    wrong = [key for key, name in zip(keys, names, strict=True) if name not in results.shown]
    if wrong:
        allowed = ", ".join(results.shown) or "none, because only the shortcut varies"
        near = config.did_you_mean(wrong[0].rpartition(".")[2], results.shown)
        problem = f"{wrong[0]!r} does not vary here; keys that vary: {allowed}{near}"
        raise ConfigError(problem, where=option)
    return tuple(dict.fromkeys(names))


def value(record: TrialRecord, metric: str) -> float | None:
    """The value of a metric in the result of a trial; None if it is missing or not finite."""
    number = getattr(record.result, metric, None)
    return float(number) if number is not None and math.isfinite(number) else None


def summary(records: Sequence[TrialRecord], metric: str, *, as_error: bool = False) -> Summary:
    """Outcomes and values of `metric` of the finished trials of one arm; as_error: 1 minus each value."""
    outcomes = [record.result.outcome for record in records if record.result]
    numbers = [value(record, metric) for record in records if record.result]
    return inference.summarize(outcomes, [1 - x if as_error and x is not None else x for x in numbers])


def gap_difference(plain: Sequence[TrialRecord], residual: Sequence[TrialRecord]) -> Difference | None:
    """Difference, residual minus plain, of test minus training accuracy: the part that is generalization."""
    test, train = (values(plain, residual, metric) for metric in ("test_accuracy", "train_accuracy"))
    if test is None or train is None:
        return None
    gaps = [[a - b for a, b in zip(*arm, strict=True)] for arm in zip(test, train, strict=True)]
    return inference.paired_difference(paired_differences(*gaps))


def seed_pairs(plain: Sequence[TrialRecord], residual: Sequence[TrialRecord]) -> list[tuple[TrialRecord, TrialRecord]]:
    """(plain, residual) of every seed that both have finished."""
    by_seed = {record.trial.seed: record for record in plain if record.result}
    return [(by_seed[record.trial.seed], record) for record in residual if record.result and record.trial.seed in by_seed]


def has_mixed_outcomes(records: Sequence[TrialRecord]) -> bool:
    """Whether the outcomes of the finished trials of an arm differ."""
    return len({record.result.outcome for record in records if record.result}) > 1


def values(
    plain: Sequence[TrialRecord], residual: Sequence[TrialRecord], metric: str
) -> tuple[list[float], list[float]] | None:
    """Values of both arms at the seeds that both finished; None if there are none, or any arm has mixed outcomes."""
    by_arm = [[value(record, metric) for record in arm] for arm in zip(*seed_pairs(plain, residual), strict=True)]
    if (
        not by_arm
        or has_mixed_outcomes(plain)
        or has_mixed_outcomes(residual)
        or any(number is None for arm in by_arm for number in arm)
    ):
        return None
    first, second = ([number for number in arm if number is not None] for arm in by_arm)
    return first, second


def difference(
    plain: Sequence[TrialRecord], residual: Sequence[TrialRecord], metric: str, level: float = inference.LEVEL
) -> Difference | None:
    """Residual minus plain over the seeds that both finished; None if an arm has mixed outcomes or diverged."""
    paired_values = values(plain, residual, metric)
    return inference.paired_difference(paired_differences(*paired_values), level) if paired_values else None


def paired_differences(plain: Sequence[float], residual: Sequence[float]) -> list[float]:
    """Residual minus plain, seed by seed; differences that are equal except for rounding in the files are made equal."""
    differences = [b - a for a, b in zip(plain, residual, strict=True)]
    rounding = ROUNDING * max(map(abs, (*plain, *residual)))
    if max(differences) - min(differences) > rounding:
        return differences
    return [math.fsum(differences) / len(differences)] * len(differences)


def seeds(records: Sequence[TrialRecord]) -> set[int]:
    return {record.trial.seed for record in records}


def differing_seeds(plain: Sequence[TrialRecord], residual: Sequence[TrialRecord]) -> tuple[str, ...]:
    """'seeds 0, 1 and 0, 1, 2'; empty if they are the same."""
    lists = [", ".join(map(str, sorted(seeds(records)))) for records in (plain, residual)]
    return () if lists[0] == lists[1] else (f"seeds {lists[0]} and {lists[1]}",)


def mean_val_accuracy(records: Sequence[TrialRecord]) -> float | None:
    """Mean validation accuracy, by which settings are selected; None if a trial is missing or has none."""
    accuracies = [value(record, "val_accuracy") for record in records]
    if None in accuracies:
        return None
    return math.fsum(accuracy for accuracy in accuracies if accuracy is not None) / len(accuracies)
