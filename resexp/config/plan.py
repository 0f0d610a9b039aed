"""The plan: everything that decides how bits come out, fixed by rule before the first step."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from resexp.config.grid import Experiment, axis_tags, conditions
from resexp.config.models import Settings, Trial
from resexp.config.shortcut_parameters import SHORTCUT_NAMES, control_arm, shortcut_name
from resexp.config.types import Model, TrialName

MOST = {"cpu": 32, "cuda": 64, "mps": 32}  # trials in a stack; more are hardly faster and hold their results back longer
INITIALIZATION_KEYS = (
    "network.init",
    "network.init_scale",
    "network.zero_init_residual",
)  # decide where a trial starts, not what a stack computes
CONSTANT = ("plain", "identity", "scaled")  # shortcuts that a stack carries as two numbers per trial


class Stack(Model):
    """Trials that train together as one stacked network, and the threads that they may use.

    `round` counts the times that the experiment has grown: what was planned first is of round 1.
    """

    name: TrialName
    trials: tuple[TrialName, ...]
    threads: int
    round: int = 1


class Plan(Model):
    """plan.json: written before the first step and followed by every resume."""

    device: str
    compile: bool
    deterministic: bool
    stacks: tuple[Stack, ...]

    @property
    def threads(self) -> int:
        return max(stack.threads for stack in self.stacks)


def make_plan(experiment: Experiment, device: str, cores: int, existing: Plan | None = None, shards: int | None = None) -> Plan:
    """The plan for an experiment on a resolved device; what an existing plan says stands, new trials are appended.

    Of `shards` machines with so many cores each none is idle either: so many stacks there are then, whatever the cores.

    Threads: an mlp of these widths is faster on one thread than on two, and two processes of two threads on two cores
    take a hundred times as long as one each; so one thread for every mlp and wherever stacks outnumber the cores.
    """
    planned = {trial for stack in existing.stacks for trial in stack.trials} if existing else set()
    places = shards or (cores if device == "cpu" else 1)
    stacks = stacked([trial for trial in experiment.trials if trial.name not in planned], device, places)
    last = max((stack.round for stack in existing.stacks), default=0) if existing else 0
    fresh = (
        Stack(
            name=of[0].name,
            trials=tuple(trial.name for trial in of),
            threads=_threads(of[0], math.ceil(len(stacks) / (shards or 1)), device, cores),
            round=last + 1,
        )
        for of in stacks
    )
    shared = experiment.shared
    plan = existing or Plan(device=device, compile=shared.compile, deterministic=shared.deterministic, stacks=())
    return plan.model_copy(update={"stacks": (*plan.stacks, *fresh)})


def stacked(trials: Sequence[Trial], device: str, places: int) -> list[list[Trial]]:
    """The trials by stack, the most expensive first.

    Those of one shape are cut into as few equal stacks as leave no place to train at idle: seeds, starts and constant
    shortcuts stand side by side.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(_shape(trial), []).append(trial)
    idle = math.ceil(places / len(groups)) if groups else 1
    found = [part for group in groups.values() for part in _cut(group, device, idle)]
    return sorted(found, key=lambda of: -_cost(of))


def _shape(trial: Trial) -> str:
    """Equal for trials that one stack can hold; a trial that trains alone has its own.

    At depth 2 all arms are one network; alone they stay so to the last bit, which places in a stack do not promise.
    """
    settings = trial.settings
    alone = settings.network.family != "mlp" or settings.network.depth == 2 or settings.training.stack == 1
    if alone or shortcut_name(settings.network.shortcut) not in SHORTCUT_NAMES:
        return trial.name
    computed = sorted((key, value) for key, value in conditions(settings).items() if key not in INITIALIZATION_KEYS)
    return repr((stack_kind(trial), trial.parameters_of, settings.network.init == "fixup", computed))  # fixup brings scalars


def stack_kind(trial: Trial) -> str:
    """Equal for shortcuts that a stack can hold side by side: the constant ones, or one with itself."""
    return "constant" if shortcut_name(trial.settings.network.shortcut) in CONSTANT else trial.arm


def _cut(group: Sequence[Trial], device: str, idle: int) -> list[list[Trial]]:
    size = group[0].settings.training.stack
    if size != "auto":
        return [list(group[start : start + size]) for start in range(0, len(group), size)]
    pieces = min(len(group), max(idle, math.ceil(len(group) / MOST[device.partition(":")[0]])))
    ends = [round(len(group) * piece / pieces) for piece in range(pieces + 1)]
    return [list(group[start:end]) for start, end in pairwise(ends)]


def _cost(trials: Sequence[Trial]) -> int:
    network = trials[0].settings.network
    return len(trials) * network.depth * network.width**2


def _threads(trial: Trial, stacks: int, device: str, cores: int) -> int:
    asked: Literal["auto"] | int = trial.settings.training.threads
    if asked != "auto":
        return asked
    if trial.settings.network.family == "mlp" or device != "cpu":
        return 1
    return max(1, cores // stacks)


def halved(plan: Plan, name: str) -> Plan:
    """The plan with one stack as two of half its size: what is left to do when its memory does not suffice."""
    (place,) = (place for place, stack in enumerate(plan.stacks) if stack.name == name)
    whole = plan.stacks[place]
    middle = len(whole.trials) // 2
    parts = (whole.trials[:middle], whole.trials[middle:])
    halves = (whole.model_copy(update={"name": of[0], "trials": of}) for of in parts)
    return plan.model_copy(update={"stacks": (*plan.stacks[:place], *halves, *plan.stacks[place + 1 :])})


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


def with_rounds(pair_summaries: Sequence[dict[str, Any]], experiment: Experiment, plan: Plan) -> list[dict[str, Any]]:
    """Each card with its rounds: which seeds an experiment had at first, and which came each time that it grew."""
    of_trials = {trial: stack.round for stack in plan.stacks for trial in stack.trials}
    found: dict[tuple[str, str, str], dict[int, list[int]]] = {}
    for plain, residual in pairs(experiment.trials, experiment.axes):
        pair = (" ".join(cell_label(plain.settings, experiment.axes)), plain.arm, residual.arm)
        complete = max(of_trials[trial.name] for trial in (plain, residual))
        found.setdefault(pair, {}).setdefault(complete, []).append(residual.seed)
    keys = [(pair_summary["cell"], pair_summary["plain"], pair_summary["residual"]) for pair_summary in pair_summaries]
    each = [[{"round": n, "seeds": seeds} for n, seeds in sorted(found.get(key, {}).items())] for key in keys]
    return [{**pair_summary, "rounds": rounds} for pair_summary, rounds in zip(pair_summaries, each, strict=True)]
