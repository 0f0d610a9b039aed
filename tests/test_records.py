"""Experiments that were changed from outside: edited config, renamed folder, line endings, Git LFS pointers."""

import json
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import fabricated
import pytest
from commands import Program, files

import resexp
from resexp import config, reproduction, runs, training
from resexp.executors import train_here
from resexp.runs import RunsError

SMALL = ("network.depth=8", "network.norm=none", "network.init=he")


def finished(folder: Path, *overrides: str) -> Path:
    """The folder of digits at depth 8 with 2 seeds and all trials finished."""
    return fabricated.experiment(folder, lambda _: {"test_accuracy": 0.5}, *SMALL, "seeds=2", *overrides)[0]


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "experiment.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def without_digest(folder: Path) -> None:
    """Changes environment.json to the format of early releases."""
    path = folder / "environment.json"
    entries = [
        {key: value for key, value in entry.items() if key != "experiment_sha256"} for entry in json.loads(path.read_text())
    ]
    path.write_text(json.dumps(entries), encoding="utf-8")


# ---- an edited experiment.yaml ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("question: What", "question: Or what"),
        ("seeds: [0, 1]", "seeds: [0, 1, 2]"),
        ("depth: [8]", "depth: [8, 16]"),
        ("  checkpoint_every: 60s", "  checkpoint_every: 5m"),
        ("name: digits\nquestion", "name: renamed\nquestion"),
    ],
)
def test_an_edit_that_changes_no_trained_trial_is_accepted(old: str, new: str, tmp_path: Path):
    folder = finished(tmp_path)
    edit(folder, old, new)

    assert {trial.name for trial in runs.read_experiment(folder).trials} >= {"plain-d8-s0", "identity-d8-s1"}


EDITS = {
    "batch size": ("batch_size: 64", "batch_size: 32", "training.batch_size", 64, 32),
    "learning rate": ("lr: 0.001", "lr: 0.01", "training.lr", 0.001, 0.01),
    "images": ("limit: null", "limit: 500", "data.limit", None, 500),
    "length": ("epochs: 20", "epochs: 40", "training.epochs", 20, 40),
    "an axis of one value": ("width: 64", "width: [64]", "trial names", "identity-d8-s0", "identity-d8-w64-s0"),
}


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("name", EDITS)
def test_an_edit_that_contradicts_trained_trials_is_refused_with_both_values(name: str, recorded: bool, tmp_path: Path):  # noqa: FBT001 - a table's column
    old, new, key, trained, stored = EDITS[name]
    folder = finished(tmp_path)
    if not recorded:
        without_digest(folder)
    runs.read_experiment(folder)
    edit(folder, old, new)

    with pytest.raises(RunsError) as caught:
        runs.read_experiment(folder)
    assert str(folder / "experiment.yaml") in str(caught.value)
    assert f"{key} was {trained} in training and is {stored} in the file" in str(caught.value)
    assert any("edited" in line for line in runs.examine(folder))
    edit(folder, new, old)
    runs.read_experiment(folder)


@pytest.mark.parametrize(
    "command",
    [
        ["compare"], ["compare", "--format", "tex"], ["report"], ["watch"], ["dissect"], ["reproduce"], ["train"], ["time"],
        ["show"], ["probe"], ["export", "tensorboard"],
    ],
)  # fmt: skip
def test_every_command_that_reads_an_experiment_names_the_edit(command: list[str], call: Program, tmp_path: Path):
    finished(tmp_path, "name=mine")
    edit(tmp_path / "mine", "batch_size: 64", "batch_size: 32")
    answer = call(*command, "mine", "--runs", tmp_path)

    assert answer.code == 2
    assert answer.out == ""
    assert "training.batch_size was 64 in training and is 32 in the file" in answer.err
    with pytest.raises(RunsError, match=r"training\.batch_size was 64"):
        resexp.load("mine", runs_dir=tmp_path)


def test_trials_are_read_only_if_experiment_yaml_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, read = finished(tmp_path), list[str]()
    settings = runs.trained_settings
    monkeypatch.setattr(runs.folders, "trained_settings", lambda parent, name: read.append(name) or settings(parent, name))
    runs.read_experiment(folder)
    assert read == []
    edit(folder, "question: What", "question: Or what")
    runs.read_experiment(folder)
    assert len(read) == 1  # one trial of the only cell


def test_damaged_settings_of_a_trial_are_not_evidence_of_an_edit(tmp_path: Path):
    folder = finished(tmp_path)
    without_digest(folder)
    for path in folder.glob("trials/*/trial.yaml"):
        path.write_text(path.read_text(encoding="utf-8").replace("batch_size: 64", "batch_size: 32"), encoding="utf-8")

    runs.read_experiment(folder)
    assert len([line for line in runs.examine(folder) if "trial.yaml" in line]) == 4


def test_edited_settings_of_a_trial_outside_the_experiment_are_not_retrained(tmp_path: Path):
    folder = finished(tmp_path, "training.stack=4")
    fewer = config.load("digits", [*SMALL, "seeds=1", "training.stack=4"])
    runs.begin(fewer, folder, runs.read_plan(folder) or config.make_plan(fewer, "cpu", 2), fabricated.LAUNCH, [])
    assert len(reproduction.original(folder).experiment.trials) == 4
    path = folder / "trials/plain-d8-s1/trial.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("batch_size: 64", "batch_size: 32"), encoding="utf-8")

    with pytest.raises(RunsError, match=r"trial\.yaml: damaged"):
        reproduction.original(folder)


@pytest.mark.parametrize("longer", ["training.epochs=2", "training.steps=8"])
def test_more_epochs_are_refused_with_the_reason_and_a_longer_training_begins_with_the_same_epochs(
    longer: str, tiny: Any, tmp_path: Path, torch_state: None
):
    short, more = tiny("training.epochs=1"), tiny(longer)
    train_here(short, tmp_path / "short")
    train_here(more, tmp_path / "more")
    if longer == "training.epochs=2":
        with pytest.raises(RunsError, match=r"training\.epochs was 1 and is now 2.*optimizer state.*name=short-2"):
            runs.check_unchanged(more, tmp_path / "short")
    for log in (path for path in (tmp_path / "short").glob("trials/*/*.csv") if path.name != "timing.csv"):
        first = log.read_text(encoding="utf-8")
        assert (tmp_path / "more" / log.relative_to(tmp_path / "short")).read_text(encoding="utf-8").startswith(first)


def test_with_a_cosine_schedule_another_length_is_refused_because_of_the_learning_rates(tiny: Any, tmp_path: Path):
    cosine = "training.schedule=cosine"
    runs.begin(tiny(cosine), tmp_path, config.make_plan(tiny(cosine), "cpu", 1), fabricated.LAUNCH, [])
    with pytest.raises(RunsError, match=r"training\.steps was 6 and is now 8.*cosine.*learning rate of every step"):
        runs.check_unchanged(tiny(cosine, "training.steps=8"), tmp_path)


def test_other_settings_are_refused_even_after_experiment_yaml_was_deleted(tmp_path: Path):
    folder = finished(tmp_path)
    before = files(folder)
    (folder / "experiment.yaml").unlink()
    same, other = (config.load("digits", [*SMALL, "seeds=2", *more]) for more in ([], ["training.batch_size=32"]))
    with pytest.raises(RunsError, match=r"training\.batch_size was 64 and is now 32"):
        runs.check_unchanged(other, folder)
    runs.begin(same, folder, config.make_plan(same, "cpu", 2), fabricated.LAUNCH, [])

    assert files(folder) == before


# ---- the folder of an experiment ---------------------------------------------------------------------------------------------


def trained_as(runs_dir: Path, *overrides: str, fresh: bool = False) -> str:
    """The folder in which digits with these overrides would be trained; checks that the experiment has its name."""
    target = runs.target("digits", [*SMALL, *overrides], runs_dir, fresh=fresh)
    assert target.experiment.name == target.folder.name
    assert all(trial.settings.name == target.folder.name for trial in target.experiment.trials)
    return target.folder.name


def test_a_shipped_config_has_its_unnumbered_name_if_that_is_free_or_only_seeds_and_values_are_added(tmp_path: Path):
    assert trained_as(tmp_path, "seeds=1") == "digits"
    finished(tmp_path)

    assert trained_as(tmp_path, "seeds=2") == "digits"
    assert trained_as(tmp_path, "seeds=5") == "digits"
    assert trained_as(tmp_path, "seeds=2", "network.depth=[8, 16]") == "digits"
    assert trained_as(tmp_path, "seeds=2", "question=Why?") == "digits"


@pytest.mark.parametrize(
    "overrides",
    [["seeds=1"], ["seeds=[1, 2]"], ["network.depth=16"], ["training.lr=0.1"], ["network.plain=false"], ["device=cpu"]],
)
def test_an_override_that_narrows_or_changes_an_experiment_gets_the_same_separate_name_each_time(
    overrides: list[str], tmp_path: Path
):
    finished(tmp_path)
    assert trained_as(tmp_path, "seeds=2", *overrides) == "digits-2"
    finished(tmp_path, "name=digits-2", *overrides)
    assert trained_as(tmp_path, "seeds=2", *overrides) == "digits-2"
    assert trained_as(tmp_path, "seeds=2", "training.momentum=0.5", "training.optimizer=sgd") == "digits-3"
    assert trained_as(tmp_path, "seeds=2") == "digits"


def test_a_shipped_config_without_overrides_continues_an_experiment_that_has_grown(tmp_path: Path):
    folder, _ = fabricated.experiment(tmp_path, lambda _: {}, "seeds=7")
    target = runs.target("digits", [], tmp_path)

    assert (target.folder, target.other) == (folder, None)
    assert {trial.seed for trial in target.experiment.trials} == set(range(7))


def test_fresh_selects_the_experiment_that_would_be_continued_and_otherwise_the_unnumbered_name(tmp_path: Path):
    finished(tmp_path)
    assert trained_as(tmp_path, "seeds=2", "training.lr=0.1", fresh=True) == "digits"
    finished(tmp_path, "name=digits-2", "training.lr=0.1")
    assert trained_as(tmp_path, "seeds=2", "training.lr=0.1", fresh=True) == "digits-2"


def test_a_given_name_is_used_and_a_file_keeps_its_name(tiny_file: Path, tmp_path: Path):
    finished(tmp_path)
    finished(tmp_path, "name=tiny")

    assert trained_as(tmp_path, "training.lr=0.1", "name=digits") == "digits"
    assert trained_as(tmp_path, "training.lr=0.1", "name=own") == "own"
    assert runs.target(tiny_file, ["training.lr=0.1"], tmp_path).folder == tmp_path / "tiny"


@pytest.mark.parametrize("source", ["moved", "{}/moved", "{}/moved/experiment.yaml"])
def test_a_renamed_experiment_continues_in_its_new_folder(source: str, tmp_path: Path):
    finished(tmp_path, "name=old").rename(tmp_path / "moved")
    target = runs.target(source.format(tmp_path), ["seeds=3"], tmp_path)

    assert target.folder == tmp_path / "moved"
    assert len(target.experiment.trials) == 6
    runs.check_unchanged(target.experiment, target.folder)
    assert runs.target(source.format(tmp_path), ["name=new"], tmp_path).folder == tmp_path / "new"


def test_the_config_of_an_experiment_elsewhere_is_trained_in_the_given_results_folder(tmp_path: Path):
    source = finished(tmp_path / "there", "name=old") / "experiment.yaml"

    assert runs.target(source, [], tmp_path / "here").folder == tmp_path / "here" / "old"
    assert runs.target(source, [], tmp_path / "there").folder == source.parent
    assert runs.target(source, [], Path("runs")).folder == source.parent


def test_a_shipped_name_means_the_shipped_config_even_if_an_experiment_has_that_name(tmp_path: Path):
    finished(tmp_path)

    assert runs.readable("digits", tmp_path) == "digits"
    assert runs.readable(tmp_path / "digits", tmp_path) == tmp_path / "digits" / "experiment.yaml"


def test_an_override_in_python_returns_its_separate_folder(tmp_path: Path, torch_state: None):
    finished(tmp_path)
    short = ("seeds=1", "training.steps=2", "data.limit=100", "network.width=4", "device=cpu")

    assert resexp.train("digits", *SMALL, *short, runs_dir=tmp_path) == tmp_path / "digits-2"
    assert resexp.train("digits", *SMALL, *short, runs_dir=tmp_path) == tmp_path / "digits-2"
    assert len(runs.read_experiment(tmp_path / "digits").trials) == 4


# ---- the command to continue -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "reproduce"])
def test_the_command_that_an_interrupted_fresh_start_prints_continues_it_and_archives_nothing(
    command: str, call: Program, in_process: None, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    call("train", tiny_file, "--quiet", "--runs", tmp_path)
    call("reproduce", "tiny", "--quiet", "--runs", tmp_path)
    source = tiny_file if command == "train" else "tiny"
    steps = iter([False] * 4)

    def stop() -> bool:
        if next(steps, True):
            signal.raise_signal(signal.SIGTERM)
            return True
        return False

    with monkeypatch.context() as patch:
        patch.setattr(training, "never", stop)
        stopped = call(command, source, "--quiet", "--fresh", "--break-lock", "--runs", tmp_path)
    printed = shlex.split(stopped.err.splitlines()[-1].partition("continue with: ")[2])
    folders = {path.name for path in tmp_path.glob("**/tiny*")}
    before = [files(path) for path in tmp_path.glob("**/tiny-old-1")]

    assert stopped.code == 143
    assert printed == ["resexp", command, str(source), "--quiet", "--runs", str(tmp_path)]
    assert call(*printed[1:]).code == 0
    assert {path.name for path in tmp_path.glob("**/tiny*")} == folders
    assert before == [files(tmp_path / "tiny" if command == "train" else tmp_path / "_again" / "tiny")]


def test_the_recommended_doctor_command_examines_the_damaged_folder(call: Program, tmp_path: Path):
    folder = finished(tmp_path)
    (folder / "trials/plain-d8-s0/metrics.csv").write_text("damaged", encoding="utf-8")
    message = call("compare", folder).err
    command = shlex.split(message[message.index("`") + 1 : message.rindex("`")])

    assert "plain-d8-s0" in call(*command[1:]).out


# ---- line endings ------------------------------------------------------------------------------------------------------------


def to_crlf(folder: Path) -> None:
    """Does what a checkout with core.autocrlf does: every file without a NUL byte gets CR LF line endings."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if b"\0" not in content and path.name != ".gitattributes":
            path.write_bytes(content.replace(b"\n", b"\r\n"))


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("attributes", [True, False])
def test_gitattributes_prevent_git_from_changing_an_experiment(attributes: bool, tmp_path: Path):  # noqa: FBT001 - a table's column
    folder = finished(tmp_path / "here")
    if not attributes:
        (folder / ".gitattributes").unlink()
    git = ["git", "-c", "core.autocrlf=true", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "run"]):
        subprocess.run([*git, "-C", folder.parent, *command], check=True, capture_output=True)
    subprocess.run([*git, "clone", "-q", folder.parent, tmp_path / "there"], check=True, capture_output=True)

    assert (files(tmp_path / "there" / "digits") == files(folder)) is attributes
    assert runs.line_endings_changed(tmp_path / "there" / "digits") is not attributes


@pytest.mark.parametrize("command", ["compare", "report", "watch"])
def test_an_experiment_with_changed_line_endings_is_read_as_before_with_one_remark(command: str, call: Program, tmp_path: Path):
    folder = finished(tmp_path)
    before = call("compare", "--format", "csv", "digits", "--runs", tmp_path).out
    to_crlf(folder)
    answer = call(command, "digits", "--runs", tmp_path)

    assert answer.code == 0
    assert answer.err.count(runs.CHANGED) == 1
    assert f"resexp doctor {folder} --fix" in answer.err
    assert call("compare", "--format", "csv", "digits", "--runs", tmp_path).out == before
    assert len(resexp.load(folder).metrics) == 8


def test_the_doctor_names_changed_line_endings_once_and_restores_every_byte(call: Program, tmp_path: Path):
    folder = finished(tmp_path)
    before = files(folder)
    to_crlf(folder)
    named, fixed = (call("doctor", tmp_path, *option) for option in ([], ["--fix"]))

    assert (named.code, fixed.code) == (0, 0)
    assert named.out.count(runs.CHANGED) == 1
    assert "1 experiment, nothing damaged" in named.out
    assert files(folder) == before
    assert runs.CHANGED not in call("doctor", tmp_path).out


def test_changed_content_is_damage_whatever_its_line_endings(tmp_path: Path):
    folder = finished(tmp_path)
    path = folder / "trials/plain-d8-s0/metrics.csv"
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6").replace(b"\n", b"\r\n"))

    assert [line.partition(": ")[0] for line in runs.examine(folder)] == [str(path)]


def test_an_unfinished_experiment_continues_to_the_same_bytes_after_its_line_endings_were_changed(
    tiny: Any, tmp_path: Path, torch_state: None
):
    experiment = tiny("training.stack=1", "training.checkpoint_every=2")
    train_here(experiment, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "tiny")
    runs.clear(tmp_path / "tiny/trials/identity-d4-s0")
    steps = iter([False] * 4 + [True])
    training.train_stack([experiment.trials[1]], tmp_path / "tiny", "identity-d4-s0", "cpu", lambda: next(steps))
    to_crlf(tmp_path / "tiny")
    train_here(experiment, tmp_path / "tiny")

    assert files(tmp_path / "tiny") == files(tmp_path / "whole")


def test_a_git_lfs_pointer_instead_of_weights_is_recognized(tiny: Any, tmp_path: Path, torch_state: None):
    train_here(tiny(), tmp_path / "tiny")
    path = tmp_path / "tiny/trials/plain-d4-s0/weights.pt"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")

    assert [line for line in runs.examine(tmp_path / "tiny") if "git lfs pull" in line] == runs.examine(tmp_path / "tiny")


# ---- other images ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained", [{}, {"test_accuracy": 0.9}], ids=["nothing trained yet", "trained"])
def test_trained_trials_continue_only_on_the_same_images(trained: dict[str, float], tmp_path: Path):
    folder, experiment = fabricated.experiment(tmp_path, lambda _: trained, "network.depth=8", "seeds=1")
    plan, before = config.make_plan(experiment, "cpu", 2), files(folder)
    launch = fabricated.LAUNCH.model_copy(update={"data_sha256": "f" * 64})

    if trained:
        with pytest.raises(RunsError, match="other images"):
            runs.begin(experiment, folder, plan, launch, [])
    else:
        runs.begin(experiment, folder, plan, launch, [])

    assert files(folder) == before
    assert len(runs.launches(folder)) == (1 if trained else 2)
