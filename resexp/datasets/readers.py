"""Images as uint8 tensors, read once: digits, MNIST, Fashion-MNIST, CIFAR-10/100, image folders.

Shapes: N images, C channels, H x W pixels. Labels are int64 class numbers.
"""

import hashlib
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import platformdirs
import torch
from torch import Tensor

from resexp import streams
from resexp.datasets.images import DataError, Images
from resexp.datasets.splits import held_out

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """Where images come from: the folder that holds data sets, the side that image folders are resized to, download."""

    root: Path
    image_size: int | None = None
    download: bool = False


# ---- reading: one function per data set, part is "train" or "test" ----------------------------------------------------


def _digits(_source: Source, part: str) -> Images:
    """scikit-learn's 1,797 digits of 8x8 pixels, 17 grey levels; a stratified 20 % is the test part."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - costs a second, needed by this data set only

    digits = load_digits()
    pixels = torch.from_numpy(digits.images.astype(np.uint8)).unsqueeze(1)
    everything = Images(pixels, torch.from_numpy(digits.target.astype(np.int64)), tuple("0123456789"), brightest=16)
    return _own_split(everything, part, "digits")


def _own_split(everything: Images, part: str, name: str) -> Images:
    """The train or test part of a set that has none: a stratified 20 % for testing, whatever the trial's seed."""
    test = held_out(everything.labels, round(0.2 * len(everything)), streams.generator(0, "test split", name))
    chosen = torch.zeros(len(everything), dtype=torch.bool)
    chosen[test] = True
    return everything.at((chosen if part == "test" else ~chosen).nonzero().squeeze(1))


def _idx(folder: str, published: str) -> Callable[[Source, str], Images]:
    """A reader of MNIST's IDX files under `<root>/<folder>/raw`."""

    def read(source: Source, part: str) -> Images:
        from torchvision.datasets import mnist  # noqa: PLC0415 - imported only where data are read

        prefix = "t10k" if part == "test" else "train"
        files = [source.root / folder / "raw" / f"{prefix}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
        dataset = mnist.FashionMNIST if folder == "FashionMNIST" else mnist.MNIST
        if source.download:
            _download(dataset, source.root, published)
        for file in files:
            _require(file, published, source.root)
        pixels = _read(files[0], mnist.read_image_file)
        labels = _read(files[1], mnist.read_label_file)
        classes = tuple(dataset.classes) if folder == "FashionMNIST" else tuple("0123456789")
        return _checked(Images(pixels.unsqueeze(1), labels, classes), files[1])

    return read


def _cifar(folder: str, classes: int) -> Callable[[Source, str], Images]:
    """A reader of CIFAR's python batches under `<root>/<folder>`."""

    def read(source: Source, part: str) -> Images:
        from torchvision.datasets import cifar  # noqa: PLC0415 - imported only where data are read

        dataset = cifar.CIFAR10 if classes == 10 else cifar.CIFAR100
        published = f"CIFAR-{classes}"
        if source.download:
            _download(dataset, source.root, published)
        files = dataset.test_list if part == "test" else dataset.train_list
        for name, _ in [*files, (dataset.meta["filename"], "")]:
            _require(source.root / folder / name, published, source.root)

        def load(_path: Path) -> Images:
            loaded = dataset(str(source.root), train=part == "train", download=False)
            pixels = torch.from_numpy(loaded.data).permute(0, 3, 1, 2).contiguous()
            return Images(pixels, torch.tensor(loaded.targets), tuple(loaded.classes))

        return _checked(_read(source.root / folder, load), source.root / folder)

    return read


def _image_folder(source: Source, part: str) -> Images:
    """One folder per class, in `train/` and `test/` or split by us; colour, any size, resized to a square."""
    root, size = source.root, source.image_size or 0
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; data.root must name the folder that holds one folder per class")
    split = (root / "train").is_dir() and (root / "test").is_dir()
    folder = root / part if split else root
    names = _class_names(root / "train" if split else root)
    if split and _class_names(root / "test") != names:
        raise DataError(f"{root}: train/ and test/ hold different classes; both need one folder for each")
    files = [(file, label) for label, name in enumerate(names) for file in _images_in(folder / name)]
    pixels = torch.stack([_read(file, lambda path: _decoded(path, size)) for file, _ in files])
    images = Images(pixels, torch.tensor([label for _, label in files]), names)
    return images if split else _own_split(images, part, "image-folder")


_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp", ".tif", ".tiff")


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(names) < 2:
        found = f"one class ({names[0]})" if names else "no class folders"
        raise DataError(f"{folder}: {found}; an image folder needs one folder of images for each of two or more classes")
    return names


def _images_in(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for file in files:
        if file.suffix.lower() not in _IMAGE_ENDINGS:
            raise DataError(f"{file}: not an image ({', '.join(_IMAGE_ENDINGS)}); move it out of the class folder")
    if not files:
        raise DataError(f"{folder}: no images; every class folder needs some")
    return files


def _decoded(path: Path, size: int) -> Tensor:
    """(3, size, size) uint8 of one image file; the longer side is squeezed, not cut."""
    from PIL import Image  # noqa: PLC0415 - read once, before training

    try:
        with Image.open(path) as image:
            opaque = image.convert("RGBA") if "transparency" in image.info else image
            squared = opaque.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (SyntaxError, Image.DecompressionBombError) as error:  # what PIL says of broken chunks and absurd sizes
        raise ValueError(str(error)) from None
    return torch.from_numpy(np.array(squared)).permute(2, 0, 1).contiguous()


DATASETS: dict[str, Callable[[Source, str], Images]] = {
    "digits": _digits,
    "mnist": _idx("MNIST", "MNIST"),
    "fashion-mnist": _idx("FashionMNIST", "Fashion-MNIST"),
    "cifar10": _cifar("cifar-10-batches-py", 10),
    "cifar100": _cifar("cifar-100-python", 100),
    "image-folder": _image_folder,
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
    """The folder that holds data sets: as configured, else $RESEXP_DATA, else the user's data folder."""
    return Path(root or os.environ.get("RESEXP_DATA") or platformdirs.user_data_dir("resexp", appauthor=False)).expanduser()


# ---- errors that name the file ---------------------------------------------------------------------------------------


def _require(file: Path, published: str, root: Path) -> None:
    if not file.is_file():
        raise DataError(
            f"{file}: missing, looked for under {root}; put the {published} files there (or point data.root or "
            "RESEXP_DATA to them), or fetch them once with data.download=true"
        )


def _read(path: Path, reader: Callable[[Path], T]) -> T:
    """What `reader` makes of `path`; whatever a broken file makes it raise becomes a DataError."""
    try:
        return reader(path)
    except (OSError, ValueError, TypeError, AssertionError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: damaged or not in the expected format ({reason}); replace the file") from None


def _download(dataset: Callable[..., object], root: Path, published: str) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        dataset(str(root), download=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{published}: download to {root} failed ({reason}); put the files there by hand") from None


def _checked(images: Images, file: Path) -> Images:
    if len(images.pixels) != len(images.labels):
        raise DataError(f"{file}: {len(images.labels)} labels for {len(images.pixels)} images; replace the files")
    if not len(images) or int(images.labels.min()) < 0 or int(images.labels.max()) >= len(images.classes):
        raise DataError(f"{file}: labels outside 0 to {len(images.classes) - 1}; replace the file")
    return images


def checksum(parts: Sequence[Images]) -> str:
    """SHA-256 over pixels and labels: what was trained and tested on, wherever it lay."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.pixels.contiguous().numpy().tobytes())
        digest.update(part.labels.numpy().tobytes())
    return digest.hexdigest()
