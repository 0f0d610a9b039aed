"""A comparison as Markdown, CSV, JSON and LaTeX; accuracy.csv and accuracy.md of an experiment."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import compress
from typing import Any

from resexp import runs
from resexp.comparison import Arm, Cell, Comparison, DepthTrend, TunedComparison, compare_results, seed_budget
from resexp.inference import Difference
from resexp.runs import Outcome, Results
from resexp.tables.answer import answer_lines
from resexp.tables.budget import longer_commands
from resexp.tables.compared import (
    DEPTH_TERMS,
    SELECTED,
    as_text,
    depths_heading,
    limits,
    notes,
    remarks,
    seed_budget_lines,
    tuned_heading,
)
from resexp.tables.definitions import legend
from resexp.tables.formats import (
    accuracy_text,
    bound_text,
    choice_text,
    closing_text,
    contrast_text,
    dead_text,
    difference_text,
    diverged_text,
    ends_text,
    images_text,
    missing_text,
    outcome_text,
    ranks_text,
    rise_text,
    sign_flip_text,
    slope_text,
    train_error_spread,
    tuned_text,
    verdict_text,
)
from resexp.tables.labels import label_text
from resexp.tables.latex import as_latex
from resexp.tables.published import published_lines, published_rows
from resexp.tables.recipes import recipe, untuned
from resexp.tables.tuned import with_tuned_rows


def as_markdown(
    comparison: Comparison,
    judgments: Sequence[str] = (),
    *,
    p_values: bool = False,
    commands: bool = True,
    summary: bool = True,
) -> str:
    """A row for each arm of each configuration, then training error over depth, then each arm at its best setting.

    commands: whether to print commands that tune or train longer; they contain the folder's path, which depends on the machine.
    summary: whether to begin with the summary.
    """
    keys = list(comparison.results.shown)
    columns = [*keys, "arm", "above chance", "accuracy (%)" if comparison.metric.percent else "mean", "train error (%)", "n"]
    columns += ["residual - plain [95% CI]", "beyond width [95% CI]", "slope", "parameters", "unmatched"]
    columns += ["sign-flip test"] if p_values else []
    lines = [
        f"# {comparison.results.name}: {comparison.metric.label}",
        "",
        *(f"- {line}" for line in judgments),
        *([""] if judgments else []),
    ]
    lines += [f"trained at {recipe(comparison.results)}", ""]
    lines += [f"fixed: {label_text(comparison.results.common)}", ""] if comparison.results.common else []
    lines += [*answer_lines(comparison, ("report",) if commands else ()), ""] if summary else []
    lines += _markdown(
        columns, [_markdown_row(comparison, cell, arm, p_values=p_values) for cell in comparison.cells for arm in cell.arms]
    )
    lines += ["", *(f"- {line}".replace("*", "\\*") for line in notes(comparison))]
    lines += untuned(comparison.results) if commands else []
    lines += _depths_markdown(comparison, commands=commands) if comparison.depths else []
    lines += _tuned_markdown(comparison) if comparison.tuned else []
    published = published_lines(published_rows(comparison.results))
    lines += [
        *seed_budget_lines(comparison),
        *(["", "```", *published, "```"] if published else []),
        *remarks(comparison.results),
    ]
    return "\n".join(lines) + "\n"


def _markdown_row(comparison: Comparison, cell: Cell, arm: Arm, *, p_values: bool) -> list[str]:
    differences = [
        contrast_text(arm, comparison.metric, comparison.resolution),
        ranks_text(arm.contrast, comparison.metric),
        images_text(arm),
    ]
    outcomes = f"{outcome_text(arm)} ({diverged_text(arm)})" if arm.diverged else outcome_text(arm)
    values = [arm.name, outcomes, accuracy_text(arm.summary, comparison.metric), train_error_spread(arm)]
    values += [
        missing_text(arm).removeprefix("n = ") or str(arm.summary.n),
        "; ".join(filter(None, differences)).replace("*", "\\*"),
    ]
    values += [difference_text(arm.beyond_width, comparison.metric, comparison.resolution), slope_text(arm.slope_start)]
    values += [
        "" if arm.parameters is None else f"{arm.parameters:,}",
        "; ".join(filter(None, (*arm.unmatched, dead_text(arm)))),
    ]
    return [*cell.label.values(), *values, *([sign_flip_text(arm)] if p_values else [])]


def _depths_markdown(comparison: Comparison, *, commands: bool) -> list[str]:
    """The section on training error over depth; columns without a value are left out."""
    columns = [
        "condition", "arm", "verdict", "depths", "difference [95% CI]", "bound", "degradation avoided vs plain [95% CI]",
        "slope", "gap",
    ]  # fmt: skip
    rows = [
        [label_text(row.condition), row.arm, verdict_text(row), ends_text(row), rise_text(row), bound_text(row),
         difference_text(row.reduction), slope_text(row.slope), closing_text(row)]
        for row in comparison.depths
    ]  # fmt: skip
    has_value = [any(row[index] for row in rows) for index in range(len(columns))]
    lines = ["", "## Training error over depth", "", f"{depths_heading(comparison)}.", ""]
    lines += [*(f"- {line}" for line in legend(*DEPTH_TERMS)), ""]
    lines += _markdown(list(compress(columns, has_value)), [list(compress(row, has_value)) for row in rows])
    longer = longer_commands(comparison) if commands else []
    return [*lines, *(["", "To train longer:", "", "```", *longer, "```"] if longer else [])]


def _tuned_markdown(comparison: Comparison) -> list[str]:
    """The section on each arm at its best setting."""
    columns = ["configuration", "selection", "plain", "accuracy (%)", "residual", "accuracy (%)", "residual - plain [95% CI]"]
    rows = [
        [
            label_text(row.label),
            row.how,
            *_choices(row, comparison),
            tuned_text(row, comparison.metric, comparison.resolution),
        ]
        for row in comparison.tuned
    ]
    lines = ["", f"## {tuned_heading(comparison)}", "", f"Settings are {SELECTED}.", ""]
    return [*lines, *_markdown(columns, rows)]


def _choices(row: TunedComparison, comparison: Comparison) -> list[str]:
    return [text for choice in (row.plain, row.residual)
            for text in (f"{choice.arm}, {choice_text(choice)}", accuracy_text(choice.summary, comparison.metric))]  # fmt: skip


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def as_csv(comparison: Comparison, judgments: Sequence[str] = (), *, p_values: bool = False) -> str:  # noqa: ARG001 - all formats have the same parameters
    """One row for each arm of a configuration; shares in [0, 1]; every number of the comparison."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    outcomes = list(Outcome)
    beyond = ("beyond_width", "beyond_width_low", "beyond_width_high")
    rank_columns = ("ranks_p", "ranks_least_p", "lowest", "highest")
    exact = (
        "outcomes_p",
        *rank_columns,
        "correlation",
        "sd_paired",
        "sd_unpaired",
        "sign_flip_p",
        "holm_p",
        "least_p",
        "images",
    )
    evidence = ("half", "p", "p_table", "train_error", "train_error_sd")
    columns = [*comparison.results.shown, "arm", "n", "missing", *outcomes, "mean", "sd", "difference", "low", "high", *beyond]
    writer.writerow([*columns, *exact, *evidence, "slope", "parameters", "unmatched", "dead_layers"])
    for cell in comparison.cells:
        for arm in cell.arms:
            counts = [arm.summary.outcomes.get(name, 0) for name in outcomes]
            intervals = [value for difference in (arm.difference, arm.beyond_width) for value in _interval(difference)]
            contrast, pairing = arm.contrast, arm.contrast.pairing
            pairing_values = [pairing.correlation, pairing.paired, pairing.unpaired] if pairing else [None] * 3
            ranks = (
                [contrast.ranks.p, contrast.ranks.least, contrast.ranks.lowest, contrast.ranks.highest]
                if contrast.ranks
                else [None] * 4
            )
            error = [arm.train_error.mean, arm.train_error.sd] if arm.train_error else [None] * 2
            values = [arm.summary.n, sum(arm.missing.values()), *counts, arm.summary.mean, arm.summary.sd, *intervals]
            values += [
                contrast.outcomes,
                *ranks,
                *pairing_values,
                contrast.sign_flip,
                contrast.holm,
                contrast.least,
                contrast.images,
            ]
            values += [contrast.half, contrast.p, contrast.p_table, *error]
            values += [arm.slope_start, arm.parameters]
            dead = list(dict.fromkeys(name for _, names in arm.dead_layers for name in names))
            texts = ["; ".join(arm.unmatched), "; ".join(dead)]
            writer.writerow([*cell.label.values(), arm.name, *map(runs.format_cell, values), *texts])
    return with_tuned_rows(text.getvalue(), comparison)


def _interval(difference: Difference | None) -> list[float | None]:
    return [difference.mean, difference.low, difference.high] if difference else [None] * 3


def as_json(comparison: Comparison, judgments: Sequence[str] = (), *, p_values: bool = False) -> str:  # noqa: ARG001 - as above
    """Everything as data."""
    value = {
        "experiment": comparison.results.name,
        "metric": comparison.key,
        "resolution": comparison.resolution,
        "recipe": recipe(comparison.results),
        "everywhere": comparison.results.common,
        "not_a_result": limits(comparison.results),
        "judged": list(judgments),
        "cells": [asdict(cell) for cell in comparison.cells],
        "looks": list(comparison.looks),
        "precision": asdict(precision) if (precision := seed_budget(comparison)) else None,
        "over_depth": [_over_depth(row) for row in comparison.depths],
        "tuned" if comparison.tuned_keys else "best_settings": [asdict(row) for row in comparison.tuned],
        "published": [
            {"cell": cell, "arm": arm, **asdict(match)}
            for cell, arm, _, matches in published_rows(comparison.results)
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
    """Writes accuracy.csv and accuracy.md of all finished trials to the folder of the experiment."""
    ((folder, _),) = results.sources
    columns, rows = trial_rows(results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[runs.format_cell(value) for value in row] for row in rows])
    runs.write_text(folder / "accuracy.csv", text.getvalue())
    runs.write_text(folder / "accuracy.md", as_markdown(compare_results(results), commands=False))
