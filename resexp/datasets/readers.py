"""Readers of data sets as uint8 tensors: digits, MNIST, Fashion-MNIST, CIFAR-10/100, image folders.

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
from resexp.datasets.downloads import MAX_BYTES, Archive, fetch
from resexp.datasets.image_folder import image_folder
from resexp.datasets.images import DataError, Images, Source, missing_reason, read
from resexp.datasets.splits import test_split

# ---- one reader per data set; split is "train" or "test" ---------------------------------------------------------------


def _digits(_source: Source, split: str) -> Images:
    """1,797 digits, 8x8 pixels with 17 gray levels; a stratified 20% is the test set.

    digits.csv.gz is scikit-learn's copy of the test set of "Optical Recognition of Handwritten Digits" by E. Alpaydin and
    C. Kaynak (archive.ics.uci.edu/dataset/80, CC BY 4.0): 64 pixels and the class in each line.
    """
    values = torch.from_numpy(np.loadtxt(Path(__file__).with_name("digits.csv.gz"), delimiter=",", dtype=np.int64))
    pixels, labels = values[:, :-1].to(torch.uint8).view(-1, 1, 8, 8), values[:, -1].clone()
    images = Images(pixels, labels, tuple("0123456789"), brightest=16)
    return images.at(test_split(images.labels, split, "digits"))


def _idx(folder: str, published: str) -> Callable[[Source, str], Images]:
    """A reader of MNIST's IDX files under `<root>/<folder>/raw`."""

    def reader(source: Source, split: str) -> Images:
        from torchvision.datasets import mnist  # noqa: PLC0415 - imported only where data are read

        dataset = mnist.FashionMNIST if folder == "FashionMNIST" else mnist.MNIST
        raw_folder = source.root / folder / "raw"
        if source.download:
            resources = [(name, [f"{mirror}{name}" for mirror in dataset.mirrors], md5) for name, md5 in dataset.resources]
            archives = [Archive(name, urls, md5, [name.removesuffix(".gz")]) for name, urls, md5 in resources]
            fetch(
                published,
                source.root,
                raw_folder,
                [archive for archive in archives if not read(_idx_file(raw_folder / archive.files[0]), Path.is_file)],
            )
        prefix = "t10k" if split == "test" else "train"
        files = [_idx_file(raw_folder / f"{prefix}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
        for file in files:
            _require(file, published, source.root)
        pixels, labels = read(files[0], _idx_values, 3), read(files[1], _idx_values, 1)
        classes = tuple(dataset.classes) if folder == "FashionMNIST" else tuple("0123456789")
        return _checked(Images(pixels.unsqueeze(1), labels.long(), classes), files[1])

    return reader


def _idx_file(file: Path) -> Path:
    """`file`, or if it is missing, the same file under a name that other distributions use, compressed or not.

    Searches only its folder and the parent folder, because MNIST and Fashion-MNIST use the same file names.
    """
    if os.path.lexists(file) and not read(file, Path.is_dir):
        return file
    dotted_name = file.name.replace("-idx", ".idx")
    names = (
        f"{file.name}.gz",
        dotted_name,
        f"{dotted_name}.gz",
        f"{file.name}/{file.name}",
        f"{dotted_name}/{dotted_name}",
        file.name,
    )
    candidates = (folder / name for folder in (file.parent, file.parent.parent) for name in names)
    return next((candidate for candidate in candidates if read(candidate, Path.is_file)), file)


def _idx_values(file: Path, axes: int) -> Tensor:
    """The uint8 values of an IDX file: two zero bytes, 8 for uint8, number of axes, big-endian sizes, values."""
    if file.suffix == ".gz":
        with gzip.open(file) as packed:
            content = bytearray(packed.read(MAX_BYTES + 1))
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes after unpacking")
    else:
        content = bytearray(file.read_bytes())
    if content[:4] != bytes([0, 0, 8, axes]):
        raise ValueError(f"begins with {content[:4].hex(' ')}, not with the magic number 00 00 08 0{axes}")
    sizes = struct.unpack_from(f">{axes}I", content, 4)
    start = 4 + 4 * axes
    if len(content) - start != math.prod(sizes):
        raise ValueError(
            f"{' x '.join(map(str, sizes))} values according to the header, but {len(content) - start} in the file"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(sizes))


def _cifar(folder: str, classes: int) -> Callable[[Source, str], Images]:
    """A reader of the Python batches of CIFAR under `<root>/<folder>`."""

    def reader(source: Source, split: str) -> Images:
        from torchvision.datasets import cifar  # noqa: PLC0415 - imported only where data are read

        dataset = cifar.CIFAR10 if classes == 10 else cifar.CIFAR100
        published, batch_folder, meta = f"CIFAR-{classes}", source.root / folder, dataset.meta
        if source.download:
            names = [name for name, _ in [*dataset.train_list, *dataset.test_list]]
            archive = Archive(dataset.filename, [dataset.url], dataset.tgz_md5, [*names, meta["filename"]])
            fetch(published, source.root, batch_folder, [archive])
        archive_file = source.root / dataset.filename
        if not batch_folder.exists() and read(archive_file, Path.is_file):
            raise DataError(
                f"{archive_file}: a compressed archive; unpack it there, or set data.download=true, which unpacks it"
            )
        md5_by_name = {**dict(dataset.test_list if split == "test" else dataset.train_list), meta["filename"]: meta["md5"]}
        for name in md5_by_name:
            _require(batch_folder / name, published, source.root)
        return _checked(read(batch_folder, _cifar_images, md5_by_name, meta["key"]), batch_folder)

    return reader


def _cifar_images(batch_folder: Path, md5_by_name: dict[str, str], key: str) -> Images:
    """The images of the batches in `md5_by_name`; its last file contains the class names."""
    *batches, names = [read(batch_folder / name, _unpickled, md5) for name, md5 in md5_by_name.items()]
    pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = [label for batch in batches for label in batch["labels" if "labels" in batch else "fine_labels"]]
    return Images(torch.from_numpy(pixels), torch.tensor(labels), tuple(names[key]))


def _unpickled(file: Path, md5: str) -> Any:
    """The content of a pickle file. Pickles can run arbitrary code, so only the published bytes are opened."""
    content = file.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DataError(f"{file}: not the published file (MD5 mismatch); delete it, and download it with data.download=true")
    return pickle.loads(content, encoding="latin1")  # noqa: S301 - published bytes


DATASETS: dict[str, Callable[[Source, str], Images]] = {
    "digits": _digits,
    "mnist": _idx("MNIST", "MNIST"),
    "fashion-mnist": _idx("FashionMNIST", "Fashion-MNIST"),
    "cifar10": _cifar("cifar-10-batches-py", 10),
    "cifar100": _cifar("cifar-100-python", 100),
    "image-folder": image_folder,
}


# (C, H, W) and K of the published data sets, with which a network can be built before the images are available.
SHAPES: dict[str, tuple[tuple[int, int, int], int]] = {
    "digits": ((1, 8, 8), 10),
    "mnist": ((1, 28, 28), 10),
    "fashion-mnist": ((1, 28, 28), 10),
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
}


def data_root(root: str | None) -> Path:
    """The folder of data sets: the configured one, otherwise $RESEXP_DATA, otherwise the user data folder.

    Raises:
        ConfigError: an environment variable in it is not set.
    """
    if root:
        return expanded(root, "data.root")
    variable = os.environ.get("RESEXP_DATA")
    return expanded(variable, "RESEXP_DATA") if variable else Path(platformdirs.user_data_dir("resexp", appauthor=False))


# ---- errors that name the file ---------------------------------------------------------------------------------------


def _require(file: Path, published: str, root: Path) -> None:
    if reason := missing_reason(file):
        raise DataError(
            f"{file}: {reason}; put the {published} files under {root}, set data.root or RESEXP_DATA to their folder, or "
            "download them once with data.download=true"
        )


def _checked(images: Images, file: Path) -> Images:
    if len(images.pixels) != len(images.labels):
        raise DataError(f"{file}: {len(images.labels)} labels for {len(images.pixels)} images; replace the files")
    if not images.pixels.numel():
        raise DataError(f"{file}: no images; replace the files")
    if int(images.labels.min()) < 0 or int(images.labels.max()) >= len(images.classes):
        raise DataError(f"{file}: labels outside 0 to {len(images.classes) - 1}; replace the file")
    return images


def checksum(splits: Sequence[Images]) -> str:
    """The SHA-256 digest of the pixels and labels of all splits, independent of where the files are stored."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.pixels.contiguous().numpy().tobytes())
        digest.update(split.labels.numpy().tobytes())
    return digest.hexdigest()
