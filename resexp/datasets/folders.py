"""Images in one folder per class, of any size, resized to a square: read image by image, those of one part alone."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resexp.datasets.images import DataError, Images, Source, absence, read
from resexp.datasets.splits import own_part

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp", ".tif", ".tiff")
# Whatever the ending says: none of these starts another program, as PIL does for EPS.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def image_folder(source: Source, part: str) -> Images:
    """One folder per class, in `train/` and `test/` or split by us; (N, 3, image_size, image_size).

    Raises:
        DataError: no classes or images, or one that cannot be read.
    """
    root = source.root
    if not _is_folder(root):
        raise DataError(f"{root}: no such folder; data.root must name the folder that holds one folder per class")
    split = _is_folder(root / "train") and _is_folder(root / "test")
    folder = root / part if split else root
    names = _class_names(root / "train" if split else root)
    if split and _class_names(root / "test") != names:
        raise DataError(f"{root}: train/ and test/ hold different classes; both need one folder for each")
    files = [(file, label) for label, name in enumerate(names) for file in _images_in(folder / name)]
    labels = torch.tensor([label for _, label in files])
    chosen = torch.arange(len(files)) if split else own_part(labels, part, "image-folder")
    pixels = _room(root, len(chosen), source.image_size or 0)
    for place, n in zip(pixels, chosen.tolist(), strict=True):
        place.copy_(read(files[n][0], _decoded, pixels.shape[-1]))
    return Images(pixels, labels[chosen], names)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(path.name for path in _listed(folder) if _is_folder(path)))
    if len(names) < 2:
        found = f"one class ({names[0]})" if names else "no class folders"
        raise DataError(f"{folder}: {found}; an image folder needs one folder of images for each of two or more classes")
    return names


def _images_in(folder: Path) -> list[Path]:
    files = sorted(_listed(folder))
    for file in files:
        if file.suffix.lower() not in _ENDINGS:
            raise DataError(f"{file}: not an image ({', '.join(_ENDINGS)}); move it out of the class folder")
        if fault := absence(file):
            raise DataError(f"{file}: {fault}; move it out of the class folder, or put an image in its place")
    if not files:
        raise DataError(f"{folder}: no images; every class folder needs some")
    return files


def _is_folder(path: Path) -> bool:
    return read(path, Path.is_dir)


def _listed(folder: Path) -> list[Path]:
    return [path for path in read(folder, lambda path: list(path.iterdir())) if not path.name.startswith(".")]


def _room(root: Path, number: int, size: int) -> Tensor:
    """An empty (number, 3, size, size) uint8."""
    try:
        return torch.empty((number, 3, size, size), dtype=torch.uint8)
    except (RuntimeError, MemoryError):
        need = f"{3 * number * size**2 / 1e9:,.0f} GB of memory"
        raise DataError(f"{root}: {number} images need {need} at data.image_size={size}; choose a smaller one") from None


def _decoded(path: Path, size: int) -> Tensor:
    """(3, size, size) uint8 of one image file; the longer side is squeezed, not cut."""
    from PIL import Image  # noqa: PLC0415 - read once, before training

    try:  # PIL warns of images up to twice as large as it likes, and refuses larger ones
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(path, formats=_FORMATS) as image,
        ):
            opaque = image.convert("RGBA") if "transparency" in image.info else image
            squared = opaque.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None
    return torch.from_numpy(np.array(squared)).permute(2, 0, 1)
