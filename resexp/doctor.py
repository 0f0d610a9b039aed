"""A check of the installation: versions, devices, memory and data sets."""

import importlib.util
import platform
from importlib import metadata

import torch

from resexp import datasets, runs

EXTRAS = ("ray", "tensorboard")
GIGABYTE = 1e9


def installation(root: str | None = None) -> list[str]:
    """The check as lines of text; `root` is used like `data.root` in a config."""
    versions = [f"{name} {metadata.version(name)}" for name in runs.PACKAGES]
    missing_extras = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    devices = ["cpu", *(f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count()))]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    free_bytes = runs.free_memory()
    memory = f", {free_bytes / GIGABYTE:.1f} GB of memory free" if free_bytes else ""
    return [
        f"resexp {metadata.version('resexp')}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        f"{runs.processor()}, {torch.get_num_threads()} threads{memory}",
        f"devices: {', '.join(devices)}",
        ", ".join(versions),
        *(f"{name}: not installed; run pip install 'resexp[{name}]' if you need it" for name in missing_extras),
        f"data under {datasets.data_root(root)}:",
        *(f"  {name}: {_state(name, root)}" for name in datasets.SHAPES),
    ]


def _state(name: str, root: str | None) -> str:
    """Whether a data set can be read, and if not, why. Only its test set is read, because it is smaller."""
    try:
        images = datasets.DATASETS[name](datasets.Source(datasets.data_root(root)), "test")
    except datasets.DataError as error:
        is_missing = ": missing" in str(error)
        return "not found" if is_missing else str(error)
    return f"ok, {len(images):,} test images"
