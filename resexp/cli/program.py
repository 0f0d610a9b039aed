"""What all commands share: the program, its common arguments, and the three ways to say something."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import resexp
from resexp import config

app = typer.Typer(
    help="A laboratory for one question: what does a shortcut change?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
errors = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)  # file.yaml:100: is no emoji

FAILED, USAGE, UNMET = 1, 2, 3


def expand(parameter: typer.CallbackParam, value: Path | None) -> Path | None:
    """The path of an option with $VAR and ~ replaced, which shells leave as they are in --runs=~/here."""
    return value and config.expanded(value, parameter.opts[0])


Runs = Annotated[Path, typer.Option("--runs", help="Results folder.", show_default=True, callback=expand)]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", help="Folder of the images on this machine; default data.root, then RESEXP_DATA."),
]
ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG|NAME", help="A YAML file, or the name of a shipped config.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, such as training.lr=0.01 seeds=3.")
]
SourcesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[PATH|NAME]...", help="Experiments; default the last one.")
]
RunArgument = Annotated[str | None, typer.Argument(metavar="[PATH|NAME]", help="An experiment; default the last one.")]


def stop(message: str, code: int) -> None:
    """One line on stderr, and the end."""
    note(f"resexp: {message}")
    sys.exit(code)


def say(text: str) -> None:
    """A result, on stdout; nothing in it steers the terminal."""
    sys.stdout.write(config.visible(text if text.endswith("\n") else f"{text}\n", kept="\n\t"))


def note(text: str) -> None:
    """A remark on what is going on, on stderr; nothing in it steers the terminal."""
    errors.print(config.visible(text, kept="\n\t"), markup=False)


@app.callback(invoke_without_command=True)
def version(
    *, show: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and exit.")] = False
) -> None:
    """A laboratory for one question: what does a shortcut change?"""
    if show:
        say(f"resexp {resexp.__version__}")
        raise typer.Exit


def among(option: str, value: str, allowed: dict[str, Any]) -> None:
    if value not in allowed:
        raise config.ConfigError(f"{value!r} is not one of {', '.join(allowed)}", where=option)
