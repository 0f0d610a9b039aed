"""Truncated, wrong, malicious or missing data: the error is one line that names the file."""

import builtins
import errno
import os
import pickle
import random
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from originals import (
    IMAGES_FILE,
    LABELS,
    LABELS_FILE,
    NOISE,
    PIXELS,
    cifar_batch,
    claiming,
    encoded,
    error_of,
    folder_of,
    idx,
    idx_files,
    md5,
    picture,
    published_cifar,
    python2_pickle,
    read_folder,
    written,
)
from PIL import EpsImagePlugin, Image
from torchvision.datasets import cifar

from resexp.datasets import DATASETS, DataError, Source

# ---- usable images -----------------------------------------------------------------------------------------------------


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """The path of an additional image in a folder of four training and four test images."""
    return folder_of(tmp_path, "train", "test", count=2) / "train" / "cats" / "a photograph.png"


def test_warnings_of_pil_on_a_usable_image_are_suppressed(photograph: Path, tmp_path: Path):
    content = encoded(NOISE)
    chunk = b"acTL" + bytes(8)  # an animation without frames
    photograph.write_bytes(content[:33] + struct.pack(">I", 8) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:])
    with pytest.warns(UserWarning, match="Invalid APNG"), Image.open(photograph) as image:
        image.load()

    with warnings.catch_warnings(record=True, action="always") as leaked:
        assert len(read_folder(tmp_path)) == 5
    assert leaked == []


# ---- IDX files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        pytest.param(
            {IMAGES_FILE: b"\xff" + idx(PIXELS)[1:]},
            "begins with ff 00 08 03, not with the magic number 00 00 08 03",
            id="a wrong magic number",
        ),
        pytest.param(
            {IMAGES_FILE: struct.pack(">4i", 0x803, 31, 4, 5) + PIXELS.tobytes()},
            "31 x 4 x 5 values according to the header, but 600 in the file",
            id="a header with more images",
        ),
        pytest.param(
            {LABELS_FILE: struct.pack(">2i", 0x801, 29) + LABELS.tobytes()},
            "29 values according to the header, but 30 in the file",
            id="a header with fewer labels",
        ),
        pytest.param({LABELS_FILE: idx(LABELS[:-1])}, "29 labels for 30 images", id="fewer labels than images"),
        pytest.param({LABELS_FILE: idx(LABELS + 1)}, "labels outside 0 to 9", id="a label out of range"),
        pytest.param({IMAGES_FILE: idx(PIXELS[:0]), LABELS_FILE: idx(LABELS[:0])}, "no images", id="no images and no labels"),
        pytest.param({IMAGES_FILE: idx(PIXELS[:, :0])}, "no images", id="images without pixels"),
    ],
)
def test_the_error_for_a_wrong_idx_file_states_the_problem(changed: dict[str, bytes], reason: str, tmp_path: Path):
    raw = written(tmp_path / "MNIST" / "raw", {**idx_files(), **changed})
    message = error_of(lambda: DATASETS["mnist"](Source(tmp_path), "train"))

    assert message.startswith(str(raw))
    assert reason in message
    assert "replace the file" in message


# ---- CIFAR: pickles can run arbitrary code -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "split"),
    [
        ("cifar10", "data_batch_2", "train"),
        ("cifar10", "test_batch", "test"),
        ("cifar10", "batches.meta", "test"),
        ("cifar100", "train", "train"),
        ("cifar100", "meta", "train"),
    ],
)
def test_code_in_a_cifar_file_is_never_run(name: str, file: str, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class MaliciousObject:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(tmp_path / "it ran"),)

    dataset = cifar.CIFAR10 if name == "cifar10" else cifar.CIFAR100
    code = pickle.dumps(MaliciousObject(), 2)
    folder = written(tmp_path / dataset.base_folder, {**published_cifar(name, monkeypatch), file: code})
    message = error_of(lambda: DATASETS[name](Source(tmp_path), split))

    assert message.startswith(f"{folder / file}: not the published file (MD5 mismatch); delete it")
    assert not (tmp_path / "it ran").exists()
    pickle.loads(code)
    assert (tmp_path / "it ran").exists()  # the code does run if it is unpickled


BATCH = cifar_batch(8, "labels", 10)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(python2_pickle({**BATCH, "labels": [1, 2, 3]}), "3 labels for 4 images", id="fewer labels than images"),
        pytest.param(python2_pickle({**BATCH, "labels": [1, 2, 3, 10]}), "labels outside 0 to 9", id="a label out of range"),
        pytest.param(python2_pickle({**BATCH, "labels": [1, 2, 3, "x"]}), "damaged", id="a label that is not a number"),
        pytest.param(python2_pickle({**BATCH, "data": BATCH["data"][:, 1:]}), "damaged", id="a pixel too few"),
        pytest.param(python2_pickle({**BATCH, "data": 3}), "damaged", id="a number instead of pixels"),
        pytest.param(python2_pickle({"data": BATCH["data"]}), "damaged", id="no labels"),
        pytest.param(python2_pickle([BATCH]), "damaged", id="a list"),
        pytest.param(python2_pickle(BATCH)[:-100], "damaged", id="truncated"),
        pytest.param(b"", "damaged", id="empty"),
        pytest.param(b"cnowhere\nthing\n.", "damaged", id="a missing module"),
        pytest.param(b"cos\nnothing\n.", "damaged", id="a missing name"),
        pytest.param(b"0.", "damaged", id="not a pickle"),
    ],
)
def test_the_error_for_an_invalid_published_batch_names_it(
    content: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = published_cifar("cifar10", monkeypatch)
    monkeypatch.setattr(cifar.CIFAR10, "test_list", [["test_batch", md5(content)]])
    folder = written(tmp_path / "cifar-10-batches-py", {**files, "test_batch": content})
    message = error_of(lambda: DATASETS["cifar10"](Source(tmp_path), "test"))

    assert message.startswith(str(folder))
    assert reason in message


# ---- image folders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "PPM", "WEBP", "TIFF"])
def test_the_error_for_a_truncated_image_names_it_in_every_format(form: str, photograph: Path, tmp_path: Path):
    content = encoded(NOISE, form)
    photograph.write_bytes(content)
    assert len(read_folder(tmp_path)) == 5

    photograph.write_bytes(content[: len(content) // 2])
    assert error_of(lambda: read_folder(tmp_path)).startswith(f"{photograph}: damaged")


@pytest.mark.parametrize("side", [pytest.param(10_000, id="PIL only warns"), pytest.param(14_000, id="PIL refuses")])
def test_the_error_for_a_decompression_bomb_names_it_without_a_warning(side: int, photograph: Path, tmp_path: Path):
    photograph.write_bytes(claiming(side))
    with warnings.catch_warnings(record=True, action="always") as leaked:
        message = error_of(lambda: read_folder(tmp_path))

    assert message.startswith(f"{photograph}: damaged")
    assert f"({side**2} pixels)" in message
    assert "decompression bomb" in message
    assert leaked == []


def test_a_postscript_file_is_not_executed_to_decode_it(photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **_options: started.append("ghostscript") or picture().im)
    photograph.write_bytes(encoded(picture(), "EPS"))

    assert error_of(lambda: read_folder(tmp_path)).startswith(f"{photograph}: damaged")
    assert started == []
    with Image.open(photograph) as image:
        image.load()
    assert started == ["ghostscript"]  # PIL itself starts it


def test_the_error_names_the_damaged_one_of_many_images(photograph: Path, tmp_path: Path):
    for n in range(500):
        os.link(photograph.with_name("00.png"), tmp_path / "train" / "dogs" / f"copy-{n:04}.png")
    last = tmp_path / "train" / "dogs" / "zzz.png"
    last.write_bytes(encoded(NOISE)[:-500])

    assert error_of(lambda: read_folder(tmp_path)).startswith(f"{last}: damaged")


def test_control_characters_in_a_file_name_are_escaped(photograph: Path, tmp_path: Path):
    photograph.with_name("a\n\x1b[2Jall is well\udcff.png").write_bytes(b"not an image")

    assert r"a\n\x1b[2Jall is well\udcff.png: damaged" in error_of(lambda: read_folder(tmp_path))


def test_images_that_do_not_fit_into_memory_are_refused_with_their_size(tmp_path: Path):
    message = error_of(lambda: read_folder(folder_of(tmp_path), size=10_000_000))

    assert message.startswith(f"{tmp_path}: 16 images need 4,800,000 GB of memory at data.image_size=10000000")


# ---- entries that cannot be read -------------------------------------------------------------------------------------


def all_data_sets(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small MNIST and CIFAR-10 data sets and an image folder."""
    written(root / "MNIST" / "raw", idx_files())
    written(root / "cifar-10-batches-py", published_cifar("cifar10", monkeypatch))
    return folder_of(root, "train", "test", count=2)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "a folder": Path.mkdir,
    "a broken link": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    **({"a pipe": os.mkfifo} if hasattr(os, "mkfifo") else {}),
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("image-folder", "train/cats/00.png"),
        ("mnist", f"MNIST/raw/{LABELS_FILE}"),
        ("cifar10", "cifar-10-batches-py/data_batch_2"),
    ],
)
def test_the_error_for_a_path_that_is_not_a_file_names_it(
    name: str, file: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = all_data_sets(tmp_path, monkeypatch) / file
    path.unlink()
    SPECIAL[kind](path)
    message = error_of(lambda: DATASETS[name](Source(tmp_path, 8), "train"))

    assert message.startswith(f"{path}: {'a broken link' if 'link' in kind else 'not a file'}")


CHECKING = [(Path, "is_dir"), (Path, "is_file")]
OPENING = [(builtins, "open"), (Path, "read_bytes"), (Path, "iterdir")]


@pytest.mark.parametrize(
    ("name", "file", "calls"),
    [
        *(("image-folder", file, OPENING) for file in ("train/cats/00.png", "train/cats", "train")),
        *(("image-folder", file, CHECKING) for file in ("train/cats/00.png", "train/cats", "train", "test", ".")),
        *(("mnist", f"MNIST/raw/{IMAGES_FILE}", calls) for calls in (OPENING, CHECKING)),
        *(("cifar10", f"cifar-10-batches-py/{file}", OPENING) for file in ("data_batch_1", "batches.meta")),
        ("cifar10", "cifar-10-batches-py/batches.meta", CHECKING),
    ],
)
def test_the_error_for_an_unreadable_path_names_it(
    name: str, file: str, calls: list[tuple[Any, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Permission is denied by patched functions, because an administrator, who may run this test, can read every file."""
    path = all_data_sets(tmp_path, monkeypatch) / file

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(first: Any, *arguments: Any, **options: Any) -> Any:
            if first in (path, str(path)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return function(first, *arguments, **options)

        return refuse

    for owner, call in calls:
        monkeypatch.setattr(owner, call, refusing(getattr(owner, call)))
    message = error_of(lambda: DATASETS[name](Source(tmp_path, 8), "train"))

    assert message.startswith(f"{path}: cannot be read (Permission denied)")
    assert "permissions" in message


# ---- random damage ---------------------------------------------------------------------------------------------------


def damaged(content: bytes, generator: random.Random) -> bytes:
    """The content truncated, with a few flipped bits, or with a few of its first bytes replaced."""
    changed, kind = bytearray(content), generator.randrange(3)
    if kind == 0:
        return content[: generator.randrange(len(content))]
    for _ in range(generator.randrange(1, 6)):
        if kind == 1:
            changed[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        else:
            changed[generator.randrange(min(64, len(content)))] = generator.choice((0, 1, 127, 128, 255))
    return bytes(changed)


def outcome(call: Callable[[], Any], named: Path) -> Any:
    """The result of `call`; 'named' for an error that names the file."""
    try:
        return call()
    except DataError as error:
        return "named" if str(error).startswith(str(named)) else str(error)


SMALL = NOISE.resize((13, 11))
FORMS = {
    "png": encoded(SMALL),
    "palette.png": encoded(SMALL.convert("P"), transparency=b"\0\x80"),
    "jpg": encoded(SMALL, "JPEG", progressive=True),
    "bmp": encoded(SMALL, "BMP"),
    "ppm": encoded(SMALL, "PPM"),
    "webp": encoded(SMALL, "WEBP"),
    "tif": encoded(SMALL, "TIFF", compression="tiff_lzw"),
    "gif.png": encoded(SMALL, "GIF"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_image_is_read_or_named(form: str, photograph: Path, tmp_path: Path):
    file, generator = photograph.with_name(f"photograph.{form}"), random.Random(1)
    outcomes = Counter()
    for _ in range(40):
        file.write_bytes(damaged(FORMS[form], generator))
        outcomes[outcome(lambda: tuple(read_folder(tmp_path).pixels.shape), file)] += 1

    assert set(outcomes) <= {(5, 3, 8, 8), "named"}
    assert outcomes["named"] > 10


@pytest.mark.parametrize("file", [IMAGES_FILE, LABELS_FILE])
def test_a_damaged_idx_file_is_read_exactly_or_named(file: str, tmp_path: Path):
    raw, generator = written(tmp_path / "MNIST" / "raw", idx_files()), random.Random(2)
    outcomes = Counter()
    for _ in range(200):
        content = damaged(idx_files()[file], generator)
        (raw / file).write_bytes(content)
        images = outcome(lambda: DATASETS["mnist"](Source(tmp_path), "train"), raw)
        if images != "named":
            values = images.pixels if file == IMAGES_FILE else images.labels.byte()
            assert content.endswith(values.numpy().tobytes())
        outcomes["named" if images == "named" else "read"] += 1

    assert min(outcomes.values()) > 5


@pytest.mark.parametrize("file", ["data_batch_1", "data_batch_2", "batches.meta"])
def test_a_damaged_cifar_file_is_always_named(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files, generator = published_cifar("cifar10", monkeypatch), random.Random(3)
    folder = written(tmp_path / "cifar-10-batches-py", files)
    contents = {damaged(files[file], generator) for _ in range(60)} - {files[file]}
    outcomes = Counter()
    for content in contents:
        (folder / file).write_bytes(content)
        outcomes[outcome(lambda: DATASETS["cifar10"](Source(tmp_path), "train"), folder / file)] += 1

    assert outcomes == {"named": len(contents)}
