"""Everything in runs/ looked through: what is damaged, and what would mend it. Changes nothing. No torch."""

from collections.abc import Callable, Iterator
from pathlib import Path

from resexp.runs.files import LOGS, RunsError, previous_path, read_rows, read_with_digest
from resexp.runs.folders import checkpoint_file, read_experiment, read_plan, refuse_links
from resexp.runs.records import launches, pair_summaries
from resexp.runs.trials import check_digests, has_result, read_trial, result, status


def experiments(runs: Path) -> list[Path]:
    """The folders of `runs` in which an experiment was begun; `runs` itself, if it is one."""
    marks = ("plan.json", "experiment.yaml", "trials")
    return [folder for folder in (runs, *sorted(runs.glob("*"))) if any((folder / name).exists() for name in marks)]


def examine(folder: Path) -> list[str]:
    """A line for everything that is damaged in an experiment's folder: which file, how, what mends it."""
    found = [
        line
        for check in (refuse_links, read_experiment, read_plan, launches, pair_summaries)
        for line in _complaints(check, folder)
    ]
    for trial in sorted(path for path in (folder / "trials").glob("*") if path.is_dir()):
        found += [*_complaints(read_trial, folder, trial.name), *_complaints(status, trial)]
        found += _finished(trial) if has_result(trial) else _unfinished(trial)
    return [*found, *_checkpoints(folder)]


def _complaints(check: Callable[..., object], *arguments: object) -> list[str]:
    try:
        check(*arguments)
    except RunsError as error:
        return [str(error)]
    except OSError as error:
        return [f"{error.filename}: cannot be read ({error.strerror})"]
    return []


def _finished(trial: Path) -> list[str]:
    broken = _complaints(result, trial)
    if broken or not (done := result(trial)):
        return broken
    return [line for name in done["sha256"] for line in _complaints(check_digests, trial, done, [name])]


def _unfinished(trial: Path) -> list[str]:
    mend = "delete it and train again: what can be continued is, all else is trained from the start"
    return [f"{line}; {mend}" for name in LOGS for line in _complaints(read_rows, trial / name)]


def _checkpoints(folder: Path) -> Iterator[str]:
    """Damaged ones, and those of which no plan knows."""
    plan = None if _complaints(read_plan, folder) else read_plan(folder)
    stacks = {checkpoint_file(folder, stack.name).stem for stack in plan.stacks} if plan else None
    for path in sorted(folder.glob("checkpoints/*.pt")):
        continued = "train again: its trials go on from the checkpoint before it"
        mend = continued if previous_path(path).exists() else "delete it to train its trials from the start"
        yield from (f"{line}; {mend}" for line in _complaints(read_with_digest, path))
        if stacks is not None and path.stem not in stacks:
            yield f"{path}: belongs to no stack of plan.json; delete it"
    for path in sorted(folder.glob("checkpoints/*.previous")):
        yield from (f"{line}; delete it" for line in _complaints(read_with_digest, path))
