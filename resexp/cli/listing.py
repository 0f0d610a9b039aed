"""`resexp ls`: the experiments in a results folder."""

from pathlib import Path

from resexp import runs
from resexp.cli.printing import FormatOption, JsonOption, check_format, print_parts
from resexp.cli.program import RunsOption, app, busy


@app.command("ls")
def list_experiments(*, runs_dir: RunsOption = Path("runs"), form: FormatOption = "table", as_json: JsonOption = False) -> None:
    """List the experiments in a results folder: state, finished trials, last start and question."""
    from resexp import tables  # noqa: PLC0415 - `--help` starts without them

    form = check_format(form, as_json=as_json)
    with busy("reading results"):
        table = tables.experiment_list([tables.listed_experiment(folder) for folder in runs.experiments(runs_dir)])
    print_parts([table] if table.rows or form != "table" else [f"{runs_dir}: contains no experiment yet"], form, "ls")
