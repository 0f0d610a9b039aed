"""`resexp time`: the duration of a training step of each network variant."""

from pathlib import Path
from typing import Annotated

import typer

from resexp import runs
from resexp.cli.program import ConfigArgument, OverridesArgument, RunsOption, app, log, print_result, stages


@app.command("time")
def time_arms(
    source: ConfigArgument,
    overrides: OverridesArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    device: Annotated[str | None, typer.Option(help="Device: auto, cpu, cuda, cuda:1 or mps.")] = None,
) -> None:
    """Benchmark one training step of each network variant, trained individually.

    The steps of all variants are interleaved. Prints medians and quartiles and writes them to cost.csv.
    """
    from resexp import executors, tables  # noqa: PLC0415 - `--help` starts without them
    from resexp.executors import workers  # noqa: PLC0415 - as above

    changes = [*(overrides or []), *([f"device={device}"] if device else [])]
    experiment, folder, _ = runs.target(source, changes, runs_dir)
    with stages() as announce, executors.Pool(1, announce) as pool:
        costs = pool.call("timing a step of each arm", workers.time_arms, experiment)
    print_result("\n".join(tables.cost_lines(experiment.name, costs)))
    path = folder / "cost.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    runs.write_rows(path, [tuple(cost.values()) for cost in costs])
    log(str(path))
