"""Long operations announce their stages on stderr within a second, print nothing on stdout, and are silent with --quiet."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fabricated
import pytest
from commands import Program
from rich.console import Console

import resexp
from resexp import datasets, runs, screen
from resexp.cli import program, running

ONE_CELL = ("network.depth=[8]", "network.norm=none", "network.init=he", "seeds=2")
TORCH, READING, MEASURING = "starting torch", "reading digits", "measuring the pairs at initialization"


@pytest.fixture
def stages(in_process: None, call: Program, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The announced stages."""
    lines: list[str] = []
    monkeypatch.setattr(program, "stage_line", lines.append)
    return lines


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["train"], [TORCH, READING, MEASURING]),
        (["train", "--dry-run"], [TORCH, READING, MEASURING, "timing a few steps of each arm"]),
        (["train", "--quiet"], []),
        (["train", "--json"], []),
        (["probe"], [TORCH, "measuring 2 networks at initialization"]),
        (["time"], [TORCH, "timing a step of each arm"]),
        (["show"], [TORCH, f"{READING} and {MEASURING}"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_long_work_announces_its_stages(
    command: list[str], expected: list[str], stages: Any, call: Any, tiny_file: Any, tmp_path: Any
):
    folder = ["--runs", tmp_path] if command[0] in ("train", "time") else []
    answer = call(command[0], tiny_file, *command[1:], *folder)

    assert answer.code == 0
    assert stages == expected


def test_outside_a_terminal_each_stage_is_a_line(capsys: pytest.CaptureFixture[str]):
    with program.stages() as announce:
        announce("reading mnist")
        announce("reading mnist")
        announce("measuring [bold] \x1b[31m")
    announce("too late")

    assert capsys.readouterr() == ("", "reading mnist ...\nmeasuring [bold] \\x1b[31m ...\n")


def test_on_a_terminal_the_stage_is_shown_until_the_end_and_stdout_is_unaffected(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    screen = io.StringIO()
    monkeypatch.setattr(program, "errors", Console(file=screen, force_terminal=True, width=80))
    with program.stages() as announce:
        announce("reading mnist")
        sys.stdout.write("result\n")
        program.log("a remark")
    shown = screen.getvalue()

    assert capsys.readouterr().out == "result\n"
    assert "reading mnist ..." in shown
    assert "a remark" in shown
    assert shown.rstrip("\n\x1b[?25h").endswith("\x1b[2K")  # the line is erased


@pytest.mark.parametrize(
    ("output", "options", "shown"),
    [("a terminal", {}, 1), ("a terminal", {"quiet": True}, 0), ("a file", {}, 0)],
    ids=["on a terminal", "quiet", "in a file"],
)
def test_reading_is_shown_on_a_terminal_only(output: str, options: Any, shown: int, monkeypatch: pytest.MonkeyPatch):
    screen = io.StringIO()
    monkeypatch.setattr(program, "errors", Console(file=screen, force_terminal=output == "a terminal", width=80))
    with program.busy("reading results", **options):
        pass

    assert min(1, screen.getvalue().count("reading results ...")) == shown


# ---- nothing to train: neither torch nor a worker -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tiny_runs: Callable[..., Path]) -> Path:
    """runs/ with tiny.yaml, finished."""
    return tiny_runs()


def without(module: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The program in an environment in which importing this module ends it."""
    (folder / f"{module}.py").write_text(f"raise SystemExit('{module} was imported')")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "resexp", *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=120
    )


def test_if_all_trials_are_finished_train_needs_no_torch(finished: Path, tiny_file: Path, tmp_path: Path):
    accuracy = finished / "tiny" / "accuracy.csv"
    before = accuracy.read_bytes()
    accuracy.write_text("old")
    done = without("torch", tmp_path, "train", tiny_file, "--runs", finished)

    assert done.returncode == 0
    assert "Next: resexp compare" in done.stdout
    assert done.stderr.startswith("nothing to train: 2 of 2 trials finished")
    assert done.stderr.endswith(f"; results in {finished / 'tiny'}\n")
    assert accuracy.read_bytes() == before
    assert not runs.is_training(finished / "tiny")


def test_if_all_trials_are_finished_json_needs_no_torch(finished: Path, tiny_file: Path, tmp_path: Path):
    done = without("torch", tmp_path, "train", tiny_file, "--runs", finished, "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("module", "command"),
    [("torch", ["doctor"]), ("torch", ["show", "digits"]), ("altair", ["report"])],
    ids=["doctor", "show", "report"],
)
def test_imports_that_take_a_second_are_announced(module: str, command: list[str], tmp_path: Path):
    done = without(module, tmp_path, *command)
    verb = "starting" if module == "torch" else "importing"

    assert done.stderr.splitlines() == [f"{verb} {module} ...", f"{module} was imported"]


@pytest.mark.parametrize("reason", ["settings", "plan", "record", "trial", "checkpoint", "nothing"])
def test_an_experiment_with_anything_left_to_write_is_not_complete(reason: str, finished: Path, tiny: Any, tmp_path: Path):
    folder = tmp_path / "tiny"
    shutil.copytree(finished / "tiny", folder)
    assert runs.is_complete(tiny(), folder)
    experiment = tiny("seeds=2") if reason == "trial" else tiny("question=why") if reason == "settings" else tiny()
    for name in {"plan": ["plan.json"], "record": ["pairs.json"], "nothing": ["experiment.yaml"]}.get(reason, []):
        (folder / name).unlink()
    if reason == "checkpoint":
        (folder / "checkpoints").mkdir(exist_ok=True)
        runs.checkpoint_file(folder, "plain-d4-s0").touch()

    assert not runs.is_complete(experiment, folder)


# ---- images ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The number of times that each split of digits has been read."""
    read, counts = datasets.DATASETS["digits"], Counter[str]()

    def counted(source: Any, split: str) -> Any:
        counts[split] += 1
        return read(source, split)

    monkeypatch.setitem(datasets.DATASETS, "digits", counted)
    return counts


def test_each_launch_reads_every_image_once(
    reads: Counter[str], in_process: None, call: Program, tiny_file: Path, tmp_path: Path
):
    for launch in (1, 2):
        assert call("train", tiny_file, f"seeds={launch}", "--jobs", 1, "--runs", tmp_path).code == 0
        assert reads == {"train": launch, "test": launch}


def test_a_forecast_and_training_from_python_read_every_image_once(
    reads: Counter[str], in_process: None, call: Program, tiny_file: Path, tmp_path: Path
):
    assert call("train", tiny_file, "--dry-run", "--runs", tmp_path).code == 0
    assert reads == {"train": 1, "test": 1}
    resexp.train(tiny_file, "seeds=2", "training.stack=1", runs_dir=tmp_path)

    assert reads == {"train": 2, "test": 2}


# ---- progress of training that is not on a terminal ------------------------------------------------------------------------


def clocked_ticks(monkeypatch: pytest.MonkeyPatch, seconds: Iterable[float]) -> Iterator[None]:
    """Ticks of training at these times of the monotonic clock, which starts at 0."""
    now = [0.0]
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def ticks() -> Iterator[None]:
        for now[0] in seconds:
            yield

    return ticks()


@pytest.mark.parametrize(
    ("seconds", "lines"),
    [
        pytest.param([0.25 * tick for tick in range(40)], 0, id="less than ten seconds"),
        pytest.param([0.25 * tick for tick in range(160)], 3, id="forty seconds"),
        pytest.param([5.0, 12.0, 21.9, 22.0, 31.0, 3600.0], 3, id="ticks at irregular times"),
    ],
)
def test_outside_a_terminal_at_most_one_line_is_printed_every_ten_seconds(
    seconds: list[float], lines: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    folder, experiment = fabricated.experiment(tmp_path, lambda _: {"test_accuracy": 0.9}, *ONE_CELL)
    unfinished = runs.trial_folder(folder, experiment.trials[0].name)
    (unfinished / "result.json").unlink()
    runs.set_status(unfinished, "running", step=10, steps=40)
    running._follow(clocked_ticks(monkeypatch, seconds), folder, experiment, quiet=False, verbose=False)

    assert capsys.readouterr().err.splitlines() == ["3 of 4 trials finished, 1 running"] * lines


def test_a_line_of_progress_contains_the_time_left_once_it_can_be_estimated(tmp_path: Path):
    folder, experiment = fabricated.experiment(tmp_path, lambda _: {"test_accuracy": 0.9}, *ONE_CELL)
    shot = screen.snapshot(folder, experiment, 30.0, {})
    rows = [replace(row, state="running", step=row.steps // 2) for row in shot.rows]

    assert screen.progress_line(replace(shot, rows=tuple(rows))) == "0 of 4 trials finished, 4 running, 0:30 left"
    assert screen.progress_line(shot) == "4 of 4 trials finished"


@pytest.mark.parametrize(("options", "lines"), [((), 0), (("--verbose",), 3), (("--verbose", "--quiet"), 0)], ids=str)
def test_verbose_prints_one_line_per_trial_and_epoch(
    options: tuple[str, ...], lines: int, in_process: None, call: Program, tiny_file: Path, tmp_path: Path
):
    answer = call("train", tiny_file, "--runs", tmp_path, *options)

    assert sum(line.startswith("identity-d4-s0  epoch ") for line in answer.err.splitlines()) == lines
    assert answer.err.endswith(f"; results in {tmp_path / 'tiny'}\n")
