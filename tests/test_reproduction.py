"""An experiment trained again from its folder alone: what is trained, what is refused, and what is said of both."""

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
from commands import Answer, Program
from scipy import stats

from resexp import config, executors, reproduction, runs, tables, training
from resexp.config import Experiment
from resexp.reproduction import verdicts

KEPT = Path(__file__).parent / "data"
SAME = "environment: nothing differs\n"


@pytest.fixture
def call(in_process: None, call: Program) -> Program:
    """The program in this process, workers included."""
    return call


@pytest.fixture
def results(call: Program, tiny_file: Path, tmp_path: Path) -> Path:
    """A results folder with tiny: plain and identity of seed 0 in one stack, those of seed 1 in another."""
    assert call("train", tiny_file, "seeds=2", "training.stack=2", "--quiet", "--runs", tmp_path / "runs").code == 0
    return tmp_path / "runs"


def again(results: Path, name: str = "tiny") -> Path:
    return results / "_again" / name


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of change of every file."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def bound_files(folder: Path) -> dict[str, bytes]:
    """Every file that two runs of one plan have in common."""
    free = ("timing.csv", "status.json", "environment.json", ".lock")
    return {name: content for name, (content, _) in tree(folder).items() if Path(name).name not in free}


def edit(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def forget(trial: Path) -> None:
    """As if the trial had never been trained."""
    for path in trial.iterdir():
        if path.name != "trial.yaml":
            path.unlink()


# ---- what must not change --------------------------------------------------------------------------------------------------


def test_the_original_stays_as_it_is_and_remains_the_last_experiment(results: Path, call: Program):
    before = tree(results / "tiny")

    assert call("reproduce", "--quiet", "--runs", results).code == 0
    assert tree(results / "tiny") == before
    assert runs.find(None, results) == results / "tiny"


def test_what_is_finished_again_is_only_compared_and_nothing_is_written(
    results: Path, call: Program, monkeypatch: pytest.MonkeyPatch
):
    first = call("reproduce", "--quiet", "--runs", results)
    before = tree(results)
    monkeypatch.setattr(executors, "Pool", None)

    assert call("reproduce", "--quiet", "--runs", results) == first
    assert tree(results) == before


def test_comparing_alone_does_without_torch(results: Path, call: Program):
    call("reproduce", "--quiet", "--runs", results)
    code = "import sys, resexp.cli\ntry: resexp.cli.main()\nexcept SystemExit as end: assert not end.code\n"
    code += "sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "reproduce", "--runs", str(results)]

    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


# ---- the same plan gives the same bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stacks", ["auto", "1", "4"])
def test_the_same_machine_comes_to_the_same_bytes(stacks: str, call: Program, tiny_file: Path, tmp_path: Path):
    call("train", tiny_file, "seeds=2", f"training.stack={stacks}", "--quiet", "--runs", tmp_path)
    answer = call("reproduce", "--runs", tmp_path)

    assert (answer.code, answer.out) == (0, f"tiny: identical: 4 of 4 trials, byte for byte\n\n{SAME}")
    assert sum(line.startswith("identity-d4-s1  epoch ") for line in answer.err.splitlines()) == 3
    assert answer.err.splitlines()[-1].startswith("4 of 4 trials finished")
    assert answer.err.endswith(f"; results in {again(tmp_path)}\n")
    assert bound_files(again(tmp_path)) == bound_files(tmp_path / "tiny")
    assert {"plan.json", "pairs.json", "experiment.yaml", "accuracy.csv", "accuracy.md"} < bound_files(again(tmp_path)).keys()


def test_a_folder_that_lies_elsewhere_is_trained_again_here(
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
    assert again(Path("runs"), "theirs").is_dir()

    monkeypatch.chdir(elsewhere)  # the name of '.' is that of its folder
    assert call("reproduce", ".", "--quiet", "--runs", here / "runs").code == 0
    assert [path.name for path in (here / "runs" / "_again").iterdir()] == ["theirs"]


def test_an_experiment_that_has_grown_and_lost_seeds_is_trained_in_the_stacks_that_it_had(
    call: Program, tiny_file: Path, tmp_path: Path
):
    for seeds in ("[0, 1]", "[0, 2, 3]"):
        call("train", tiny_file, f"seeds={seeds}", "training.stack=4", "--quiet", "--runs", tmp_path)
    answer = call("reproduce", "--quiet", "--runs", tmp_path)

    plan = runs.read_plan(again(tmp_path))
    assert plan == runs.read_plan(tmp_path / "tiny")
    assert plan
    assert [(stack.round, len(stack.trials)) for stack in plan.stacks] == [(1, 4), (2, 4)]
    assert answer == (0, f"tiny: identical: 8 of 8 trials, byte for byte\n\n{SAME}", answer.err)  # seed 1 trains along
    trained, before = (bound_files(folder / "trials") for folder in (again(tmp_path), tmp_path / "tiny"))
    assert trained == before

    lost = tmp_path / "tiny" / "trials" / "plain-d4-s1" / "trial.yaml"
    lost.write_text(lost.read_text(encoding="utf-8").replace("name: plain-d4-s1", "name: plain-d4-s2"), encoding="utf-8")
    refused(call("reproduce", "--runs", tmp_path), str(lost), "damaged")
    lost.unlink()
    refused(call("reproduce", "--runs", tmp_path), str(lost), "missing")


def test_other_images_folders_and_questions_do_not_count_as_what_is_trained(results: Path, call: Program):
    file = results / "tiny" / "experiment.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("question: null", "question: Really?"), encoding="utf-8")

    assert call("reproduce", "--quiet", "--runs", results).out.startswith("tiny: identical: 4 of 4 trials")
    assert "Really?" in (again(results) / "trials" / "plain-d4-s0" / "trial.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("layout", sorted(path.name for path in KEPT.iterdir()))
def test_the_folder_of_an_earlier_release_comes_out_the_same_but_for_rounding(layout: str, call: Program, tmp_path: Path):
    answer = call("reproduce", KEPT / layout / "finished", "--quiet", "--runs", tmp_path)

    assert answer.code == 0
    assert re.match("finished: (identical|equal to rounding): 4 of 4 trials", answer.out)


# ---- --trial, going on, growing --------------------------------------------------------------------------------------------


def test_a_named_trial_is_trained_with_its_stack_and_the_others_later(results: Path, call: Program):
    one = call("reproduce", "--trial", "plain-d4-s1", "--quiet", "--runs", results)
    before = tree(again(results) / "trials")
    trained = {path.parent.name for path in again(results).glob("trials/*/result.json")}

    assert (one.code, one.out) == (0, f"tiny: identical: 2 of 2 trials, byte for byte\n\n{SAME}")
    assert trained == {"plain-d4-s1", "identity-d4-s1"}

    both = call("reproduce", "--quiet", "--runs", results)
    assert both.out == f"tiny: identical: 4 of 4 trials, byte for byte\n\n{SAME}"
    after = tree(again(results) / "trials")
    assert {name: after[name] for name in before} == before
    assert call("reproduce", "--trial", "plain-d4-s1", "--trial", "plain-d4-s0", "--runs", results).out == both.out
    assert call("reproduce", "--trial", "plain-d4-s0", "--runs", results).out == one.out


def test_a_repetition_grows_with_its_original(results: Path, tiny_file: Path, call: Program):
    call("reproduce", "--quiet", "--runs", results)
    before = tree(again(results) / "trials")
    call("train", tiny_file, "seeds=3", "training.stack=2", "--quiet", "--runs", results)

    assert call("reproduce", "--quiet", "--runs", results).out.startswith("tiny: identical: 6 of 6 trials")
    assert {name: file for name, file in tree(again(results) / "trials").items() if name in before} == before
    assert runs.read_plan(again(results)) == runs.read_plan(results / "tiny")


@pytest.mark.parametrize("after", [1, 4, 6, 9])
def test_told_to_stop_it_stops_and_the_same_command_goes_on_to_the_same_bytes(
    after: int, results: Path, call: Program, monkeypatch: pytest.MonkeyPatch
):
    asked = 0

    def told() -> bool:
        nonlocal asked
        asked += 1
        if asked == after:
            signal.raise_signal(signal.SIGTERM)
        return asked == after

    with monkeypatch.context() as patch:
        patch.setattr(training, "never", told)
        stopped = call("reproduce", "--quiet", "--runs", results)

    assert (stopped.code, stopped.out) == (143, "")
    assert stopped.err.splitlines()[-1] == f"interrupted; continue with: resexp reproduce --quiet --runs {results}"
    assert runs.read_plan(again(results)) is not None
    assert len(list(again(results).glob("trials/*/result.json"))) in (0, 2)

    assert call("reproduce", "--quiet", "--runs", results).out.startswith("tiny: identical: 4 of 4 trials")
    assert bound_files(again(results)) == bound_files(results / "tiny")


def test_a_stop_before_the_experiment_was_written_down_leaves_no_trap(results: Path, call: Program):
    again(results).mkdir(parents=True)
    shutil.copy(results / "tiny" / "plan.json", again(results))

    assert call("reproduce", "--quiet", "--runs", results).out.startswith("tiny: identical: 4 of 4 trials")


def test_fresh_sets_an_older_repetition_aside(results: Path, call: Program):
    call("reproduce", "--quiet", "--runs", results)
    before = tree(again(results))
    answer = call("reproduce", "--fresh", "--quiet", "--runs", results)

    assert answer.out == f"tiny: identical: 4 of 4 trials, byte for byte\n\n{SAME}"
    assert answer.err.splitlines()[0] == f"the earlier reproduction was renamed to {again(results, 'tiny-old-1')}"
    assert tree(again(results, "tiny-old-1")) == before
    assert len(runs.launches(again(results))) == 1


# ---- what is refused, left out, or fails -----------------------------------------------------------------------------------


def refused(answer: Answer, *words: str) -> None:
    assert answer.err.startswith("resexp: ")
    assert answer.err.count("\n") == 1
    assert [word for word in words if word not in answer.err] == []
    assert (answer.code, answer.out) == (2, "")


def test_other_images_are_refused_before_anything_is_trained(results: Path, call: Program):
    before = runs.launches(results / "tiny")[-1]["data_sha256"]
    edit(results / "tiny" / "environment.json", lambda starts: starts[-1].update(data_sha256="f" * 64))
    answer = call("reproduce", "--runs", results)

    refused(answer, str(results / "tiny"), "other images", "f" * 64, before, "data.root", "$RESEXP_DATA")
    assert not (results / "_again").exists()


@pytest.mark.parametrize("name", ["plan.json", "experiment.yaml", "environment.json"])
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_folder_without_what_says_how_it_was_trained_is_refused_by_name(name: str, damage: str, results: Path, call: Program):
    file = results / "tiny" / name
    file.unlink() if damage == "missing" else file.write_text("{", encoding="utf-8")

    refused(call("reproduce", results / "tiny", "--runs", results), "tiny")
    assert not (results / "_again").exists()


def test_a_finished_trial_of_which_the_plan_does_not_know_is_refused(results: Path, call: Program):
    edit(results / "tiny" / "plan.json", lambda plan: plan["stacks"].pop())

    refused(call("reproduce", "--runs", results), "plan.json", "identity-d4-s1 is not in it")


def test_an_experiment_of_which_nothing_is_finished_is_refused(results: Path, call: Program):
    for trial in (results / "tiny" / "trials").iterdir():
        forget(trial)

    refused(
        call("reproduce", "--runs", results), f"{results / 'tiny'}: no trial is finished, so there is nothing to train again"
    )
    refused(call("reproduce", "--runs", results / "nowhere"), "no experiment yet")


def test_a_trial_that_is_not_there_is_refused_with_the_nearest(results: Path, call: Program):
    refused(
        call("reproduce", "--trial", "plain-d4-s9", "--runs", results),
        "--trial",
        "no finished trial",
        "did you mean plain-d4-s",
    )


def test_a_shortcut_of_ones_own_is_refused_with_the_reason(tiny_file: Path, call: Program, tmp_path: Path):
    experiment = config.load(tiny_file, ["network.shortcut=[identity, mine]"], shortcuts=None)
    folder = tmp_path / "tiny"
    folder.mkdir()
    runs.begin(experiment, folder, config.make_plan(experiment, "cpu", 2), fabricated.START, [])

    refused(call("reproduce", folder, "--runs", tmp_path), "mine does not come with resexp", "the program that brought it")


def test_a_repetition_is_not_repeated_onto_itself(results: Path, call: Program):
    call("reproduce", "--quiet", "--runs", results)
    before = tree(results)

    refused(call("reproduce", again(results), "--fresh", "--runs", results), "is itself a reproduction", "--runs")
    assert tree(results) == before
    assert call("reproduce", again(results), "--quiet", "--runs", results / "more").out.startswith("tiny: identical: 4 of 4")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param(
            ["training.stack=2", "training.lr=0.1"], ("training.lr is 0.001 there and 0.1 here",), id="another learning rate"
        ),
        pytest.param(["training.stack=1"], ("training.stack is 2 there and 1 here",), id="other stacks by the config"),
    ],
)
def test_a_repetition_of_something_else_under_that_name_is_left_alone(
    changed: list[str], words: tuple[str, ...], results: Path, tiny_file: Path, call: Program
):
    call("reproduce", "--quiet", "--runs", results)
    call("train", tiny_file, "seeds=2", *changed, "--fresh", "--quiet", "--runs", results)
    before = tree(again(results))

    refused(
        call("reproduce", "tiny", "--runs", results), str(again(results)), "repeats something else", *words, "--fresh", "--runs"
    )
    assert tree(again(results)) == before
    assert call("reproduce", "tiny", "--fresh", "--quiet", "--runs", results).out.startswith("tiny: identical: 4 of 4")


def test_a_repetition_by_another_plan_is_left_alone_but_not_one_whose_stacks_were_halved(results: Path, call: Program):
    found = reproduction.original(results / "tiny")
    runs.begin(found.experiment, again(results), config.halved(found.plan, "plain-d4-s0"), fabricated.START, [])
    whole = reproduction.continued(again(results), found.experiment, found.plan)
    assert [stack.trials for stack in whole.stacks] == [
        ("plain-d4-s0",), ("identity-d4-s0",), ("plain-d4-s1", "identity-d4-s1")
    ]  # fmt: skip

    one = [stack for stack in found.plan.stacks if "plain-d4-s0" in stack.trials]
    mixed = one[0].model_copy(update={"trials": ("plain-d4-s0", "plain-d4-s1")})
    runs.write_plan(again(results), found.plan.model_copy(update={"stacks": (mixed,)}))
    refused(call("reproduce", "--runs", results), "plain-d4-s0 is in another stack there", "--fresh")


def test_a_repetition_that_somebody_trains_is_refused(results: Path, call: Program):
    with runs.lock(again(results)):
        refused(call("reproduce", "--runs", results), str(again(results)), f"process {os.getpid()}", "is training here")


def test_a_damaged_trial_is_named_and_left_out(results: Path, call: Program):
    damaged = results / "tiny" / "trials" / "plain-d4-s1" / "metrics.csv"
    damaged.write_bytes(damaged.read_bytes().replace(b"1", b"2", 1))
    answer = call("reproduce", "--quiet", "--runs", results)

    assert (answer.code, answer.out) == (1, f"tiny: identical: 3 of 3 trials, byte for byte\n\n{SAME}")
    assert answer.err.splitlines()[-1].startswith(f"damaged, left out: plain-d4-s1: {damaged}: damaged (changed since")
    assert call("reproduce", "--trial", "plain-d4-s0", "--runs", results).code == 0


def test_weights_that_were_not_handed_on_are_not_missed(results: Path, call: Program):
    for file in (results / "tiny").glob("trials/*/*.pt"):
        file.unlink()

    assert call("reproduce", "--quiet", "--runs", results).out.startswith("tiny: identical: 4 of 4 trials")


def test_a_trial_that_fails_is_named_and_the_others_are_compared(results: Path, call: Program, monkeypatch: pytest.MonkeyPatch):
    run = training.train_stack

    def unlucky(trials: list[config.Trial], *arguments: Any) -> str:
        if trials[0].seed == 1:
            raise RuntimeError("out of luck")
        return run(trials, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_stack", unlucky)
        answer = call("reproduce", "--quiet", "--runs", results)
        assert (answer.code, answer.out) == (1, f"tiny: identical: 2 of 4 trials, byte for byte\n\n{SAME}")
        assert "failed: plain-d4-s1: RuntimeError: out of luck" in answer.err
        none = call("reproduce", "--trial", "plain-d4-s1", "--quiet", "--runs", results)
        assert (none.code, none.out) == (1, f"tiny: different: 0 of 2 trials\n\n{SAME}")

    assert call("reproduce", "--quiet", "--runs", results).code == 0


# ---- another device --------------------------------------------------------------------------------------------------------


def test_a_device_that_is_not_here_is_refused_and_another_one_may_be_named(results: Path, call: Program):
    edit(results / "tiny" / "plan.json", lambda plan: plan.update(device="cuda:7"))
    edit(results / "tiny" / "environment.json", lambda starts: starts[-1].update(device="cuda:7", accelerator="a card"))

    refused(call("reproduce", "--runs", results), "cuda:7 is not on this machine")
    assert call("reproduce", "--device", "cpu", "--trial", "plain-d4-s0", "--quiet", "--runs", results).code == 0
    named = call("reproduce", "--quiet", "--runs", results)  # goes on as it was begun
    expected = "environment:\n  device: cuda:7, again cpu\n  accelerator: a card, again cpu\n"
    assert (named.code, named.out) == (0, f"tiny: identical: 4 of 4 trials, byte for byte\n\n{expected}")
    assert call("reproduce", "--device", "cpu", "--quiet", "--runs", results).out == named.out

    edit(again(results) / "plan.json", lambda plan: plan.update(device="mps"))
    refused(call("reproduce", "--device", "cpu", "--runs", results), "is trained on mps, not on cpu", "--fresh")


# ---- verdicts, on folders made by hand -------------------------------------------------------------------------------------

STEPS = (0, 20, 40)
Losses = Callable[[config.Trial, int], float]


def loss(trial: config.Trial, step: int) -> float:
    return 2.0 / (1 + step)


class Made(NamedTuple):
    """How every trial came out: what its result says, its losses at which steps, the bytes of its weights."""

    values: Callable[[config.Trial], dict[str, Any]]
    losses: Losses = loss
    weights: bytes = b"weights"
    steps: tuple[int, ...] = STEPS


def made(place: Path, of: Made, *overrides: str) -> tuple[Path, Experiment]:
    """A finished experiment: digits at depth 8 without norm, plain and identity."""
    one = ["network.depth=8", "network.init=pytorch", "network.norm=none"]
    folder, experiment = fabricated.experiment(place, lambda _trial: {}, *one, *overrides)
    for trial in experiment.trials:
        logs = runs.trial_folder(folder, trial.name)
        rows = [(step, step // 20, 0.001, of.losses(trial, step), 0.5, math.nan, math.nan) for step in of.steps]
        runs.append(logs / "metrics.csv", rows)
        (logs / "weights.pt").write_bytes(of.weights)
        runs.write_result(logs, {**fabricated.RESULT, "seed": trial.seed, "train_accuracy": 0.5, **of.values(trial)})
    return folder, experiment


def compare_results(tmp_path: Path, before: Made, after: Made, *overrides: str) -> reproduction.Reproduction:
    folder, experiment = made(tmp_path / "before", before, *overrides)
    return reproduction.compare(folder, made(tmp_path / "after", after, *overrides)[0], experiment)


def arms(found: reproduction.Reproduction) -> dict[str, str]:
    return {arm.name: arm.verdict for arm in found.arms}


def accuracies(plain: list[float], identity: list[float]) -> Callable[[config.Trial], dict[str, Any]]:
    return lambda trial: {"test_accuracy": {"plain": plain, "identity": identity}[trial.arm][trial.seed]}


SEEDS = {"plain": [0.90, 0.92, 0.91], "identity": [0.95, 0.96, 0.97]}
USUAL = Made(accuracies(**SEEDS))
GRAIN = 1 / fabricated.START["images"][2]


def changed(**values: float) -> Callable[[config.Trial], dict[str, Any]]:
    """USUAL but for these, in the plain network of seed 1."""
    return lambda trial: USUAL.values(trial) | (values if trial.name == "plain-d8-s1" else {})


def times(factor: float, from_step: int = 0) -> Losses:
    """Losses of the plain network of seed 1 that are larger by a factor from some step on."""
    return lambda trial, step: loss(trial, step) * (factor if trial.name == "plain-d8-s1" and step >= from_step else 1)


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        pytest.param(USUAL, "identical", id="everything the same"),
        pytest.param(USUAL._replace(weights=b"other"), "equal to rounding", id="only the weights differ"),
        pytest.param(USUAL._replace(losses=times(1 + 1e-11)), "identical", id="what nine digits do not show"),
        pytest.param(USUAL._replace(losses=times(1 + 0.9e-4)), "equal to rounding", id="losses within the tolerance"),
        pytest.param(USUAL._replace(losses=times(1 + 1.1e-4)), "more", id="losses beyond it"),
        pytest.param(USUAL._replace(losses=times(1 + 1.1e-4, 40)), "more", id="the last losses beyond it"),
        pytest.param(USUAL._replace(losses=times(math.nan)), "more", id="a loss that is no number"),
        pytest.param(USUAL._replace(values=changed(test_loss=1 + 0.9e-4)), "equal to rounding", id="the test loss within it"),
        pytest.param(USUAL._replace(values=changed(test_loss=1 + 1.1e-4)), "more", id="the test loss beyond it"),
        pytest.param(USUAL._replace(values=changed(test_accuracy=0.92 + GRAIN)), "equal to rounding", id="one image more"),
        pytest.param(USUAL._replace(values=changed(test_accuracy=0.92 - GRAIN)), "equal to rounding", id="one image less"),
        pytest.param(USUAL._replace(values=changed(test_accuracy=0.92 + 2 * GRAIN)), "more", id="two images more"),
        pytest.param(USUAL._replace(values=changed(test_accuracy=0.92 - 1.9 * GRAIN)), "more", id="almost two images less"),
        pytest.param(USUAL._replace(values=changed(steps=19)), "more", id="another number of steps"),
        pytest.param(USUAL._replace(values=changed(outcome="at_chance")), "different", id="another outcome"),
        pytest.param(USUAL._replace(values=changed(best_epoch=2)), "equal to rounding", id="a tie broken otherwise"),
    ],
)
def test_one_trial_is_the_same_or_rounded_or_needs_its_interval(after: Made, verdict: str, tmp_path: Path):
    found = compare_results(tmp_path, USUAL, after, "seeds=3")
    other = "equal to rounding" if after.weights != USUAL.weights else "identical"
    expected = verdict if verdict != "more" else "within the interval"  # the means hardly move

    assert arms(found) == {"plain": expected, "identity": other}
    assert found.verdict == expected


def test_trial_yaml_goes_in_and_is_not_compared(tmp_path: Path):
    folder, experiment = made(tmp_path / "before", USUAL, "seeds=3")
    later = made(tmp_path / "after", USUAL, "seeds=3", "question=Why?", "data.root=/elsewhere")[0]

    assert reproduction.compare(folder, later, experiment).verdict == "identical"


def test_logs_that_end_elsewhere_are_apart_from_there_on(tmp_path: Path):
    found = compare_results(tmp_path, USUAL, USUAL._replace(steps=(0, 20)), "seeds=3")

    assert {(of.verdict, of.deviation, of.apart) for arm in found.arms for of in arm.repeats} == {("different", math.inf, 40)}


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
def test_a_relative_difference_is_of_the_larger_of_both(a: float | None, b: float | None, expected: float):
    assert verdicts.relative(a, b) == expected
    assert verdicts.relative(b, a) == expected


def scipys(values: list[float]) -> tuple[float, float]:
    """Where the mean of as many new values lies in 95 % of cases, by scipy."""
    n = len(values)
    return stats.t.interval(0.95, n - 1, np.mean(values), np.std(values, ddof=1) * math.sqrt(1 / n + 1 / n))


def apart(values: dict[str, list[float]]) -> Made:
    """Trained again to these accuracies by another course."""
    return Made(accuracies(**values), lambda trial, step: loss(trial, step) * (1 + 0.1 * (step > 0)))


def moved(arm: str, by: float) -> dict[str, list[float]]:
    """The accuracies with those of one arm moved, of plain and identity with both: the difference stays."""
    return {name: [value + by * (arm in (name, "both")) for value in values] for name, values in SEEDS.items()}


@pytest.mark.parametrize(("inside", "verdict"), [(0.999, "within the interval"), (1.001, "different")])
@pytest.mark.parametrize("end", [0, 1])
def test_a_mean_is_held_against_scipys_interval_of_a_repetition(end: int, inside: float, verdict: str, tmp_path: Path):
    by = (scipys(SEEDS["identity"])[end] - np.mean(SEEDS["identity"])) * inside  # both arms have the same sd
    found = compare_results(tmp_path, USUAL, apart(moved("both", by)), "seeds=3")

    assert arms(found) == {"plain": verdict, "identity": verdict}
    (mean, difference) = found.arms[1].intervals
    assert (mean.low, mean.high) == pytest.approx(scipys(SEEDS["identity"]))
    assert difference.again == pytest.approx(difference.before)
    assert difference.covered


@pytest.mark.parametrize(("inside", "verdict"), [(0.999, "within the interval"), (1.001, "different")])
def test_a_paired_difference_is_held_against_its_own_interval(inside: float, verdict: str, tmp_path: Path):
    together = {"plain": [0.80, 0.90, 0.95], "identity": [0.85, 0.955, 1.0]}  # seeds differ much more than arms do
    differences = [b - a for a, b in zip(*together.values(), strict=True)]
    low, high = scipys(differences)
    by = (high - np.mean(differences)) * inside
    after = {"plain": together["plain"], "identity": [value + by for value in together["identity"]]}
    found = compare_results(tmp_path, Made(accuracies(**together)), apart(after), "seeds=3")

    assert arms(found) == {"plain": "within the interval", "identity": verdict}
    assert (found.arms[1].intervals[1].low, found.arms[1].intervals[1].high) == pytest.approx((low, high))
    assert found.arms[1].intervals[0].covered


def test_a_residual_arm_that_is_the_same_is_different_where_its_twin_has_changed_their_difference(tmp_path: Path):
    twins = Made(accuracies([0.5, 0.6, 0.7], [0.6, 0.7, 0.81]))
    after = Made(accuracies([0.53, 0.64, 0.73], [0.6, 0.7, 0.81]), times(1.1))
    found = compare_results(tmp_path, twins, after, "seeds=3")

    assert {of.verdict for of in found.arms[1].repeats} == {"identical"}
    assert arms(found)["identity"] == "different"


def test_equal_accuracies_have_an_interval_of_one_image_either_way(tmp_path: Path):
    before = Made(accuracies([0.9] * 3, [0.9] * 3))

    for number, (images, verdict) in enumerate([(0.99, "within the interval"), (1.01, "different")]):
        after = apart({"plain": [0.9 + images * GRAIN] * 3, "identity": [0.9 + images * GRAIN] * 3})
        assert arms(compare_results(tmp_path / str(number), before, after, "seeds=3"))["plain"] == verdict


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_95_of_100_repetitions_that_are_nothing_but_chance_lie_within(n: int):
    draws = np.random.default_rng(n).normal(0.9, 0.02, size=(4000, n, 2))
    inside = [verdicts.interval("accuracy", [(a, b) for a, b in of.tolist()], 0.0).covered for of in draws]

    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors


OUTCOMES = {"t": "above_chance", "s": "at_chance", "d": "diverged"}


def ended(plain: str, accuracy: float) -> Callable[[config.Trial], dict[str, Any]]:
    """Outcomes of plain by seed; a diverged trial has no accuracy."""

    def values(trial: config.Trial) -> dict[str, Any]:
        outcome = OUTCOMES[plain[trial.seed]] if trial.arm == "plain" else "above_chance"
        return {"outcome": outcome, "test_accuracy": None if outcome == "diverged" else accuracy}

    return values


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        pytest.param("sss", "sss", "within the interval", id="stuck again, at whatever accuracy"),
        pytest.param("tts", "stt", "within the interval", id="as many, of other seeds"),
        pytest.param("ddd", "ddd", "within the interval", id="diverged again"),
        pytest.param("tts", "ttt", "different", id="one more trained"),
        pytest.param("sss", "ddd", "different", id="stuck, then diverged"),
        pytest.param("ttt", "dtt", "different", id="one diverged"),
    ],
)
def test_where_not_all_trained_the_outcomes_are_the_result(before: str, after: str, verdict: str, tmp_path: Path):
    found = compare_results(tmp_path, Made(ended(before, 0.1)), Made(ended(after, 0.9), apart(SEEDS).losses), "seeds=3")

    assert arms(found)["plain"] == verdict
    assert found.arms[0].intervals == ()


def test_images_that_no_environment_can_have_had_break_nothing(tmp_path: Path):
    folder, experiment = made(tmp_path / "before", USUAL, "seeds=1")
    edit(folder / "environment.json", lambda starts: starts[-1].update(images=[0, 0, 0]))

    assert reproduction.compare(folder, folder, experiment).verdict == "identical"


def test_a_single_seed_has_no_interval(tmp_path: Path):
    found = compare_results(tmp_path, USUAL, apart(SEEDS), "seeds=1")

    assert arms(found) == {"plain": "different", "identity": "different"}
    assert [arm.intervals for arm in found.arms] == [(), ()]


def test_only_trials_that_are_finished_twice_are_compared(tmp_path: Path):
    folder, experiment = made(tmp_path / "before", USUAL, "seeds=3")
    other, _ = made(tmp_path / "after", apart(moved("plain", 0.001)), "seeds=3")
    forget(other / "trials" / "plain-d8-s2")
    found = reproduction.compare(folder, other, experiment)

    assert found.finished == 6
    assert [len(arm.repeats) for arm in found.arms] == [2, 3]
    assert found.arms[0].intervals[0].before == pytest.approx(0.91)
    assert (found.arms[0].intervals[0].low, found.arms[0].intervals[0].high) == pytest.approx(scipys([0.90, 0.92]))


def test_a_second_control_is_a_twin_too(tmp_path: Path):
    def values(trial: config.Trial) -> dict[str, Any]:
        return {"test_accuracy": 0.9 + 0.01 * trial.seed + 0.001 * len(trial.arm) * trial.seed}

    wide = ["network.shortcut=rezero", "network.plain_width=parameters"]
    found = compare_results(tmp_path, Made(values), Made(values, lambda _trial, step: 1.0 + step), "seeds=3", *wide)

    assert [of.what for of in found.arms[-1].intervals] == ["accuracy", "minus plain", "minus plain-as-rezero"]


# ---- what is said ----------------------------------------------------------------------------------------------------------


def text(found: reproduction.Reproduction) -> str:
    return "\n".join(tables.fitted(reproduction.lines(found)))


def test_verdicts_are_said_arm_by_arm_with_their_figures(tmp_path: Path):
    after = apart({"plain": [0.91, 0.92, 0.92], "identity": [0.75, 0.76, 0.80]})
    found = compare_results(tmp_path, USUAL, after, "seeds=3")

    assert (
        text(found)
        == """\
digits: different: 6 of 6 trials, of 2 arms 1 within the interval, 1 different

d8
  plain     within the interval  losses apart from step 20 on
                                 accuracy 91.0, again 91.7 (87.5 to 94.5)
  identity  different            losses apart from step 20 on
                                 accuracy 96.0, again 77.0 (92.5 to 99.5)
                                 minus plain +5.0, again -14.7 (+1.5 to +8.5)

Accuracies in percent; in brackets where 95 % of repetitions have their mean.
2 of 3 are missed; one in twenty is by chance.

environment: nothing differs"""
    )


@pytest.mark.parametrize(
    ("after", "seeds", "words"),
    [
        pytest.param(USUAL._replace(weights=b"other"), 3, "equal to rounding    all but the weights", id="weights"),
        pytest.param(
            USUAL._replace(values=changed(slope_end=0.1)), 3, "equal to rounding    losses to the last digit", id="readings"
        ),
        pytest.param(USUAL._replace(losses=times(1 + 3e-5)), 3, "equal to rounding    losses to 3e-05", id="rounding"),
        pytest.param(USUAL._replace(losses=times(2)), 3, "within the interval  losses apart from step 0 on", id="apart"),
        pytest.param(
            USUAL._replace(values=changed(test_accuracy=0.93)),
            3,
            "within the interval  accuracy 91.0, again 91.3",
            id="alike until tested",
        ),
        pytest.param(
            USUAL._replace(losses=lambda trial, step: loss(trial, step) * (1.1 if step == 40 else 1 + 1e-6)),
            3,
            "losses apart from step 40 on",
            id="rounding at first",
        ),
        pytest.param(apart(SEEDS), 1, "one seed, no interval", id="one seed"),
        pytest.param(Made(ended("tds", 0.5)), 3, "3 trained, again 1 trained, 1 stuck, 1 diverged", id="outcomes"),
    ],
)
def test_the_reason_stands_beside_the_verdict(after: Made, seeds: int, words: str, tmp_path: Path):
    assert words in text(compare_results(tmp_path, USUAL, after, f"seeds={seeds}"))


def test_long_names_stay_within_80_columns(tmp_path: Path):
    arm = "network.shortcut=[{stochastic-depth: {survival: 0.123456}}]"

    def values(trial: config.Trial) -> dict[str, Any]:
        return {"test_accuracy": 0.5 + 0.1 * trial.seed}

    found = compare_results(tmp_path, Made(values), Made(values, lambda _trial, _step: 9.0), "seeds=3", arm)
    long = dataclasses.replace(found, environment=(("processor", "p" * 45, "q" * 45),))

    assert max(map(len, text(long).splitlines())) <= 80
    assert "stochastic-depth-survival0.123456" in text(long)


def test_a_difference_is_said_by_the_program_with_code_3(results: Path, call: Program):
    call("reproduce", "--quiet", "--runs", results)
    place = again(results) / "trials" / "plain-d4-s0"
    done = runs.result(place)
    assert done
    runs.write_result(place, {**done, "outcome": "diverged", "test_accuracy": None})
    answer = call("reproduce", "--runs", results)

    assert answer.code == 3
    assert answer.out.startswith("tiny: different: 4 of 4 trials, of 2 arms 1 identical, 1 different\n")
    assert max(map(len, answer.out.splitlines())) <= 80


# ---- the environment -------------------------------------------------------------------------------------------------------


def environments(tmp_path: Path, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    folders = []
    for name, changes in (("before", before), ("after", after)):
        folder, experiment = made(tmp_path / name, USUAL, "seeds=1")
        runs.write_json(folder / "environment.json", [{**fabricated.START, **change} for change in changes])
        folders.append(folder)
    return list(reproduction.compare(*folders, experiment).environment)


def test_equal_environments_differ_in_nothing_whatever_the_time_the_command_and_the_host(tmp_path: Path):
    free = {"time": "2027-01-01T00:00:00+00:00", "command": ["resexp", "reproduce"], "host": "abc", "images": [1, 2, 3]}

    assert environments(tmp_path, [{}], [free, {}]) == []


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
def test_what_differs_is_listed_and_nothing_else(change: dict[str, Any], expected: tuple[str, str, str], tmp_path: Path):
    assert environments(tmp_path, [{}], [change]) == [expected]


def test_images_come_first_and_every_start_counts(tmp_path: Path):
    upgraded = {"packages": {"torch": "2.9.0"}, "data_sha256": "f" * 64}

    assert environments(tmp_path, [{}, upgraded], [upgraded]) == [
        ("images", f"{'0' * 12} / {'f' * 12}", "f" * 12), ("torch", "2.8.0 / 2.9.0", "2.9.0"),
    ]  # fmt: skip


def test_stacks_and_threads_belong_to_the_environment(tmp_path: Path):
    folder, experiment = made(tmp_path / "before", USUAL, "seeds=2", "training.stack=4")
    other, _ = made(tmp_path / "after", USUAL, "seeds=2", "training.stack=4")
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
