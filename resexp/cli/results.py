"""`resexp compare`, `watch` and `report`: from runs/ to tables, the display and HTML."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from resexp import runs
from resexp.cli.program import FAILED, UNMET, RunArgument, Runs, SourcesArgument, among, app, say, stop


@app.command()
def compare(
    sources: SourcesArgument = None,
    *,
    runs_dir: Runs = Path("runs"),
    metric: Annotated[
        str, typer.Option(help="test_accuracy, best_test_accuracy, train_accuracy, val_accuracy.")
    ] = "test_accuracy",
    form: Annotated[str, typer.Option("--format", help="table, csv, json or md.")] = "table",
    unmatched: Annotated[
        bool, typer.Option("--allow-unmatched", help="Compare arms that differ in more than the shortcut, too.")
    ] = False,
) -> None:
    """Compare plain with residual networks, cell by cell, paired over seeds; several experiments are read side by side."""
    from resexp import tables  # noqa: PLC0415 - as above

    among("--format", form, tables.TABLES)
    among("--metric", metric, tables.METRICS)
    results = _results(sources, runs_dir)
    say(tables.TABLES[form](results, metric, unmatched=unmatched))
    _complain(results)
    refused = [arm for cell in tables.cells(results, metric) for arm in cell.arms if arm.unmatched]
    if refused and not unmatched:
        more = f" (and {len(refused) - 1} more arms)" if len(refused) > 1 else ""
        stop(
            f"{refused[0].name} is no pair with its nearest plain arm: they differ in {'; '.join(refused[0].unmatched)}{more}; "
            "no difference is given. --allow-unmatched gives it all the same",
            UNMET,
        )


def _results(sources: list[str] | None, runs_dir: Path, read: Sequence[str] = ()) -> runs.Results:
    """Each experiment once, the last one when none is named."""
    named: Sequence[str | None] = sources or [None]
    return runs.read_results([runs.find(source, runs_dir) for source in named], read)


def _complain(results: runs.Results) -> None:
    """The end, after all that could be said, when trials are damaged."""
    reasons = [state.reason for state in results.states if state.state == "damaged"]
    if reasons:
        more = f"; so are {len(reasons) - 1} more trials" if len(reasons) > 1 else ""
        stop(f"{reasons[0]}{more}: see `resexp doctor`", FAILED)


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
    sources: SourcesArgument = None,
    *,
    runs_dir: Runs = Path("runs"),
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Where to write; default in the run, for several in --runs or here."),
    ] = None,
    figures: Annotated[str | None, typer.Option(help="Also write figures/ beside it: png, svg, pdf (comma-separated).")] = None,
    form: Annotated[str, typer.Option("--format", help="html, md or text.")] = "html",
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Write one self-contained HTML file that opens from disk."""
    from resexp import report as reports  # noqa: PLC0415 - as above
    from resexp import tables  # noqa: PLC0415 - as above

    results = _results(sources, runs_dir, reports.READ)
    place = results.sources[0][0] if len(results.sources) == 1 else runs_dir if runs_dir.is_dir() else Path()
    writers: dict[str, Callable[..., str]] = {"html": reports.html, "md": tables.TABLES["md"], "text": tables.TABLES["table"]}
    among("--format", form, writers)
    path = output or place / f"report.{'txt' if form == 'text' else form}"
    path.parent.mkdir(parents=True, exist_ok=True)
    runs.write_text(path, writers[form](results))
    for written in reports.save_figures(results, path.parent / "figures", figures.split(",")) if figures else []:
        say(str(written))
    say(str(path))
    if show:
        typer.launch(str(path))
    _complain(results)
