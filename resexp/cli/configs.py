"""`resexp show`, `configs`, `schema` and `doctor`: looking without training."""

import json
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from resexp import config, runs
from resexp.cli.program import FAILED, ConfigArgument, Overrides, Runs, app, endings_remark, print_result, stages


@app.command()
def show(source: ConfigArgument, overrides: Overrides = None, *, runs_dir: Runs = Path("runs")) -> None:
    """Show what each layer costs (parameters, multiply-adds, activations) and the card of every pair, without training."""
    experiment = config.load(runs.readable(source, runs_dir), overrides or [])
    with stages() as announce:
        announce("starting torch")
        from resexp import describe, tables  # noqa: PLC0415 - `--help` starts without them

        announce(f"reading {experiment.shared.data.name} and measuring the pairs at initialization")
        layers, pair_summaries, missing = describe.describe(experiment)
    head = [experiment.name, *([experiment.question] if experiment.question else [])]
    tail = ["", f"no cards: {missing}"] if missing else []
    print_result("\n".join(tables.fitted([*head, *layers, *tables.pair_summary_lines(pair_summaries), *tail])))


configs_app = typer.Typer(help="List, print or copy the configs that come with resexp.", no_args_is_help=True)
app.add_typer(configs_app, name="configs")


@configs_app.command("ls")
def configs_ls() -> None:
    """List the shipped configs and the question that each asks."""
    found = {name: config.load(name).question or "" for name in config.shipped()}
    wide = max(map(len, found)) + 2
    for name, question in found.items():
        print_result(textwrap.fill(f"{name:<{wide}}{question}", 80, subsequent_indent=" " * wide, break_on_hyphens=False))


@configs_app.command("show")
def configs_show(name: Annotated[str, typer.Argument(help="A shipped config.")]) -> None:
    """Print a shipped config."""
    print_result(_shipped(name).read_text(encoding="utf-8"))


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
    print_result(str(path))


def _shipped(name: str) -> Path:
    found = config.shipped()
    if name not in found:
        raise config.ConfigError(
            f"no shipped config of that name ({', '.join(found)}){config.did_you_mean(name, found)}", where=name
        )
    return found[name]


@app.command()
def schema() -> None:
    """Print the JSON schema of a config, for editors."""
    print_result(json.dumps(config.schema(), indent=1))


@app.command("doctor")
def look_after(
    folder: Annotated[Path | None, typer.Argument(metavar="[RUNS]", help="A results folder, or one experiment in it.")] = None,
    *,
    runs_dir: Runs = Path("runs"),
    fix: Annotated[bool, typer.Option("--fix", help="Restore line endings that git has changed.")] = False,
) -> None:
    """Say what is installed and works, and what in a results folder is damaged and would be mended how."""
    place = folder or runs_dir
    with stages() as announce:
        announce("starting torch")
        from resexp import doctor  # noqa: PLC0415 - needs torch in this process

        announce("reading the data sets")
        installation = doctor.installation()
    print_result("\n".join(installation))
    if folder and not folder.is_dir():
        raise runs.RunsError(f"{folder}: no such folder")
    with stages() as announce:
        announce(f"checking {place}")
        found = runs.experiments(place)
        remarks = [_endings(experiment, fix=fix) for experiment in found if runs.line_endings_changed(experiment)]
        damaged = [line for experiment in found for line in runs.examine(experiment)]
    count = f"{len(found)} experiment{'' if len(found) == 1 else 's'}"
    print_result("\n".join([f"{place}: {count}, {len(damaged) or 'nothing'} damaged", *damaged, *remarks]))
    if damaged:
        sys.exit(FAILED)


def _endings(folder: Path, *, fix: bool) -> str:
    """A remark on an experiment whose line endings git has changed, after restoring them if requested."""
    if not fix:
        return endings_remark(folder)
    with runs.lock(folder):
        runs.write_attributes(folder)
        return f"{folder}: line endings restored in {runs.restore_line_endings(folder)} files"
