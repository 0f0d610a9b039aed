"""Examination of results folders: damaged files, and how to repair them. Changes nothing. No torch."""

from collections.abc import Callable, Iterator
from pathlib import Path

from resexp.runs.files import LOGS, RunsError, previous_path, read_rows, read_with_digest
from resexp.runs.folders import checkpoint_file, read_experiment, read_plan, refuse_links
from resexp.runs.records import guesses, launches, pair_summaries
from resexp.runs.trials import check_digests, has_result, read_trial, result, status


def experiments(runs: Path) -> list[Path]:
    """The folders in `runs` in which an experiment was started; `runs` itself, if it is one."""
    markers = ("plan.json", "experiment.yaml", "trials")
    return [folder for folder in (runs, *sorted(runs.glob("*"))) if any((folder / name).exists() for name in markers)]


def examine(folder: Path) -> list[str]:
    """One line for each damaged file in an experiment's folder: the file, the damage, and how to repair it."""
    faults = [
        line
        for check in (refuse_links, read_experiment, read_plan, launches, pair_summaries, guesses)
        for line in _faults(check, folder)
    ]
    for trial_path in sorted(path for path in (folder / "trials").glob("*") if path.is_dir()):
        faults += [*_faults(read_trial, folder, trial_path.name), *_faults(status, trial_path)]
        faults += _finished(trial_path) if has_result(trial_path) else _unfinished(trial_path)
    return [*faults, *_checkpoints(folder)]


def _faults(check: Callable[..., object], *arguments: object) -> list[str]:
    try:
        check(*arguments)
    except RunsError as error:
        return [str(error)]
    except OSError as error:
        return [f"{error.filename}: cannot be read ({error.strerror})"]
    return []


def _finished(trial_path: Path) -> list[str]:
    faults = _faults(result, trial_path)
    if faults or not (stored := result(trial_path)):
        return faults
    return [line for name in stored.sha256 for line in _faults(check_digests, trial_path, stored, [name])]


def _unfinished(trial_path: Path) -> list[str]:
    remedy = "delete it and train again: trials with a valid checkpoint resume, all others are trained from scratch"
    return [f"{line}; {remedy}" for name in LOGS for line in _faults(read_rows, trial_path / name)]


def _checkpoints(folder: Path) -> Iterator[str]:
    """Damaged checkpoints, and those of stacks that are not in the plan."""
    plan = None if _faults(read_plan, folder) else read_plan(folder)
    stacks = {checkpoint_file(folder, stack.name).stem for stack in plan.stacks} if plan else None
    for path in sorted(folder.glob("checkpoints/*.pt")):
        resume = "train again: its trials resume from the previous checkpoint"
        remedy = resume if previous_path(path).exists() else "delete it to train its trials from scratch"
        yield from (f"{line}; {remedy}" for line in _faults(read_with_digest, path))
        if stacks is not None and path.stem not in stacks:
            yield f"{path}: belongs to no stack of plan.json; delete it"
    for path in sorted(folder.glob("checkpoints/*.previous")):
        yield from (f"{line}; delete it" for line in _faults(read_with_digest, path))
