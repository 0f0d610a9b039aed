"""A comparison as Markdown, CSV, JSON and LaTeX; accuracy.csv and accuracy.md of an experiment."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from resexp import runs, statistics
from resexp.comparison import Comparison, compared
from resexp.runs import Results
from resexp.statistics import Difference
from resexp.tables.compared import as_text, limits, notes, plan_lines, remarks, tuned_heading
from resexp.tables.latex import as_latex
from resexp.tables.published import published_lines, published_rows
from resexp.tables.texts import (
    accuracy_text,
    choice_text,
    contrast_text,
    dead_text,
    difference_text,
    diverged_text,
    flip_text,
    images_text,
    is_best,
    missing_text,
    named,
    outcome_text,
    rise_text,
    slope_text,
    tuned_text,
    verdict_text,
)


def as_markdown(of: Comparison, judged: Sequence[str] = (), *, test: bool = False) -> str:
    """A row per arm of each cell, the best mean of a cell in bold; then training error over depth, and best against best."""
    keys = list(of.results.shown)
    columns = [*keys, "arm", "trained", "accuracy (%)" if of.metric.percent else "mean", "n", "difference [95 %]"]
    columns += ["beyond width [95 %]", "slope", "parameters", "unmatched", *(["test"] if test else [])]
    lines = [f"# {of.results.name}: {of.metric.words}", "", *(f"- {line}" for line in judged), *([""] if judged else [])]
    lines += [f"everywhere: {named(of.results.common)}", ""] if of.results.common else []
    lines += _markdown(columns, [_markdown_row(of, cell, arm, test=test) for cell in of.cells for arm in cell.arms])
    lines += ["", *(line.replace("*: best", "Bold: best") for line in notes(of))]
    if of.depths:
        rows = [[named(row.corner), row.arm, verdict_text(row), rise_text(row), slope_text(row.slope)] for row in of.depths]
        lines += ["", "## Training error over depth", ""]
        lines += _markdown(["corner", "arm", "verdict", "deepest - shallowest, points", "slope"], rows)
    if of.tuned:
        lines += ["", f"## {tuned_heading(of)}", ""]
        found = [[named(row.label), row.how, *_choices(row, of), tuned_text(row, of.metric, of.resolution)] for row in of.tuned]
        lines += _markdown(["cell", "how", "plain", "", "residual", "", "difference [95 %]"], found)
    beside = published_lines(published_rows(of.results))
    lines += [*plan_lines(of), *(["", "```", *beside, "```"] if beside else []), *remarks(of.results)]
    return "\n".join(lines) + "\n"


def _markdown_row(of: Comparison, cell: Any, arm: Any, *, test: bool) -> list[str]:
    accuracy = accuracy_text(arm.summary, of.metric)
    compared_with = [contrast_text(arm, of.metric, of.resolution), images_text(arm)]
    ended = f"{outcome_text(arm)} ({diverged_text(arm)})" if arm.diverged else outcome_text(arm)
    values = [arm.name, ended, f"**{accuracy}**" if is_best(arm, cell, of.metric) else accuracy]
    values += [missing_text(arm).removeprefix("n = ") or str(arm.summary.n), "; ".join(filter(None, compared_with))]
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


def as_csv(of: Comparison, judged: Sequence[str] = (), *, test: bool = False) -> str:  # noqa: ARG001 - all formats are called alike
    """One row per arm of a cell; shares in [0, 1]; every figure that there is."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    outcomes = list(statistics.OUTCOMES)
    beyond = ("beyond_width", "beyond_width_low", "beyond_width_high")
    exact = ("outcomes_p", "correlation", "sd_paired", "sd_unpaired", "sign_flip_p", "holm_p", "least_p", "images")
    columns = [*of.results.shown, "arm", "n", "missing", *outcomes, "mean", "sd", "difference", "low", "high", *beyond]
    writer.writerow([*columns, *exact, "slope", "parameters", "unmatched", "dead_layers"])
    for cell in of.cells:
        for arm in cell.arms:
            counts = [arm.summary.outcomes.get(name, 0) for name in outcomes]
            compared_with = [value for difference in (arm.difference, arm.beyond_width) for value in _interval(difference)]
            more, pairing = arm.contrast, arm.contrast.pairing
            bought = [pairing.correlation, pairing.paired, pairing.unpaired] if pairing else [None] * 3
            values = [arm.summary.n, sum(arm.missing.values()), *counts, arm.summary.mean, arm.summary.sd, *compared_with]
            values += [more.outcomes, *bought, more.sign_flip, more.holm, more.least, more.images]
            values += [arm.slope_start, arm.parameters]
            dead = list(dict.fromkeys(name for _, names in arm.dead_layers for name in names))
            texts = ["; ".join(arm.unmatched), "; ".join(dead)]
            writer.writerow([*cell.label.values(), arm.name, *map(runs.format_cell, values), *texts])
    return text.getvalue()


def _interval(of: Difference | None) -> list[float | None]:
    return [of.mean, of.low, of.high] if of else [None] * 3


def as_json(of: Comparison, judged: Sequence[str] = (), *, test: bool = False) -> str:  # noqa: ARG001 - as above
    """Everything as data."""
    value = {
        "experiment": of.results.name,
        "metric": of.key,
        "resolution": of.resolution,
        "everywhere": of.results.common,
        "not_a_result": limits(of.results),
        "judged": list(judged),
        "cells": [asdict(cell) for cell in of.cells],
        "over_depth": [asdict(row) for row in of.depths],
        "tuned" if of.asked else "best_against_best": [asdict(row) for row in of.tuned],
        "published": [
            {"cell": cell, "arm": arm, **asdict(match)}
            for cell, arm, _, matches in published_rows(of.results)
            for match in matches
        ],
    }
    return json.dumps(value, indent=1) + "\n"


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
            state.trial.name,
            state.trial.arm,
            *(state.conditions.get(key) for key in results.axes),
            state.trial.seed,
            *(state.result.get(key) for key in measured),
        ]
        for state in results.states
        if state.result
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
    runs.write_text(folder / "accuracy.md", as_markdown(compared(results)))
