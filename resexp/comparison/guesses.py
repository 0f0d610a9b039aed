"""Guesses about an experiment, made before training: their questions, and what was measured."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resexp import config, runs
from resexp.comparison.gradients import Flow, flow, mean_growth
from resexp.comparison.groups import seed_pairs, value
from resexp.config import ConfigError, Experiment
from resexp.runs import Guess, GuessKind, Outcome, Results, TrialRecord

YES, NO = "yes", "no"
CHOICES: dict[GuessKind, tuple[str, ...]] = {
    GuessKind.ABOVE_CHANCE: (YES, NO),
    GuessKind.GRADIENTS: tuple(Flow),
    GuessKind.DIFFERENCE: (),  # a number of points
}
OPTION = "--predict"


@dataclass(frozen=True)
class Question:
    """A question about a configuration. cell: its tags, as in pairs.json. arm: of the residual network. depth: of both."""

    kind: GuessKind
    cell: str
    arm: str
    depth: int


@dataclass(frozen=True)
class GuessedQuestion:
    """A question and all guesses of the compared experiments.

    measured: the answer, as a choice or in points; None if it is unknown, or differs across seeds. seeds: number of seeds on
    which it rests. above_chance: how many of them are above chance. growth: orders of magnitude from the last block to the
    first. differences: points by seed.
    """

    kind: GuessKind
    cell: str
    arm: str
    question: str
    guesses: tuple[str | float, ...]
    measured: str | float | None = None
    seeds: int = 0
    above_chance: int = 0
    growth: float | None = None
    differences: tuple[float, ...] = ()

    @property
    def median(self) -> float | None:
        """The median of the guesses if they are numbers."""
        numbers = [guess for guess in self.guesses if not isinstance(guess, str)]
        return statistics.median(numbers) if numbers else None


def questions(experiment: Experiment) -> list[Question]:
    """Three questions about the deepest networks: two about the first condition with a pair, one about the last.

    Raises:
        ConfigError: the experiment has no pair, or does not measure what a question is about.
    """
    pairs = [pair for pair in config.pairs(experiment.trials, experiment.axes) if pair[0].arm == "plain"]
    if not pairs:
        raise ConfigError("asks about a residual network and its plain counterpart; this experiment has no pair", where=OPTION)
    if "signal" not in experiment.shared.gradients.probes:
        raise ConfigError("asks about gradients; add signal to gradients.probes", where=OPTION)
    deepest = max(residual.settings.network.depth for _, residual in pairs)
    residuals = [residual for _, residual in pairs if residual.settings.network.depth == deepest]
    arm = residuals[0].arm
    cells = [" ".join(config.cell_label(trial.settings, experiment.axes)) for trial in residuals if trial.arm == arm]
    return [
        Question(GuessKind.ABOVE_CHANCE, cells[0], arm, deepest),
        Question(GuessKind.GRADIENTS, cells[0], arm, deepest),
        Question(GuessKind.DIFFERENCE, cells[-1], arm, deepest),
    ]


def guessed_questions(results: Results) -> list[GuessedQuestion]:
    """The questions that were answered before the training of these experiments, with all guesses and the measured answer.

    Guesses about the same arm under the same conditions are about one question.

    Raises:
        RunsError: guesses.json is damaged.
    """
    asked: dict[tuple[GuessKind, str, str], tuple[list[Guess], list[TrialRecord]]] = {}
    for folder, experiment in results.sources:
        for guess in runs.guesses(folder):
            conditions = _conditions(guess.cell, experiment)
            records = [
                record
                for record in results.records
                if record.result and conditions and conditions.items() <= record.conditions.items()
            ]
            guesses, _ = asked.setdefault((guess.kind, guess.arm, f"{guess.cell} {conditions}"), ([], records))
            guesses.append(guess)
    return [_with_answer(guesses, records) for guesses, records in asked.values()]


def _conditions(cell: str, experiment: Experiment) -> dict[str, Any]:
    """The conditions of a configuration; empty if the experiment no longer has it."""
    axes = experiment.axes
    trials = (trial for trial in experiment.trials if " ".join(config.cell_label(trial.settings, axes)) == cell)
    return next((config.conditions(trial.settings) for trial in trials), {})


def _with_answer(guesses: Sequence[Guess], records: Sequence[TrialRecord]) -> GuessedQuestion:
    first = guesses[0]
    plain, residual = ([record for record in records if record.trial.arm == arm] for arm in ("plain", first.arm))
    outcomes = [record.result.outcome for record in plain if record.result]
    above, growth = outcomes.count(Outcome.ABOVE_CHANCE), mean_growth(plain)
    seeds = len(plain)
    measured: str | float | None = None
    if first.kind is GuessKind.ABOVE_CHANCE and outcomes:
        measured = YES if above == len(outcomes) else None if above else NO
    elif first.kind is GuessKind.GRADIENTS and growth is not None:
        measured = flow(growth)
    differences: tuple[float, ...] = ()
    if first.kind is GuessKind.DIFFERENCE:
        pairs = [[value(record, "test_accuracy") for record in pair] for pair in seed_pairs(plain, residual)]
        differences = tuple(100 * (after - before) for before, after in pairs if before is not None and after is not None)
        seeds, measured = len(differences), math.fsum(differences) / len(differences) if differences else None
    answers = tuple(guess.guess for guess in guesses)
    return GuessedQuestion(
        first.kind, first.cell, first.arm, first.question, answers, measured, seeds, above, growth, differences
    )
