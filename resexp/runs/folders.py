"""Folders of runs/: finding, starting, extending and archiving experiments. No torch."""

import hashlib
import itertools
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from resexp import config, renamed
from resexp.config import Experiment, Plan
from resexp.runs.endings import line_endings_changed, restore_line_endings, text_sha256, write_attributes
from resexp.runs.fences import attempt_file
from resexp.runs.files import (
    TEMPORARY_FILE,
    RunsError,
    discard,
    previous_path,
    read_text,
    read_with_digest,
    write_json,
    write_text,
)
from resexp.runs.locks import is_sole_process, lock, stack_lock
from resexp.runs.records import PLAN, TRAIN_AGAIN, Launch, PairSummary, launches, pair_summaries, read_record
from resexp.runs.serialization import to_yaml
from resexp.runs.trials import has_begun, has_result, trained_settings, trial_folder, write_trial

LAYOUT = 2


# ---- experiments --------------------------------------------------------------------------------------------------------


def find(source: str | None, runs: Path) -> Path:
    """The folder of an experiment: a path, a name in `runs`, or the experiment that was started last.

    Raises:
        RunsError: no such experiment.
    """
    if source is None:
        started = [(_started(path.parent), path.parent) for path in runs.glob("*/experiment.yaml")]
        if not started:
            command = shlex.join(["resexp", "train", "digits", *([] if runs == Path("runs") else ["--runs", str(runs)])])
            raise RunsError(f"{runs}: contains no experiment yet; train one first, for example: {command}")
        return max(started)[1]
    for folder in (Path(source), runs / source):
        if (folder / "experiment.yaml").is_file():
            return folder
    names = sorted(path.parent.name for path in runs.glob("*/experiment.yaml"))
    hint = f"{runs} contains {', '.join(names)}" if names else f"{runs} contains none"
    raise RunsError(f"{source}: no experiment with that name or path; {hint}{config.did_you_mean(source, names)}")


def _started(folder: Path) -> float:
    marker = folder / "environment.json"
    return marker.stat().st_mtime if marker.exists() else 0.0


def read_experiment(folder: Path) -> Experiment:
    """The experiment that is stored in a folder.

    Raises:
        RunsError: experiment.yaml is missing or damaged, a newer resexp wrote it, or it was edited after trials were trained.
    """
    path = folder / "experiment.yaml"
    experiment = _parsed(folder)
    if path.exists() and text_sha256(path) != _recorded_sha256(folder):
        differences = _departures(folder, experiment)
        if differences:
            key, trained, stored = differences[0]
            more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
            raise RunsError(
                f"{path}: edited after training: {key} was {trained} in training and is {stored} in the file{more}; "
                f"restore {trained} in the file. To train with {stored}, pass it as an override with a new name=..."
            )
    return experiment


def _parsed(folder: Path) -> Experiment:
    header = re.match(r"# layout (\d{1,9})\n", read_text(folder / "experiment.yaml"))
    if header and int(header[1]) > LAYOUT:
        raise RunsError(
            f"{folder / 'experiment.yaml'}: written by a newer resexp (layout {header[1]}; this version reads up to {LAYOUT}); "
            "upgrade this one: pip install --upgrade resexp"
        )
    try:
        return config.load(folder / "experiment.yaml", shortcuts=None)
    except config.ConfigError as error:
        raise RunsError(f"damaged experiment: {error}; delete it and {TRAIN_AGAIN}") from None


def _recorded_sha256(folder: Path) -> str | None:
    """The digest of experiment.yaml from the last start; None if no start recorded it."""
    try:
        return launches(folder)[-1].experiment_sha256
    except RunsError:  # missing or damaged
        return None


def _departures(folder: Path, experiment: Experiment) -> list[tuple[str, Any, Any]]:
    """Differences between trained trials and the experiment: (key, trained, experiment); [] if none.

    Reads one trial of each cell, and one of those that are no longer in the experiment: the others share its settings.
    """
    expected = {trial_folder(folder, trial.name).name: trial for trial in experiment.trials}
    checked: set[tuple[str, ...] | None] = set()
    for trial_path in sorted((folder / "trials").glob("*")):
        trial = expected.get(trial_path.name)
        cell = config.cell_label(trial.settings, experiment.axes) if trial else None
        trained = _as_trained(trial_path) if cell not in checked and has_begun(trial_path) else None
        if trained:
            checked.add(cell)
            differences = config.departures(trained, experiment, trial)
            if differences:
                return differences
    return []


def _as_trained(trial_path: Path) -> config.Trial | None:
    """The settings with which a trial was trained; None if trial.yaml is missing or damaged."""
    try:
        return trained_settings(trial_path.parent.parent, trial_path.name)
    except RunsError:
        return None


def read_plan(folder: Path) -> Plan | None:
    """The execution plan in plan.json; None if there is none."""
    return read_record(folder / "plan.json", PLAN)


def begin(experiment: Experiment, folder: Path, plan: Plan, launch: Launch, summaries: Sequence[PairSummary]) -> int:
    """Writes plan, experiment, environment of this start and pair summaries, before any training.

    Unless other shards may be writing, it first removes temporary files of killed processes and restores line endings that
    git has changed. Returns the number of restored files.

    trial.yaml of every trial is written before the plan: a stack trains as planned, even if the config loses one of its trials.

    Raises:
        RunsError: the folder contains a symbolic link; another start has changed the plan since this one was prepared; trials
            were trained on other images.
    """
    check_unchanged(experiment, folder)
    try:
        earlier = launches(folder)
    except RunsError:  # missing or damaged: this start is the first entry of a new file
        earlier = []
    _check_images(folder, earlier, launch)
    existing = read_plan(folder)
    if existing and not set(existing.stacks) <= set(plan.stacks):
        raise RunsError(f"{folder}: another process has changed plan.json since this one was prepared; run the command again")
    sole, restored = is_sole_process(folder), 0
    if sole:
        remove_temporary_files(folder)
        restored = restore_line_endings(folder) if line_endings_changed(folder) else 0
    for stack in plan.stacks:  # left by a process that was killed after its last result
        if sole and all(has_result(trial_folder(folder, name)) for name in stack.trials):
            discard(checkpoint_file(folder, stack.name))
            stack_lock(folder, stack.name).unlink(missing_ok=True)
            attempt_file(folder, stack.name).unlink(missing_ok=True)
    started_before = (folder / "experiment.yaml").exists()
    for trial in experiment.trials:
        trial_path = trial_folder(folder, trial.name)
        if not (started_before or has_begun(trial_path)) or not (trial_path / "trial.yaml").exists():
            trial_path.mkdir(parents=True, exist_ok=True)
            write_trial(trial_path, trial)
    write_attributes(folder)
    write_plan(folder, plan)
    header = f"# layout {LAYOUT}\n"
    header += f"# {' '.join(experiment.question.split())}\n" if experiment.question else ""
    text = header + to_yaml(experiment.settings)
    recorded = launch.model_copy(update={"experiment_sha256": hashlib.sha256(text.encode()).hexdigest()})
    write_json(folder / "environment.json", [start.content for start in (*earlier, recorded)])
    write_json(folder / "pairs.json", [summary.content for summary in summaries])
    write_text(folder / "experiment.yaml", text)  # readers find all other files through this one
    return restored


def _check_images(folder: Path, earlier: Sequence[Launch], launch: Launch) -> None:
    trained, current = earlier[-1].data_sha256 if earlier else None, launch.data_sha256
    if trained not in (None, current) and any(map(has_begun, (folder / "trials").glob("*"))):
        raise RunsError(
            f"{folder}: trials were trained on other images (SHA-256 {trained[:12]}) than those read now ({current[:12]}); "
            f"restore the images, or add name={_free(folder).name} to train a new experiment on these"
        )


def write_plan(folder: Path, plan: Plan) -> None:
    write_json(folder / "plan.json", plan.model_dump())


def remove_temporary_files(folder: Path) -> None:
    """Removes temporary files of writes whose process was killed; the caller holds the lock.

    Raises:
        RunsError: the folder contains a symbolic link.
    """
    refuse_links(folder)
    for path in folder.rglob(".*"):
        if TEMPORARY_FILE.fullmatch(path.name):
            path.unlink()


def refuse_links(folder: Path) -> None:
    """Raises RunsError if an experiment contains a symbolic link, through which a write could leave its folder."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink():
                raise RunsError(f"{path}: is a symbolic link, and resexp does not write through links; replace or delete it")


def check_unchanged(experiment: Experiment, folder: Path) -> None:
    """Refuses an experiment that differs from the one in `folder` in more than its name, axis values and seeds.

    If experiment.yaml is missing, the trained trials are compared.

    Raises:
        RunsError: names the key, both values and the options.
    """
    if (folder / "experiment.yaml").exists():
        stored = read_experiment(folder)
        differences = config.shared_differences(stored.settings, experiment.settings, experiment.axes)
    else:
        differences = _departures(folder, experiment)
    differences = [difference for difference in differences if difference[0] != "name"]  # a folder may have been renamed
    if differences:
        key, old, new = differences[0]
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise RunsError(
            f"{folder}: {key} was {old} and is now {new}{more}: {_reason(key, experiment)}; "
            f"add name={_free(folder).name} to keep both, or --fresh to rename the old folder"
        )


def _reason(key: str, experiment: Experiment) -> str:
    """Why a key of a trained experiment cannot change."""
    if key not in ("training.epochs", "training.steps"):
        return "this is another experiment"
    if experiment.shared.training.schedule == "cosine":
        return "with training.schedule=cosine the length determines the learning rate of every step"
    return "finished trials cannot be extended because their optimizer state is not stored, only their weights"


def _free(folder: Path) -> Path:
    """The first of <folder>-2, <folder>-3, ... that does not exist."""
    return next(other for other in numbered(folder) if other != folder and not other.exists())


def numbered(folder: Path) -> Iterator[Path]:
    """The folder itself, then <folder>-2, <folder>-3, ..."""
    return (folder.with_name(f"{folder.name}-{number}") if number > 1 else folder for number in itertools.count(1))


def archive(folder: Path) -> Path | None:
    """Renames an experiment's folder to the first free <name>-old-<n>; never deletes.

    Raises:
        RunsError: another process is training there.
    """
    if not folder.exists():
        return None
    with lock(folder):
        pass
    number = 1
    while (renamed_folder := folder.with_name(f"{folder.name}-old-{number}")).exists():
        number += 1
    folder.rename(renamed_folder)
    return renamed_folder


def move_to_trash(folder: Path) -> Path:
    """Moves an experiment's folder to the first free .trash/<name>-<n> in its results folder; never deletes.

    Raises:
        RunsError: another process is training there.
    """
    with lock(folder):
        pass
    trash = folder.parent / ".trash"
    trash.mkdir(exist_ok=True)
    numbers = itertools.count(1)
    target = next(path for number in numbers if not (path := trash / f"{folder.name}-{number}").exists())
    folder.rename(target)
    return target


# ---- checkpoints and trials of an experiment ------------------------------------------------------------------------


def checkpoint_file(folder: Path, stack: str) -> Path:
    return renamed.existing(folder / "checkpoints" / f"{stack}.pt")


def damaged_checkpoints(folder: Path, stacks: Iterable[str]) -> list[str]:
    """A message for each damaged checkpoint of these stacks that has a previous one to resume from."""
    messages = []
    for path in (checkpoint_file(folder, name) for name in stacks):
        try:
            read_with_digest(path)
        except RunsError as error:
            messages += [f"{error}; its trials resume from the previous checkpoint"] if previous_path(path).exists() else []
    return messages


def orphaned_trials(folder: Path, experiment: Experiment) -> list[str]:
    """Trials in the folder that are no longer part of the experiment."""
    names = {trial_folder(folder, trial.name).name for trial in experiment.trials}
    return sorted(path.parent.name for path in folder.glob("trials/*/result.json") if path.parent.name not in names)


def is_complete(experiment: Experiment, folder: Path) -> bool:
    """Whether nothing is left to train, and another start would rewrite the same files."""
    try:
        if not (folder / "experiment.yaml").exists() or read_experiment(folder).settings != experiment.settings:
            return False
        plan = read_plan(folder)
        launches(folder)
        pair_summaries(folder)
    except RunsError:  # the next start repairs the file or reports it
        return False
    planned = {name for stack in plan.stacks for name in stack.trials} if plan else set()
    trial_paths = [trial_folder(folder, trial.name) for trial in experiment.trials]
    finished = all(has_result(trial_path) and (trial_path / "trial.yaml").exists() for trial_path in trial_paths)
    clean = not any((folder / "checkpoints").glob("*"))  # a process killed after its last result leaves its checkpoint there
    intact = clean and not line_endings_changed(folder)
    return {trial.name for trial in experiment.trials} <= planned and finished and intact
