"""Reproducing an experiment from its folder: retrained trials, refusals, verdicts and the report."""

import dataclasses
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fabricated
import numpy as np
import pytest
from commands import Answer, Program, tree
from scipy import stats

from resexp import config, executors, reproduction, runs, tables, training
from resexp.config import Experiment
from resexp.reproduction import verdicts

DATA = Path(__file__).parent / "data"
SAME = "environment: no differences\n"


@pytest.fixture
def call(in_process: None, call: Program) -> Program:
    """The program in this process, workers included."""
    return call


@pytest.fixture(scope="module")
def trained(tiny_runs: Callable[..., Path]) -> Path:
    return tiny_runs("seeds=2", "training.stack=2")


@pytest.fixture
def results(trained: Path, tmp_path: Path) -> Path:
    """A results folder with tiny: plain and identity with seed 0 in one stack, those with seed 1 in another."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def rerun_of(results: Path, name: str = "tiny") -> Path:
    return results / "_again" / name


def reproducible_files(folder: Path) -> dict[str, bytes]:
    """Every file that is identical in two trainings of one plan."""
    varying = ("timing.csv", "status.json", "environment.json")
    return {name: content for name, (content, _) in tree(folder).items() if Path(name).name not in varying}


def edit(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def reset(trial: Path) -> None:
    """Removes everything that training has written."""
    for path in trial.iterdir():
        if path.name != "trial.yaml":
            path.unlink()


# ---- the original is not changed -------------------------------------------------------------------------------------------


def test_the_original_is_not_changed_and_remains_the_last_experiment(results: Path, call: Program):
    before = tree(results / "tiny")

    assert call("reproduce", "--quiet", "--runs", results).code == 0
    assert tree(results / "tiny") == before
    assert runs.find(None, results) == results / "tiny"


def test_a_finished_reproduction_is_only_compared_and_nothing_is_written(
    results: Path, call: Program, monkeypatch: pytest.MonkeyPatch
):
    first = call("reproduce", "--quiet", "--runs", results)
    before = tree(results)
    monkeypatch.setattr(executors, "Pool", None)

    assert call("reproduce", "--quiet", "--runs", results) == first
    assert tree(results) == before


def test_comparison_does_not_import_torch(results: Path, call: Program):
    call("reproduce", "--quiet", "--runs", results)
    code = "import sys, resexp.cli\ntry: resexp.cli.main()\nexcept SystemExit as end: assert not end.code\n"
    code += "sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "reproduce", "--runs", str(results)]

    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


# ---- the same plan gives identical bytes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stacks", ["auto", "1", "4"])
def test_the_same_machine_writes_identical_bytes(stacks: str, call: Program, tiny_file: Path, tmp_path: Path):
    call("train", tiny_file, "seeds=2", f"training.stack={stacks}", "--quiet", "--runs", tmp_path)
    answer = call("reproduce", "--verbose", "--runs", tmp_path)

    assert (answer.code, answer.out) == (0, f"tiny: identical: 4 of 4 trials, byte for byte\n\n{SAME}")
    assert sum(line.startswith("identity-d4-s1  epoch ") for line in answer.err.splitlines()) == 3
    assert answer.err.splitlines()[-1].startswith("4 of 4 trials finished")
    assert answer.err.endswith(f"; results in {rerun_of(tmp_path)}\n")
    assert reproducible_files(rerun_of(tmp_path)) == reproducible_files(tmp_path / "tiny")
    assert {"plan.json", "pairs.json", "experiment.yaml", "accuracy.csv", "accuracy.md"} < reproducible_files(
        rerun_of(tmp_path)
    ).keys()


def test_an_experiment_in_another_folder_is_reproduced_here(
    results: Path, call: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere, here = tmp_path / "elsewhere" / "theirs", tmp_path / "here"
    shutil.copytree(results / "tiny", elsewhere)
    here.mkdir()
    before = tree(elsewhere)
    monkeypatch.chdir(here)

    assert call("reproduce", elsewhere, "--quiet").out == f"tiny: identical: 4 of 4 trials, byte for byte\n\n{SAME}"
    assert tree(elsewhere) == before
    assert [path.name for path in here.iterdir()] == ["runs"]
    assert rerun_of(Path("runs"), "theirs").is_dir()

    monkeypatch.chdir(elsewhere)  # '.' has the name of its folder
    assert call("reproduce", ".", "--quiet", "--runs", here / "runs").code == 0
    assert [path.name for path in (here / "runs" / "_again").iterdir()] == ["theirs"]


def test_an_experiment_that_has_gained_and_lost_seeds_is_reproduced_in_its_original_stacks(
    call: Program, tiny_file: Path, tmp_path: Path
):
    for seeds in ("[0, 1]", "[0, 2, 3]"):
        call("train", tiny_file, f"seeds={seeds}", "training.stack=4", "--quiet", "--runs", tmp_path)
    answer = call("reproduce", "--quiet", "--runs", tmp_path)

    plan = runs.read_plan(rerun_of(tmp_path))
    assert plan == runs.read_plan(tmp_path / "tiny")
    assert plan
    assert [(stack.round, len(stack.trials)) for stack in plan.stacks] == [(1, 4), (2, 4)]
    assert answer == (0, f"tiny: identical: 8 of 8 trials, byte for byte\n\n{SAME}", answer.err)  # includes seed 1
    trained, before = (reproducible_files(folder / "trials") for folder in (rerun_of(tmp_path), tmp_path / "tiny"))
    assert trained == before

    lost = tmp_path / "tiny" / "trials" / "plain-d4-s1" / "trial.yaml"
    lost.write_text(lost.read_text(encoding="utf-8").replace("name: plain-d4-s1", "name: plain-d4-s2"), encoding="utf-8")
    refused(call("reproduce", "--runs", tmp_path), str(lost), "damaged")
    lost.unlink()
    refused(call("reproduce", "--runs", tmp_path), str(lost), "missing")


def test_an_edited_question_does_not_affect_the_verdict(results: Path, call: Program):
    file = results / "tiny" / "experiment.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("question: null", "question: Really?"), encoding="utf-8")

    assert call("reproduce", "--quiet", "--runs", results).out.startswith("tiny: identical: 4 of 4 trials")
    assert "Really?" in (rerun_of(results) / "trials" / "plain-d4-s0" / "trial.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("layout", sorted(path.name for path in DATA.iterdir()))
def test_a_folder_of_an_earlier_release_is_reproduced_up_to_rounding(layout: str, call: Program, tmp_path: Path):
    answer = call("reproduce", DATA / layout / "finished", "--quiet", "--runs", tmp_path)

    assert answer.code == 0
    assert re.match("finished: (identical|equal to rounding): 4 of 4 trials", answer.out)


# ---- --trial, resuming, growing --------------------------------------------------------------------------------------------


def test_a_named_trial_is_retrained_with_its_stack_and_the_others_later(results: Path, call: Program):
    one = call("reproduce", "--trial", "plain-d4-s1", "--quiet", "--runs", results)
    before = tree(rerun_of(results) / "trials")
    trained = {path.parent.name for path in rerun_of(results).glob("trials/*/result.json")}

    assert (one.code, one.out) == (0, f"tiny: identical: 2 of 2 trials, byte for byte\n\n{SAME}")
    assert trained == {"plain-d4-s1", "identity-d4-s1"}

    both = call("reproduce", "--quiet", "--runs", results)
    assert both.out == f"tiny: identical: 4 of 4 trials, byte for byte\n\n{SAME}"
    after = tree(rerun_of(results) / "trials")
    assert {name: after[name] for name in before} == before
    assert call("reproduce", "--trial", "plain-d4-s1", "--trial", "plain-d4-s0", "--runs", results).out == both.out
    assert call("reproduce", "--trial", "plain-d4-s0", "--runs", results).out == one.out


def test_a_reproduction_grows_with_its_original(results: Path, tiny_file: Path, call: Program):
    call("reproduce", "--quiet", "--runs", results)
    before = tree(rerun_of(results) / "trials")
    call("train", tiny_file, "seeds=3", "training.stack=2", "--quiet", "--runs", results)

    assert call("reproduce", "--quiet", "--runs", results).out.startswith("tiny: identical: 6 of 6 trials")
    assert {name: file for name, file in tree(rerun_of(results) / "trials").items() if name in before} == before
    assert runs.read_plan(rerun_of(results)) == runs.read_plan(results / "tiny")


@pytest.mark.parametrize("after", [1, 4, 6, 9])
def test_after_a_stop_the_same_command_resumes_to_identical_bytes(
    after: int, results: Path, call: Program, monkeypatch: pytest.MonkeyPatch
):
    checks = 0

    def stop() -> bool:
        nonlocal checks
        checks += 1
        if checks == after:
            signal.raise_signal(signal.SIGTERM)
        return checks == after

    with monkeypatch.context() as patch:
        patch.setattr(training, "never", stop)
        stopped = call("reproduce", "--quiet", "--runs", results)

    assert (stopped.code, stopped.out) == (143, "")
    assert stopped.err.splitlines()[-1] == f"interrupted; continue with: resexp reproduce --quiet --runs {results}"
    assert runs.read_plan(rerun_of(results)) is not None
    assert len(list(rerun_of(results).glob("trials/*/result.json"))) in (0, 2)

    assert call("reproduce", "--quiet", "--runs", results).out.startswith("tiny: identical: 4 of 4 trials")
    assert reproducible_files(rerun_of(results)) == reproducible_files(results / "tiny")


def test_a_stop_before_experiment_yaml_was_written_does_not_prevent_the_next_start(results: Path, call: Program):
    rerun_of(results).mkdir(parents=True)
    shutil.copy(results / "tiny" / "plan.json", rerun_of(results))

    assert call("reproduce", "--quiet", "--runs", results).out.startswith("tiny: identical: 4 of 4 trials")


def test_fresh_archives_an_earlier_reproduction(results: Path, call: Program):
    call("reproduce", "--quiet", "--runs", results)
    before = tree(rerun_of(results))
    answer = call("reproduce", "--fresh", "--quiet", "--runs", results)

    assert answer.out == f"tiny: identical: 4 of 4 trials, byte for byte\n\n{SAME}"
    assert str(rerun_of(results, "tiny-old-1")) in answer.err.splitlines()[0]
    assert tree(rerun_of(results, "tiny-old-1")) == before
    assert len(runs.launches(rerun_of(results))) == 1


# ---- refused, omitted and failed trials ------------------------------------------------------------------------------------


def refused(answer: Answer, *words: str) -> None:
    assert answer.err.startswith("resexp: ")
    assert answer.err.count("\n") == 1
    assert [word for word in words if word not in answer.err] == []
    assert (answer.code, answer.out) == (2, "")


def test_other_images_are_refused_before_anything_is_trained(results: Path, call: Program):
    before = runs.launches(results / "tiny")[-1].data_sha256
    edit(results / "tiny" / "environment.json", lambda starts: starts[-1].update(data_sha256="f" * 64))
    answer = call("reproduce", "--runs", results)

    refused(answer, str(results / "tiny"), "other images", "f" * 64, before, "data.root", "$RESEXP_DATA")
    assert not (results / "_again").exists()


@pytest.mark.parametrize("name", ["plan.json", "experiment.yaml", "environment.json"])
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_missing_or_damaged_record_of_the_training_is_refused(name: str, damage: str, results: Path, call: Program):
    file = results / "tiny" / name
    file.unlink() if damage == "missing" else file.write_text("{", encoding="utf-8")

    refused(call("reproduce", results / "tiny", "--runs", results), "tiny")
    assert not (results / "_again").exists()


def test_a_finished_trial_that_is_not_in_the_plan_is_refused(results: Path, call: Program):
    edit(results / "tiny" / "plan.json", lambda plan: plan["stacks"].pop())

    refused(call("reproduce", "--runs", results), "plan.json", "does not contain identity-d4-s1")


def test_an_experiment_without_finished_trials_is_refused(results: Path, call: Program):
    for trial in (results / "tiny" / "trials").iterdir():
        reset(trial)

    refused(call("reproduce", "--runs", results), f"{results / 'tiny'}: no trial has finished")
    refused(call("reproduce", "--runs", results / "nowhere"), "no experiment yet")


def test_an_unknown_trial_is_refused_with_a_similar_name(results: Path, call: Program):
    refused(
        call("reproduce", "--trial", "plain-d4-s9", "--runs", results),
        "--trial",
        "is not a finished trial",
        "did you mean plain-d4-s",
    )


def test_a_custom_shortcut_is_refused_with_the_reason(tiny_file: Path, call: Program, tmp_path: Path):
    experiment = config.load(tiny_file, ["network.shortcut=[identity, mine]"], shortcuts=None)
    folder = tmp_path / "tiny"
    folder.mkdir()
    runs.begin(experiment, folder, config.make_plan(experiment, "cpu", 2), fabricated.LAUNCH, [])

    refused(call("reproduce", folder, "--runs", tmp_path), "mine is not part of resexp", "add --import")


def test_a_reproduction_is_not_reproduced_in_its_own_folder(results: Path, call: Program):
    call("reproduce", "--quiet", "--runs", results)
    before = tree(results)

    refused(call("reproduce", rerun_of(results), "--fresh", "--runs", results), str(rerun_of(results)), "itself", "--runs")
    assert tree(results) == before
    assert call("reproduce", rerun_of(results), "--quiet", "--runs", results / "more").out.startswith("tiny: identical: 4 of 4")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param(
            ["training.stack=2", "training.lr=0.1"],
            ("training.lr is 0.001 there and 0.1 in the original",),
            id="another learning rate",
        ),
        pytest.param(["training.stack=1"], ("training.stack is 2 there and 1 in the original",), id="another stack size"),
    ],
)
def test_a_reproduction_of_another_experiment_with_that_name_is_not_changed(
    changed: list[str], words: tuple[str, ...], results: Path, tiny_file: Path, call: Program
):
    call("reproduce", "--quiet", "--runs", results)
    call("train", tiny_file, "seeds=2", *changed, "--fresh", "--quiet", "--runs", results)
    before = tree(rerun_of(results))

    refused(
        call("reproduce", "tiny", "--runs", results),
        str(rerun_of(results)),
        "is a reproduction of something else",
        *words,
        "--fresh",
        "--runs",
    )
    assert tree(rerun_of(results)) == before
    assert call("reproduce", "tiny", "--fresh", "--quiet", "--runs", results).out.startswith("tiny: identical: 4 of 4")


def test_a_reproduction_with_another_plan_is_refused_except_with_halved_stacks(results: Path, call: Program):
    original = reproduction.original(results / "tiny")
    runs.begin(original.experiment, rerun_of(results), config.halved(original.plan, "plain-d4-s0"), fabricated.LAUNCH, [])
    plan = reproduction.continued_plan(rerun_of(results), original.experiment, original.plan)
    assert [stack.trials for stack in plan.stacks] == [
        ("plain-d4-s0",), ("identity-d4-s0",), ("plain-d4-s1", "identity-d4-s1")
    ]  # fmt: skip

    (stack,) = [stack for stack in original.plan.stacks if "plain-d4-s0" in stack.trials]
    mixed = stack.model_copy(update={"trials": ("plain-d4-s0", "plain-d4-s1")})
    runs.write_plan(rerun_of(results), original.plan.model_copy(update={"stacks": (mixed,)}))
    refused(call("reproduce", "--runs", results), "plain-d4-s0 is in another stack there", "--fresh")


def test_a_reproduction_in_training_is_refused(results: Path, call: Program):
    with runs.lock(rerun_of(results)):
        refused(call("reproduce", "--runs", results), str(rerun_of(results)), f"process {os.getpid()}", "is training here")


def test_a_damaged_trial_is_named_and_omitted(results: Path, call: Program):
    damaged = results / "tiny" / "trials" / "plain-d4-s1" / "metrics.csv"
    damaged.write_bytes(damaged.read_bytes().replace(b"1", b"2", 1))
    answer = call("reproduce", "--quiet", "--runs", results)

    assert (answer.code, answer.out) == (1, f"tiny: identical: 3 of 3 trials, byte for byte\n\n{SAME}")
    assert f"plain-d4-s1: {damaged}: damaged (changed after" in answer.err.splitlines()[-1]
    assert call("reproduce", "--trial", "plain-d4-s0", "--runs", results).code == 0


def test_missing_weights_of_the_original_are_not_needed(results: Path, call: Program):
    for file in (results / "tiny").glob("trials/*/*.pt"):
        file.unlink()

    assert call("reproduce", "--quiet", "--runs", results).out.startswith("tiny: identical: 4 of 4 trials")


def test_a_trial_that_fails_is_named_and_the_others_are_compared(results: Path, call: Program, monkeypatch: pytest.MonkeyPatch):
    train_stack = training.train_stack

    def fail(trials: list[config.Trial], *arguments: Any) -> str:
        if trials[0].seed == 1:
            raise RuntimeError("out of luck")
        return train_stack(trials, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_stack", fail)
        answer = call("reproduce", "--quiet", "--runs", results)
        assert (answer.code, answer.out) == (1, f"tiny: identical: 2 of 4 trials, byte for byte\n\n{SAME}")
        assert "failed: plain-d4-s1: RuntimeError: out of luck" in answer.err
        none = call("reproduce", "--trial", "plain-d4-s1", "--quiet", "--runs", results)
        assert (none.code, none.out) == (1, f"tiny: different: 0 of 2 trials\n\n{SAME}")

    assert call("reproduce", "--quiet", "--runs", results).code == 0


# ---- another device --------------------------------------------------------------------------------------------------------


def test_a_missing_device_is_refused_and_another_one_can_be_selected(results: Path, call: Program):
    edit(results / "tiny" / "plan.json", lambda plan: plan.update(device="cuda:7"))
    edit(results / "tiny" / "environment.json", lambda starts: starts[-1].update(device="cuda:7", accelerator="a card"))

    refused(call("reproduce", "--runs", results), "cuda:7 is not on this machine")
    assert call("reproduce", "--device", "cpu", "--trial", "plain-d4-s0", "--quiet", "--runs", results).code == 0
    named = call("reproduce", "--quiet", "--runs", results)  # resumes on the device of the first start
    expected = "environment:\n  device: cuda:7, again cpu\n  accelerator: a card, again cpu\n"
    assert (named.code, named.out) == (0, f"tiny: identical: 4 of 4 trials, byte for byte\n\n{expected}")
    assert call("reproduce", "--device", "cpu", "--quiet", "--runs", results).out == named.out

    edit(rerun_of(results) / "plan.json", lambda plan: plan.update(device="mps"))
    refused(call("reproduce", "--device", "cpu", "--runs", results), "mps", "cpu", "--fresh")


# ---- verdicts on fabricated folders ----------------------------------------------------------------------------------------

STEPS = (0, 20, 40)
Losses = Callable[[config.Trial, int], float]


def loss(trial: config.Trial, step: int) -> float:
    return 2.0 / (1 + step)


class Outputs(NamedTuple):
    """The outputs of each trial: values of its result, losses and their steps, bytes of its weights."""

    values: Callable[[config.Trial], dict[str, Any]]
    losses: Losses = loss
    weights: bytes = b"weights"
    steps: tuple[int, ...] = STEPS


def fabricate(runs_dir: Path, outputs: Outputs, *overrides: str) -> tuple[Path, Experiment]:
    """A finished experiment: digits at depth 8 without normalization, plain and identity."""
    one_cell = ["network.depth=8", "network.init=pytorch", "network.norm=none"]
    folder, experiment = fabricated.experiment(runs_dir, lambda _trial: {}, *one_cell, *overrides)
    for trial in experiment.trials:
        logs = runs.trial_folder(folder, trial.name)
        rows = [(step, step // 20, 0.001, outputs.losses(trial, step), 0.5, math.nan, math.nan) for step in outputs.steps]
        runs.append(logs / "metrics.csv", rows)
        (logs / "weights.pt").write_bytes(outputs.weights)
        runs.write_result(logs, {**fabricated.RESULT, "seed": trial.seed, "train_accuracy": 0.5, **outputs.values(trial)})
    return folder, experiment


def compared(tmp_path: Path, before: Outputs, after: Outputs, *overrides: str) -> reproduction.Reproduction:
    folder, experiment = fabricate(tmp_path / "before", before, *overrides)
    return reproduction.compare(folder, fabricate(tmp_path / "after", after, *overrides)[0], experiment)


def arms(result: reproduction.Reproduction) -> dict[str, str]:
    return {arm.name: arm.verdict for arm in result.arms}


def accuracies(plain: list[float], identity: list[float]) -> Callable[[config.Trial], dict[str, Any]]:
    return lambda trial: {"test_accuracy": {"plain": plain, "identity": identity}[trial.arm][trial.seed]}


SEEDS = {"plain": [0.90, 0.92, 0.91], "identity": [0.95, 0.96, 0.97]}
USUAL = Outputs(accuracies(**SEEDS))
ONE_IMAGE = 1 / fabricated.START["images"][2]


def changed(**values: float) -> Callable[[config.Trial], dict[str, Any]]:
    """USUAL except for these values of the plain network with seed 1."""
    return lambda trial: USUAL.values(trial) | (values if trial.name == "plain-d8-s1" else {})


def times(factor: float, from_step: int = 0) -> Losses:
    """Losses that a factor increases from a step on, in the plain network with seed 1."""
    return lambda trial, step: loss(trial, step) * (factor if trial.name == "plain-d8-s1" and step >= from_step else 1)


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        pytest.param(USUAL, "identical", id="identical outputs"),
        pytest.param(USUAL._replace(weights=b"other"), "equal to rounding", id="only the weights differ"),
        pytest.param(USUAL._replace(losses=times(1 + 1e-11)), "identical", id="a difference beyond nine digits"),
        pytest.param(USUAL._replace(losses=times(1 + 0.9e-4)), "equal to rounding", id="losses within the tolerance"),
        pytest.param(USUAL._replace(losses=times(1 + 1.1e-4)), "more", id="losses beyond the tolerance"),
        pytest.param(USUAL._replace(losses=times(1 + 1.1e-4, 40)), "more", id="the last losses beyond the tolerance"),
        pytest.param(USUAL._replace(losses=times(math.nan)), "more", id="a loss that is nan"),
        pytest.param(
            USUAL._replace(values=changed(test_loss=1 + 0.9e-4)), "equal to rounding", id="the test loss within the tolerance"
        ),
        pytest.param(USUAL._replace(values=changed(test_loss=1 + 1.1e-4)), "more", id="the test loss beyond the tolerance"),
        pytest.param(USUAL._replace(values=changed(test_accuracy=0.92 + ONE_IMAGE)), "equal to rounding", id="one image more"),
        pytest.param(USUAL._replace(values=changed(test_accuracy=0.92 - ONE_IMAGE)), "equal to rounding", id="one image less"),
        pytest.param(USUAL._replace(values=changed(test_accuracy=0.92 + 2 * ONE_IMAGE)), "more", id="two images more"),
        pytest.param(USUAL._replace(values=changed(test_accuracy=0.92 - 1.9 * ONE_IMAGE)), "more", id="almost two images less"),
        pytest.param(USUAL._replace(values=changed(steps=19)), "more", id="another number of steps"),
        pytest.param(USUAL._replace(values=changed(outcome="at_chance")), "different", id="another outcome"),
        pytest.param(USUAL._replace(values=changed(best_epoch=2)), "equal to rounding", id="another best epoch"),
    ],
)
def test_a_trial_is_identical_or_equal_to_rounding_or_needs_an_interval(after: Outputs, verdict: str, tmp_path: Path):
    result = compared(tmp_path, USUAL, after, "seeds=3")
    other = "equal to rounding" if after.weights != USUAL.weights else "identical"
    expected = verdict if verdict != "more" else "within the interval"  # the means hardly move

    assert arms(result) == {"plain": expected, "identity": other}
    assert result.verdict == expected


def test_trial_yaml_is_an_input_and_is_not_compared(tmp_path: Path):
    folder, experiment = fabricate(tmp_path / "before", USUAL, "seeds=3")
    later = fabricate(tmp_path / "after", USUAL, "seeds=3", "question=Why?", "data.root=/elsewhere")[0]

    assert reproduction.compare(folder, later, experiment).verdict == "identical"


def test_logs_of_different_length_differ_from_the_first_missing_step_on(tmp_path: Path):
    result = compared(tmp_path, USUAL, USUAL._replace(steps=(0, 20)), "seeds=3")

    repeats = [repeat for arm in result.arms for repeat in arm.repeats]
    assert {(repeat.verdict, repeat.deviation, repeat.differs_from) for repeat in repeats} == {("different", math.inf, 40)}


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (2.0, 2.0, 0.0),
        (2.0, 1.0, 0.5),
        (-1.0, 1.0, 2.0),
        (0.0, 1e-30, 1.0),
        (0.0, 0.0, 0.0),
        (None, None, 0.0),
        (math.nan, None, 0.0),
        (math.inf, math.inf, 0.0),
        (math.inf, 1.0, math.inf),
        (math.nan, 1.0, math.inf),
    ],
)
def test_a_relative_difference_is_relative_to_the_larger_value(a: float | None, b: float | None, expected: float):
    assert verdicts.relative_difference(a, b) == expected
    assert verdicts.relative_difference(b, a) == expected


def prediction_interval(values: list[float]) -> tuple[float, float]:
    """The 95% prediction interval for the mean of as many new values, from the t distribution of scipy."""
    n = len(values)
    return stats.t.interval(0.95, n - 1, np.mean(values), np.std(values, ddof=1) * math.sqrt(1 / n + 1 / n))


def apart(values: dict[str, list[float]]) -> Outputs:
    """Retraining with these accuracies and with losses that differ from the first step on."""
    return Outputs(accuracies(**values), lambda trial, step: loss(trial, step) * (1 + 0.1 * (step > 0)))


def shifted(arm: str, by: float) -> dict[str, list[float]]:
    """The accuracies after those of one arm were shifted, or those of both; then their difference is the same."""
    return {name: [value + by * (arm in (name, "both")) for value in values] for name, values in SEEDS.items()}


@pytest.mark.parametrize(("inside", "verdict"), [(0.999, "within the interval"), (1.001, "different")])
@pytest.mark.parametrize("end", [0, 1])
def test_the_mean_of_a_reproduction_is_compared_with_its_prediction_interval(
    end: int, inside: float, verdict: str, tmp_path: Path
):
    by = (prediction_interval(SEEDS["identity"])[end] - np.mean(SEEDS["identity"])) * inside  # both arms have the same sd
    result = compared(tmp_path, USUAL, apart(shifted("both", by)), "seeds=3")

    assert arms(result) == {"plain": verdict, "identity": verdict}
    (mean, difference) = result.arms[1].intervals
    assert (mean.low, mean.high) == pytest.approx(prediction_interval(SEEDS["identity"]))
    assert difference.rerun == pytest.approx(difference.original)
    assert difference.covered


@pytest.mark.parametrize(("inside", "verdict"), [(0.999, "within the interval"), (1.001, "different")])
def test_a_paired_difference_is_compared_with_its_prediction_interval(inside: float, verdict: str, tmp_path: Path):
    together = {"plain": [0.80, 0.90, 0.95], "identity": [0.85, 0.955, 1.0]}  # seeds differ much more than arms do
    differences = [b - a for a, b in zip(*together.values(), strict=True)]
    low, high = prediction_interval(differences)
    by = (high - np.mean(differences)) * inside
    after = {"plain": together["plain"], "identity": [value + by for value in together["identity"]]}
    result = compared(tmp_path, Outputs(accuracies(**together)), apart(after), "seeds=3")

    assert arms(result) == {"plain": "within the interval", "identity": verdict}
    assert (result.arms[1].intervals[1].low, result.arms[1].intervals[1].high) == pytest.approx((low, high))
    assert result.arms[1].intervals[0].covered


def test_an_identical_residual_arm_is_different_if_its_plain_counterpart_changes_their_difference(tmp_path: Path):
    before = Outputs(accuracies([0.5, 0.6, 0.7], [0.6, 0.7, 0.81]))
    after = Outputs(accuracies([0.53, 0.64, 0.73], [0.6, 0.7, 0.81]), times(1.1))
    result = compared(tmp_path, before, after, "seeds=3")

    assert {repeat.verdict for repeat in result.arms[1].repeats} == {"identical"}
    assert arms(result)["identity"] == "different"


def test_equal_accuracies_have_an_interval_of_one_image_on_each_side(tmp_path: Path):
    before = Outputs(accuracies([0.9] * 3, [0.9] * 3))

    for number, (images, verdict) in enumerate([(0.99, "within the interval"), (1.01, "different")]):
        after = apart({"plain": [0.9 + images * ONE_IMAGE] * 3, "identity": [0.9 + images * ONE_IMAGE] * 3})
        assert arms(compared(tmp_path / str(number), before, after, "seeds=3"))["plain"] == verdict


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_prediction_interval_covers_95_percent_of_random_repetitions(n: int):
    draws = np.random.default_rng(n).normal(0.9, 0.02, size=(4000, n, 2))
    covered = [verdicts.interval("accuracy", [(a, b) for a, b in draw.tolist()], 0.0).covered for draw in draws]

    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors


OUTCOMES = {"+": "above_chance", "0": "at_chance", "d": "diverged"}


def ended(plain: str, accuracy: float) -> Callable[[config.Trial], dict[str, Any]]:
    """Outcomes of the plain networks by seed; a diverged trial has no accuracy."""

    def values(trial: config.Trial) -> dict[str, Any]:
        outcome = OUTCOMES[plain[trial.seed]] if trial.arm == "plain" else "above_chance"
        return {"outcome": outcome, "test_accuracy": None if outcome == "diverged" else accuracy}

    return values


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        pytest.param("000", "000", "within the interval", id="at chance again, with any accuracy"),
        pytest.param("++0", "0++", "within the interval", id="same counts with other seeds"),
        pytest.param("ddd", "ddd", "within the interval", id="diverged again"),
        pytest.param("++0", "+++", "different", id="one more above chance"),
        pytest.param("000", "ddd", "different", id="at chance, then diverged"),
        pytest.param("+++", "d++", "different", id="one diverged"),
    ],
)
def test_if_not_all_trials_are_above_chance_their_outcomes_are_compared(before: str, after: str, verdict: str, tmp_path: Path):
    result = compared(tmp_path, Outputs(ended(before, 0.1)), Outputs(ended(after, 0.9), apart(SEEDS).losses), "seeds=3")

    assert arms(result)["plain"] == verdict
    assert result.arms[0].intervals == ()


def test_an_environment_with_0_images_raises_no_exception(tmp_path: Path):
    folder, experiment = fabricate(tmp_path / "before", USUAL, "seeds=1")
    edit(folder / "environment.json", lambda starts: starts[-1].update(images=[0, 0, 0]))

    assert reproduction.compare(folder, folder, experiment).verdict == "identical"


def test_a_single_seed_has_no_interval(tmp_path: Path):
    result = compared(tmp_path, USUAL, apart(SEEDS), "seeds=1")

    assert arms(result) == {"plain": "different", "identity": "different"}
    assert [arm.intervals for arm in result.arms] == [(), ()]


def test_only_trials_that_finished_in_both_folders_are_compared(tmp_path: Path):
    folder, experiment = fabricate(tmp_path / "before", USUAL, "seeds=3")
    other, _ = fabricate(tmp_path / "after", apart(shifted("plain", 0.001)), "seeds=3")
    reset(other / "trials" / "plain-d8-s2")
    result = reproduction.compare(folder, other, experiment)

    assert result.finished == 6
    assert [len(arm.repeats) for arm in result.arms] == [2, 3]
    assert result.arms[0].intervals[0].original == pytest.approx(0.91)
    assert (result.arms[0].intervals[0].low, result.arms[0].intervals[0].high) == pytest.approx(
        prediction_interval([0.90, 0.92])
    )


def test_an_arm_is_also_compared_with_its_parameter_matched_baseline(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        return {"test_accuracy": 0.9 + 0.01 * trial.seed + 0.001 * len(trial.arm) * trial.seed}

    wide = ["network.shortcut=rezero", "network.plain_width=parameters"]
    result = compared(tmp_path, Outputs(values), Outputs(values, lambda _trial, step: 1.0 + step), "seeds=3", *wide)

    intervals = result.arms[-1].intervals
    assert [interval.quantity for interval in intervals] == ["accuracy", "minus plain", "minus plain-as-rezero"]


# ---- the report ------------------------------------------------------------------------------------------------------------


def text(result: reproduction.Reproduction) -> str:
    return tables.as_lines(tables.reproduced(result, {}))


def test_the_report_lists_verdict_and_values_of_each_arm(tmp_path: Path):
    after = apart({"plain": [0.91, 0.92, 0.92], "identity": [0.75, 0.76, 0.80]})
    result = compared(tmp_path, USUAL, after, "seeds=3")

    assert (
        text(result)
        == """\
digits: different: 6 of 6 trials; 2 arms: 1 within the interval, 1 different

Original and reproduction

  arm       verdict              original, again

d8
  plain     within the interval  losses differ from step 20 on
                                 accuracy 91.0, again 91.7 (87.5 to 94.5)
  identity  different            losses differ from step 20 on
                                 accuracy 96.0, again 77.0 (92.5 to 99.5)
                                 minus plain +5.0, again -14.7 (+1.5 to +8.5)

Means over seeds: accuracies in percent, differences between arms in points.
In parentheses: 95% prediction interval for the mean of a repetition.
2 of 3 means are outside; 1 in 20 is expected by chance.

environment: no differences
"""
    )


@pytest.mark.parametrize(
    ("after", "seeds", "words"),
    [
        pytest.param(USUAL._replace(weights=b"other"), 3, "equal to rounding    only the weights differ", id="weights"),
        pytest.param(
            USUAL._replace(values=changed(slope_end=0.1)), 3, "equal to rounding    losses agree in all digits", id="gradients"
        ),
        pytest.param(USUAL._replace(losses=times(1 + 3e-5)), 3, "equal to rounding    losses agree to 3e-05", id="rounding"),
        pytest.param(USUAL._replace(losses=times(2)), 3, "within the interval  losses differ from step 0 on", id="losses"),
        pytest.param(
            USUAL._replace(values=changed(test_accuracy=0.93)),
            3,
            "within the interval  accuracy 91.0, again 91.3",
            id="accuracy",
        ),
        pytest.param(
            USUAL._replace(losses=lambda trial, step: loss(trial, step) * (1.1 if step == 40 else 1 + 1e-6)),
            3,
            "losses differ from step 40 on",
            id="rounding in earlier steps",
        ),
        pytest.param(apart(SEEDS), 1, "one seed, so no interval", id="one seed"),
        pytest.param(
            Outputs(ended("+d0", 0.5)), 3, "3 above chance, again 1 above chance, 1 at chance, 1 diverged", id="outcomes"
        ),
    ],
)
def test_the_reason_follows_the_verdict(after: Outputs, seeds: int, words: str, tmp_path: Path):
    lines = text(compared(tmp_path, USUAL, after, f"seeds={seeds}"))
    assert " ".join(words.split()) in " ".join(lines.split())


def test_long_names_stay_within_80_columns(tmp_path: Path):
    arm = "network.shortcut=[{stochastic-depth: {survival: 0.123456}}]"

    def values(trial: config.Trial) -> dict[str, Any]:
        return {"test_accuracy": 0.5 + 0.1 * trial.seed}

    result = compared(tmp_path, Outputs(values), Outputs(values, lambda _trial, _step: 9.0), "seeds=3", arm)
    long = dataclasses.replace(result, environment=(("processor", "p" * 45, "q" * 45),))

    assert max(map(len, text(long).splitlines())) <= 80
    assert "stochastic-depth-survival0.123456" in text(long)


def test_a_difference_is_reported_with_exit_code_3(results: Path, call: Program):
    call("reproduce", "--quiet", "--runs", results)
    trial_path = rerun_of(results) / "trials" / "plain-d4-s0"
    values = runs.result(trial_path)
    assert values
    runs.write_result(trial_path, {**values.content, "outcome": "diverged", "test_accuracy": None})
    answer = call("reproduce", "--runs", results)

    assert answer.code == 3
    assert answer.out.startswith("tiny: different: 4 of 4 trials; 2 arms: 1 identical, 1 different\n")
    assert max(map(len, answer.out.splitlines())) <= 80


# ---- the environment -------------------------------------------------------------------------------------------------------


def environments(tmp_path: Path, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    folders = []
    for name, changes in (("before", before), ("after", after)):
        folder, experiment = fabricate(tmp_path / name, USUAL, "seeds=1")
        runs.write_json(folder / "environment.json", [{**fabricated.START, **change} for change in changes])
        folders.append(folder)
    return list(reproduction.compare(*folders, experiment).environment)


def test_environments_with_another_time_command_and_host_have_no_differences(tmp_path: Path):
    ignored = {"time": "2027-01-01T00:00:00+00:00", "command": ["resexp", "reproduce"], "host": "abc", "images": [1, 2, 3]}

    assert environments(tmp_path, [{}], [ignored, {}]) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"data_sha256": "f" * 64}, ("images", "0" * 12, "f" * 12)),
        ({"resexp": "0.2.0"}, ("resexp", "0.1.0", "0.2.0")),
        ({"revision": "abc+"}, ("revision", "-", "abc+")),
        ({"python": "3.13.1"}, ("python", "3.11.0", "3.13.1")),
        ({"packages": {"torch": "2.9.0"}}, ("torch", "2.8.0", "2.9.0")),
        ({"packages": {"torch": "2.8.0", "numpy": "3"}}, ("numpy", "-", "3")),
        ({"system": "Darwin arm64"}, ("system", "Linux x86_64", "Darwin arm64")),
        ({"processor": "another"}, ("processor", "a processor", "another")),
        ({"cores": 64}, ("cores", "2", "64")),
        ({"cores": None}, ("cores", "2", "-")),
        ({"device": "cuda:0"}, ("device", "cpu", "cuda:0")),
        ({"accelerator": "a card"}, ("accelerator", "cpu", "a card")),
        ({"kernels": "AVX2, oneDNN 3.12.0"}, ("kernels", "-", "AVX2, oneDNN 3.12.0")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_only_differences_are_listed(change: dict[str, Any], expected: tuple[str, str, str], tmp_path: Path):
    assert environments(tmp_path, [{}], [change]) == [expected]


def test_images_are_listed_first_and_all_starts_are_included(tmp_path: Path):
    upgraded = {"packages": {"torch": "2.9.0"}, "data_sha256": "f" * 64}

    assert environments(tmp_path, [{}, upgraded], [upgraded]) == [
        ("images", f"{'0' * 12} / {'f' * 12}", "f" * 12), ("torch", "2.8.0 / 2.9.0", "2.9.0"),
    ]  # fmt: skip


def test_stacks_and_threads_are_part_of_the_environment(tmp_path: Path):
    folder, experiment = fabricate(tmp_path / "before", USUAL, "seeds=2", "training.stack=4")
    other, _ = fabricate(tmp_path / "after", USUAL, "seeds=2", "training.stack=4")
    plan = runs.read_plan(other)
    assert plan
    halves = config.halved(plan, plan.stacks[0].name)
    threads = tuple(stack.model_copy(update={"threads": 2}) for stack in halves.stacks)
    runs.write_plan(other, halves.model_copy(update={"stacks": threads}))

    assert list(reproduction.compare(folder, other, experiment).environment) == [
        ("threads", "1", "2"), ("trials in a stack", "4", "2"),
    ]  # fmt: skip
    whole = halves.stacks[0].model_copy(update={"threads": 1})
    runs.write_plan(folder, halves.model_copy(update={"stacks": (whole, *threads[1:])}))
    first = dataclasses.replace(experiment, trials=experiment.trials[:2])
    last = dataclasses.replace(experiment, trials=experiment.trials[2:])
    assert list(reproduction.compare(folder, other, first).environment) == [("threads", "1", "2")]
    assert list(reproduction.compare(folder, other, last).environment) == []
