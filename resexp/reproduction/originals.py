"""The part of an experiment that is retrained: whole stacks, with their original execution plan. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resexp import config, runs
from resexp.config import ConfigError, Experiment, Plan, Trial
from resexp.reproduction.verdicts import COMPARED_FILES
from resexp.runs import RunsError, Track, TrialRecord

FOLDER = "_again"  # the subfolder of a results folder for reproductions; no experiment can have this name


@dataclass(frozen=True)
class Original:
    """The stacks to retrain, as originally planned. `damaged` contains trials that cannot be compared."""

    experiment: Experiment
    plan: Plan
    damaged: tuple[TrialRecord, ...]


def original(folder: Path, named: Sequence[str] = (), track: Track = iter) -> Original:
    """The stacks that contain finished trials, or the `named` trials, with all of their trials; `track` as in `compare`.

    Raises:
        RunsError: the folder is damaged; no trial has finished; a shortcut is not part of resexp.
        ConfigError: no finished trial has that name.
    """
    experiment = runs.read_experiment(folder)
    used = {config.shortcut_name(trial.settings.network.shortcut) for trial in experiment.trials}
    if custom := sorted(used - set(config.SHORTCUT_NAMES) - config.CUSTOM_NAMES.get("shortcut", set())):
        raise RunsError(f"{folder}: {custom[0]} is not part of resexp; add --import with the file that defines it")
    records = runs.trial_records(folder, experiment, COMPARED_FILES, track)
    plan = _plan(folder, _selected(folder, records, named))
    trials = _trials(folder, experiment, plan)
    names = {trial.name for trial in trials}
    damaged = (record for record in records if record.state == "damaged" and (not named or record.trial.name in names))
    return Original(replace(experiment, trials=trials), plan, tuple(damaged))


def _selected(folder: Path, records: Sequence[TrialRecord], named: Sequence[str]) -> set[str]:
    finished = [record.trial.name for record in records if record.result]
    for name in named:
        if name not in finished:
            raise ConfigError(
                f"{name!r} is not a finished trial of {folder}{config.did_you_mean(name, finished)}", where="--trial"
            )
    if not finished:
        reasons = [f" ({record.reason})" for record in records if record.state == "damaged"]
        raise RunsError(f"{folder}: no trial has finished, so there is nothing to reproduce{''.join(reasons[:1])}")
    return set(named or finished)


def _plan(folder: Path, selected: set[str]) -> Plan:
    plan = runs.read_plan(folder)
    planned = {name for stack in plan.stacks for name in stack.trials} if plan else set()
    if plan is None or selected - planned:
        name = min(selected - planned)
        raise RunsError(
            f"{folder / 'plan.json'}: does not contain {name}, and no other file records its stack; "
            "restore plan.json, or name other trials with --trial"
        )
    return plan.model_copy(update={"stacks": tuple(stack for stack in plan.stacks if selected & set(stack.trials))})


def _trials(folder: Path, experiment: Experiment, plan: Plan) -> tuple[Trial, ...]:
    """Every trial of the plan's stacks: first those in the config; all others are read from trial.yaml."""
    planned = dict.fromkeys(name for stack in plan.stacks for name in stack.trials)
    known = {trial.name: trial for trial in experiment.trials if trial.name in planned}
    for name in [name for name in planned if name not in known]:
        trial = runs.trained_settings(folder, name)
        if trial is None or trial.name != name:
            fault = "is missing" if trial is None else "belongs to another trial"
            raise RunsError(
                f"{folder}: trial.yaml of {name} {fault}; restore it, because the other trials of its stack need it"
            )
        known[name] = trial
    return tuple(known.values())


def continued_plan(rerun: Path, experiment: Experiment, plan: Plan) -> Plan:
    """The plan of a reproduction that may have begun: its existing plan, extended by the missing stacks.

    Raises:
        RunsError: the folder contains the reproduction of another experiment or another plan.
    """
    existing = runs.read_plan(rerun)
    if existing is None:
        return plan
    stored = runs.read_experiment(rerun).settings if (rerun / "experiment.yaml").exists() else experiment.settings
    reasons = [
        f"{key} is {old} there and {new} in the original"
        for key, old, new in config.shared_differences(stored, experiment.settings, experiment.axes)
    ]
    for stack, other in ((set(a.trials), set(b.trials)) for a in existing.stacks for b in plan.stacks):
        reasons += [f"{min(stack & other)} is in another stack there"] if stack & other and not stack <= other else []
    if reasons:
        raise RunsError(
            f"{rerun}: is a reproduction of something else ({reasons[0]}); "
            "add --fresh to rename it, or choose another folder with --runs"
        )
    planned = {name for stack in existing.stacks for name in stack.trials}
    added = (stack for stack in plan.stacks if not planned & set(stack.trials))
    return existing.model_copy(update={"stacks": (*existing.stacks, *added)})
