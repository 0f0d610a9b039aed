"""`resexp compare`, `watch` and `report`: from runs/ to tables, the display and HTML."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from resexp import config, runs
from resexp.cli.output import write
from resexp.cli.program import (
    FAILED,
    UNMET,
    RunArgument,
    Runs,
    SourcesArgument,
    app,
    check_choice,
    expand,
    fail,
    named,
    print_result,
    stages,
)

if TYPE_CHECKING:
    from resexp.comparison import Cell


@app.command()
def compare(
    sources: SourcesArgument = None,
    *,
    runs_dir: Runs = Path("runs"),
    metric: Annotated[
        str, typer.Option(help="test_accuracy, train_accuracy, val_accuracy, test_loss, train_loss, slope_start, slope_end.")
    ] = "test_accuracy",
    at: Annotated[str, typer.Option(help="last, best (of validation), or step:N of metrics.csv.")] = "last",
    by: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Order cells by this key first; may be repeated.")] = None,
    tune: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Each arm at its own best of this key, too; may be repeated.")
    ] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPR|FILE", help="'test_accuracy: identity > plain @ 95%', or claims: article, he2015, a file."),
    ] = None,
    test: Annotated[bool, typer.Option("--p-values", help="Exact sign-flip p-values, Holm's correction.")] = False,
    images: Annotated[bool, typer.Option("--by-image", help="The uncertainty of the test images, too.")] = False,
    form: Annotated[str, typer.Option("--format", help="table, csv, json, md or tex.")] = "table",
    unmatched: Annotated[
        bool, typer.Option("--allow-unmatched", help="Compare arms that differ in more than the shortcut, too.")
    ] = False,
    missing: Annotated[bool, typer.Option("--allow-missing", help="Exit 0 though trials have not finished.")] = False,
) -> None:
    """Compare plain with residual networks, cell by cell, paired over seeds; several experiments are read side by side."""
    from resexp import claims, comparison, tables  # noqa: PLC0415 - as above

    check_choice("--format", form, tables.TABLES)
    comparison.find_metric(metric, at)
    expected = [expectation for text in expect or [] for expectation in _expected(text)]
    read = ("metrics.csv", *(["predictions.csv.gz"] if images else []))
    results = comparison.order_by(_results(sources, runs_dir, read), by or [])
    found = comparison.compare_results(results, metric, at, tune=tune or [], unmatched=unmatched, images=images)
    judgments = [(kind, claims.judge(expectation, results)) for kind, expectation in expected]
    lines = [
        line
        for kind, judgments in [(tables.PRIMARY, claims.primaries(results)), *judgments]
        for line in tables.verdict_lines(kind, judgments)
    ]
    print_result(tables.TABLES[form](found, lines, test=test))
    _complain(results, missing=missing)
    _refuse_unmatched(found.cells, unmatched=unmatched)
    unmet = [judgment for _, each in judgments for judgment in each if judgment.verdict != claims.Verdict.SUPPORTED]
    if unmet:
        more = f" (and {len(unmet) - 1} more)" if len(unmet) > 1 else ""
        fail(f"not met: {unmet[0].expectation.text}: {tables.verdict_line(unmet[0])}{more}", UNMET)


def _expected(text: str) -> list[tuple[str, config.Expectation]]:
    """(kind, expectation) of one --expect: text that is not a file is an expectation if it contains a colon or a relation."""
    from resexp import claims  # noqa: PLC0415 - as above

    if any(sign in text for sign in ":<>") and not text.endswith((".yaml", ".yml")) and not claims.is_file(text):
        return [("expected", config.parse_expectation(text))]
    return [(" ".join(f"claimed: {of.text} ({of.source})".split()), of.expectation) for of in claims.read(text)]


def _refuse_unmatched(cells: "Sequence[Cell]", *, unmatched: bool) -> None:
    refused = [arm for cell in cells for arm in cell.arms if arm.unmatched]
    if refused and not unmatched:
        more = f" (and {len(refused) - 1} more arms)" if len(refused) > 1 else ""
        fail(
            f"{refused[0].name} is no pair with its nearest plain arm: they differ in {'; '.join(refused[0].unmatched)}{more}; "
            "no difference is given. --allow-unmatched gives it all the same",
            UNMET,
        )


def _results(sources: list[str] | None, runs_dir: Path, read: Sequence[str] = ()) -> runs.Results:
    """Each experiment once, the last one when none is named."""
    chosen: Sequence[str | None] = sources or [None]
    return runs.read_results([named(source, runs_dir) for source in chosen], read)


def _complain(results: runs.Results, *, missing: bool = True) -> None:
    """The end, after all that could be said, when trials are damaged, or missing without consent."""
    damaged = [record for record in results.records if record.state == "damaged"]
    if damaged:
        more = f"; so are {len(damaged) - 1} more trials" if len(damaged) > 1 else ""
        command = shlex.join(["resexp", "doctor", str(damaged[0].folder.parent.parent)])
        fail(f"{damaged[0].reason}{more}: see `{command}`", FAILED)
    lost = [record.state for record in results.records if record.result is None]
    if lost and not missing:
        counted = ", ".join(f"{lost.count(record)} {record}" for record in dict.fromkeys(lost))
        fail(
            f"{len(lost)} of {len(results.records)} trials have not finished ({counted}): their seeds are in no pair. "
            "--allow-missing takes it for granted",
            FAILED,
        )


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

    folder = named(source, runs_dir)
    experiment = runs.read_experiment(folder)
    console = Console()
    if not console.is_terminal:
        console.print(screen.render(screen.snapshot(folder, experiment, 0.0, {}), console.width))
        return
    shots = screen.replay(folder, experiment, speed) if speed else screen.live(folder, experiment)
    with Live(console=console, auto_refresh=False) as display:
        for shot in shots:
            display.update(screen.render(shot, *console.size), refresh=True)
            time.sleep(screen.FRAME_SECONDS)


# ---- report ---------------------------------------------------------------------------------------------------------------


@app.command()
def report(
    sources: SourcesArgument = None,
    *,
    runs_dir: Runs = Path("runs"),
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File, folder, or - for stdout. Default: the experiment's folder; for several, --runs or the current folder.",
            callback=expand,
        ),
    ] = None,
    figures: Annotated[str | None, typer.Option(help="Also write figures/ beside it: png, svg, pdf (comma-separated).")] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="html, md or text. Default: from the file name extension, else html.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Write one self-contained HTML file that opens from disk."""
    from resexp import report as reports  # noqa: PLC0415 - as above

    if form:
        check_choice("--format", form, reports.FORMATS)
    form = _form_of(output, form)
    to_stdout = output == Path("-")
    if to_stdout and (figures or show):
        raise config.ConfigError(f"{'--figures' if figures else '--open'} needs a file; choose -o FILE", where="-o -")
    results = _results(sources, runs_dir, reports.READ)
    with stages() as announce:
        announce(f"drawing the report of {results.name}")
        text = reports.FORMATS[form](results)
    if to_stdout:
        write(text, encoding="utf-8" if form == "html" else None)
    else:
        folder = results.sources[0][0] if len(results.sources) == 1 else runs_dir if runs_dir.is_dir() else Path()
        name = f"report.{'txt' if form == 'text' else form}"
        path = output / name if output and output.is_dir() else output or folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        runs.write_text(path, text)
        for written in reports.save_figures(results, path.parent / "figures", figures.split(",")) if figures else []:
            print_result(str(written))
        print_result(str(path))
        if show:
            typer.launch(str(path))
    _complain(results)


ENDINGS = {".html": "html", ".htm": "html", ".md": "md", ".txt": "text"}


def _form_of(output: Path | None, form: str | None) -> str:
    """The requested format, otherwise the format of the file name extension.

    Raises:
        ConfigError: a file name extension that contradicts `form`, or is not a report format.
    """
    ending = output.suffix.lower() if output and not output.is_dir() else ""
    if ending == ".pdf":
        advice = "write HTML and print that from a browser, or add --figures pdf for the charts"
        raise config.ConfigError(f"a report is HTML, Markdown or text; {advice}", where=f"-o {output}")
    named = ENDINGS.get(ending)
    if named is None and ending and form is None:
        raise config.ConfigError(
            f"{ending} is not a report format; use one of {', '.join(ENDINGS)}, or add --format", where=f"-o {output}"
        )
    if named and form and named != form:
        raise config.ConfigError(
            f"the file name says {named} but --format says {form}; remove --format or rename the file", where=f"-o {output}"
        )
    return form or named or "html"
