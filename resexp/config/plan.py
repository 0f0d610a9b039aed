"""The execution plan: all choices that affect the exact result of training, fixed before the first step."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from resexp.config.grid import Experiment, axis_tags, conditions
from resexp.config.models import Settings, Trial
from resexp.config.properties import SHORTCUT_NAMES
from resexp.config.types import Compilation, Model, TrialName
from resexp.config.variants import control_arm, shortcut_name, shortcut_properties

MAX_TRIALS_IN_STACK = {"cpu": 32, "cuda": 64, "mps": 32}  # larger stacks are hardly faster, and their results come later
# Keys that affect the initial weights and not the computation; trials of one stack may differ in them.
INITIALIZATION_KEYS = ("network.init", "network.init_scale", "network.zero_init_residual")


class Stack(Model):
    """Trials that are trained together as one stacked network, and the number of threads.

    `round` is 1 for stacks of the first plan and increases by 1 each time that trials are added to the experiment.
    """

    name: TrialName
    trials: tuple[TrialName, ...]
    threads: int
    round: int = 1


class Plan(Model):
    """plan.json: written before the first step and reused whenever training resumes."""

    device: str
    compile: Compilation
    deterministic: bool
    stacks: tuple[Stack, ...]

    @property
    def threads(self) -> int:
        return max(stack.threads for stack in self.stacks)


def make_plan(experiment: Experiment, device: str, cores: int, existing: Plan | None = None, shards: int | None = None) -> Plan:
    """The plan for an experiment on a resolved device. Stacks of an existing plan stay; new trials are appended.

    shards: the number of machines, each with `cores` cores; there are at least that many stacks, so that no machine is idle.

    Threads: an mlp of these widths is faster on one thread than on two. On two cores, two processes with two threads each take
    a hundred times as long as with one each. So an mlp has one thread, and so has every trial if stacks outnumber the cores.
    """
    planned = {trial for stack in existing.stacks for trial in stack.trials} if existing else set()
    workers = shards or (cores if device == "cpu" else 1)
    stacks = group_into_stacks([trial for trial in experiment.trials if trial.name not in planned], device, workers)
    last = max((stack.round for stack in existing.stacks), default=0) if existing else 0
    new_stacks = (
        Stack(
            name=trials[0].name,
            trials=tuple(trial.name for trial in trials),
            threads=_threads(trials[0], math.ceil(len(stacks) / (shards or 1)), device, cores),
            round=last + 1,
        )
        for trials in stacks
    )
    shared = experiment.shared
    plan = existing or Plan(device=device, compile=shared.compile, deterministic=shared.deterministic, stacks=())
    return plan.model_copy(update={"stacks": (*plan.stacks, *new_stacks)})


def group_into_stacks(trials: Sequence[Trial], device: str, workers: int) -> list[list[Trial]]:
    """The trials grouped into stacks, the most expensive stack first.

    Trials of one shape may differ in seed, initialization and constant shortcut. They are split into as few equal stacks as
    possible without leaving a worker idle.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(_shape(trial), []).append(trial)
    min_stacks = math.ceil(workers / len(groups)) if groups else 1
    stacks = [stack for group in groups.values() for stack in _split(group, device, min_stacks)]
    return sorted(stacks, key=lambda stack: -_cost(stack))


def _shape(trial: Trial) -> str:
    """A key that is equal for trials that can share a stack; a trial that is trained individually has its own.

    At depth 2 all arms are the same network. They train individually, because results in a stack may differ in the last bits.
    """
    settings = trial.settings
    trains_individually = settings.network.depth == 2 or settings.training.stack == 1 or not _fits_a_stack(trial)
    shortcut = settings.network.shortcut
    is_custom = shortcut_name(shortcut) not in SHORTCUT_NAMES
    if trains_individually or (is_custom and not shortcut_properties(shortcut).is_constant):
        return trial.name
    stack_conditions = sorted((key, value) for key, value in conditions(settings).items() if key not in INITIALIZATION_KEYS)
    has_scalars = settings.network.init == "fixup"
    return repr((stack_kind(trial), trial.parameters_of, has_scalars, stack_conditions))


def _fits_a_stack(trial: Trial) -> bool:
    """Whether a network can be stacked: every mlp; a cnn with constant or mapped shortcuts, if `training.stack` is a number."""
    settings = trial.settings
    if settings.network.family == "mlp":
        return True
    shortcut = settings.network.shortcut
    fits = shortcut_properties(shortcut).is_constant or shortcut_name(shortcut) in ("projection", "projection-all")
    return settings.training.stack != "auto" and fits and settings.network.init != "fixup"


def stack_kind(trial: Trial) -> str:
    """A key that is equal for shortcuts that can share a stack: constant shortcuts, otherwise only the same arm."""
    return "constant" if shortcut_properties(trial.settings.network.shortcut).is_constant else trial.arm


def _split(group: Sequence[Trial], device: str, min_stacks: int) -> list[list[Trial]]:
    size = group[0].settings.training.stack
    if size != "auto":
        return [list(group[start : start + size]) for start in range(0, len(group), size)]
    pieces = min(len(group), max(min_stacks, math.ceil(len(group) / MAX_TRIALS_IN_STACK[device.partition(":")[0]])))
    ends = [round(len(group) * piece / pieces) for piece in range(pieces + 1)]
    return [list(group[start:end]) for start, end in pairwise(ends)]


def _cost(trials: Sequence[Trial]) -> int:
    network = trials[0].settings.network
    return len(trials) * network.depth * network.width**2


def _threads(trial: Trial, stacks: int, device: str, cores: int) -> int:
    threads: Literal["auto"] | int = trial.settings.training.threads
    if threads != "auto":
        return threads
    if trial.settings.network.family == "mlp" or device != "cpu":
        return 1
    return max(1, cores // stacks)


def halved(plan: Plan, name: str) -> Plan:
    """The plan with one stack split into two halves, for a stack that runs out of memory."""
    (index,) = (index for index, stack in enumerate(plan.stacks) if stack.name == name)
    stack = plan.stacks[index]
    middle = len(stack.trials) // 2
    halves = (
        stack.model_copy(update={"name": trials[0], "trials": trials})
        for trials in (stack.trials[:middle], stack.trials[middle:])
    )
    return plan.model_copy(update={"stacks": (*plan.stacks[:index], *halves, *plan.stacks[index + 1 :])})


# ---- cells and pairs --------------------------------------------------------------------------------------------------


def cell_label(settings: Settings, axes: Iterable[str]) -> tuple[str, ...]:
    """The label of a cell: the tags of its axes without arm and seed, such as ('d64', 'norm-layer')."""
    return tuple(axis_tags(settings, axes).values())


def cells(trials: Sequence[Trial], axes: Iterable[str]) -> dict[tuple[str, ...], dict[str, list[Trial]]]:
    """cell -> arm -> trials by seed, in the order of the config."""
    axes = tuple(axes)
    grouped: dict[tuple[str, ...], dict[str, list[Trial]]] = {}
    for trial in trials:
        grouped.setdefault(cell_label(trial.settings, axes), {}).setdefault(trial.arm, []).append(trial)
    return grouped


def pairs(trials: Sequence[Trial], axes: Iterable[str]) -> list[tuple[Trial, Trial]]:
    """(plain trial, residual trial) for each residual trial: its plain counterpart, then its parameter-matched baseline."""
    axes = tuple(axes)
    by_key = {(trial.arm, cell_label(trial.settings, axes), trial.seed): trial for trial in trials}
    residual = {key: trial for key, trial in by_key.items() if key[0] != "plain" and trial.parameters_of is None}
    matched = []
    for (arm, cell, seed), trial in residual.items():
        counterparts = (by_key.get((name, cell, seed)) for name in ("plain", control_arm(arm)))
        matched += [(plain, trial) for plain in counterparts if plain is not None]
    return matched
