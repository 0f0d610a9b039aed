"""`resexp ls`, `pack` and `rm`: the experiments in a results folder."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from resexp import runs
from resexp.cli import completion
from resexp.cli.printing import FormatOption, JsonOption, OnlyJsonOption, check_format, print_document, print_parts
from resexp.cli.program import RunArgument, RunsOption, app, busy, expand, experiment_folder, print_result


@app.command("ls", epilog="Example: resexp ls --json")
def list_experiments(*, runs_dir: RunsOption = Path("runs"), form: FormatOption = "table", as_json: JsonOption = False) -> None:
    """List the experiments in a results folder: state, finished trials, last start and question."""
    from resexp import tables  # noqa: PLC0415 - `--help` starts without them

    form = check_format(form, as_json=as_json)
    with busy("reading results"):
        table = tables.experiment_list([tables.listed_experiment(folder) for folder in runs.experiments(runs_dir)])
    print_parts([table] if table.rows or form != "table" else [f"{runs_dir}: contains no experiment yet"], form, "ls")


@app.command(epilog="Example: resexp pack lesson -o maria.zip")
def pack(
    source: RunArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File or folder. Default: NAME.zip in this folder.", callback=expand)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    as_json: OnlyJsonOption = False,
) -> None:
    """Write the results of an experiment as one zip file, without weights and checkpoints.

    After unpacking, compare, report and watch work as before. The folder in the zip file has the name of the file.
    """
    folder = _with_name(experiment_folder(source, runs_dir))
    name = f"{folder.name}.zip"
    path = output / name if output and output.is_dir() else output or Path(name)
    if path.exists() and not force:
        raise runs.RunsError(f"{path}: already exists; choose another file with -o, or add --force to overwrite it")
    with busy(f"packing {folder}", quiet=as_json):
        content, files = runs.pack(folder, path.stem)
        runs.write_bytes(path, content)
    if as_json:
        print_document("pack", experiment=str(folder), file=str(path), files=files, bytes=len(content))
    else:
        print_result(f"{path}: {files} files of {folder}, {len(content) / 1e6:.1f} MB, without weights and checkpoints")


@app.command("rm", epilog="Example: resexp rm lesson")
def remove(
    sources: Annotated[
        list[str], typer.Argument(metavar="PATH|NAME...", help="Experiments.", autocompletion=completion.experiments)
    ],
    *,
    runs_dir: RunsOption = Path("runs"),
    as_json: OnlyJsonOption = False,
) -> None:
    """Move experiments to .trash in their results folder. Nothing is deleted."""
    folders = {folder.resolve(): folder for folder in (_with_name(runs.find(source, runs_dir)) for source in sources)}.values()
    running = [folder for folder in folders if runs.is_training(folder)]
    if running:
        raise runs.RunsError(f"{running[0]}: is being trained; stop that process first. Nothing was moved")
    moved = [(str(folder), str(runs.move_to_trash(folder))) for folder in folders]
    if as_json:
        print_document("rm", moved=[{"experiment": folder, "trash": target} for folder, target in moved])
        return
    for name, target in moved:
        print_result(f"{name} was moved to {target}. To restore it: {shlex.join(['mv', target, name])}")


def _with_name(folder: Path) -> Path:
    """The same folder by a path that ends with its name, unlike the paths . and .."""
    return folder if folder.name not in ("", "..") else folder.resolve()
