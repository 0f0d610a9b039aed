"""`resexp reproduce`: retrains finished trials and compares old and new results."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resexp import runs
from resexp.cli.printing import FormatOption, JsonOption, check_format, print_parts
from resexp.cli.program import (
    FAILED,
    UNMET,
    DataOption,
    ImportOption,
    RunArgument,
    RunsOption,
    app,
    experiment_folder,
    import_variants,
    log,
    reading,
    stages,
)
from resexp.cli.running import (
    BreakLockOption,
    JobsOption,
    QuietOption,
    VerboseOption,
    carry_out,
    prepare,
    print_summary,
    processes,
    stopping,
    with_data,
)
from resexp.runs import RunsError

OriginalDeviceOption = Annotated[
    str | None, typer.Option(help="Device: auto, cpu, cuda, cuda:1 or mps. Default: the device of the original.")
]
TrialsOption = Annotated[
    list[str] | None, typer.Option("--trial", help="Retrain only this trial and the others in its stack. Repeatable.")
]
if TYPE_CHECKING:
    from collections.abc import Sequence

    from resexp.reproduction import Reproduction
    from resexp.tables import Part


@app.command(epilog="Example: resexp reproduce digits")
def reproduce(
    source: RunArgument = None,
    *,
    runs_dir: RunsOption = Path("runs"),
    trials: TrialsOption = None,
    data: DataOption = None,
    device: OriginalDeviceOption = None,
    jobs: JobsOption = "auto",
    imports: ImportOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Rename an earlier reproduction and start over.")] = False,
    break_lock: BreakLockOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Retrain finished trials from their results folder and compare old and new results.

    The reproduction follows the same execution plan. Exit status 3: the results differ.
    """
    from resexp import executors, extensions, reproduction, tables  # noqa: PLC0415 - `--help` starts without them

    form, folder = check_format(form, as_json=as_json), experiment_folder(source, runs_dir)
    import_variants(imports)
    imported = extensions.use_as_recorded(runs.read_experiment(folder), folder)
    with reading(quiet=quiet) as track:
        original = reproduction.original(folder, trials or [], track)
    workers = processes(jobs)
    experiment, target = with_data(original.experiment, data), runs_dir / reproduction.FOLDER / folder.resolve().name
    if target.resolve() == folder.resolve():
        raise RunsError(f"{folder}: is itself a reproduction; to reproduce it, choose another results folder with --runs")
    plan = original.plan if fresh else reproduction.continued_plan(target, experiment, original.plan)
    done = all(runs.has_result(runs.trial_folder(target, trial.name)) for trial in experiment.trials)
    interrupted: list[int] = []
    if device or fresh or not done:
        with (
            ExitStack() as starting,
            executors.Pool(workers, starting.enter_context(stages(quiet=quiet))) as pool,
            stopping(pool) as interrupted,
        ):
            requested_plan = plan.model_copy(update={"device": device or plan.device})
            prepared = {**prepare(pool, experiment, requested_plan, quiet=quiet), "imports": imported}
            starting.close()
            _check_data_and_device(folder, None if fresh else target, prepared)
            plan = plan.model_copy(update={"device": prepared["device"]})
            if fresh and (archived := runs.archive(target)):
                log(f"the earlier reproduction was renamed to {archived}")
            carry_out(pool, target, experiment, prepared, plan=plan, break_lock=break_lock, quiet=quiet, verbose=verbose)
    code = print_summary(target, experiment, interrupted)
    if interrupted:
        sys.exit(code)
    with reading(verb="comparing", quiet=quiet) as track:
        compared = reproduction.compare(folder, target, experiment, track)
    _print(compared, tables.reproduced(compared, tables.cell_labels(experiment), show_arms=form != "table"), form)
    for record in original.damaged:
        log(f"damaged, left out: {record.trial.name}: {record.reason}")
    sys.exit(
        FAILED if code or original.damaged else UNMET if compared.verdict is reproduction.ReproductionVerdict.DIFFERENT else 0
    )


def _print(compared: "Reproduction", parts: "Sequence[Part]", form: str) -> None:
    environment = [dict(zip(("key", "original", "again"), change, strict=True)) for change in compared.environment]
    values = {"name": compared.name, "verdict": compared.verdict, "finished": compared.finished}
    print_parts(parts, form, "reproduce", **values, environment=environment)


def _check_data_and_device(folder: Path, target: Path | None, prepared: dict[str, Any]) -> None:
    """Raises RunsError if the images differ from those of the original, or the reproduction was begun on another device."""
    before, now = runs.launches(folder)[-1].data_sha256, prepared["data_sha256"]
    if before != now:
        raise RunsError(
            f"{folder}: was trained on other images (SHA-256 {before}) than those found here ({now}), so it cannot be "
            "reproduced; name the folder of its images with --data DIR (default: data.root of its config, then $RESEXP_DATA)"
        )
    plan = target and runs.read_plan(target)
    if plan and plan.device != prepared["device"]:
        raise RunsError(
            f"{target}: is trained on {plan.device}, not on {prepared['device']}; add --fresh to rename it and start over"
        )
