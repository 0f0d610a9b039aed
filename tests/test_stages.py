"""Long operations announce their stages on stderr within a second, print nothing on stdout, and are silent with --quiet."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from commands import Program
from rich.console import Console

from resexp import datasets, runs
from resexp.cli import program

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


# ---- nothing to train: neither torch nor a worker -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with tiny.yaml, finished."""
    folder = tmp_path_factory.mktemp("finished") / "runs"
    command = [sys.executable, "-m", "resexp", "train", str(tiny_file), "--jobs", "1", "--quiet", "--runs", str(folder)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    return folder


def without_torch(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The program in an environment in which importing torch ends it."""
    (folder / "torch.py").write_text("raise SystemExit('torch was imported')")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "resexp", *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=120
    )


def test_if_all_trials_are_finished_train_needs_no_torch(finished: Path, tiny_file: Path, tmp_path: Path):
    accuracy = finished / "tiny" / "accuracy.csv"
    before = accuracy.read_bytes()
    accuracy.write_text("old")
    done = without_torch(tmp_path, "train", tiny_file, "--runs", finished)

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("nothing to train: 2 of 2 trials finished")
    assert done.stderr.endswith(f"; results in {finished / 'tiny'}\n")
    assert accuracy.read_bytes() == before
    assert not runs.is_training(finished / "tiny")


def test_if_all_trials_are_finished_json_needs_no_torch(finished: Path, tiny_file: Path, tmp_path: Path):
    done = without_torch(tmp_path, "train", tiny_file, "--runs", finished, "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout)


@pytest.mark.parametrize("command", [["doctor"], ["show", "digits"]], ids=" ".join)
def test_torch_is_announced_before_it_is_imported(command: list[str], tmp_path: Path):
    done = without_torch(tmp_path, *command)

    assert done.stderr.splitlines() == ["starting torch ...", "torch was imported"]


@pytest.mark.parametrize("reason", ["settings", "plan", "record", "trial", "checkpoint", "nothing"])
def test_an_experiment_with_anything_left_to_write_is_not_complete(reason: str, finished: Path, tiny: Any, tmp_path: Path):
    folder = tmp_path / "tiny"
    for path in (path for path in (finished / "tiny").rglob("*") if path.is_file()):
        (folder / path.relative_to(finished / "tiny")).parent.mkdir(parents=True, exist_ok=True)
        (folder / path.relative_to(finished / "tiny")).write_bytes(path.read_bytes())
    assert runs.is_complete(tiny(), folder)
    experiment = tiny("seeds=2") if reason == "trial" else tiny("question=why") if reason == "settings" else tiny()
    for name in {"plan": ["plan.json"], "record": ["pairs.json"], "nothing": ["experiment.yaml"]}.get(reason, []):
        (folder / name).unlink()
    if reason == "checkpoint":
        (folder / "checkpoints").mkdir(exist_ok=True)
        runs.checkpoint_file(folder, "plain-d4-s0").touch()

    assert not runs.is_complete(experiment, folder)


# ---- images ------------------------------------------------------------------------------------------------------------------


def test_each_launch_reads_every_image_once(in_process: None, call: Program, tiny_file: Path, tmp_path: Path, monkeypatch: Any):
    read, reads = datasets.DATASETS["digits"], Counter[str]()

    def counted(source: Any, split: str) -> Any:
        reads[split] += 1
        return read(source, split)

    monkeypatch.setitem(datasets.DATASETS, "digits", counted)
    for launch in (1, 2):
        assert call("train", tiny_file, f"seeds={launch}", "--jobs", 1, "--runs", tmp_path).code == 0
        assert reads == {"train": launch, "test": launch}
