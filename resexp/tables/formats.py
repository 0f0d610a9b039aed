"""Cells -> text for a terminal of 80 columns, Markdown, CSV, JSON."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from resexp import config, runs, statistics
from resexp.runs import Results
from resexp.statistics import Difference, Summary
from resexp.tables.cells import METRICS, Arm, Best, Cell, best_against_best, cells, trial_rows
from resexp.tables.lines import WIDTH, fitted
from resexp.tables.published import published_lines, published_rows


def outcome_text(arm: Arm) -> str:
    """'5/5', '3/5 2 stuck', '0/5 5 diverged', '2/5 3 waiting': how many trained, and what the others did."""
    others = [f"{count} {name}" for name, count in {**arm.summary.outcomes, **arm.missing}.items() if name != "trained"]
    total = arm.summary.n + sum(arm.missing.values())
    return " ".join([f"{arm.summary.outcomes.get('trained', 0)}/{total}", *others])


def accuracy_text(summary: Summary) -> str:
    """'96.2 ± 0.7' in percent; where outcomes are mixed 'median 91.2 (8.1 to 96.0)'; '-' for none."""
    if summary.median is None:
        return "-"
    if summary.mean is not None:
        return percent(summary.mean) + (f" ± {percent(summary.sd)}" if summary.sd is not None else "")
    return f"median {percent(summary.median)} ({percent(summary.lowest)} to {percent(summary.highest)})"


def percent(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{100 * value:{sign}.1f}"


def slope_text(value: float | None) -> str:
    return "-" if value is None else f"{value + 0.0:+.2f}".replace("-0.00", "+0.00")


def difference_text(difference: Difference | None) -> str:
    """'+2.8 [+2.1, +3.5]' in points."""
    if difference is None:
        return ""
    text = percent(difference.mean, "+")
    if difference.low is None:
        return text
    return f"{text} [{percent(difference.low, '+')}, {percent(difference.high, '+')}]"


def beyond_width_text(arm: Arm, cell: Cell) -> str:
    """'+2.8 [+2.1, +3.5] against plain-as-gate (42,832 parameters)': the second difference of a residual arm."""
    name = config.control_arm(arm.name)
    (control,) = (other for other in cell.arms if other.name == name)
    return f"{difference_text(arm.beyond_width)} against {name} ({control.parameters:,} parameters)"


LONGEST = 20  # of the names that stand in a row with everything else; longer ones have a line of their own


def as_text(results: Results, metric: str = "test_accuracy", *, unmatched: bool = False) -> str:
    """The comparison for a terminal of 80 columns."""
    found = cells(results, metric, unmatched=unmatched)
    lines = [f"{results.name}: {METRICS[metric]} in percent, mean ± sd over seeds", *results.questions]
    names = [arm.name for cell in found for arm in cell.arms]
    wide = max([14, *(len(name) for name in names if len(name) <= LONGEST)]) + 1
    difference = "residual - plain [95 %]" if wide <= 20 else "difference [95 %]"  # 80 columns
    lines += ["", *_row(wide, "arm", "trained", "accuracy", "slope", difference)]
    for cell in found:
        lines += ["", *fitted([_heading(cell)])]
        lines += [line for arm in cell.arms for line in _arm_lines(arm, cell, wide)]
    lines += ["", *_notes(found), *_best_lines(best_against_best(results, metric))]
    lines += [*_published(results), *_remarks(results)]
    return "\n".join(fitted(lines)) + "\n"


def _row(wide: int, name: str, trained: str, accuracy: str, slope: str, compared: str) -> list[str]:
    """A row of the table; what is too long for its column has a line of its own, before it or after it."""
    early, late = len(name) > LONGEST, len(accuracy) > 12
    row = f"  {'' if early else name:<{wide}}{trained:<13} {'' if late else accuracy:<12}{slope:>7}  {compared}".rstrip()
    lines = [f"  {name}"] if early else []
    lines += [row] if len(row) <= WIDTH else [row.removesuffix(compared).rstrip(), f"{compared:>{WIDTH}}"]
    return [*lines, f"{'':{wide + 16}}{accuracy}"] if late else lines


def _arm_lines(arm: Arm, cell: Cell, wide: int) -> list[str]:
    texts = (outcome_text(arm), accuracy_text(arm.summary), slope_text(arm.slope_start), difference_text(arm.difference))
    lines = _row(wide, arm.name, *texts)
    if arm.beyond_width:
        lines.append(f"{beyond_width_text(arm, cell):>{WIDTH}}")
    if arm.same_as_plain:
        lines.append("    the same network as plain: the shortcut brings no parameters")
    if arm.unmatched:
        verdict = "compared with a plain arm that" if arm.difference else "no difference: the nearest plain arm"
        lines.append(f"    {verdict} differs in {'; '.join(arm.unmatched)}")
    return lines


def _published(results: Results) -> list[str]:
    lines = published_lines(published_rows(results))
    return ["", *lines] if lines else []


def _remarks(results: Results) -> list[str]:
    lines = []
    named = {"left out, no longer in the config": results.left_out, "damaged, counted as missing": results.damaged}
    for words, names in named.items():
        lines += ["", f"{words}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"] if names else []
    if results.repeated:
        lines += ["", f"{results.repeated} trials stand in more than one folder and are counted once"]
    return lines


def _heading(cell: Cell) -> str:
    counts = {arm.name: arm.parameters for arm in cell.arms if arm.parameters is not None}
    label = ", ".join(f"{key} {value}" for key, value in cell.label.items())
    if not counts:
        return label
    if len(set(counts.values())) == 1:
        text = f"{next(iter(counts.values())):,} parameters{' each' if len(counts) > 1 else ''}"
    else:
        text = "parameters: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())
    nothing = "; nothing to skip at depth 2" if cell.label.get("depth") == "2" else ""
    return f"{label}  ({text}{nothing})"


def _notes(found: Sequence[Cell]) -> list[str]:
    seeds = sorted({arm.summary.n for cell in found for arm in cell.arms})
    lines = [f"n = {' or '.join(map(str, seeds))} seeds. Slope: decades per block towards the input in the gradient of the"]
    lines += ["activations before the first update; below 0 it vanishes, above 0 it explodes."]
    if any(len(arm.summary.outcomes) > 1 for cell in found for arm in cell.arms):
        lines += ["Where seeds of one arm ended differently no mean and no interval is given."]
    return lines


def _best_lines(found: Sequence[Best]) -> list[str]:
    lines = ["", "Best against best (cells chosen by mean validation accuracy)"] if found else []
    for best in found:
        lines += [
            f"  depth {best.depth}: {best_text(best)}",
            f"    {'plain':<14} {accuracy_text(best.plain_summary):<13} {best.plain}",
            f"    {best.arm:<14} {accuracy_text(best.residual_summary):<13} {best.residual}",
        ]
    return lines


def best_text(best: Best) -> str:
    """The difference of the best cells, or why there is none."""
    reason = "; ".join(best.unmatched) or "outcomes are mixed"
    return difference_text(best.difference) or f"no difference: {reason}"


def as_markdown(results: Results, metric: str = "test_accuracy", *, unmatched: bool = False) -> str:
    """accuracy.md: one row per arm of a cell."""
    found = cells(results, metric, unmatched=unmatched)
    keys = list(found[0].label) if found else []
    columns = [*keys, "arm", "trained", "accuracy (%)", "n", "difference [95 %]", "beyond width [95 %]"]
    columns += ["slope", "parameters", "unmatched"]
    lines = [f"# {results.name}: {METRICS[metric]}", "", f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for cell in found:
        for arm in cell.arms:
            values = [arm.name, outcome_text(arm), accuracy_text(arm.summary), str(arm.summary.n)]
            values += [difference_text(arm.difference), difference_text(arm.beyond_width), slope_text(arm.slope_start)]
            values += ["" if arm.parameters is None else f"{arm.parameters:,}", "; ".join(arm.unmatched)]
            lines.append(f"| {' | '.join([*cell.label.values(), *values])} |")
    beside = published_lines(published_rows(results))
    return "\n".join([*lines, "", *_notes(found), *(["", "```", *beside, "```"] if beside else [])]) + "\n"


def as_csv(results: Results, metric: str = "test_accuracy", *, unmatched: bool = False) -> str:
    """One row per arm of a cell, in [0, 1]."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    found = cells(results, metric, unmatched=unmatched)
    keys = list(found[0].label) if found else []
    outcomes = list(statistics.OUTCOMES)
    beyond = ("beyond_width", "beyond_width_low", "beyond_width_high")
    differences = ("difference", "low", "high", *beyond)
    writer.writerow([*keys, "arm", "n", *outcomes, "mean", "sd", *differences, "slope", "parameters", "unmatched"])
    for cell in found:
        for arm in cell.arms:
            counts = [arm.summary.outcomes.get(name, 0) for name in outcomes]
            compared = [value for of in (arm.difference, arm.beyond_width) for value in _interval(of)]
            values = [arm.summary.n, *counts, arm.summary.mean, arm.summary.sd, *compared, arm.slope_start, arm.parameters]
            writer.writerow([*cell.label.values(), arm.name, *map(runs.format_cell, values), "; ".join(arm.unmatched)])
    return text.getvalue()


def _interval(of: Difference | None) -> list[float | None]:
    return [of.mean, of.low, of.high] if of else [None] * 3


def as_json(results: Results, metric: str = "test_accuracy", *, unmatched: bool = False) -> str:
    """Cells and best against best as data."""
    value = {
        "experiment": results.name,
        "metric": metric,
        "cells": [asdict(cell) for cell in cells(results, metric, unmatched=unmatched)],
        "best_against_best": [asdict(best) for best in best_against_best(results, metric)],
        "published": [
            {"cell": cell, "arm": arm, **asdict(match)}
            for cell, arm, _, matches in published_rows(results)
            for match in matches
        ],
    }
    return json.dumps(value, indent=1) + "\n"


TABLES: dict[str, Callable[..., str]] = {
    "table": as_text,
    "csv": as_csv,
    "json": as_json,
    "md": as_markdown,
}


def write_accuracy(results: Results) -> None:
    """accuracy.csv and accuracy.md of what has been trained so far, in the folder of the experiment."""
    ((folder, _),) = results.sources
    columns, rows = trial_rows(results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[runs.format_cell(value) for value in row] for row in rows])
    runs.write_text(folder / "accuracy.csv", text.getvalue())
    runs.write_text(folder / "accuracy.md", as_markdown(results))
