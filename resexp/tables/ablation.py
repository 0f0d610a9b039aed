"""The results of `resexp dissect` as text for a terminal of 80 columns."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median

from resexp import runs
from resexp.runs import Outcome, Results, TrialRecord
from resexp.tables.labels import NO_AXIS, label_text
from resexp.tables.terminal import fitted

Rows = list[dict[str, str]]
SeedRows = list[Rows]  # of one arm: its rows for each seed
PartText = tuple[list[str], dict[str, list[str]]]  # a table, and sentences on each arm


def dissection_lines(
    records: Sequence[TrialRecord], results: Results, parts: Sequence[str], *, show_tables: bool = False
) -> list[str]:
    """Sentences on each arm for each part and configuration; equal sentences are printed once, with their configurations.

    show_tables: whether a table of means over seeds for each part and configuration follows.
    """
    cells: dict[str, dict[str, list[TrialRecord]]] = {}
    for record in records:
        label = label_text(results.label(record))
        cells.setdefault(label, {}).setdefault(record.trial.arm, []).append(record)
    lines, tables = [f"{results.name}: measured on the validation set; means over seeds"], list[str]()
    for part in parts:
        title, table_title, text = TEXTS[part]
        labels: dict[str, list[str]] = {}  # of the configurations, by sentence
        for label, arms in cells.items():
            rows_of_arms = {
                arm: [runs.read_rows(record.folder / runs.ABLATION_FILES[part]) for record in members]
                for arm, members in arms.items()
            }
            table, sentences = text(rows_of_arms)
            tables += ["", table_title if label == NO_AXIS else f"{table_title}; {label}", *table] if table else []
            for arm, arm_sentences in sentences.items():
                at_chance = _at_chance(arms[arm]) if rows_of_arms[arm][0] else []
                for sentence in [*arm_sentences, *at_chance]:
                    labels.setdefault(f"{arm}: {sentence}", []).append(label)
        lines += ["", title, *_grouped(labels, list(cells))]
    files = ", ".join(runs.ABLATION_FILES[part] for part in parts)
    return fitted(
        [*lines, *(tables if show_tables else ["", f"To print the tables, add --all. Each trial has the values in {files}."])]
    )


def _grouped(labels: Mapping[str, Sequence[str]], all_labels: Sequence[str]) -> list[str]:
    """Sentences under the configurations that they are about; first those on most configurations."""
    sentences: dict[tuple[str, ...], list[str]] = {}
    for sentence, where in labels.items():
        sentences.setdefault(tuple(where), []).append(sentence)
    lines = []
    for where, group in sorted(sentences.items(), key=lambda entry: -len(entry[0])):
        heading = "" if len(where) == len(all_labels) else "; ".join(where)
        lines += [f"  {heading}"] if heading else []
        lines += [f"{'    ' if heading else '  '}{sentence}" for sentence in group]
    return lines


def _at_chance(records: Sequence[TrialRecord]) -> list[str]:
    """A sentence if networks of an arm are at chance."""
    count = sum(record.result is not None and record.result.outcome == Outcome.AT_CHANCE for record in records)
    return [f"{count} of {len(records)} networks are at chance, so their changes have no meaning"] if count else []


def _columns(first: str, names: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """A table with a column for each name. Columns beyond 80 characters continue in another table below it."""
    width = max(16, *(len(name) + 2 for name in names))
    count, rows, lines = max(1, 66 // width), list(rows), list[str]()
    for start in range(0, len(names), count):
        columns = slice(start, start + count)
        for head, cells in [(first, names), *rows]:
            lines.append(f"  {head:<12}" + "".join(f"{cell:>{width}}" for cell in cells[columns]))
    return lines


def _means(seeds: SeedRows, key: str, column: str) -> dict[str, float]:
    """The mean over seeds of a column in percent, by the value of `key`."""
    return {row[key]: 100 * fmean(float(rows[n][column]) for rows in seeds) for n, row in enumerate(seeds[0])}


def _points(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"


def _lesion_text(arms: dict[str, SeedRows]) -> PartText:
    errors = {arm: _means(seeds, "block", "val_error") for arm, seeds in arms.items()}
    changes = {arm: _means(seeds, "block", "error_increase") for arm, seeds in arms.items()}
    rows = []
    for block in next(iter(errors.values())):
        cells = [(errors[arm][block], changes[arm][block]) for arm in arms]
        rows.append((block, ["-" if math.isnan(error) else f"{error:.1f} ({_points(change)})" for error, change in cells]))
    sentences = {arm: _lesion_sentences(seeds[0], changes[arm]) for arm, seeds in arms.items()}
    return _columns("without", list(arms), rows), sentences


def _lesion_sentences(rows: Rows, changes: dict[str, float]) -> list[str]:
    replacements = {row["block"]: row["without"] for row in rows[1:]}
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


def _scale_text(arms: dict[str, SeedRows]) -> PartText:
    errors = {arm: _means(seeds, "scale", "val_error") for arm, seeds in arms.items() if seeds[0]}
    sentences = {arm: [_scale_sentence(errors[arm]) if arm in errors else "nothing to scale, S is 0"] for arm in arms}
    if not errors:
        return [], sentences
    scales = list(next(iter(errors.values())))
    rows = [(scale, [f"{arm_errors[scale]:.1f}" for arm_errors in errors.values()]) for scale in scales]
    return _columns("s", list(errors), rows), sentences


def _scale_sentence(errors: dict[str, float]) -> str:
    scales, (trained, *_, last) = list(errors), list(errors.values())
    above = [error > trained + 1 for error in errors.values()]
    first = above.index(True) if any(above) else None
    threshold = (
        "never" if first is None else f"from s = {scales[first]} on" if all(above[first:]) else f"first at s = {scales[first]}"
    )
    return f"{trained:.1f} at s = 1, {last:.1f} at s = 0; over 1 point higher {threshold}"


def _surface_text(arms: dict[str, SeedRows]) -> PartText:
    names = ("final weights", "lowest", "median at edge", "not finite")
    rows, sentences = [], dict[str, list[str]]()
    for arm, seeds in arms.items():
        surfaces = [[_loss(row) for row in rows_of_seed] for rows_of_seed in seeds]
        edges = [_loss(row) for rows_of_seed in seeds for row in rows_of_seed
                 if 1 in (abs(float(row["alpha"])), abs(float(row["beta"])))]  # fmt: skip
        trained = [losses[len(losses) // 2] for losses in surfaces]
        infinite = sum(loss == math.inf for losses in surfaces for loss in losses)
        values = (fmean(trained), fmean(map(min, surfaces)), median(edges))
        rows.append((arm, [*(f"{value:.4g}" for value in values), f"{100 * infinite / sum(map(len, surfaces)):.0f}%"]))
        at_lowest = sum(loss == min(losses) for loss, losses in zip(trained, surfaces, strict=True))
        sentences[arm] = [f"in {at_lowest} of {len(seeds)} networks the loss is lowest at the final weights"]
    return _columns("loss", names, rows), sentences


def _loss(row: dict[str, str]) -> float:
    value = float(row["val_loss"])
    return math.inf if math.isnan(value) else value


# Part -> the title of its sentences, the title of its tables, and the function that writes both.
TEXTS: dict[str, tuple[str, str, Callable[[dict[str, SeedRows]], PartText]]] = {
    "lesion": (
        "lesion: change of the validation error, in points, without one block's branch",
        "lesion: validation error in % (change in points) without one block's branch",
        _lesion_text,
    ),
    "scale": (
        "scale: validation error in % with every shortcut scaled by s",
        "scale: validation error in % with every shortcut scaled by s",
        _scale_text,
    ),
    "surface": (
        "surface: validation loss around the final weights",
        "surface: validation loss around the final weights",
        _surface_text,
    ),
}
