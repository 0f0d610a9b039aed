"""Stress tests: kills at random moments, broken disks, concurrent commands and damaged files lose or change no result.

Options of pytest (conftest.py) set the number of cases: few by default, many with `make stress`. -s shows progress.
"""

import importlib.util
import itertools
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

import pytest
import write_faults
from commands import Program, files
from write_faults import Fault

import resexp
from resexp import cli, comparison, config, runs, screen, tables
from resexp.tables import frames

SMALL = ("network.init=he", "training.checkpoint_every=7", "device=cpu")
EXPERIMENTS = {
    "mlp": ("network.depth=[4, 8]", "network.width=16", "network.norm=none", "training.epochs=6", "seeds=2", *SMALL),
    "cnn": (
        *("network.family=cnn", "network.depth=[8]", "network.width=4", "network.norm=batch"),
        *("training.epochs=6", "training.batch_size=16", "data.limit=128", "seeds=1", *SMALL),
    ),
}
TEMPORARY_FILE = re.compile(r"^\.(.+)\.\d+$")  # the name of a file that is being written
TIMEOUT = 300  # seconds for a command
START_SECONDS = 3.0  # about the time until the first write of a command

on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds workers and their parents in /proc")


def log(text: str) -> None:
    """Prints a line of progress, which -s shows."""
    sys.stdout.write(f"{text}\n")


def differing(folder: Path, expected: dict[str, bytes]) -> list[str]:
    """The files that differ from those of an undisturbed training; some may be missing or superfluous."""
    actual = files(folder)
    return sorted(name for name in actual.keys() | expected.keys() if actual.get(name) != expected.get(name))


# ---- commands ------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Command:
    """`resexp train` in a separate process group."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def end(self) -> tuple[int, str]:
        """Waits until the command has ended; returns (exit code, stderr)."""
        code = self.process.wait(TIMEOUT)
        return code, os.pread(self.errors.fileno(), 1 << 20, 0).decode()


@contextmanager
def command(name: str, runs_dir: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Command]:
    """Starts the command; at the end, its remaining processes are killed."""
    line = [sys.executable, "-m", "resexp", "train", "digits", f"name={name}", *EXPERIMENTS[name], "--quiet", *options]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*line, "--runs", str(runs_dir)], stdout=subprocess.DEVNULL, stderr=errors, env=env, start_new_session=True
        )
        try:
            yield Command(process, errors)
        finally:
            if processes(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def processes(group: int) -> dict[int, tuple[int, str]]:
    """The running processes of a process group: ID -> (ID of the parent, command line)."""
    members = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, group_of_process = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # the process has just ended
            continue
        if int(group_of_process) == group and state != "Z":
            members[int(folder.name)] = int(parent), line
    return members


def starts(folder: Path) -> int:
    """The number of commands that have started to write to the folder."""
    return len(runs.launches(folder)) if (folder / "environment.json").exists() else 0


def wait_for_start(running: Command, folder: Path, before: int) -> None:
    """Waits until a command writes or has ended."""
    deadline = time.monotonic() + TIMEOUT
    while running.process.poll() is None and starts(folder) == before:
        assert time.monotonic() < deadline, "hangs before the first write"
        time.sleep(0.03)


class Undisturbed(NamedTuple):
    """An undisturbed training: files, seconds from the first write until the last one, and number of writes."""

    files: dict[str, bytes]
    seconds: float
    writes: int


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Undisturbed]:
    """The undisturbed training of an experiment, trained once, in this process."""

    @cache
    def train(name: str) -> Undisturbed:
        folder = tmp_path_factory.mktemp(f"undisturbed-{name}")
        counting = Fault(folder / "runs", folder / "writes")
        with write_faults.applied(counting):
            resexp.train("digits", f"name={name}", *EXPERIMENTS[name], runs_dir=counting.root)
        times = [path.stat().st_mtime for path in (counting.root / name).rglob("*")]
        training = Undisturbed(files(counting.root / name), max(times) - min(times), len(counting.writes))
        log(f"{name}: {len(training.files)} files, {training.seconds:.1f} s of training")
        return training

    return train


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Callable[[str], int]:
    return lambda option: int(request.config.getoption(option))


# ---- kills ----------------------------------------------------------------------------------------------------------------

PARENT, WORKER, ALL = TARGETS = ("the parent only", "one worker only", "all processes")


def kill(target: str, running: Command, folder: Path, draw: random.Random) -> list[str] | None:
    """Sends SIGKILL; returns the trials that must fail, None if there was no process to kill."""
    group = running.process.pid
    workers = [number for number, (parent, line) in processes(group).items() if parent == group and "spawn_main" in line]
    if running.process.poll() is not None or (target == WORKER and not workers):
        return None
    if target == ALL:
        os.killpg(group, signal.SIGKILL)
    elif target == PARENT:
        os.kill(group, signal.SIGKILL)
    else:
        statuses = {trial.name: runs.status(trial) for trial in folder.glob("trials/*")}
        training = {name: status.process for name, status in statuses.items() if status.state == "running"}
        victim = draw.choice(sorted({*workers} & {*training.values()}) or workers)
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return [name for name, process in training.items() if process == victim]
    return []


def check_end(target: str, running: Command, lost: list[str] | None, folder: Path) -> int:
    """Checks the messages of the command and returns its exit code; `lost` as returned by `kill`."""
    code, errors = running.end()
    assert "Traceback" not in errors, errors
    if lost is None:
        assert code == 0, errors
    elif target == WORKER:
        failed = [name for name in lost if runs.result(runs.trial_folder(folder, name)) is None]
        assert (code in (0, 1)) if not failed else (code == 1), errors
        assert [name for name in failed if name not in errors] == [], errors
        assert code == 0 or errors.strip(), "exit code 1 without a message"
    else:
        assert code in (-signal.SIGKILL, 0)  # 0: the command had just ended
    return code


def one_round(name: str, runs_dir: Path, targets: list[str], seconds: float, draw: random.Random) -> int:
    """Trains to the end in spite of kills, removing each from `targets`; returns the number of kills.

    seconds: the duration of an undisturbed training.
    """
    folder, kills, killed = runs_dir / name, 0, list[int]()
    with ExitStack() as stack:
        for number in itertools.count(1):
            before, jobs = starts(folder), draw.choice("12")
            running = stack.enter_context(command(name, runs_dir, "--jobs", jobs))
            target, lost = targets[-1] if targets else "", None
            if target and len(targets) % 5 == 0:  # every fifth kill may come before the first write
                time.sleep(draw.uniform(0, START_SECONDS))
            else:
                wait_for_start(running, folder, before)
                survivors = [line for group in killed for line in processes(group).values()]
                assert survivors == [], "processes of a killed command still run next to the new one"
                time.sleep(draw.uniform(0, seconds) if target else 0)
            if target:
                lost = kill(target, running, folder, draw)
            if lost is not None:
                targets.pop()
                kills += 1
                log(f"{name}: command {number} (--jobs {jobs}): killed {target}, {len(files(folder))} files so far")
            code = check_end(target, running, lost, folder)
            killed.append(running.process.pid)
            if code == 0:
                return kills
    raise AssertionError("unreachable")


@on_linux
@pytest.mark.parametrize(("name", "share", "first"), [("mlp", 0.6, PARENT), ("cnn", 0.4, WORKER)])
def test_training_that_was_killed_and_continued_writes_identical_bytes(
    name: str, share: float, first: str, undisturbed: Callable[[str], Undisturbed], size: Callable[[str], int], tmp_path: Path
):
    draw, reference = random.Random(f"{name} 75"), undisturbed(name)  # with this seed the first kills come during training
    targets = [TARGETS[(number + TARGETS.index(first)) % 3] for number in reversed(range(round(share * size("--kills"))))]
    for number in itertools.count(1):
        kills = one_round(name, tmp_path / "runs", targets, reference.seconds, draw)
        different = differing(tmp_path / "runs" / name, reference.files)
        log(f"{name}: round {number}: {kills} kills, {len(reference.files)} files, {len(different)} differ")
        assert different == []
        shutil.rmtree(tmp_path / "runs")
        if not targets:
            break


# ---- broken disks -----------------------------------------------------------------------------------------------------------

SMALLEST = """
data: {name: digits, limit: 16}
network: {depth: [4], width: 2}
training: {steps: 3, batch_size: 8, checkpoint_every: 2, stack: 1}
gradients: {every: 3}
seeds: 1
device: cpu
"""
Train = Callable[[Path], tuple[int, str]]


@pytest.fixture
def train(in_process: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Train:
    """`resexp train smallest.yaml --runs ...` in this process: (exit code, stderr)."""
    path = tmp_path / "smallest.yaml"
    path.write_text(SMALLEST, encoding="utf-8")

    def run(runs_dir: Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["resexp", "train", str(path), "--quiet", "--jobs", "1", "--runs", str(runs_dir)])
        try:
            cli.main()
        except SystemExit as end:
            return int(str(end.code or 0)), capsys.readouterr().err
        except Exception:  # noqa: BLE001 - Python itself would end with any exception
            return 1, traceback.format_exc()
        return 0, capsys.readouterr().err

    return run


def problems_with_fault(answer: tuple[int, str], fault: Fault, name: str, expected: dict[str, bytes]) -> Iterator[str]:
    """Problems with the exit code, messages and files of a command on a broken disk."""
    code, errors = answer
    if code != 1:
        yield f"exit code {code}"
    if "Traceback" in errors:
        yield f"a traceback: {errors.strip().splitlines()[-1]}"
    elif len(errors.splitlines()) != 1:
        yield f"{len(errors.splitlines())} lines: {errors!r}"
    else:
        if fault.reason.lower() not in errors.lower():
            yield f"does not mention {fault.reason!r}: {errors!r}"
        failed = fault.writes[fault.at - 1 : None if fault.lasting else fault.at]
        names = {TEMPORARY_FILE.sub(r"\1", Path(line.partition(" ")[2]).name) for line in failed}
        unreadable = "read" in write_faults.ERRORS[fault.error]  # then any file may be named
        if str(fault.root) not in errors or not (unreadable or any(name in errors for name in names)):
            yield f"does not name {names}: {errors!r}"
    renames = [line.split()[1] for line in fault.writes[: fault.at - 1] if line.startswith("rename") and "result.json" in line]
    actual = files(fault.root / name)
    for result in {*renames, *(f"{name}/{file}" for file in actual if file.endswith("result.json"))}:
        trial = result.removeprefix(f"{name}/").removesuffix("result.json")
        different = [file for file in expected if file.startswith(trial) and actual.get(file) != expected[file]]
        if different:
            yield f"an existing result was lost or changed: {different}"


def problems_after_fault(answer: tuple[int, str], fault: Fault, name: str, expected: dict[str, bytes]) -> Iterator[str]:
    """Problems with the same command after the disk was repaired."""
    if answer[0] != 0:
        yield f"continued: exit code {answer[0]}: {answer[1]!r}"
    different = differing(fault.root / name, expected)
    if different:
        yield f"continued: {len(different)} files differ: {different[:5]}"


DISKS = {  # the error of the failing write, and whether all later writes fail too
    "full": ("ENOSPC", True),
    "full once": ("ENOSPC", False),
    "over quota": ("EDQUOT", True),
    "read-only": ("EROFS", True),
    "broken": ("EIO", True),
    "broken once": ("EIO", False),
    "unmounted": ("ENOENT", True),
    "server gone": ("ESTALE", True),
}


@pytest.mark.skipif(os.name != "posix", reason="the simulated disk needs paths and descriptors of POSIX")
@pytest.mark.parametrize("disk", DISKS)
def test_a_write_error_gives_one_line_and_loses_no_result(disk: str, train: Train, size: Callable[[str], int], tmp_path: Path):
    error, lasting = DISKS[disk]
    counting = Fault(tmp_path / "undisturbed", tmp_path / "writes", error)
    with write_faults.applied(counting):
        assert train(counting.root)[0] == 0
    expected, writes = files(counting.root / "smallest"), counting.writes
    stride = max(1, size("--fault-stride") // (4 if disk == "full" else 1))
    first = 1 + stride * list(DISKS).index(disk) // len(DISKS)  # each disk fails at other writes

    problems, indices = [], range(first, len(writes) + 1, stride)
    for at in indices:
        fault = Fault(tmp_path / "runs", tmp_path / "log", error, at, lasting)
        with write_faults.applied(fault):
            answer = train(fault.root)
        new = list(problems_with_fault(answer, fault, "smallest", expected))
        with write_faults.applied(replace(fault, at=0)):
            answer = train(fault.root)
        new += problems_after_fault(answer, fault, "smallest", expected)
        problems += [f"write {at} ({writes[at - 1]}): {problem}" for problem in new]
        shutil.rmtree(fault.root, ignore_errors=True)
        fault.log.unlink(missing_ok=True)

    log(f"{error}: {len(indices)} of {len(writes)} writes, {len(problems)} problems")
    assert problems == [], "\n".join(["", *problems])


@on_linux
def test_workers_on_a_broken_disk_give_one_line_and_lose_no_result(
    undisturbed: Callable[[str], Undisturbed], size: Callable[[str], int], in_process: None, call: Program, tmp_path: Path
):
    draw, problems, count = random.Random("faults"), [], size("--faults")
    for number in range(count):
        name, jobs, error = ("mlp", "cnn")[number % 2], "2211"[number % 4], list(write_faults.ERRORS)[number % 6]
        expected, writes = undisturbed(name).files, undisturbed(name).writes
        at = 1 + int(writes * (number + draw.random()) / count)  # from the first write to the last
        fault = Fault(tmp_path / "runs", tmp_path / "log", error, at, lasting=draw.random() < 0.7)
        with command(name, fault.root, "--jobs", jobs, env=write_faults.environment(fault, tmp_path / "start")) as running:
            answer = running.end()
        new = list(problems_with_fault(answer, fault, name, expected))
        continued = call("train", "digits", f"name={name}", *EXPERIMENTS[name], "--quiet", "--runs", fault.root)
        new += problems_after_fault((continued.code, continued.err), fault, name, expected)
        case = f"{name} --jobs {jobs}, {error} at write {fault.at} ({[*fault.writes, *['-'] * writes][fault.at - 1]})"
        log(f"{case}: {len(new)} problems")
        problems += [f"{case}: {problem}" for problem in new]
        shutil.rmtree(fault.root, ignore_errors=True)
        fault.log.unlink(missing_ok=True)

    assert problems == [], "\n".join(["", *problems])


# ---- concurrent commands -------------------------------------------------------------------------------------------------


def read_all(folder: Path, experiment: config.Experiment) -> set[str]:
    """Reads an experiment like compare, report and watch; returns the names of finished trials."""
    shot = screen.snapshot(folder, experiment, 0.0, {})
    results = runs.read_results([folder])
    tables.FORMATS["table"](comparison.compare_results(results))
    done = {record.trial.name for record in results.records if record.result}
    if done:
        frames.read_frames(results)
    assert done >= {row.trial.name for row in shot.rows if row.state == "finished"}
    return done


def watch(running: list[Command], runs_dir: Path) -> None:
    """Reads both experiments repeatedly during training: finished trials must remain finished."""
    finished: dict[str, set[str]] = {name: set() for name in EXPERIMENTS}
    loaded = {name: config.load("digits", [f"name={name}", *overrides]) for name, overrides in EXPERIMENTS.items()}
    deadline = time.monotonic() + TIMEOUT
    while any(command.process.poll() is None for command in running):
        assert time.monotonic() < deadline, "hangs"
        for name in EXPERIMENTS:
            if (runs_dir / name / "experiment.yaml").exists():
                now = read_all(runs_dir / name, loaded[name])
                assert now >= finished[name]
                finished[name] = now
        time.sleep(0.3)


@on_linux
def test_one_of_two_concurrent_commands_trains_and_other_experiments_and_readers_have_no_effect(
    undisturbed: Callable[[str], Undisturbed], size: Callable[[str], int], tmp_path: Path
):
    expected = {name: undisturbed(name).files for name in EXPERIMENTS}
    for number in range(size("--together")):
        runs_dir = tmp_path / f"round-{number}"
        with ExitStack() as stack:
            started = [stack.enter_context(command(name, runs_dir, "--jobs", "1")) for name in ("mlp", "mlp", "cnn")]
            first, second, other = started
            watch(started, runs_dir)
            answers = {running: running.end() for running in (first, second)}
            assert other.end()[0] == 0, other.end()[1]
        winner, loser = sorted((first, second), key=lambda running: answers[running][0])
        (code, errors), (refusal_code, refusal) = answers[winner], answers[loser]
        log(f"round {number + 1}: {code} and {refusal_code}: {refusal.strip()}")

        assert (code, refusal_code) in ((0, 1), (0, 2)), (errors, refusal)
        assert len(refusal.splitlines()) == 1, refusal
        assert platform.node() in refusal, f"does not name the host: {refusal}"
        assert str(winner.process.pid) in refusal, f"does not name the process: {refusal}"
        assert [starts(runs_dir / name) for name in expected] == [1, 1]
        assert [differing(runs_dir / name, names) for name, names in expected.items()] == [[], []]
        shutil.rmtree(runs_dir)


# ---- damaged files ----------------------------------------------------------------------------------------------------------


def test_every_reader_reports_a_damaged_file_in_one_line(size: Callable[[str], int]):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: the group `dev` includes it on Linux, up to Python 3.13")
    seconds = size("--fuzz-seconds")
    script = Path(__file__).with_name("fuzz_readers.py")
    done = subprocess.run(
        [sys.executable, script, "--seconds", str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=seconds + TIMEOUT,
        check=False,
    )
    log(done.stdout.splitlines()[-1])

    assert done.returncode == 0, done.stdout
