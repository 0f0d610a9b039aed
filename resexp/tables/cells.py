"""Results -> cells: each arm of each cell summarised, paired with its plain twin; best against best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resexp import config, statistics
from resexp.runs import Results, State
from resexp.statistics import Difference, Summary

METRICS = {
    "test_accuracy": "test accuracy of the last weights",
    "best_test_accuracy": "test accuracy of the weights with the best validation accuracy",
    "train_accuracy": "training accuracy of the last weights",
    "val_accuracy": "validation accuracy of the last weights",
}

Label = dict[str, str]
Group = dict[str, list[State]]  # arm -> trials


@dataclass(frozen=True)
class Arm:
    """One arm of a cell: accuracies in [0, 1], mean slopes in decades per block.

    `difference` is this arm minus its plain twin; `beyond_width` a residual arm minus its `control`, the plain network that is
    as wide as it takes to have at least as many parameters. A control that is no wider than plain is plain once more
    (`same_as_plain`) and is compared with nothing. `unmatched` says in what the plain arm that an arm is compared with differs
    beside the shortcut: without consent there is no difference then.
    """

    name: str
    summary: Summary
    missing: dict[str, int]
    slope_start: float | None
    slope_end: float | None
    parameters: int | None
    difference: Difference | None
    beyond_width: Difference | None = None
    unmatched: tuple[str, ...] = ()
    control: bool = False
    same_as_plain: bool = False


@dataclass(frozen=True)
class Cell:
    """All arms that share a network but for the shortcut, plain first."""

    label: Label
    arms: list[Arm]


@dataclass(frozen=True)
class Best:
    """Best plain cell against best residual cell at one depth, each chosen by mean validation accuracy.

    No difference where their seeds are not the same ones: `unmatched` says so.
    """

    depth: int
    plain: str
    arm: str
    residual: str
    plain_summary: Summary
    residual_summary: Summary
    difference: Difference | None
    unmatched: tuple[str, ...] = ()


# ---- reading ------------------------------------------------------------------------------------------------------------


def trial_rows(results: Results) -> tuple[list[str], list[list[Any]]]:
    """(columns, rows) of accuracy.csv: one row per finished trial, in the order of the experiment."""
    measured = [
        "outcome", "test_accuracy", "test_loss", "best_test_accuracy", "best_test_loss", "best_epoch", "train_accuracy",
        "val_accuracy", "slope_start", "slope_end", "parameters", "multiply_adds", "steps",
    ]  # fmt: skip
    rows = [
        [
            state.trial.name,
            state.trial.arm,
            *(state.conditions.get(key) for key in results.axes),
            state.trial.seed,
            *(state.result.get(key) for key in measured),
        ]
        for state in results.states
        if state.result
    ]
    return ["trial", "arm", *results.columns, "seed", *measured], rows


def groups(results: Results) -> list[tuple[Label, Group]]:
    """(label, arm -> trials) of each cell, in the order in which they were written; plain comes first."""
    found: dict[tuple[str, ...], tuple[Label, Group]] = {}
    for state in results.states:
        label = results.label(state)
        arms = found.setdefault(tuple(label.values()), (label, {}))[1]
        arms.setdefault(state.trial.arm, []).append(state)
    return [(label, dict(sorted(arms.items(), key=lambda arm: arm[0] != "plain"))) for label, arms in found.values()]


def cells(results: Results, metric: str = "test_accuracy", *, unmatched: bool = False) -> list[Cell]:
    """Every cell with its arms, compared by `metric`, a key of METRICS; arms that are no pair only if `unmatched`."""
    found = groups(results)
    everybody = [(label, arms["plain"]) for label, arms in found if "plain" in arms]
    return [
        Cell(label, [_arm(label, name, arms, everybody, metric, unmatched=unmatched) for name in arms]) for label, arms in found
    ]


def _arm(
    label: Label, name: str, arms: Group, everybody: Sequence[tuple[Label, list[State]]], metric: str, *, unmatched: bool
) -> Arm:
    states = arms[name]
    results = [state.result for state in states if state.result]
    missing = [state.state for state in states if not state.result]
    plain, differing = _twin(label, states, arms.get("plain"), everybody) if name != "plain" else ([], ())
    control = arms.get(config.control_arm(name), [])
    again = _is_plain(states, arms)
    uneven = _seeds(control) != _seeds(states)
    return Arm(
        name=name,
        summary=summary(states, metric),
        missing={state: missing.count(state) for state in dict.fromkeys(missing)},
        slope_start=_mean([r["slope_start"] for r in results]),
        slope_end=_mean([r["slope_end"] for r in results]),
        parameters=_parameters(states),
        difference=difference(plain, states, metric) if not again and (unmatched or not differing) else None,
        beyond_width=None if _is_plain(control, arms) or (uneven and not unmatched) else difference(control, states, metric),
        unmatched=differing,
        control=_is_control(states),
        same_as_plain=again,
    )


def _is_control(states: Sequence[State]) -> bool:
    return any(state.trial.parameters_of is not None for state in states)


def _is_plain(states: Sequence[State], arms: Group) -> bool:
    """Whether an arm is a second control that came out no wider than the plain twin, for want of parameters to match."""
    return _is_control(states) and _parameters(states) == _parameters(arms.get("plain", [])) is not None


def _parameters(states: Sequence[State]) -> int | None:
    return next((state.result["parameters"] for state in states if state.result), None)


def _seeds(states: Sequence[State]) -> set[int]:
    return {state.trial.seed for state in states}


def _twin(
    label: Label, states: Sequence[State], plain: list[State] | None, everybody: Sequence[tuple[Label, list[State]]]
) -> tuple[list[State], tuple[str, ...]]:
    """(plain trials, what they differ in beside the shortcut): those of the cell, else those that differ least."""
    if plain is None and not everybody:
        return [], ()
    # of equally near ones the first by label, whatever the order of the folders
    nearness = [(len(_unequal(label, other)), list(other.values()), place) for place, (other, _) in enumerate(everybody)]
    there, nearest = (label, plain) if plain else everybody[min(nearness)[2]]
    differing = [f"{key} {there[key]} and {label[key]}" for key in _unequal(label, there)]
    return nearest, (*differing, *_other_seeds(nearest, states))


def _other_seeds(plain: Sequence[State], residual: Sequence[State]) -> tuple[str, ...]:
    """'seeds 0, 1 and 0, 1, 2', nothing where they are the same."""
    words = [", ".join(map(str, sorted(_seeds(of)))) for of in (plain, residual)]
    return () if words[0] == words[1] else (f"seeds {words[0]} and {words[1]}",)


def _unequal(label: Label, other: Label) -> list[str]:
    return [key for key in label if label[key] != other[key]]


def summary(states: Sequence[State], metric: str) -> Summary:
    """How the trials of one arm ended, and their values of `metric`."""
    results = [state.result for state in states if state.result]
    return statistics.summarise([r["outcome"] for r in results], [r.get(metric) for r in results])


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(present) / len(present) if present else None


def difference(plain: Sequence[State], residual: Sequence[State], metric: str) -> Difference | None:
    """Residual minus plain over the seeds that both finished; None where either arm mixes outcomes or diverged."""
    twins = {state.trial.seed: state.result for state in plain if state.result}
    pairs = [(twins[s.trial.seed], s.result) for s in residual if s.result and s.trial.seed in twins]
    for arm in zip(*pairs, strict=True):
        if len({r["outcome"] for r in arm}) > 1 or any(r.get(metric) is None for r in arm):
            return None
    return statistics.paired([b[metric] - a[metric] for a, b in pairs]) if pairs else None


# ---- best against best ------------------------------------------------------------------------------------------------


def best_against_best(results: Results, metric: str = "test_accuracy") -> list[Best]:
    """At each depth, the best plain against the best residual cell over all other axes; chosen without the test part.

    None where experiments differ in a key that none of them varies by itself: such cells are no alternatives.
    """
    found: list[Best] = []
    if _differing(results) - _varied(results):
        return found
    for depth in dict.fromkeys(state.trial.settings.network.depth for state in results.states):
        here: dict[tuple[str, str], list[State]] = {}
        for state in results.states:
            if state.trial.settings.network.depth == depth and state.trial.parameters_of is None:
                words = (f"{key} {value}" for key, value in results.label(state).items() if key != "depth")
                here.setdefault((state.trial.arm, ", ".join(words)), []).append(state)
        whole = {key: members for key, members in here.items() if all(state.result for state in members)}
        plain = _best([key for key in whole if key[0] == "plain"], whole)
        other = _best([key for key in whole if key[0] != "plain"], whole)
        if plain and other and len({words for _, words in here}) > 1:
            a, b = whole[plain], whole[other]
            uneven = _other_seeds(a, b)
            compared = None if uneven else difference(a, b, metric)
            found.append(Best(depth, plain[1], *other, summary(a, metric), summary(b, metric), compared, uneven))
    return found


def _differing(results: Results) -> set[str]:
    """The axes but the depth of which the cells have several values."""
    labels = [dict(zip(results.axes, results.label(state).values(), strict=True)) for state in results.states]
    return {key for key in results.axes if key != "network.depth" and len({label[key] for label in labels}) > 1}


def _varied(results: Results) -> set[str]:
    """The keys of which one experiment alone has several values."""
    found = set()
    for _, experiment in results.sources:
        conditions = [config.conditions(trial.settings) for trial in experiment.trials]
        found |= {key for key in experiment.axes if len({config.format_value(of.get(key)) for of in conditions}) > 1}
    return found


def _best(keys: list[tuple[str, str]], groups: dict[tuple[str, str], list[State]]) -> tuple[str, str] | None:
    def score(key: tuple[str, str]) -> float:
        found = [(state.result or {}).get("val_accuracy") for state in groups[key]]
        return -1.0 if None in found else math.fsum(value for value in found if value is not None) / len(found)

    return max(keys, key=score, default=None)
