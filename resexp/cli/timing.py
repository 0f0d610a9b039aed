"""`resexp time`: the duration of a training step of each network variant."""

from pathlib import Path
from typing import Annotated

import typer

from resexp import runs
from resexp.cli.printing import FormatOption, JsonOption, check_format, print_parts
from resexp.cli.program import ConfigArgument, ImportOption, OverridesArgument, RunsOption, app, import_variants, log, stages


@app.command("time", epilog="Example: resexp time digits")
def time_arms(
    source: ConfigArgument,
    overrides: OverridesArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    device: Annotated[str | None, typer.Option(help="Device: auto, cpu, cuda, cuda:1 or mps.")] = None,
    imports: ImportOption = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Benchmark one training step of each network variant, trained individually.

    The steps of all variants are interleaved. Prints medians and quartiles and writes them to cost.csv.
    """
    from resexp import executors, extensions, tables  # noqa: PLC0415 - `--help` starts without them
    from resexp.executors import workers  # noqa: PLC0415 - as above

    form = check_format(form, as_json=as_json)
    import_variants(imports)
    changes = [*(overrides or []), *([f"device={device}"] if device else [])]
    experiment, folder, _ = runs.target(source, changes, runs_dir)
    extensions.use(experiment)
    with stages() as announce, executors.Pool(1, announce) as pool:
        costs = pool.call("timing a step of each arm", workers.time_arms, experiment)
    print_parts(
        [tables.costs_of_steps(experiment.name, costs, tables.cell_labels(experiment))], form, "time", name=experiment.name
    )
    path = folder / "cost.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    runs.write_rows(path, [tuple(cost.values()) for cost in costs])
    log(str(path))
