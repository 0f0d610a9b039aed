"""No built-in network makes torch write outside its allocated memory, on processors with and without AVX-512."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from resexp import config, training

HERE = Path(__file__).parent
SECONDS = 60  # timeout for each network: an overwritten workspace can also cause a deadlock of threads

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the guarding allocator needs Linux and a C compiler"
)


@pytest.fixture(scope="session")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled allocator."""
    library = tmp_path_factory.mktemp("guard") / "guard.so"
    command = ["cc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(library), str(HERE / "guard.c")]
    subprocess.run(command, check=True, timeout=60)
    return library


def guarded(guard: Path, *command: str, seconds: float, isa: str = "DEFAULT") -> subprocess.CompletedProcess[str]:
    """Runs Python with these arguments and the guarding allocator, with oneDNN limited to an instruction set."""
    variables = {**os.environ, "LD_PRELOAD": str(guard), "ONEDNN_MAX_CPU_ISA": isa, "PYTHONFAULTHANDLER": "1"}
    return subprocess.run(
        [sys.executable, *command], env=variables, capture_output=True, text=True, timeout=seconds, check=False
    )


@pytest.mark.parametrize("offset", [-1, 0, 1, 255])
def test_the_guard_detects_a_byte_written_outside_a_block(guard: Path, offset: int) -> None:
    script = (
        "import ctypes; c = ctypes.CDLL(None); c.malloc.restype = ctypes.c_void_p; block = c.malloc(100);"
        f"ctypes.memset(block + ({offset} if {offset} < 0 else 100 + {offset}), 1, 1); c.free(ctypes.c_void_p(block));"
        "print(c.guard_overwrites())"
    )
    process = guarded(guard, "-c", script, seconds=60)
    assert (process.stdout, process.returncode) == ("1\n", 0), process.stderr


def test_the_guard_reports_no_overwrite_if_there_is_none(guard: Path) -> None:
    process = guarded(guard, "-c", "import ctypes; print(ctypes.CDLL(None).guard_overwrites())", seconds=60)
    assert (process.stdout, process.returncode) == ("0\n", 0), process.stderr


@pytest.mark.parametrize("isa", ["AVX2", "DEFAULT"])
def test_no_cnn_overwrites_memory(guard: Path, isa: str, pytestconfig: pytest.Config) -> None:
    number = pytestconfig.getoption("--guarded-networks")
    process = guarded(guard, str(HERE / "guarded_networks.py"), "0", str(number), seconds=60 + SECONDS * number, isa=isa)
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    drawn = [line for line in lines if "seed" in line]
    counts = [line["overwrites"] for line in lines if "overwrites" in line]
    assert counts == [0] * number, (drawn[-1:], process.returncode, process.stderr[-2000:])
    assert process.returncode == 0, process.stderr[-2000:]


def formats(trial: config.Trial, shape: tuple[int, ...]) -> set[bool]:
    """Whether the weights of the convolutions are channels-last; those of a single input channel or pixel can be both."""
    weights = [weight for weight in training.build(trial, shape, 10).parameters() if weight.ndim == 4]
    orders = [(w.is_contiguous(memory_format=torch.channels_last), w.is_contiguous()) for w in weights]
    return {last for last, first in orders if last != first}


@pytest.mark.parametrize("shortcut", ["identity", "projection", "projection-all", "gate", "gate-shortcut"])
@pytest.mark.parametrize(("width", "channels_last"), [(2, False), (7, False), (8, True), (16, True)])
def test_all_arms_of_a_width_use_one_memory_format(*, shortcut: str, width: int, channels_last: bool) -> None:
    overrides = ["network.family=cnn", "network.depth=8", "network.norm=batch", f"network.width={width}", "seeds=1"]
    for trial in config.load("digits", [*overrides, f"network.shortcut={shortcut}", "name=one"]).trials:
        assert formats(trial, (3, 8, 8)) == {channels_last}


@pytest.mark.parametrize("name", ["mnist-cnn", "fashion-cnn", "cifar10-he2015", "cifar10-he2016-placements"])
def test_shipped_cnns_are_channels_last(name: str) -> None:
    trials = {trial.arm: trial for trial in config.load(name).trials}
    for trial in trials.values():
        assert formats(trial, (3, 32, 32)) == {True}
