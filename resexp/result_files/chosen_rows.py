"""Rows of result files -> one run per arm and pair of a configuration, or the reason why they cannot be compared."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resexp import config
from resexp.config import ConfigError
from resexp.result_files.reading import FileTable, Row
from resexp.runs import Outcome, Result, Results, TableSource, TrialRecord

MAX_LISTED = 3
UNMEASURED = [name for name, field in Result.model_fields.items() if field.is_required()]  # what a file does not contain
# Words in the names of measurements, and complete names of columns that describe a run; neither is a setting.
MEASURED = {
    "acc", "accuracy", "auc", "bleu", "distance", "duration", "error", "f1", "flops", "loss", "memory", "multiply",
    "perplexity", "ppl", "reward", "runtime", "score", "slope", "time", "timestamp",
}  # fmt: skip
DESCRIBED = {
    "artifact_uri", "best_epoch", "created", "dead_layers", "epoch", "experiment_id", "id", "name", "notes", "outcome",
    "parameters", "run", "run_arm", "run_id", "run_name", "run_pair", "source_name", "source_type", "state", "status",
    "step", "steps", "sweep", "tags", "trial", "user", "value",
}  # fmt: skip
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Columns:
    """The meaning of the columns, as stated by the options of `resexp compare`.

    baseline: the arm that others are compared with; by default plain, or baseline, or control. last: of several rows per run
    the one with the largest value of this column. If it is the metric, the best row. ignored: columns that may differ.
    """

    arm: str
    pair: str
    metric: str
    baseline: str | None = None
    by: tuple[str, ...] = ()
    outcome: str | None = None
    last: str | None = None
    ignored: tuple[str, ...] = ()
    lower_is_better: bool = False
    margin: float | None = None
    missing: bool = False


@dataclass(frozen=True)
class _Run:
    row: Row
    configuration: tuple[str, ...]
    arm: str
    pair: str


def results_of(table: FileTable, columns: Columns) -> Results:
    """The runs in the order of the rows.

    Raises:
        ConfigError: a missing column, a repeated or missing pair, a setting that differs, a value that is not a number.
    """
    _check_columns(table, columns)
    runs = [_run(row, columns) for row in table.rows]
    runs = _last_rows(runs, columns) if columns.last else runs
    _refuse_repeated(runs, columns)
    baseline = _baseline(runs, columns, table.files[0])
    runs = _with_pairs(runs, baseline, columns)
    _refuse_settings(table, runs, columns)
    axes = tuple(config.SHORT.get(name, name) for name in columns.by)
    integers = all(_is_integer(run.pair) for run in runs)
    source = TableSource(
        files=table.files,
        metric=columns.metric,
        pair=columns.pair,
        baseline=baseline,
        better=-1 if columns.lower_is_better else 1,
        margin=columns.margin,
        has_outcomes=columns.outcome is not None,
    )
    records = tuple(_record(run, axes, columns, integers=integers) for run in runs)
    return Results((), axes, records, table=source)


def _check_columns(table: FileTable, columns: Columns) -> None:
    options = {
        "--arm": [columns.arm], "--pair": [columns.pair], "--metric": [columns.metric], "--by": columns.by,
        "--outcome": [columns.outcome], "--last": [columns.last], "--ignore": columns.ignored,
    }  # fmt: skip
    used: dict[str, str] = {}
    for option, names in options.items():
        for name in names:
            if name is None:
                continue
            if name not in table.columns:
                hint = config.did_you_mean(name, table.columns)
                problem = f"{option} {name}: no such column; columns are {', '.join(table.columns)}{hint}"
                raise ConfigError(problem, where=table.files[0])
            if used.get(name) and option not in ("--last", "--ignore"):
                raise ConfigError(f"{name!r} is also given as {used[name]}; one column has one meaning", where=option)
            used.setdefault(name, option)
    if columns.margin is not None and not (math.isfinite(columns.margin) and columns.margin >= 0):
        raise ConfigError("is not a finite number of at least 0", where=f"--margin {columns.margin}")


def _run(row: Row, columns: Columns) -> _Run:
    for name in (columns.arm, columns.pair):
        if not row.cells[name]:
            raise ConfigError(f"column {name!r} is empty", where=row.place)
    configuration = tuple(row.cells[name] for name in columns.by)
    return _Run(row, configuration, row.cells[columns.arm], row.cells[columns.pair])


# ---- rows -------------------------------------------------------------------------------------------------------------------


def _number(row: Row, column: str) -> float:
    text = row.cells[column]
    number = float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text) if _is_number(text) else None
    if number is None:
        problem = f"column {column!r} is empty" if not text else f"column {column!r} contains {text!r}, which is not a number"
        raise ConfigError(problem, where=row.place)
    if not math.isfinite(number):
        hint = "; delete the row, or name a column of outcomes with --outcome"
        raise ConfigError(f"column {column!r} contains {text!r}, which is not finite{hint}", where=row.place)
    return number


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError:
        return False
    return True


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"0|-?[1-9]\d{0,17}", text) is not None


def _last_rows(runs: Sequence[_Run], columns: Columns) -> list[_Run]:
    """The row of each run with the largest value of `last`; the best row if that is the metric."""
    name = columns.last or ""
    sign = -1 if name == columns.metric and columns.lower_is_better else 1
    by_run: dict[tuple[str, ...], list[_Run]] = {}
    for run in runs:
        if run.row.cells[columns.metric]:  # trackers leave cells of other steps empty
            by_run.setdefault((*run.configuration, run.arm, run.pair), []).append(run)
    if not by_run:
        raise ConfigError(f"column {columns.metric!r} is empty in every row", where=runs[0].row.file)
    last = []
    for rows in by_run.values():
        values = [sign * _number(run.row, name) for run in rows]
        chosen = [run for run, value in zip(rows, values, strict=True) if value == max(values)]
        last += chosen[:1] if name == columns.metric else chosen
    return last


def _refuse_repeated(runs: Sequence[_Run], columns: Columns) -> None:
    places: dict[tuple[str, ...], list[_Run]] = {}
    for run in runs:
        places.setdefault((*run.configuration, run.arm, run.pair), []).append(run)
    repeated = [rows for rows in places.values() if len(rows) > 1]
    if repeated:
        first = repeated[0]
        more = f" (and {len(repeated) - 1} more)" if len(repeated) > 1 else ""
        names = [run.row.place for run in first[:MAX_LISTED]]
        listed = f"{' and '.join(names)}{' and others' if len(first) > MAX_LISTED else ''}"
        raise ConfigError(
            f"{columns.arm} {first[0].arm!r}, {columns.pair} {first[0].pair!r} has {len(first)} rows: {listed}{more}. "
            "Name the columns that distinguish them with --by, or take one row per run with --last",
            where=f"--pair {columns.pair}",
        )


def _baseline(runs: Sequence[_Run], columns: Columns, file: str) -> str:
    arms = list(dict.fromkeys(run.arm for run in runs))
    if len(arms) == 1:
        raise ConfigError(f"column {columns.arm!r} has one value, {arms[0]!r}; a comparison needs two arms", where=file)
    if columns.baseline is not None:
        if columns.baseline not in arms:
            hint = config.did_you_mean(columns.baseline, arms)
            raise ConfigError(f"is not one of {', '.join(arms)}{hint}", where=f"--baseline {columns.baseline}")
        return columns.baseline
    known = [name for name in ("plain", "baseline", "control") if name in arms]
    if not known:
        raise ConfigError(f"is needed: the arm to compare with, one of {', '.join(arms)}", where="--baseline")
    return known[0]


def _with_pairs(runs: Sequence[_Run], baseline: str, columns: Columns) -> list[_Run]:
    """The runs whose pair exists in every arm of their configuration; all of them, unless `missing`."""
    pairs: dict[tuple[str, ...], dict[str, dict[str, _Run]]] = {}
    for run in runs:
        pairs.setdefault(run.configuration, {}).setdefault(run.pair, {})[run.arm] = run
    complete = []
    for configuration, by_pair in pairs.items():
        arms = list(dict.fromkeys(arm for present in by_pair.values() for arm in present))
        where = ", ".join(f"{name} {value}" for name, value in zip(columns.by, configuration, strict=True))
        if baseline not in arms:
            raise ConfigError(f"no row of the baseline {baseline!r}", where=where or f"--arm {columns.arm}")
        incomplete = {pair: present for pair, present in by_pair.items() if len(present) < len(arms)}
        if incomplete and not columns.missing:
            pair, present = next(iter(incomplete.items()))
            absent = next(arm for arm in arms if arm not in present)
            place = next(iter(present.values())).row.place
            more = f" (and {len(incomplete) - 1} more pairs)" if len(incomplete) > 1 else ""
            raise ConfigError(
                f"{columns.pair} {pair!r} of {place} has no row with {columns.arm} {absent!r}{more}. "
                "To leave out such pairs, add --allow-missing",
                where=where or f"--pair {columns.pair}",
            )
        if len(incomplete) == len(by_pair):
            raise ConfigError(f"no value of {columns.pair!r} occurs in every arm", where=where or f"--pair {columns.pair}")
        complete += [run for pair, present in by_pair.items() if pair not in incomplete for run in present.values()]
    chosen = {id(run) for run in complete}
    return [run for run in runs if id(run) in chosen]


# ---- settings ---------------------------------------------------------------------------------------------------------------


def is_setting(name: str) -> bool:
    """Whether a column may be a setting, by its name: no measurement, and no description of a run."""
    if name.startswith("params."):  # of MLflow
        return True
    words = set(re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()))
    described = name.lower().replace(" ", "_") in DESCRIBED or name.startswith(("metrics.", "tags."))
    return bool(name) and not described and not words & MEASURED


def _refuse_settings(table: FileTable, runs: Sequence[_Run], columns: Columns) -> None:
    named = {columns.arm, columns.pair, columns.metric, columns.outcome, columns.last, *columns.by, *columns.ignored}
    configurations: dict[tuple[str, ...], list[_Run]] = {}
    for run in runs:
        configurations.setdefault(run.configuration, []).append(run)
    for name in table.columns:
        if name in named or not is_setting(name):
            continue
        for rows in configurations.values():
            first = rows[0]
            other = next((run for run in rows if run.row.cells[name] != first.row.cells[name]), None)
            if other:
                values = " and ".join(f"{run.row.cells[name]!r} ({run.row.place})" for run in (first, other))
                raise ConfigError(
                    f"differs within a configuration: {values}. Name it with --by to compare its values separately, or with "
                    "--ignore if it is not a setting",
                    where=f"column {name!r}",
                )


# ---- records ----------------------------------------------------------------------------------------------------------------


def _record(run: _Run, axes: Sequence[str], columns: Columns, *, integers: bool) -> TrialRecord:
    outcome = _outcome(run.row, columns.outcome) if columns.outcome else Outcome.ABOVE_CHANCE
    diverged = outcome is Outcome.DIVERGED and not run.row.cells[columns.metric]
    value = None if diverged else _number(run.row, columns.metric)
    # A file has no settings, and its pairs may be names: these records have only what comparisons of a file read.
    measured: dict[str, Any] = {**dict.fromkeys(UNMEASURED), "outcome": outcome, "value": value}
    named: dict[str, Any] = {"name": run.row.place, "arm": run.arm, "seed": int(run.pair) if integers else run.pair}
    result, trial = Result.model_construct(**measured), config.Trial.model_construct(**named)
    return TrialRecord(
        trial,
        Path(run.row.file) / run.row.place.removeprefix(f"{run.row.file}, "),
        "finished",
        result,
        dict(zip(axes, run.configuration, strict=True)),
    )


def _outcome(row: Row, column: str) -> Outcome:
    text = row.cells[column].lower().replace(" ", "_")
    if text not in list(Outcome):
        raise ConfigError(f"column {column!r} contains {row.cells[column]!r}; write {', '.join(Outcome)}", where=row.place)
    return Outcome(text)
