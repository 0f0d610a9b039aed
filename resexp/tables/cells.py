"""Runs -> cells: each arm of each cell summarised, paired with its plain twin; best against best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resexp import config, runs, statistics
from resexp.config import Experiment
from resexp.runs import State
from resexp.statistics import Difference, Summary

METRICS = {
    "test_accuracy": "test accuracy of the last weights",
    "best_test_accuracy": "test accuracy of the weights with the best validation accuracy",
    "train_accuracy": "training accuracy of the last weights",
    "val_accuracy": "validation accuracy of the last weights",
}


@dataclass(frozen=True)
class Arm:
    """One arm of a cell: accuracies in [0, 1], mean slopes in decades per block, and its plain twin beside it."""

    name: str
    summary: Summary
    missing: dict[str, int]
    slope_start: float | None
    slope_end: float | None
    parameters: int | None
    difference: Difference | None


@dataclass(frozen=True)
class Cell:
    """All arms that share a network but for the shortcut, plain first."""

    label: dict[str, str]
    arms: list[Arm]


@dataclass(frozen=True)
class Best:
    """Best plain cell against best residual cell at one depth, each chosen by mean validation accuracy."""

    depth: int
    plain: str
    arm: str
    residual: str
    plain_summary: Summary
    residual_summary: Summary
    difference: Difference | None


# ---- reading ------------------------------------------------------------------------------------------------------------


def trial_rows(folder: Path, experiment: Experiment) -> tuple[list[str], list[list[Any]]]:
    """(columns, rows) of accuracy.csv: one row per finished trial, in the order of the experiment."""
    axes = [key for key in experiment.axes if key != "network.shortcut"]
    measured = [
        "outcome", "test_accuracy", "test_loss", "best_test_accuracy", "best_test_loss", "best_epoch", "train_accuracy",
        "val_accuracy", "slope_start", "slope_end", "parameters", "multiply_adds", "steps",
    ]  # fmt: skip
    rows = [
        [
            state.trial.name,
            state.trial.arm,
            *(axis_value(state.trial, key) for key in axes),
            state.trial.seed,
            *(state.result.get(key) for key in measured),
        ]
        for state in runs.states(folder, experiment)
        if state.result
    ]
    return ["trial", "arm", *(key.split(".")[1] for key in axes), "seed", *measured], rows


def axis_value(trial: config.Trial, key: str) -> Any:
    """The value of an axis such as network.depth in a trial."""
    section, name = key.split(".")
    return getattr(getattr(trial.settings, section), name)


def cells(folder: Path, experiment: Experiment, metric: str = "test_accuracy") -> list[Cell]:
    """Every cell with its arms, compared by `metric`, a key of METRICS."""
    states = {state.trial.name: state for state in runs.states(folder, experiment)}
    found = []
    for arms in config.cells(experiment.trials, experiment.axes).values():
        trials = next(iter(arms.values()))
        axes = [key for key in experiment.axes if key != "network.shortcut"]
        label = {key.split(".")[1]: config.format_value(axis_value(trials[0], key)) for key in axes}
        plain = [states[trial.name] for trial in arms.get("plain", [])]
        found.append(Cell(label, [_arm(name, [states[t.name] for t in of], plain, metric) for name, of in arms.items()]))
    return found


def _arm(name: str, states: Sequence[State], plain: Sequence[State], metric: str) -> Arm:
    results = [state.result for state in states if state.result]
    missing = [state.state for state in states if not state.result]
    return Arm(
        name=name,
        summary=_summary(states, metric),
        missing={state: missing.count(state) for state in dict.fromkeys(missing)},
        slope_start=_mean([r["slope_start"] for r in results]),
        slope_end=_mean([r["slope_end"] for r in results]),
        parameters=results[0]["parameters"] if results else None,
        difference=difference(plain, states, metric) if name != "plain" else None,
    )


def _summary(states: Sequence[State], metric: str) -> Summary:
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


def best_against_best(folder: Path, experiment: Experiment, metric: str = "test_accuracy") -> list[Best]:
    """At each depth, the best plain against the best residual cell over all other axes; chosen without the test part."""
    states = runs.states(folder, experiment)
    found = []
    for depth in dict.fromkeys(state.trial.settings.network.depth for state in states):
        groups: dict[tuple[str, str], list[State]] = {}
        for state in states:
            if state.trial.settings.network.depth == depth:
                axes = [key for key in experiment.axes if key not in ("network.shortcut", "network.depth")]
                label = ", ".join(f"{k.split('.')[1]} {config.format_value(axis_value(state.trial, k))}" for k in axes)
                groups.setdefault((state.trial.arm, label), []).append(state)
        whole = {key: members for key, members in groups.items() if all(state.result for state in members)}
        plain = _best([key for key in whole if key[0] == "plain"], whole)
        other = _best([key for key in whole if key[0] != "plain"], whole)
        if plain and other and len({label for _, label in groups}) > 1:
            a, b = whole[plain], whole[other]
            compared = difference(a, b, metric)
            found.append(Best(depth, plain[1], *other, _summary(a, metric), _summary(b, metric), compared))
    return found


def _best(keys: list[tuple[str, str]], groups: dict[tuple[str, str], list[State]]) -> tuple[str, str] | None:
    def score(key: tuple[str, str]) -> float:
        found = [(state.result or {}).get("val_accuracy") for state in groups[key]]
        return -1.0 if None in found else math.fsum(value for value in found if value is not None) / len(found)

    return max(keys, key=score, default=None)
