"""`resexp export`: the results of an experiment to an installed tracker."""

from pathlib import Path
from typing import Annotated

import typer

from resexp import runs
from resexp.cli.program import (
    RunArgument,
    RunsOption,
    app,
    check_choice,
    experiment_folder,
    log,
    print_result,
    reading,
)


@app.command()
def export(
    tracker: Annotated[str, typer.Argument(metavar="TRACKER", help="Tracker: tensorboard, wandb or mlflow.")],
    source: RunArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    to: Annotated[
        str | None, typer.Option(help="Destination: a folder (tensorboard), the project (wandb) or the tracking URI (mlflow).")
    ] = None,
) -> None:
    """Export curves, settings and results to TensorBoard, W&B or MLflow.

    W&B also works offline (WANDB_MODE=offline), and MLflow with a local database.
    """
    from resexp import trackers  # noqa: PLC0415 - `--help` starts without them

    check_choice("TRACKER", tracker, trackers.TRACKERS)
    folder = experiment_folder(source, runs_dir)
    with reading(verb=f"exporting {folder} to {tracker}", is_stage=True) as track:
        destinations = trackers.TRACKERS[tracker](folder, runs.read_experiment(folder), to, track)
    for destination in destinations:
        print_result(destination)
    log(f"exported {len(destinations)} trials of {folder} to {tracker}")
