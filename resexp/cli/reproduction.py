"""`resexp reproduce`: trains again from the folder alone, and says how alike both are."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from resexp import runs
from resexp.cli.program import FAILED, UNMET, Data, RunArgument, Runs, app, log, named, print_result, stages
from resexp.cli.running import BreakLock, Jobs, Quiet, carry_out, prepare, print_summary, processes, stopping, with_data
from resexp.runs import RunsError


@app.command()
def reproduce(
    source: RunArgument = None,
    *,
    runs_dir: Runs = Path("runs"),
    trials: Annotated[
        list[str] | None, typer.Option("--trial", help="Only this trial and those of its stack; several times for several.")
    ] = None,
    data: Data = None,
    device: Annotated[str | None, typer.Option(help="Another device than before: cpu, cuda, cuda:1 or mps.")] = None,
    jobs: Jobs = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Set an older repetition aside first.")] = False,
    break_lock: BreakLock = False,
    quiet: Quiet = False,
) -> None:
    """Train finished trials again from their folder alone, by the same plan, and say how alike both are."""
    from resexp import executors, reproduction, tables  # noqa: PLC0415 - `--help` starts without them

    folder = named(source, runs_dir)
    found, asked = reproduction.original(folder, trials or []), processes(jobs)
    experiment, again = with_data(found.experiment, data), runs_dir / reproduction.FOLDER / folder.resolve().name
    if again.resolve() == folder.resolve():
        raise RunsError(f"{folder}: is a repetition itself; name another place for one of it with --runs")
    plan = found.plan if fresh else reproduction.continued(again, experiment, found.plan)
    done = all(runs.has_result(runs.trial_folder(again, trial.name)) for trial in experiment.trials)
    interrupted: list[int] = []
    if device or fresh or not done:
        with (
            ExitStack() as starting,
            executors.Pool(asked, starting.enter_context(stages(quiet=quiet))) as pool,
            stopping(pool) as interrupted,
        ):
            asked_plan = plan.model_copy(update={"device": device or plan.device})
            prepared = prepare(pool, experiment, asked_plan, quiet=quiet)
            starting.close()
            _refuse_another_ground(folder, None if fresh else again, prepared)
            plan = plan.model_copy(update={"device": prepared["device"]})
            if fresh and (aside := runs.archive(again)):
                log(f"the older repetition is now {aside}")
            carry_out(pool, again, experiment, lambda _: plan, prepared, break_lock=break_lock, quiet=quiet)
    code = print_summary(again, experiment, interrupted)
    if interrupted:
        sys.exit(code)
    compared = reproduction.compare(folder, again, experiment)
    print_result("\n".join(tables.fitted(reproduction.lines(compared))))
    for state in found.damaged:
        log(f"damaged, left out: {state.trial.name}: {state.reason}")
    sys.exit(
        FAILED if code or found.damaged else UNMET if compared.verdict is reproduction.ReproductionVerdict.DIFFERENT else 0
    )


def _refuse_another_ground(folder: Path, again: Path | None, prepared: dict[str, Any]) -> None:
    """Raises RunsError where the images are others than before, or a repetition has begun on another device."""
    before, here = runs.launches(folder)[-1]["data_sha256"], prepared["data_sha256"]
    if before != here:
        raise RunsError(
            f"{folder}: trained on other images (SHA-256 {before}) than lie here ({here}), from which nothing of it can come "
            "again; name the folder of its images with --data DIR (default: data.root of its config, then $RESEXP_DATA)"
        )
    own = again and runs.read_plan(again)
    if own and own.device != prepared["device"]:
        raise RunsError(f"{again}: is trained on {own.device}, not on {prepared['device']}; --fresh sets it aside")
