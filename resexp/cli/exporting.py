"""`resexp export`: the results of an experiment to an installed tracker, and weights as safetensors."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from resexp import runs
from resexp.cli.printing import OnlyJsonOption, print_document
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
from resexp.config import Experiment


@app.command(epilog="Example: resexp export tensorboard digits")
def export(
    tracker: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help="Tracker (tensorboard, wandb, trackio or mlflow), or safetensors for weights."),
    ],
    source: RunArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    to: Annotated[
        str | None,
        typer.Option(help="Destination: folder (tensorboard, safetensors), project (wandb, trackio) or tracking URI (mlflow)."),
    ] = None,
    as_json: OnlyJsonOption = False,
) -> None:
    """Export curves, settings and results to a tracker, or the final weights as safetensors.

    W&B also works offline (WANDB_MODE=offline), and MLflow with a local database.
    """
    from resexp import trackers  # noqa: PLC0415 - `--help` starts without them

    exports = {**trackers.TRACKERS, "safetensors": _to_safetensors}
    check_choice("FORMAT", tracker, exports)
    folder = experiment_folder(source, runs_dir)
    with redirect_stdout(sys.stderr), reading(verb=f"exporting {folder} to {tracker}", is_stage=True) as track:
        destinations = exports[tracker](folder, runs.read_experiment(folder), to, track)  # Trackio prints
    if as_json:
        print_document("export", experiment=str(folder), format=tracker, destinations=destinations)
    for destination in [] if as_json else destinations:
        print_result(destination)
    log(f"exported {len(destinations)} trials of {folder} to {tracker}")


def _to_safetensors(folder: Path, experiment: Experiment, target: str | None, track: runs.Track = iter) -> list[str]:
    from resexp import weights  # noqa: PLC0415 - imports torch

    return weights.to_safetensors(folder, experiment, target, track)
