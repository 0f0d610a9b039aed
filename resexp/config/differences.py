"""Differences between experiments: whether one continues another, and which keys of a trained trial have changed."""

from collections.abc import Iterable
from typing import Any

from resexp.config.grid import FREE_KEYS, Experiment, flat, name_of_trial
from resexp.config.models import Trial


def shared_differences(old: dict[str, Any], new: dict[str, Any], axes: Iterable[str]) -> list[tuple[str, Any, Any]]:
    """(key, old, new) of each key that all trials share and whose value differs between two resolved settings.

    FREE_KEYS, seeds and the values of axes are ignored. A key that is an axis in only one of the settings counts as different.
    """
    ignored = {"seeds", *FREE_KEYS}
    flat_old, flat_new = dict(flat(old, "")), dict(flat(new, ""))
    differences = []
    for key in sorted(flat_old.keys() | flat_new.keys()):
        before, after = flat_old.get(key), flat_new.get(key)
        both_axes = key in axes and isinstance(before, list) and isinstance(after, list)
        if before != after and not both_axes and key not in ignored and key.split(".")[0] not in ignored:
            differences.append((key, before, after))
    return differences


def departures(trained: Trial, experiment: Experiment, expected: Trial | None) -> list[tuple[str, Any, Any]]:
    """(key, trained value, expected value) of each key in which a trained trial departs from an experiment.

    `expected` is the trial of the same name in the experiment; None if it was removed, and axis values may then differ.
    """
    trained_settings = trained.settings.model_dump(mode="json")
    settings = expected.settings.model_dump(mode="json") if expected else experiment.settings
    free_axes = () if expected else experiment.axes
    differences = [
        (key, *values) for key, *values in shared_differences(trained_settings, settings, ()) if key not in ("name", *free_axes)
    ]
    name = name_of_trial(trained.arm, trained.settings, experiment.axes, trained.seed)
    if name != trained.name and not differences:
        differences = [("trial names", trained.name, name)]
    return differences


def continues(new: Experiment, stored: Experiment) -> bool:
    """Whether an experiment includes every trial of a stored one, with the same recipe.

    They may differ in name, seeds, axis values and FREE_KEYS.
    """
    changed = {key for key, _, _ in shared_differences(stored.settings, new.settings, new.axes)}
    return changed <= {"name"} and {trial.name for trial in stored.trials} <= {trial.name for trial in new.trials}
