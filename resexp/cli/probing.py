"""`resexp probe`: gradients and signals at initialisation, measured beside predicted."""

from pathlib import Path
from typing import Annotated

import typer

from resexp import config, runs
from resexp.cli.program import ConfigArgument, Overrides, Runs, app, print_result, stages


@app.command()
def probe(
    source: ConfigArgument,
    overrides: Overrides = None,
    *,
    runs_dir: Runs = Path("runs"),
    batches: Annotated[int, typer.Option(min=1, max=1000, help="Batches that each seed is measured on.")] = 1,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a row per arm, quantity and place as CSV.")] = False,
) -> None:
    """Measure gradients and signals of every arm before training, beside what theory predicts; writes nothing."""
    from resexp import executors, tables  # noqa: PLC0415 - `--help` starts without them

    if as_json and as_csv:
        raise config.ConfigError("choose one of --json and --csv", where="--csv")
    changes = [*(overrides or []), *([f"device={device}"] if device else [])]
    experiment = config.load(runs.readable(source, runs_dir), changes)
    with stages() as announce, executors.Pool(1, announce) as pool:
        found = tables.init_diagnostics(experiment, executors.initial_diagnostics(pool, experiment, batches))
    if as_json or as_csv:
        print_result(tables.probe_json(found) if as_json else tables.probe_csv(found))
    else:
        print_result("\n".join(tables.probe_lines(experiment.name, found, batches, experiment.shared.training.batch_size)))
