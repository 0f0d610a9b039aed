"""Images in one folder per class, or with labels in a CSV file. They are resized to a square; one split is read at a time."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import torch
from torch import Tensor

from resexp.config import escape_controls
from resexp.datasets.csv_labels import labels_in
from resexp.datasets.images import DataError, Images, Source, missing_reason, read
from resexp.datasets.splits import test_split

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp", ".tif", ".tiff")
SPLIT_FOLDERS = {"train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test", "testing")}
# Entries that operating systems and programs create; so are all names that begin with a dot.
SYSTEM_NAMES = (
    "__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r", "@eadir", "#recycle",
    "$recycle.bin", "system volume information", "lost+found", "__pycache__",
)  # fmt: skip
MAX_NAMES = 4  # in a message


@dataclass(frozen=True)
class Listing:
    """Image files before they are read: (file, class number), of which the last `validation` are for validation.

    is_split: whether these are the files of one split. Otherwise they are all files, and the split is made here.
    """

    files: Sequence[tuple[Path, int]]
    classes: tuple[str, ...]
    is_split: bool = False
    validation: int = 0
    remarks: tuple[str, ...] = ()


def image_folder(source: Source, split: str) -> Images:
    """The images of one split, "train" or "test"; (N, 3, image_size, image_size).

    The root contains one folder per class, or split folders: train or training; val, valid or validation; test or testing.
    Images of a validation folder belong to the split "train", and `Images.validation` marks them. Without split folders, the
    split is made here.

    Raises:
        DataError: there are no classes or images, or an image cannot be read.
    """
    from resexp.datasets.decoding import decoded  # noqa: PLC0415 - PIL is needed by this data set only

    root, size = source.root, source.image_size or 0
    if not is_folder(root):
        raise DataError(f"{root}: no such folder; data.root must name the folder that contains one folder per class")
    listing = _labeled(root, source.labels) if source.labels else _in_class_folders(root, split)
    labels = torch.tensor([label for _, label in listing.files])
    index = torch.arange(len(labels)) if listing.is_split else test_split(labels, split, "image-folder")
    pixels, multi_frame = _allocate(root, len(index), size), 0
    for target, n in zip(pixels, index.tolist(), strict=True):
        image, has_more_frames = read(listing.files[n][0], decoded, size)
        target.copy_(image)
        multi_frame += has_more_frames
    names = tuple(escape_controls(file.relative_to(root).as_posix()) for file, _ in listing.files)
    images = Images(pixels, labels[index], listing.classes, files=tuple(names[n] for n in index.tolist()))
    remarks = listing.remarks
    if multi_frame:
        remarks += (f"{root}: {multi_frame} {split} image files have several frames or pages; the first of each is used",)
    validation = torch.arange(len(images)) >= len(images) - listing.validation if listing.validation else None
    return replace(images, validation=validation, remarks=remarks)


# ---- folders of splits and classes ------------------------------------------------------------------------------------


def _split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split; empty if the root contains the classes.

    Raises:
        DataError: two folders for one split; split folders that are incomplete.
    """
    folders = {path.name.lower(): path for path in listed(root) if is_folder(path)}
    by_split: dict[str, Path] = {}
    for split, names in SPLIT_FOLDERS.items():
        present = [folders[name] for name in names if name in folders]
        if len(present) > 1:
            raise DataError(f"{root}: {present[0].name}/ and {present[1].name}/ both name the {split} set; merge them")
        if present:
            by_split[split] = present[0]
    if "train" in by_split and len(by_split) > 1:
        return by_split
    nested = [folder for folder in by_split.values() if any(is_folder(path) for path in listed(folder))]
    if len(nested) > 1 or (nested and len(folders) > 1):
        remedy = "add train/" if "train" not in by_split else f"add test/, or set data.root={nested[0]} to split its images"
        raise DataError(f"{root}: {shortened(folder.name + '/' for folder in nested)} without the other splits; {remedy}")
    return {}


def _in_class_folders(root: Path, split: str) -> Listing:
    folders = _split_folders(root)
    if folders:
        return _in_split_folders(root, folders, split)
    names = _class_names(root)
    files = _images_of(root, [root], names)[root]
    return Listing(files, tuple(map(escape_controls, names)), remarks=_unread(root, [root]))


def _in_split_folders(root: Path, folders: dict[str, Path], split: str) -> Listing:
    """The files of one split folder; the other split folders are also checked."""
    remarks = list(_unread(root, folders.values(), [path for path in listed(root) if path not in folders.values()]))
    names = _class_names(folders["train"])
    for folder in folders.values():
        others = sorted(path.name for path in listed(folder) if is_folder(path))
        if missing := [name for name in names if name not in others]:
            raise DataError(
                f"{folder}: no folder for {shortened(missing)}, which {folders['train'].name}/ has; add one with images"
            )
        if unknown := [name for name in others if name not in names]:
            raise DataError(
                f"{folder}: {shortened(unknown)} is not a class of {folders['train'].name}/; add it there, or remove it"
            )
    files = _images_of(root, folders.values(), names)
    classes, validation = tuple(map(escape_controls, names)), folders.get("validation")
    if validation is None:
        return Listing(files[folders[split]], classes, is_split=True, remarks=tuple(remarks))
    if "test" not in folders:
        held_out = f"validation images are held out of {folders['train'].name}/"
        remarks.append(f"{root}: no test folder, so {validation.name}/ is the test set; {held_out}")
        split_files = files[folders["train"] if split == "train" else validation]
        return Listing(split_files, classes, is_split=True, remarks=tuple(remarks))
    validation_files = files[validation]
    remarks.append(
        f"{root}: {validation.name}/ is the validation set ({len(validation_files)} images); data.validation has no effect"
    )
    if split == "test":
        return Listing(files[folders["test"]], classes, is_split=True, remarks=tuple(remarks))
    train_files = [*files[folders["train"]], *validation_files]
    return Listing(train_files, classes, is_split=True, validation=len(validation_files), remarks=tuple(remarks))


def _labeled(root: Path, table: Path) -> Listing:
    """The listing of a root whose labels are in a CSV file: sorted by class and path, as in class folders."""
    labels = labels_in(table)
    problems = []
    for name, (_, line) in labels.items():
        path = root / name
        is_outside = Path(name).is_absolute() or ".." in Path(name).parts
        if problem := f"not a path inside {root}" if is_outside else problem_of(path):
            problems.append(f"{table}:{line}: {name}: {problem}")
    if problems:
        more = f"; so are {len(problems) - 1} more lines" if problems[1:] else ""
        raise DataError(f"{problems[0]}{more}; correct the table, or add the images to {root}")
    names = in_order({label for label, _ in labels.values()})
    if len(names) < 2:
        raise DataError(f"{table}: {'one label' if names else 'no images'}; two or more labels are needed")
    numbers = {name: n for n, name in enumerate(names)}
    files = sorted((numbers[label], root / name) for name, (label, _) in labels.items())
    paths = {path for _, path in files}
    others = [path for path in _all_in(root) if path not in paths and path.resolve() != table.resolve()]
    remarks = (f"{root}: not read, because {table.name} does not name them: {names_of(root, others)}",) if others else ()
    return Listing([(path, label) for label, path in files], tuple(map(escape_controls, names)), remarks=remarks)


def _all_in(folder: Path) -> Iterator[Path]:
    """Every file in a folder and its subfolders, without system files; links to folders are not followed."""
    for path in listed(folder):
        if is_folder(path) and not path.is_symlink():
            yield from _all_in(path)
        else:
            yield path


def _unread(root: Path, folders: Iterable[Path], extra_entries: Iterable[Path] = ()) -> tuple[str, ...]:
    """A remark on entries that are not read: `extra_entries`, and files next to class folders."""
    unread = [*extra_entries, *(path for folder in folders for path in listed(folder) if not is_folder(path))]
    return (f"{root}: not read: {names_of(root, unread)}",) if unread else ()


def _class_names(folder: Path) -> list[str]:
    """Sorted by name, or numerically if every name is a number."""
    names = sorted(path.name for path in listed(folder) if is_folder(path))
    if len(names) < 2:
        classes = f"one class ({names[0]})" if names else "no class folders"
        has_nested_folders = names and sum(is_folder(path) for path in listed(folder / names[0])) > 1
        hint = f"; try data.root={folder / names[0]}" if has_nested_folders else ""
        raise DataError(
            f"{folder}: {classes}; an image folder needs one folder of images for each of two or more classes{hint}"
        )
    return in_order(names)


def in_order(names: Collection[str]) -> list[str]:
    """Class names in the order of their labels: numeric if every name is a number, otherwise by name."""
    numeric = all(re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", name) for name in names)
    return sorted(names, key=lambda name: (Decimal(name), name)) if numeric else sorted(names)


def _images_of(root: Path, folders: Iterable[Path], names: Sequence[str]) -> dict[Path, list[tuple[Path, int]]]:
    """(file, label) of every image, by split folder.

    Raises:
        DataError: entries of class folders that are not images, all in one message; class folders without images.
    """
    files: dict[Path, list[tuple[Path, int]]] = {}
    problems, empty = [], []
    for folder in folders:
        files[folder] = []
        for label, name in enumerate(names):
            entries = sorted(listed(folder / name))
            files[folder] += [(path, label) for path in entries]
            problems += [(path, problem) for path in entries if (problem := problem_of(path))]
            empty += [] if entries else [folder / name]
    if len(problems) == 1:
        raise DataError(f"{problems[0][0]}: {problems[0][1]}; move it out of the class folder, or put an image in its place")
    if problems:
        kinds = "; ".join(f"{kind}: {names_of(root, [path for path, problem in problems if problem == kind])}"
                          for kind in dict.fromkeys(problem for _, problem in problems))  # fmt: skip
        raise DataError(f"{root}: {len(problems)} entries of class folders are not images ({kinds}); move them out")
    if empty:
        more = f" (as in {names_of(root, empty[1:])})" if empty[1:] else ""
        raise DataError(f"{empty[0]}: no images{more}; every class folder needs at least one image")
    return files


def problem_of(path: Path) -> str:
    """Why `path` cannot be an image file; '' if it can."""
    if path.suffix.lower() in SUFFIXES:
        return missing_reason(path)
    return "a folder, not an image" if is_folder(path) else f"not an image ({', '.join(SUFFIXES)})"


def is_folder(path: Path) -> bool:
    return read(path, Path.is_dir)


def listed(folder: Path) -> list[Path]:
    """The entries of a folder, without system files."""
    return [path for path in read(folder, lambda path: list(path.iterdir())) if not is_system_file(path.name)]


def is_system_file(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def names_of(root: Path, paths: Iterable[Path]) -> str:
    return shortened(path.relative_to(root).as_posix() for path in sorted(paths))


def shortened(names: Iterable[str]) -> str:
    """'a, b, c, d and 3 more'."""
    names = list(names)
    return ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")


def _allocate(root: Path, number: int, size: int) -> Tensor:
    """An empty (number, 3, size, size) uint8."""
    try:
        return torch.empty((number, 3, size, size), dtype=torch.uint8)
    except (RuntimeError, MemoryError):
        memory = f"{3 * number * size**2 / 1e9:,.0f} GB of memory"
        raise DataError(f"{root}: {number} images need {memory} at data.image_size={size}; choose a smaller size") from None
