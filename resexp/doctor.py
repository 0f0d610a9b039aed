"""What is installed, and whether it works: versions, devices, memory, data sets that can be read."""

import importlib.util
import platform
from importlib import metadata

import torch

from resexp import datasets, runs

EXTRAS = ("ray", "tensorboard")
GIGABYTE = 1e9


def installation(root: str | None = None) -> list[str]:
    """Lines about this machine; `root` as `data.root` in a config."""
    versions = [f"{name} {metadata.version(name)}" for name in runs.PACKAGES]
    absent = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    devices = ["cpu", *(f"cuda:{n} {torch.cuda.get_device_name(n)}" for n in range(torch.cuda.device_count()))]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    free = runs.free_memory()
    memory = f", {free / GIGABYTE:.1f} GB of memory free" if free else ""
    return [
        f"resexp {metadata.version('resexp')}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        f"{runs.processor()}, {torch.get_num_threads()} threads{memory}",
        f"devices: {', '.join(devices)}",
        ", ".join(versions),
        *(f"{name}: not installed; pip install 'resexp[{name}]' brings it" for name in absent),
        f"data under {datasets.data_root(root)}:",
        *(f"  {name}: {_state(name, root)}" for name in datasets.SHAPES),
    ]


def _state(name: str, root: str | None) -> str:
    """Whether a data set can be read, and why not; its test part, which is the smaller one, is read."""
    try:
        images = datasets.DATASETS[name](datasets.Source(datasets.data_root(root)), "test")
    except datasets.DataError as error:
        missing = ": missing" in str(error)
        return "not there" if missing else str(error)
    return f"ok, {len(images):,} test images"
