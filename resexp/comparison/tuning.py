"""Each arm at its best setting: selected by validation accuracy on one half of the seeds, reported on the other half.

A setting selected and reported on the same seeds looks better than it is (the winner's curse). Here no seed reports on a
setting that it helped to select; the halves are the first and the second half of the seeds in their order.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resexp import config, inference
from resexp.comparison.groups import Label, difference, mean_val_accuracy, named, other_seeds, seeds, summary, value
from resexp.inference import Difference, Summary
from resexp.runs import Results, TrialRecord

TIE = 1e-12
Setting = tuple[str, ...]  # the arm, and its values of the keys
ALL_ELSE_EQUAL, EACH_AT_BEST = "all else equal", "each at its best"


@dataclass(frozen=True)
class Choice:
    """One arm and the setting that all seeds select. `halves`: arm and setting that each half selects, where they differ.

    summary: of every seed at the setting that the other half of the seeds selects. `flags`: a tie, or a number at the edge of
    the grid.
    """

    arm: str
    setting: Label
    summary: Summary
    flags: tuple[str, ...] = ()
    halves: tuple[Label, ...] = ()


@dataclass(frozen=True)
class TunedComparison:
    """Plain against a residual arm in one cell: at one setting (`all else equal`), or each at its best by validation.

    difference: of every seed at the settings that the other half of the seeds selects; no difference where outcomes are mixed
    or other seeds have finished: see `unmatched`. cross_fitted: False for a single seed, which reports on its own choice.
    """

    label: Label
    how: str
    plain: Choice
    residual: Choice
    difference: Difference | None
    unmatched: tuple[str, ...] = ()
    cross_fitted: bool = True


def tuned(results: Results, keys: Sequence[str], metric: str = "test_accuracy") -> list[TunedComparison]:
    """Of every cell over all other keys and every residual arm: both at plain's best, at the arm's best, each at its best.

    keys: axes, such as lr or training.lr. A setting counts once all its trials have finished.

    Raises:
        ConfigError: a key that is no axis here, with those that are.
    """
    rows: list[TunedComparison] = []
    keys = named(results, keys, "--tune")
    for label, arms in _by_arm(results, keys):
        plain = _selection(keys, arms.get("plain", {}))
        for arm in arms:
            residual = _selection(keys, arms[arm])
            if arm != "plain" and plain and residual:
                same = plain.best[1:] == residual.best[1:]
                for select in (plain,) if same else (plain, residual):
                    rows += _row(
                        label, keys, ALL_ELSE_EQUAL, _at(select, arms["plain"], "plain"), _at(select, arms[arm], arm), metric
                    )
                rows += _row(label, keys, EACH_AT_BEST, plain, residual, metric)
    return rows


def best_settings(results: Results, metric: str = "test_accuracy") -> list[TunedComparison]:
    """At each depth the best plain configuration and the best configuration of any residual arm, over all other axes.

    None where experiments differ in a key that none of them varies by itself: such cells are no alternatives.
    """
    keys = [key for key in results.shown if key != "depth"]
    if not keys or _between(results) - _varied(results):
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
    """The setting that all seeds select, and that each seed reports on; `states`: its trials; `candidates`: how many."""

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
            rest = {key: label[key] for key in label if key not in keys}
            arms = cells.setdefault(tuple(rest.values()), (rest, {}))[1]
            setting = (record.trial.arm, *(label[key] for key in keys))
            arms.setdefault(record.trial.arm, {}).setdefault(setting, []).append(record)
    return list(cells.values())


def _selection(keys: Sequence[str], settings: SettingGroups) -> _Selection | None:
    """The setting with the highest mean validation accuracy, the first of equals; None where no setting is complete."""
    worths = {setting: mean for setting, records in settings.items() if (mean := mean_val_accuracy(records)) is not None}
    if not worths:
        return None
    best = max(worths, key=lambda setting: worths[setting])
    common = sorted(seeds(settings[best]))
    candidates = [setting for setting in worths if seeds(settings[setting]).issuperset(common)]
    costs = {
        setting: {record.trial.seed: -(value(record, "val_accuracy") or 0.0) for record in settings[setting]}
        for setting in candidates
    }
    chosen = inference.cross_fitted([[costs[setting][seed] for setting in candidates] for seed in common])
    by_seed = {seed: candidates[option] for seed, option in zip(common, chosen, strict=True)}
    grid = [setting for setting, records in settings.items() if all(record.result for record in records)]
    flags = _flags(keys, best, worths, [setting for setting in grid if setting[0] == best[0]])
    return _Selection(best, by_seed, _reported(by_seed, settings), len(candidates), flags)


def _at(select: _Selection, settings: SettingGroups, arm: str) -> _Selection:
    """An arm at the settings that another arm, or the arm itself, selects."""
    by_seed = {seed: (arm, *setting[1:]) for seed, setting in select.by_seed.items()}
    return _Selection((arm, *select.best[1:]), by_seed, _reported(by_seed, settings), select.candidates)


def _reported(by_seed: Mapping[int, Setting], settings: SettingGroups) -> list[TrialRecord]:
    return [record for seed, setting in by_seed.items() for record in settings.get(setting, []) if record.trial.seed == seed]


def _row(
    label: Label, keys: Sequence[str], how: str, plain: _Selection, residual: _Selection, metric: str
) -> list[TunedComparison]:
    """One row; none where an arm has no trial at these settings."""
    if not (plain.records and residual.records):
        return []
    choices = [
        Choice(
            arm=select.best[0],
            setting=dict(zip(keys, select.best[1:], strict=True)),
            summary=summary(select.records, metric),
            flags=select.flags,
            halves=_halves(keys, select),
        )
        for select in (plain, residual)
    ]
    uneven = other_seeds(plain.records, residual.records)
    selected = max(plain.candidates, residual.candidates) > 1
    level = inference.SELECTED_LEVEL if selected else inference.LEVEL
    compared = None if uneven else difference(plain.records, residual.records, metric, level)
    single = selected and min(len(plain.by_seed), len(residual.by_seed)) == 1
    return [TunedComparison(label, how, choices[0], choices[1], compared, uneven, cross_fitted=not single)]


def _halves(keys: Sequence[str], select: _Selection) -> tuple[Label, ...]:
    settings = list(dict.fromkeys(select.by_seed.values()))
    if settings == [select.best]:
        return ()
    named = [dict(zip(keys, setting[1:], strict=True)) for setting in settings]
    arms = {setting[0] for setting in settings} != {select.best[0]}
    return tuple({"arm": setting[0], **label} if arms else label for setting, label in zip(settings, named, strict=True))


def _flags(keys: Sequence[str], chosen: Setting, worths: Mapping[Setting, float], grid: Sequence[Setting]) -> tuple[str, ...]:
    """Notes on a selection: equally good settings, and values at the edge of the grid, diverged trials included."""
    ties = [
        setting
        for setting, mean in worths.items()
        if setting != chosen and setting[0] == chosen[0] and abs(mean - worths[chosen]) <= TIE
    ]
    flags = [f"ties with {len(ties)} other"] if ties else []
    for index, key in enumerate(keys, start=1):
        tried = [_number(setting[index]) for setting in grid]
        if all(number is not None for number in tried):
            numbers = sorted({number for number in tried if number is not None})
            if len(numbers) > 1 and _number(chosen[index]) in (numbers[0], numbers[-1]):
                flags.append(f"{key} at the edge of the grid")
    return tuple(flags)


def _number(text: str) -> float | None:
    try:
        return number if math.isfinite(number := float(text)) else None
    except ValueError:
        return None


# ---- several experiments ------------------------------------------------------------------------------------------------


def _between(results: Results) -> set[str]:
    """The axes but the depth of which the cells have several values."""
    return {key for key, name in zip(results.axes, results.columns, strict=True) if name in results.shown and name != "depth"}


def _varied(results: Results) -> set[str]:
    """The keys of which one experiment alone has several values."""
    found = set()
    for _, experiment in results.sources:
        conditions = [config.conditions(trial.settings) for trial in experiment.trials]
        found |= {key for key in experiment.axes if len({config.format_value(of.get(key)) for of in conditions}) > 1}
    return found
