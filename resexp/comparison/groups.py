"""Trials -> groups: the arms of each cell, what they are worth, and their differences seed by seed."""

import math
from collections.abc import Sequence
from dataclasses import replace

from resexp import config, inference
from resexp.config import ConfigError
from resexp.inference import Difference, Summary
from resexp.runs import Results, TrialRecord

ROUNDING = 4e-9  # relative: results are kept with nine digits, so equal differences come out as unequal as that
Label = dict[str, str]
Group = dict[str, list[TrialRecord]]  # arm -> trials


def groups(results: Results) -> list[tuple[Label, Group]]:
    """(label, arm -> trials) of each cell, in the order in which they were written; plain comes first."""
    found: dict[tuple[str, ...], tuple[Label, Group]] = {}
    for record in results.records:
        label = results.label(record)
        arms = found.setdefault(tuple(label.values()), (label, {}))[1]
        arms.setdefault(record.trial.arm, []).append(record)
    return [(label, dict(sorted(arms.items(), key=lambda arm: arm[0] != "plain"))) for label, arms in found.values()]


def order_by(results: Results, keys: Sequence[str]) -> Results:
    """The same trials, ordered by these columns first, and named by them first.

    Raises:
        ConfigError: a key that does not vary here, with those that do.
    """
    columns = dict(zip(results.columns, results.axes, strict=True))
    first = [columns[name] for name in named(results, keys, "--by")]
    order = {
        key: list(dict.fromkeys(config.format_value(record.conditions.get(key)) for record in results.records)) for key in first
    }

    def place(record: TrialRecord) -> list[int]:
        return [order[key].index(config.format_value(record.conditions.get(key))) for key in first]

    axes = (*first, *(axis for axis in results.axes if axis not in first))
    return replace(results, axes=axes, records=tuple(sorted(results.records, key=place)))


def named(results: Results, keys: Sequence[str], option: str) -> tuple[str, ...]:
    """The columns that `keys` name, each once: an axis by its short name, or with its section (lr, training.lr).

    Raises:
        ConfigError: a key that does not vary here, with those that do.
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
    """The figure of a finished trial; None where there is none or it is not finite."""
    found = (record.result or {}).get(metric)
    return float(found) if found is not None and math.isfinite(found) else None


def summary(records: Sequence[TrialRecord], metric: str) -> Summary:
    """How the trials of one arm ended, and their values of `metric`."""
    finished = [record for record in records if record.result]
    return inference.summarize([record.result["outcome"] for record in finished if record.result],
                                [value(record, metric) for record in finished])  # fmt: skip


def error_summary(records: Sequence[TrialRecord]) -> Summary:
    """How the trials of one arm ended, and their errors on the training set."""
    finished = [record for record in records if record.result]
    accuracies = [value(record, "train_accuracy") for record in finished]
    return inference.summarize([record.result["outcome"] for record in finished if record.result],
                                [None if accuracy is None else 1 - accuracy for accuracy in accuracies])  # fmt: skip


def gap_difference(plain: Sequence[TrialRecord], residual: Sequence[TrialRecord]) -> Difference | None:
    """Residual minus plain of test minus training accuracy: how much better the residual network generalizes."""
    test, train = (values(plain, residual, metric) for metric in ("test_accuracy", "train_accuracy"))
    if test is None or train is None:
        return None
    each = [[a - b for a, b in zip(*arm, strict=True)] for arm in zip(test, train, strict=True)]
    return inference.paired_difference(paired_differences(*each))


def pairs(plain: Sequence[TrialRecord], residual: Sequence[TrialRecord]) -> list[tuple[TrialRecord, TrialRecord]]:
    """(plain, residual) of every seed that both have finished."""
    twins = {record.trial.seed: record for record in plain if record.result}
    return [(twins[record.trial.seed], record) for record in residual if record.result and record.trial.seed in twins]


def has_mixed_outcomes(records: Sequence[TrialRecord]) -> bool:
    """Whether the finished trials of an arm ended differently."""
    return len({record.result["outcome"] for record in records if record.result}) > 1


def values(
    plain: Sequence[TrialRecord], residual: Sequence[TrialRecord], metric: str
) -> tuple[list[float], list[float]] | None:
    """Both arms' figures over the seeds that both finished; None where either arm, all of it, mixes outcomes, or has none."""
    each = [[value(record, metric) for record in arm] for arm in zip(*pairs(plain, residual), strict=True)]
    if (
        not each
        or has_mixed_outcomes(plain)
        or has_mixed_outcomes(residual)
        or any(figure is None for arm in each for figure in arm)
    ):
        return None
    first, second = ([figure for figure in arm if figure is not None] for arm in each)
    return first, second


def difference(
    plain: Sequence[TrialRecord], residual: Sequence[TrialRecord], metric: str, level: float = inference.LEVEL
) -> Difference | None:
    """Residual minus plain over the seeds that both finished; None where either arm mixes outcomes or diverged."""
    found = values(plain, residual, metric)
    return inference.paired_difference(paired_differences(*found), level) if found else None


def paired_differences(plain: Sequence[float], residual: Sequence[float]) -> list[float]:
    """Residual minus plain seed by seed; where they are equal but for the rounding of the files, equal."""
    each = [b - a for a, b in zip(plain, residual, strict=True)]
    rounding = ROUNDING * max(map(abs, (*plain, *residual)))
    return each if max(each) - min(each) > rounding else [math.fsum(each) / len(each)] * len(each)


def seeds(records: Sequence[TrialRecord]) -> set[int]:
    return {record.trial.seed for record in records}


def other_seeds(plain: Sequence[TrialRecord], residual: Sequence[TrialRecord]) -> tuple[str, ...]:
    """'seeds 0, 1 and 0, 1, 2', nothing where they are the same."""
    words = [", ".join(map(str, sorted(seeds(of)))) for of in (plain, residual)]
    return () if words[0] == words[1] else (f"seeds {words[0]} and {words[1]}",)


def mean_val_accuracy(records: Sequence[TrialRecord]) -> float | None:
    """Mean validation accuracy, by which settings are chosen; None where a trial is missing or has none."""
    found = [value(record, "val_accuracy") for record in records]
    return None if None in found else math.fsum(of for of in found if of is not None) / len(found)
