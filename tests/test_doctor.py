"""`resexp doctor`: installed versions, damaged files, and remedies that repair them."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import resexp
from resexp import cli, doctor, runs, training
from resexp.executors import train_here

TRIAL = "trials/plain-d4-s0"
OVERRIDES = ("training.stack=1", "training.checkpoint_every=2")


@pytest.fixture(scope="module")
def trained(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one experiment: plain is finished, identity was interrupted at its fourth step."""
    folder = tmp_path_factory.mktemp("trained") / "runs" / "tiny"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    experiment = tiny(*OVERRIDES)
    train_here(experiment, folder)
    runs.clear(folder / "trials/identity-d4-s0")
    steps = iter([False] * 4 + [True])
    training.train_stack([experiment.trials[1]], folder, "identity-d4-s0", "cpu", lambda: next(steps))
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=False)
    return folder.parent


@pytest.fixture
def results(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs"


def run_doctor(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """Exit code and printed lines about the results folder."""
    monkeypatch.setattr(sys, "argv", ["resexp", "doctor", "--runs", str(folder)])
    monkeypatch.setattr(doctor, "installation", list)
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = int(str(end.code or 0))
    return code, [line for line in capsys.readouterr().out.splitlines() if line]


def test_intact_folders_have_no_findings_and_are_not_changed(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}

    assert run_doctor(results, capsys, monkeypatch) == (0, [f"{results}: 1 experiment, nothing damaged"])
    assert run_doctor(results / "tiny", capsys, monkeypatch) == (0, [f"{results / 'tiny'}: 1 experiment, nothing damaged"])
    assert run_doctor(results / "absent", capsys, monkeypatch) == (0, [f"{results / 'absent'}: 0 experiments, nothing damaged"])
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


Change = Callable[[bytes], bytes]
HALF: Change = lambda content: content[: len(content) // 2]  # noqa: E731 - one of several, in the rows below
CHANGED: Change = lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]  # noqa: E731 - as above
RESULT = f"{TRIAL}/result.json"
CHECKPOINT, PREVIOUS = "checkpoints/identity-d4-s0.pt", "checkpoints/identity-d4-s0.previous"
# The damaged file, the damage, and the files that the remedy deletes (none if it suffices to train again).
DAMAGE: dict[str, tuple[str, Change, list[str]]] = {
    "truncated plan": ("plan.json", HALF, ["plan.json"]),
    "truncated environment": ("environment.json", HALF, []),
    "truncated pair summaries": ("pairs.json", HALF, []),
    "truncated result": (RESULT, HALF, [RESULT]),
    "changed digit in a result": (RESULT, lambda content: content.replace(b'"steps": 6', b'"steps": 7'), [RESULT]),
    "truncated log": (f"{TRIAL}/metrics.csv", HALF, [RESULT]),
    "changed byte in a log": (f"{TRIAL}/signals.csv", CHANGED, [RESULT]),
    "truncated predictions": (f"{TRIAL}/predictions.csv.gz", HALF, [RESULT]),
    "changed byte in weights": (f"{TRIAL}/weights.pt", CHANGED, [RESULT]),
    "truncated status": (f"{TRIAL}/status.json", HALF, [f"{TRIAL}/status.json", RESULT]),
    "syntax error in trial.yaml": (f"{TRIAL}/trial.yaml", lambda content: content + b"]", [f"{TRIAL}/trial.yaml"]),
    "text in an unfinished log": ("trials/identity-d4-s0/metrics.csv", lambda content: content.replace(b"0.001", b"?"),
                                  ["trials/identity-d4-s0/metrics.csv", CHECKPOINT, PREVIOUS]),
    "truncated checkpoint": (CHECKPOINT, HALF, []),
    "changed byte in the previous checkpoint": (PREVIOUS, CHANGED, [PREVIOUS]),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_named_and_the_remedy_repairs_them(
    damage: str,
    results: Path,
    tiny: Any,
    torch_state: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    trained: Path,
):
    file, change, deleted = DAMAGE[damage]
    path = results / "tiny" / file
    content = change(path.read_bytes())
    assert content != path.read_bytes()
    path.write_bytes(content)
    code, (count, *lines) = run_doctor(results, capsys, monkeypatch)
    assert code == 1
    assert re.search(r", [12] damaged$", count)
    assert str(path) in lines[0]
    assert re.search(r"delete|train again", lines[0])

    for name in deleted:
        (results / "tiny" / name).unlink()
    train_here(tiny(*OVERRIDES), results / "tiny")
    assert run_doctor(results, capsys, monkeypatch)[0] == 0
    assert runs.result(results / "tiny" / TRIAL) == runs.result(trained / "tiny" / TRIAL)
    assert runs.result(results / "tiny" / "trials/identity-d4-s0") is not None


def test_symbolic_links_and_checkpoints_without_a_stack_are_named(results: Path):
    (results / "tiny" / "checkpoints" / "other.pt").write_bytes((results / "tiny" / CHECKPOINT).read_bytes())
    (results / "tiny" / "elsewhere").symlink_to(results)
    lines = runs.examine(results / "tiny")

    assert [line.partition(": ")[0] for line in lines] == [
        str(results / "tiny" / "elsewhere"), str(results / "tiny" / "checkpoints" / "other.pt"),
    ]  # fmt: skip


def test_the_installation_lists_versions_and_readable_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for kind in ("images-idx3", "labels-idx1"):
        (tmp_path / "MNIST" / "raw" / f"t10k-{kind}-ubyte").write_bytes(b"no images")
    lines = doctor.installation(str(tmp_path))

    assert lines[0].startswith(f"resexp {resexp.__version__}, Python")
    assert f"torch {torch.__version__.partition('+')[0]}" in "\n".join(lines)
    assert "  digits: ok, 359 test images" in lines
    assert "  fashion-mnist: not found" in lines
    assert any(line.startswith("  mnist: ") and "damaged" in line for line in lines)
