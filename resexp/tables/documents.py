"""A comparison as Markdown, CSV, JSON and LaTeX; accuracy.csv and accuracy.md of an experiment."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from resexp import runs
from resexp.comparison import Comparison, compare_results, seed_budget
from resexp.runs import Results
from resexp.tables.answer import answer_lines
from resexp.tables.best_settings import SELECTED, best_settings
from resexp.tables.budget import longer_commands
from resexp.tables.compared import as_text, limits, notes, remarks, seed_budget_lines
from resexp.tables.comparison_tables import added_tables
from resexp.tables.configurations import configurations
from resexp.tables.error_over_depth import error_over_depth
from resexp.tables.labels import label_text
from resexp.tables.latex import as_latex
from resexp.tables.predictors import predictors
from resexp.tables.programs import document
from resexp.tables.published import published_rows, published_table
from resexp.tables.recipes import recipe, untuned
from resexp.tables.tuned import SELECTION_COLUMNS, tuned_records
from resexp.tables.writers import csv_text, json_rows, markdown_lines


def as_markdown(
    comparison: Comparison,
    judgments: Sequence[str] = (),
    *,
    p_values: bool = False,
    commands: bool = True,
) -> str:
    """The tables of a comparison, each with its notes.

    commands: whether to print commands that tune or train longer; they contain the folder's path, which depends on the machine.
    """
    lines = [f"# {comparison.results.name}: {comparison.metric.label}", ""]
    lines += [*(f"- {line}" for line in judgments), ""] if judgments else []
    lines += [] if comparison.results.table else [f"trained at {recipe(comparison.results)}", ""]
    lines += [f"fixed: {label_text(comparison.results.common)}", ""] if comparison.results.common else []
    lines += [*answer_lines(comparison, ("report",) if commands else ()), ""]
    rates = untuned(comparison.results) if commands else []
    lines += markdown_lines(configurations(comparison, [*notes(comparison), *rates], p_values=p_values))
    if comparison.depths:
        depths = error_over_depth(comparison)
        longer = longer_commands(comparison) if commands else []
        lines += ["", "## Training error over depth", "", f"{depths.title}.", "", *markdown_lines(depths)]
        lines += ["", "To train longer:", "", "```", *longer, "```"] if longer else []
    if comparison.tuned:
        tuned = best_settings(comparison)
        lines += ["", f"## {tuned.title}", "", f"Settings are {SELECTED}.", "", *markdown_lines(tuned)]
    for added in added_tables(comparison).values():
        lines += ["", f"## {added.title}", "", *markdown_lines(added)]
    published = published_table(published_rows(comparison.results))
    lines += seed_budget_lines(comparison)
    lines += ["", f"## {published.title}", "", *markdown_lines(published)] if published.rows or published.notes else []
    lines += remarks(comparison.results)
    return "\n".join(lines) + "\n"


def as_csv(comparison: Comparison, judgments: Sequence[str] = (), *, p_values: bool = False) -> str:  # noqa: ARG001 - all formats have the same parameters
    """One row for each arm of a configuration; shares in [0, 1]; every number of the comparison."""
    if not comparison.tuned_keys:
        return csv_text(configurations(comparison))
    return csv_text(configurations(comparison), SELECTION_COLUMNS, tuned_records(comparison))


def as_json(comparison: Comparison, judgments: Sequence[str] = (), *, p_values: bool = False) -> str:  # noqa: ARG001 - as above
    """Everything as data."""
    arms, tuned = iter(json_rows(configurations(comparison))), [asdict(row) for row in comparison.tuned]
    value = {
        "experiment": comparison.results.name,
        "metric": comparison.key,
        "resolution": comparison.resolution,
        "recipe": recipe(comparison.results),
        "everywhere": comparison.results.common,
        "not_a_result": limits(comparison.results),
        "judged": list(judgments),
        "cells": [{"label": cell.label, "arms": [next(arms) for _ in cell.arms]} for cell in comparison.cells],
        "looks": list(comparison.looks),
        "precision": asdict(precision) if (precision := seed_budget(comparison)) else None,
        "over_depth": json_rows(error_over_depth(comparison)) if comparison.depths else [],
        "best_settings": None if comparison.tuned_keys else tuned,
        "tuned": tuned if comparison.tuned_keys else None,
        "trainability": json_rows(predictors(comparison)),
        "tables": {name: json_rows(table) for name, table in added_tables(comparison).items()},
        "by_layer": [asdict(row) for row in comparison.by_layer],
        "published": [
            {"cell": cell, "arm": arm, **asdict(match)}
            for cell, arm, _, matches in published_rows(comparison.results)
            for match in matches
        ],
    }
    return document("compare", value)


FORMATS: dict[str, Callable[..., str]] = {
    "table": as_text,
    "csv": as_csv,
    "json": as_json,
    "md": as_markdown,
    "tex": as_latex,
}


# ---- files ------------------------------------------------------------------------------------------------------------------


def trial_rows(results: Results) -> tuple[list[str], list[list[Any]]]:
    """(columns, rows) of accuracy.csv: one row per finished trial, in the order of the experiment."""
    measured = [
        "outcome", "test_accuracy", "test_loss", "best_test_accuracy", "best_test_loss", "best_epoch", "train_accuracy",
        "val_accuracy", "slope_start", "slope_end", "distance_start", "parameters", "multiply_adds", "steps",
    ]  # fmt: skip
    rows = [
        [
            record.trial.name,
            record.trial.arm,
            *(record.conditions.get(key) for key in results.axes),
            record.trial.seed,
            *(getattr(record.result, key) for key in measured),
        ]
        for record in results.records
        if record.result
    ]
    return ["trial", "arm", *results.columns, "seed", *measured], rows


def write_accuracy(results: Results) -> Comparison:
    """Writes accuracy.csv and accuracy.md of all finished trials to the folder of the experiment; returns their comparison."""
    ((folder, _),) = results.sources
    columns, rows = trial_rows(results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[runs.format_cell(value) for value in row] for row in rows])
    runs.write_text(folder / "accuracy.csv", text.getvalue())
    comparison = compare_results(results)
    runs.write_text(folder / "accuracy.md", as_markdown(comparison, commands=False))
    return comparison
