"""The results of `resexp dissect` as text for a terminal of 80 columns."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean, median

from resexp import runs
from resexp.runs import Outcome, Results, TrialRecord
from resexp.tables.labels import NO_AXIS, label_text
from resexp.tables.terminal import fitted

Rows = list[dict[str, str]]
SeedRows = list[Rows]  # of one arm: its rows for each seed


def dissection_lines(records: Sequence[TrialRecord], results: Results, parts: Iterable[str]) -> list[str]:
    """A table of means over seeds for each part and configuration, and a sentence for each arm."""
    lines = [f"{results.name}: measured on the validation set; means over seeds"]
    for part in parts:
        cells: dict[str, dict[str, list[TrialRecord]]] = {}
        for record in records:
            label = label_text(results.label(record))
            cells.setdefault(label, {}).setdefault(record.trial.arm, []).append(record)
        title, text = TEXTS[part]
        for label, arms in cells.items():
            rows_of_arms = {
                arm: [runs.read_rows(record.folder / runs.ABLATION_FILES[part]) for record in members]
                for arm, members in arms.items()
            }
            lines += ["", title if label == NO_AXIS else f"{title}; {label}", *text(rows_of_arms), *_at_chance(arms)]
    return fitted(lines)


def _at_chance(arms: dict[str, list[TrialRecord]]) -> Iterator[str]:
    for arm, records in arms.items():
        count = sum(record.result is not None and record.result["outcome"] == Outcome.AT_CHANCE for record in records)
        if count:
            yield f"  {arm}: {count} of {len(records)} networks are at chance, so their changes have no meaning"


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


def _lesion_text(arms: dict[str, SeedRows]) -> list[str]:
    errors = {arm: _means(seeds, "block", "val_error") for arm, seeds in arms.items()}
    changes = {arm: _means(seeds, "block", "error_increase") for arm, seeds in arms.items()}
    rows = []
    for block in next(iter(errors.values())):
        cells = [(errors[arm][block], changes[arm][block]) for arm in arms]
        rows.append((block, ["-" if math.isnan(error) else f"{error:.1f} ({_points(change)})" for error, change in cells]))
    sentences = [f"  {arm}: {_lesion_sentence(seeds[0], changes[arm])}" for arm, seeds in arms.items()]
    return [*_columns("without", list(arms), rows), *sentences]


def _lesion_sentence(rows: Rows, changes: dict[str, float]) -> str:
    replacements = {row["block"]: row["without"] for row in rows[1:]}
    removed = {block: changes[block] for block, replacement in replacements.items() if replacement != "nothing"}
    fixed = [block for block, replacement in replacements.items() if replacement == "nothing"]
    clauses = [f"{', '.join(fixed)} cannot be removed: shapes change and S is 0"] if fixed else []
    if removed:
        lowest, highest = min(removed, key=removed.__getitem__), max(removed, key=removed.__getitem__)
        clauses.insert(
            0,
            f"removing one block changes the error by {_points(removed[lowest])} ({lowest}) to "
            f"{_points(removed[highest])} points ({highest}), median {_points(median(removed.values()))}",
        )
    clauses += ["S is 0, so the identity replaces the block"] if "identity" in replacements.values() else []
    return "; ".join(clauses) or "no blocks"


def _scale_text(arms: dict[str, SeedRows]) -> list[str]:
    errors = {arm: _means(seeds, "scale", "val_error") for arm, seeds in arms.items() if seeds[0]}
    unscaled = [f"  {arm}: nothing to scale, S is 0" for arm in arms if arm not in errors]
    if not errors:
        return unscaled
    scales = list(next(iter(errors.values())))
    rows = [(scale, [f"{arm_errors[scale]:.1f}" for arm_errors in errors.values()]) for scale in scales]
    return [
        *_columns("s", list(errors), rows),
        *(f"  {arm}: {_scale_sentence(arm_errors)}" for arm, arm_errors in errors.items()),
        *unscaled,
    ]


def _scale_sentence(errors: dict[str, float]) -> str:
    scales, (trained, *_, last) = list(errors), list(errors.values())
    above = [error > trained + 1 for error in errors.values()]
    first = above.index(True) if any(above) else None
    threshold = (
        "never" if first is None else f"from s = {scales[first]} on" if all(above[first:]) else f"first at s = {scales[first]}"
    )
    return f"error {trained:.1f} at s = 1, more than 1 point higher {threshold}, {last:.1f} at s = 0"


def _surface_text(arms: dict[str, SeedRows]) -> list[str]:
    names = ("final weights", "lowest", "median at edge", "not finite")
    rows, sentences = [], []
    for arm, seeds in arms.items():
        surfaces = [[_loss(row) for row in rows_of_seed] for rows_of_seed in seeds]
        edges = [_loss(row) for rows_of_seed in seeds for row in rows_of_seed
                 if 1 in (abs(float(row["alpha"])), abs(float(row["beta"])))]  # fmt: skip
        trained = [losses[len(losses) // 2] for losses in surfaces]
        infinite = sum(loss == math.inf for losses in surfaces for loss in losses)
        values = (fmean(trained), fmean(map(min, surfaces)), median(edges))
        rows.append((arm, [*(f"{value:.4g}" for value in values), f"{100 * infinite / sum(map(len, surfaces)):.0f}%"]))
        at_lowest = sum(loss == min(losses) for loss, losses in zip(trained, surfaces, strict=True))
        sentences.append(f"  {arm}: in {at_lowest} of {len(seeds)} networks the loss is lowest at the final weights")
    return [*_columns("loss", names, rows), *sentences]


def _loss(row: dict[str, str]) -> float:
    value = float(row["val_loss"])
    return math.inf if math.isnan(value) else value


TEXTS: dict[str, tuple[str, Callable[[dict[str, SeedRows]], list[str]]]] = {
    "lesion": ("lesion: validation error in % (change in points) without one block's branch", _lesion_text),
    "scale": ("scale: validation error in % with every shortcut scaled by s", _scale_text),
    "surface": ("surface: validation loss around the final weights", _surface_text),
}
