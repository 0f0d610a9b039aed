"""A finished run into a tracker: every trial is a run of it, with its settings, curves and results."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from resexp import runs
from resexp.config import Experiment, Trial
from resexp.trackers import tensorboard
from resexp.trackers.points import Point, absent, points, settings_of

BATCH = 1000  # metrics that MLflow takes at once
RETRIES = 2  # of a request to MLflow
MAX_CHARACTERS = 400  # of what a tracker says


def to_tensorboard(folder: Path, experiment: Experiment, target: str | None) -> list[str]:
    """Event files; target: their folder, <experiment>/tensorboard where it is None.

    Raises:
        RunsError: a training may write the same files now.
    """
    place, own = Path(target or folder / tensorboard.FOLDER), folder / tensorboard.FOLDER
    if place.resolve() == own.resolve() and runs.is_training(folder):
        raise runs.RunsError(f"{own}: may be written by a training that goes on; wait for it, or name another folder with --to")
    return [str(written) for written in tensorboard.export(folder, experiment, place)]


def to_wandb(folder: Path, experiment: Experiment, target: str | None) -> list[str]:
    """Runs of Weights & Biases, online or as WANDB_MODE says (offline: below ./wandb, or where WANDB_DIR says).

    Its own files hold links, and nothing in runs/ may. target: the project, the experiment's name if None.
    """
    try:
        import wandb  # noqa: PLC0415 - an extra
    except ImportError:
        raise absent("wandb", "wandb") from None
    sent = []
    for trial, found, results in _with_points(folder, experiment):
        with _in_a_line("wandb", wandb.Error, ValueError):
            run = wandb.init(
                project=target or experiment.name,
                name=trial.name,
                id=f"{experiment.name}-{trial.name}"[:128],
                resume="allow",
                group=trial.arm,
                config=settings_of(trial),
                settings=wandb.Settings(console="off", silent=True),
            )
            for step, at_step in groupby(sorted(found, key=lambda of: of.step), key=lambda of: of.step):
                run.log({point.tag: point.value for point in at_step}, step=step)
            run.summary.update(results)
            run.finish()
        sent.append(f"{run.project}/{run.id}")
    return sent


def to_mlflow(folder: Path, experiment: Experiment, target: str | None) -> list[str]:
    """Runs of MLflow, one a trial however often it is sent.

    target: the tracking URI, MLFLOW_TRACKING_URI or a database in the experiment's folder if None.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(RETRIES))  # its own count takes several minutes
    try:
        import mlflow  # noqa: PLC0415 - an extra
    except ImportError:
        raise absent("mlflow", "mlflow") from None
    where = target or (mlflow.get_tracking_uri() if _told(mlflow) else f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    with _in_a_line("mlflow", mlflow.MlflowException, *_database_errors()):
        return [f"{experiment.name}/{run}" for run in _mlflow_runs(mlflow, mlflow.MlflowClient(where), folder, experiment)]


def _mlflow_runs(mlflow: Any, client: Any, folder: Path, experiment: Experiment) -> Iterator[str]:
    known = client.get_experiment_by_name(experiment.name)
    place = known.experiment_id if known else client.create_experiment(experiment.name)
    for trial, found, results in _with_points(folder, experiment):
        tags = {"trial": trial.name, "arm": trial.arm, "seed": str(trial.seed)}
        before = client.search_runs([place], f"tags.trial = '{trial.name}'", max_results=1)
        run = before[0] if before else client.create_run(place, run_name=trial.name, tags=tags)
        settings = [mlflow.entities.Param(key, json.dumps(value)) for key, value in settings_of(trial).items()]
        metrics = [mlflow.entities.Metric(of.tag, of.value, 0, of.step) for of in found]
        finals = {key: value for key, value in results.items() if isinstance(value, float)}
        metrics += [mlflow.entities.Metric(key, value, 0, 0) for key, value in finals.items()]
        client.log_batch(run.info.run_id, params=settings[:100])
        for start in range(0, len(metrics), BATCH):
            client.log_batch(run.info.run_id, metrics=metrics[start : start + BATCH])
        client.set_terminated(run.info.run_id)
        yield run.info.run_id


def _database_errors() -> list[type[Exception]]:
    try:
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - comes with MLflow, unless it is the slim one
    except ImportError:
        return []
    return [SQLAlchemyError]


@contextmanager
def _in_a_line(tracker: str, *refusals: type[Exception]) -> Iterator[None]:
    """Raises OSError, a line, where a tracker refuses something or cannot be reached."""
    try:
        yield
    except refusals as error:
        raise OSError(f"{tracker}: {' '.join(str(error).split())[:MAX_CHARACTERS]}") from None


def _told(mlflow: Any) -> bool:
    """Whether somebody has said where MLflow tracks."""
    return bool(mlflow.is_tracking_uri_set())


def _with_points(folder: Path, experiment: Experiment) -> Iterator[tuple[Trial, list[Point], dict[str, Any]]]:
    """The trials that have any, with their results."""
    for trial in experiment.trials:
        logs = runs.trial_folder(folder, trial.name)
        if found := list(points(logs)):
            yield trial, found, _results(logs)


def _results(logs: Path) -> dict[str, Any]:
    found = runs.result(logs) or {}
    return {key: value for key, value in found.items() if isinstance(value, int | float | str) and key not in ("seal", "trial")}


TRACKERS: dict[str, Callable[[Path, Experiment, str | None], list[str]]] = {
    "tensorboard": to_tensorboard,
    "wandb": to_wandb,
    "mlflow": to_mlflow,
}
