"""Each arm at its best setting: selected by validation accuracy on one half of the seeds, reported on the other half.

A setting that is selected and reported on the same seeds looks better than it is (the winner's curse). Here no seed reports on
a setting that it helped to select. The halves are the first and the second half of the sorted seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resexp import config, inference
from resexp.comparison.groups import Label, column_names, difference, differing_seeds, mean_val_accuracy, seeds, summary, value
from resexp.inference import Difference, Summary
from resexp.runs import Results, TrialRecord

TIE = 1e-12
Setting = tuple[str, ...]  # the arm, then its values of the keys
ALL_ELSE_EQUAL, EACH_AT_BEST = "all else equal", "each at its best"


@dataclass(frozen=True)
class Choice:
    """One arm and the setting that all seeds select. halves: arm and setting that each half selects, if they differ.

    summary: each seed at the setting that the other half of the seeds selects. flags: a tie, or a value at the edge of the
    grid.
    """

    arm: str
    setting: Label
    summary: Summary
    flags: tuple[str, ...] = ()
    halves: tuple[Label, ...] = ()


@dataclass(frozen=True)
class TunedComparison:
    """Plain and a residual arm in one cell, at one setting (all else equal) or each at its best by validation accuracy.

    difference: each seed at the settings that the other half of the seeds selects; None if outcomes are mixed or the finished
    seeds differ (unmatched). cross_fitted: False for a single seed, which reports on its own selection.
    """

    label: Label
    how: str
    plain: Choice
    residual: Choice
    difference: Difference | None
    unmatched: tuple[str, ...] = ()
    cross_fitted: bool = True


def tuned(results: Results, keys: Sequence[str], metric: str = "test_accuracy") -> list[TunedComparison]:
    """For each cell of the other keys and each residual arm: both at plain's best, both at the arm's best, each at its best.

    keys: axes, such as lr or training.lr. A setting is a candidate once all its trials have finished.

    Raises:
        ConfigError: a key that does not vary here; the message lists those that do.
    """
    rows: list[TunedComparison] = []
    keys = column_names(results, keys, "--tune")
    for label, arms in _by_arm(results, keys):
        plain = _selection(keys, arms.get("plain", {}))
        for arm in arms:
            residual = _selection(keys, arms[arm])
            if arm != "plain" and plain and residual:
                same = plain.best[1:] == residual.best[1:]
                for selection in (plain,) if same else (plain, residual):
                    rows += _row(
                        label,
                        keys,
                        ALL_ELSE_EQUAL,
                        _at(selection, arms["plain"], "plain"),
                        _at(selection, arms[arm], arm),
                        metric,
                    )
                rows += _row(label, keys, EACH_AT_BEST, plain, residual, metric)
    return rows


def best_settings(results: Results, metric: str = "test_accuracy") -> list[TunedComparison]:
    """For each depth, the best plain setting and the best setting of any residual arm, over all other axes.

    Empty if experiments differ in a key that none of them varies: such cells are not alternatives.
    """
    keys = [key for key in results.shown if key != "depth"]
    differing = {key for key, name in zip(results.axes, results.columns, strict=True) if name in keys}
    for _, experiment in results.sources:
        conditions = [config.conditions(trial.settings) for trial in experiment.trials]
        varied = {key for key in experiment.axes if len({config.format_value(values.get(key)) for values in conditions}) > 1}
        differing -= varied
    if not keys or differing:
        return []
    rows = []
    for label, arms in _by_arm(results, keys):
        plain = _selection(keys, arms.pop("plain", {}))
        residual = _selection(keys, {setting: records for settings in arms.values() for setting, records in settings.items()})
        if plain and residual:
            rows += _row(label, keys, EACH_AT_BEST, plain, residual, metric)
    return rows


# ---- selecting ----------------------------------------------------------------------------------------------------------

SettingGroups = dict[Setting, list[TrialRecord]]


@dataclass(frozen=True)
class _Selection:
    """best: the setting that all seeds select. by_seed: the one that each seed reports on. candidates: their number."""

    best: Setting
    by_seed: dict[int, Setting]
    records: list[TrialRecord]
    candidates: int
    flags: tuple[str, ...] = ()


def _by_arm(results: Results, keys: Sequence[str]) -> list[tuple[Label, dict[str, SettingGroups]]]:
    """(label over the other keys, arm -> setting of the keys -> trials); parameter-matched baselines are not tuned."""
    cells: dict[tuple[str, ...], tuple[Label, dict[str, SettingGroups]]] = {}
    for record in results.records:
        if record.trial.parameters_of is None:
            label = results.label(record)
            others = {key: label[key] for key in label if key not in keys}
            arms = cells.setdefault(tuple(others.values()), (others, {}))[1]
            setting = (record.trial.arm, *(label[key] for key in keys))
            arms.setdefault(record.trial.arm, {}).setdefault(setting, []).append(record)
    return list(cells.values())


def _selection(keys: Sequence[str], settings: SettingGroups) -> _Selection | None:
    """The setting with the highest mean validation accuracy (the first if several); None if no setting is complete."""
    accuracies = {setting: mean for setting, records in settings.items() if (mean := mean_val_accuracy(records)) is not None}
    if not accuracies:
        return None
    best = max(accuracies, key=lambda setting: accuracies[setting])
    common = sorted(seeds(settings[best]))
    candidates = [setting for setting in accuracies if seeds(settings[setting]).issuperset(common)]
    costs = {
        setting: {record.trial.seed: -(value(record, "val_accuracy") or 0.0) for record in settings[setting]}
        for setting in candidates
    }
    options = inference.cross_fitted([[costs[setting][seed] for setting in candidates] for seed in common])
    by_seed = {seed: candidates[option] for seed, option in zip(common, options, strict=True)}
    grid = [setting for setting, records in settings.items() if all(record.result for record in records)]
    flags = _flags(keys, best, accuracies, [setting for setting in grid if setting[0] == best[0]])
    return _Selection(best, by_seed, _reported(by_seed, settings), len(candidates), flags)


def _at(selection: _Selection, settings: SettingGroups, arm: str) -> _Selection:
    """An arm at the settings that another arm, or the arm itself, selects."""
    by_seed = {seed: (arm, *setting[1:]) for seed, setting in selection.by_seed.items()}
    return _Selection((arm, *selection.best[1:]), by_seed, _reported(by_seed, settings), selection.candidates)


def _reported(by_seed: Mapping[int, Setting], settings: SettingGroups) -> list[TrialRecord]:
    return [record for seed, setting in by_seed.items() for record in settings.get(setting, []) if record.trial.seed == seed]


def _row(
    label: Label, keys: Sequence[str], how: str, plain: _Selection, residual: _Selection, metric: str
) -> list[TunedComparison]:
    """One row; none if an arm has no trial at these settings."""
    if not (plain.records and residual.records):
        return []
    choices = [
        Choice(
            arm=selection.best[0],
            setting=dict(zip(keys, selection.best[1:], strict=True)),
            summary=summary(selection.records, metric),
            flags=selection.flags,
            halves=_halves(keys, selection),
        )
        for selection in (plain, residual)
    ]
    unmatched = differing_seeds(plain.records, residual.records)
    selected = max(plain.candidates, residual.candidates) > 1
    level = inference.SELECTED_LEVEL if selected else inference.LEVEL
    paired = None if unmatched else difference(plain.records, residual.records, metric, level)
    single = selected and min(len(plain.by_seed), len(residual.by_seed)) == 1
    return [TunedComparison(label, how, choices[0], choices[1], paired, unmatched, cross_fitted=not single)]


def _halves(keys: Sequence[str], selection: _Selection) -> tuple[Label, ...]:
    settings = list(dict.fromkeys(selection.by_seed.values()))
    if settings == [selection.best]:
        return ()
    labels = [dict(zip(keys, setting[1:], strict=True)) for setting in settings]
    other_arm = {setting[0] for setting in settings} != {selection.best[0]}
    return tuple({"arm": setting[0], **label} if other_arm else label for setting, label in zip(settings, labels, strict=True))


def _flags(
    keys: Sequence[str], selected: Setting, accuracies: Mapping[Setting, float], grid: Sequence[Setting]
) -> tuple[str, ...]:
    """Notes on a selection: equally good settings, and values at the edge of the grid; diverged trials count as tried."""
    ties = [
        setting
        for setting, mean in accuracies.items()
        if setting != selected and setting[0] == selected[0] and abs(mean - accuracies[selected]) <= TIE
    ]
    flags = [f"ties with {len(ties)} other"] if ties else []
    for index, key in enumerate(keys, start=1):
        values = [_number(setting[index]) for setting in grid]
        if all(number is not None for number in values):
            numbers = sorted({number for number in values if number is not None})
            if len(numbers) > 1 and _number(selected[index]) in (numbers[0], numbers[-1]):
                flags.append(f"{key} at the edge of the grid")
    return tuple(flags)


def _number(text: str) -> float | None:
    try:
        return number if math.isfinite(number := float(text)) else None
    except ValueError:
        return None
