"""A data set before and after it is read, and errors that name the file."""

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
    """Images that cannot be used; the message names the file, the problem and the remedy (exit code 2).

    Every function that reads or splits images may raise it.
    """

    def __str__(self) -> str:
        """The message on one line, with control characters of untrusted file names escaped."""
        return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in super().__str__())


@dataclass(frozen=True)
class Source:
    """Location of a data set.

    root: the folder that contains the data sets, or the image folder itself. image_size: the side in pixels to which images of
    an image folder are resized. labels: the CSV file with the labels of an image folder.
    """

    root: Path
    image_size: int | None = None
    download: bool = False
    labels: Path | None = None


@dataclass(frozen=True)
class Images:
    """(N, C, H, W) uint8 pixels from 0 to `brightest`, and (N,) labels.

    files: the path of each image relative to the root, if every image has a file. validation: (N,) bool, the images of a
    predefined validation set. remarks: notes for the user on how the set was read.
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


# Exceptions that readers raise for damaged files, from fuzzing and from their source code.
READ_ERRORS = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError,
    SyntaxError, ImportError, struct.error, zlib.error, pickle.PickleError,
)  # fmt: skip


def read(path: Path, reader: Callable[..., T], *arguments: object) -> T:
    """reader(path, *arguments), without warnings of libraries."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return reader(path, *arguments)
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: damaged or not in the expected format ({reason}); replace the file") from None


def missing_reason(path: Path) -> str:
    """Why `path` is not a file: missing, a broken link, or another kind of entry; '' if it is a file."""
    if read(path, Path.is_file):
        return ""
    return "not a file" if path.exists() else "a broken link" if path.is_symlink() else "missing"
