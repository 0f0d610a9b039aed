"""The command line: parse, call, print, exit code. Nothing else prints; torch is imported by workers and `show` only."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

import resexp
from resexp import config, runs

app = typer.Typer(
    help="A laboratory for one question: what does a shortcut change?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
errors = Console(stderr=True, soft_wrap=True, highlight=False)

FAILED, USAGE = 1, 2

Runs = Annotated[Path, typer.Option("--runs", help="Results folder.", show_default=True)]
ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG|NAME", help="A YAML file, or the name of a shipped config.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, such as training.lr=0.01 seeds=3.")
]
RunArgument = Annotated[str | None, typer.Argument(metavar="[PATH|NAME]", help="An experiment; default the last one.")]


def main() -> None:
    """Runs the program; every expected error is one line on stderr and an exit code."""
    try:
        app()
    except (config.ConfigError, runs.RunsError) as error:
        stop(str(error), USAGE)
    except OSError as error:
        stop(f"{error.filename or 'input/output'}: {error.strerror or error}", FAILED)


def stop(message: str, code: int) -> None:
    """One line on stderr, and the end."""
    errors.print(f"resexp: {message}", markup=False)
    sys.exit(code)


def say(text: str) -> None:
    """A result, on stdout."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def note(text: str) -> None:
    """A remark on what is going on, on stderr."""
    errors.print(text, markup=False)


@app.callback(invoke_without_command=True)
def version(
    *, show: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and exit.")] = False
) -> None:
    """A laboratory for one question: what does a shortcut change?"""
    if show:
        say(f"resexp {resexp.__version__}")
        raise typer.Exit


# ---- train ----------------------------------------------------------------------------------------------------------------


@app.command()
def train(
    source: ConfigArgument,
    overrides: Overrides = None,
    *,
    runs_dir: Runs = Path("runs"),
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes that train at once; default by the cores.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be trained, write nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Set an older experiment of that name aside first.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Train every trial of an experiment; the same command continues one that was stopped."""
    from resexp import executors, tables  # noqa: PLC0415 - `--help` starts without them

    experiment = config.load(source, [*(overrides or []), *([f"device={device}"] if device else [])])
    folder = runs_dir / experiment.name
    if not fresh:
        runs.check_unchanged(experiment, folder)
    with executors.Pool() as pool, _stopping(pool) as interrupted:
        prepared = executors.prepare(pool, experiment)
        existing = None if fresh else runs.read_plan(folder)
        plan = config.make_plan(experiment, prepared["device"], executors.cores(), existing)
        if dry_run:
            say(_plan_text(experiment, plan, prepared))
            return
        aside = runs.set_aside(folder) if fresh else None
        if aside:
            note(f"the older experiment is now {aside}")
        with runs.lock(folder):
            start = runs.start_entry(prepared, ["resexp", *sys.argv[1:]])
            runs.begin(experiment, folder, plan, start, prepared["cards"])
            pool.grow(executors.jobs_for(plan.threads, jobs, plan.device))
            _follow(executors.train_cohorts(pool, folder, experiment, plan), folder, experiment, quiet=quiet or as_json)
            tables.write_accuracy(folder, experiment)
    _conclude(folder, experiment, interrupted, as_json=as_json)


def _conclude(folder: Path, experiment: config.Experiment, interrupted: list[int], *, as_json: bool) -> None:
    from resexp import tables  # noqa: PLC0415 - as above

    states = runs.states(folder, experiment)
    if as_json:
        say(tables.as_json(folder, experiment))
    finished = sum(state.state == "finished" for state in states)
    failed = [state for state in states if state.state == "failed"]
    note(f"{finished} of {len(states)} trials finished; results in {folder}")
    for state in failed:
        note(f"failed: {state.trial.name}: {runs.status(state.folder).get('reason', 'unknown reason')}")
    if interrupted:
        note(f"interrupted; continue with: {_command()}")
        sys.exit(128 + interrupted[0])
    if failed:
        sys.exit(FAILED)


def _command() -> str:
    import shlex  # noqa: PLC0415 - one call

    return shlex.join(["resexp", *sys.argv[1:]])


@contextmanager
def _stopping(pool: Any) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM asks the workers to save and stop, the second ends them; yields the signals seen."""
    seen: list[int] = []

    def heard(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            pool.kill()
            os._exit(128 + number)
        pool.stopping.set()
        note("stopping after this step; once more to stop at once")

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _follow(ticks: Iterator[None], folder: Path, experiment: config.Experiment, *, quiet: bool) -> None:
    """Shows what lies in runs/ while the trials are being trained."""
    from resexp import screen  # noqa: PLC0415 - as above

    finished: dict[str, screen.Row] = {}
    begun = time.monotonic()
    before = screen.work_done(screen.snapshot(folder, experiment, 0.0, finished).rows)
    console = Console(stderr=True)
    if quiet:
        for _ in ticks:
            pass
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for _ in ticks:
                shot = screen.snapshot(folder, experiment, time.monotonic() - begun, finished, before)
                live.update(screen.render(shot), refresh=True)
    else:
        printed = dict.fromkeys(finished, -1)
        for _ in ticks:
            screen.snapshot(folder, experiment, 0.0, finished)
            for line in screen.epoch_lines(folder, experiment, printed, finished):
                note(line)


def _plan_text(experiment: config.Experiment, plan: config.Plan, prepared: dict[str, Any]) -> str:
    lines = [f"{experiment.name}: {len(experiment.trials)} trials on {plan.device}, {plan.threads} thread(s) each"]
    if experiment.question:
        lines.append(experiment.question)
    lines += [f"  {trial.name}  {prepared['steps'][trial.name]} steps" for trial in experiment.trials]
    return "\n".join(lines)


# ---- compare --------------------------------------------------------------------------------------------------------------


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

    _among("--format", form, tables.TABLES)
    _among("--metric", metric, tables.METRICS)
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
    _among("--format", form, writers)
    path = output or folder / f"report.{'txt' if form == 'text' else form}"
    if not path.parent.is_dir():
        raise runs.RunsError(f"{path.parent}: no such folder for the report")
    runs.write_text(path, writers[form](folder, experiment))
    for written in reports.save_figures(folder, experiment, figures.split(",")) if figures else []:
        say(str(written))
    say(str(path))
    if show:
        typer.launch(str(path))


# ---- looking without training ---------------------------------------------------------------------------------------------


@app.command()
def show(source: ConfigArgument, overrides: Overrides = None) -> None:
    """Show layers, shapes, parameters, multiply-adds and the card of every pair, without training."""
    from resexp import describe  # noqa: PLC0415 - the one command that needs torch in this process

    say(describe.describe(config.load(source, overrides or [])))


configs_app = typer.Typer(help="List, print or copy the configs that come with resexp.", no_args_is_help=True)
app.add_typer(configs_app, name="configs")


@configs_app.command("ls")
def configs_ls() -> None:
    """List the shipped configs and the question that each asks."""
    for name in config.shipped():
        say(f"{name:<18}{config.load(name).question}")


@configs_app.command("show")
def configs_show(name: Annotated[str, typer.Argument(help="A shipped config.")]) -> None:
    """Print a shipped config."""
    say(_shipped(name).read_text(encoding="utf-8"))


@configs_app.command("cp")
def configs_cp(
    name: Annotated[str, typer.Argument(help="A shipped config.")],
    target: Annotated[Path, typer.Argument(help="File or folder to copy it to.")] = Path(),
) -> None:
    """Copy a shipped config, to be changed."""
    path = target / f"{name}.yaml" if target.is_dir() else target
    if path.exists():
        raise runs.RunsError(f"{path}: exists already; choose another name")
    runs.write_text(path, _shipped(name).read_text(encoding="utf-8"))
    say(str(path))


def _shipped(name: str) -> Path:
    found = config.shipped()
    if name not in found:
        raise config.ConfigError(
            f"no shipped config of that name ({', '.join(found)}){config.nearest(name, found)}", where=name
        )
    return found[name]


@app.command()
def schema() -> None:
    """Print the JSON schema of a config, for editors."""
    say(json.dumps(config.schema(), indent=1))


def _among(option: str, value: str, allowed: dict[str, Any]) -> None:
    if value not in allowed:
        raise config.ConfigError(f"{value!r} is not one of {', '.join(allowed)}", where=option)


if __name__ == "__main__":
    main()
