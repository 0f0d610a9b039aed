"""What of an experiment is trained again: whole stacks, by the plan by which they were trained before. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resexp import config, runs
from resexp.config import ConfigError, Experiment, Plan, Trial
from resexp.reproduction.verdicts import READ
from resexp.runs import RunsError, TrialRecord

FOLDER = "_again"  # where repetitions lie in a results folder: no experiment can have that name


@dataclass(frozen=True)
class Original:
    """What is trained again: whole stacks, as they were planned. `damaged` are trials that cannot be compared."""

    experiment: Experiment
    plan: Plan
    damaged: tuple[TrialRecord, ...]


def original(folder: Path, named: Sequence[str] = ()) -> Original:
    """The stacks with finished trials, or with the `named` ones, and every trial of theirs.

    Raises:
        RunsError: a damaged folder; nothing finished; shortcuts that do not come with resexp.
        ConfigError: no finished trial of that name.
    """
    experiment = runs.read_experiment(folder)
    used = {config.shortcut_name(trial.settings.network.shortcut) for trial in experiment.trials}
    if foreign := sorted(used - set(config.SHORTCUT_NAMES)):
        raise RunsError(
            f"{folder}: {foreign[0]} does not come with resexp; only the program that brought it can train it again"
        )
    records = runs.trial_records(folder, experiment, READ)
    plan = _plan(folder, _wanted(folder, records, named))
    trials = _trials(folder, experiment, plan)
    names = {trial.name for trial in trials}
    damaged = (record for record in records if record.state == "damaged" and (not named or record.trial.name in names))
    return Original(replace(experiment, trials=trials), plan, tuple(damaged))


def _wanted(folder: Path, records: Sequence[TrialRecord], named: Sequence[str]) -> set[str]:
    finished = [record.trial.name for record in records if record.result]
    for name in named:
        if name not in finished:
            raise ConfigError(
                f"{name!r} is no finished trial of {folder}{config.did_you_mean(name, finished)}", where="--trial"
            )
    if not finished:
        reasons = [f" ({record.reason})" for record in records if record.state == "damaged"]
        raise RunsError(f"{folder}: no trial is finished, so there is nothing to train again{''.join(reasons[:1])}")
    return set(named or finished)


def _plan(folder: Path, wanted: set[str]) -> Plan:
    plan = runs.read_plan(folder)
    planned = {name for stack in plan.stacks for name in stack.trials} if plan else set()
    if plan is None or wanted - planned:
        name = min(wanted - planned)
        raise RunsError(f"{folder / 'plan.json'}: {name} is not in it, and nothing else says how it was trained")
    return plan.model_copy(update={"stacks": tuple(stack for stack in plan.stacks if wanted & set(stack.trials))})


def _trials(folder: Path, experiment: Experiment, plan: Plan) -> tuple[Trial, ...]:
    """Every trial of the plan's stacks: those of the config, then those that it has lost, from their trial.yaml."""
    planned = dict.fromkeys(name for stack in plan.stacks for name in stack.trials)
    known = {trial.name: trial for trial in experiment.trials if trial.name in planned}
    for name in [name for name in planned if name not in known]:
        lost = runs.trained_settings(folder, name)
        if lost is None or lost.name != name:
            fault = "is missing" if lost is None else "is that of another trial"
            raise RunsError(f"{folder}: trial.yaml of {name} {fault}; others were trained in one stack with it")
        known[name] = lost
    return tuple(known.values())


def continued(again: Path, experiment: Experiment, plan: Plan) -> Plan:
    """The plan of a repetition that may have begun: what its own says stands, stacks that it lacks are added.

    Raises:
        RunsError: another experiment or another plan is repeated there.
    """
    own = runs.read_plan(again)
    if own is None:
        return plan
    stored = runs.read_experiment(again).settings if (again / "experiment.yaml").exists() else experiment.settings
    reasons = [
        f"{key} is {old} there and {new} here"
        for key, old, new in config.shared_differences(stored, experiment.settings, experiment.axes)
    ]
    for stack, other in ((set(a.trials), set(b.trials)) for a in own.stacks for b in plan.stacks):
        reasons += [f"{min(stack & other)} is in another stack there"] if stack & other and not stack <= other else []
    if reasons:
        raise RunsError(f"{again}: repeats something else ({reasons[0]}); --fresh sets it aside, --runs names another place")
    planned = {name for stack in own.stacks for name in stack.trials}
    added = (stack for stack in plan.stacks if not planned & set(stack.trials))
    return own.model_copy(update={"stacks": (*own.stacks, *added)})
