"""`resexp train --predict`: asks for guesses before training."""

import sys
from pathlib import Path

from resexp import runs
from resexp.cli.program import fail, log
from resexp.config import ConfigError, Experiment

WHERE = "--predict"
MAX_CHARACTERS = 200  # of an answer
LIMIT = 100.0  # points by which accuracies can differ
POINTS = f"a number from -{LIMIT:g} to {LIMIT:g}; negative: lower with the shortcut"
INTERRUPTED = 130


def asked(experiment: Experiment, folder: Path, *, predict: bool, fresh: bool) -> list[runs.Guess]:
    """The answers to the questions about an experiment; none if it has answers, or if nobody wants to predict.

    Raises:
        ConfigError: the config has no answer to these questions, the experiment has been trained, or an answer is missing.
        RunsError: guesses.json is damaged.
    """
    if (not fresh and runs.guesses(folder)) or not predict:
        return []
    from resexp import comparison, tables  # noqa: PLC0415 - `--help` starts without them

    questions = comparison.questions(experiment)
    if not fresh and (folder / "experiment.yaml").exists():
        problem = f"{folder} has been trained before, and a guess precedes training; add --fresh, or choose another name=..."
        raise ConfigError(problem, where=WHERE)
    log(f"{len(questions)} questions before training. The answers are stored in {folder / 'guesses.json'}.")
    answers = []
    for number, question in enumerate(questions, 1):
        choices, text = comparison.CHOICES[question.kind], tables.question_text(question, experiment)
        log("\n" + "\n".join(tables.fitted([f"{number}. {text}"])))
        log("   " + ("   ".join(f"{index} {choice}" for index, choice in enumerate(choices, 1)) or POINTS))
        answer = _answer(choices, number)
        answers.append(runs.Guess(kind=question.kind, cell=question.cell, arm=question.arm, question=text, guess=answer))
    log("")
    return answers


def _answer(choices: tuple[str, ...], number: int) -> str | float:
    """The next valid line of the input; a terminal may try again."""
    is_terminal = sys.stdin is not None and sys.stdin.isatty()
    while True:
        line = _line(number, prompt="> " if is_terminal else "")
        try:
            return _parsed(line, choices)
        except ConfigError as error:
            if not is_terminal:
                raise ConfigError(error.problem, where=f"{WHERE}, question {number}") from None
            log(f"   {error}")


def _line(number: int, prompt: str) -> str:
    """The next line of the input, without spaces around it."""
    try:
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.readline(MAX_CHARACTERS) if sys.stdin else ""
    except KeyboardInterrupt:
        log("")
        fail(f"stopped at question {number}; nothing was trained", INTERRUPTED)
    except UnicodeDecodeError:
        line = "\N{REPLACEMENT CHARACTER}"
    if not line:
        sys.stderr.write(prompt and "\n")
        raise ConfigError("the input has ended without an answer; nothing was trained", where=f"{WHERE}, question {number}")
    return line.strip()


def _parsed(text: str, choices: tuple[str, ...]) -> str | float:
    """The choice with this number or name, or a number of points."""
    if choices:
        matching = [choice for index, choice in enumerate(choices, 1) if text.lower() in (str(index), choice)]
        if not matching:
            raise ConfigError(f"{text!r} is not one of {', '.join(choices)}, or a number from 1 to {len(choices)}")
        return matching[0]
    try:
        points = float(text.replace(",", "."))
    except ValueError:
        points = float("nan")
    if not abs(points) <= LIMIT:
        raise ConfigError(f"{text!r} is not a number from -{LIMIT:g} to {LIMIT:g}")
    return points
