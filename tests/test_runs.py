"""Files and folders of runs/: atomic writes, appending, strict reading, continuing, refusing, archiving."""

import csv
import gzip
import hashlib
import json
import math
import os
import platform
import signal
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import fabricated
import pytest
import yaml

from resexp import config, runs
from resexp.config import Experiment
from resexp.config.parsing import parse_yaml
from resexp.runs import RunsError, columns

METRICS = list(runs.COLUMNS["metrics.csv"])


def metrics(*steps: int) -> list[tuple[Any, ...]]:
    return [(step, step // 4, 0.001, 1 / 3, 0.5, math.nan, math.inf) for step in steps]


def started(experiment: Experiment, runs_dir: Path) -> Path:
    """The folder of an experiment that was started and has no finished trials."""
    folder = runs_dir / experiment.name
    folder.mkdir(parents=True)
    runs.begin(experiment, folder, config.make_plan(experiment, "cpu", 2), fabricated.LAUNCH, [])
    return folder


def finished(folder: Path, experiment: Experiment, **values: Any) -> None:
    """Writes a result for every trial of the experiment."""
    for trial in experiment.trials:
        trial_path = runs.trial_folder(folder, trial.name)
        runs.clear(trial_path)
        runs.write_result(trial_path, {**fabricated.RESULT, **values})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- what must not change anything -----------------------------------------------------------------------------------


def test_reading_missing_files_gives_nothing(tmp_path: Path):
    assert runs.read_text(tmp_path / "metrics.csv") == ""
    assert runs.read_rows(tmp_path / "metrics.csv") == []
    assert runs.read_plan(tmp_path) is None
    assert runs.result(tmp_path) is None
    assert runs.status(tmp_path).state == "waiting"
    assert runs.archive(tmp_path / "digits") is None
    assert list(tmp_path.iterdir()) == []


def test_truncating_a_missing_or_unchanged_log_changes_no_byte(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    assert runs.log_position(path) is None
    runs.truncate_log(path, None)
    assert not path.exists()

    runs.append(path, metrics(0, 4, 6))
    before = path.read_bytes()
    runs.truncate_log(path, runs.log_position(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param([], id="no change"),
        pytest.param(["seeds=3"], id="seeds added"),
        pytest.param(["seeds=[7]"], id="seeds replaced"),
        pytest.param(["network.depth=[4, 6]"], id="a depth added"),
        pytest.param(["network.shortcut=[identity, skipinit]"], id="a shortcut added"),
        pytest.param(["question=why?"], id="another question"),
        pytest.param(["data.root=/elsewhere"], id="another folder of the data"),
        pytest.param(["training.checkpoint_every=3"], id="another checkpoint interval"),
        pytest.param(["compare.margin=0.02"], id="another margin"),
    ],
)
def test_an_experiment_can_grow_and_change_settings_that_affect_no_result(overrides: list[str], tiny: Any, tmp_path: Path):
    folder = started(tiny(), tmp_path)

    assert runs.check_unchanged(tiny(*overrides), folder) is None
    assert runs.check_unchanged(tiny(*overrides), tmp_path / "not there") is None


# ---- atomic writes ---------------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path], None]] = {
    "bytes.bin": lambda path: runs.write_bytes(path, b"new"),
    "text.txt": lambda path: runs.write_text(path, "new"),
    "value.json": lambda path: runs.write_json(path, {"new": 1}),
    "metrics.csv": lambda path: runs.write_rows(path, metrics(0)),
    "predictions.csv.gz": lambda path: runs.write_rows(path, [(0, 1, 1, 0.5)]),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (Path, "replace")], ids=["full disk", "no rename"])
def test_a_failing_write_leaves_the_old_file_and_no_other(
    owner: object, call: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / name
    path.write_bytes(b"old")

    def refuse(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(owner, call, refuse)
        with pytest.raises(OSError, match="No space"):
            WRITERS[name](path)

    assert tree(tmp_path) == {name: b"old"}
    WRITERS[name](path)
    assert list(tree(tmp_path)) == [name]
    assert path.read_bytes() != b"old"


def test_a_value_that_json_cannot_represent_leaves_the_old_file(tmp_path: Path):
    (tmp_path / "value.json").write_text("1")
    with pytest.raises(TypeError):
        runs.write_json(tmp_path / "value.json", object())

    assert tree(tmp_path) == {"value.json": b"1"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 / 3, "0.333333333"),
        (2 / 3, "0.666666667"),
        (1e-25, "1e-25"),
        (1.23456789012e-30, "1.23456789e-30"),
        (123456789012.0, "1.23456789e+11"),
        (0.1, "0.1"),
        (0.0, "0"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (123456789012, "123456789012"),
        ("blocks.0.layer1", "blocks.0.layer1"),
        (None, ""),
    ],
)
def test_cells_have_nine_significant_digits_and_names_for_non_finite_numbers(value: Any, text: str):
    assert runs.format_cell(value) == text


def test_json_has_null_for_numbers_that_are_not_finite(tmp_path: Path):
    runs.write_json(tmp_path / "x.json", {"a": math.nan, "b": [1.5, -math.inf, {"c": math.inf}], "d": (None, "nan", 3)})

    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [1.5, None, {"c": None}], "d": [None, "nan", 3]}


def test_appended_rows_follow_one_header(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    runs.append(path, metrics(0))
    runs.append(path, metrics(4, 6))

    assert list(csv.reader(path.read_text().splitlines())) == [
        METRICS,
        ["0", "0", "0.001", "0.333333333", "0.5", "nan", "inf"],
        ["4", "1", "0.001", "0.333333333", "0.5", "nan", "inf"],
        ["6", "1", "0.001", "0.333333333", "0.5", "nan", "inf"],
    ]
    assert path.read_bytes().count(b"\r") == 0


def test_equal_rows_give_equal_compressed_bytes_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = [(n, n % 10, 3, n / 7) for n in range(50)]
    (tmp_path / "later").mkdir()
    runs.write_rows(tmp_path / "predictions.csv.gz", rows)
    monkeypatch.setattr("time.time", lambda: 2e9)
    runs.write_rows(tmp_path / "later" / "predictions.csv.gz", list(rows))
    content = (tmp_path / "predictions.csv.gz").read_bytes()

    assert (tmp_path / "later" / "predictions.csv.gz").read_bytes() == content
    lines = gzip.decompress(content).decode().splitlines()
    assert lines[:3] == ["index,label,prediction,label_probability", "0,0,3,0", "1,1,3,0.142857143"]
    assert len(lines) == 51


# ---- YAML ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        *(1e-8, 1e-3, 0.1, 1.0, 1e16, 1e22, 1.5e-7, -2.5e30, 0.0, 5e-324),
        *(0, -3, 10**12, True, False, None),
        *(
            "",
            "no",
            "off",
            "yes",
            "null",
            "~",
            "true",
            "1.5",
            "1e-3",
            "1e5",
            "-1E+5",
            "12",
            "010",
            "1:30",
            "0x1F",
            "1_000",
            ".5",
        ),
        *(
            "=",
            "<<",
            "2026-11-23",
            "a: b",
            "- a",
            "# not a comment",
            "a # b",
            " padded ",
            "two\nlines",
            "ü → x",
            "'",
            '"',
            "*a",
        ),
        [1, 2.5, "no", None, [True, "x"]],
        [],
        [{"gate": {"bias": -6, "scale": 1e-8}}, "identity"],
        {"a": {"b": {"c": 1e-8}}, "d": []},
        "long " * 60,
    ],
    ids=repr,
)
def test_written_yaml_has_the_same_value_for_pyyaml_and_the_config_reader(value: Any):
    text = runs.to_yaml({"key": value})
    plain, strict = yaml.safe_load(text), parse_yaml(text, "x.yaml")[0]

    assert plain == strict == {"key": value}
    assert type(plain["key"]) is type(strict["key"]) is type(value)


def test_experiment_yaml_contains_every_default_and_is_read_as_the_same_experiment(tiny: Any, tmp_path: Path):
    experiment = tiny("training.eps=[1e-8, 1e-16]", "question='Why?: a # question'", "training.weight_decay=1e-4")
    folder = started(experiment, tmp_path)

    assert runs.read_experiment(folder) == experiment
    stored = yaml.safe_load((folder / "experiment.yaml").read_text(encoding="utf-8"))
    assert stored["training"]["eps"] == [1e-8, 1e-16]
    assert stored["training"]["betas"] == [0.9, 0.999]
    assert stored["device"] == "cpu"


def test_temporary_files_of_a_killed_process_are_removed(tiny: Any, tmp_path: Path):
    folder = started(tiny(), tmp_path)
    temporary = folder / "trials" / "a" / ".predictions.csv.gz.12470"
    temporary.parent.mkdir(parents=True)
    temporary.write_text("half")
    (temporary.parent / "weights.pt").write_text("whole")
    before = sorted(path.name for path in folder.iterdir())

    runs.remove_temporary_files(folder)

    assert [path.name for path in temporary.parent.iterdir()] == ["weights.pt"]
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    "override",
    [
        *(f"name='{name}'" for name in ("1e3", "12", "null", "no", "2026-11-23")),
        "data.root='1e3'",
        "question='12'",
        'question="two\\nlines"',
    ],
)
def test_text_that_looks_like_another_value_is_stored_as_text(override: str, tiny: Any, tmp_path: Path):
    experiment = tiny(override)

    assert runs.read_experiment(started(experiment, tmp_path)) == experiment


# ---- strict reading: only a truncated last line is accepted ------------------------------------------------------------


@pytest.mark.parametrize(
    "truncated", ["8", "8,2,0.001,1.2", "8,2,0.001,1.2,0.5,0.5,0.5"], ids=["a word", "half a line", "no newline"]
)
def test_a_truncated_last_line_is_dropped(truncated: str, tmp_path: Path):
    path = tmp_path / "metrics.csv"
    runs.append(path, metrics(0, 4))
    position = runs.log_position(path)
    with path.open("a") as file:
        file.write(truncated)

    assert [row["step"] for row in runs.read_rows(path)] == ["0", "4"]
    runs.truncate_log(path, position)
    runs.append(path, metrics(8))
    assert [row["step"] for row in runs.read_rows(path)] == ["0", "4", "8"]


def test_a_truncated_header_is_written_again(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,epo")

    assert runs.read_rows(path) == []
    runs.truncate_log(path, None)
    runs.append(path, metrics(0))
    assert [row["step"] for row in runs.read_rows(path)] == ["0"]


def test_truncating_a_log_restores_its_earlier_content(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    versions = []
    for step in (0, 4, 5):
        runs.append(path, metrics(step))
        versions.append((runs.log_position(path), path.read_bytes()))
    for position, content in reversed(versions):
        runs.truncate_log(path, position)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-1], id="missing byte"),
        pytest.param(lambda content: content.replace(b"0.5", b"0.6", 1) + b"5,1,1,1,1,1,1\n", id="changed digit"),
        pytest.param(lambda _content: None, id="missing file"),
    ],
)
def test_a_log_that_does_not_match_its_position_is_named_and_not_changed(damage: Any, tmp_path: Path):
    path = tmp_path / "metrics.csv"
    runs.append(path, metrics(0, 4))
    position, content = runs.log_position(path), damage(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    before = tree(tmp_path)
    with pytest.raises(RunsError, match=f"{path}: damaged"):
        runs.truncate_log(path, position)

    assert tree(tmp_path) == before


def test_rows_that_do_not_fit_on_the_disk_leave_the_log_unchanged(tmp_path: Path):
    resource = pytest.importorskip("resource", reason="no limits on this system")
    path = tmp_path / "metrics.csv"
    runs.append(path, metrics(0, 4))
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))  # the system itself refuses the 21st byte
    try:
        with pytest.raises(OSError, match="File too large"):
            runs.append(path, metrics(5, 6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)

    assert path.read_bytes() == before


# ---- files with a digest -----------------------------------------------------------------------------------------------


def test_a_file_with_a_digest_is_read_back_and_its_previous_version_is_kept(tmp_path: Path):
    path = tmp_path / "x.pt"
    assert runs.read_with_digest(path) is None
    for content in (b"first", b"second", b"third"):
        runs.write_with_digest(path, content)

    assert (runs.read_with_digest(path), runs.read_with_digest(runs.previous_path(path))) == (b"third", b"second")
    # FIPS 180-2, appendix B.1
    runs.write_with_digest(path, b"abc")
    assert path.read_bytes() == b"abcba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    runs.discard(path)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("index", [0, 2, 5, 40, -1])
@pytest.mark.parametrize("damage", ["changed", "truncated"])
def test_a_file_with_a_digest_is_damaged_if_a_byte_is_changed_or_missing(damage: str, index: int, tmp_path: Path):
    path = tmp_path / "x.pt"
    runs.write_with_digest(path, b"abc")
    content = bytearray(path.read_bytes())
    content[index] ^= 1
    path.write_bytes(content if damage == "changed" else content[:index])
    with pytest.raises(RunsError, match=f"{path}: damaged"):
        runs.read_with_digest(path)


HEADER = ",".join(METRICS).encode() + b"\n"
READERS: dict[str, Callable[[Path], object]] = {
    "metrics.csv": runs.read_rows,
    "signals.csv": runs.read_rows,
    "status.json": lambda path: runs.status(path.parent),
    "result.json": lambda path: runs.result(path.parent),
    "plan.json": lambda path: runs.read_plan(path.parent),
    "environment.json": lambda path: runs.launches(path.parent),
    "pairs.json": lambda path: runs.pair_summaries(path.parent),
    "experiment.yaml": lambda path: runs.read_experiment(path.parent),
}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param("metrics.csv", b"step,epoch\n0,0\n", id="other columns"),
        pytest.param("metrics.csv", HEADER + b"0,0\n4,1,,,,,\n", id="a short row"),
        pytest.param("metrics.csv", HEADER + b"0,0,,,,,,1\n", id="a long row"),
        pytest.param("signals.csv", b"\xff\xfe\x00\n", id="a log that is not text"),
        pytest.param("status.json", b"{", id="half a status"),
        pytest.param("result.json", b"", id="an empty result"),
        pytest.param("result.json", b"\xff\xfe", id="a result that is not text"),
        pytest.param("result.json", b"[]", id="a list for a result"),
        pytest.param("plan.json", b'{"device": "cpu"', id="half a plan"),
        pytest.param("plan.json", b'{"device": "cpu"}', id="a plan without stacks"),
        pytest.param("experiment.yaml", b"network: {depth", id="half an experiment"),
        pytest.param("experiment.yaml", b"networks: 1\n", id="an experiment with an unknown key"),
    ],
)
def test_a_damaged_file_is_named(file: str, content: bytes, tmp_path: Path):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(RunsError) as caught:
        READERS[file](tmp_path / file)

    assert str(tmp_path / file) in str(caught.value)
    assert "damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


PAIR_SUMMARY = {
    "cell": "d8", "plain": "plain", "residual": "gate", "seed": 0,
    "equal": {"weights": 16, "weights_bit_equal": True, "first_batch": True, "recipe": True},
    "start_differs": [], "same_function_class": False, "nothing_to_skip": False, "same_as_plain": False,
    "width": {"plain": 64, "gate": 64}, "beyond": dict.fromkeys(("parameters", "multiply_adds", "activation_bytes"), 1),
    "at_start": {},
}  # fmt: skip
AGAIN, DELETE = "train again to rewrite it", "delete it to retrain its trial"


def without(record: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != key}


@pytest.mark.parametrize(
    ("file", "value", "remedy"),
    [
        pytest.param("environment.json", {"a": 1}, AGAIN, id="a mapping of starts"),
        pytest.param("environment.json", 3, AGAIN, id="a number of starts"),
        pytest.param("environment.json", "x", AGAIN, id="text for starts"),
        pytest.param("environment.json", [1], AGAIN, id="a number for a start"),
        pytest.param("environment.json", [{}], AGAIN, id="an empty start"),
        pytest.param("environment.json", [], AGAIN, id="no start"),
        pytest.param("environment.json", [{**fabricated.START, "images": [1, 2]}], AGAIN, id="images of two splits"),
        pytest.param("pairs.json", {}, AGAIN, id="a mapping of pair summaries"),
        pytest.param("pairs.json", [{}], AGAIN, id="an empty pair summary"),
        pytest.param("pairs.json", [without(PAIR_SUMMARY, "width")], AGAIN, id="a pair summary without widths"),
        pytest.param(
            "pairs.json", [{**PAIR_SUMMARY, "beyond": {"parameters": 1, "multiply_adds": 1}}], AGAIN, id="an older pair summary"
        ),
        pytest.param("result.json", {}, DELETE, id="an empty result"),
        pytest.param("result.json", {"outcome": "above_chance"}, DELETE, id="an outcome for a result"),
        pytest.param("result.json", {**fabricated.RESULT, "slope_start": None, "outcome": "won"}, DELETE, id="an outcome"),
        pytest.param("result.json", None, DELETE, id="null for a result"),
        pytest.param("status.json", {}, DELETE, id="an empty status"),
        pytest.param("status.json", {"state": "lost"}, DELETE, id="an unknown state"),
        pytest.param("plan.json", [], AGAIN, id="a list for a plan"),
    ],
)
def test_json_with_other_content_is_damaged_and_the_remedy_is_named(file: str, value: Any, remedy: str, tmp_path: Path):
    (tmp_path / file).write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(RunsError) as caught:
        READERS[file](tmp_path / file)

    assert str(caught.value).startswith(f"{tmp_path / file}: damaged (")
    assert str(caught.value).endswith(remedy)
    assert "\n" not in str(caught.value)


def test_valid_json_is_read_unchanged(tmp_path: Path):
    values = {
        "environment.json": [fabricated.START],
        "pairs.json": [PAIR_SUMMARY],
        "status.json": {"state": "running", "step": 3},
    }
    for file, value in values.items():
        (tmp_path / file).write_text(json.dumps(value), encoding="utf-8")

        read = READERS[file](tmp_path / file)
        contents = [record.content for record in read] if isinstance(read, list) else read.content
        assert json.loads(json.dumps(contents)) == value


def test_a_start_that_was_prepared_before_another_one_does_not_revert_it(tiny: Any, tmp_path: Path):
    folder = started(tiny("seeds=2"), tmp_path)
    before = tree(folder)
    for overrides, words in (
        (["seeds=1"], "run the command again"),
        (["seeds=2", "training.lr=0.5"], "training.lr was 0.001"),
    ):
        plan = config.make_plan(tiny(*overrides), "cpu", 2)  # made while the folder was still empty
        with pytest.raises(RunsError, match=words):
            runs.begin(tiny(*overrides), folder, plan, fabricated.LAUNCH, [])

    assert tree(folder) == before


def test_experiment_yaml_is_written_after_all_files_that_readers_need(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written: list[str] = []
    replace = Path.replace

    def recorded(path: Path, target: Path) -> Path:
        written.append(target.name)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", recorded)
    started(tiny(), tmp_path)

    assert written[-1] == "experiment.yaml"
    assert set(written) == {"trial.yaml", ".gitattributes", "plan.json", "environment.json", "pairs.json", "experiment.yaml"}


@pytest.mark.parametrize("file", ["plan.json", "environment.json"])
def test_a_missing_file_that_every_start_writes_is_an_error(file: str, tiny: Any, tmp_path: Path):
    folder = started(tiny(), tmp_path)
    (folder / file).unlink()

    with pytest.raises(RunsError, match=rf"{file}: missing; {AGAIN}"):
        runs.read_results([folder])


@pytest.mark.parametrize("content", [b"{", b'{"a": 1}', b"[{}]"])
def test_the_next_start_rewrites_a_damaged_environment_and_pair_summaries(content: bytes, tiny: Any, tmp_path: Path):
    folder = started(tiny(), tmp_path)
    for file in ("environment.json", "pairs.json"):
        (folder / file).write_bytes(content)
    summary = runs.PairSummary.model_validate_json(json.dumps(PAIR_SUMMARY))
    runs.begin(tiny(), folder, config.make_plan(tiny(), "cpu", 2), fabricated.LAUNCH, [summary])

    digest = hashlib.sha256((folder / "experiment.yaml").read_bytes()).hexdigest()

    assert json.loads((folder / "environment.json").read_text()) == [fabricated.START | {"experiment_sha256": digest}]
    assert json.loads((folder / "pairs.json").read_text()) == [PAIR_SUMMARY]
    assert runs.launches(folder)[0].experiment_sha256 == digest
    assert runs.pair_summaries(folder)[0].residual == "gate"


# ---- experiments -----------------------------------------------------------------------------------------------------


def test_an_experiment_is_found_by_path_by_name_or_as_the_last_one_started(tiny: Any, tmp_path: Path):
    folders = {name: started(tiny(f"name={name}"), tmp_path) for name in ("one", "two", "three")}
    for name, at in (("one", 300), ("two", 500), ("three", 400)):
        os.utime(folders[name] / "environment.json", (at, at))

    assert runs.find(None, tmp_path) == folders["two"]
    assert runs.find("three", tmp_path) == folders["three"]
    assert runs.find(str(folders["one"]), Path("elsewhere")) == folders["one"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param("digit", ("digit: no experiment", "did you mean digits?"), id="a similar name"),
        pytest.param("/no/such/path", ("/no/such/path: no experiment", "contains digits"), id="a path"),
    ],
)
def test_a_missing_experiment_is_named_with_the_existing_ones(source: str, words: tuple[str, ...], tiny: Any, tmp_path: Path):
    started(tiny("name=digits"), tmp_path)
    with pytest.raises(RunsError) as caught:
        runs.find(source, tmp_path)

    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("exists", [True, False], ids=["an empty folder", "no folder"])
def test_without_any_experiment_the_first_command_is_suggested(exists: bool, tmp_path: Path):  # noqa: FBT001 - a table's column
    with pytest.raises(RunsError, match=r"contains no experiment yet; train one first, for example: resexp train digits"):
        runs.find(None, tmp_path if exists else tmp_path / "runs")


def test_a_start_is_recorded_without_the_names_of_home_folder_and_host():
    prepared = {
        "device": "cpu",
        "accelerator": "cpu",
        "kernels": "AVX2",
        "data_sha256": "abc",
        "images": [1, 2, 3],
        "classes": ["cat"],
        "remarks": [],
    }
    entry = runs.launch_entry(prepared, ["resexp", "train", str(Path.home() / "x.yaml")]).content

    assert entry["command"] == ["resexp", "train", str(Path("~") / "x.yaml")]
    assert str(Path.home()) not in json.dumps(entry)
    assert platform.node() not in json.dumps(entry)
    assert entry["packages"]["torch"] == metadata.version("torch")
    assert entry.items() >= prepared.items()


@pytest.mark.parametrize(
    ("overrides", "key", "values"),
    [
        (["network.width=16"], "network.width", ("8", "16")),
        (["training.lr=0.01"], "training.lr", ("0.001", "0.01")),
        (["training.lr=[0.001, 0.01]"], "training.lr", ("0.001", "[0.001, 0.01]")),
        (["data.limit=50"], "data.limit", ("64", "50")),
        (["gradients.every=3"], "gradients.every", ("2", "3")),
        (["precision=float64"], "precision", ("float32", "float64")),
        (["training.warmup={steps: 2, factor: 0.1}"], "training.warmup", ("None",)),
    ],
)
def test_a_changed_shared_key_is_refused_with_the_options(
    overrides: list[str], key: str, values: tuple[str, ...], tiny: Any, tmp_path: Path
):
    folder = started(tiny(), tmp_path)
    before = tree(tmp_path)
    with pytest.raises(RunsError) as caught:
        runs.check_unchanged(tiny(*overrides), folder)

    message = str(caught.value)
    assert message.startswith(f"{folder}: {key}")
    assert all(value in message for value in values)
    assert "name=tiny-2" in message
    assert "--fresh" in message
    assert tree(tmp_path) == before


def test_archiving_renames_and_never_deletes(tiny: Any, tmp_path: Path):
    names = []
    for seed in range(3):
        folder = started(tiny(f"seeds=[{seed}]"), tmp_path)
        names.append((runs.archive(folder), seed))
        assert not folder.exists()

    assert [archived.name for archived, _ in names] == ["tiny-old-1", "tiny-old-2", "tiny-old-3"]
    assert [runs.read_experiment(archived).trials[0].seed for archived, _ in names] == [0, 1, 2]


# ---- trials ----------------------------------------------------------------------------------------------------------


def test_the_state_of_each_trial_follows_from_its_files(tiny: Any, tmp_path: Path):
    experiment = tiny("seeds=3")
    folder = started(experiment, tmp_path)
    done, failed, running, interrupted, *waiting = experiment.trials
    folders = {trial.name: runs.trial_folder(folder, trial.name) for trial in experiment.trials}
    runs.set_failed(folders[failed.name], "its process died")
    runs.write_result(folders[done.name], {**fabricated.RESULT, "test_accuracy": 2 / 3})
    runs.set_status(folders[running.name], "running", step=3, steps=6)
    runs.set_status(folders[interrupted.name], "interrupted", step=3, steps=6)
    with runs.lock(folder):
        records = {record.trial.name: record for record in runs.trial_records(folder, experiment)}

    states = [record.state for record in records.values()]
    assert states == ["finished", "failed", "running", "interrupted", "waiting", "waiting"]
    assert [record.reason for record in records.values()] == ["", "its process died", "", "", "", ""]
    assert records[done.name].result.test_accuracy == 0.666666667
    assert [records[trial.name].result for trial in waiting] == [None, None]


def test_a_running_trial_whose_process_died_is_interrupted(tiny: Any, tmp_path: Path):
    folder = started(tiny(), tmp_path)
    runs.set_status(runs.trial_folder(folder, "plain-d4-s0"), "running", step=3, steps=6)

    assert [record.state for record in runs.trial_records(folder, tiny())] == ["interrupted", "waiting"]


def test_a_finished_trial_whose_result_was_deleted_is_waiting(tiny: Any, tmp_path: Path):
    folder = started(tiny(), tmp_path)
    finished(folder, tiny())
    (runs.trial_folder(folder, "plain-d4-s0") / "result.json").unlink()

    assert [record.state for record in runs.trial_records(folder, tiny())] == ["waiting", "finished"]


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "a number of the result": (
        "result.json",
        lambda content: content.replace(b"0.75", b"0.95"),
        "does not match its own checksum",
    ),
    "a digest in the result": (
        "result.json",
        lambda content: content.replace(b'"metrics.csv": "', b'"metrics.csv": "0'),
        "does not match its own checksum",
    ),
    "half a result": ("result.json", lambda content: content[: len(content) // 2], "damaged"),
    "a result without its checksum": ("result.json", lambda content: content.replace(b"seal", b"lead"), "seal"),
    "a number in a log": (
        "metrics.csv",
        lambda content: content.replace(b"0.5", b"0.6"),
        "changed after its trial had finished",
    ),
    "a missing log": ("metrics.csv", lambda _content: b"", "missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_trial_is_named_has_no_result_and_affects_no_other(damage: str, tiny: Any, tmp_path: Path):
    name, change, words = DAMAGE[damage]
    folder = started(tiny(), tmp_path)
    for trial in tiny().trials:
        runs.append(runs.trial_folder(folder, trial.name) / "metrics.csv", metrics(0, 4))
        runs.write_result(runs.trial_folder(folder, trial.name), {**fabricated.RESULT, "test_accuracy": 0.75})
    path = runs.trial_folder(folder, "identity-d4-s0") / name
    content = change(path.read_bytes())
    assert content != path.read_bytes()
    path.write_bytes(content) if content else path.unlink()
    intact, damaged = runs.trial_records(folder, tiny(), ["metrics.csv"])

    assert (intact.state, damaged.state, damaged.result) == ("finished", "damaged", None)
    assert str(path) in damaged.reason
    assert words in damaged.reason
    assert "delete" in damaged.reason


def test_a_result_contains_the_digest_of_every_output_file_except_timing(tmp_path: Path):
    runs.append(tmp_path / "metrics.csv", metrics(0))
    runs.append(tmp_path / "timing.csv", [(0, 0, 0.1, 0.2)])
    runs.write_bytes(tmp_path / "weights.pt", b"abc")
    runs.write_result(tmp_path, {**fabricated.RESULT, "test_loss": math.nan})
    values = runs.result(tmp_path)

    assert set(values.sha256) == {"metrics.csv", "weights.pt"}
    # FIPS 180-2, appendix B.1
    assert values.sha256["weights.pt"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert values.test_loss is None
    assert runs.status(tmp_path).state == "finished"


def test_clearing_a_trial_empties_only_its_folder_and_keeps_trial_yaml(tmp_path: Path):
    for name in ("a", "b"):
        runs.clear(tmp_path / name)
        (tmp_path / name / "trial.yaml").write_text("y")
        (tmp_path / name / "metrics.csv").write_text("x")
        (tmp_path / name / "folder").mkdir()
    runs.clear(tmp_path / "a")

    assert tree(tmp_path) == {"a/trial.yaml": b"y", "b/metrics.csv": b"x", "b/trial.yaml": b"y"}
    assert (tmp_path / "a").is_dir()


def test_finished_trials_that_are_no_longer_in_the_experiment_are_listed(tiny: Any, tmp_path: Path):
    folder = started(tiny("seeds=3"), tmp_path)
    finished(folder, tiny("seeds=2"))
    runs.set_failed(runs.trial_folder(folder, "plain-d4-s2"), "never finished")

    assert runs.orphaned_trials(folder, tiny("seeds=3")) == []
    assert runs.orphaned_trials(folder, tiny("seeds=1")) == ["identity-d4-s1", "plain-d4-s1"]


# ---- untrusted folders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("linked", ["trials", "checkpoints", "trials/plain-d4-s0", "trials/plain-d4-s0/metrics.csv"])
def test_an_experiment_that_contains_a_symbolic_link_is_not_written_to(linked: str, tiny: Any, tmp_path: Path):
    folder, outside = started(tiny(), tmp_path / "runs"), tmp_path / "outside"
    outside.mkdir()
    path = folder / linked
    if path.exists():
        path.rename(tmp_path / "moved")
    path.symlink_to(outside)
    with pytest.raises(RunsError, match=f"{path}: is a symbolic link"):
        runs.begin(tiny(), folder, config.make_plan(tiny(), "cpu", 2), fabricated.LAUNCH, [])

    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "a/b", "..", "", "a\\b", "a" * 300])
@pytest.mark.parametrize("key", ["name", "trials"])
def test_a_plan_with_names_outside_the_folder_is_damaged(key: str, name: str, tiny: Any, tmp_path: Path):
    folder = started(tiny(), tmp_path)
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    plan["stacks"][0][key] = [name] if key == "trials" else name
    runs.write_json(folder / "plan.json", plan)
    with pytest.raises(RunsError, match=r"plan\.json: damaged"):
        runs.read_plan(folder)


def test_an_experiment_of_a_newer_resexp_is_refused_with_the_upgrade_command(tiny: Any, tmp_path: Path):
    path = started(tiny(), tmp_path) / "experiment.yaml"
    newer = path.read_text(encoding="utf-8").replace(f"# layout {runs.LAYOUT}", f"# layout {runs.LAYOUT + 1}") + "unheard: of\n"
    path.write_text(newer, encoding="utf-8")
    with pytest.raises(RunsError, match=rf"written by a newer resexp \(layout {runs.LAYOUT + 1}.*pip install --upgrade resexp"):
        runs.read_experiment(path.parent)


# ---- details -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "cell", "valid"),
    [
        ("step", "x", False), ("step", "0.5", False), ("step", "nan", False), ("step", "", False), ("step", "-1", True),
        ("epoch", "1e3", False), ("lr", "fast", False), ("lr", "", False), ("lr", "1e-3", True), ("val_loss", "nan", True),
        ("val_loss", "-inf", True),
    ],
)  # fmt: skip
def test_text_instead_of_a_number_is_damage_and_is_quoted(column: str, cell: str, valid: bool, tmp_path: Path):  # noqa: FBT001 - a table's column
    path = tmp_path / "metrics.csv"
    row = {
        "step": "4",
        "epoch": "1",
        "lr": "0.1",
        "train_loss": "1",
        "train_accuracy": "1",
        "val_loss": "1",
        "val_accuracy": "1",
    }
    path.write_text(f"{','.join(METRICS)}\n{','.join(row.values())}\n{','.join({**row, column: cell}.values())}\n")
    if valid:
        assert runs.read_rows(path) == [row, {**row, column: cell}]
        return
    with pytest.raises(RunsError) as caught:
        runs.read_rows(path)

    assert str(caught.value) == f"{path}: damaged ({column}: {cell!r} is not a number)"


def test_names_of_layers_and_blocks_are_text_and_a_long_text_is_quoted_in_part(tmp_path: Path):
    runs.append(tmp_path / "signals.csv", [(0, 0, 1, "blocks.1", 1.0, 2.0)])
    assert runs.read_rows(tmp_path / "signals.csv")[0]["block"] == "blocks.1"
    (tmp_path / "timing.csv").write_text(f"step,epoch,train_seconds,evaluation_seconds\n{'a' * 100},1,1,1\n")
    with pytest.raises(RunsError, match=r"\('?step: 'a{40}' is not a number"):
        runs.read_rows(tmp_path / "timing.csv")


@pytest.mark.parametrize("content", [f'{",".join(METRICS)}\n"{"1" * 200_000}\n', f'{",".join(METRICS)}\n"a"b,1,1,1,1,1,1\n'])
def test_invalid_csv_is_damage(content: str, tmp_path: Path):
    (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(RunsError, match=r"metrics\.csv: damaged \("):
        runs.read_rows(tmp_path / "metrics.csv")


def test_all_logs_of_a_trial_are_truncated_together(tmp_path: Path):
    runs.append(tmp_path / "metrics.csv", metrics(0))
    runs.append(tmp_path / "signals.csv", [(0, 0, 1, "blocks.1", 1.0, 2.0)])
    before, positions = tree(tmp_path), runs.log_positions(tmp_path)
    assert set(positions) == set(runs.LOGS)
    assert positions["metrics.csv"] == (len(before["metrics.csv"]), runs.sha256(tmp_path / "metrics.csv"))
    runs.append(tmp_path / "metrics.csv", metrics(4))
    runs.append(tmp_path / "timing.csv", [(0, 0, 0.1, 0.2)])
    runs.truncate_logs(tmp_path, positions)

    assert tree(tmp_path) == before
    with pytest.raises(RunsError, match="already had its result when the checkpoint of its stack was written"):
        runs.truncate_logs(tmp_path, None)


def test_a_trial_is_read_as_it_was_written(tiny: Any, tmp_path: Path):
    (trial, _) = tiny().trials
    assert runs.read_trial(tmp_path, trial.name) is None
    folder = runs.trial_folder(tmp_path, trial.name)
    folder.mkdir(parents=True)
    runs.write_trial(folder, trial)
    assert runs.read_trial(tmp_path, trial.name) == trial

    for content, words in (("name: x\n", "damaged (arm: field required)"), ("a: [", "damaged (")):
        (folder / "trial.yaml").write_text(content)
        with pytest.raises(RunsError) as caught:
            runs.read_trial(tmp_path, trial.name)
        assert words in str(caught.value)
        assert str(caught.value).endswith("; delete it and train again to rewrite it")
        assert len(str(caught.value).splitlines()) == 1


def test_only_a_damaged_checkpoint_with_a_previous_one_is_reported(tmp_path: Path):
    path = runs.checkpoint_file(tmp_path, "plain-d4-s0")
    assert path == tmp_path / "checkpoints" / "plain-d4-s0.pt"
    path.parent.mkdir()
    runs.write_with_digest(path, b"first")
    assert runs.damaged_checkpoints(tmp_path, ["plain-d4-s0"]) == []
    path.write_bytes(b"x" * 100)
    assert runs.damaged_checkpoints(tmp_path, ["plain-d4-s0"]) == []  # without a previous one its stack reports an error
    runs.previous_path(path).write_bytes(b"before")
    assert runs.damaged_checkpoints(tmp_path, ["plain-d4-s0"]) == [
        f"{path}: damaged (checksum mismatch); its trials resume from the previous checkpoint"
    ]


def test_discarding_removes_both_versions_or_the_existing_one(tmp_path: Path):
    path = tmp_path / "x.pt"
    runs.discard(path)
    runs.previous_path(path).write_bytes(b"x")
    runs.discard(path)
    path.write_bytes(b"x")
    runs.discard(path)

    assert tree(tmp_path) == {}


def test_a_failure_is_recorded_with_reason_and_time(tmp_path: Path):
    runs.set_failed(tmp_path / "a" / "b", "out of luck")
    status = runs.status(tmp_path / "a" / "b")

    assert (status.state, status.reason, status.process) == ("failed", "out of luck", os.getpid())
    assert abs(status.time - time.time()) < 300
    runs.set_failed(tmp_path / "a" / "b", "again")
    assert runs.status(tmp_path / "a" / "b").reason == "again"


def test_the_last_experiment_is_the_one_that_was_started_last_not_the_newest_folder(tiny: Any, tmp_path: Path):
    for number, name in enumerate(("b", "c", "a")):
        folder = started(tiny(f"name={name}"), tmp_path)
        os.utime(folder / "environment.json", (1000 + number % 2, 1000 + number % 2))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "experiment.yaml").write_text("name: d\n")  # never started

    assert runs.find(None, tmp_path) == tmp_path / "c"


# ---- documentation ---------------------------------------------------------------------------------------------------------


def test_the_columns_of_every_log_are_documented_as_they_are_declared():
    readme = (Path(__file__).parents[1] / "runs" / "README.md").read_text(encoding="utf-8")
    rows = [line for files in (columns.TRIAL_LOGS, columns.TABLES) for line in columns.markdown_tables(files).splitlines()]

    assert [row for row in rows if row not in readme] == []
    assert [file for file, declared in runs.LOG_COLUMNS.items() if not all(column.explain for column in declared)] == []
