"""Folders of runs/: experiments, their trials, and where each of them stands. No torch."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import filelock

from resexp import config
from resexp.config import Experiment, Plan
from resexp.runs.files import BESIDE, SEALED, Cell, RunsError, format_cell, sha256, to_yaml, write_json, write_text
from resexp.runs.records import read_record, starts

LAYOUT = 1


# ---- experiments --------------------------------------------------------------------------------------------------------


def find(source: str | None, runs: Path) -> Path:
    """The folder of an experiment: a path, a name in `runs`, or the one that was started last.

    Raises:
        RunsError: nothing there.
    """
    if source is None:
        started = [(_started(path.parent), path.parent) for path in runs.glob("*/experiment.yaml")]
        if not started:
            raise RunsError(f"{runs}: no experiment yet; train one first, for example: resexp train digits")
        return max(started)[1]
    for folder in (Path(source), runs / source):
        if (folder / "experiment.yaml").is_file():
            return folder
    names = sorted(path.parent.name for path in runs.glob("*/experiment.yaml"))
    hint = f"{runs} holds {', '.join(names)}" if names else f"{runs} holds none"
    raise RunsError(f"{source}: no experiment of that name or path; {hint}{config.nearest(source, names)}")


def _started(folder: Path) -> float:
    marker = folder / "environment.json"
    return marker.stat().st_mtime if marker.exists() else 0.0


def read_experiment(folder: Path) -> Experiment:
    """The experiment as its folder has it.

    Raises:
        RunsError: experiment.yaml is missing or damaged.
    """
    try:
        return config.load(folder / "experiment.yaml", shortcuts=None)
    except config.ConfigError as error:
        raise RunsError(f"damaged experiment: {error}") from None


def read_plan(folder: Path) -> Plan | None:
    """plan.json, None while there is none."""
    found = read_record(folder / "plan.json")
    return found and Plan.model_validate_json(json.dumps(found))


def lock(folder: Path) -> filelock.BaseFileLock:
    """Holds the experiment for one writer; release it or leave its `with`.

    Raises:
        RunsError: another process writes there.
    """
    held = filelock.FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except filelock.Timeout:
        raise RunsError(f"{folder}: another resexp is training here; wait for it, or choose another name=...") from None
    except OSError as error:
        raise RunsError(f"{folder}: cannot be written ({error.strerror}); choose another place with --runs") from None
    return held


def begin(experiment: Experiment, folder: Path, plan: Plan, start: dict[str, Any], cards: list[dict[str, Any]]) -> None:
    """Writes plan, experiment, this start's environment and the cards of the pairs, before anything is trained."""
    sweep(folder)
    write_json(folder / "plan.json", plan.model_dump())
    header = f"# layout {LAYOUT}\n"
    header += f"# {' '.join(experiment.question.split())}\n" if experiment.question else ""
    write_text(folder / "experiment.yaml", header + to_yaml(experiment.settings))
    try:
        earlier = starts(folder)
    except RunsError:  # missing or damaged: this start is the first of a new file
        earlier = []
    write_json(folder / "environment.json", [*earlier, start])
    write_json(folder / "pairs.json", cards)


def sweep(folder: Path) -> None:
    """Removes what a write left beside its file when its process was killed; the caller holds the lock."""
    for path in folder.rglob(".*"):
        if BESIDE.fullmatch(path.name):
            path.unlink()


def check_unchanged(experiment: Experiment, folder: Path) -> None:
    """Refuses an experiment that differs from the one in `folder` in more than axis values and seeds.

    Raises:
        RunsError: names the key, both values and the line to type.
    """
    if not (folder / "experiment.yaml").exists():
        return
    stored = read_experiment(folder)
    differences = config.shared_differences(stored.settings, experiment.settings, experiment.axes)
    if differences:
        key, old, new = differences[0]
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise RunsError(
            f"{folder}: {key} was {old} and is now {new}{more}: that is another experiment; "
            f"type name={experiment.name}-2 to keep both, or --fresh to set the old one aside"
        )


def set_aside(folder: Path) -> Path | None:
    """Renames an experiment's folder to the first free <name>-old-<n>; never deletes.

    Raises:
        RunsError: another process is training there.
    """
    if not folder.exists():
        return None
    lock(folder).release()
    number = 1
    while (aside := folder.with_name(f"{folder.name}-old-{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside


# ---- trials ---------------------------------------------------------------------------------------------------------------


def trial_folder(folder: Path, trial: str) -> Path:
    return folder / "trials" / trial


def checkpoint_file(folder: Path, cohort: str) -> Path:
    return folder / "checkpoints" / f"{cohort}.pt"


def read_trial(folder: Path, name: str) -> config.Trial | None:
    """A trial as it was when it began; None if it never did.

    Raises:
        RunsError: damaged.
    """
    path = trial_folder(folder, name) / "trial.yaml"
    if not path.exists():
        return None
    try:
        return config.Trial.model_validate(config.read_document(path)[0])
    except (config.ConfigError, ValueError) as error:
        raise RunsError(f"{path}: damaged ({error})") from None


def set_status(trial: Path, state: str, **more: Cell) -> None:
    """status.json: state (running, finished, interrupted, failed), when, and how far."""
    stamp = {"state": state, "process": os.getpid(), "time": round(time.time(), 3), **more}
    write_json(trial / "status.json", stamp, durable=False)


def set_failed(trial: Path, reason: str) -> None:
    """Marks a trial that could not be run; its folder may not exist yet."""
    trial.mkdir(parents=True, exist_ok=True)
    set_status(trial, "failed", reason=reason)


def status(trial: Path) -> dict[str, Any]:
    """status.json, that of a trial that waits where there is none."""
    return read_record(trial / "status.json") or {"state": "waiting"}


def result(trial: Path) -> dict[str, Any] | None:
    """result.json of a finished trial, None of any other."""
    found: dict[str, Any] | None = read_record(trial / "result.json")
    return found


def clear(trial: Path) -> None:
    """Empties a trial's folder before it is trained from the start."""
    if trial.exists():
        shutil.rmtree(trial)
    trial.mkdir(parents=True)


def finish(trial: Path, values: dict[str, Any]) -> None:
    """Writes result.json with the SHA-256 of the finished files; from now on the trial is finished."""
    digests = {name: sha256(trial / name) for name in SEALED if (trial / name).exists()}
    rounded = {key: float(format_cell(v)) if isinstance(v, float) else v for key, v in values.items()}
    write_json(trial / "result.json", {**rounded, "sha256": digests})
    set_status(trial, "finished", step=values["steps"], steps=values["steps"])


def left_out(folder: Path, experiment: Experiment) -> list[str]:
    """Trials that lie in the folder but are no longer part of the experiment."""
    names = {trial.name for trial in experiment.trials}
    return sorted(path.parent.name for path in folder.glob("trials/*/result.json") if path.parent.name not in names)
