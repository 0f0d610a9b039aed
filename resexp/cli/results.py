"""`resexp compare`, `watch` and `report`: from runs/ to tables, the display and HTML."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from resexp import runs
from resexp.cli.program import RunArgument, Runs, among, app, say


@app.command()
def compare(
    source: RunArgument = None,
    *,
    runs_dir: Runs = Path("runs"),
    metric: Annotated[
        str, typer.Option(help="test_accuracy, best_test_accuracy, train_accuracy, val_accuracy.")
    ] = "test_accuracy",
    form: Annotated[str, typer.Option("--format", help="table, csv, json or md.")] = "table",
) -> None:
    """Compare plain with residual networks, cell by cell, paired over seeds."""
    from resexp import tables  # noqa: PLC0415 - as above

    among("--format", form, tables.TABLES)
    among("--metric", metric, tables.METRICS)
    folder = runs.find(source, runs_dir)
    say(tables.TABLES[form](folder, runs.read_experiment(folder), metric))


# ---- watch ----------------------------------------------------------------------------------------------------------------


@app.command()
def watch(
    source: RunArgument = None,
    *,
    runs_dir: Runs = Path("runs"),
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Replay a finished experiment this many times as fast.")
    ] = None,
) -> None:
    """Show the live display of an experiment, from any terminal; with --speed replay a finished one."""
    from resexp import screen  # noqa: PLC0415 - as above

    folder = runs.find(source, runs_dir)
    experiment = runs.read_experiment(folder)
    console = Console()
    if not console.is_terminal:
        console.print(screen.render(screen.snapshot(folder, experiment, 0.0, {})))
        return
    shots = screen.replay(folder, experiment, speed) if speed else screen.live(folder, experiment)
    with Live(console=console, auto_refresh=False) as display:
        for shot in shots:
            display.update(screen.render(shot), refresh=True)
            time.sleep(screen.FRAME_SECONDS)


# ---- report ---------------------------------------------------------------------------------------------------------------


@app.command()
def report(
    source: RunArgument = None,
    *,
    runs_dir: Runs = Path("runs"),
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write; default report.html in the run.")
    ] = None,
    figures: Annotated[str | None, typer.Option(help="Also write figures/ as png, svg, pdf (comma-separated).")] = None,
    form: Annotated[str, typer.Option("--format", help="html, md or text.")] = "html",
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Write one self-contained HTML file that opens from disk."""
    from resexp import report as reports  # noqa: PLC0415 - as above
    from resexp import tables  # noqa: PLC0415 - as above

    folder = runs.find(source, runs_dir)
    experiment = runs.read_experiment(folder)
    writers: dict[str, Callable[..., str]] = {"html": reports.html, "md": tables.TABLES["md"], "text": tables.TABLES["table"]}
    among("--format", form, writers)
    path = output or folder / f"report.{'txt' if form == 'text' else form}"
    if not path.parent.is_dir():
        raise runs.RunsError(f"{path.parent}: no such folder for the report")
    runs.write_text(path, writers[form](folder, experiment))
    for written in reports.save_figures(folder, experiment, figures.split(",")) if figures else []:
        say(str(written))
    say(str(path))
    if show:
        typer.launch(str(path))
