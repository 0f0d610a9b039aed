"""The recorded environment of a start: versions, hardware, git revision; and the amount of memory."""

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest

from resexp import runs
from resexp.runs import environment

PREPARED = {
    "device": "cpu",
    "accelerator": "cpu",
    "kernels": "AVX2",
    "data_sha256": "0" * 64,
    "images": [3, 2, 1],
    "classes": ["cat", "dog"],
    "remarks": [f"{Path.home()}/pets: not read: a"],
    "pair_summaries": [],
    "steps": {},
}


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", folder, *who, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a checkout that contains the module."""
    path = tmp_path / "resexp" / "runs" / "environment.py"
    path.parent.mkdir(parents=True)
    path.write_text("1")
    monkeypatch.setattr(environment, "__file__", str(path))
    return tmp_path


def test_outside_a_checkout_there_is_no_revision(source: Path):
    assert environment.revision() is None


def test_a_checkout_has_a_revision_with_a_plus_if_files_were_changed(source: Path, monkeypatch: pytest.MonkeyPatch):
    git(source, "init", "--quiet")
    assert environment.revision() is None  # nothing is committed yet
    git(source, "add", ".")
    git(source, "commit", "--quiet", "--message", "first")
    head = git(source, "rev-parse", "HEAD")

    assert environment.revision() == head[:12]
    (source / "resexp" / "runs" / "environment.py").write_text("2")
    assert environment.revision() == f"{head[:12]}+"
    monkeypatch.setenv("PATH", str(source))  # without git
    assert environment.revision() is None


def test_a_start_records_everything_that_a_result_may_depend_on_and_no_user_name():
    home = Path.home()
    entry = runs.launch_entry(PREPARED, ["resexp", "train", f"{home}/x.yaml"]).content
    at = datetime.fromisoformat(entry.pop("time"))

    assert at.utcoffset() == timedelta(0)
    assert timedelta(0) <= datetime.now(UTC) - at < timedelta(minutes=5)
    assert at.microsecond == 0
    assert entry == {
        "command": ["resexp", "train", "~/x.yaml"],
        "resexp": metadata.version("resexp"),
        "revision": environment.revision(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in ("torch", "torchvision", "numpy", "scipy", "pandas")},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": runs.processor(),
        "cores": os.cpu_count(),
        "host": hashlib.sha256(platform.node().encode()).hexdigest()[:12],
        "device": "cpu",
        "accelerator": "cpu",
        "kernels": "AVX2",
        "data_sha256": "0" * 64,
        "images": [3, 2, 1],
        "classes": ["cat", "dog"],
        "remarks": ["~/pets: not read: a"],
    }


def test_system_values_are_read_by_key_and_may_be_missing(tmp_path: Path):
    file = tmp_path / "info"
    file.write_text("other: 1\nmodel name\t: A: fast one \nmodel name: another\n", encoding="utf-8")

    assert environment._system_value(str(file), "model name") == "A: fast one"
    assert environment._system_value(str(file), "absent") == ""
    assert environment._system_value(str(tmp_path / "absent"), "model name") == ""


def test_memory_and_processor_are_read_from_the_system(monkeypatch: pytest.MonkeyPatch):
    values = {
        ("/proc/self/status", "VmHWM"): "1234 kB",
        ("/proc/meminfo", "MemAvailable"): "5 kB",
        ("/proc/cpuinfo", "model name"): "it",
    }
    monkeypatch.setattr(environment, "_system_value", lambda file, key: values[file, key])
    assert (runs.peak_memory(), runs.free_memory(), runs.processor()) == (1234 * 1024, 5 * 1024, "it")

    monkeypatch.setattr(environment, "_system_value", lambda _file, _key: "")
    assert (runs.peak_memory(), runs.free_memory(), runs.processor()) == (0, 0, platform.processor())


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="the system does not report memory")
def test_memory_is_reported_in_bytes():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    assert total / 1000 < runs.free_memory() <= total
    assert 10_000_000 < runs.peak_memory() <= total


def test_kernels_are_those_of_the_installed_torch(monkeypatch: pytest.MonkeyPatch):
    import torch  # noqa: PLC0415 - the other tests do without

    from resexp import training  # noqa: PLC0415 - as above

    isa, *libraries = training.kernels().split(", ")
    assert isa == torch.backends.cpu.get_cpu_capability()
    assert {name.split()[0] for name in libraries} == {
        name
        for name, present in (("MKL", torch.backends.mkl.is_available()), ("oneDNN", torch.backends.mkldnn.is_available()))
        if present
    }
    build = (
        "Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605\n  - Intel(R) MKL-DNN v3.12.0 (Git Hash 8)"
    )
    monkeypatch.setattr(torch.__config__, "show", lambda: build)
    assert training.kernels() == f"{isa}, MKL 2024.2, oneDNN 3.12.0"
