"""The command line: commands, exit codes, one line for every error, no partly written files."""

import csv
import io
import json
import os
import platform
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import Answer, Program, tree
from PIL import Image

import resexp
from resexp import comparison, config, dissect, executors, runs, tables


def program(*arguments: object, **options: Any) -> Answer:
    """`python -m resexp ...` in a separate process."""
    command = [sys.executable, "-m", "resexp", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def call(in_process: None, call: Program) -> Program:
    """The program in this process, workers included."""
    return call


@pytest.fixture(scope="module")
def trained(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """(results folder, answer) of `resexp train tiny.yaml seeds=2`, with a real worker."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    return folder, program("train", tiny_file, "seeds=2", "--jobs", 1, "--runs", folder)


@pytest.fixture
def results(trained: tuple[Path, Answer], tmp_path: Path) -> Path:
    """A copy of the trained results that a test may change."""
    shutil.copytree(trained[0], tmp_path / "runs")
    return tmp_path / "runs"


def measured_accuracies(folder: Path) -> dict[str, float]:
    results = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("tiny/trials/*/result.json")}
    return {name: result["test_accuracy"] for name, result in results.items()}


# ---- train and compare -----------------------------------------------------------------------------------------------


def test_train_prints_the_answer_and_on_stderr_a_summary_and_exits_with_0(trained: tuple[Path, Answer]):
    folder, answer = trained
    lines = tables.trained_lines(
        comparison.compare_results(runs.results_of(folder / "tiny", runs.read_experiment(folder / "tiny")))
    )

    assert (answer.code, answer.out) == (0, "\n".join([*lines, ""]))
    assert " ".join(answer.out.split()).count(f"Next: resexp compare {folder / 'tiny'}") == 1
    assert re.fullmatch(r"4 of 4 trials finished(, \d at chance)?; results in (.*)", answer.err.splitlines()[-1])
    assert answer.err.endswith(f"; results in {folder / 'tiny'}\n")
    assert "epoch" not in answer.err
    assert "Warning" not in answer.err


def test_the_results_folder_contains_the_documented_files(trained: tuple[Path, Answer]):
    folder = trained[0] / "tiny"
    logs = {"trial.yaml", "status.json", "result.json", "metrics.csv", "gradients.csv", "signals.csv", "timing.csv"}

    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {"checkpoints"} == {
        "experiment.yaml", "plan.json", "environment.json", "pairs.json", "accuracy.csv", "accuracy.md", "trials",
    }  # fmt: skip
    assert {path.name for path in (folder / "trials").iterdir()} == {
        f"{a}-d4-s{s}" for a in ("plain", "identity") for s in (0, 1)
    }
    for trial in (folder / "trials").iterdir():
        assert {path.name for path in trial.iterdir()} == logs | {"predictions.csv.gz", "weights.pt", "best.pt"}
    assert list(folder.glob("checkpoints/*")) == []
    assert len(json.loads((folder / "environment.json").read_text())) == 1
    assert json.loads((folder / "pairs.json").read_text())[0]["equal"]["weights_bit_equal"] is True


def test_accuracy_csv_has_one_row_per_trial(trained: tuple[Path, Answer]):
    rows = list(csv.DictReader((trained[0] / "tiny" / "accuracy.csv").read_text().splitlines()))

    assert {row["trial"]: float(row["test_accuracy"]) for row in rows} == measured_accuracies(trained[0])
    assert {(row["arm"], row["depth"], row["seed"]) for row in rows} == {
        (a, "4", s) for a in ("plain", "identity") for s in "01"
    }


def test_the_same_command_again_trains_nothing_and_changes_no_finished_trial(results: Path, tiny_file: Path, call: Program):
    before = tree(results / "tiny" / "trials")
    answer = call("train", tiny_file, "seeds=2", "--runs", results)

    assert answer.code == 0
    assert re.fullmatch(r"nothing to train: 4 of 4 trials finished(, \d at chance)?; results in .*\n", answer.err)
    assert tree(results / "tiny" / "trials") == before


def test_added_seeds_and_depths_are_trained_and_removed_ones_are_named(results: Path, tiny_file: Path, call: Program):
    before = tree(results / "tiny" / "trials")
    plan = json.loads((results / "tiny" / "plan.json").read_text())
    answer = call("train", tiny_file, "seeds=3", "network.depth=[4, 6]", "--runs", results)
    after = tree(results / "tiny" / "trials")

    assert answer.code == 0
    assert answer.err.splitlines()[-1].startswith("12 of 12 trials finished")
    assert {name: after[name] for name in before} == before
    stacks = json.loads((results / "tiny" / "plan.json").read_text())["stacks"]
    assert stacks[: len(plan["stacks"])] == plan["stacks"]
    assert sum(len(stack["trials"]) for stack in stacks) == 12

    assert call("train", tiny_file, "seeds=[0, 2]", "network.depth=[6]", "--runs", results).code == 0
    table = " ".join(call("compare", "--runs", results).out.split())
    assert "left out, no longer in the config: identity-d4-s0, identity-d4-s1" in table
    assert tree(results / "tiny" / "trials") == after


def test_a_dry_run_prints_the_trials_and_writes_nothing(tmp_path: Path, tiny_file: Path, call: Program):
    answer = call("train", tiny_file, "training.lr=[0.1, 1e-3]", "--dry-run", "--runs", tmp_path / "runs")

    assert (answer.code, answer.err) == (0, "")
    trials, _title, *pair_summaries = answer.out.split("\n\n")
    assert [line.split() for line in trials.splitlines()[-4:]] == [
        [f"{arm}-d4-lr{lr}-s0", "6", "steps"] for lr in ("0.1", "0.001") for arm in ("plain", "identity")
    ]
    assert [summary.splitlines()[:3] for summary in pair_summaries] == [
        [
            f"depth 4, lr {lr}",
            "  plain / identity",
            "    8 shared weight tensors equal, first batch equal, hyperparameters equal",
        ]
        for lr in ("0.1", "0.001")
    ]
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_estimates_time_disk_and_memory(tmp_path: Path, tiny_file: Path, call: Program):
    lines = call("train", tiny_file, "seeds=3", "--dry-run", "--jobs", "auto", "--runs", tmp_path / "runs").out.splitlines()

    assert lines[0] == f"tiny: 6 trials in {min(6, executors.cores())} stacks of up to {-(-6 // min(6, executors.cores()))}"
    assert re.fullmatch(r"cpu, 1 thread\(s\) per process: about \d+:\d\d, of which \d+:\d\d for startup", lines[1])
    assert re.fullmatch(r"about \d MB on disk and \d+\.\d GB of memory", lines[2])


def test_a_dry_run_marks_finished_trials_and_estimates_only_the_others(
    results: Path, tiny_file: Path, call: Program, monkeypatch
):
    estimated = []

    def forecast(_pool, _experiment, plan) -> dict[str, float]:
        estimated.extend(name for stack in plan.stacks for name in stack.trials)
        return dict.fromkeys(("seconds", "startup", "disk_bytes", "memory_bytes", "multiply_adds"), 0.0)

    monkeypatch.setattr(executors.Pool, "forecast", forecast)
    before = tree(results)
    more = call("train", tiny_file, "seeds=3", "--dry-run", "--runs", results).out
    new = ["plain-d4-s2", "identity-d4-s2"]

    assert sorted(estimated) == sorted(new)
    assert re.findall(r"^  (\S+)  6 steps$", more, re.MULTILINE) == new
    assert len(re.findall(r"^  \S+  6 steps, finished$", more, re.MULTILINE)) == 4
    assert "\ncpu, " not in call("train", tiny_file, "seeds=2", "--dry-run", "--runs", results).out
    assert sorted(estimated) == sorted(new)
    assert tree(results) == before


def test_time_prints_every_arm_and_writes_the_numbers_to_cost_csv(tmp_path: Path, tiny_file: Path, call: Program):
    answer = call("time", tiny_file, "--runs", tmp_path)
    with (tmp_path / "tiny" / "cost.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert (answer.code, answer.err.strip()) == (0, str(tmp_path / "tiny" / "cost.csv"))
    assert [(row["cell"], row["arm"], row["parameters"]) for row in rows] == [
        ("d4", arm, str(64 * 8 + 8 + 2 * (8 * 8 + 8) + 8 * 10 + 10)) for arm in ("plain", "identity")
    ]
    assert max(map(len, answer.out.splitlines())) <= 80
    for row in rows:
        (line,) = (line for line in answer.out.splitlines() if line.startswith(f"  {row['arm']} "))
        assert f"{1e3 * float(row['step_seconds']):.2f}" in line


def test_with_json_stdout_has_only_json(results: Path, tiny_file: Path, call: Program):
    answer = call("train", tiny_file, "seeds=2", "--json", "--runs", results)
    accuracies = measured_accuracies(results)
    arms = {arm["name"]: arm for arm in json.loads(answer.out)["cells"][0]["arms"]}

    for name, arm in arms.items():
        assert arm["summary"]["mean"] == pytest.approx((accuracies[f"{name}-d4-s0"] + accuracies[f"{name}-d4-s1"]) / 2)
    assert answer.err.startswith("nothing to train: 4 of 4 trials finished")


def test_quiet_prints_only_the_last_line(tmp_path: Path, tiny_file: Path, call: Program):
    answer = call("train", tiny_file, "--quiet", "--runs", tmp_path / "runs")

    assert (answer.code, answer.out) == (0, "")
    assert re.fullmatch(r"2 of 2 trials finished(, \d at chance)?; results in .*\n", answer.err)


def test_fresh_renames_the_existing_experiment_and_starts_over(results: Path, tiny_file: Path, call: Program):
    before = tree(results / "tiny")
    answer = call("train", tiny_file, "network.width=6", "--fresh", "--runs", results)

    assert answer.code == 0
    assert tree(results / "tiny-old-1") == before
    assert runs.read_experiment(results / "tiny").shared.network.width == 6
    assert f"the existing experiment was renamed to {results / 'tiny-old-1'}" in answer.err


def test_a_failed_trial_is_named_with_its_reason_and_the_exit_code_is_1(
    tmp_path: Path, tiny_file: Path, call: Program, monkeypatch: pytest.MonkeyPatch
):
    from resexp import training  # noqa: PLC0415 - only this test needs the module

    train_stack = training.train_stack

    def failing(trials: list[config.Trial], *arguments: Any) -> str:
        if trials[0].arm == "plain":
            raise RuntimeError("out of luck")
        return train_stack(trials, *arguments)

    monkeypatch.setattr(training, "train_stack", failing)
    answer = call("train", tiny_file, "--quiet", "--runs", tmp_path / "runs")

    assert answer.code == 1
    assert answer.err.splitlines()[-1] == "failed: plain-d4-s0: RuntimeError: out of luck"


def test_a_diverged_network_is_a_result_and_the_exit_code_is_0(tmp_path: Path, tiny_file: Path, call: Program):
    recipe = ["training.optimizer=sgd", "training.lr=1e30"]

    assert call("train", tiny_file, *recipe, "--runs", tmp_path / "runs").code == 0
    assert "0/1 (1 diverged)" in call("compare", "--runs", tmp_path / "runs").out


def test_every_summary_names_the_step_at_which_a_network_diverged(tmp_path: Path, tiny_file: Path, call: Program):
    """With SGD at this learning rate the loss is infinite at step 1."""
    folder = tmp_path / "runs"
    recipe = ["network.plain=false", "training.optimizer=sgd", "training.lr=1e30"]
    trained = call("train", tiny_file, *recipe, "--verbose", "--runs", folder).err
    (name,) = (path.parent.name for path in (folder / "tiny").glob("trials/*/result.json"))
    call("report", "--runs", folder)

    assert f"{name}  diverged at step 1\n" in trained
    assert f"1 of 1 trials finished, 1 diverged: {name} at step 1; results in" in trained
    assert f"1 diverged: {name} at step 1" in repr(resexp.load(folder / "tiny"))
    assert f"diverged: {name} at step 1" in call("watch", "--runs", folder).out
    assert "diverged: seed 0 at step 1" in call("compare", "--runs", folder).out
    assert "| diverged: seed 0 at step 1 |" in (folder / "tiny" / "accuracy.md").read_text(encoding="utf-8")
    page = (folder / "tiny" / "report.html").read_text(encoding="utf-8")
    assert f"1 diverged: {name} at step 1" in page
    assert "diverged: seed 0 at step 1" in page


def test_if_all_networks_diverged_dissect_does_not_ask_to_finish_their_training(tmp_path: Path, tiny_file: Path, call: Program):
    recipe = ["training.optimizer=sgd", "training.lr=1e30", "data.validation=8"]
    call("train", tiny_file, *recipe, "--runs", tmp_path)
    answer = call("dissect", "--runs", tmp_path)

    assert answer.code == 2
    assert answer.err.count("diverged at step 1\n") == 2
    assert "finish" not in answer.err
    assert "training.lr" in answer.err.splitlines()[-1]
    with pytest.raises(runs.RunsError, match="diverged at step 1"):
        dissect.load(next(tmp_path.glob("tiny/trials/plain*")), config.load(tiny_file).trials[0], "cpu")


# ---- compare ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [[], ["tiny"]], ids=["the last experiment", "by name"])
def test_compare_shows_both_arms_in_80_columns(source: list[str], trained: tuple[Path, Answer], call: Program):
    answer = call("compare", *source, "--runs", trained[0])
    lines = answer.out.splitlines()

    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, lines)) <= 80
    for arm in ("plain", "identity"):
        values = [100 * value for name, value in measured_accuracies(trained[0]).items() if name.startswith(arm)]
        (line,) = (line for line in lines if line.startswith(f"  {arm} "))
        assert f"{sum(values) / 2:.1f} ± " in line


def test_compare_by_path_gives_the_same_table_in_any_folder(
    trained: tuple[Path, Answer], call: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    assert call("compare", trained[0] / "tiny").out == call("compare", "tiny", "--runs", trained[0]).out


def test_every_format_of_compare_has_the_paired_difference(trained: tuple[Path, Answer], call: Program):
    outputs = {form: call("compare", "--format", form, "--runs", trained[0]).out for form in ("csv", "json", "md", "table")}
    value = measured_accuracies(trained[0])
    expected = sum(value[f"identity-d4-s{seed}"] - value[f"plain-d4-s{seed}"] for seed in (0, 1)) / 2

    table = {row["arm"]: row for row in csv.DictReader(io.StringIO(outputs["csv"]))}
    assert float(table["identity"]["difference"]) == pytest.approx(expected, rel=1e-8)
    arms = {arm["name"]: arm for arm in json.loads(outputs["json"])["cells"][0]["arms"]}
    assert arms["identity"]["difference"]["mean"] == pytest.approx(expected)
    assert arms["identity"]["difference"]["n"] == 2
    for form in ("md", "table"):
        assert f"{100 * expected:+.1f} [" in outputs[form]


def test_compare_of_two_unmatched_experiments_prints_no_difference_and_exits_with_3(
    results: Path, tiny_file: Path, call: Program
):
    without_plain = ["network.plain=false", "network.shortcut=[identity]"]
    call("train", tiny_file, "name=plain", "network.shortcut=[plain]", "--runs", results)
    call("train", tiny_file, "name=other", "training.lr=0.1", *without_plain, "--runs", results)
    refused, allowed = (call("compare", "plain", "other", "--runs", results, *more) for more in ([], ["--allow-unmatched"]))

    assert refused.code == 3
    assert "identity has no matching plain network" in refused.err
    assert "differs in lr 0.001 and 0.1. " in refused.err
    assert "--allow-unmatched" in refused.err
    assert "not compared: the closest plain arm differs in lr 0.001 and 0.1" in refused.out
    assert (allowed.code, allowed.err) == (0, "")
    assert "compared with a plain arm that differs in lr 0.001 and 0.1" in allowed.out


def test_a_report_of_two_experiments_has_the_data_and_the_commands_of_both(results: Path, tiny_file: Path, call: Program):
    call("train", tiny_file, "name=deeper", "network.depth=[8]", "--runs", results)
    answer = call("report", "tiny", "deeper", "--runs", results)
    page = (results / "report.html").read_text(encoding="utf-8")

    assert answer.out.strip() == str(results / "report.html")
    assert page.count("64 training, 144 validation and 359 test images of digits") == 1
    for words in ("tiny + deeper", "name=deeper", "seeds=2", "Results by condition"):
        assert words in page


def test_a_report_of_other_folders_is_written_to_the_current_folder_with_its_figures(
    results: Path, tiny_file: Path, call: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    call("train", tiny_file, "name=deeper", "network.depth=[8]", "--runs", results)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folders = [results / "tiny", results / "deeper"]

    assert call("report", *folders, "--format", "md").out.strip() == "report.md"
    assert call("report", *folders, "-o", "deep/er/all.html", "--figures", "svg", "--charts", "accuracy").code == 0
    assert {path.name for path in Path("deep/er").iterdir()} == {"all.html", "figures"}
    assert Path("deep/er/figures/accuracy.svg").is_file()


# ---- configs and show ------------------------------------------------------------------------------------------------


def test_shipped_configs_are_listed_with_their_questions_in_80_columns(call: Program):
    lines = call("configs", "ls").out.splitlines()
    entries = {line.split()[0]: line for line in lines if not line.startswith(" ")}

    assert list(entries) == list(config.shipped())
    assert max(map(len, lines)) <= 80
    assert all("  " in line for line in entries.values())


def test_show_fits_80_columns_without_images_and_with_a_long_question(call: Program, tmp_path: Path):
    question = " ".join(["why?"] * 30)
    lines = call(
        "show", "cifar10-he2015", f"data.root={tmp_path}", "network.depth=[20]", f"question={question}"
    ).out.splitlines()

    assert max(map(len, lines)) <= 80
    assert question in " ".join(line.strip() for line in lines)
    assert any(line.startswith("no pair summaries: ") for line in lines)


# ---- startup ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["--version"], ["compare", "--runs", "RUNS"]], ids=" ".join
)
def test_commands_that_do_not_train_start_without_torch(arguments: list[str], trained: tuple[Path, Answer]):
    arguments = [str(trained[0]) if argument == "RUNS" else argument for argument in arguments]
    code = "import sys, resexp.cli\ntry: resexp.cli.main()\nexcept SystemExit as end: assert not end.code\n"
    code += "sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_python_m_resexp_runs_the_same_program():
    assert program("--version") == Answer(0, f"resexp {resexp.__version__}\n", "")


# ---- bad input: one line, exit code 2, nothing written ---------------------------------------------------------------

TINY_DATA = "name: x\ndata: {{name: {name}, root: '{root}', image_size: 8}}\nnetwork: {{depth: 4, width: 8}}\n"


def idx(numbers: list[int], *shape: int) -> bytes:
    return struct.pack(f">BBBB{len(shape)}i", 0, 0, 8, len(shape), *shape) + bytes(numbers)


def mnist_folder(root: Path, cut: int) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        images = idx([n % 30 for n in range(30 * 64)], 30, 8, 8)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(images[: len(images) - cut])
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx([n % 10 for n in range(30)], 30))


def image_folder(root: Path, **classes: int) -> None:
    root.mkdir()
    for name, count in classes.items():
        (root / name).mkdir()
        for n in range(count):
            Image.new("RGB", (9, 7), (n, 0, 0)).save(root / name / f"{n}.png")


def with_text_file(root: Path) -> None:
    image_folder(root, cats=5, dogs=5)
    (root / "dogs" / "notes.txt").write_text("good dogs")


class Bad(NamedTuple):
    """An error: text of the config (None: no file), words of the message, overrides, and a function that writes the data."""

    text: str | None
    words: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    data: Callable[[Path], None] | None = None


MNIST = TINY_DATA.replace(", image_size: 8", "").format(name="mnist", root="data")
FOLDER = TINY_DATA.format(name="image-folder", root="data")
RAW = str(Path("data", "MNIST", "raw", "train-images-idx3-ubyte"))

BAD = {
    "a missing config": Bad(None, ("x.yaml: no such file",)),
    "not yaml": Bad("network: {depth: [4\n", ("x.yaml:2", "not valid YAML")),
    "a list": Bad("- 1\n- 2\n", ("x.yaml", "a mapping of keys to values is expected")),
    "not text": Bad("caf\udce9", ("x.yaml", "not a text file")),
    "an unknown key": Bad("netwerk: {}\n", ("x.yaml:1", "netwerk", "unknown key", "did you mean network?")),
    "an unknown inner key": Bad("network:\n  widht: 8\n", ("x.yaml:2", "network.widht", "did you mean width?")),
    "a duplicate key": Bad("seeds: 1\ndevice: cpu\nseeds: 2\n", ("x.yaml:3", "seeds", "appears twice (first in line 1)")),
    "lr that is not a number": Bad("training:\n  lr: 1e-3x\n", ("x.yaml:2", "training.lr", "'1e-3x' must be a number")),
    "lr of 0": Bad("training: {lr: 0}\n", ("training.lr", "greater than 0")),
    "norm: no": Bad("network: {norm: no}\n", ("network.norm", "'no' is not one of none, batch, layer, group")),
    "seeds: 0": Bad("seeds: 0\n", ("x.yaml:1", "seeds", "at least 1")),
    "seeds: [1, 1]": Bad("seeds: [1, 1]\n", ("x.yaml:1", "seeds", "contains seed 1 twice")),
    "a depth that an mlp cannot have": Bad("network: {depth: [4, 7]}\n", ("network.depth", "7", "nearest are 6 and 8")),
    "a depth that a cnn cannot have": Bad(
        "network: {family: cnn, depth: 21}\n", ("network.depth", "21", "nearest are 20 and 26")
    ),
    "width: 0": Bad("network: {width: 0}\n", ("network.width", "0 must be greater than 0")),
    "an unknown shortcut": Bad("network: {shortcut: identiy}\n", ("network.shortcut", "identiy", "did you mean identity?")),
    "an override without a value": Bad("seeds: 1\n", ("write training.lr=VALUE",), ("training.lr",)),
    "an override of an unknown key": Bad("seeds: 1\n", ("override", "training.rl", "did you mean lr?"), ("training.rl=1",)),
    "an absent device": Bad("seeds: 1\n", ("cuda:99 is not on this machine", "cpu"), ("device=cuda:99",)),
    "a batch larger than the data": Bad("seeds: 1\n", ("training.batch_size", "9999"), ("training.batch_size=9999",)),
    "a data root without the files": Bad(MNIST, (RAW, "missing", "under data", "data.root", "data.download=true")),
    "a truncated idx file": Bad(MNIST, (RAW, "damaged"), (), lambda root: mnist_folder(root, 5)),
    "a missing image folder": Bad(FOLDER, ("data: no such folder",)),
    "an image folder with one class": Bad(FOLDER, ("data: one class (cats)",), (), lambda root: image_folder(root, cats=5)),
    "an image folder without classes": Bad(FOLDER, ("data: no class folders",), (), image_folder),
    "an image folder without images": Bad(FOLDER, ("no images",), (), lambda root: image_folder(root, cats=5, dogs=0)),
    "an image folder with a text file": Bad(
        FOLDER, (str(Path("data", "dogs", "notes.txt")), "not an image"), (), with_text_file
    ),
}


def refused(answer: Answer, *words: str, code: int = 2) -> None:
    assert answer.err.startswith("resexp: ")
    assert answer.err.count("\n") == 1
    assert [word for word in words if word not in answer.err] == []
    assert (answer.code, answer.out) == (code, "")


@pytest.mark.parametrize("name", BAD)
def test_an_error_is_one_line_with_exit_code_2_and_writes_nothing(
    name: str, call: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    bad = BAD[name]
    if bad.text is not None:
        Path("x.yaml").write_bytes(bad.text.encode("utf-8", "surrogateescape"))
    if bad.data:
        bad.data(Path("data"))
    before = tree(tmp_path)

    refused(call("train", "x.yaml", *bad.overrides), *bad.words)
    assert tree(tmp_path) == before
    assert not Path("runs").exists()


def test_the_bad_data_folders_have_only_one_problem(call: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name, text, write_data in (("m", MNIST, lambda root: mnist_folder(root, 0)), ("f", FOLDER, with_text_file)):
        write_data(Path("data"))
        Path("x.yaml").write_text(text)
        for file in Path("data").rglob("notes.txt"):
            file.unlink()
        answer = call("train", "x.yaml", f"name={name}", "training.steps=1", "training.batch_size=4", "seeds=1")
        shutil.rmtree("data")

        assert answer.code == 0, answer.err


def test_a_learning_rate_of_1e_minus_3_is_a_number(call: Program, tmp_path: Path):
    (tmp_path / "x.yaml").write_text("training: {lr: [1e-3, 1E-2]}\n")

    assert "plain-d8-lr0.001-s0" in call("train", tmp_path / "x.yaml", "--dry-run").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["train", "."], (".: is a folder",), id="a folder given as config"),
        pytest.param(
            ["train", "digit"], ("digit: neither a file nor a shipped config", "did you mean digits?"), id="a near name"
        ),
        pytest.param(["compare"], ("no experiment yet", "resexp train digits"), id="nothing to compare"),
        pytest.param(["compare", "digits"], ("digits: no experiment with that name",), id="an unknown experiment"),
        pytest.param(["compare", "--format", "xls"], ("--format", "'xls' is not one of table,"), id="an unknown format"),
        pytest.param(["train", "digits", "--jobs", "many"], ("--jobs", "'many' is neither auto nor a number"), id="jobs"),
        pytest.param(["train", "digits", "--jobs", "0"], ("--jobs", "'0' is neither auto nor a number"), id="no jobs"),
        pytest.param(["compare", "--metric", "loss"], ("--metric", "'loss' is not one of test_accuracy,"), id="a metric"),
    ],
)
def test_a_wrong_name_is_one_line_with_exit_code_2(
    arguments: list[str], words: tuple[str, ...], call: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    refused(call(*arguments), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_results_folder_that_cannot_be_written_is_named_before_training(call: Program, tiny_file: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    before = tree(tmp_path)

    refused(call("train", tiny_file, "--runs", tmp_path / "file" / "runs"), str(tmp_path / "file"), "Not a directory")
    assert tree(tmp_path) == before


def test_a_changed_shared_key_of_an_experiment_is_refused_with_another_name_to_use(
    call: Program, tiny_file: Path, results: Path
):
    before = tree(results)

    refused(
        call("train", tiny_file, "training.lr=0.5", "--runs", results), "training.lr was 0.001 and is now 0.5", "name=tiny-2"
    )
    assert tree(results) == before
    assert call("train", tiny_file, "training.lr=0.5", "name=tiny-2", "--runs", results).code == 0
    assert tree(results / "tiny") == {name[5:]: file for name, file in before.items() if name.startswith("tiny/")}


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("train", "experiment.yaml"),
        ("train", "plan.json"),
        ("compare", "experiment.yaml"),
        ("compare", "plan.json"),
    ],
)
def test_a_damaged_file_of_an_experiment_is_named(command: str, file: str, call: Program, tiny_file: Path, results: Path):
    (results / "tiny" / file).write_bytes(b"{")
    arguments = [tiny_file, "seeds=2"] if command == "train" else []

    refused(call(command, *arguments, "--runs", results), str(results / "tiny" / file), "damaged")


@pytest.mark.parametrize(
    ("command", "file", "content"),
    [
        ("compare", "environment.json", "[{}]"),
        ("compare", "plan.json", "{}"),
        ("report", "pairs.json", "[{}]"),
        ("report", "environment.json", '{"a": 1}'),
    ],
)
def test_json_with_other_content_is_named_with_the_remedy(
    command: str, file: str, content: str, call: Program, tiny_file: Path, results: Path
):
    (results / "tiny" / file).write_text(content, encoding="utf-8")
    path = results / "tiny" / file
    refused(call(command, "--runs", results), str(path), "damaged", "train again to rewrite it")


@pytest.mark.parametrize(
    ("command", "content"),
    [*(("compare", content) for content in ("{", "{}", '{"outcome": "above_chance"}', "[]")), ("report", "{"), ("train", "{}")],
)
def test_a_damaged_result_is_named_left_out_of_the_table_and_not_overwritten(
    command: str, content: str, call: Program, tiny_file: Path, results: Path
):
    file = results / "tiny" / "trials" / "plain-d4-s0" / "result.json"
    file.write_text(content, encoding="utf-8")
    answer = call(command, *([tiny_file, "seeds=2"] if command == "train" else []), "--runs", results)

    assert answer.code == 1
    remedies = [line for line in answer.err.splitlines() if str(file) in line and "delete it to retrain its trial" in line]
    assert len(remedies) == 1
    assert file.read_text(encoding="utf-8") == content
    if command == "compare":
        assert re.search(r"plain +1/2 1 damaged", answer.out) or "1 damaged" in answer.out
    file.unlink()
    assert call("train", tiny_file, "seeds=2", "--runs", results).code == 0
    assert call("compare", "--runs", results).code == 0


def test_a_report_names_a_damaged_log_and_covers_the_other_trials(call: Program, results: Path):
    file = results / "tiny" / "trials" / "plain-d4-s0" / "signals.csv"
    file.write_bytes(file.read_bytes().replace(b"1", b"2", 1))
    answer = call("report", "--runs", results)

    assert (answer.code, answer.out.strip()) == (1, str(results / "tiny" / "report.html"))
    assert f"{file}: damaged (changed after its trial had finished)" in answer.err
    assert "1 damaged" in (results / "tiny" / "report.html").read_text(encoding="utf-8")


def test_a_damaged_status_is_rewritten(call: Program, tiny_file: Path, results: Path):
    file = results / "tiny" / "trials" / "plain-d4-s1" / "status.json"
    file.write_bytes(b"{")
    file.with_name("result.json").unlink()
    compared, watched = call("compare", "--runs", results), call("watch", "--runs", results)

    assert (compared.code, watched.code) == (1, 0)
    assert f"{file}: damaged" in compared.err
    assert "1 damaged" in watched.out
    assert call("train", tiny_file, "seeds=2", "--runs", results).code == 0
    assert call("compare", "--runs", results).code == 0


def test_training_again_repairs_files_that_belong_to_no_trial(call: Program, tiny_file: Path, results: Path):
    for file in ("environment.json", "pairs.json"):
        (results / "tiny" / file).write_text('{"a": 1}', encoding="utf-8")

    assert call("train", tiny_file, "seeds=2", "--runs", results).code == 0
    assert call("report", "--runs", results).code == 0
    assert len(runs.launches(results / "tiny")) == 1


def test_an_experiment_that_is_being_trained_is_refused(call: Program, tiny_file: Path, results: Path):
    with runs.lock(results / "tiny"):
        before = tree(results)
        refused(
            call("train", tiny_file, "seeds=2", "--runs", results),
            f"process {os.getpid()} on {platform.node()}", "is training here",
        )  # fmt: skip
        assert tree(results) == before


def test_an_error_in_a_worker_process_is_one_line(tmp_path: Path):
    (tmp_path / "x.yaml").write_text(MNIST)

    refused(program("train", "x.yaml", "--quiet", "--jobs", 1, cwd=tmp_path), RAW, "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------

LONG = ("data.limit=640", "training.steps=400", "training.checkpoint_every=20", "gradients.every=1")


def interrupt(process: subprocess.Popen[str], ready: Callable[[], bool], number: int = signal.SIGINT) -> None:
    """Sends the program and its workers a signal, as a terminal or a queue does, once `ready` is true."""
    while process.poll() is None and not ready():
        time.sleep(0.005)
    os.killpg(process.pid, number)


@pytest.fixture(scope="module")
def uninterrupted(tiny_runs: Callable[..., Path]) -> Path:
    """The results folder of the same training without a signal."""
    return tiny_runs(*LONG)


@pytest.mark.parametrize(
    ("number", "code", "jobs", "other"),
    [
        pytest.param(signal.SIGINT, 130, "1", ["waiting"], id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, "2", ["waiting", "interrupted"], id="SIGTERM, two processes"),
    ],
)
def test_a_signal_stops_after_the_step_and_the_same_command_resumes_to_the_same_bytes(
    number: int, code: int, jobs: str, other: list[str], call: Program, tiny_file: Path, tmp_path: Path, uninterrupted: Path
):
    arguments = ["train", str(tiny_file), *LONG, "--quiet", "--runs", str(tmp_path / "runs")]
    first = tmp_path / "runs" / "tiny" / "trials" / "plain-d4-s0"
    with subprocess.Popen(
        [sys.executable, "-m", "resexp", *arguments, "--jobs", jobs], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        interrupt(process, lambda: runs.status(first).step > 10, number)
        _, err = process.communicate(timeout=60)
    stopped = runs.status(first)

    assert process.returncode == code
    assert (stopped.state, stopped.steps) == ("interrupted", 400)
    assert 10 < stopped.step < 400
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("interrupted; continue with: resexp train ")
    assert runs.status(first.with_name("identity-d4-s0")).state in other

    assert call(*arguments).code == 0
    ignored = ("timing.csv", "status.json", "environment.json")
    resumed, expected = (
        {name: file[0] for name, file in tree(folder).items() if Path(name).name not in ignored}
        for folder in (tmp_path / "runs", uninterrupted)
    )
    assert resumed == expected
    assert {"tiny/plan.json", "tiny/pairs.json", "tiny/accuracy.csv", "tiny/accuracy.md"} < expected.keys()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_second_ctrl_c_kills_a_worker_that_does_not_respond(tiny_file: Path, tmp_path: Path):
    pipe = runs.checkpoint_file(tmp_path / "tiny", "plain-d4-s0")
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)  # the worker waits here indefinitely
    command = [sys.executable, "-m", "resexp", "train", str(tiny_file), "--runs", str(tmp_path), "--jobs", "1", "--quiet"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        interrupt(process, (tmp_path / "tiny" / "pairs.json").exists)
        assert process.stderr
        assert process.stderr.readline() == "stopping after this step; press Ctrl-C again to stop immediately\n"
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)

    assert process.returncode == 130
