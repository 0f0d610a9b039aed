"""Shared fixtures: the real data folder, small experiments, a pool without processes, and the global state of torch."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from commands import Answer, Program

import resexp
from resexp import config
from resexp.config import Experiment

os.environ["OMP_NUM_THREADS"] = "1"  # tests run in as many processes as there are cores; torch is imported later
TINY = """
data: {name: digits, limit: 64}
network: {depth: [4], width: 8}
training: {steps: 6, batch_size: 16}
gradients: {every: 2}
seeds: 1
device: cpu
"""

# A shell starts a command in the background with Ctrl-C ignored, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Number of cases in test_stress.py, test_cluster.py and test_memory.py; `make stress` runs more.
SIZES = {
    "--configs": (300, "generated and mutated configs to load"),
    "--kills": (3, "SIGKILLs at random moments"),
    "--faults": (1, "real commands on a failing disk"),
    "--fault-stride": (48, "in this process the disk fails at every n-th write, and a full disk four times as often"),
    "--cluster-kills": (1, "rounds in which a node and the driver of a Ray cluster are killed"),
    "--together": (1, "rounds of simultaneously started trainings"),
    "--guarded-networks": (5, "random CNNs run with an allocator that detects overwrites, for each instruction set"),
    "--fuzz-seconds": (4, "seconds of fuzzing the readers"),
}


# The files that take longest, longest first: they start first, so that no process waits for another one at the end.
SLOW_FILES = (
    *("stress", "networks", "cli", "report", "cluster", "reproduction", "stacking", "figure_export", "extensions", "tutorials"),
    *("training", "configs", "memory"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the files, and marks the tests that `make test` leaves out: benchmarks/slow_tests.py writes their list."""
    slow = set((Path(__file__).parent / "slow_tests.txt").read_text(encoding="utf-8").split())
    for item in items:
        if f"{item.path.stem}::{item.name.partition('[')[0]}" in slow:
            item.add_marker("slow")
    order = {f"test_{name}": number for number, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_addoption(parser: pytest.Parser) -> None:
    for option, (size, meaning) in SIZES.items():
        parser.addoption(option, type=int, default=size, help=f"{meaning} (default {size})")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real MNIST and Fashion-MNIST ($RESEXP_DATA); skips the test if there is none."""
    variable = os.environ.get("RESEXP_DATA")
    root = Path(variable) if variable else Path(__file__).parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(
            f"no real data: {root} does not exist; set RESEXP_DATA to the folder that contains MNIST/ and FashionMNIST/"
        )
    return root


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.yaml: 64 digits, 4 layers of width 8, 6 steps (4 per epoch), plain and identity, one seed."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny(tiny_file: Path) -> Callable[..., Experiment]:
    """tiny.yaml after overrides: tiny("seeds=2", "training.lr=0.1")."""
    return lambda *overrides: config.load(tiny_file, overrides)


@pytest.fixture(scope="session", autouse=True)
def script_of_charts() -> None:
    """The JavaScript of every HTML report is the same; it is bundled once, which takes more than a second."""
    vl_convert.javascript_bundle = cache(vl_convert.javascript_bundle)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> None:
    """No test simulates a power failure; processes that tests start flush their files."""
    os.fsync = lambda _file: None


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch; restores its global state afterwards."""
    import torch  # noqa: PLC0415 - many tests do not need torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_flush_denormal(False)


torch_state = pytest.fixture(one_thread)


@pytest.fixture(autouse=True)
def subnormal_numbers() -> Iterator[None]:
    """Training in this process flushes subnormal numbers to 0; the next test has them again."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def tiny_runs(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A new runs/ with tiny.yaml after overrides, trained in this process."""

    def train(*overrides: str) -> Path:
        folder = tmp_path_factory.mktemp("trained") / "runs"
        with one_thread():
            resexp.train(tiny_file, *overrides, runs_dir=folder)
        return folder

    return train


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Program:
    """Calls the program in this process; its workers are processes, unless the test uses `in_process`.

    The answer does not include the stages, such as "starting torch ..."; test_stages.py tests them.
    """
    from resexp import cli  # noqa: PLC0415 - most tests do not need it

    monkeypatch.setattr(cli.program, "stage_line", lambda _stage: None)

    def answer(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["resexp", *map(str, arguments)])
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        return Answer(int(str(code)), *capsys.readouterr())

    return answer


class _InThisProcess:
    """A worker of a pool that runs each task immediately in this process."""

    def __init__(self) -> None:
        self.arrival: Future[None] = Future()
        self.arrival.set_result(None)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future

    def shutdown(self, **_options: bool) -> None: ...


@pytest.fixture
def in_process(torch_state: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools train in this process, which is seconds faster; the code is the same except for the process boundary."""
    from resexp import executors  # noqa: PLC0415 - as above

    monkeypatch.setattr(executors.Pool, "_worker", lambda _pool: _InThisProcess())
