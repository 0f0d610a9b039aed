"""Code that all commands share: the program, common arguments, and functions that print results, remarks and errors."""

import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

import resexp
from resexp import config, runs
from resexp.cli import completion
from resexp.cli.advice import Program
from resexp.cli.output import write

HELP = """Measure what skip connections (shortcuts) change in matched plain and residual networks.

Start with: resexp train digits"""
app = typer.Typer(
    cls=Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
errors = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)  # rich would read file.yaml:100: as an emoji

FAILED, USAGE, UNMET = 1, 2, 3
Item = TypeVar("Item")


def import_variants(references: list[str] | None) -> None:
    """Imports the files and modules of --import, and allows the names that installed packages offer."""
    from resexp import extensions  # noqa: PLC0415 - `--help` starts without it

    with redirect_stdout(sys.stderr):  # stdout contains the result alone
        extensions.begin(references or [])


def expand(parameter: typer.CallbackParam, value: Path | None) -> Path | None:
    """The path of an option with $VAR and ~ replaced; shells do not replace them in --runs=~/folder."""
    return value and config.expanded(value, parameter.opts[0])


RunsOption = Annotated[Path, typer.Option("--runs", help="Results folder.", show_default=True, callback=expand)]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="DIR", help="Folder with the images on this machine. Default: data.root, then $RESEXP_DATA."
    ),
]
ImportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="FILE.py|MODULE",
        help="Import this code first; it adds custom shortcuts, data sets, etc. Repeatable.",
    ),
]
ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG|NAME",
        help="YAML file, name of a shipped config, or name or path of an experiment.",
        autocompletion=completion.sources,
    ),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Overrides, such as training.lr=0.01 network.depth=8,64 seeds=3.",
        autocompletion=completion.overrides,
    ),
]
SourcesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH|NAME]...", help="Experiments. Default: the last one started.", autocompletion=completion.experiments
    ),
]
RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[PATH|NAME]", help="Experiment. Default: the last one started.", autocompletion=completion.experiments
    ),
]


def fail(message: str, code: int) -> NoReturn:
    """Prints one line on stderr and ends the program."""
    log(f"resexp: {message}")
    sys.exit(code)


def print_result(text: str) -> None:
    """Prints a result on stdout with control characters escaped."""
    write(config.escape_controls(text if text.endswith("\n") else f"{text}\n", kept="\n\t"))


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Prints lines of a result on a terminal, with the colors that it has."""
    console.print(Text("\n").join(lines), soft_wrap=True, highlight=False)


def log(text: str) -> None:
    """Prints a remark on stderr with control characters escaped."""
    errors.print(config.escape_controls(text, kept="\n\t"), markup=False)


def stage_line(stage: str) -> None:
    """Prints the current stage if stderr is not a terminal."""
    log(f"{stage} ...")


@contextmanager
def stages(*, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Yields a function that announces stages of work that takes seconds, such as "reading mnist", on stderr.

    A terminal shows the current stage; elsewhere each stage is a line. Calls after the context has ended do nothing.
    """
    spinner, stage = Spinner("line"), ""  # "line" is an ASCII spinner
    live = Live(spinner, console=errors, transient=True, redirect_stdout=False, redirect_stderr=False)

    def announce(text: str) -> None:
        nonlocal stage
        if text == stage or ended:
            return
        stage = text
        if live.is_started:
            spinner.update(text=Text(f"{config.escape_controls(text)} ..."))
        else:
            stage_line(text)

    ended = quiet
    with live if errors.is_terminal and not quiet else nullcontext():
        yield announce
    ended = True


@contextmanager
def busy(stage: str, *, quiet: bool = False) -> Iterator[None]:
    """Shows a stage on a terminal while the block runs; the block must not print to stdout. Elsewhere prints nothing."""
    with stages(quiet=quiet or not errors.is_terminal) as announce:
        announce(stage)
        yield


PATIENCE = 1.0  # seconds without a progress bar


@contextmanager
def reading(
    noun: str = "trials", verb: str = "reading", *, quiet: bool = False, is_stage: bool = False
) -> Iterator[Callable[[Sequence[Item]], Iterator[Item]]]:
    """Yields a function that yields the items of a list; on a terminal a bar counts them if reading takes a second.

    is_stage: elsewhere the verb is printed as the current stage.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415 - `--help` starts without it

    columns = [TextColumn(verb), BarColumn(), MofNCompleteColumn(), TextColumn(noun)]
    progress, begin = Progress(*columns, console=errors, transient=True), time.monotonic()
    task, shown = progress.add_task(noun, total=0), errors.is_terminal and not quiet
    if is_stage and not quiet and not errors.is_terminal:
        stage_line(verb)

    def track(items: Sequence[Item]) -> Iterator[Item]:
        progress.update(task, total=(progress.tasks[0].total or 0) + len(items))
        for item in items:
            if shown and not progress.live.is_started and time.monotonic() - begin >= PATIENCE:
                progress.start()
            yield item
            progress.advance(task)

    try:
        yield track
    finally:
        if progress.live.is_started:  # otherwise `stop` would print an empty line
            progress.stop()


@app.callback(invoke_without_command=True, help=HELP)
def version(
    *, show: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and exit.")] = False
) -> None:
    """Prints the version if requested."""
    if show:
        print_result(f"resexp {resexp.__version__}")
        raise typer.Exit


def experiment_folder(source: str | None, runs_dir: Path) -> Path:
    """The folder of an experiment, see `runs.find`; prints a remark if git has changed its line endings."""
    folder = runs.find(source, runs_dir)
    if runs.line_endings_changed(folder):
        log(endings_remark(folder))
    return folder


def endings_remark(folder: Path) -> str:
    command = shlex.join(["resexp", "doctor", str(folder), "--fix"])
    return f"{folder}: {runs.CHANGED}; the results are intact. Run `{command}` to restore the files"


def check_choice(option: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise config.ConfigError(f"{value!r} is not one of {', '.join(allowed)}", where=option)
