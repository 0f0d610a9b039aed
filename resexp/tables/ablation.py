"""The results of `resexp dissect`: sentences on each arm, and one table for each part."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from resexp import runs
from resexp.runs import Outcome, Results, TrialRecord
from resexp.tables.labels import grouped, label_text
from resexp.tables.model import Column, Part, Table

SeedRows = list[list[dict[str, str]]]  # of one arm: the rows of its file for each seed
Cells = Mapping[str, Mapping[str, SeedRows]]  # by configuration and arm
LESION_TITLE = "lesion: validation error in % (change in points) without one block's branch"
SCALE_TITLE = "scale: validation error in % with every shortcut scaled by s"
SURFACE_TITLE = "surface: validation loss around the final weights"


def dissection(
    records: Sequence[TrialRecord], results: Results, parts: Sequence[str], *, show_tables: bool = False
) -> list[Part]:
    """Sentences on each arm for each part and configuration; equal sentences are printed once, with their configurations.

    show_tables: whether the table of means over seeds of each part follows.
    """
    trials: dict[str, dict[str, list[TrialRecord]]] = {}
    for record in records:
        trials.setdefault(label_text(results.label(record)), {}).setdefault(record.trial.arm, []).append(record)
    lines, tables = [f"{results.name}: measured on the validation set; means over seeds"], list[Table[AblationRow]]()
    for part in parts:
        title, sentences, table = PARTS[part]
        file = runs.ABLATION_FILES[part]
        cells = {
            label: {arm: [runs.read_rows(record.folder / file) for record in members] for arm, members in arms.items()}
            for label, arms in trials.items()
        }
        statements: list[tuple[str, str]] = []  # configuration, sentence
        for label, arms in cells.items():
            for arm, seeds in arms.items():
                at_chance = _at_chance(trials[label][arm]) if seeds[0] else []
                statements += [(label, f"{arm}: {sentence}") for sentence in [*sentences(seeds), *at_chance]]
        lines += ["", title, *grouped(statements, list(cells))]
        tables.append(replace(table(cells), key=part))
    files = ", ".join(runs.ABLATION_FILES[part] for part in parts)
    hint = ["", f"To print the tables, add --all. Each trial has the values in {files}."]
    return [*lines, *([table for table in tables if table.rows] if show_tables else hint)]


def _at_chance(records: Sequence[TrialRecord]) -> list[str]:
    """A sentence if networks of an arm are at chance."""
    count = sum(record.result is not None and record.result.outcome == Outcome.AT_CHANCE for record in records)
    return [f"{count} of {len(records)} networks are at chance, so their changes have no meaning"] if count else []


# ---- sentences --------------------------------------------------------------------------------------------------------------


def _means(seeds: SeedRows, key: str, column: str) -> dict[str, float]:
    """The mean over seeds of a column, by the value of `key`."""
    return {row[key]: fmean(float(rows[n][column]) for rows in seeds) for n, row in enumerate(seeds[0])}


def _points(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def lesion_sentences(seeds: SeedRows) -> list[str]:
    """The range of the changes of error, and the blocks that are replaced by the identity or cannot be removed."""
    changes = _means(seeds, "block", "error_increase")
    replacements = {row["block"]: row["without"] for row in seeds[0][1:]}
    removed = {block: changes[block] for block, replacement in replacements.items() if replacement != "nothing"}
    fixed = [block for block, replacement in replacements.items() if replacement == "nothing"]
    sentences = []
    if removed:
        lowest, highest = min(removed, key=removed.__getitem__), max(removed, key=removed.__getitem__)
        ends = f"{_points(removed[lowest])} ({lowest}) to {_points(removed[highest])} ({highest})"
        sentences.append(f"{ends}, median {_points(median(removed.values()))}")
    sentences += [f"{', '.join(fixed)} cannot be removed: shapes change and S is 0"] if fixed else []
    sentences += ["S is 0, so the identity replaces the block"] if "identity" in replacements.values() else []
    return sentences or ["no blocks"]


def scale_sentences(seeds: SeedRows) -> list[str]:
    """The error with full and without shortcuts, and the scale from which on it is over a point higher."""
    if not seeds[0]:
        return ["nothing to scale, S is 0"]
    errors = {scale: 100 * error for scale, error in _means(seeds, "scale", "val_error").items()}
    scales, (trained, *_, last) = list(errors), list(errors.values())
    above = [error > trained + 1 for error in errors.values()]
    first = above.index(True) if any(above) else None
    threshold = (
        "never" if first is None else f"from s = {scales[first]} on" if all(above[first:]) else f"first at s = {scales[first]}"
    )
    return [f"{trained:.1f} at s = 1, {last:.1f} at s = 0; over 1 point higher {threshold}"]


def surface_sentences(seeds: SeedRows) -> list[str]:
    """The number of networks whose final weights have the lowest loss of the surface."""
    surfaces = [_losses(rows) for rows in seeds]
    at_lowest = sum(losses[len(losses) // 2] == min(losses) for losses in surfaces)
    return [f"in {at_lowest} of {len(seeds)} networks the loss is lowest at the final weights"]


def _losses(rows: Sequence[Mapping[str, str]]) -> list[float]:
    losses = [float(row["val_loss"]) for row in rows]
    return [math.inf if math.isnan(loss) else loss for loss in losses]


# ---- tables -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AblationRow:
    """One ablation in one configuration; values: by arm, the mean over seeds of each column."""

    configuration: str
    name: str
    values: Mapping[str, Mapping[str, float]]


def _table(
    cells: Cells, title: str, heading: str, key: str, columns: Sequence[str], text: Callable[[Mapping[str, float]], str]
) -> Table[AblationRow]:
    """One row for each value of `key` in each configuration, with a column for each arm."""
    rows, names = list[AblationRow](), list[str]()
    for label, arms in cells.items():
        means = {arm: {column: _means(seeds, key, column) for column in columns} for arm, seeds in arms.items() if seeds[0]}
        names += means
        for name in dict.fromkeys(row[key] for arm in means for row in arms[arm][0]):
            values = {arm: {column: by_name[name] for column, by_name in by_column.items() if name in by_name}
                      for arm, by_column in means.items()}  # fmt: skip
            rows.append(AblationRow(label, name, values))

    def arm_column(arm: str) -> Column[AblationRow]:
        def data(column: str) -> Callable[[AblationRow], float | None]:
            return lambda row: value if math.isfinite(value := row.values.get(arm, {}).get(column, math.nan)) else None

        return Column(
            arm, lambda row: text(values) if (values := row.values.get(arm)) else "", number=True,
            data={f"{arm} {column}": data(column) for column in columns},
        )  # fmt: skip

    return Table(
        title=title,
        columns=[
            Column(
                heading, lambda row: row.name, data={"configuration": lambda row: row.configuration, key: lambda row: row.name}
            ),
            *map(arm_column, dict.fromkeys(names)),
        ],
        rows=rows,
        group=Column("configuration", lambda row: row.configuration),
    )


def lesion_table(cells: Cells) -> Table[AblationRow]:
    """The error without each block, and its change."""

    def text(values: Mapping[str, float]) -> str:
        error = values["val_error"]
        return "-" if math.isnan(error) else f"{100 * error:.1f} ({_points(values['error_increase'])})"

    return _table(cells, LESION_TITLE, "without", "block", ("val_error", "error_increase"), text)


def scale_table(cells: Cells) -> Table[AblationRow]:
    """The error with all shortcuts scaled by s."""
    return _table(cells, SCALE_TITLE, "s", "scale", ("val_error",), lambda values: f"{100 * values['val_error']:.1f}")


def surface_table(cells: Cells) -> Table[AblationRow]:
    """The loss at the final weights, the lowest one and that at the edge, for each arm."""
    rows = []
    for label, arms in cells.items():
        for arm, seeds in arms.items():
            surfaces = [_losses(rows_of_seed) for rows_of_seed in seeds]
            edges = [loss for rows_of_seed, losses in zip(seeds, surfaces, strict=True)
                     for row, loss in zip(rows_of_seed, losses, strict=True)
                     if 1 in (abs(float(row["alpha"])), abs(float(row["beta"])))]  # fmt: skip
            trained = fmean(losses[len(losses) // 2] for losses in surfaces)
            infinite = fmean(loss == math.inf for losses in surfaces for loss in losses)
            values = {"trained": trained, "lowest": fmean(map(min, surfaces)), "edge": median(edges), "infinite": infinite}
            rows.append(AblationRow(label, arm, {arm: values}))

    def loss(heading: str, key: str, form: str = ".4g") -> Column[AblationRow]:
        return Column(
            heading, lambda row: f"{row.values[row.name][key]:{form}}", number=True,
            data={key: lambda row: value if math.isfinite(value := row.values[row.name][key]) else None},
        )  # fmt: skip

    return Table(
        title=SURFACE_TITLE,
        columns=[
            Column(
                "arm", lambda row: row.name, "arm", arm=True,
                data={"configuration": lambda row: row.configuration, "arm": lambda row: row.name},
            ),
            loss("final weights", "trained"),
            loss("lowest", "lowest"),
            loss("median at edge", "edge"),
            loss("not finite", "infinite", ".0%"),
        ],
        rows=rows,
        group=Column("configuration", lambda row: row.configuration),
    )  # fmt: skip


# Part -> the title of its sentences, the sentences on one arm, and its table.
PARTS: dict[str, tuple[str, Callable[[SeedRows], list[str]], Callable[[Cells], Table[AblationRow]]]] = {
    "lesion": ("lesion: change of the validation error, in points, without one block's branch", lesion_sentences, lesion_table),
    "scale": (SCALE_TITLE, scale_sentences, scale_table),
    "surface": (SURFACE_TITLE, surface_sentences, surface_table),
}
