"""The questions of `resexp train --predict`, and the table of guesses and measured answers."""

from collections.abc import Mapping

from resexp.comparison import CHOICES, Comparison, GuessedQuestion, Question, guessed_questions
from resexp.config import Experiment
from resexp.runs import GuessKind
from resexp.tables.labels import NO_AXIS, cell_labels, condition
from resexp.tables.model import Column, Table
from resexp.tables.sentences import Sentence

QUESTIONS: Mapping[GuessKind, Sentence] = {
    GuessKind.ABOVE_CHANCE: Sentence(
        "Depth {configuration}: is the plain network more accurate than chance after training?",
        "the first condition with a pair",
    ),
    GuessKind.GRADIENTS: Sentence(
        "Depth {configuration}: are gradients of the plain network vanishing, stable or exploding at initialization?",
        "the same condition",
    ),
    GuessKind.DIFFERENCE: Sentence(
        "Depth {configuration}: by how many points does {arm} change test accuracy?", "the last condition with a pair"
    ),
}


def question_text(question: Question, experiment: Experiment) -> str:
    """A question with the configuration that it is about."""
    where = condition(cell_labels(experiment)[question.cell])
    configuration = f"{question.depth}" if where == NO_AXIS else f"{question.depth}, {where}"
    arm = "the shortcut" if question.arm == "identity" else f"the shortcut {question.arm}"
    return QUESTIONS[question.kind].format(configuration=configuration, arm=arm)


def guess_table(comparison: Comparison) -> Table[GuessedQuestion]:
    """One row for each question that was answered before training; the guesses of all experiments together."""
    return Table(
        title="Guesses before training, and what was measured",
        key="guesses",
        columns=[
            Column(
                "guess", guesses_text, "Answer of a person before training.",
                data={"kind": lambda row: row.kind, "cell": lambda row: row.cell, "arm": lambda row: row.arm},
            ),
            Column(data={"question": lambda row: row.question}),
            Column(
                "measured", measured_text, "Mean over n seeds, in points with its range, or in orders of magnitude.",
                data={"measured": lambda row: row.measured, "seeds": lambda row: row.seeds},
            ),
        ],
        rows=guessed_questions(comparison.results),
        group=Column("question", lambda row: row.question),
        record=lambda row: {"guesses": list(row.guesses)},
    )  # fmt: skip


def guesses_text(row: GuessedQuestion) -> str:
    """'yes'; of several people '41 yes, 19 no' or 'median +20 points (-50 to +90), n = 60'."""
    if row.median is None:
        counts = {choice: row.guesses.count(choice) for choice in (*CHOICES[row.kind], *sorted(map(str, row.guesses)))}
        several = len(row.guesses) > 1
        return ", ".join(f"{count} {choice}" if several else choice for choice, count in counts.items() if count)
    numbers = sorted(float(guess) for guess in row.guesses)
    if len(numbers) == 1:
        return f"{row.median:+.4g} points"
    return f"median {row.median:+.4g} points ({numbers[0]:+.4g} to {numbers[-1]:+.4g}), n = {len(numbers)}"


def measured_text(row: GuessedQuestion) -> str:
    """The measured answer and what it rests on."""
    if not row.seeds or (row.measured is None and row.kind is not GuessKind.ABOVE_CHANCE):
        return "not measured"
    if row.kind is GuessKind.ABOVE_CHANCE:
        return f"{row.measured or 'differs'} ({row.above_chance} of {row.seeds} seeds above chance)"
    if isinstance(row.measured, float):
        several = (
            f" ({min(row.differences):+.1f} to {max(row.differences):+.1f}), n = {row.seeds}" if row.seeds > 1 else ", n = 1"
        )
        return f"{row.measured:+.1f} points{several}"
    return f"{row.measured} ({row.growth:+.1f} orders of magnitude)"
