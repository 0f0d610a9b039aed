"""Image folders in practice: names of splits, system files, labels in a CSV file, and the resulting log entries."""

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Program
from originals import GREEN, RED, encoded, error_of, folder_of, picture, read_folder, written
from PIL import Image

from resexp import datasets, runs
from resexp.datasets import DATASETS, Images, Source
from resexp.training import load_training_data


def class_folders(root: Path, names: dict[str, int], count: int = 10) -> Path:
    """Folders by name of `count` gray pictures; their shades are the value of `names` plus the number of the picture."""
    for name, shade in names.items():
        written(root / name, {f"{n:02}.png": encoded(picture((4, 4), shade + n, "L")) for n in range(count)})
    return root


def contents(images: Images) -> list[tuple[str, str, int]]:
    """(file, class, shade) of every image."""
    shades = images.pixels[:, 0, 0, 0].tolist()
    return list(zip(images.files, (images.classes[label] for label in images.labels), shades, strict=True))


def labeled_by_csv(root: Path, text: str, split: str = "train", encoding: str = "utf-8") -> Images:
    written(root, {"labels.csv": text.encode(encoding)})
    return DATASETS["image-folder"](Source(root, 8, labels=root / "labels.csv"), split)


# ---- ordinary folders --------------------------------------------------------------------------------------------------


def test_a_folder_without_other_entries_has_no_remarks_and_no_validation_set(tmp_path: Path):
    for splits in ((), ("train", "test")):
        images = read_folder(folder_of(tmp_path / "-".join(splits), *splits, count=5))

        assert images.remarks == ()
        assert images.validation is None


def test_class_names_that_are_not_all_numbers_are_in_alphabetical_order(tmp_path: Path):
    names = {"10": 0, "9": 0, "a2": 0, "B": 0}

    assert read_folder(class_folders(tmp_path, names)).classes == ("10", "9", "B", "a2")


# ---- classes and files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["1", "2", "9", "10"], ["1", "2", "9", "10"], id="whole numbers"),
        pytest.param(["-1", "+1", "0"], ["-1", "0", "+1"], id="with signs"),
        pytest.param(["0.5", "10", "2.25"], ["0.5", "2.25", "10"], id="with a fraction"),
        pytest.param(["010", "9"], ["9", "010"], id="with leading zeros"),
    ],
)
def test_class_names_that_are_numbers_are_in_numerical_order(names: list[str], expected: list[str], tmp_path: Path):
    images = read_folder(class_folders(tmp_path, {name: 20 * n for n, name in enumerate(names)}))

    assert images.classes == tuple(expected)
    assert all(name == Path(file).parent.name for file, name, _ in contents(images))


def test_each_image_has_the_name_of_its_file(tmp_path: Path):
    class_folders(tmp_path, {"1": 10, "10": 100})
    both = [entry for split in ("train", "test") for entry in contents(read_folder(tmp_path, split))]

    assert sorted(both) == sorted((f"{name}/{n:02}.png", name, 10 * int(name) + n) for name in ("1", "10") for n in range(10))


# ---- split folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("training", "valid", "testing"),
        ("Train", "Validation", "Test"),
        ("TRAINING", "VAL", "TESTING"),
    ],
)
def test_the_usual_names_of_split_folders_are_recognized(train: str, validation: str, test: str, tmp_path: Path):
    for shade, split in enumerate((train, validation, test)):
        class_folders(tmp_path / split, {"cat": 50 * shade, "dog": 50 * shade + 20}, count=3 - shade)
    images = read_folder(tmp_path)
    training, held_out = datasets.train_validation_split(images, 0.5, None, "image-folder")

    assert contents(training) == [(f"{train}/{c}/0{n}.png", c, k + n) for c, k in (("cat", 0), ("dog", 20)) for n in range(3)]
    assert contents(held_out) == [
        (f"{validation}/{c}/0{n}.png", c, k + n) for c, k in (("cat", 50), ("dog", 70)) for n in range(2)
    ]
    assert contents(read_folder(tmp_path, "test")) == [(f"{test}/{c}/00.png", c, k) for c, k in (("cat", 100), ("dog", 120))]
    assert [remark for remark in images.remarks if f"{validation}/ is the validation set (4 images)" in remark]


def test_a_validation_folder_without_a_test_folder_is_the_test_set_with_a_remark(tmp_path: Path):
    for split in ("train", "valid"):
        folder_of(tmp_path, split, count=10)
    images = read_folder(tmp_path)

    assert images.validation is None
    assert {file.partition("/")[0] for file in images.files} == {"train"}
    assert {file.partition("/")[0] for file in read_folder(tmp_path, "test").files} == {"valid"}
    assert len(images.remarks) == 1
    assert "valid/ is the test set" in images.remarks[0]


def test_one_remark_lists_all_other_entries(tmp_path: Path):
    folder_of(tmp_path, "train", "test", count=2)
    written(tmp_path / "extra" / "cats", {"a.png": b"x"})
    written(tmp_path, {"README.txt": b"x", "labels.csv": b"x"})
    written(tmp_path / "test", {"loose.png": b"x"})
    (remark,) = read_folder(tmp_path).remarks

    assert remark == f"{tmp_path}: not read: README.txt, extra, labels.csv, test/loose.png"


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        pytest.param(("train", "training", "test"), ("train/ and training/", "merge"), id="two folders for one split"),
        pytest.param(("train", "images"), ("train/", "data.root="), id="train next to an unknown folder"),
        pytest.param(("val", "test"), ("val/, test/", "add train/"), id="no training images"),
        pytest.param(("dataset",), ("one class (dataset)", "try data.root="), id="a folder too high"),
        pytest.param(("train",), ("one class (train)", "try data.root="), id="only train"),
    ],
)
def test_ambiguous_folders_are_refused_with_a_remedy(splits: tuple[str, ...], words: tuple[str, ...], tmp_path: Path):
    message = error_of(lambda: read_folder(folder_of(tmp_path, *splits, count=2)))

    assert message.startswith(str(tmp_path))
    assert all(word in message for word in words)


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_error_names_a_class_that_a_split_lacks(split: str, tmp_path: Path):
    for name in ("train", "val", "test"):
        class_folders(tmp_path / name, {"cat": 0, "dog": 30, "owl": 60}, count=2)
    shutil.move(tmp_path / split / "dog", tmp_path / split / "dgo")

    assert error_of(lambda: read_folder(tmp_path)).startswith(f"{tmp_path / split}: no folder for dog, which train/ has")
    shutil.copytree(tmp_path / split / "dgo", tmp_path / split / "dog")
    assert error_of(lambda: read_folder(tmp_path)).startswith(f"{tmp_path / split}: dgo is not a class of train/")


# ---- system files ----------------------------------------------------------------------------------------------------------

SYSTEM_FILES = (
    "Thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini", ".DS_Store", "._00.png", "Icon\r", ".directory", ".nomedia",
    "Picasa.ini",
)  # fmt: skip


def test_system_files_are_ignored_without_a_remark(tmp_path: Path):
    for root, splits in ((tmp_path / "flat", ()), (tmp_path / "splits", ("train", "test"))):
        clean = read_folder(folder_of(root, *splits, count=5))
        for folder in (root, *(root / split for split in splits), *(path.parent for path in root.rglob("00.png"))):
            written(folder, dict.fromkeys(SYSTEM_FILES, b"\0\5\x16\7"))
        for name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", ".ipynb_checkpoints", "lost+found"):
            written(root / name / "cats", {"._00.png": b"\0\5\x16\7"})
        images = read_folder(root)

        assert images.remarks == ()
        assert (images.classes, images.files) == (clean.classes, clean.files)
        assert torch.equal(images.pixels, clean.pixels)


def test_one_error_lists_all_entries_of_class_folders_that_are_not_images(tmp_path: Path):
    folder_of(tmp_path, count=5)
    written(tmp_path / "cats", {f"note-{n}.txt": b"x" for n in range(6)})
    written(tmp_path / "dogs" / "puppies", {"a.png": b"x"})
    (tmp_path / "dogs" / "gone.png").symlink_to("nowhere")
    message = error_of(lambda: read_folder(tmp_path))

    assert message.startswith(f"{tmp_path}: 8 entries of class folders are not images (")
    assert "cats/note-0.txt, cats/note-1.txt, cats/note-2.txt, cats/note-3.txt and 2 more" in message
    assert "a folder, not an image: dogs/puppies" in message
    assert "a broken link: dogs/gone.png" in message


def test_the_error_lists_all_empty_class_folders(tmp_path: Path):
    class_folders(tmp_path, {"a": 0, "b": 20})
    for name in ("c", "d"):
        (tmp_path / name).mkdir()

    assert error_of(lambda: read_folder(tmp_path)).startswith(f"{tmp_path / 'c'}: no images (as in d)")


# ---- labels in a CSV file --------------------------------------------------------------------------------------------------

ROWS = [(f"{n:02}.png", "dog" if n % 2 else "cat") for n in range(10)]
TABLE = "file,label\n" + "".join(f"{file},{label}\n" for file, label in ROWS)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Ten pictures in one folder, of shades 0 to 9."""
    return written(tmp_path / "images", {f"{n:02}.png": encoded(picture((4, 4), n, "L")) for n in range(10)})


def test_labels_come_from_a_csv_file(flat: Path):
    both = [entry for split in ("train", "test") for entry in contents(labeled_by_csv(flat, TABLE, split))]

    assert sorted(both) == [(file, label, n) for n, (file, label) in enumerate(ROWS)]


def test_labels_in_a_csv_file_give_the_same_splits_as_class_folders(flat: Path, tmp_path: Path):
    for file, label in ROWS:
        written(tmp_path / "folders" / label, {file: (flat / file).read_bytes()})
    for split in ("train", "test"):
        images = labeled_by_csv(flat, TABLE, split)

        assert datasets.checksum([images]) == datasets.checksum([read_folder(tmp_path / "folders", split)])
        assert images.remarks == ()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TABLE.replace("\n", "\r\n"), id="Windows line endings"),
        pytest.param("\ufeff" + TABLE, id="a byte order mark"),
        pytest.param(TABLE.replace(",", ";"), id="semicolons"),
        pytest.param(TABLE.replace(",", "\t"), id="tabs"),
        pytest.param("size,label,file\n" + "".join(f'4,"{label}",{file}\n' for file, label in ROWS), id="other columns"),
        pytest.param(TABLE + "\n,\n", id="empty lines"),
        pytest.param(TABLE.replace("0", ".\\0", 1), id="a Windows path"),
        pytest.param("file,label\n" + "".join(f"{file},{label}\n" for file, label in ROWS[::-1]), id="another order"),
    ],
)
def test_variants_of_csv_files_are_read(text: str, flat: Path):
    variants = [labeled_by_csv(flat, text), labeled_by_csv(flat, text.removeprefix("\ufeff"), encoding="utf-16")]

    assert {datasets.checksum([images]) for images in variants} == {datasets.checksum([labeled_by_csv(flat, TABLE)])}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param(TABLE + "10.png,cat\n", 12, "10.png: missing", id="a missing file"),
        pytest.param(TABLE + "labels.csv,cat\n", 12, "labels.csv: not an image", id="a file that is not an image"),
        pytest.param(TABLE + "../images/00.png,cat\n", 12, "not a path inside", id="a file outside the root"),
        pytest.param(TABLE + "/etc/passwd.png,cat\n", 12, "not a path inside", id="an absolute path"),
        pytest.param(TABLE + "03.png,dog\n", 12, "03.png already has a label in line 5", id="a second label"),
        pytest.param(TABLE + "./03.png,dog\n", 12, "in line 5", id="a second label under another path"),
        pytest.param(TABLE.replace("04.png,cat", "04.png,"), 6, "no label", id="an empty label"),
        pytest.param(TABLE.replace("04.png,cat", "04.png"), 6, "no label", id="a truncated line"),
        pytest.param(TABLE.replace("04.png,cat", ",cat"), 6, "no file", id="an empty file name"),
        pytest.param("00.png,cat\n01.png,dog\n", 1, "file,label", id="no header"),
        pytest.param("file,class\n00.png,cat\n", 1, "no column label", id="another header"),
        pytest.param("", 1, "file,label", id="an empty file"),
        pytest.param(TABLE + '"03.png,dog\n', 12, "not a CSV file", id="an unclosed quote"),
    ],
)
def test_the_error_for_an_invalid_csv_file_names_the_line(text: str, line: int, words: str, flat: Path):
    message = error_of(lambda: labeled_by_csv(flat, text))

    assert message.startswith(f"{flat / 'labels.csv'}:{line}: ")
    assert words in message


def test_the_error_for_a_missing_csv_file_states_where_it_is_expected(flat: Path):
    message = error_of(lambda: DATASETS["image-folder"](Source(flat, 8, labels=flat / "other.csv"), "train"))

    assert message.startswith(f"{flat / 'other.csv'}: no such file")
    assert "relative to data.root" in message


def test_a_csv_file_with_one_label_is_refused(flat: Path):
    assert "one label" in error_of(lambda: labeled_by_csv(flat, TABLE.replace("dog", "cat")))


def test_a_remark_lists_images_that_the_csv_file_does_not_name(flat: Path):
    images = labeled_by_csv(flat, TABLE.replace("09.png,dog\n", ""))

    assert images.remarks == (f"{flat}: not read, because labels.csv does not name them: 09.png",)


# ---- identical images ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "picture_of", [lambda: picture((8, 8), RED), lambda: Image.linear_gradient("L")], ids=["plain", "equal"]
)
def test_identical_training_images_are_refused_with_their_folder(
    picture_of: Callable[[], Image.Image], tmp_path: Path, tiny: Callable[..., Any]
):
    for name in ("cats", "dogs"):
        written(tmp_path / name, {f"{n:02}.png": encoded(picture_of()) for n in range(5)})
    overrides = ["data.name=image-folder", f"data.root={tmp_path}", "data.image_size=8", "data.limit=null"]
    data = tiny(*overrides).shared.data
    load_training_data.cache_clear()  # the folder may have the name of an earlier one
    message = error_of(lambda: load_training_data(data, "cpu", "float32"))

    assert message.startswith(f"{tmp_path}: all 7 training images are identical")
    written(tmp_path / "cats", {"00.png": encoded(picture((8, 8), GREEN))})
    load_training_data.cache_clear()
    assert len(load_training_data(data, "cpu", "float32").training) == 7


# ---- logs ------------------------------------------------------------------------------------------------------------------

SMALL = ["training.steps=4", "training.batch_size=8", "network.depth=[4]", "network.width=8", "seeds=1", "device=cpu"]


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """Forty pictures in class folders 1, 2, 9 and 10."""
    return class_folders(tmp_path / "numbers", {"1": 25, "2": 50, "9": 125, "10": 225})


def config_of(root: Path, tmp_path: Path, **data: Any) -> Path:
    path = tmp_path / "numbers.yaml"
    settings = {"name": "image-folder", "root": str(root), "image_size": 4, **data}
    path.write_text(f"data: {json.dumps(settings)}\n", encoding="utf-8")
    return path


def predictions(folder: Path) -> list[dict[str, str]]:
    with gzip.open(folder / "predictions.csv.gz", "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_logs_of_an_image_folder_contain_class_names_and_files(call: Program, in_process: None, numbers: Path, tmp_path: Path):
    results = tmp_path / "runs"
    answer = call("train", config_of(numbers, tmp_path), *SMALL, "--runs", results)
    folder = results / "numbers"
    test = read_folder(numbers, "test", size=4)
    trial = folder / "trials" / "identity-d4-s0"

    assert answer.code == 0
    assert runs.launches(folder)[-1].classes == ("1", "2", "9", "10")
    for row, (file, name, _) in zip(predictions(trial), contents(test), strict=True):
        assert list(row) == ["index", "label", "prediction", "label_probability", "label_name", "prediction_name", "file"]
        assert (row["file"], row["label_name"]) == (file, name)
        assert row["prediction_name"] == test.classes[int(row["prediction"])]
    assert len(runs.read_rows(trial / "predictions.csv.gz")) == len(test)
    assert call("compare", "numbers", "--runs", results, "--by-image", "--allow-missing").code == 0
    for form in ("html", "text", "md"):
        call("report", "numbers", "--runs", results, "--format", form)
        report = (folder / f"report.{'txt' if form == 'text' else form}").read_text(encoding="utf-8")
        assert "0 1, 1 2, 2 9, 3 10" in report


def test_unusual_names_can_be_read_back_from_the_logs(call: Program, in_process: None, tmp_path: Path):
    names = ["a,b", 'c"d', "e\nf", "g\udcff", "=1+1"]
    pictures = {f"{name}.png": encoded(picture((4, 4), 10 * n, "L")) for n, name in enumerate(names)}
    for n, name in enumerate(names):
        written(tmp_path / "odd" / "train" / name, pictures)
        written(tmp_path / "odd" / "test" / name, dict(list(pictures.items())[n:]))
    answer = call("train", config_of(tmp_path / "odd", tmp_path), *SMALL, "--runs", tmp_path / "runs")
    rows = runs.read_rows(tmp_path / "runs" / "numbers" / "trials" / "identity-d4-s0" / "predictions.csv.gz")

    assert answer.code == 0
    assert len(rows) == 15
    assert {row["label_name"] for row in rows} == {"a,b", 'c"d', "e\\nf", "g\\udcff", "=1+1"}
    assert all(row["file"].startswith(f"test/{row['label_name']}/") for row in rows)


def test_predictions_on_data_without_files_have_no_additional_columns(
    call: Program, in_process: None, tiny_file: Path, tmp_path: Path
):
    assert call("train", tiny_file, "name=tiny", "--runs", tmp_path).code == 0

    rows = predictions(tmp_path / "tiny" / "trials" / "identity-d4-s0")
    assert (
        list(rows[0]) == list(runs.COLUMNS["predictions.csv.gz"][:4]) == ["index", "label", "prediction", "label_probability"]
    )
    assert runs.launches(tmp_path / "tiny")[-1].classes == tuple("0123456789")


def test_remarks_on_a_folder_are_printed_once_and_recorded(call: Program, in_process: None, numbers: Path, tmp_path: Path):
    written(numbers, {"notes.txt": b"x"})
    answer = call("train", config_of(numbers, tmp_path), *SMALL, "--runs", tmp_path / "runs", "--quiet")
    remark = f"{numbers}: not read: notes.txt"

    assert answer.err.count(remark) == 1
    assert runs.launches(tmp_path / "runs" / "numbers")[-1].remarks == (remark,)


def test_a_predefined_validation_set_is_used(call: Program, in_process: None, tmp_path: Path):
    for split, count in (("train", 10), ("valid", 3), ("test", 2)):
        class_folders(tmp_path / "all" / split, {"cat": 0, "dog": 100}, count=count)
    answer = call("train", config_of(tmp_path / "all", tmp_path, validation=0), *SMALL, "--runs", tmp_path / "runs")

    assert answer.code == 0
    assert call("dissect", "numbers", "--runs", tmp_path / "runs", "--quiet").code == 0
    assert "valid/ is the validation set (6 images); data.validation has no effect" in answer.err
    assert runs.launches(tmp_path / "runs" / "numbers")[-1].images == (20, 6, 4)


# ---- limits ----------------------------------------------------------------------------------------------------------------


def test_limits_of_test_and_validation_images_are_marked_as_not_a_result(
    call: Program, in_process: None, tiny_file: Path, tmp_path: Path
):
    limits = ["data.limit_test=20", "data.limit_validation=30"]
    answer = call("train", tiny_file, "name=tiny", *limits, "--runs", tmp_path)
    folder = tmp_path / "tiny"

    assert answer.code == 0
    assert runs.launches(folder)[-1].images == (64, 30, 20)
    assert len(predictions(folder / "trials" / "identity-d4-s0")) == 20
    call("report", "tiny", "--runs", tmp_path)
    texts = {
        "train": answer.err,
        "report": (folder / "report.html").read_text(encoding="utf-8"),
        **{form: call("compare", "tiny", "--runs", tmp_path, "--format", form).out for form in ("table", "md", "tex", "json")},
    }
    for text in texts.values():
        assert "not a result" in text
    assert all("data.limit_test=20" in texts[name] for name in ("train", "report", "table", "md", "json"))


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_error_for_a_limit_above_the_number_of_images_names_the_key(
    split: str, call: Program, in_process: None, tiny_file: Path, tmp_path: Path
):
    answer = call("train", tiny_file, f"data.limit_{split}=5000", "--runs", tmp_path)

    assert answer.code == 2
    assert f"data.limit_{split}: 5000 is more than the " in answer.err
    assert list(tmp_path.iterdir()) == []


# ---- moved images ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def moved(call: Program, in_process: None, numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder of the images of a finished experiment, which was trained with another folder."""
    monkeypatch.delenv("RESEXP_DATA", raising=False)
    assert call("train", config_of(numbers, tmp_path), *SMALL, "--runs", tmp_path / "runs").code == 0
    new_folder = tmp_path / "elsewhere" / "numbers"
    shutil.move(numbers, new_folder)
    load_training_data.cache_clear()
    return new_folder


@pytest.mark.parametrize("command", ["reproduce", "dissect"])
def test_moved_images_are_found_by_the_option_or_in_the_data_folder(
    command: str, call: Program, moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    line = [command, "numbers", "--runs", tmp_path / "runs", "--quiet"]
    answer = call(*line)
    assert answer.code == 2
    assert all(word in answer.err for word in ("no such folder", "--data DIR", "RESEXP_DATA"))

    nowhere = call(*line, "--data", tmp_path / "nowhere")
    assert nowhere.code == 2
    assert f"--data: {tmp_path / 'nowhere'}: no such folder" in nowhere.err

    assert call(*line, "--data", moved).code == 0
    monkeypatch.setenv("PICTURES", str(moved.parent))
    assert call(*line, "--data", "$PICTURES/numbers").code == 0

    monkeypatch.setenv("RESEXP_DATA", str(moved.parent))
    answer = call(*line)
    assert answer.code == 0
    assert f"images are read from {moved} (RESEXP_DATA)" in answer.err


def test_the_option_takes_precedence_over_the_original_images(call: Program, in_process: None, numbers: Path, tmp_path: Path):
    assert call("train", config_of(numbers, tmp_path), *SMALL, "--runs", tmp_path / "runs").code == 0
    other = class_folders(tmp_path / "other", {"1": 25, "2": 50, "9": 125, "10": 200})
    answer = call("reproduce", "numbers", "--runs", tmp_path / "runs", "--data", other, "--quiet")

    assert answer.code == 2
    assert "trained on other images" in answer.err
