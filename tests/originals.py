"""Small data sets in their original formats: IDX files, batches of CIFAR, folders of images."""

import hashlib
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import cifar

from resexp.datasets import DATASETS, DataError, Images, Source


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


# ---- format of MNIST -------------------------------------------------------------------------------------------------

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 4, 5), np.uint8)
LABELS = np.arange(30, dtype=np.uint8) % 10
IMAGES_FILE, LABELS_FILE = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx(array: np.ndarray, number_type: int = 0x08) -> bytes:
    """http://yann.lecun.com/exdb/mnist: two zero bytes, the number type, the dimensions, big-endian sizes, the values."""
    return struct.pack(f">BBBB{array.ndim}i", 0, 0, number_type, array.ndim, *array.shape) + array.tobytes()


def idx_files() -> dict[str, bytes]:
    test = {f"t10k-{kind}": idx(array[:10]) for kind, array in (("images-idx3-ubyte", PIXELS), ("labels-idx1-ubyte", LABELS))}
    return {IMAGES_FILE: idx(PIXELS), LABELS_FILE: idx(LABELS), **test}


# ---- format of CIFAR -------------------------------------------------------------------------------------------------


def python2_pickle(value: object) -> bytes:
    """A pickle like those of CIFAR, written by Python 2: protocol 2, the old module name of numpy, dtype('u1', 0, 1)."""
    return (
        pickle.dumps(value, 2)
        .replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        .replace(b"\x89\x88\x87", b"K\0K\1\x87")
    )


def cifar_batch(first: int, key: str, classes: int) -> dict[str, Any]:
    """Four images in rows of 3072 values (first red, then green, then blue); pixel (y, x) of image n is (n, y, x)."""
    y, x = np.mgrid[0:32, 0:32].astype(np.uint8)
    rows = [np.concatenate([np.full(1024, n, np.uint8), y.ravel(), x.ravel()]) for n in range(first, first + 4)]
    return {"data": np.stack(rows), key: [n % classes for n in range(first, first + 4)]}


def published_cifar(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of a small CIFAR data set; the checksums that torchvision expects are replaced by theirs."""
    ten = name == "cifar10"
    dataset, classes = (cifar.CIFAR10, 10) if ten else (cifar.CIFAR100, 100)
    parts = {name: 4 * n for n, name in enumerate(["data_batch_1", "data_batch_2"] if ten else ["train"])}
    tests = {"test_batch" if ten else "test": 8}
    batches = {name: cifar_batch(n, "labels" if ten else "fine_labels", classes) for name, n in {**parts, **tests}.items()}
    names = {dataset.meta["key"]: [f"class {k}" for k in range(classes)]}
    files = {name: python2_pickle(value) for name, value in {**batches, dataset.meta["filename"]: names}.items()}
    monkeypatch.setattr(dataset, "train_list", [[name, md5(files[name])] for name in parts])
    monkeypatch.setattr(dataset, "test_list", [[name, md5(files[name])] for name in tests])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5(files[dataset.meta["filename"]])})
    return files


# ---- folders of images -----------------------------------------------------------------------------------------------

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(size: tuple[int, int] = (9, 7), color: Any = RED, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, color)


def opaque(image: Image.Image) -> Image.Image:
    image.info["transparency"] = bytes([255] * 256)
    return image


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def folder_of(root: Path, *parts: str, count: int = 10) -> Path:
    """Class folders `cats` (red) and `dogs` (green) of images that differ in size, in `root` or in its `parts`."""
    for part in parts or (".",):
        for name, color in (("cats", RED), ("dogs", GREEN)):
            content = {f"{n:02}.png": encoded(picture((5 + n, 12 - n), color)) for n in range(count)}
            written(root / part / name, content)
    return root


def read_folder(root: Path, part: str = "train", size: int = 8) -> Images:
    return DATASETS["image-folder"](Source(root, size), part)


NOISE = Image.fromarray(np.random.default_rng(2).integers(0, 256, (160, 160, 3), np.uint8))


def claiming(side: int) -> bytes:
    """A bitmap of 9 x 7 pixels whose header contains the size side x side."""
    content = bytearray(encoded(picture(), "BMP"))
    content[18:26] = struct.pack("<ii", side, side)
    return bytes(content)
