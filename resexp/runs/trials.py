"""The folder of one trial: what it is, where it stands, its logs, its result. No torch."""

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from resexp import config, renamed
from resexp.runs.endings import text_sha256
from resexp.runs.files import (
    CHECKSUMMED,
    LOGS,
    TEXTS,
    CsvValue,
    LogPosition,
    RunsError,
    check_guards,
    digest_on_disk,
    format_cell,
    json_digest,
    log_position,
    sha256,
    truncate_log,
    write_json,
    write_text,
)
from resexp.runs.records import first_fault, read_record
from resexp.runs.serialization import to_yaml

LFS_POINTER = b"version https://git-lfs"
RETRAIN = "delete result.json beside it to have its trial trained again"


# ---- what it is, and where it stands --------------------------------------------------------------------------------


def trial_folder(folder: Path, trial: str) -> Path:
    return renamed.existing(folder / "trials" / trial)


def read_trial(folder: Path, name: str) -> config.Trial | None:
    """A trial as it was when it began; None if it never did.

    Raises:
        RunsError: damaged.
    """
    path = trial_folder(folder, name) / "trial.yaml"
    if not path.exists():
        return None
    try:
        return config.Trial.model_validate(renamed.trial(config.read_document(path)[0]))
    except (config.ConfigError, ValidationError) as error:
        fault = first_fault(error) if isinstance(error, ValidationError) else error
        raise RunsError(f"{path}: damaged ({fault}); delete it and train again to write it anew") from None


def trained_settings(folder: Path, name: str) -> config.Trial | None:
    """A trial as it was trained: the file of a finished trial is compared with its digest; None if it never began.

    Raises:
        RunsError: damaged, or edited after training.
    """
    trial = trial_folder(folder, name)
    done = result(trial)
    if done:
        check_digests(trial, done, ["trial.yaml"])
    return read_trial(folder, name)


def write_trial(trial: Path, settings: config.Trial) -> None:
    """trial.yaml: lost, it can be written again."""
    write_text(trial / "trial.yaml", to_yaml(settings.model_dump(mode="json")), durable=False)


def set_status(trial: Path, state: str, **more: CsvValue) -> None:
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


def diverged_at(done: dict[str, Any] | None) -> int | None:
    """The step at which the loss of a finished trial was first not finite; None where training did not diverge."""
    return done["steps"] if done and done["outcome"] == "diverged" else None


def has_result(trial: Path) -> bool:
    """Whether the trial has a result, sound or damaged: nothing is written for it any more."""
    return (trial / "result.json").exists()


def has_begun(trial: Path) -> bool:
    """Whether training of the trial has begun, after which its settings must not change."""
    return (trial / "metrics.csv").exists() or has_result(trial)


def read_state(trial: Path, read: Iterable[str] = ()) -> tuple[str, dict[str, Any] | None, str]:
    """(state, result, reason): finished with its result; failed or damaged with the reason; any other.

    Of a finished trial the files that are going to be `read` are compared with their digests.
    """
    try:
        done = result(trial)
        if done:
            check_digests(trial, done, read)
        found = {"state": "finished"} if done else status(trial)
    except RunsError as error:
        return "damaged", None, str(error)
    state = "waiting" if found["state"] == "finished" and not done else found["state"]
    return state, done, str(found.get("reason", ""))


def check_digests(trial: Path, done: dict[str, Any], names: Iterable[str]) -> None:
    """Compares finished files with the digests in the trial's result; line endings do not count.

    Raises:
        RunsError: another content; missing.
    """
    for name in names:
        path, digest = trial / name, done["sha256"].get(name)
        if digest and not path.exists():
            raise RunsError(f"{path}: missing; copy it from the machine that trained it, or {RETRAIN}")
        if digest and sha256(path) != digest and not (path.suffix in TEXTS and text_sha256(path) == digest):
            if path.read_bytes().startswith(LFS_POINTER):
                raise RunsError(f"{path}: is a Git LFS pointer, not the file; run `git lfs pull` in its folder")
            raise RunsError(f"{path}: damaged (changed since its trial was finished); {RETRAIN}")


# ---- its logs and its result ----------------------------------------------------------------------------------------


def clear(trial: Path) -> None:
    """Empties a trial's folder, but for what it is, before it is trained from the start."""
    check_guards()
    trial.mkdir(parents=True, exist_ok=True)
    for path in trial.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "trial.yaml":
            path.unlink()


def log_positions(trial: Path) -> dict[str, LogPosition | None]:
    """Where the logs of a trial end now; `cut_back` makes them end there again."""
    return {name: log_position(trial / name) for name in LOGS}


def truncate_logs(trial: Path, at: dict[str, LogPosition | None] | None) -> None:
    """Makes the logs of a trial end where they were marked.

    Raises:
        RunsError: damaged; not marked, because the trial had its result then.
    """
    if at is None:
        raise RunsError(f"{trial}: had its result when the checkpoint of its stack was written")
    for name in LOGS:
        truncate_log(trial / name, at.get(name))  # an earlier release has marked fewer logs


def write_result(trial: Path, values: dict[str, Any]) -> None:
    """Writes result.json with the SHA-256 of the finished files and its own; from now on the trial is finished."""
    digests = {name: digest_on_disk(trial / name) for name in CHECKSUMMED if (trial / name).exists()}
    rounded = {key: float(format_cell(v)) if isinstance(v, float) else v for key, v in values.items()}
    sealed = {**rounded, "sha256": digests}
    write_json(trial / "result.json", {**sealed, "seal": json_digest(sealed)})
    set_status(trial, "finished", step=values["steps"], steps=values["steps"])
