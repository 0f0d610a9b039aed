"""`resexp compare`, `watch` and `report`: results as tables, as a live display and as HTML."""

import shlex
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from resexp import config, runs
from resexp.cli import compare_options as option
from resexp.cli.output import write
from resexp.cli.printing import JsonOption, print_document
from resexp.cli.program import (
    FAILED,
    UNMET,
    RunArgument,
    RunsOption,
    SourcesArgument,
    app,
    check_choice,
    expand,
    experiment_folder,
    fail,
    print_lines,
    print_result,
    reading,
    stages,
)

if TYPE_CHECKING:
    from resexp.comparison import Cell, Comparison


MAX_WIDTH = 120  # characters of a line on a wide terminal; longer lines are hard to read


@app.command(epilog='Example: resexp compare digits --expect "test_accuracy: identity > plain @ 95%"')
def compare(
    sources: SourcesArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    metric: option.MetricOption = "test_accuracy",
    at: option.AtOption = "last",
    by: option.ByOption = None,
    tune: option.TuneOption = None,
    expect: option.ExpectOption = None,
    p_values: Annotated[bool, typer.Option("--p-values", help="Add exact sign-flip p-values with Holm correction.")] = False,
    by_layer: option.ByLayerOption = False,
    images: Annotated[bool, typer.Option("--by-image", help="Add the uncertainty due to the choice of test images.")] = False,
    form: Annotated[str, typer.Option("--format", help="Output format: table, csv, json, md or tex.")] = "table",
    as_json: JsonOption = False,
    unmatched: option.UnmatchedOption = False,
    missing: option.MissingOption = False,
    arm: option.ArmOption = None,
    pair: option.PairOption = None,
    baseline: option.BaselineOption = None,
    outcome: option.OutcomeOption = None,
    last: option.LastOption = None,
    ignore: option.IgnoreOption = None,
    lower_is_better: option.LowerOption = False,
    margin: option.MarginOption = None,
) -> None:
    """Compare plain and residual networks, paired by seed. Accepts several experiments, or result files of other programs.

    A result file is CSV, TSV or Parquet, with a row per run: compare results.csv --arm model --pair seed --metric accuracy.

    On a terminal arms and verdicts have colors, unless the variable NO_COLOR is set. Text always states the same.

    Exit status 1: trials are damaged or unfinished. Exit status 3: --expect is not met, or a network has no matching plain one.
    """
    from resexp import comparison, tables  # noqa: PLC0415 - as above

    check_choice("--format", form := "json" if as_json else form, tables.FORMATS)
    of_files = option.FileOptions(arm, pair, baseline, outcome, last, ignore or [], lower_is_better, margin)
    if option.is_file(sources or []):
        refused = {"--at": at != "last", "--tune": bool(tune), "--by-layer": by_layer, "--by-image": images}
        results = of_files.read(sources or [], metric, by or [], missing=missing, refused=refused)
        grammar = (metric, [*(by or [])])
        expectations = [expectation for text in expect or [] for expectation in _expectations(text, grammar)]
        _print_comparison(comparison.compare_table(results), expectations, form, p_values=p_values)
        return
    of_files.refuse()
    comparison.find_metric(metric, at)
    expectations = [expectation for text in expect or [] for expectation in _expectations(text)]
    if by_layer and form not in ("table", "json"):
        raise config.ConfigError(f"not available with --format {form}; use table or json", where="--by-layer")
    read = ("metrics.csv", *(["predictions.csv.gz"] if images else []), *(["gradients.csv"] if by_layer else []))
    results = comparison.order_by(_results(sources, runs_dir, read), by or [])
    compared = comparison.compare_results(results, metric, at, tune=tune or [], unmatched=unmatched, images=images)
    if by_layer:
        compared = replace(compared, by_layer=tuple(comparison.layer_gradients(results, comparison.layer_logs(results))))
    _print_comparison(compared, expectations, form, p_values=p_values, unmatched=unmatched, missing=missing, judged=results)


def _print_comparison(
    compared: "Comparison",
    expectations: Sequence[tuple[str, config.Expectation]],
    form: str,
    *,
    p_values: bool,
    unmatched: bool = False,
    missing: bool = False,
    judged: runs.Results | None = None,
) -> None:
    """Prints a comparison and the verdicts, and ends the program if a trial is missing or a hypothesis is not met.

    judged: the results that hypotheses are about, if `compared` shows another point in training.
    """
    from resexp import claims, tables  # noqa: PLC0415 - as above

    results = judged or compared.results
    judgments = [(kind, claims.judge(expectation, results)) for kind, expectation in expectations]
    lines = [
        line
        for kind, judgments in [(tables.PRIMARY, claims.primaries(results)), *judgments]
        for line in tables.verdict_lines(kind, judgments)
    ]
    console = Console()
    if form == "table" and console.is_terminal:
        print_lines(console, tables.comparison_lines(compared, lines, p_values=p_values, width=min(console.width, MAX_WIDTH)))
    else:
        print_result(tables.FORMATS[form](compared, lines, p_values=p_values))
    if compared.by_layer and form == "table":
        print_result("\n" + "\n".join(tables.by_layer_lines(compared.by_layer)))
    _fail_if_incomplete(results, missing=missing)
    _refuse_unmatched(compared.cells, unmatched=unmatched)
    unmet = [judgment for _, verdicts in judgments for judgment in verdicts if judgment.verdict != claims.Verdict.SUPPORTED]
    if unmet:
        more = f" (and {len(unmet) - 1} more)" if len(unmet) > 1 else ""
        fail(f"not met: {unmet[0].expectation.text}: {tables.verdict_line(unmet[0])}{more}", UNMET)


def _expectations(text: str, table: tuple[str, Sequence[str]] | None = None) -> list[tuple[str, config.Expectation]]:
    """(kind, expectation) of one --expect. Text that is not a file is a hypothesis if it contains a colon or a relation."""
    from resexp import claims  # noqa: PLC0415 - as above

    if table is not None:
        return [("hypothesis", config.parse_expectation(text, table=table))]
    if any(sign in text for sign in ":<>") and not text.endswith((".yaml", ".yml")) and not claims.is_file(text):
        return [("hypothesis", config.parse_expectation(text))]
    return [(" ".join(f"claimed: {claim.text} ({claim.source})".split()), claim.expectation) for claim in claims.read(text)]


def _refuse_unmatched(cells: "Sequence[Cell]", *, unmatched: bool) -> None:
    unmatched_arms = [arm for cell in cells for arm in cell.arms if arm.unmatched]
    if unmatched_arms and not unmatched:
        arm, *others = unmatched_arms
        more = f" (and {len(others)} more arms)" if others else ""
        fail(
            f"{arm.name} has no matching plain network and was not compared: the closest one also differs in "
            f"{'; '.join(arm.unmatched)}{more}. To compare them anyway, add --allow-unmatched",
            UNMET,
        )


def _results(sources: list[str] | None, runs_dir: Path, read: Sequence[str] = ()) -> runs.Results:
    """The results of the named experiments, or of the last one started."""
    chosen: Sequence[str | None] = sources or [None]
    folders = [experiment_folder(source, runs_dir) for source in chosen]
    with reading() as track:
        return runs.read_results(folders, read, track)


def _fail_if_incomplete(results: runs.Results, *, missing: bool = True) -> None:
    """Ends the program if trials are damaged, or unfinished without --allow-missing; called after the results are printed."""
    damaged = [record for record in results.records if record.state == "damaged"]
    if damaged:
        more = f" (and {len(damaged) - 1} more trials)" if len(damaged) > 1 else ""
        command = shlex.join(["resexp", "doctor", str(damaged[0].folder.parent.parent)])
        fail(f"{damaged[0].reason}{more}. Run `{command}` for details", FAILED)
    states = [record.state for record in results.records if record.result is None]
    if states and not missing:
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        fail(
            f"{len(states)} of {len(results.records)} trials have not finished ({counts}), so their seeds are left out of the "
            "comparison. To accept this, add --allow-missing",
            FAILED,
        )


# ---- watch ----------------------------------------------------------------------------------------------------------------


@app.command(epilog="Example: resexp watch digits --speed 10")
def watch(
    source: RunArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Replay a finished experiment at this multiple of its real speed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the current state as JSON and exit.")] = False,
) -> None:
    """Follow a running experiment from any terminal, or replay a finished one with --speed."""
    from resexp import screen  # noqa: PLC0415 - as above

    folder = experiment_folder(source, runs_dir)
    experiment = runs.read_experiment(folder)
    if as_json and speed:
        raise config.ConfigError("--json prints the current state, not a replay; omit --speed", where="--speed")
    if as_json:
        shot = screen.snapshot(folder, experiment, 0.0, {})
        trials = [{**vars(row), "trial": row.trial.name} for row in shot.rows]
        print_document("watch", name=shot.name, question=shot.question, done=screen.work_done(shot.rows), trials=trials)
        return
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

ChartsOption = Annotated[str | None, typer.Option(help="Names of the charts to write, comma-separated. Default: all.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Show only these configurations in the written charts, as depth=20. Repeatable."),
]
WidthOption = Annotated[
    str | None, typer.Option(help="Total width of each written chart, with axes: 3.25in, 8cm, 80mm, 234pt or 800px.")
]
SlidesOption = Annotated[
    bool,
    typer.Option(
        "--slides", help="Write each chart as a slide of 1920 x 1080 pixels (default: PNG) with its title and sentences."
    ),
]


@app.command(epilog="Example: resexp report digits --open")
def report(
    sources: SourcesArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    tune: option.TuneOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File, folder, or - for stdout. Default: the folder of the experiment, or --runs for several.",
            callback=expand,
        ),
    ] = None,
    figures: Annotated[
        str | None, typer.Option(help="Also write the charts to figures/ next to the report, comma-separated: png, svg, pdf.")
    ] = None,
    charts: ChartsOption = None,
    where: WhereOption = None,
    width: WidthOption = None,
    slides: SlidesOption = False,
    form: Annotated[
        str | None,
        typer.Option("--format", help="Output format: html, md or text. Default: from the file name extension, else html."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the paths of the written files as JSON.")] = False,
) -> None:
    """Write a self-contained report as HTML, Markdown or text.

    Several experiments give one report, in the folder of --runs or, if that does not exist, in the current folder.
    """
    with stages() as announce:
        announce("importing altair")
        from resexp import report as reports  # noqa: PLC0415 - as above

    form = _form_of(output, form, reports.FORMATS)
    pictures = reports.Pictures(_names(figures or ("png" if slides else "")), _names(charts), where or [], width or "", slides)
    pictures.check()
    if output == Path("-") and (pictures.formats or show or as_json):
        option = "--figures" if pictures.formats else "--open" if show else "--json"
        raise config.ConfigError(f"{option} needs a file; choose -o FILE", where="-o -")
    results = _results(sources, runs_dir, reports.READ_FILES)
    reports.restricted(results, pictures.where)
    with reading("logs", f"writing the report of {results.name}", is_stage=True) as track:
        text = reports.FORMATS[form](results, tune or [], track)
    if output == Path("-"):
        write(text, encoding="utf-8" if form == "html" else None)
    else:
        path = _report_file(output, results, runs_dir, form)
        runs.write_text(path, text)
        saved = reports.save_figures(results, path.parent / "figures", pictures) if pictures.formats else []
        if as_json:
            print_document("report", format=form, report=str(path), figures=[str(figure) for figure in saved])
        else:
            print_result("\n".join(str(file) for file in (*saved, path)))
        if show:
            typer.launch(str(path))
    _fail_if_incomplete(results)


def _report_file(output: Path | None, results: runs.Results, runs_dir: Path, form: str) -> Path:
    """The file of the report, in a folder that exists now."""
    folder = results.sources[0][0] if len(results.sources) == 1 else runs_dir if runs_dir.is_dir() else Path()
    name = f"report.{'txt' if form == 'text' else form}"
    path = output / name if output and output.is_dir() else output or folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _names(text: str | None) -> list[str]:
    """The names of a comma-separated list, without duplicates."""
    return list(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


FORMAT_OF_EXTENSION = {".html": "html", ".htm": "html", ".md": "md", ".txt": "text"}


def _form_of(output: Path | None, form: str | None, forms: Collection[str]) -> str:
    """The requested format, otherwise the format of the file name extension.

    Raises:
        ConfigError: a file name extension that contradicts `form`, or is not a report format.
    """
    if form:
        check_choice("--format", form, forms)
    extension = output.suffix.lower() if output and not output.is_dir() else ""
    if extension == ".pdf":
        hint = "write HTML and print it from a browser, or add --figures pdf for the charts"
        raise config.ConfigError(f"a report is HTML, Markdown or text; {hint}", where=f"-o {output}")
    form_of_name = FORMAT_OF_EXTENSION.get(extension)
    if form_of_name is None and extension and form is None:
        raise config.ConfigError(
            f"{extension} is not a report format; use one of {', '.join(FORMAT_OF_EXTENSION)}, or add --format",
            where=f"-o {output}",
        )
    if form_of_name and form and form_of_name != form:
        raise config.ConfigError(
            f"the file name says {form_of_name}, but --format says {form}; remove --format or rename the file",
            where=f"-o {output}",
        )
    return form or form_of_name or "html"
