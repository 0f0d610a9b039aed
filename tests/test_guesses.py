"""`resexp train --predict`: guesses before training, stored, and printed next to the measured answers."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabricated
import pytest
import write_faults
from commands import Answer, Program, files

from resexp import comparison, config, runs
from resexp.runs import Guess, GuessKind
from resexp.tables import guess_table, question_text

ASKED = ["network.init=[pytorch,he]"]


@pytest.fixture
def ask(
    call: Program, in_process: None, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Answer]:
    """Trains tiny.yaml with --predict and these lines on stdin, which may be a terminal."""

    def train(text: str, *arguments: object, terminal: bool = False) -> Answer:
        stdin = io.StringIO(text)
        monkeypatch.setattr(stdin, "isatty", lambda: terminal)
        monkeypatch.setattr(sys, "stdin", stdin)
        return call("train", tiny_file, "--predict", "--runs", tmp_path / "runs", *ASKED, *arguments)

    return train


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "tiny"


# ---- the questions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "overrides", "cells", "arm"),
    [
        ("lesson", [], ["d64 init-pytorch", "d64 init-pytorch", "d64 init-he"], "identity"),
        ("digits", [], ["d64 norm-none init-pytorch"] * 2 + ["d64 norm-layer init-identity"], "identity"),
        ("digits", ["init=he", "norm=none", "depth=8", "shortcut=gate,identity"], ["d8"] * 3, "gate"),
    ],
)
def test_the_questions_are_about_the_deepest_networks_of_the_first_and_the_last_condition(name, overrides, cells, arm):
    experiment = config.load(name, overrides)
    questions = comparison.questions(experiment)
    deepest = max(trial.settings.network.depth for trial in experiment.trials)

    assert [question.kind for question in questions] == list(GuessKind)
    assert {question.arm for question in questions} == {arm}
    assert {question.depth for question in questions} == {deepest}
    assert all(str(deepest) in question_text(question, experiment) for question in questions)
    assert [question.cell for question in questions] == cells


@pytest.mark.parametrize("name", config.shipped())
def test_every_shipped_config_has_questions(name):
    experiment = config.load(name)
    texts = [question_text(question, experiment) for question in comparison.questions(experiment)]

    assert len(set(texts)) == 3
    assert all(text.endswith("?") for text in texts)


# ---- asking ---------------------------------------------------------------------------------------------------------------


def test_answers_are_stored_before_training_and_printed_next_to_the_measured_ones(ask, folder: Path, call: Program):
    first = ask("yes\n2\n-3,5\n")
    again = call("train", folder)
    reported = call("report", folder, "-o", "-", "--format", "md")

    assert [guess.guess for guess in runs.guesses(folder)] == ["yes", "stable", -3.5]
    assert [guess.cell for guess in runs.guesses(folder)] == ["d4 init-pytorch", "d4 init-pytorch", "d4 init-he"]
    for answer in (first, again):
        assert answer.code == 0
        assert all(guess.question in " ".join(answer.out.split()) for guess in runs.guesses(folder))
        assert "-3.5 points" in answer.out
    assert "-3.5 points" in reported.out
    assert max(map(len, first.out.splitlines())) <= 80


def test_guesses_do_not_change_a_bit_of_the_training(ask, call: Program, folder: Path, tiny_file: Path, tmp_path: Path):
    ask("yes\n2\n-3,5\n")
    call("train", tiny_file, "--runs", tmp_path / "other", *ASKED)
    guessed, plain = files(folder), files(tmp_path / "other" / "tiny")

    assert {name for name in guessed.keys() | plain.keys() if guessed.get(name) != plain.get(name)} == {
        "guesses.json",
        "accuracy.md",
    }


def test_an_experiment_is_asked_about_once(ask, folder: Path):
    ask("yes\n2\n5\n")
    before = (folder / "guesses.json").read_bytes()
    answer = ask("", "seeds=2")

    assert answer.code == 0
    assert "?" not in answer.err
    assert (folder / "guesses.json").read_bytes() == before


def test_a_fresh_experiment_is_asked_about_again(ask, folder: Path):
    ask("yes\n2\n5\n")
    ask("no\n1\n6\n", "--fresh")

    assert [guess.guess for guess in runs.guesses(folder)] == ["no", "vanishing", 6.0]
    assert [guess.guess for guess in runs.guesses(folder.with_name("tiny-old-1"))] == ["yes", "stable", 5.0]


@pytest.mark.parametrize(
    ("text", "question"),
    [("", 1), ("yes\n", 2), ("maybe\n", 1), ("3\n", 1), ("yes\nstable\nnan\n", 3), ("yes\nstable\n101\n", 3), ("\n", 1)],
)
def test_a_missing_or_invalid_line_is_an_error_of_one_line_and_nothing_is_trained(ask, folder: Path, text: str, question: int):
    answer = ask(text)

    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith(f"resexp: --predict, question {question}: ")
    assert not folder.exists()


def test_a_terminal_may_answer_again(ask, folder: Path):
    answer = ask("maybe\nYES\nstable\nmany\n1e2\n", terminal=True)

    assert answer.code == 0
    assert [guess.guess for guess in runs.guesses(folder)] == ["yes", "stable", 100.0]
    assert "'maybe' is not one of yes, no" in answer.err


def test_ctrl_d_on_a_terminal_ends_the_command(ask, folder: Path):
    answer = ask("maybe\n", terminal=True)

    assert answer.code == 2
    assert "question 1" in answer.err.splitlines()[-1]
    assert not folder.exists()


@pytest.mark.parametrize("stdin", [None, "bytes"])
def test_input_that_is_closed_or_not_text_is_an_error_of_one_line(
    call: Program, tiny_file: Path, tmp_path: Path, monkeypatch, stdin
):
    monkeypatch.setattr(sys, "stdin", stdin and io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="utf-8"))
    answer = call("train", tiny_file, "--predict", "--runs", tmp_path / "runs")

    assert answer.code == 2
    assert "question 1" in answer.err.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_at_a_question_trains_nothing(ask, folder: Path, monkeypatch: pytest.MonkeyPatch):
    class Interrupted(io.StringIO):
        def readline(self, _size: int = -1) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr(io, "StringIO", Interrupted)
    answer = ask("")

    assert answer.code == 130
    assert "question 1" in answer.err.splitlines()[-1]
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["network.shortcut=plain"], "pair"),
        (["network.plain=false"], "pair"),
        (["gradients.probes=[gradient_norm]"], "gradients.probes"),
        (["--shard", "1/2"], "--shard"),
    ],
)
def test_an_experiment_without_an_answer_is_refused_in_one_line(ask, folder: Path, arguments: list[str], word: str):
    answer = ask("yes\n2\n5\n", *arguments)

    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert answer.err.startswith("resexp: --predict: ")
    assert word in answer.err
    assert not folder.exists()


def test_a_guess_after_training_is_refused(ask, call: Program, folder: Path, tiny_file: Path, tmp_path: Path):
    call("train", tiny_file, "--runs", tmp_path / "runs", *ASKED)
    answer = ask("yes\n2\n5\n")

    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert not (folder / "guesses.json").exists()


def test_a_dry_run_asks_nothing(ask, folder: Path):
    answer = ask("", "--dry-run")

    assert answer.code == 0
    assert not folder.exists()


def test_a_full_disk_is_named_before_training(ask, folder: Path, tmp_path: Path):
    fault = write_faults.Fault(tmp_path / "runs", tmp_path / "log", at=1)
    with write_faults.applied(fault):
        answer = ask("yes\n2\n5\n")

    assert answer.code == 1
    assert fault.reason in answer.err.splitlines()[-1]
    assert not (folder / "experiment.yaml").exists()


def test_damaged_guesses_are_named_before_training_and_by_doctor(ask, folder: Path):
    folder.mkdir(parents=True)
    (folder / "guesses.json").write_text('[{"kind": "weather"}]', encoding="utf-8")
    answer = ask("yes\n2\n5\n")

    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "guesses.json: damaged" in answer.err
    assert any("guesses.json" in line for line in runs.examine(folder))


# ---- the answers ----------------------------------------------------------------------------------------------------------

ACCURACIES = {"plain": 0.10, "identity": 0.95}


def values(trial: config.Trial) -> dict[str, Any]:
    at_chance = trial.arm == "plain"
    outcome = {"outcome": "at_chance"} if at_chance else {}
    return {"test_accuracy": ACCURACIES[trial.arm] + 0.01 * trial.seed, "slope_start": -0.5, **outcome}


def guessed(runs_dir: Path, name: str, *answers: str | float, values: fabricated.Values = values) -> Path:
    """A finished experiment with these guesses."""
    made, experiment = fabricated.experiment(runs_dir, values, f"name={name}", "seeds=2", "norm=none", "init=he")
    records = [
        Guess(
            kind=question.kind, cell=question.cell, arm=question.arm, question=question_text(question, experiment), guess=guess
        )
        for question, guess in zip(comparison.questions(experiment), answers, strict=True)
    ]
    runs.write_json(made / "guesses.json", [record.content for record in records])
    return made


def rows(*folders: Path) -> list[comparison.GuessedQuestion]:
    return comparison.guessed_questions(runs.read_results(folders))


def test_measured_answers_are_those_of_the_results(tmp_path: Path):
    above, gradients, difference = rows(guessed(tmp_path, "one", "yes", "stable", 20))

    assert (above.measured, above.above_chance, above.seeds) == ("no", 0, 2)
    assert (gradients.measured, gradients.growth) == ("vanishing", pytest.approx(-0.5 * 31))
    assert (difference.measured, difference.seeds) == (pytest.approx(85.0), 2)


def test_guesses_of_several_folders_are_counted_together(tmp_path: Path):
    answers = [("yes", "stable", 20), ("no", "stable", -5), ("no", "vanishing", 90)]
    folders = [guessed(tmp_path, f"student-{number}", *answer) for number, answer in enumerate(answers)]
    results = runs.read_results(folders)
    table = guess_table(comparison.compare_results(results))
    texts = [table.columns[0].text(row) for row in table.rows]

    assert texts == ["1 yes, 2 no", "1 vanishing, 2 stable", "median +20 points (-5 to +90), n = 3"]
    assert [row.seeds for row in table.rows] == [2, 2, 2]


def test_guesses_about_other_settings_are_another_question(tmp_path: Path):
    first = guessed(tmp_path / "a", "one", "yes", "stable", 20)
    second, _ = fabricated.experiment(tmp_path / "b", values, "name=two", "seeds=2", "norm=none", "init=he", "lr=0.1")
    (second / "guesses.json").write_bytes((first / "guesses.json").read_bytes())

    assert [row.guesses for row in rows(first, second)] == [("yes",), ("stable",), (20.0,)] * 2


@pytest.mark.parametrize("missing", ["all", "plain"])
def test_an_unfinished_experiment_has_no_measured_answer(tmp_path: Path, missing: str):
    made = guessed(
        tmp_path, "one", "yes", "stable", 20, values=lambda trial: {} if missing in ("all", trial.arm) else values(trial)
    )

    assert [row.measured for row in rows(made)] == [None, None, None]


def test_outcomes_that_differ_have_no_single_answer(tmp_path: Path):
    def mixed(trial: config.Trial) -> dict[str, Any]:
        return {**values(trial), "outcome": "above_chance" if trial.seed else "diverged", "slope_start": None}

    above, gradients, _ = rows(guessed(tmp_path, "one", "yes", "stable", 20, values=mixed))

    assert (above.measured, above.above_chance, above.seeds) == (None, 1, 2)
    assert gradients.measured is None


def test_compare_prints_the_guesses_also_as_json(tmp_path: Path, call: Program):
    made = guessed(tmp_path, "one", "yes", "stable", 20)
    text, document = call("compare", made).out, json.loads(call("compare", made, "--json").out)

    assert "+20 points" in text
    assert [row["guesses"] for row in document["tables"]["guesses"]] == [["yes"], ["stable"], [20.0]]
    assert [row["measured"] for row in document["tables"]["guesses"]] == ["no", "vanishing", pytest.approx(85.0)]


def test_without_guesses_there_is_no_table(tmp_path: Path):
    made, _ = fabricated.experiment(tmp_path, values, "seeds=1")

    assert rows(made) == []
