"""Reading, splits, order, normalization and augmentation of images."""

import gzip
import tarfile
from importlib import resources
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
    """Images of `counts[k]` per class in mixed order; the first two pixels of an image contain its number."""
    labels = torch.tensor([k for k, count in enumerate(counts) for _ in range(count)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    pixels = torch.randint(0, 256, (len(labels), *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    number = torch.arange(len(labels))
    pixels.flatten(1)[:, 0], pixels.flatten(1)[:, 1] = (number // 256).byte(), (number % 256).byte()
    return Images(pixels, labels, tuple(map(str, range(len(counts)))))


def numbers(images: Images) -> list[int]:
    first, second = images.pixels.flatten(1)[:, 0], images.pixels.flatten(1)[:, 1]
    return (first.long() * 256 + second.long()).tolist()


# ---- settings without effect -----------------------------------------------------------------------------------------


def test_without_validation_and_limit_every_image_keeps_its_position():
    images = numbered([5, 9, 2])
    training, validation = datasets.train_validation_split(images, 0, None, "x")

    assert numbers(training) == list(range(16))
    assert len(validation) == 0
    assert numbers(datasets.train_validation_split(images, 0, 16, "x")[0]) == list(range(16))


def test_normalize_none_scales_to_the_unit_range():
    images = Images(torch.arange(17, dtype=torch.uint8).reshape(17, 1, 1, 1), torch.zeros(17).long(), ("0",), brightest=16)
    x = datasets.normalize(images.pixels, *datasets.normalization_stats(images, "none"))

    assert x.flatten().tolist() == [n / 16 for n in range(17)]


# ---- splits and orders -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("validation", "limit", "held_out", "remaining"),
    [
        pytest.param(0.1, None, 20, 180, id="a fraction"),
        pytest.param(0.15, None, 30, 170, id="a fraction that no class divides by"),
        pytest.param(33, None, 33, 167, id="a count"),
        pytest.param(1, None, 1, 199, id="one image"),
        pytest.param(0.1, 50, 20, 50, id="then a limit"),
        pytest.param(0, 3, 0, 3, id="a limit below the number of classes"),
        pytest.param(0.1, 180, 20, 180, id="a limit equal to the number of training images"),
    ],
)
def test_splits_are_stratified_disjoint_and_deterministic(validation: float, limit: int | None, held_out: int, remaining: int):
    images = numbered([100, 60, 30, 10])
    training, validation_images = datasets.train_validation_split(images, validation, limit, "x")
    repeated = datasets.train_validation_split(images, validation, limit, "x")

    assert (len(validation_images), len(training)) == (held_out, remaining)
    assert not set(numbers(training)) & set(numbers(validation_images))
    for subset in (training, validation_images):
        shares = torch.bincount(subset.labels, minlength=4).tolist()
        assert all(abs(share - len(subset) * n / 200) < 1.5 for share, n in zip(shares, (100, 60, 30, 10), strict=True))
        assert subset.labels.tolist() == images.labels[numbers(subset)].tolist()
    assert [numbers(subset) for subset in repeated] == [numbers(training), numbers(validation_images)]


def test_a_limit_takes_the_first_images_of_each_class():
    images = numbered([8, 4, 4])
    index = datasets.first(images.labels, 8).tolist()
    expected = [
        [n for n, label in enumerate(images.labels.tolist()) if label == k][:share] for k, share in enumerate((4, 2, 2))
    ]

    assert index == sorted(n for members in expected for n in members)


def test_validation_images_depend_on_the_name_of_the_data_set_only():
    images = numbered([100, 100])
    torch.manual_seed(7)
    a, b, c = (numbers(datasets.train_validation_split(images, 0.1, None, name)[1]) for name in ("digits", "digits", "mnist"))

    assert a == b != c


@pytest.mark.parametrize(
    ("validation", "limit", "words"),
    [
        pytest.param(16, None, ("data.validation", "16"), id="all held out"),
        pytest.param(99, None, ("data.validation", "99"), id="more held out than available"),
        pytest.param(4, 13, ("data.limit", "13", "12"), id="a limit above the number of training images"),
    ],
)
def test_the_error_for_too_many_requested_images_names_the_key(validation: float, limit: int | None, words: tuple[str, ...]):
    message = error_of(lambda: datasets.train_validation_split(numbered([8, 8]), validation, limit, "x"))

    assert all(word in message for word in words)


def test_each_epoch_of_each_seed_has_a_different_order():
    orders = {(seed, epoch): datasets.order(seed, epoch, 50).tolist() for seed in range(3) for epoch in range(3)}

    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len(set(map(tuple, orders.values()))) == 9
    assert datasets.order(2, 1, 50).tolist() == orders[2, 1]


# ---- normalization and augmentation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", ["channel", "pixel", "none"])
def test_statistics_and_normalization_agree_with_numpy(normalize: str):
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


def test_a_constant_channel_is_normalized_to_0_and_not_nan():
    images = Images(torch.full((4, 1, 2, 2), 9, dtype=torch.uint8), torch.zeros(4).long(), ("0",))

    assert not datasets.normalize(images.pixels, *datasets.normalization_stats(images, "channel")).any()


@pytest.mark.parametrize(
    ("shape", "pad"),
    [
        pytest.param((3, 32, 32), 4, id="32x32 pads by 4"),
        pytest.param((1, 28, 28), 3, id="28x28 pads by 3"),
        pytest.param((2, 16, 10), 2, id="not square"),
        pytest.param((1, 7, 7), 0, id="too small to shift, but mirrored"),
    ],
)
def test_crop_flip_pads_crops_and_mirrors_each_image(shape: tuple[int, int, int], pad: int):
    batch = torch.rand(200, *shape, generator=torch.Generator().manual_seed(3))
    augmentation = datasets.AUGMENTATIONS["crop-flip"]
    augmented = augmentation.apply(batch, augmentation.draw(200, shape[1], streams.generator(0, "augment", 5)))

    generator = streams.generator(0, "augment", 5)
    tops, lefts = (torch.randint(0, 2 * pad + 1, (200,), generator=generator).tolist() for _ in "yx")
    mirrored = (torch.rand(200, generator=generator) < 0.5).tolist()
    _, height, width = shape
    for image, result, top, left, mirror in zip(batch.numpy(), augmented.numpy(), tops, lefts, mirrored, strict=True):
        padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
        window = padded[:, top : top + height, left : left + width]
        assert np.array_equal(result, window[:, :, ::-1] if mirror else window)
    assert set(tops) == set(lefts) == set(range(2 * pad + 1))
    assert 70 < sum(mirrored) < 130


def test_a_checksum_depends_on_every_pixel_and_every_label():
    images = numbered([4, 4])
    other_pixel, other_label = images.pixels.clone(), images.labels.clone()
    other_pixel[7, 2, 1, 1] ^= 1
    other_label[0] ^= 1
    checksums = [datasets.checksum([Images(p, l, ("0", "1"))])
            for p in (images.pixels, other_pixel) for l in (images.labels, other_label)]  # fmt: skip

    assert len(set(checksums)) == 4
    assert datasets.checksum([numbered([4, 4])]) == checksums[0]


@pytest.mark.parametrize(
    ("configured", "environment", "expected"),
    [
        pytest.param("here", "there", Path("here"), id="data.root first"),
        pytest.param(None, "there", Path("there"), id="then RESEXP_DATA"),
        pytest.param(None, None, Path(platformdirs.user_data_dir("resexp", appauthor=False)), id="then the user data folder"),
        pytest.param("~/here", None, Path.home() / "here", id="a tilde is the home folder"),
        pytest.param("$FOLDER/here", None, Path("/folder/here"), id="a variable"),
        pytest.param("${FOLDER}here", None, Path("/folderhere"), id="a variable in braces"),
        pytest.param(None, "$FOLDER/there", Path("/folder/there"), id="a variable in RESEXP_DATA"),
    ],
)
def test_the_data_folder_is_the_first_that_is_set(
    configured: str | None, environment: str | None, expected: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("RESEXP_DATA", raising=False)
    monkeypatch.setenv("FOLDER", "/folder")
    if environment:
        monkeypatch.setenv("RESEXP_DATA", environment)

    assert datasets.data_root(configured) == expected


@pytest.mark.parametrize("root", ["$NOT_SET/here", "${NOT_SET}"])
def test_an_unset_variable_is_named_in_the_error(root: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ConfigError, match=r"data\.root: .*NOT_SET.*is not set"):
        datasets.data_root(root)


def test_an_existing_folder_with_the_name_of_a_variable_is_used(tmp_path: Path):
    (tmp_path / "$NOT_SET").mkdir()

    assert datasets.data_root(str(tmp_path / "$NOT_SET")) == tmp_path / "$NOT_SET"


# ---- digits ----------------------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn_split_into_1438_and_359_with_equal_class_shares():
    digits = load_digits()
    original = resources.files("sklearn.datasets.data") / "digits.csv.gz"
    copy = resources.files("resexp.datasets") / "digits.csv.gz"
    assert copy.read_bytes() == original.read_bytes()
    training, test = (DATASETS["digits"](NOWHERE, split) for split in ("train", "test"))
    raw = sorted((image.astype(np.uint8).tobytes(), int(k)) for image, k in zip(digits.images, digits.target, strict=True))
    both = [(bytes(p.numpy()), int(k)) for split in (training, test) for p, k in zip(split.pixels, split.labels, strict=True)]

    assert (len(training), len(test)) == (1438, 359)
    assert sorted(both) == raw
    assert test.brightest == int(test.pixels.max()) == 16
    counts = np.bincount(digits.target)
    assert np.abs(np.bincount(test.labels) - counts * 359 / 1797).max() < 1


def test_the_digits_split_is_the_same_for_every_seed(tiny: Any):
    torch.manual_seed(1)
    expected = datasets.checksum([DATASETS["digits"](NOWHERE, split) for split in ("train", "test")])
    torch.manual_seed(2)
    assert datasets.checksum([DATASETS["digits"](NOWHERE, split) for split in ("train", "test")]) == expected

    a, b = (load_training_data(tiny(f"seeds=[{seed}]").shared.data, "cpu", "float32") for seed in (0, 9))
    assert datasets.checksum([a.training, a.validation]) == datasets.checksum([b.training, b.validation])


def test_normalization_statistics_are_those_of_the_training_images(tiny: Any):
    training_data = load_training_data(tiny("data.limit=50").shared.data, "cpu", "float64")
    raw = training_data.training.pixels.numpy().astype(np.float64)

    assert len(training_data.training) == 50
    assert float(training_data.shift) == pytest.approx(raw.mean(), rel=1e-12)
    assert float(training_data.scale) == pytest.approx(raw.std(), rel=1e-12)


# ---- MNIST and Fashion-MNIST: the published files --------------------------------------------------------------------

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize(
    ("name", "folder", "split", "prefix", "histogram", "first_labels"),
    [
        pytest.param("mnist", "MNIST", "train", "train", MNIST_TRAIN, [5, 0, 4, 1, 9], id="MNIST train"),
        pytest.param("mnist", "MNIST", "test", "t10k", MNIST_TEST, [7, 2, 1, 0, 4], id="MNIST test"),
        pytest.param("fashion-mnist", "FashionMNIST", "train", "train", [6000] * 10, [9, 0, 0, 3, 0], id="Fashion-MNIST train"),
        pytest.param("fashion-mnist", "FashionMNIST", "test", "t10k", [1000] * 10, [9, 2, 1, 1, 6], id="Fashion-MNIST test"),
    ],
)
def test_the_published_files_are_read_byte_for_byte(
    real_data: Path, name: str, folder: str, split: str, prefix: str, histogram: list[int], first_labels: list[int]
):
    images = DATASETS[name](Source(real_data), split)
    raw = np.fromfile(real_data / folder / "raw" / f"{prefix}-images-idx3-ubyte", np.uint8, offset=16)

    assert torch.bincount(images.labels).tolist() == histogram
    assert images.labels[:5].tolist() == first_labels
    assert images.pixels.shape == (sum(histogram), 1, 28, 28)
    assert np.array_equal(images.pixels.numpy().ravel(), raw)


# ---- small IDX files in the original format --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_small_idx_files_are_read_as_written(name: str, folder: str, tmp_path: Path):
    written(tmp_path / folder / "raw", idx_files())
    training, test = (DATASETS[name](Source(tmp_path), split) for split in ("train", "test"))

    assert np.array_equal(training.pixels.numpy(), PIXELS[:, None])
    assert training.labels.tolist() == LABELS.tolist()
    assert training.labels.dtype == torch.int64
    assert np.array_equal(test.pixels.numpy(), PIXELS[:10, None])
    assert len(training.classes) == 10


OTHER_NAMES = {
    "compressed": lambda name: f"raw/{name}.gz",
    "with a dot": lambda name: f"raw/{name.replace('-idx', '.idx')}",
    "with a dot, compressed": lambda name: f"raw/{name.replace('-idx', '.idx')}.gz",
    "in a folder with its name": lambda name: f"raw/{name}/{name}",
    "one folder higher": lambda name: name,
    "one folder higher, compressed": lambda name: f"{name}.gz",
}


@pytest.mark.parametrize("download", [False, True], ids=["", "download"])
@pytest.mark.parametrize("variant", OTHER_NAMES)
def test_idx_files_are_found_under_the_names_of_other_distributions_without_a_download(
    variant: str,
    download: bool,  # noqa: FBT001 - a test parameter
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(mnist.MNIST, "mirrors", ["file:///nowhere/"])
    for name, content in idx_files().items():
        file = tmp_path / "MNIST" / OTHER_NAMES[variant](name)
        written(file.parent, {file.name: gzip.compress(content) if file.suffix == ".gz" else content})
    before = sorted(tmp_path.rglob("*"))
    training, test = (DATASETS["mnist"](Source(tmp_path, download=download), split) for split in ("train", "test"))

    assert np.array_equal(training.pixels.numpy(), PIXELS[:, None])
    assert test.labels.tolist() == LABELS[:10].tolist()
    assert sorted(tmp_path.rglob("*")) == before


def test_an_idx_file_with_the_published_name_takes_precedence(tmp_path: Path):
    raw = written(tmp_path / "MNIST" / "raw", idx_files())
    written(raw, {f"{name}.gz": b"damaged" for name in idx_files()})

    assert len(DATASETS["mnist"](Source(tmp_path), "train")) == 30


def test_files_of_mnist_are_not_read_as_fashion_mnist(tmp_path: Path):
    written(tmp_path, idx_files())

    assert "missing" in error_of(lambda: DATASETS["fashion-mnist"](Source(tmp_path), "train"))


@pytest.mark.parametrize(
    "content", [b"damaged", gzip.compress(idx(PIXELS))[:-20], gzip.compress(b"other")], ids=["no gzip", "truncated", "other"]
)
def test_the_error_for_a_damaged_compressed_idx_file_names_it(content: bytes, tmp_path: Path):
    raw = written(tmp_path / "MNIST" / "raw", {**idx_files(), f"{IMAGES_FILE}.gz": content})
    (raw / IMAGES_FILE).unlink()

    assert error_of(lambda: DATASETS["mnist"](Source(tmp_path), "train")).startswith(f"{raw / IMAGES_FILE}.gz: damaged")


def test_a_compressed_file_that_unpacks_to_too_many_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readers, "MAX_BYTES", 500)
    raw = written(tmp_path / "MNIST" / "raw", {**idx_files(), f"{IMAGES_FILE}.gz": gzip.compress(idx(PIXELS))})
    (raw / IMAGES_FILE).unlink()

    assert "more than 500 bytes" in error_of(lambda: DATASETS["mnist"](Source(tmp_path), "train"))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_error_for_a_packed_cifar_archive_names_both_ways_to_unpack_it(name: str, tmp_path: Path):
    dataset = cifar.CIFAR10 if name == "cifar10" else cifar.CIFAR100
    written(tmp_path, {dataset.filename: b"x"})
    message = error_of(lambda: DATASETS[name](Source(tmp_path), "train"))

    assert message.startswith(f"{tmp_path / dataset.filename}: a compressed archive")
    assert "data.download=true" in message


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param(IMAGES_FILE, idx(PIXELS)[:-7], id="images truncated"),
        pytest.param(IMAGES_FILE, idx(PIXELS)[:10], id="images truncated in the header"),
        pytest.param(IMAGES_FILE, idx(PIXELS)[:16], id="a header and no images"),
        pytest.param(IMAGES_FILE, b"", id="an empty file"),
        pytest.param(IMAGES_FILE, b"<!DOCTYPE html><html>not found</html>", id="a web page with the name of the file"),
        pytest.param(IMAGES_FILE, b"\xff\xff" + idx(PIXELS)[2:], id="a wrong magic number"),
        pytest.param(IMAGES_FILE, idx(LABELS), id="labels instead of images"),
        pytest.param(IMAGES_FILE, idx(PIXELS.astype(">i4"), 0x0C), id="images of another data type"),
        pytest.param(IMAGES_FILE, gzip.compress(idx(PIXELS)), id="still compressed"),
        pytest.param(IMAGES_FILE, idx(PIXELS) + b"\0", id="a byte too many"),
        pytest.param(IMAGES_FILE, b"\0\0\x08\x03" + b"\xff" * 12 + idx(PIXELS)[16:], id="a header of 8e28 values"),
        pytest.param(LABELS_FILE, idx(LABELS)[:-1], id="labels truncated"),
        pytest.param(LABELS_FILE, idx(LABELS[:-1]), id="one label too few"),
        pytest.param(LABELS_FILE, idx(np.append(LABELS, LABELS[:1])), id="one label too many"),
        pytest.param(LABELS_FILE, idx(np.where(LABELS == 3, 10, LABELS).astype(np.uint8)), id="a label out of range"),
        pytest.param(LABELS_FILE, idx(LABELS.astype(">i4"), 0x0C), id="labels of another data type"),
        pytest.param(LABELS_FILE, idx(PIXELS), id="images instead of labels"),
    ],
)
def test_the_error_for_a_damaged_idx_file_names_it(file: str, content: bytes, tmp_path: Path):
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
def test_the_error_for_a_missing_file_names_it_its_root_and_the_remedies(name: str, file: str, tmp_path: Path):
    for folder in ("MNIST", "FashionMNIST"):
        written(tmp_path / folder / "raw", idx_files())
    (tmp_path / file).unlink(missing_ok=True)
    message = error_of(lambda: DATASETS[name](Source(tmp_path), "train"))

    assert message.startswith(f"{tmp_path / file}: missing")
    assert f"under {tmp_path}," in message
    assert all(remedy in message for remedy in ("put the", "data.root", "RESEXP_DATA", "data.download=true"))


# ---- CIFAR: small files in the original format -----------------------------------------------------------------------


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar_set(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """(name, folder) of a small CIFAR data set that replaces the published one in torchvision."""
    folder = (cifar.CIFAR10 if request.param == "cifar10" else cifar.CIFAR100).base_folder
    return request.param, written(tmp_path / folder, published_cifar(request.param, monkeypatch))


def test_cifar_pixels_and_labels_are_read_in_the_order_of_the_format(cifar_set: tuple[str, Path]):
    name, folder = cifar_set
    training, test = (DATASETS[name](Source(folder.parent), split) for split in ("train", "test"))
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
    assert "delete it, and download it with data.download=true" in message


# ---- image folders ---------------------------------------------------------------------------------------------------


def test_an_image_of_the_right_size_keeps_every_pixel(tmp_path: Path):
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    folder_of(tmp_path, "train", "test", count=2)
    (tmp_path / "train" / "cats" / "00.png").write_bytes(encoded(Image.fromarray(pixels)))

    assert np.array_equal(read_folder(tmp_path).pixels[0].numpy(), pixels.transpose(2, 0, 1))


def test_train_and_test_folders_are_the_splits(tmp_path: Path):
    folder_of(tmp_path, "train", count=6)
    folder_of(tmp_path, "test", count=3)
    training, test = read_folder(tmp_path), read_folder(tmp_path, "test")

    assert training.classes == test.classes == ("cats", "dogs")
    assert training.labels.tolist() == [0] * 6 + [1] * 6
    assert test.labels.tolist() == [0] * 3 + [1] * 3
    for images in (training, test):
        colors = torch.tensor([RED, GREEN], dtype=torch.uint8)[images.labels]
        assert torch.equal(images.pixels, colors[:, :, None, None].expand(-1, -1, 8, 8))


def test_the_splits_of_a_flat_folder_never_change(tmp_path: Path):
    """Every published result depends on its test images: these are the splits of the first release."""
    for k, (name, count) in enumerate((("ant", 5), ("bee", 12), ("cow", 9))):
        written(tmp_path / name, {f"{n:02}.png": encoded(picture((3 + n, 9 - n // 2), (k, n, 7))) for n in range(count)})
    test_images = [(0, 4), (1, 10), (1, 11), (2, 2), (2, 4)]
    training_images = [(k, n) for k, count in enumerate((5, 12, 9)) for n in range(count) if (k, n) not in test_images]

    for split, expected in (("train", training_images), ("test", test_images)):
        images = read_folder(tmp_path, split)
        colors = torch.tensor([(k, n, 7) for k, n in expected], dtype=torch.uint8)
        assert images.labels.tolist() == [k for k, _ in expected]
        assert torch.equal(images.pixels, colors[:, :, None, None].expand(-1, -1, 8, 8))


def test_the_splits_of_a_flat_folder_contain_all_decoded_images(tmp_path: Path):
    generator = np.random.default_rng(3)
    for name in ("ant", "bee", "cow"):
        noise = [Image.fromarray(generator.integers(0, 256, (*generator.integers(4, 40, 2), 3), np.uint8)) for _ in range(14)]
        written(tmp_path / name, {f"{n:02}.jpg": encoded(image, "JPEG") for n, image in enumerate(noise)})
    files = sorted(tmp_path.glob("*/*.jpg"))
    decoded = [np.asarray(Image.open(file).resize((8, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1) for file in files]
    labels = torch.arange(3).repeat_interleave(14)
    test_index = datasets.held_out(labels, 8, streams.generator(0, "test split", "image-folder")).tolist()

    for split, index in (("train", [n for n in range(42) if n not in test_index]), ("test", test_index)):
        images = read_folder(tmp_path, split)
        assert images.labels.tolist() == labels[index].tolist()
        assert np.array_equal(images.pixels.numpy(), np.stack(decoded)[index])


def test_a_larger_image_is_resized_and_not_cropped(tmp_path: Path):
    folder_of(tmp_path, "train", "test", count=2)
    image = picture((60, 24), RED)
    image.paste(GREEN, (30, 0, 60, 12))
    image.paste(BLUE, (0, 12, 60, 24))
    image.save(tmp_path / "train" / "cats" / "00.png")
    pixels = read_folder(tmp_path, size=6).pixels[0]

    assert pixels.shape == (3, 6, 6)
    assert [tuple(pixels[:, y, x].tolist()) for y, x in ((0, 0), (0, 5), (5, 0), (5, 5))] == [RED, GREEN, BLUE, BLUE]


def test_each_image_is_opened_once_and_only_for_its_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened, open_image = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, **options: opened.append(path) or open_image(path, **options))
    folder_of(tmp_path)
    counts = []
    for split in ("train", "test"):
        read_folder(tmp_path, split)
        counts.append(len(opened))

    assert counts == [16, 20]
    assert sorted(opened) == sorted(tmp_path.glob("*/*.png"))


BROKEN_CHUNK = b"\x82_\xffq".join(encoded(NOISE).rsplit(b"IDAT", 1))


@pytest.mark.parametrize(
    ("splits", "change", "named"),
    [
        pytest.param((), {"dogs": None}, ".", id="one class"),
        pytest.param((), {"cats": None, "dogs": None}, ".", id="no class folders"),
        pytest.param((), {"dogs/": None}, "dogs", id="a class without images"),
        pytest.param((), {"dogs/notes.txt": b"good dogs"}, "dogs/notes.txt", id="a text file in a class folder"),
        pytest.param((), {"dogs/03.jpg": b"\xff\xd8\xff\xe0 not a picture"}, "dogs/03.jpg", id="a corrupt jpg"),
        pytest.param((), {"dogs/03.jpg": encoded(NOISE, "JPEG")[:5000]}, "dogs/03.jpg", id="a jpg truncated"),
        pytest.param((), {"dogs/03.jpg": b""}, "dogs/03.jpg", id="an empty jpg"),
        pytest.param((), {"dogs/03.png": BROKEN_CHUNK}, "dogs/03.png", id="a png with a broken chunk"),
        pytest.param((), {"dogs/03.bmp": claiming(40_000)}, "dogs/03.bmp", id="a header of 1.6e9 pixels"),
        pytest.param(("train", "test"), {"test/dogs": None}, "test", id="train and test of different classes"),
        pytest.param(("train", "test"), {"train/dogs/a.txt": b"x"}, "train/dogs/a.txt", id="a text file in train"),
    ],
)
def test_the_error_for_an_unusable_image_folder_names_the_path(
    splits: tuple[str, ...], change: dict[str, bytes | None], named: str, tmp_path: Path
):
    folder_of(tmp_path, *splits, count=4)
    for name, content in change.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
            continue
        for file in (tmp_path / name).iterdir():
            file.unlink()
        if not name.endswith("/"):
            (tmp_path / name).rmdir()

    assert str(tmp_path / named) in error_of(lambda: read_folder(tmp_path))


def test_the_error_for_a_missing_image_folder_names_it(tmp_path: Path):
    assert error_of(lambda: read_folder(tmp_path / "absent")).startswith(f"{tmp_path / 'absent'}: no such folder")


@pytest.fixture(scope="module")
def color_images(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty airplanes and twenty automobiles of the JPEG version of CIFAR-10, in one flat image folder."""
    archive = real_data / "cifar10-jpeg.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no real color images: {archive} is missing")
    root = tmp_path_factory.mktemp("cifar10-jpeg")
    missing = {"airplane": 20, "automobile": 20}
    with tarfile.open(archive, "r|xz") as tar:
        for member in tar:
            _, _, rest = member.name.partition("train/")
            name = rest.partition("/")[0]
            if member.isfile() and missing.get(name):
                (root / name).mkdir(exist_ok=True)
                (root / rest).write_bytes(tar.extractfile(member).read())
                missing[name] -= 1
            if not any(missing.values()):
                return root
    raise AssertionError(f"{archive} lacks {missing}")


def test_real_color_images_have_their_decoded_pixels(color_images: Path):
    splits = [read_folder(color_images, split, size=32) for split in ("train", "test")]
    files = sorted(color_images.glob("*/*.jpg"))
    decoded = sorted((np.asarray(Image.open(file)).tobytes(), file.parent.name) for file in files)
    pixels_and_classes = [
        (image.permute(1, 2, 0).numpy().tobytes(), images.classes[label])
        for images in splits
        for image, label in zip(images.pixels, images.labels, strict=True)
    ]

    assert [len(images) for images in splits] == [32, 8]
    assert sorted(pixels_and_classes) == decoded
