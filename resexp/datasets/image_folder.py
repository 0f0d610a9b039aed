"""Images in one folder per class, or with labels in a CSV file: of any size, resized to a square, one split at a time."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import torch
from torch import Tensor

from resexp.config import escape_controls
from resexp.datasets.csv_labels import labels_in
from resexp.datasets.images import DataError, Images, Source, absence, read
from resexp.datasets.splits import own_part

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp", ".tif", ".tiff")
PARTS = {"train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test", "testing")}
# Files that systems and programs create in folders of images, in addition to all names that begin with a dot.
JUNK = (
    "__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r", "@eadir", "#recycle",
    "$recycle.bin", "system volume information", "lost+found", "__pycache__",
)  # fmt: skip
SHOWN = 4  # names that a message lists


@dataclass(frozen=True)
class Listing:
    """Images before they are read: (file, class number), of which the last `validation` are for validation.

    divided: whether they are those of one part; else they are all, to be divided by us.
    """

    files: Sequence[tuple[Path, int]]
    classes: tuple[str, ...]
    divided: bool = False
    validation: int = 0
    remarks: tuple[str, ...] = ()


def image_folder(source: Source, part: str) -> Images:
    """The images of one part; (N, 3, image_size, image_size).

    One folder per class, in the root or in folders for parts: train or training; val, valid or validation; test or testing.
    The images of a validation folder are in the part "train", marked. A root without such folders is divided here.

    Raises:
        DataError: no classes or images, or one that cannot be read.
    """
    from resexp.datasets.decoding import decoded  # noqa: PLC0415 - PIL is needed by this data set only

    root, size = source.root, source.image_size or 0
    if not is_folder(root):
        raise DataError(f"{root}: no such folder; data.root must name the folder that contains one folder per class")
    listing = _labeled(root, source.labels) if source.labels else _in_class_folders(root, part)
    labels = torch.tensor([label for _, label in listing.files])
    chosen = torch.arange(len(labels)) if listing.divided else own_part(labels, part, "image-folder")
    pixels, several = _room(root, len(chosen), size), 0
    for slot, n in zip(pixels, chosen.tolist(), strict=True):
        image, more = read(listing.files[n][0], decoded, size)
        slot.copy_(image)
        several += more
    names = tuple(escape_controls(file.relative_to(root).as_posix()) for file, _ in listing.files)
    images = Images(pixels, labels[chosen], listing.classes, files=tuple(names[n] for n in chosen.tolist()))
    remarks = listing.remarks
    if several:
        remarks += (f"{root}: {several} {part} image files have several frames or pages; the first of each is used",)
    validation = torch.arange(len(images)) >= len(images) - listing.validation if listing.validation else None
    return replace(images, validation=validation, remarks=remarks)


# ---- which folders contain what ---------------------------------------------------------------------------------------


def _parts(root: Path) -> dict[str, Path]:
    """The folder of each split; empty if the root contains the classes.

    Raises:
        DataError: two folders for one part; folders for parts that are not enough.
    """
    folders = {path.name.lower(): path for path in listed(root) if is_folder(path)}
    parts: dict[str, Path] = {}
    for part, names in PARTS.items():
        present = [folders[name] for name in names if name in folders]
        if len(present) > 1:
            raise DataError(f"{root}: {present[0].name}/ and {present[1].name}/ both name the {part} set; merge them")
        if present:
            parts[part] = present[0]
    if "train" in parts and len(parts) > 1:
        return parts
    nested = [folder for folder in parts.values() if any(is_folder(path) for path in listed(folder))]
    if len(nested) > 1 or (nested and len(folders) > 1):
        cure = "add train/" if "train" not in parts else f"add test/, or let data.root={nested[0]} be divided"
        raise DataError(f"{root}: {shortened(folder.name + '/' for folder in nested)} without the other splits; {cure}")
    return {}


def _in_class_folders(root: Path, part: str) -> Listing:
    parts = _parts(root)
    if parts:
        return _divided(root, parts, part)
    names = _class_names(root)
    files = _images_of(root, [root], names)[root]
    return Listing(files, tuple(map(escape_controls, names)), remarks=_unread(root, [root]))


def _divided(root: Path, parts: dict[str, Path], part: str) -> Listing:
    """The listing of a part of a root with folders for parts; the others are checked, too."""
    remarks = list(_unread(root, parts.values(), [path for path in listed(root) if path not in parts.values()]))
    names = _class_names(parts["train"])
    for folder in parts.values():
        others = sorted(path.name for path in listed(folder) if is_folder(path))
        if missing := [name for name in names if name not in others]:
            raise DataError(
                f"{folder}: no folder for {shortened(missing)}, which {parts['train'].name}/ has; add one with images"
            )
        if unknown := [name for name in others if name not in names]:
            raise DataError(
                f"{folder}: {shortened(unknown)} is not a class of {parts['train'].name}/; add it there, or remove it"
            )
    files = _images_of(root, parts.values(), names)
    classes, validation = tuple(map(escape_controls, names)), parts.get("validation")
    if validation is None:
        return Listing(files[parts[part]], classes, divided=True, remarks=tuple(remarks))
    if "test" not in parts:
        held_out = f"validation images are held out of {parts['train'].name}/"
        remarks.append(f"{root}: no test folder, so {validation.name}/ is the test set; {held_out}")
        chosen = files[parts["train"] if part == "train" else validation]
        return Listing(chosen, classes, divided=True, remarks=tuple(remarks))
    given = files[validation]
    remarks.append(f"{root}: {validation.name}/ is the validation set ({len(given)} images); data.validation has no effect")
    if part == "test":
        return Listing(files[parts["test"]], classes, divided=True, remarks=tuple(remarks))
    both = [*files[parts["train"]], *given]
    return Listing(both, classes, divided=True, validation=len(given), remarks=tuple(remarks))


def _labeled(root: Path, table: Path) -> Listing:
    """The listing of a root whose labels are in a CSV file: sorted by class and path, as in class folders."""
    labels = labels_in(table)
    problems = []
    for name, (_, line) in labels.items():
        path = root / name
        outside = Path(name).is_absolute() or ".." in Path(name).parts
        if fault := f"not a path inside {root}" if outside else fault_of(path):
            problems.append(f"{table}:{line}: {name}: {fault}")
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


def _unread(root: Path, folders: Iterable[Path], beside: Iterable[Path] = ()) -> tuple[str, ...]:
    """A remark on entries that are not read: `beside` the split folders, and files next to class folders."""
    loose = [*beside, *(path for folder in folders for path in listed(folder) if not is_folder(path))]
    return (f"{root}: not read: {names_of(root, loose)}",) if loose else ()


def _class_names(folder: Path) -> list[str]:
    """Sorted by name, or numerically if every name is a number."""
    names = sorted(path.name for path in listed(folder) if is_folder(path))
    if len(names) < 2:
        seen = f"one class ({names[0]})" if names else "no class folders"
        inside = names and sum(is_folder(path) for path in listed(folder / names[0])) > 1
        hint = f"; try data.root={folder / names[0]}" if inside else ""
        raise DataError(f"{folder}: {seen}; an image folder needs one folder of images for each of two or more classes{hint}")
    return in_order(names)


def in_order(names: Collection[str]) -> list[str]:
    """Class names in the order of their labels: numeric if every name is a number, otherwise by name."""
    numeric = all(re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", name) for name in names)
    return sorted(names, key=lambda name: (Decimal(name), name)) if numeric else sorted(names)


def _images_of(root: Path, folders: Iterable[Path], names: Sequence[str]) -> dict[Path, list[tuple[Path, int]]]:
    """(file, label) of every image by part.

    Raises:
        DataError: everything in class folders that is not an image, at once; class folders without images.
    """
    files: dict[Path, list[tuple[Path, int]]] = {}
    problems, empty = [], []
    for folder in folders:
        files[folder] = []
        for label, name in enumerate(names):
            entries = sorted(listed(folder / name))
            files[folder] += [(path, label) for path in entries]
            problems += [(path, fault) for path in entries if (fault := fault_of(path))]
            empty += [] if entries else [folder / name]
    if len(problems) == 1:
        raise DataError(f"{problems[0][0]}: {problems[0][1]}; move it out of the class folder, or put an image in its place")
    if problems:
        kinds = "; ".join(f"{fault}: {names_of(root, [path for path, other in problems if other == fault])}"
                          for fault in dict.fromkeys(fault for _, fault in problems))  # fmt: skip
        raise DataError(f"{root}: {len(problems)} entries of class folders are not images ({kinds}); move them out")
    if empty:
        more = f" (as in {names_of(root, empty[1:])})" if empty[1:] else ""
        raise DataError(f"{empty[0]}: no images{more}; every class folder needs at least one image")
    return files


def fault_of(path: Path) -> str:
    """Why `path` cannot be an image file; '' if it can."""
    if path.suffix.lower() in ENDINGS:
        return absence(path)
    return "a folder, not an image" if is_folder(path) else f"not an image ({', '.join(ENDINGS)})"


def is_folder(path: Path) -> bool:
    return read(path, Path.is_dir)


def listed(folder: Path) -> list[Path]:
    """The entries of a folder, without system files."""
    return [path for path in read(folder, lambda path: list(path.iterdir())) if not is_junk(path.name)]


def is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def names_of(root: Path, paths: Iterable[Path]) -> str:
    return shortened(path.relative_to(root).as_posix() for path in sorted(paths))


def shortened(names: Iterable[str]) -> str:
    """'a, b, c, d and 3 more'."""
    every = list(names)
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN} more" if len(every) > SHOWN else "")


def _room(root: Path, number: int, size: int) -> Tensor:
    """An empty (number, 3, size, size) uint8."""
    try:
        return torch.empty((number, 3, size, size), dtype=torch.uint8)
    except (RuntimeError, MemoryError):
        need = f"{3 * number * size**2 / 1e9:,.0f} GB of memory"
        raise DataError(f"{root}: {number} images need {need} at data.image_size={size}; choose a smaller one") from None
