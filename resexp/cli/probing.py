"""`resexp probe`: gradients and activations at initialization, measured and, for networks of resexp, predicted."""

from pathlib import Path
from typing import Annotated

import typer

from resexp import config, runs
from resexp.cli.module_probing import ModuleOptions, probe_module
from resexp.cli.program import (
    DataOption,
    ImportOption,
    OverridesArgument,
    RunsOption,
    app,
    expand,
    import_variants,
    print_result,
    stages,
)

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG|NAME|MODULE:FACTORY",
        help="YAML file, name of a config or an experiment; or a function that returns a network, as net.py:make.",
    ),
]
NETWORK = "Networks from MODULE:FACTORY"

InputOption = Annotated[
    str | None,
    typer.Option(
        "--input", metavar="C,H,W", rich_help_panel=NETWORK, help="Shape of one input, tokens=VOCABULARY,LENGTH, or a data set."
    ),
]
ClassesOption = Annotated[
    int | None, typer.Option(min=2, rich_help_panel=NETWORK, help="Number of classes. Default: the outputs of the network.")
]
BatchOption = Annotated[int | None, typer.Option(min=2, rich_help_panel=NETWORK, help="Batch size. Default: 32.")]
SeedsOption = Annotated[int | None, typer.Option(min=1, rich_help_panel=NETWORK, help="Number of seeds. Default: 3.")]
AtOption = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", rich_help_panel=NETWORK, help="Modules whose outputs are the boundaries. Repeatable."),
]
LossOption = Annotated[
    str | None,
    typer.Option(rich_help_panel=NETWORK, help="Loss: cross-entropy (default), mse, or MODULE:FUNCTION(output, target)."),
]
FigureOption = Annotated[
    Path | None, typer.Option(rich_help_panel=NETWORK, help="Write a chart to this png, svg or pdf file.", callback=expand)
]
ExpectOption = Annotated[
    list[str] | None,
    typer.Option(metavar="EXPR", rich_help_panel=NETWORK, help="Exit with 3 unless 'gradient_growth > -0.1'. Repeatable."),
]
AllOption = Annotated[bool, typer.Option("--all", rich_help_panel=NETWORK, help="Print every boundary and layer.")]


@app.command(epilog="Example: resexp probe digits network.depth=64")
def probe(
    source: SourceArgument,
    overrides: OverridesArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    batches: Annotated[int | None, typer.Option(min=1, max=1000, help="Number of batches per seed. Default: 1.")] = None,
    device: Annotated[str | None, typer.Option(help="Device: auto, cpu, cuda, cuda:1 or mps.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all measurements as JSON.")] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV with one row per network variant, quantity and position.")
    ] = False,
    imports: ImportOption = None,
    shape: InputOption = None,
    classes: ClassesOption = None,
    batch: BatchOption = None,
    seeds: SeedsOption = None,
    at: AtOption = None,
    loss: LossOption = None,
    data: DataOption = None,
    figure: FigureOption = None,
    expect: ExpectOption = None,
    show_all: AllOption = False,
) -> None:
    """Measure gradients and activations at initialization, of a config or of any network.

    Trains nothing and writes no files, except with --figure.

    Example: resexp probe net.py:make --input 3,32,32
    """
    if as_json and as_csv:
        raise config.ConfigError("choose one of --json and --csv", where="--csv")
    options = ModuleOptions(shape, classes, batch, seeds, at or [], loss, data, figure, expect or [], show_all)
    if is_reference(source):
        if unused := [*(["--batches"] if batches else []), *(overrides or [])]:
            raise config.ConfigError("has no effect for MODULE:FACTORY; omit it", where=unused[0])
        probe_module(source, options, device, as_json=as_json, as_csv=as_csv)
    elif options.given:
        raise config.ConfigError("applies to MODULE:FACTORY only; change a config with KEY=VALUE", where=options.given[0])
    else:
        import_variants(imports)
        changes = [*(overrides or []), *([f"device={device}"] if device else [])]
        _probe_config(config.load(runs.readable(source, runs_dir), changes), batches or 1, as_json=as_json, as_csv=as_csv)


def is_reference(text: str) -> bool:
    """Whether a text has the form MODULE:NAME or FILE.py:NAME and is not the path of a file."""
    module, colon, name = text.rpartition(":")
    return bool(colon and module and name.replace(".", "_").isidentifier() and not Path(text).exists())


def _probe_config(experiment: config.Experiment, batches: int, *, as_json: bool, as_csv: bool) -> None:
    from resexp import executors, extensions, tables  # noqa: PLC0415 - `--help` starts without them
    from resexp.executors import workers  # noqa: PLC0415 - as above

    extensions.use(experiment)
    with stages() as announce, executors.Pool(1, announce) as pool:
        stage = f"measuring {len(experiment.trials)} networks at initialization"
        measurements = pool.call(stage, workers.initial_diagnostics, experiment, batches)
    diagnostics = tables.init_diagnostics(experiment, measurements)
    if as_json or as_csv:
        print_result(tables.probe_json(experiment.name, diagnostics) if as_json else tables.probe_csv(diagnostics))
    else:
        batch_size, labels = experiment.shared.training.batch_size, tables.cell_labels(experiment)
        parts = tables.probe_parts(experiment.name, diagnostics, batches, batch_size, labels)
        print_result(tables.as_lines([*parts, "", *tables.advice(tables.probe_diagnoses(experiment, diagnostics))]))
