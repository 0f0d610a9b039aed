"""A comparison as Markdown, CSV, JSON and LaTeX; accuracy.csv and accuracy.md of an experiment."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import compress
from typing import Any

from resexp import runs
from resexp.comparison import Comparison, DepthTrend, compare_results, seed_budget
from resexp.inference import Difference
from resexp.runs import Outcome, Results
from resexp.tables.budget import longer_commands
from resexp.tables.compared import (
    SELECTED,
    as_text,
    depths_heading,
    limits,
    notes,
    remarks,
    seed_budget_lines,
    tuned_heading,
)
from resexp.tables.formats import (
    accuracy_text,
    choice_text,
    closing_text,
    contrast_text,
    dead_text,
    difference_text,
    diverged_text,
    ends_text,
    flip_text,
    images_text,
    missing_text,
    most_text,
    named,
    outcome_text,
    ranks_text,
    rise_text,
    slope_text,
    train_error_spread,
    tuned_text,
    verdict_text,
)
from resexp.tables.latex import as_latex
from resexp.tables.published import published_lines, published_rows
from resexp.tables.recipes import recipe, untuned


def as_markdown(of: Comparison, judgments: Sequence[str] = (), *, test: bool = False, commands: bool = True) -> str:
    """A row per arm of each cell, then training error over depth, and each arm at its best.

    commands: whether to print commands that tune or train longer; they contain the folder's path, which depends on the machine.
    """
    keys = list(of.results.shown)
    columns = [*keys, "arm", "above chance", "accuracy (%)" if of.metric.percent else "mean", "train error (%)", "n"]
    columns += ["difference [95% CI]", "beyond width [95% CI]", "slope", "parameters", "unmatched", *(["test"] if test else [])]
    lines = [f"# {of.results.name}: {of.metric.label}", "", *(f"- {line}" for line in judgments), *([""] if judgments else [])]
    lines += [f"trained at {recipe(of.results)}", ""]
    lines += [f"fixed: {named(of.results.common)}", ""] if of.results.common else []
    lines += _markdown(columns, [_markdown_row(of, cell, arm, test=test) for cell in of.cells for arm in cell.arms])
    lines += ["", *(line.replace("*: a", "\\*: a", 1) for line in notes(of))]
    lines += untuned(of.results) if commands else []
    if of.depths:
        rows = [
            [named(row.condition), row.arm, verdict_text(row), ends_text(row), rise_text(row), most_text(row),
             difference_text(row.reduction), slope_text(row.slope), closing_text(row)]
            for row in of.depths
        ]  # fmt: skip
        columns = [
            "condition",
            "arm",
            "verdict",
            "depths",
            "difference",
            "bound",
            "degradation avoided vs plain",
            "slope",
            "gap",
        ]
        kept = [any(row[index] for row in rows) for index in range(len(columns))]
        lines += ["", "## Training error over depth", "", f"{depths_heading(of)}.", ""]
        lines += _markdown(list(compress(columns, kept)), [list(compress(row, kept)) for row in rows])
        lines += ["", "Train longer:", "", "```", *longer, "```"] if commands and (longer := longer_commands(of)) else []
    if of.tuned:
        lines += ["", f"## {tuned_heading(of)}", "", f"Settings are {SELECTED}.", ""]
        found = [[named(row.label), row.how, *_choices(row, of), tuned_text(row, of.metric, of.resolution)] for row in of.tuned]
        lines += _markdown(["cell", "how", "plain", "", "residual", "", "difference [95% CI]"], found)
    beside = published_lines(published_rows(of.results))
    lines += [*seed_budget_lines(of), *(["", "```", *beside, "```"] if beside else []), *remarks(of.results)]
    return "\n".join(lines) + "\n"


def _markdown_row(of: Comparison, cell: Any, arm: Any, *, test: bool) -> list[str]:
    compared_with = [contrast_text(arm, of.metric, of.resolution), ranks_text(arm.contrast, of.metric), images_text(arm)]
    ended = f"{outcome_text(arm)} ({diverged_text(arm)})" if arm.diverged else outcome_text(arm)
    values = [arm.name, ended, accuracy_text(arm.summary, of.metric), train_error_spread(arm)]
    values += [
        missing_text(arm).removeprefix("n = ") or str(arm.summary.n),
        "; ".join(filter(None, compared_with)).replace("*", "\\*"),
    ]
    values += [difference_text(arm.beyond_width, of.metric, of.resolution), slope_text(arm.slope_start)]
    values += [
        "" if arm.parameters is None else f"{arm.parameters:,}",
        "; ".join(filter(None, (*arm.unmatched, dead_text(arm)))),
    ]
    return [*cell.label.values(), *values, *([flip_text(arm)] if test else [])]


def _choices(row: Any, of: Comparison) -> list[str]:
    return [text for choice in (row.plain, row.residual)
            for text in (f"{choice.arm}, {choice_text(choice)}", accuracy_text(choice.summary, of.metric))]  # fmt: skip


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def as_csv(of: Comparison, judgments: Sequence[str] = (), *, test: bool = False) -> str:  # noqa: ARG001 - all formats are called alike
    """One row per arm of a cell; shares in [0, 1]; every figure that there is."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    outcomes = list(Outcome)
    beyond = ("beyond_width", "beyond_width_low", "beyond_width_high")
    of_ranks = ("ranks_p", "ranks_least_p", "lowest", "highest")
    exact = ("outcomes_p", *of_ranks, "correlation", "sd_paired", "sd_unpaired", "sign_flip_p", "holm_p", "least_p", "images")
    evidence = ("half", "p", "p_table", "train_error", "train_error_sd")
    columns = [*of.results.shown, "arm", "n", "missing", *outcomes, "mean", "sd", "difference", "low", "high", *beyond]
    writer.writerow([*columns, *exact, *evidence, "slope", "parameters", "unmatched", "dead_layers"])
    for cell in of.cells:
        for arm in cell.arms:
            counts = [arm.summary.outcomes.get(name, 0) for name in outcomes]
            compared_with = [value for difference in (arm.difference, arm.beyond_width) for value in _interval(difference)]
            more, pairing = arm.contrast, arm.contrast.pairing
            pairing_gain = [pairing.correlation, pairing.paired, pairing.unpaired] if pairing else [None] * 3
            ranks = [more.ranks.p, more.ranks.least, more.ranks.lowest, more.ranks.highest] if more.ranks else [None] * 4
            error = [arm.train_error.mean, arm.train_error.sd] if arm.train_error else [None] * 2
            values = [arm.summary.n, sum(arm.missing.values()), *counts, arm.summary.mean, arm.summary.sd, *compared_with]
            values += [more.outcomes, *ranks, *pairing_gain, more.sign_flip, more.holm, more.least, more.images]
            values += [more.half, more.p, more.p_table, *error]
            values += [arm.slope_start, arm.parameters]
            dead = list(dict.fromkeys(name for _, names in arm.dead_layers for name in names))
            texts = ["; ".join(arm.unmatched), "; ".join(dead)]
            writer.writerow([*cell.label.values(), arm.name, *map(runs.format_cell, values), *texts])
    return text.getvalue()


def _interval(of: Difference | None) -> list[float | None]:
    return [of.mean, of.low, of.high] if of else [None] * 3


def as_json(of: Comparison, judgments: Sequence[str] = (), *, test: bool = False) -> str:  # noqa: ARG001 - as above
    """Everything as data."""
    value = {
        "experiment": of.results.name,
        "metric": of.key,
        "resolution": of.resolution,
        "recipe": recipe(of.results),
        "everywhere": of.results.common,
        "not_a_result": limits(of.results),
        "judged": list(judgments),
        "cells": [asdict(cell) for cell in of.cells],
        "looks": list(of.looks),
        "precision": asdict(precision) if (precision := seed_budget(of)) else None,
        "over_depth": [_over_depth(row) for row in of.depths],
        "tuned" if of.asked else "best_settings": [asdict(row) for row in of.tuned],
        "published": [
            {"cell": cell, "arm": arm, **asdict(match)}
            for cell, arm, _, matches in published_rows(of.results)
            for match in matches
        ],
    }
    return json.dumps(value, indent=1) + "\n"


def _over_depth(row: DepthTrend) -> dict[str, Any]:
    """A row of the document, in which the key `found` contains the verdict and the numbers that support it."""
    values = {**asdict(row), "closing": row.closing}
    return {"found" if key == "degradation" else key: value for key, value in values.items()}


TABLES: dict[str, Callable[..., str]] = {
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
        "val_accuracy", "slope_start", "slope_end", "parameters", "multiply_adds", "steps",
    ]  # fmt: skip
    rows = [
        [
            record.trial.name,
            record.trial.arm,
            *(record.conditions.get(key) for key in results.axes),
            record.trial.seed,
            *(record.result.get(key) for key in measured),
        ]
        for record in results.records
        if record.result
    ]
    return ["trial", "arm", *results.columns, "seed", *measured], rows


def write_accuracy(results: Results) -> None:
    """accuracy.csv and accuracy.md of what has been trained so far, in the folder of the experiment."""
    ((folder, _),) = results.sources
    columns, rows = trial_rows(results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[runs.format_cell(value) for value in row] for row in rows])
    runs.write_text(folder / "accuracy.csv", text.getvalue())
    runs.write_text(folder / "accuracy.md", as_markdown(compare_results(results), commands=False))
