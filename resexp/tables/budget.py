"""The command that trains an experiment longer, if a gap in training error is still closing."""

import shlex

from resexp.comparison import Comparison
from resexp.config import TrainingSettings
from resexp.tables.recipes import changed
from resexp.tables.sentences import Sentence
from resexp.tables.terminal import WIDTH

SENTENCES = {"more": Sentence("more {key}", "a gap is still closing, and the length of training is an axis")}


def budget_text(comparison: Comparison) -> str:
    """'20 epochs', '300 steps'; '' if experiments differ in it."""
    budgets = {_budget(experiment.shared.training) for _, experiment in comparison.results.sources}
    varies = {"training.epochs", "training.steps"} & set(comparison.results.axes)
    if len(budgets) > 1 or varies:
        return ""
    ((key, budget),) = budgets
    return f"{budget:,} {key}"


def longer_commands(comparison: Comparison) -> list[str]:
    """'resexp train runs/digits training.epochs=40 name=digits-40-epochs', each experiment for twice its budget.

    Nothing if no gap is closing. If the budget is an axis, no single command exists, and the key is named instead.
    """
    if not any(row.closing for row in comparison.depths):
        return []
    commands = []
    for folder, experiment in comparison.results.sources:
        key, budget = _budget(experiment.shared.training)
        if f"training.{key}" in comparison.results.axes:
            commands.append(SENTENCES["more"].format(key=f"training.{key}"))
        else:
            commands.append(changed(folder, f"training.{key}={2 * budget}", f"{experiment.name}-{2 * budget}-{key}"))
    return list(dict.fromkeys(commands))


def command_lines(command: str, indent: str) -> list[str]:
    """A command for a terminal of 80 columns: long commands continue on the next line with a backslash."""
    lines = [indent]
    for word in map(shlex.quote, shlex.split(command)):
        if len(lines[-1]) + len(word) > WIDTH - 2 and lines[-1].strip():
            lines[-1] += "\\"
            lines.append(f"{indent}  ")
        lines[-1] += f"{word} "
    return [line.rstrip() for line in lines]


def _budget(training: TrainingSettings) -> tuple[str, int]:
    return ("steps", training.steps) if training.epochs is None and training.steps else ("epochs", training.epochs or 0)
