"""The plan: everything that decides how bits come out, fixed by rule before the first step."""

from collections.abc import Iterable, Sequence
from typing import Literal

from resexp.config.arms import control_arm
from resexp.config.grid import Experiment, axis_tags
from resexp.config.models import Settings, Trial
from resexp.config.types import Model


class Cohort(Model):
    """Trials that train together, and the threads that they may use."""

    name: str
    trials: tuple[str, ...]
    threads: int


class Plan(Model):
    """plan.json: written before the first step and followed by every resume."""

    device: str
    compile: bool
    deterministic: bool
    cohorts: tuple[Cohort, ...]

    @property
    def threads(self) -> int:
        return max(cohort.threads for cohort in self.cohorts)


def make_plan(experiment: Experiment, device: str, cores: int, existing: Plan | None = None) -> Plan:
    """The plan for an experiment on a resolved device; what an existing plan says stands, new trials are appended.

    Threads: an mlp of these widths is faster on one thread than on two, and two processes of two threads on two cores
    take a hundred times as long as one each; so one thread for every mlp and wherever trials outnumber the cores.
    """
    planned = {trial for cohort in existing.cohorts for trial in cohort.trials} if existing else set()
    fresh = [trial for trial in experiment.trials if trial.name not in planned]
    cohorts = existing.cohorts if existing else ()
    cohorts += tuple(
        Cohort(name=trial.name, trials=(trial.name,), threads=_threads(trial, len(experiment.trials), device, cores))
        for trial in fresh
    )
    if existing:
        return existing.model_copy(update={"cohorts": cohorts})
    shared = experiment.shared
    return Plan(device=device, compile=shared.compile, deterministic=shared.deterministic, cohorts=cohorts)


def _threads(trial: Trial, trials: int, device: str, cores: int) -> int:
    asked: Literal["auto"] | int = trial.settings.training.threads
    if asked != "auto":
        return asked
    if trial.settings.network.family == "mlp" or device != "cpu":
        return 1
    return max(1, cores // trials)


# ---- cells and pairs: how trials are read side by side ----------------------------------------------------------------


def cell_label(settings: Settings, axes: Iterable[str]) -> tuple[str, ...]:
    """What names a cell: the tags of its axes without arm and seed, such as ('d64', 'norm-layer')."""
    return tuple(axis_tags(settings, axes).values())


def cells(trials: Sequence[Trial], axes: Iterable[str]) -> dict[tuple[str, ...], dict[str, list[Trial]]]:
    """cell -> arm -> trials by seed, in the order in which they were written."""
    axes = tuple(axes)
    grouped: dict[tuple[str, ...], dict[str, list[Trial]]] = {}
    for trial in trials:
        grouped.setdefault(cell_label(trial.settings, axes), {}).setdefault(trial.arm, []).append(trial)
    return grouped


def pairs(trials: Sequence[Trial], axes: Iterable[str]) -> list[tuple[Trial, Trial]]:
    """(plain twin, residual trial) for every residual trial that has one; then (second control, it) where there is one."""
    axes = tuple(axes)
    placed = {(trial.arm, cell_label(trial.settings, axes), trial.seed): trial for trial in trials}
    residual = {place: trial for place, trial in placed.items() if place[0] != "plain" and trial.parameters_of is None}
    found = []
    for (arm, cell, seed), trial in residual.items():
        twins = (placed.get((name, cell, seed)) for name in ("plain", control_arm(arm)))
        found += [(twin, trial) for twin in twins if twin is not None]
    return found
