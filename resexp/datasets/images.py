"""What a data set is before and after it has been read, and how a file that cannot be read is named."""

import pickle
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from resexp.config import ConfigError

T = TypeVar("T")


class DataError(ConfigError):
    """Images that cannot be used: names the file, what is wrong with it, what to do (exit code 2)."""

    def __str__(self) -> str:
        """One line, whatever strangers put into the names of their files."""
        return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in super().__str__())


@dataclass(frozen=True)
class Source:
    """Where images come from.

    root: the folder of the data sets, or the image folder itself. image_size: the side in pixels of an image folder's images.
    labels: the CSV file with the labels of an image folder.
    """

    root: Path
    image_size: int | None = None
    download: bool = False
    labels: Path | None = None


@dataclass(frozen=True)
class Images:
    """(N, C, H, W) uint8 pixels from 0 to `brightest`, and (N,) labels.

    files: the path of each image relative to the root, in a set that has a file for each. validation: (N,) bool, the images
    of a validation set that came with the data. remarks: what the user should know about how the set was read.
    """

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    brightest: int = 255
    files: tuple[str, ...] = ()
    validation: Tensor | None = None
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, index: Tensor) -> "Images":
        """The images at `index`, no longer divided into training and validation images."""
        files = tuple(self.files[n] for n in index.tolist()) if self.files else ()
        return replace(self, pixels=self.pixels[index], labels=self.labels[index], files=files, validation=None)

    def to(self, device: torch.device) -> "Images":
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))


# What readers raise of broken files, as fuzzing found it and as their sources have it.
FAULTS = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError,
    SyntaxError, ImportError, struct.error, zlib.error, pickle.PickleError,
)  # fmt: skip


def read(path: Path, reader: Callable[..., T], *arguments: object) -> T:
    """reader(path, *arguments), without the remarks of libraries.

    Raises:
        DataError: `path` is broken or cannot be read.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            return reader(path, *arguments)
    except FAULTS as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: cannot be read ({error.strerror}); look after its permissions and its disk") from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: damaged or not in the expected format ({reason}); replace the file") from None


def absence(path: Path) -> str:
    """Why there is no file to open at `path`; '' where there is one."""
    if read(path, Path.is_file):
        return ""
    return "not a file" if path.exists() else "a link to nothing" if path.is_symlink() else "missing"
