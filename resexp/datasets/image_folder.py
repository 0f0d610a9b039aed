"""Images in one folder per class, or with labels in a CSV file. They are resized to a square; one split is read at a time."""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import torch
from torch import Tensor

from resexp.config import escape_controls
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
CSV_COLUMNS = ("file", "label")


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
    """The folder of each split; empty if the root contains the classes."""
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
    files, validation = _images_of(root, folders.values(), names), folders.get("validation")
    split_files, number = files[folders["train"]], 0
    if validation and "test" in folders:
        size = len(files[validation])
        remarks.append(f"{root}: {validation.name}/ is the validation set ({size} images); data.validation has no effect")
        split_files, number = [*split_files, *files[validation]], size
    elif validation:
        held_out = f"validation images are held out of {folders['train'].name}/"
        remarks.append(f"{root}: no test folder, so {validation.name}/ is the test set; {held_out}")
    if split == "test":
        split_files, number = files[folders["test" if "test" in folders else "validation"]], 0
    classes = tuple(map(escape_controls, names))
    return Listing(split_files, classes, is_split=True, validation=number, remarks=tuple(remarks))


# ---- labels in a CSV file ---------------------------------------------------------------------------------------------


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


def labels_in(table: Path) -> dict[str, tuple[str, int]]:
    """(label, line number) by file, a path with forward slashes; other columns are ignored. Line 1 is the header.

    The separator is a comma, semicolon or tab, whichever is most frequent in the header. The encoding is UTF-8 or UTF-16.
    """
    if not read(table, Path.is_file):
        raise DataError(f"{table}: no such file; data.labels is a path relative to data.root, or an absolute one")
    text = read(table, _text)
    header = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
    labels: dict[str, tuple[str, int]] = {}
    try:
        columns = [cell.strip().lower() for cell in next(rows, [])]
        if missing := [name for name in CSV_COLUMNS if name not in columns]:
            raise DataError(f"{table}:1: no column {' and no column '.join(missing)}; the header must be: file,label")
        for row in rows:
            line, cells = rows.line_num, dict(zip(columns, (cell.strip() for cell in row), strict=False))
            if not any(cells.values()):
                continue
            for name in CSV_COLUMNS:
                if not cells.get(name):
                    raise DataError(f"{table}:{line}: no {name}; every line needs a file and a label")
            file = Path(cells["file"].replace("\\", "/")).as_posix()
            if file in labels:
                raise DataError(
                    f"{table}:{line}: {file} already has a label in line {labels[file][1]}; remove one of the lines"
                )
            labels[file] = cells["label"], line
    except csv.Error as error:
        raise DataError(f"{table}:{rows.line_num}: not a CSV file ({error}); replace it") from None
    return labels


def _text(table: Path) -> str:
    content = table.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")


def _all_in(folder: Path) -> Iterator[Path]:
    """Every file in a folder and its subfolders, without system files; links to folders are not followed."""
    for path in listed(folder):
        if is_folder(path) and not path.is_symlink():
            yield from _all_in(path)
        else:
            yield path


# ---- classes and files ------------------------------------------------------------------------------------------------


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
    """(file, label) of every image, by split folder. One message names all entries of class folders that are not images."""
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
    paths = read(folder, lambda path: list(path.iterdir()))
    return [path for path in paths if not (path.name.startswith(".") or path.name.lower() in SYSTEM_NAMES)]


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
