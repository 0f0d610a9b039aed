"""Images as uint8 tensors, read once: digits, MNIST, Fashion-MNIST, CIFAR-10/100, image folders.

Shapes: N images, C channels, H x W pixels. Labels are int64 class numbers.
"""

import gzip
import hashlib
import math
import os
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from torch import Tensor

from resexp.config import expanded
from resexp.datasets.downloads import LARGEST, Archive, fetch
from resexp.datasets.image_folder import image_folder
from resexp.datasets.images import DataError, Images, Source, absence, read
from resexp.datasets.splits import own_part

# ---- reading: one function per data set, part is "train" or "test" ----------------------------------------------------


def _digits(_source: Source, part: str) -> Images:
    """scikit-learn's 1,797 digits of 8x8 pixels, 17 grey levels; a stratified 20 % is the test part."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - costs a second, needed by this data set only

    digits = load_digits()
    pixels = torch.from_numpy(digits.images.astype(np.uint8)).unsqueeze(1)
    everything = Images(pixels, torch.from_numpy(digits.target.astype(np.int64)), tuple("0123456789"), brightest=16)
    return everything.at(own_part(everything.labels, part, "digits"))


def _idx(folder: str, published: str) -> Callable[[Source, str], Images]:
    """A reader of MNIST's IDX files under `<root>/<folder>/raw`."""

    def reader(source: Source, part: str) -> Images:
        from torchvision.datasets import mnist  # noqa: PLC0415 - imported only where data are read

        dataset = mnist.FashionMNIST if folder == "FashionMNIST" else mnist.MNIST
        place = source.root / folder / "raw"
        if source.download:
            packed = [(name, [f"{mirror}{name}" for mirror in dataset.mirrors], md5) for name, md5 in dataset.resources]
            archives = [Archive(name, urls, md5, [name.removesuffix(".gz")]) for name, urls, md5 in packed]
            fetch(
                published,
                source.root,
                place,
                [one for one in archives if not read(_idx_file(place / one.files[0]), Path.is_file)],
            )
        prefix = "t10k" if part == "test" else "train"
        files = [_idx_file(place / f"{prefix}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
        for file in files:
            _require(file, published, source.root)
        pixels, labels = read(files[0], _idx_values, 3), read(files[1], _idx_values, 1)
        classes = tuple(dataset.classes) if folder == "FashionMNIST" else tuple("0123456789")
        return _checked(Images(pixels.unsqueeze(1), labels.long(), classes), files[1])

    return reader


def _idx_file(file: Path) -> Path:
    """`file`, or if it is missing the same file under a name used by other collections, compressed or not.

    Only in its folder and the one above: MNIST and Fashion-MNIST have the same names.
    """
    if os.path.lexists(file) and not read(file, Path.is_dir):
        return file
    dotted = file.name.replace("-idx", ".idx")
    names = (f"{file.name}.gz", dotted, f"{dotted}.gz", f"{file.name}/{file.name}", f"{dotted}/{dotted}", file.name)
    others = (folder / name for folder in (file.parent, file.parent.parent) for name in names)
    return next((other for other in others if read(other, Path.is_file)), file)


def _idx_values(file: Path, axes: int) -> Tensor:
    """uint8 of an IDX file: two zero bytes, 8 for uint8, the number of axes, their big-endian sizes, the values."""
    if file.suffix == ".gz":
        with gzip.open(file) as packed:
            content = bytearray(packed.read(LARGEST + 1))
        if len(content) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes when it is unpacked")
    else:
        content = bytearray(file.read_bytes())
    if content[:4] != bytes([0, 0, 8, axes]):
        raise ValueError(f"begins with {content[:4].hex(' ')}, not with the magic number 00 00 08 0{axes}")
    sizes = struct.unpack_from(f">{axes}I", content, 4)
    start = 4 + 4 * axes
    if len(content) - start != math.prod(sizes):
        raise ValueError(f"{' x '.join(map(str, sizes))} values by its header, {len(content) - start} in the file")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(sizes))


def _cifar(folder: str, classes: int) -> Callable[[Source, str], Images]:
    """A reader of CIFAR's python batches under `<root>/<folder>`."""

    def reader(source: Source, part: str) -> Images:
        from torchvision.datasets import cifar  # noqa: PLC0415 - imported only where data are read

        dataset = cifar.CIFAR10 if classes == 10 else cifar.CIFAR100
        published, place, meta = f"CIFAR-{classes}", source.root / folder, dataset.meta
        if source.download:
            names = [name for name, _ in [*dataset.train_list, *dataset.test_list]]
            archive = Archive(dataset.filename, [dataset.url], dataset.tgz_md5, [*names, meta["filename"]])
            fetch(published, source.root, place, [archive])
        packed = source.root / dataset.filename
        if not place.exists() and read(packed, Path.is_file):
            raise DataError(
                f"{packed}: a compressed archive; unpack it in its folder, or add data.download=true, which unpacks it"
            )
        sums = {**dict(dataset.test_list if part == "test" else dataset.train_list), meta["filename"]: meta["md5"]}
        for name in sums:
            _require(place / name, published, source.root)
        return _checked(read(place, _cifar_images, sums, meta["key"]), place)

    return reader


def _cifar_images(place: Path, sums: dict[str, str], key: str) -> Images:
    """The images of the batches in `sums` (MD5 by name), its last file holding the names of the classes."""
    *batches, names = [read(place / name, _unpickled, md5) for name, md5 in sums.items()]
    pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = [label for batch in batches for label in batch["labels" if "labels" in batch else "fine_labels"]]
    return Images(torch.from_numpy(pixels), torch.tensor(labels), tuple(names[key]))


def _unpickled(file: Path, md5: str) -> Any:
    """A pickle may run any code: these very bytes are the published ones, or they are not opened."""
    content = file.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DataError(f"{file}: not the published file (its MD5 differs); delete it and fetch it with data.download=true")
    return pickle.loads(content, encoding="latin1")  # noqa: S301 - published bytes


DATASETS: dict[str, Callable[[Source, str], Images]] = {
    "digits": _digits,
    "mnist": _idx("MNIST", "MNIST"),
    "fashion-mnist": _idx("FashionMNIST", "Fashion-MNIST"),
    "cifar10": _cifar("cifar-10-batches-py", 10),
    "cifar100": _cifar("cifar-100-python", 100),
    "image-folder": image_folder,
}


# (C, H, W) and K of the published sets: enough to lay out a network before the images are there.
SHAPES: dict[str, tuple[tuple[int, int, int], int]] = {
    "digits": ((1, 8, 8), 10),
    "mnist": ((1, 28, 28), 10),
    "fashion-mnist": ((1, 28, 28), 10),
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
}


def data_root(root: str | None) -> Path:
    """The folder of data sets: as configured, else $RESEXP_DATA, else the user's data folder.

    Raises:
        ConfigError: an environment variable in it is not set.
    """
    if root:
        return expanded(root, "data.root")
    named = os.environ.get("RESEXP_DATA")
    return expanded(named, "RESEXP_DATA") if named else Path(platformdirs.user_data_dir("resexp", appauthor=False))


# ---- errors that name the file ---------------------------------------------------------------------------------------


def _require(file: Path, published: str, root: Path) -> None:
    if fault := absence(file):
        raise DataError(
            f"{file}: {fault}, looked for under {root}; put the {published} files there (or point data.root or "
            "RESEXP_DATA to them), or fetch them once with data.download=true"
        )


def _checked(images: Images, file: Path) -> Images:
    if len(images.pixels) != len(images.labels):
        raise DataError(f"{file}: {len(images.labels)} labels for {len(images.pixels)} images; replace the files")
    if not images.pixels.numel():
        raise DataError(f"{file}: no images; replace the files")
    if int(images.labels.min()) < 0 or int(images.labels.max()) >= len(images.classes):
        raise DataError(f"{file}: labels outside 0 to {len(images.classes) - 1}; replace the file")
    return images


def checksum(parts: Sequence[Images]) -> str:
    """SHA-256 over pixels and labels: what was trained and tested on, wherever it lay."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.pixels.contiguous().numpy().tobytes())
        digest.update(part.labels.numpy().tobytes())
    return digest.hexdigest()
