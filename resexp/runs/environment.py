"""environment.json: versions and hardware of each start of training, without host name or home folder. No torch."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from resexp.runs.records import Launch

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas")


def launch_entry(prepared: dict[str, Any], command: Sequence[str]) -> Launch:
    """One start of training: time, command, versions, hardware, and what `prepare` determined about device and data."""
    home = str(Path.home())
    training, validation, test = prepared["images"]
    launch = Launch(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        command=tuple(argument.replace(home, "~") for argument in command),
        resexp=metadata.version("resexp"),
        revision=revision(),
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in PACKAGES},
        system=f"{platform.system()} {platform.machine()}",
        processor=processor(),
        cores=os.cpu_count(),
        host=hashlib.sha256(platform.node().encode()).hexdigest()[:12],
        device=prepared["device"],
        accelerator=prepared["accelerator"],
        kernels=prepared["kernels"],
        data_sha256=prepared["data_sha256"],
        images=(training, validation, test),
        classes=tuple(prepared["classes"]),
        remarks=tuple(remark.replace(home, "~") for remark in prepared["remarks"]),
    )
    imports = tuple(prepared.get("imports", ()))
    return launch.model_copy(update={"imports": imports}) if imports else launch


def revision() -> str | None:
    """The git revision that resexp runs from, with '+' when files differ from it; None outside a checkout."""
    source = Path(__file__).parent.parent.parent
    if not (source / ".git").exists():
        return None
    try:
        process = subprocess.run(  # noqa: S603 - a constant command
            ["git", "-C", str(source), "describe", "--always", "--dirty=+", "--abbrev=12"],  # noqa: S607 - the user's git
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()


def peak_memory() -> int:
    """Peak memory of this process in bytes; 0 if the system does not report it."""
    return 1024 * int((_system_value("/proc/self/status", "VmHWM") or "0").split()[0])


def free_memory() -> int:
    """Available memory of this machine in bytes; 0 if the system does not report it."""
    return 1024 * int((_system_value("/proc/meminfo", "MemAvailable") or "0").split()[0])


def processor() -> str:
    """The model name of the processor."""
    return _system_value("/proc/cpuinfo", "model name") or platform.processor()


def _system_value(file: str, key: str) -> str:
    """The first value of a key in a file of the operating system; '' if there is none."""
    path = Path(file)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
