"""`resexp show`, `configs`, `schema` and `doctor`: commands that inspect and do not train."""

import json
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from resexp import config, runs
from resexp.cli import completion
from resexp.cli.printing import FormatOption, JsonOption, OnlyJsonOption, check_format, print_document, print_parts
from resexp.cli.program import (
    FAILED,
    ConfigArgument,
    ImportOption,
    OverridesArgument,
    RunsOption,
    app,
    check_choice,
    endings_remark,
    import_variants,
    log,
    print_result,
    stages,
)
from resexp.config.parsing import read_document


@app.command(epilog="Example: resexp show digits network.depth=64")
def show(
    source: ConfigArgument,
    overrides: OverridesArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    show_all: Annotated[
        bool, typer.Option("--all", help="Print the cost of every layer and the summary of every pair.")
    ] = False,
    imports: ImportOption = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Show the cost of each network and what pairs have in common, without training."""
    form = check_format(form, as_json=as_json)
    with stages() as announce:
        announce("starting torch")
        import_variants(imports)
        experiment = config.load(runs.readable(source, runs_dir), overrides or [])
        from resexp import describe, extensions, tables  # noqa: PLC0415 - `--help` starts without them

        extensions.use(experiment)

        announce(f"reading {experiment.shared.data.name} and measuring the pairs at initialization")
        description = describe.describe(experiment)
    labels = tables.cell_labels(experiment)
    networks = [
        tables.NetworkRows("; ".join(tables.cell_text(cell, labels) for cell in cells), arm, describe.folded(cost.layers), cost)
        for cells, arm, cost in description.networks
    ]
    parts: list[tables.Part] = [experiment.name, *([experiment.question] if experiment.question else [])]
    parts += ["", description.images, tables.layer_costs(networks) if show_all else tables.network_costs(networks)]
    if description.pair_summaries:
        parts += ["", *tables.pair_overview(description.pair_summaries, labels)] if form in ("table", "md") else []
        parts += [tables.matched_pairs(description.pair_summaries, labels)] if show_all or form not in ("table", "md") else []
    parts += ["", f"no pair summaries: {description.missing}"] if description.missing else []
    parts += [] if show_all else ["", "To print every layer and every pair, add --all."]
    values = {"name": experiment.name, "question": experiment.question, "images": description.images}
    print_parts(parts, form, "show", **values, missing=description.missing)


ShippedArgument = Annotated[str, typer.Argument(help="Name of a shipped config.", autocompletion=completion.configs)]
configs_app = typer.Typer(
    help="List, print or copy the shipped configs.", epilog="Example: resexp configs cp digits my.yaml", no_args_is_help=True
)
app.add_typer(configs_app, name="configs")


@configs_app.command("ls", epilog="Example: resexp configs ls")
def configs_ls(*, as_json: OnlyJsonOption = False) -> None:
    """List the shipped configs with the question of each."""
    questions = {name: config.load(name).question or "" for name in config.shipped()}
    if as_json:
        print_document("configs-ls", configs=[{"name": name, "question": text} for name, text in questions.items()])
        return
    width = max(map(len, questions)) + 2
    for name, question in questions.items():
        print_result(textwrap.fill(f"{name:<{width}}{question}", 80, subsequent_indent=" " * width, break_on_hyphens=False))


@configs_app.command("show", epilog="Example: resexp configs show digits")
def configs_show(name: ShippedArgument, *, as_json: OnlyJsonOption = False) -> None:
    """Print a shipped config."""
    path = _shipped(name)
    text = path.read_text(encoding="utf-8")
    if as_json:
        print_document("configs-show", name=name, text=text, config=read_document(path)[0])
    else:
        print_result(text)


@configs_app.command("cp", epilog="Example: resexp configs cp digits my.yaml")
def configs_cp(
    name: ShippedArgument,
    target: Annotated[Path, typer.Argument(help="File or folder to copy to.")] = Path(),
) -> None:
    """Copy a shipped config for editing, and next to it the schema with which editors complete and check it."""
    path = target / f"{name}.yaml" if target.is_dir() else target
    if path.exists():
        raise runs.RunsError(f"{path}: already exists; choose another name")
    runs.write_text(path, _shipped(name).read_text(encoding="utf-8"))
    print_result(str(path))
    schema_path = path.with_name(config.SCHEMA_FILE)
    if not schema_path.exists():
        runs.write_text(schema_path, _as_json(config.schema()))
        log(f"{schema_path}: the schema that the first line of the config names, for editors")


def _shipped(name: str) -> Path:
    paths = config.shipped()
    if name not in paths:
        raise config.ConfigError(
            f"no shipped config has this name; choose one of {', '.join(paths)}{config.did_you_mean(name, paths)}", where=name
        )
    return paths[name]


@app.command(epilog="Example: resexp schema compare")
def schema(
    command: Annotated[
        str | None, typer.Argument(help="A command with --json, as compare, probe-module or configs-ls. Default: configs.")
    ] = None,
) -> None:
    """Print the JSON schema of a config, for editors, or of the JSON that a command prints."""
    from resexp import tables  # noqa: PLC0415 - `--help` starts without them

    if command:
        check_choice("COMMAND", command, tables.DOCUMENTS)
    print_result(_as_json(tables.output_schema(command) if command else config.schema()))


def _as_json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


@app.command("doctor", epilog="Example: resexp doctor runs")
def check_installation(
    folder: Annotated[Path | None, typer.Argument(metavar="[RUNS]", help="A results folder or one experiment in it.")] = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    fix: Annotated[bool, typer.Option("--fix", help="Restore line endings that git has changed.")] = False,
    as_json: OnlyJsonOption = False,
) -> None:
    """Check the installation, find damaged files in a results folder, and say how to repair them."""
    checked = folder or runs_dir
    with stages() as announce:
        announce("starting torch")
        from resexp import doctor  # noqa: PLC0415 - needs torch in this process

        announce("reading the data sets")
        installation = doctor.installation()
    if not as_json:
        print_result("\n".join(installation))
    if folder and not folder.is_dir():
        raise runs.RunsError(f"{folder}: no such folder")
    with stages() as announce:
        announce(f"checking {checked}")
        experiments = runs.experiments(checked)
        remarks = [_endings(experiment, fix=fix) for experiment in experiments if runs.line_endings_changed(experiment)]
        damaged = [line for experiment in experiments for line in runs.examine(experiment)]
    count = f"{len(experiments)} experiment{'' if len(experiments) == 1 else 's'}"
    if as_json:
        counts = {"experiments": len(experiments), "damaged": damaged, "remarks": remarks}
        print_document("doctor", installation=installation, runs=str(checked), **counts)
    else:
        print_result("\n".join([f"{checked}: {count}, {len(damaged) or 'nothing'} damaged", *damaged, *remarks]))
    if damaged:
        sys.exit(FAILED)


def _endings(folder: Path, *, fix: bool) -> str:
    """A remark on an experiment whose line endings git has changed; restores them first if requested."""
    if not fix:
        return endings_remark(folder)
    with runs.lock(folder):
        runs.write_attributes(folder)
        return f"{folder}: line endings restored in {runs.restore_line_endings(folder)} files"
