"""Export of an experiment to a tracker: each trial becomes a run with settings, curves and results.

`track` yields the trials, and can show the progress.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from resexp import runs
from resexp.config import Experiment, Trial
from resexp.runs import Track
from resexp.trackers import tensorboard
from resexp.trackers.points import Point, not_installed, points, settings_of

BATCH = 1000  # maximum number of metrics in a request to MLflow
RETRIES = 2  # of a request to MLflow
MAX_CHARACTERS = 400  # of an error message of a tracker


def to_tensorboard(folder: Path, experiment: Experiment, target: str | None, track: Track = iter) -> list[str]:
    """Writes event files; target: their folder, by default <experiment>/tensorboard."""
    default = folder / tensorboard.FOLDER
    destination = Path(target or default)
    if destination.resolve() == default.resolve() and runs.is_training(folder):
        raise runs.RunsError(f"{default}: training may still be writing here; wait for it, or choose another folder with --to")
    return [str(path) for path in tensorboard.export(folder, experiment, destination, track)]


def to_wandb(folder: Path, experiment: Experiment, target: str | None, track: Track = iter) -> list[str]:
    """Creates runs in Weights & Biases, online unless WANDB_MODE says otherwise.

    Offline runs are stored in ./wandb or WANDB_DIR, not in runs/, because they contain symbolic links. target: the project; the
    default is the experiment's name.
    """
    try:
        import wandb  # noqa: PLC0415 - an extra
    except ImportError:
        raise not_installed("wandb", "wandb") from None
    sent = []
    with _one_line_errors("wandb", wandb.Error, ValueError):
        settings = wandb.Settings(console="off", silent=True)
        for trial, curves, results in _trials_with_points(folder, experiment, track):
            run_id = f"{experiment.name}-{trial.name}"[:128]
            run = _logged_run(wandb, target or experiment.name, trial, curves, id=run_id, settings=settings)
            run.summary.update(results)
            run.finish()
            sent.append(f"{run.project}/{run.id}")
    return sent


def to_trackio(folder: Path, experiment: Experiment, target: str | None, track: Track = iter) -> list[str]:
    """Creates runs in Trackio, in its local folder (TRACKIO_DIR) unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL is set.

    A run of an earlier export in the local folder is continued after its last step. The results become metrics of the last
    step, as Trackio has no summary. target: as for W&B.
    """
    try:
        import trackio  # noqa: PLC0415 - an extra
        from trackio.sqlite_storage import SQLiteStorage  # noqa: PLC0415 - as above
    except ImportError:
        raise not_installed("trackio", "trackio") from None
    sent, project = [], target or experiment.name
    with _one_line_errors("trackio", ValueError, RuntimeError):
        for trial, curves, results in _trials_with_points(folder, experiment, track):
            finals = {f"result/{key}": value for key, value in results.items() if not isinstance(value, str)}
            last = max(point.step for point in curves)
            every = [*curves, *(Point(tag, last, value) for tag, value in finals.items())]
            earlier = SQLiteStorage.get_last_step(project, trial.name)  # it would store a step twice
            added = [point for point in every if earlier is None or point.step > earlier]
            _logged_run(trackio, project, trial, added, embed=False, auto_log_gpu=False, auto_log_cpu=False).finish()
            sent.append(f"{project}/{trial.name}")
    return sent


def _logged_run(tracker: Any, project: str, trial: Trial, curves: list[Point], **options: Any) -> Any:
    """A run with settings and curves in a tracker with the interface of W&B."""
    config = settings_of(trial)
    run = tracker.init(project=project, name=trial.name, group=trial.arm, config=config, resume="allow", **options)
    for step, at_step in groupby(sorted(curves, key=attrgetter("step")), key=attrgetter("step")):
        run.log({point.tag: point.value for point in at_step}, step=step)
    return run


def to_mlflow(folder: Path, experiment: Experiment, target: str | None, track: Track = iter) -> list[str]:
    """Creates runs in MLflow, or updates those of an earlier export.

    target: the tracking URI; the default is MLFLOW_TRACKING_URI, otherwise a database in the experiment's folder.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(RETRIES))  # the default takes several minutes
    try:
        import mlflow  # noqa: PLC0415 - an extra
    except ImportError:
        raise not_installed("mlflow", "mlflow") from None
    uri = target or (mlflow.get_tracking_uri() if _has_uri(mlflow) else f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    with _one_line_errors("mlflow", mlflow.MlflowException, *_database_errors()):
        exported = _mlflow_runs(mlflow, mlflow.MlflowClient(uri), folder, experiment, track)
        return [f"{experiment.name}/{run}" for run in exported]


def _mlflow_runs(mlflow: Any, client: Any, folder: Path, experiment: Experiment, track: Track) -> Iterator[str]:
    known = client.get_experiment_by_name(experiment.name)
    experiment_id = known.experiment_id if known else client.create_experiment(experiment.name)
    for trial, curves, results in _trials_with_points(folder, experiment, track):
        tags = {"trial": trial.name, "arm": trial.arm, "seed": str(trial.seed)}
        earlier = client.search_runs([experiment_id], f"tags.trial = '{trial.name}'", max_results=1)
        run = earlier[0] if earlier else client.create_run(experiment_id, run_name=trial.name, tags=tags)
        settings = [mlflow.entities.Param(key, json.dumps(value)) for key, value in settings_of(trial).items()]
        metrics = [mlflow.entities.Metric(point.tag, point.value, 0, point.step) for point in curves]
        finals = {key: value for key, value in results.items() if isinstance(value, float)}
        metrics += [mlflow.entities.Metric(key, value, 0, 0) for key, value in finals.items()]
        client.log_batch(run.info.run_id, params=settings[:100])
        for start in range(0, len(metrics), BATCH):
            client.log_batch(run.info.run_id, metrics=metrics[start : start + BATCH])
        client.set_terminated(run.info.run_id)
        yield run.info.run_id


def _database_errors() -> list[type[Exception]]:
    try:
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - part of MLflow, except of mlflow-skinny
    except ImportError:
        return []
    return [SQLAlchemyError]


@contextmanager
def _one_line_errors(tracker: str, *errors: type[Exception]) -> Iterator[None]:
    """Converts exceptions of a tracker to an OSError with a message of one line."""
    try:
        yield
    except errors as error:
        raise OSError(f"{tracker}: {' '.join(str(error).split())[:MAX_CHARACTERS]}") from None


def _has_uri(mlflow: Any) -> bool:
    """Whether a tracking URI is set."""
    return bool(mlflow.is_tracking_uri_set())


def _trials_with_points(
    folder: Path, experiment: Experiment, track: Track
) -> Iterator[tuple[Trial, list[Point], dict[str, Any]]]:
    """The trials that have points, with their results."""
    for trial in track(experiment.trials):
        trial_path = runs.trial_folder(folder, trial.name)
        if curves := list(points(trial_path)):
            yield trial, curves, _results(trial_path)


def _results(trial_path: Path) -> dict[str, Any]:
    stored = runs.result(trial_path)
    values = stored.content if stored else {}
    omitted = ("seal", "trial")
    return {key: value for key, value in values.items() if isinstance(value, int | float | str) and key not in omitted}


TRACKERS: dict[str, Callable[[Path, Experiment, str | None, Track], list[str]]] = {
    "tensorboard": to_tensorboard,
    "wandb": to_wandb,
    "trackio": to_trackio,
    "mlflow": to_mlflow,
}
