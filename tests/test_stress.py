"""Nothing lost, nothing wrong, whatever happens: killed at any moment, on a broken disk, two at once, files damaged.

How much of it is run are options of pytest (conftest.py): a little always, all of it by `make stress`; -s shows how it goes.
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
from pathlib import Path
from typing import IO, NamedTuple

import pytest
import write_faults
from commands import files
from write_faults import Fault

from resexp import cli, comparison, config, runs, screen, tables
from resexp.tables import frames

SMALL = ("network.init=he", "training.checkpoint_every=7", "device=cpu")
EXPERIMENTS = {
    "mlp": ("network.depth=[4, 8]", "network.width=16", "network.norm=none", "training.epochs=12", "seeds=4", *SMALL),
    "cnn": (
        *("network.family=cnn", "network.depth=[8]", "network.width=4", "network.norm=batch"),
        *("training.epochs=12", "training.batch_size=16", "data.limit=128", "seeds=1", *SMALL),
    ),
}
BESIDE = re.compile(r"^\.(.+)\.\d+$")  # the name of a file that is being written beside its place
PATIENCE = 300  # seconds after which a command hangs

on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds workers and their parents in /proc")


def tell(text: str) -> None:
    """A line for whoever watches with -s."""
    sys.stdout.write(f"{text}\n")


def differing(folder: Path, whole: dict[str, bytes]) -> list[str]:
    """The files that are not as in an undisturbed training, missing and superfluous ones among them."""
    found = files(folder)
    return sorted(name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name))


# ---- commands ------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Command:
    """`resexp train` as a process group of its own."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def end(self) -> tuple[int, str]:
        """(exit code, what it said on stderr), once it has ended by itself."""
        code = self.process.wait(PATIENCE)
        return code, os.pread(self.errors.fileno(), 1 << 20, 0).decode()


@contextmanager
def command(name: str, runs_dir: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Command]:
    """The command, begun; whatever is left of it in the end is killed."""
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
    """What lives of a process group: number -> (its parent's number, its command line)."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, of = (place / "stat").read_text().rpartition(")")[2].split()[:3]
            line = (place / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        if int(of) == group and state != "Z":
            found[int(place.name)] = int(parent), line
    return found


def starts(folder: Path) -> int:
    """How many commands have begun to write there."""
    return len(runs.launches(folder)) if (folder / "environment.json").exists() else 0


def wait_for_start(running: Command, folder: Path, before: int) -> None:
    """Until a command writes, or has ended."""
    deadline = time.monotonic() + PATIENCE
    while running.process.poll() is None and starts(folder) == before:
        assert time.monotonic() < deadline, "hangs before it writes"
        time.sleep(0.01)


class Calm(NamedTuple):
    """An undisturbed training: its files, its seconds before and between its first and last write, how many they were."""

    files: dict[str, bytes]
    before: float
    training: float
    writes: int


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Calm]:
    """The undisturbed training of an experiment, trained when it is first asked for."""
    known: dict[str, Calm] = {}

    def of(name: str) -> Calm:
        if name not in known:
            place = tmp_path_factory.mktemp(f"calm-{name}")
            counting = Fault(place / "runs", place / "writes")
            begun = time.time()
            with command(
                name, counting.root, "--jobs", "1", env=write_faults.environment(counting, place / "start")
            ) as running:
                wait_for_start(running, counting.root / name, 0)
                first = time.time()
                assert running.end()[0] == 0
            last = max(path.stat().st_mtime for path in (counting.root / name).rglob("*"))
            found = files(counting.root / name)
            known[name] = Calm(found, first - begun, last - first, len(counting.writes))
            tell(f"{name}: {len(found)} files, {known[name].before:.1f} s + {known[name].training:.1f} s of training")
        return known[name]

    return of


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Callable[[str], int]:
    return lambda option: int(request.config.getoption(option))


# ---- killed ---------------------------------------------------------------------------------------------------------------

TARGETS = ("its parent alone", "one worker alone", "all of it")


def strike(target: str, running: Command, folder: Path, draw: random.Random) -> list[str] | None:
    """Kills with SIGKILL; returns the trials that this must cost, None if there was nothing to kill."""
    group = running.process.pid
    workers = [number for number, (parent, line) in processes(group).items() if parent == group and "spawn_main" in line]
    if running.process.poll() is not None or (target == "one worker alone" and not workers):
        return None
    if target == "all of it":
        os.killpg(group, signal.SIGKILL)
    elif target == "its parent alone":
        os.kill(group, signal.SIGKILL)
    else:
        told = {place.name: runs.status(place) for place in folder.glob("trials/*")}
        training = {name: status["process"] for name, status in told.items() if status["state"] == "running"}
        victim = draw.choice(sorted({*workers} & {*training.values()}) or workers)
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return [name for name, process in training.items() if process == victim]
    return []


def check_end(target: str, running: Command, cost: list[str] | None, folder: Path) -> int:
    """The exit code, after a look at what the command said."""
    code, said = running.end()
    assert "Traceback" not in said, said
    if cost is None:
        assert code == 0, said
    elif target == "one worker alone":
        lost = [name for name in cost if runs.result(runs.trial_folder(folder, name)) is None]
        assert (code in (0, 1)) if not lost else (code == 1), said
        assert [name for name in lost if name not in said] == [], said
        assert code == 0 or said.strip(), "exit code 1 without a word"
    else:
        assert code in (-signal.SIGKILL, 0)  # 0: it had just ended
    return code


def one_round(name: str, runs_dir: Path, targets: list[str], length: Calm, draw: random.Random) -> int:
    """Trains to the end through kills, taking them off the targets; returns how many there were."""
    folder, kills, killed = runs_dir / name, 0, list[int]()
    with ExitStack() as stack:
        for number in itertools.count(1):
            before, jobs = starts(folder), draw.choice("12")
            running = stack.enter_context(command(name, runs_dir, "--jobs", jobs))
            target, cost = targets[-1] if targets else "", None
            if target and len(targets) % 5 == 0:  # now and then before it has written anything
                time.sleep(draw.uniform(0, length.before))
            else:
                wait_for_start(running, folder, before)
                assert [line for group in killed for line in processes(group).values()] == [], "left alive beside the next"
                time.sleep(draw.uniform(0, length.training) if target else 0)
            if target:
                cost = strike(target, running, folder, draw)
            if cost is not None:
                targets.pop()
                kills += 1
                tell(f"{name}: command {number} (--jobs {jobs}): killed {target}, {len(files(folder))} files so far")
            code = check_end(target, running, cost, folder)
            killed.append(running.process.pid)
            if code == 0:
                return kills
    raise AssertionError("unreachable")


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize(("name", "share"), [("mlp", 0.6), ("cnn", 0.4)])
def test_killed_at_any_moment_and_continued_it_is_byte_identical(
    name: str, share: float, calm: Callable[[str], Calm], size: Callable[[str], int], tmp_path: Path
):
    draw, undisturbed = random.Random(f"{name} 75"), calm(name)  # the first of these moments lie in the middle
    targets = [TARGETS[number % 3] for number in reversed(range(round(share * size("--kills"))))]
    for number in itertools.count(1):
        kills = one_round(name, tmp_path / "runs", targets, undisturbed, draw)
        different = differing(tmp_path / "runs" / name, undisturbed.files)
        tell(f"{name}: round {number}: {kills} kills, {len(undisturbed.files)} files, {len(different)} differ")
        assert different == []
        shutil.rmtree(tmp_path / "runs")
        if not targets:
            break


# ---- a broken disk ----------------------------------------------------------------------------------------------------------

LEAST = """
data: {name: digits, limit: 16}
network: {depth: [4], width: 2}
training: {steps: 3, batch_size: 8, checkpoint_every: 2, stack: 1}
gradients: {every: 3}
seeds: 1
device: cpu
"""
Train = Callable[[Path], tuple[int, str]]


@pytest.fixture
def least(in_process: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Train:
    """`resexp train least.yaml --runs ...` in this process: (exit code, stderr)."""
    path = tmp_path / "least.yaml"
    path.write_text(LEAST, encoding="utf-8")

    def train(runs_dir: Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["resexp", "train", str(path), "--quiet", "--jobs", "1", "--runs", str(runs_dir)])
        try:
            cli.main()
        except SystemExit as end:
            return int(str(end.code or 0)), capsys.readouterr().err
        except Exception:  # noqa: BLE001 - as Python itself would end
            return 1, traceback.format_exc()
        return 0, capsys.readouterr().err

    return train


def complaints(answer: tuple[int, str], fault: Fault, name: str, whole: dict[str, bytes]) -> Iterator[str]:
    """What is wrong with how a command met a fault."""
    code, said = answer
    if code != 1:
        yield f"exit code {code}"
    if "Traceback" in said:
        yield f"a traceback: {said.strip().splitlines()[-1]}"
    elif len(said.splitlines()) != 1:
        yield f"{len(said.splitlines())} lines: {said!r}"
    else:
        if fault.reason.lower() not in said.lower():
            yield f"says nothing of {fault.reason!r}: {said!r}"
        failed = fault.writes[fault.at - 1 : None if fault.lasting else fault.at]
        names = {BESIDE.sub(r"\1", Path(line.partition(" ")[2]).name) for line in failed}
        gone = "read" in write_faults.ERRORS[fault.error]  # all of it is: whatever was missed first may be named
        if str(fault.root) not in said or not (gone or any(name in said for name in names)):
            yield f"does not name {names}: {said!r}"
    made = [line.split()[1] for line in fault.writes[: fault.at - 1] if line.startswith("rename") and "result.json" in line]
    found = files(fault.root / name)
    for result in {*made, *(f"{name}/{file}" for file in found if file.endswith("result.json"))}:
        trial = result.removeprefix(f"{name}/").removesuffix("result.json")
        different = [file for file in whole if file.startswith(trial) and found.get(file) != whole[file]]
        if different:
            yield f"a result that stood is lost or wrong: {different}"


def after_the_fault(answer: tuple[int, str], fault: Fault, name: str, whole: dict[str, bytes]) -> Iterator[str]:
    """What is wrong with the same command once the disk is whole again."""
    if answer[0] != 0:
        yield f"continued: exit code {answer[0]}: {answer[1]!r}"
    different = differing(fault.root / name, whole)
    if different:
        yield f"continued: {len(different)} files differ: {different[:5]}"


@pytest.mark.skipif(os.name != "posix", reason="the broken disk knows paths and descriptors as POSIX has them")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(("ENOSPC", True), id="full"),
        pytest.param(("ENOSPC", False), id="full for a moment"),
        pytest.param(("EDQUOT", True), id="over quota"),
        pytest.param(("EROFS", True), id="read-only"),
        pytest.param(("EIO", True), id="broken"),
        pytest.param(("EIO", False), id="broken for a moment"),
        pytest.param(("ENOENT", True), id="its mount gone"),
        pytest.param(("ESTALE", True), id="its server gone"),
    ],
)
def test_a_disk_that_breaks_at_any_write_costs_one_line_and_no_result(
    kind: tuple[str, bool], least: Train, size: Callable[[str], int], tmp_path: Path
):
    error, lasting = kind
    counting = Fault(tmp_path / "calm", tmp_path / "writes", error)
    with write_faults.met(counting):
        assert least(counting.root)[0] == 0
    whole, writes = files(counting.root / "least"), counting.writes
    stride = 1 if kind == ("ENOSPC", True) else size("--fault-stride")

    wrong, chosen = [], range(1, len(writes) + 1, stride)
    for at in chosen:
        fault = Fault(tmp_path / "runs", tmp_path / "log", error, at, lasting)
        with write_faults.met(fault):
            answer = least(fault.root)
        found = list(complaints(answer, fault, "least", whole))
        with write_faults.met(replace(fault, at=0)):
            answer = least(fault.root)
        found += after_the_fault(answer, fault, "least", whole)
        wrong += [f"write {at} ({writes[at - 1]}): {complaint}" for complaint in found]
        shutil.rmtree(fault.root, ignore_errors=True)
        fault.log.unlink(missing_ok=True)

    tell(f"{error}: {len(chosen)} of {len(writes)} writes, {len(wrong)} complaints")
    assert wrong == [], "\n".join(["", *wrong])


@on_linux
@pytest.mark.slow
def test_workers_on_a_broken_disk_cost_one_line_and_no_result(
    calm: Callable[[str], Calm], size: Callable[[str], int], tmp_path: Path
):
    draw, wrong, many = random.Random("faults"), [], size("--faults")
    for number in range(many):
        name, jobs, error = ("mlp", "cnn")[number % 2], "2211"[number % 4], list(write_faults.ERRORS)[number % 6]
        whole, writes = calm(name).files, calm(name).writes
        at = 1 + int(writes * (number + draw.random()) / many)  # from the first write to the last
        fault = Fault(tmp_path / "runs", tmp_path / "log", error, at, lasting=draw.random() < 0.7)
        with command(name, fault.root, "--jobs", jobs, env=write_faults.environment(fault, tmp_path / "start")) as running:
            answer = running.end()
        found = list(complaints(answer, fault, name, whole))
        with command(name, fault.root, "--jobs", jobs) as running:
            found += after_the_fault(running.end(), fault, name, whole)
        where = f"{name} --jobs {jobs}, {error} at write {fault.at} ({[*fault.writes, *['-'] * writes][fault.at - 1]})"
        tell(f"{where}: {len(found)} complaints")
        wrong += [f"{where}: {complaint}" for complaint in found]
        shutil.rmtree(fault.root, ignore_errors=True)
        fault.log.unlink(missing_ok=True)

    assert wrong == [], "\n".join(["", *wrong])


# ---- several at once -----------------------------------------------------------------------------------------------------


def look(folder: Path, experiment: config.Experiment) -> set[str]:
    """Reads an experiment as compare, report and watch do; returns the trials that are finished."""
    shot = screen.snapshot(folder, experiment, 0.0, {})
    found = runs.read_results([folder])
    tables.TABLES["table"](comparison.compare_results(found))
    done = {state.trial.name for state in found.records if state.result}
    if done:
        frames.read_frames(found)
    assert done >= {row.trial.name for row in shot.rows if row.state == "finished"}
    return done


def watch(running: list[Command], runs_dir: Path) -> None:
    """Reads both experiments over and over while they are written: what was finished once stays so."""
    seen: dict[str, set[str]] = {name: set() for name in EXPERIMENTS}
    asked = {name: config.load("digits", [f"name={name}", *overrides]) for name, overrides in EXPERIMENTS.items()}
    deadline = time.monotonic() + PATIENCE
    while any(command.process.poll() is None for command in running):
        assert time.monotonic() < deadline, "hangs"
        for name in EXPERIMENTS:
            if (runs_dir / name / "experiment.yaml").exists():
                now = look(runs_dir / name, asked[name])
                assert now >= seen[name]
                seen[name] = now
        time.sleep(0.05)


@on_linux
@pytest.mark.slow
def test_of_two_of_one_experiment_one_trains_and_another_experiment_and_readers_disturb_nobody(
    calm: Callable[[str], Calm], size: Callable[[str], int], tmp_path: Path
):
    undisturbed = {name: calm(name).files for name in EXPERIMENTS}
    for number in range(size("--together")):
        runs_dir = tmp_path / f"round-{number}"
        with ExitStack() as stack:
            begun = [stack.enter_context(command(name, runs_dir, "--jobs", "1")) for name in ("mlp", "mlp", "cnn")]
            first, second, other = begun
            watch(begun, runs_dir)
            ended = {running: running.end() for running in (first, second)}
            assert other.end()[0] == 0, other.end()[1]
        winner, loser = sorted((first, second), key=lambda running: ended[running][0])
        (code, said), (refused, why) = ended[winner], ended[loser]
        tell(f"round {number + 1}: {code} and {refused}: {why.strip()}")

        assert (code, refused) in ((0, 1), (0, 2)), (said, why)
        assert len(why.splitlines()) == 1, why
        assert (platform.node() in why, str(winner.process.pid) in why) == (True, True), f"does not name the holder: {why}"
        assert [starts(runs_dir / name) for name in undisturbed] == [1, 1]
        assert [differing(runs_dir / name, whole) for name, whole in undisturbed.items()] == [[], []]
        shutil.rmtree(runs_dir)


# ---- damaged files ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_a_damaged_file_every_reader_says_so_in_one_line(size: Callable[[str], int]):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is absent: it comes with '.[dev]' on Linux, up to Python 3.13")
    seconds = size("--fuzz-seconds")
    script = Path(__file__).with_name("fuzz_readers.py")
    done = subprocess.run(
        [sys.executable, script, "--seconds", str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=seconds + PATIENCE,
        check=False,
    )
    tell(done.stdout.splitlines()[-1])

    assert done.returncode == 0, done.stdout
