"""Images as they are read, split, ordered, normalised and augmented."""

import gzip
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest
import torch
from originals import (
    BLUE,
    GREEN,
    IMAGES_FILE,
    LABELS,
    LABELS_FILE,
    NOISE,
    PIXELS,
    RED,
    claiming,
    encoded,
    error_of,
    folder_of,
    idx,
    idx_files,
    picture,
    published_cifar,
    read_folder,
    opaque,
    written,
)
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import cifar, mnist

from resexp import datasets, streams
from resexp.config import ConfigError
from resexp.datasets import DATASETS, Images, Source, readers
from resexp.training import load_training_data

NOWHERE = Source(Path("nowhere"))


def numbered(counts: list[int], shape: tuple[int, int, int] = (3, 2, 2)) -> Images:
    """Images of `counts[k]` per class in mixed order; the first two pixels of each say which one it is."""
    labels = torch.tensor([k for k, count in enumerate(counts) for _ in range(count)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    pixels = torch.randint(0, 256, (len(labels), *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    number = torch.arange(len(labels))
    pixels.flatten(1)[:, 0], pixels.flatten(1)[:, 1] = (number // 256).byte(), (number % 256).byte()
    return Images(pixels, labels, tuple(map(str, range(len(counts)))))


def numbers(images: Images) -> list[int]:
    first, second = images.pixels.flatten(1)[:, 0], images.pixels.flatten(1)[:, 1]
    return (first.long() * 256 + second.long()).tolist()


# ---- what must not change anything -----------------------------------------------------------------------------------


def test_augment_none_returns_the_very_batch_and_draws_nothing():
    batch, generator = torch.rand(4, 1, 8, 8), streams.generator(0, "augment", 0)
    state = generator.get_state()

    assert datasets.AUGMENTATIONS["none"](batch, generator) is batch
    assert torch.equal(generator.get_state(), state)


def test_nothing_held_out_and_no_limit_keep_every_image_in_its_place():
    images = numbered([5, 9, 2])
    training, validation = datasets.split(images, 0, None, "x")

    assert numbers(training) == list(range(16))
    assert len(validation) == 0
    assert numbers(datasets.split(images, 0, 16, "x")[0]) == list(range(16))


def test_normalize_none_only_scales_to_the_unit_range():
    images = Images(torch.arange(17, dtype=torch.uint8).reshape(17, 1, 1, 1), torch.zeros(17).long(), ("0",), brightest=16)
    x = datasets.normalize(images.pixels, *datasets.normalization_stats(images, "none"))

    assert x.flatten().tolist() == [n / 16 for n in range(17)]


# ---- splits and orders -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("validation", "limit", "out", "kept"),
    [
        pytest.param(0.1, None, 20, 180, id="a fraction"),
        pytest.param(0.15, None, 30, 170, id="a fraction that no class divides by"),
        pytest.param(33, None, 33, 167, id="a count"),
        pytest.param(1, None, 1, 199, id="one image"),
        pytest.param(0.1, 50, 20, 50, id="then a limit"),
        pytest.param(0, 3, 0, 3, id="a limit under the number of classes"),
        pytest.param(0.1, 180, 20, 180, id="a limit that is all that is left"),
    ],
)
def test_splits_are_stratified_disjoint_and_deterministic(validation: float, limit: int | None, out: int, kept: int):
    images = numbered([100, 60, 30, 10])
    training, held = datasets.split(images, validation, limit, "x")
    again = datasets.split(images, validation, limit, "x")

    assert (len(held), len(training)) == (out, kept)
    assert not set(numbers(training)) & set(numbers(held))
    for part in (training, held):
        shares = torch.bincount(part.labels, minlength=4).tolist()
        assert all(abs(share - len(part) * of / 200) < 1.5 for share, of in zip(shares, (100, 60, 30, 10), strict=True))
        assert part.labels.tolist() == images.labels[numbers(part)].tolist()
    assert [numbers(part) for part in again] == [numbers(training), numbers(held)]


def test_a_limit_takes_the_first_images_of_each_class():
    images = numbered([8, 4, 4])
    kept = datasets.first(images.labels, 8).tolist()
    slow = [[n for n, label in enumerate(images.labels.tolist()) if label == k][:share] for k, share in enumerate((4, 2, 2))]

    assert kept == sorted(n for members in slow for n in members)


def test_the_held_out_images_depend_on_the_name_of_the_set_alone():
    images = numbered([100, 100])
    torch.manual_seed(7)
    a, b, c = (numbers(datasets.split(images, 0.1, None, name)[1]) for name in ("digits", "digits", "mnist"))

    assert a == b != c


@pytest.mark.parametrize(
    ("validation", "limit", "words"),
    [
        pytest.param(16, None, ("data.validation", "16"), id="all held out"),
        pytest.param(99, None, ("data.validation", "99"), id="more held out than there is"),
        pytest.param(4, 13, ("data.limit", "13", "12"), id="a limit above what is left"),
    ],
)
def test_asking_for_more_images_than_there_are_names_the_key(validation: float, limit: int | None, words: tuple[str, ...]):
    message = error_of(lambda: datasets.split(numbered([8, 8]), validation, limit, "x"))

    assert all(word in message for word in words)


def test_each_epoch_of_each_seed_has_an_order_of_its_own():
    orders = {(seed, epoch): datasets.order(seed, epoch, 50).tolist() for seed in range(3) for epoch in range(3)}

    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len(set(map(tuple, orders.values()))) == 9
    assert datasets.order(2, 1, 50).tolist() == orders[2, 1]


# ---- what the network sees -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", ["channel", "pixel", "none"])
def test_statistics_and_normalisation_agree_with_numpy(normalize: str):
    images = numbered([40, 40], (3, 4, 5))
    raw = images.pixels.numpy().astype(np.float64)
    expected = {
        "channel": lambda: (raw - raw.mean((0, 2, 3), keepdims=True)) / raw.std((0, 2, 3), keepdims=True),
        "pixel": lambda: (raw - raw.mean(0)) / 255,
        "none": lambda: raw / 255,
    }[normalize]()
    shift, scale = datasets.normalization_stats(images, normalize)

    assert shift.dtype == scale.dtype == torch.float64
    np.testing.assert_allclose(datasets.normalize(images.pixels, shift, scale).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_channel_that_never_changes_becomes_zero_and_not_nan():
    images = Images(torch.full((4, 1, 2, 2), 9, dtype=torch.uint8), torch.zeros(4).long(), ("0",))

    assert not datasets.normalize(images.pixels, *datasets.normalization_stats(images, "channel")).any()


@pytest.mark.parametrize(
    ("shape", "pad"),
    [
        pytest.param((3, 32, 32), 4, id="32x32 pads by 4"),
        pytest.param((1, 28, 28), 3, id="28x28 pads by 3"),
        pytest.param((2, 16, 10), 2, id="not square"),
        pytest.param((1, 7, 7), 0, id="too small to shift, still mirrored"),
    ],
)
def test_crop_flip_is_pad_slice_and_mirror_of_one_image_after_the_other(shape: tuple[int, int, int], pad: int):
    batch = torch.rand(200, *shape, generator=torch.Generator().manual_seed(3))
    found = datasets.crop_flip(batch, streams.generator(0, "augment", 5))

    draws = streams.generator(0, "augment", 5)
    tops, lefts = (torch.randint(0, 2 * pad + 1, (200,), generator=draws).tolist() for _ in "yx")
    mirrored = (torch.rand(200, generator=draws) < 0.5).tolist()
    _, height, width = shape
    for image, result, top, left, mirror in zip(batch.numpy(), found.numpy(), tops, lefts, mirrored, strict=True):
        padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
        window = padded[:, top : top + height, left : left + width]
        assert np.array_equal(result, window[:, :, ::-1] if mirror else window)
    assert set(tops) == set(lefts) == set(range(2 * pad + 1))
    assert 70 < sum(mirrored) < 130


def test_a_checksum_sees_every_pixel_and_every_label():
    images = numbered([4, 4])
    other_pixel, other_label = images.pixels.clone(), images.labels.clone()
    other_pixel[7, 2, 1, 1] ^= 1
    other_label[0] ^= 1
    sums = [datasets.checksum([Images(p, l, ("0", "1"))])
            for p in (images.pixels, other_pixel) for l in (images.labels, other_label)]  # fmt: skip

    assert len(set(sums)) == 4
    assert datasets.checksum([numbered([4, 4])]) == sums[0]


@pytest.mark.parametrize(
    ("configured", "environment", "expected"),
    [
        pytest.param("here", "there", Path("here"), id="data.root first"),
        pytest.param(None, "there", Path("there"), id="then RESEXP_DATA"),
        pytest.param(None, None, Path(platformdirs.user_data_dir("resexp", appauthor=False)), id="then the user's own"),
        pytest.param("~/here", None, Path.home() / "here", id="a tilde is the home folder"),
        pytest.param("$PLACE/here", None, Path("/place/here"), id="a variable"),
        pytest.param("${PLACE}here", None, Path("/placehere"), id="a variable in braces"),
        pytest.param(None, "$PLACE/there", Path("/place/there"), id="a variable in RESEXP_DATA"),
    ],
)
def test_the_data_folder_is_the_first_that_is_named(
    configured: str | None, environment: str | None, expected: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("RESEXP_DATA", raising=False)
    monkeypatch.setenv("PLACE", "/place")
    if environment:
        monkeypatch.setenv("RESEXP_DATA", environment)

    assert datasets.data_root(configured) == expected


@pytest.mark.parametrize("root", ["$NOT_SET/here", "${NOT_SET}"])
def test_a_variable_that_is_not_set_is_named(root: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ConfigError, match=r"data\.root: .*NOT_SET.*is not set"):
        datasets.data_root(root)


def test_a_folder_that_has_the_name_of_a_variable_is_that_folder(tmp_path: Path):
    (tmp_path / "$NOT_SET").mkdir()

    assert datasets.data_root(str(tmp_path / "$NOT_SET")) == tmp_path / "$NOT_SET"


# ---- digits ----------------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns_split_into_1438_and_359_with_equal_class_shares():
    digits = load_digits()
    training, test = (DATASETS["digits"](NOWHERE, part) for part in ("train", "test"))
    raw = sorted((image.astype(np.uint8).tobytes(), int(k)) for image, k in zip(digits.images, digits.target, strict=True))
    both = [(bytes(p.numpy()), int(k)) for part in (training, test) for p, k in zip(part.pixels, part.labels, strict=True)]

    assert (len(training), len(test)) == (1438, 359)
    assert sorted(both) == raw
    assert test.brightest == int(test.pixels.max()) == 16
    counts = np.bincount(digits.target)
    assert np.abs(np.bincount(test.labels) - counts * 359 / 1797).max() < 1


def test_the_digits_split_is_the_same_for_every_seed(tiny: Any):
    torch.manual_seed(1)
    expected = datasets.checksum([DATASETS["digits"](NOWHERE, part) for part in ("train", "test")])
    torch.manual_seed(2)
    assert datasets.checksum([DATASETS["digits"](NOWHERE, part) for part in ("train", "test")]) == expected

    a, b = (load_training_data(tiny(f"seeds=[{seed}]").shared.data, "cpu", torch.float32) for seed in (0, 9))
    assert datasets.checksum([a.training, a.validation]) == datasets.checksum([b.training, b.validation])


def test_the_statistics_are_of_the_images_that_are_left_to_train_on(tiny: Any):
    found = load_training_data(tiny("data.limit=50").shared.data, "cpu", torch.float64)
    raw = found.training.pixels.numpy().astype(np.float64)

    assert len(found.training) == 50
    assert float(found.shift) == pytest.approx(raw.mean(), rel=1e-12)
    assert float(found.scale) == pytest.approx(raw.std(), rel=1e-12)


# ---- MNIST and Fashion-MNIST: the real files -------------------------------------------------------------------------

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize(
    ("name", "folder", "part", "prefix", "histogram", "first_labels"),
    [
        pytest.param("mnist", "MNIST", "train", "train", MNIST_TRAIN, [5, 0, 4, 1, 9], id="MNIST train"),
        pytest.param("mnist", "MNIST", "test", "t10k", MNIST_TEST, [7, 2, 1, 0, 4], id="MNIST test"),
        pytest.param("fashion-mnist", "FashionMNIST", "train", "train", [6000] * 10, [9, 0, 0, 3, 0], id="Fashion-MNIST train"),
        pytest.param("fashion-mnist", "FashionMNIST", "test", "t10k", [1000] * 10, [9, 2, 1, 1, 6], id="Fashion-MNIST test"),
    ],
)
def test_the_published_files_are_read_byte_for_byte(
    real_data: Path, name: str, folder: str, part: str, prefix: str, histogram: list[int], first_labels: list[int]
):
    images = DATASETS[name](Source(real_data), part)
    raw = np.fromfile(real_data / folder / "raw" / f"{prefix}-images-idx3-ubyte", np.uint8, offset=16)

    assert torch.bincount(images.labels).tolist() == histogram
    assert images.labels[:5].tolist() == first_labels
    assert images.pixels.shape == (sum(histogram), 1, 28, 28)
    assert np.array_equal(images.pixels.numpy().ravel(), raw)


# ---- small IDX files in the original format --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_small_idx_files_come_back_as_written(name: str, folder: str, tmp_path: Path):
    written(tmp_path / folder / "raw", idx_files())
    training, test = (DATASETS[name](Source(tmp_path), part) for part in ("train", "test"))

    assert np.array_equal(training.pixels.numpy(), PIXELS[:, None])
    assert training.labels.tolist() == LABELS.tolist()
    assert training.labels.dtype == torch.int64
    assert np.array_equal(test.pixels.numpy(), PIXELS[:10, None])
    assert len(training.classes) == 10


OTHER_NAMES = {
    "compressed": lambda name: f"raw/{name}.gz",
    "with a dot": lambda name: f"raw/{name.replace('-idx', '.idx')}",
    "with a dot, compressed": lambda name: f"raw/{name.replace('-idx', '.idx')}.gz",
    "in a folder of its name": lambda name: f"raw/{name}/{name}",
    "one folder higher": lambda name: name,
    "one folder higher, compressed": lambda name: f"{name}.gz",
}


@pytest.mark.parametrize("download", [False, True], ids=["", "download"])
@pytest.mark.parametrize("way", OTHER_NAMES)
def test_idx_files_are_found_under_the_names_of_other_collections_and_nothing_is_fetched(
    way: str,
    download: bool,  # noqa: FBT001 - a table's column
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(mnist.MNIST, "mirrors", ["file:///nowhere/"])
    for name, content in idx_files().items():
        file = tmp_path / "MNIST" / OTHER_NAMES[way](name)
        written(file.parent, {file.name: gzip.compress(content) if file.suffix == ".gz" else content})
    before = sorted(tmp_path.rglob("*"))
    training, test = (DATASETS["mnist"](Source(tmp_path, download=download), part) for part in ("train", "test"))

    assert np.array_equal(training.pixels.numpy(), PIXELS[:, None])
    assert test.labels.tolist() == LABELS[:10].tolist()
    assert sorted(tmp_path.rglob("*")) == before


def test_an_idx_file_in_its_place_is_used_before_others(tmp_path: Path):
    raw = written(tmp_path / "MNIST" / "raw", idx_files())
    written(raw, {f"{name}.gz": b"damaged" for name in idx_files()})

    assert len(DATASETS["mnist"](Source(tmp_path), "train")) == 30


def test_files_of_mnist_beside_the_folder_of_fashion_mnist_are_not_taken_for_it(tmp_path: Path):
    written(tmp_path, idx_files())

    assert "missing" in error_of(lambda: DATASETS["fashion-mnist"](Source(tmp_path), "train"))


@pytest.mark.parametrize(
    "content", [b"damaged", gzip.compress(idx(PIXELS))[:-20], gzip.compress(b"other")], ids=["no gzip", "truncated", "other"]
)
def test_a_damaged_compressed_idx_file_is_named(content: bytes, tmp_path: Path):
    raw = written(tmp_path / "MNIST" / "raw", {**idx_files(), f"{IMAGES_FILE}.gz": content})
    (raw / IMAGES_FILE).unlink()

    assert error_of(lambda: DATASETS["mnist"](Source(tmp_path), "train")).startswith(f"{raw / IMAGES_FILE}.gz: damaged")


def test_a_compressed_file_that_grows_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readers, "LARGEST", 500)
    raw = written(tmp_path / "MNIST" / "raw", {**idx_files(), f"{IMAGES_FILE}.gz": gzip.compress(idx(PIXELS))})
    (raw / IMAGES_FILE).unlink()

    assert "more than 500 bytes" in error_of(lambda: DATASETS["mnist"](Source(tmp_path), "train"))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_packed_cifar_archive_is_named_with_both_ways_to_unpack_it(name: str, tmp_path: Path):
    dataset = cifar.CIFAR10 if name == "cifar10" else cifar.CIFAR100
    written(tmp_path, {dataset.filename: b"x"})
    message = error_of(lambda: DATASETS[name](Source(tmp_path), "train"))

    assert message.startswith(f"{tmp_path / dataset.filename}: a compressed archive")
    assert "data.download=true" in message


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param(IMAGES_FILE, idx(PIXELS)[:-7], id="images cut short"),
        pytest.param(IMAGES_FILE, idx(PIXELS)[:10], id="images cut within the header"),
        pytest.param(IMAGES_FILE, idx(PIXELS)[:16], id="a header and no images"),
        pytest.param(IMAGES_FILE, b"", id="an empty file"),
        pytest.param(IMAGES_FILE, b"<!DOCTYPE html><html>not found</html>", id="a web page under the file's name"),
        pytest.param(IMAGES_FILE, b"\xff\xff" + idx(PIXELS)[2:], id="a wrong magic number"),
        pytest.param(IMAGES_FILE, idx(LABELS), id="labels where images should be"),
        pytest.param(IMAGES_FILE, idx(PIXELS.astype(">i4"), 0x0C), id="images of another number type"),
        pytest.param(IMAGES_FILE, gzip.compress(idx(PIXELS)), id="still compressed"),
        pytest.param(IMAGES_FILE, idx(PIXELS) + b"\0", id="a byte too many"),
        pytest.param(IMAGES_FILE, b"\0\0\x08\x03" + b"\xff" * 12 + idx(PIXELS)[16:], id="a header of 8e28 values"),
        pytest.param(LABELS_FILE, idx(LABELS)[:-1], id="labels cut short"),
        pytest.param(LABELS_FILE, idx(LABELS[:-1]), id="one label too few"),
        pytest.param(LABELS_FILE, idx(np.append(LABELS, LABELS[:1])), id="one label too many"),
        pytest.param(LABELS_FILE, idx(np.where(LABELS == 3, 10, LABELS).astype(np.uint8)), id="a label out of range"),
        pytest.param(LABELS_FILE, idx(LABELS.astype(">i4"), 0x0C), id="labels of another number type"),
        pytest.param(LABELS_FILE, idx(PIXELS), id="images where labels should be"),
    ],
)
def test_a_damaged_idx_file_is_named(file: str, content: bytes, tmp_path: Path):
    raw = written(tmp_path / "MNIST" / "raw", {**idx_files(), file: content})

    assert str(raw / file) in error_of(lambda: DATASETS["mnist"](Source(tmp_path), "train"))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", f"MNIST/raw/{IMAGES_FILE}"),
        ("mnist", f"MNIST/raw/{LABELS_FILE}"),
        ("fashion-mnist", f"FashionMNIST/raw/{LABELS_FILE}"),
        ("cifar10", "cifar-10-batches-py/data_batch_1"),
        ("cifar100", "cifar-100-python/train"),
    ],
)
def test_a_missing_file_is_named_with_its_root_and_both_ways_to_get_it(name: str, file: str, tmp_path: Path):
    for folder in ("MNIST", "FashionMNIST"):
        written(tmp_path / folder / "raw", idx_files())
    (tmp_path / file).unlink(missing_ok=True)
    message = error_of(lambda: DATASETS[name](Source(tmp_path), "train"))

    assert message.startswith(f"{tmp_path / file}: missing")
    assert f"under {tmp_path};" in message
    assert all(way in message for way in ("put the", "data.root", "RESEXP_DATA", "data.download=true"))


# ---- CIFAR: small files in the original format -----------------------------------------------------------------------


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar_set(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """(name, folder) of a small CIFAR set that torchvision takes for the published one."""
    folder = (cifar.CIFAR10 if request.param == "cifar10" else cifar.CIFAR100).base_folder
    return request.param, written(tmp_path / folder, published_cifar(request.param, monkeypatch))


def test_cifar_pixels_and_labels_stand_where_the_format_has_them(cifar_set: tuple[str, Path]):
    name, folder = cifar_set
    training, test = (DATASETS[name](Source(folder.parent), part) for part in ("train", "test"))
    count = 8 if name == "cifar10" else 4

    assert training.pixels.shape == (count, 3, 32, 32)
    assert training.pixels.dtype == torch.uint8
    assert training.labels.tolist() == list(range(count))
    assert training.pixels[2, :, 5, 9].tolist() == [2, 5, 9]
    assert test.pixels[0, :, 31, 0].tolist() == [8, 31, 0]
    assert test.labels.tolist() == [n % len(test.classes) for n in range(8, 12)]
    assert test.classes[7] == "class 7"


def test_a_cifar_file_with_another_checksum_is_refused(cifar_set: tuple[str, Path]):
    name, folder = cifar_set
    file = next(folder.glob("test*"))
    file.write_bytes(file.read_bytes()[:-100])

    message = error_of(lambda: DATASETS[name](Source(folder.parent), "test"))
    assert message.startswith(f"{file}: not the published file")
    assert "delete it and fetch it with data.download=true" in message


# ---- image folders ---------------------------------------------------------------------------------------------------


def test_an_image_of_the_right_size_keeps_every_pixel(tmp_path: Path):
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    folder_of(tmp_path, "train", "test", count=2)
    (tmp_path / "train" / "cats" / "00.png").write_bytes(encoded(Image.fromarray(pixels)))

    assert np.array_equal(read_folder(tmp_path).pixels[0].numpy(), pixels.transpose(2, 0, 1))


def test_train_and_test_folders_stay_what_they_are(tmp_path: Path):
    folder_of(tmp_path, "train", count=6)
    folder_of(tmp_path, "test", count=3)
    training, test = read_folder(tmp_path), read_folder(tmp_path, "test")

    assert training.classes == test.classes == ("cats", "dogs")
    assert training.labels.tolist() == [0] * 6 + [1] * 6
    assert test.labels.tolist() == [0] * 3 + [1] * 3
    for images in (training, test):
        colours = torch.tensor([RED, GREEN], dtype=torch.uint8)[images.labels]
        assert torch.equal(images.pixels, colours[:, :, None, None].expand(-1, -1, 8, 8))


def test_the_parts_of_a_flat_folder_are_these_images_for_ever(tmp_path: Path):
    """Which images are tested on is part of every published number: these are the parts of the first release."""
    for k, (name, count) in enumerate((("ant", 5), ("bee", 12), ("cow", 9))):
        written(tmp_path / name, {f"{n:02}.png": encoded(picture((3 + n, 9 - n // 2), (k, n, 7))) for n in range(count)})
    tested = [(0, 4), (1, 10), (1, 11), (2, 2), (2, 4)]
    trained = [(k, n) for k, count in enumerate((5, 12, 9)) for n in range(count) if (k, n) not in tested]

    for part, expected in (("train", trained), ("test", tested)):
        images = read_folder(tmp_path, part)
        colours = torch.tensor([(k, n, 7) for k, n in expected], dtype=torch.uint8)
        assert images.labels.tolist() == [k for k, _ in expected]
        assert torch.equal(images.pixels, colours[:, :, None, None].expand(-1, -1, 8, 8))


def test_the_parts_of_a_flat_folder_are_all_images_decoded_and_then_split(tmp_path: Path):
    draw = np.random.default_rng(3)
    for name in ("ant", "bee", "cow"):
        noise = [Image.fromarray(draw.integers(0, 256, (*draw.integers(4, 40, 2), 3), np.uint8)) for _ in range(14)]
        written(tmp_path / name, {f"{n:02}.jpg": encoded(image, "JPEG") for n, image in enumerate(noise)})
    files = sorted(tmp_path.glob("*/*.jpg"))
    decoded = [np.asarray(Image.open(file).resize((8, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1) for file in files]
    labels = torch.arange(3).repeat_interleave(14)
    tested = datasets.held_out(labels, 8, streams.generator(0, "test split", "image-folder")).tolist()

    for part, index in (("train", [n for n in range(42) if n not in tested]), ("test", tested)):
        images = read_folder(tmp_path, part)
        assert images.labels.tolist() == labels[index].tolist()
        assert np.array_equal(images.pixels.numpy(), np.stack(decoded)[index])


def test_a_flat_folder_gives_a_stratified_fifth_to_the_test(tmp_path: Path):
    folder_of(tmp_path)
    training, test = read_folder(tmp_path), read_folder(tmp_path, "test")

    assert torch.bincount(training.labels).tolist() == [8, 8]
    assert torch.bincount(test.labels).tolist() == [2, 2]
    assert datasets.checksum([read_folder(tmp_path, "test")]) == datasets.checksum([test])


def test_a_larger_image_is_squeezed_and_keeps_its_corners(tmp_path: Path):
    folder_of(tmp_path, "train", "test", count=2)
    image = picture((60, 24), RED)
    image.paste(GREEN, (30, 0, 60, 12))
    image.paste(BLUE, (0, 12, 60, 24))
    image.save(tmp_path / "train" / "cats" / "00.png")
    pixels = read_folder(tmp_path, size=6).pixels[0]

    assert pixels.shape == (3, 6, 6)
    assert [tuple(pixels[:, y, x].tolist()) for y, x in ((0, 0), (0, 5), (5, 0), (5, 5))] == [RED, GREEN, BLUE, BLUE]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param(picture(color=77, mode="L"), (77, 77, 77), id="grey"),
        pytest.param(picture(color=1, mode="1"), (255, 255, 255), id="one bit"),
        pytest.param(picture(color=(1, 2, 3, 255), mode="RGBA"), (1, 2, 3), id="with transparency"),
        pytest.param(picture(color=GREEN).convert("P"), GREEN, id="with a palette"),
        pytest.param(opaque(picture(color=GREEN).convert("P")), GREEN, id="with a palette and transparency"),
    ],
)
def test_images_of_any_kind_become_colour(image: Image.Image, expected: tuple[int, int, int], tmp_path: Path):
    folder_of(tmp_path, "train", "test", count=2)
    image.save(tmp_path / "train" / "cats" / "00.png")

    assert read_folder(tmp_path).pixels[0].flatten(1).unique(dim=1).T.tolist() == [list(expected)]


def test_hidden_files_and_files_beside_the_class_folders_are_left_alone(tmp_path: Path):
    folder_of(tmp_path, count=5)
    written(tmp_path, {"README.txt": b"where these come from"})
    written(tmp_path / "cats", {".DS_Store": b"x"})

    assert len(read_folder(tmp_path)) == 8


def test_each_image_is_opened_once_and_for_its_own_part_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened, really = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, **options: opened.append(path) or really(path, **options))
    folder_of(tmp_path)
    counts = []
    for part in ("train", "test"):
        read_folder(tmp_path, part)
        counts.append(len(opened))

    assert counts == [16, 20]
    assert sorted(opened) == sorted(tmp_path.glob("*/*.png"))


BROKEN_CHUNK = b"\x82_\xffq".join(encoded(NOISE).rsplit(b"IDAT", 1))


@pytest.mark.parametrize(
    ("parts", "change", "named"),
    [
        pytest.param((), {"dogs": None}, ".", id="one class"),
        pytest.param((), {"cats": None, "dogs": None}, ".", id="no class folders"),
        pytest.param((), {"dogs/": None}, "dogs", id="a class without images"),
        pytest.param((), {"dogs/notes.txt": b"good dogs"}, "dogs/notes.txt", id="a text file in a class folder"),
        pytest.param((), {"dogs/03.jpg": b"\xff\xd8\xff\xe0 not a picture"}, "dogs/03.jpg", id="a corrupt jpg"),
        pytest.param((), {"dogs/03.jpg": encoded(NOISE, "JPEG")[:5000]}, "dogs/03.jpg", id="a jpg cut short"),
        pytest.param((), {"dogs/03.jpg": b""}, "dogs/03.jpg", id="an empty jpg"),
        pytest.param((), {"dogs/03.png": BROKEN_CHUNK}, "dogs/03.png", id="a png with a broken chunk"),
        pytest.param((), {"dogs/03.bmp": claiming(40_000)}, "dogs/03.bmp", id="a header of 1.6e9 pixels"),
        pytest.param(("train", "test"), {"test/dogs": None}, "test", id="train and test of different classes"),
        pytest.param(("train", "test"), {"train/dogs/a.txt": b"x"}, "train/dogs/a.txt", id="a text file in train"),
    ],
)
def test_an_image_folder_that_cannot_be_used_is_named(
    parts: tuple[str, ...], change: dict[str, bytes | None], named: str, tmp_path: Path
):
    folder_of(tmp_path, *parts, count=4)
    for name, content in change.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
            continue
        for file in (tmp_path / name).iterdir():
            file.unlink()
        if not name.endswith("/"):
            (tmp_path / name).rmdir()

    assert str(tmp_path / named) in error_of(lambda: read_folder(tmp_path))


def test_an_absent_image_folder_is_named(tmp_path: Path):
    assert error_of(lambda: read_folder(tmp_path / "absent")).startswith(f"{tmp_path / 'absent'}: no such folder")


@pytest.fixture(scope="module")
def colour_images(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty airplanes and twenty automobiles of the JPEG copy of CIFAR-10, in one flat image folder."""
    archive = real_data / "cifar10-jpeg.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no real colour images: {archive} is absent")
    root = tmp_path_factory.mktemp("cifar10-jpeg")
    wanted = {"airplane": 20, "automobile": 20}
    with tarfile.open(archive, "r|xz") as tar:
        for member in tar:
            _, _, rest = member.name.partition("train/")
            name = rest.partition("/")[0]
            if member.isfile() and wanted.get(name):
                (root / name).mkdir(exist_ok=True)
                (root / rest).write_bytes(tar.extractfile(member).read())
                wanted[name] -= 1
            if not any(wanted.values()):
                return root
    raise AssertionError(f"{archive} lacks {wanted}")


def test_real_colour_images_are_read_as_they_are_decoded(colour_images: Path):
    parts = [read_folder(colour_images, part, size=32) for part in ("train", "test")]
    files = sorted(colour_images.glob("*/*.jpg"))
    decoded = sorted((np.asarray(Image.open(file)).tobytes(), file.parent.name) for file in files)
    found = [
        (image.permute(1, 2, 0).numpy().tobytes(), images.classes[label])
        for images in parts
        for image, label in zip(images.pixels, images.labels, strict=True)
    ]

    assert [len(images) for images in parts] == [32, 8]
    assert sorted(found) == decoded
