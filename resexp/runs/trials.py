"""The folder of one trial: settings, state, logs, result. No torch."""

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from resexp import config, renamed
from resexp.runs.columns import LOG_COLUMNS
from resexp.runs.endings import text_sha256
from resexp.runs.files import (
    CHECKSUMMED,
    LOGS,
    TEXT_SUFFIXES,
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
from resexp.runs.records import RESULT, STATUS, TRAIN_AGAIN, Result, Status, first_fault, read_record
from resexp.runs.serialization import to_yaml

LFS_POINTER = b"version https://git-lfs"
RETRAIN = "delete result.json in the same folder to retrain its trial"


# ---- settings and state ---------------------------------------------------------------------------------------------


def trial_folder(folder: Path, name: str) -> Path:
    return renamed.existing(folder / "trials" / name)


def read_trial(folder: Path, name: str) -> config.Trial | None:
    """A trial with its settings when training began; None if it never began.

    Raises:
        RunsError: trial.yaml is damaged.
    """
    path = trial_folder(folder, name) / "trial.yaml"
    if not path.exists():
        return None
    try:
        return config.Trial.model_validate(renamed.trial(config.read_document(path)[0]), context=config.STORED)
    except (config.ConfigError, ValidationError) as error:
        fault = first_fault(error) if isinstance(error, ValidationError) else error
        raise RunsError(f"{path}: damaged ({fault}); delete it and {TRAIN_AGAIN}") from None


def trained_settings(folder: Path, name: str) -> config.Trial | None:
    """As `read_trial`, but trial.yaml of a finished trial is compared with its digest.

    Raises:
        RunsError: trial.yaml is damaged, or was edited after training.
    """
    trial_path = trial_folder(folder, name)
    stored = result(trial_path)
    if stored:
        check_digests(trial_path, stored, ["trial.yaml"])
    return read_trial(folder, name)


def write_trial(trial_path: Path, trial: config.Trial) -> None:
    """Writes trial.yaml, not flushed to disk because it can be written again."""
    write_text(trial_path / "trial.yaml", to_yaml(trial.model_dump(mode="json")), durable=False)


def set_status(trial_path: Path, state: str, **more: CsvValue) -> None:
    """Writes status.json: state (running, finished, interrupted, failed), time, and progress."""
    stamp = {"state": state, "process": os.getpid(), "time": round(time.time(), 3), **more}
    write_json(trial_path / "status.json", Status.model_validate(stamp).content, durable=False)


def set_failed(trial_path: Path, reason: str) -> None:
    """Marks a trial as failed; its folder may not exist yet."""
    trial_path.mkdir(parents=True, exist_ok=True)
    set_status(trial_path, "failed", reason=reason)


def status(trial_path: Path) -> Status:
    """The content of status.json; without that file the trial is waiting."""
    return read_record(trial_path / "status.json", STATUS) or Status(state="waiting")


def result(trial_path: Path) -> Result | None:
    """The content of result.json of a finished trial; None if the trial has not finished."""
    return read_record(trial_path / "result.json", RESULT)


def has_result(trial_path: Path) -> bool:
    """Whether the trial has a result, valid or damaged: training never writes to it again."""
    return (trial_path / "result.json").exists()


def has_begun(trial_path: Path) -> bool:
    """Whether training of the trial has begun, after which its settings must not change."""
    return (trial_path / "metrics.csv").exists() or has_result(trial_path)


def read_state(trial_path: Path, files: Iterable[str] = ()) -> tuple[str, Result | None, str]:
    """(state, result, reason): only finished trials have a result, only failed and damaged ones a reason.

    files: files of a finished trial that are compared with their digests.
    """
    try:
        stored = result(trial_path)
        if stored:
            check_digests(trial_path, stored, files)
            return "finished", stored, ""
        progress = status(trial_path)
    except RunsError as error:
        return "damaged", None, str(error)
    return "waiting" if progress.state == "finished" else progress.state, None, progress.reason


def check_digests(trial_path: Path, stored: Result, names: Iterable[str]) -> None:
    """Compares files of a finished trial with the digests in its result, ignoring line endings.

    Raises:
        RunsError: a file is missing or has changed.
    """
    for name in names:
        path, digest = trial_path / name, stored.sha256.get(name)
        if digest and not path.exists():
            raise RunsError(f"{path}: missing; copy it from the machine that trained it, or {RETRAIN}")
        if digest and sha256(path) != digest and not (path.suffix in TEXT_SUFFIXES and text_sha256(path) == digest):
            if path.read_bytes().startswith(LFS_POINTER):
                raise RunsError(f"{path}: is a Git LFS pointer, not the file; run `git lfs pull` in its folder")
            raise RunsError(f"{path}: damaged (changed after its trial had finished); {RETRAIN}")


# ---- logs and result ------------------------------------------------------------------------------------------------


def clear(trial_path: Path) -> None:
    """Empties the folder of a trial, except for trial.yaml, before it is trained from scratch."""
    check_guards()
    trial_path.mkdir(parents=True, exist_ok=True)
    for path in trial_path.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "trial.yaml":
            path.unlink()


def log_positions(trial_path: Path) -> dict[str, LogPosition | None]:
    """The current positions of the logs of a trial, for `truncate_logs`."""
    return {name: log_position(trial_path / name) for name in (*LOGS, *custom_logs(trial_path))}


def custom_logs(trial_path: Path) -> list[str]:
    """The logs of probes that this package does not contain."""
    return [path.name for path in sorted(trial_path.glob("*.csv")) if path.name not in LOG_COLUMNS]


def truncate_logs(trial_path: Path, positions: dict[str, LogPosition | None] | None) -> None:
    """Truncates the logs of a trial to earlier positions.

    Raises:
        RunsError: a log is damaged; there are no positions, because the trial already had its result.
    """
    if positions is None:
        raise RunsError(f"{trial_path}: already had its result when the checkpoint of its stack was written")
    for name in dict.fromkeys([*LOGS, *positions, *custom_logs(trial_path)]):
        truncate_log(trial_path / name, positions.get(name))  # checkpoints of earlier releases have fewer logs


def write_result(trial_path: Path, values: dict[str, Any]) -> None:
    """Writes result.json with the SHA-256 digests of the trial's files and its own; from then on the trial is finished."""
    names = [*CHECKSUMMED, *custom_logs(trial_path)]
    digests = {name: digest_on_disk(trial_path / name) for name in names if (trial_path / name).exists()}
    rounded = {key: float(format_cell(v)) if isinstance(v, float) else v for key, v in values.items()}
    content = {**rounded, "sha256": digests}
    write_json(trial_path / "result.json", {**content, "seal": json_digest(content)})
    set_status(trial_path, "finished", step=values["steps"], steps=values["steps"])
