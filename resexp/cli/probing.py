"""`resexp probe`: gradients and activations at initialization, measured and predicted."""

from pathlib import Path
from typing import Annotated

import typer

from resexp import config, runs
from resexp.cli.program import ConfigArgument, OverridesArgument, RunsOption, app, print_result, stages


@app.command()
def probe(
    source: ConfigArgument,
    overrides: OverridesArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    batches: Annotated[int, typer.Option(min=1, max=1000, help="Number of batches per seed.")] = 1,
    device: Annotated[str | None, typer.Option(help="Device: auto, cpu, cuda, cuda:1 or mps.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all measurements as JSON.")] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV with one row per network variant, quantity and position.")
    ] = False,
) -> None:
    """Measure gradients and activations at initialization and compare them with theory.

    Trains nothing and writes no files.
    """
    from resexp import executors, tables  # noqa: PLC0415 - `--help` starts without them
    from resexp.executors import workers  # noqa: PLC0415 - as above

    if as_json and as_csv:
        raise config.ConfigError("choose one of --json and --csv", where="--csv")
    changes = [*(overrides or []), *([f"device={device}"] if device else [])]
    experiment = config.load(runs.readable(source, runs_dir), changes)
    with stages() as announce, executors.Pool(1, announce) as pool:
        stage = f"measuring {len(experiment.trials)} networks at initialization"
        measurements = pool.call(stage, workers.initial_diagnostics, experiment, batches)
    diagnostics = tables.init_diagnostics(experiment, measurements)
    if as_json or as_csv:
        print_result(tables.probe_json(diagnostics) if as_json else tables.probe_csv(diagnostics))
    else:
        batch_size, labels = experiment.shared.training.batch_size, tables.cell_labels(experiment)
        parts = tables.probe_parts(experiment.name, diagnostics, batches, batch_size, labels)
        print_result(tables.as_lines([*parts, "", *tables.advice(tables.probe_diagnoses(experiment, diagnostics))]))
