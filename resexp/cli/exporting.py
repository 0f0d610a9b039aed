"""`resexp export`: a run into a tracker that is installed."""

from pathlib import Path
from typing import Annotated

import typer

from resexp import runs
from resexp.cli.program import RunArgument, Runs, app, check_choice, log, named, print_result, stages


@app.command()
def export(
    tracker: Annotated[str, typer.Argument(metavar="TRACKER", help="tensorboard, wandb or mlflow.")],
    source: RunArgument = None,
    *,
    runs_dir: Runs = Path("runs"),
    to: Annotated[str | None, typer.Option(help="tensorboard: a folder; wandb: the project; mlflow: the tracking URI.")] = None,
) -> None:
    """Send the curves, settings and results of a run to a tracker; WANDB_MODE=offline and local databases work too."""
    from resexp import trackers  # noqa: PLC0415 - `--help` starts without them

    check_choice("TRACKER", tracker, trackers.TRACKERS)
    folder = named(source, runs_dir)
    with stages() as announce:
        announce(f"sending {folder} to {tracker}")
        sent = trackers.TRACKERS[tracker](folder, runs.read_experiment(folder), to)
    for place in sent:
        print_result(place)
    log(f"{len(sent)} trials of {folder} to {tracker}")
