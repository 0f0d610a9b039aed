"""Each arm at its own best: settings chosen by mean validation accuracy, never by the figure that is compared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resexp import config
from resexp.comparison.groups import Label, difference, named, other_seeds, summary, worth
from resexp.runs import Results, State
from resexp.statistics import Difference, Summary

TIE = 1e-12
Setting = tuple[str, ...]
ALIKE, BEST = "all else equal", "each at its best"


@dataclass(frozen=True)
class Choice:
    """One arm at one setting of the tuned keys; `flags`: a tie, or a winner at the edge of the grid."""

    arm: str
    setting: Label
    summary: Summary
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tuned:
    """Plain against a residual arm in one cell: at one setting (`all else equal`), or each at its best by validation.

    No difference where outcomes are mixed or seeds are not the same ones: `unmatched` says so.
    """

    label: Label
    how: str
    plain: Choice
    residual: Choice
    difference: Difference | None
    unmatched: tuple[str, ...] = ()


def tuned(results: Results, keys: Sequence[str], metric: str = "test_accuracy") -> list[Tuned]:
    """Of every cell over all other keys and every residual arm: both at plain's best, at the arm's best, each at its best.

    keys: axes, such as lr or training.lr. A setting counts once all its trials have finished.

    Raises:
        ConfigError: a key that is no axis here, with those that are.
    """
    found: list[Tuned] = []
    keys = named(results, keys, "--tune")
    for label, arms in _by_arm(results, keys):
        for arm in arms:
            if arm != "plain" and "plain" in arms:
                found += _rows(label, keys, arms["plain"], arms[arm], metric)
    return found


def best_against_best(results: Results, metric: str = "test_accuracy") -> list[Tuned]:
    """At each depth the best plain cell against that of the best residual arm, over all other axes.

    None where experiments differ in a key that none of them varies by itself: such cells are no alternatives.
    """
    keys = [key for key in results.shown if key != "depth"]
    if not keys or _between(results) - _varied(results):
        return []
    best: dict[tuple[str, ...], tuple[float, Tuned]] = {}
    for label, arms in _by_arm(results, keys):
        for arm in arms:
            if arm != "plain" and "plain" in arms:
                rows = [row for row in _rows(label, keys, arms["plain"], arms[arm], metric) if row.how == BEST]
                score = max((of for states in arms[arm].values() if (of := worth(states)) is not None), default=-1.0)
                if rows and score > best.get(tuple(label.values()), (-2.0, rows[0]))[0]:
                    best[tuple(label.values())] = (score, rows[0])
    return [row for _, row in best.values()]


# ---- choosing -----------------------------------------------------------------------------------------------------------

Settings = dict[Setting, list[State]]


def _by_arm(results: Results, keys: Sequence[str]) -> list[tuple[Label, dict[str, Settings]]]:
    """(label over the other keys, arm -> setting of the keys -> trials); second controls are not tuned."""
    found: dict[tuple[str, ...], tuple[Label, dict[str, Settings]]] = {}
    for state in results.states:
        if state.trial.parameters_of is None:
            label = results.label(state)
            rest = {key: value for key, value in label.items() if key not in keys}
            arms = found.setdefault(tuple(rest.values()), (rest, {}))[1]
            arms.setdefault(state.trial.arm, {}).setdefault(tuple(label[key] for key in keys), []).append(state)
    return list(found.values())


def _rows(label: Label, keys: Sequence[str], plain: Settings, residual: Settings, metric: str) -> list[Tuned]:
    worths = [
        {setting: of for setting, states in arm.items() if (of := worth(states)) is not None} for arm in (plain, residual)
    ]
    if not all(worths):
        return []
    grids = [[setting for setting, states in arm.items() if all(state.result for state in states)] for arm in (plain, residual)]
    first, second = (max(of, key=lambda setting: of[setting]) for of in worths)  # the first of equals
    wanted = [(ALIKE, first, first), *([(ALIKE, second, second)] if first != second else []), (BEST, first, second)]
    rows = []
    for how, a, b in wanted:
        if a in plain and b in residual:
            flags = [_flags(keys, *chosen) if how == BEST else () for chosen in zip((a, b), worths, grids, strict=True)]
            choices = (_choice(keys, a, plain[a], metric, flags[0]), _choice(keys, b, residual[b], metric, flags[1]))
            uneven = other_seeds(plain[a], residual[b])
            compared = None if uneven else difference(plain[a], residual[b], metric)
            rows.append(Tuned(label, how, *choices, compared, uneven))
    return rows


def _choice(keys: Sequence[str], setting: Setting, states: Sequence[State], metric: str, flags: tuple[str, ...]) -> Choice:
    return Choice(states[0].trial.arm, dict(zip(keys, setting, strict=True)), summary(states, metric), flags)


def _flags(keys: Sequence[str], chosen: Setting, worths: Mapping[Setting, float], grid: Sequence[Setting]) -> tuple[str, ...]:
    """That other settings are worth as much, and which number lies at the edge of the grid, of what diverged as well."""
    ties = [setting for setting, of in worths.items() if setting != chosen and abs(of - worths[chosen]) <= TIE]
    flags = [f"ties with {len(ties)} other"] if ties else []
    for place, key in enumerate(keys):
        tried = [_number(setting[place]) for setting in grid]
        if all(number is not None for number in tried):
            numbers = sorted({number for number in tried if number is not None})
            if len(numbers) > 1 and _number(chosen[place]) in (numbers[0], numbers[-1]):
                flags.append(f"{key} at the edge of the grid")
    return tuple(flags)


def _number(text: str) -> float | None:
    try:
        return value if math.isfinite(value := float(text)) else None
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
