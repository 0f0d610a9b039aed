"""What `resexp dissect` measured, in words for a terminal of 80 columns."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean, median

from resexp import runs
from resexp.runs import Outcome, Results, TrialRecord
from resexp.tables.terminal import fitted

Rows = list[dict[str, str]]
Seeds = list[Rows]  # the rows of each seed of an arm


def dissection_lines(records: Sequence[TrialRecord], results: Results, parts: Iterable[str]) -> list[str]:
    """A table for each part and cell, means over seeds, and a sentence for each arm."""
    lines = [f"{results.name}: measured on the validation images; means over seeds"]
    for part in parts:
        cells: dict[str, dict[str, list[TrialRecord]]] = {}
        for record in records:
            label = ", ".join(f"{key} {value}" for key, value in results.label(record).items())
            cells.setdefault(label, {}).setdefault(record.trial.arm, []).append(record)
        title, text = TEXTS[part]
        for label, arms in cells.items():
            read = {
                arm: [runs.read_rows(of.folder / runs.ABLATION_FILES[part]) for of in members] for arm, members in arms.items()
            }
            lines += ["", f"{title}; {label}" if label else title, *text(read), *_stuck(arms)]
    return fitted(lines)


def _stuck(arms: dict[str, list[TrialRecord]]) -> Iterator[str]:
    for arm, records in arms.items():
        stuck = sum(record.result is not None and record.result["outcome"] == Outcome.AT_CHANCE for record in records)
        if stuck:
            yield f"  {arm}: {stuck} of {len(records)} stuck at the most frequent class: no change there says anything"


def _columns(first: str, names: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """A table with a column for each name; those that do not fit into 80 columns have a table of their own below it."""
    wide = max(16, *(len(name) + 2 for name in names))
    many, rows, lines = max(1, 66 // wide), list(rows), list[str]()
    for start in range(0, len(names), many):
        shown = slice(start, start + many)
        for head, cells in [(first, names), *rows]:
            lines.append(f"  {head:<12}" + "".join(f"{cell:>{wide}}" for cell in cells[shown]))
    return lines


def _means(seeds: Seeds, key: str, column: str) -> dict[str, float]:
    """The mean over seeds of a column in percent, by the value of `key`."""
    return {row[key]: 100 * fmean(float(rows[n][column]) for rows in seeds) for n, row in enumerate(seeds[0])}


def _points(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"


def _lesion_text(arms: dict[str, Seeds]) -> list[str]:
    errors = {arm: _means(seeds, "block", "val_error") for arm, seeds in arms.items()}
    changes = {arm: _means(seeds, "block", "error_increase") for arm, seeds in arms.items()}
    rows = []
    for block in next(iter(errors.values())):
        cells = [(errors[arm][block], changes[arm][block]) for arm in arms]
        rows.append((block, ["-" if math.isnan(error) else f"{error:.1f} ({_points(change)})" for error, change in cells]))
    sentences = [f"  {arm}: {_lesion_sentence(seeds[0], changes[arm])}" for arm, seeds in arms.items()]
    return [*_columns("without", list(arms), rows), *sentences]


def _lesion_sentence(rows: Rows, changes: dict[str, float]) -> str:
    left = {row["block"]: row["without"] for row in rows[1:]}
    removed = {block: changes[block] for block, of in left.items() if of != "nothing"}
    fixed = [block for block, of in left.items() if of == "nothing"]
    words = [f"{', '.join(fixed)} cannot be removed: shapes change and S is 0"] if fixed else []
    if removed:
        least, most = min(removed, key=removed.__getitem__), max(removed, key=removed.__getitem__)
        middle = median(removed.values())
        words.insert(
            0,
            f"removing one block changes the error by {_points(removed[least])} ({least}) to "
            f"{_points(removed[most])} points ({most}), median {_points(middle)}",
        )
    words += ["S is 0, so the identity took the block's place"] if "identity" in left.values() else []
    return "; ".join(words) or "no blocks"


def _scale_text(arms: dict[str, Seeds]) -> list[str]:
    errors = {arm: _means(seeds, "scale", "val_error") for arm, seeds in arms.items() if seeds[0]}
    unscaled = [f"  {arm}: nothing to scale, S is 0" for arm in arms if arm not in errors]
    if not errors:
        return unscaled
    shortcut_scales = next(iter(errors.values()))
    rows = [(shortcut_scale, [f"{of[shortcut_scale]:.1f}" for of in errors.values()]) for shortcut_scale in shortcut_scales]
    return [*_columns("s", list(errors), rows), *(f"  {arm}: {_scale_sentence(of)}" for arm, of in errors.items()), *unscaled]


def _scale_sentence(errors: dict[str, float]) -> str:
    shortcut_scales, (trained, *_, last) = list(errors), list(errors.values())
    above = [error > trained + 1 for error in errors.values()]
    first = above.index(True) if any(above) else None
    beyond = (
        "nowhere"
        if first is None
        else f"from s = {shortcut_scales[first]} on"
        if all(above[first:])
        else f"first at s = {shortcut_scales[first]}"
    )
    return f"error {trained:.1f} as trained, more than a point above that {beyond}, {last:.1f} at s = 0"


def _surface_text(arms: dict[str, Seeds]) -> list[str]:
    names = ("as trained", "lowest", "median at edge", "not finite")
    rows, sentences = [], []
    for arm, seeds in arms.items():
        losses = [[_loss(row) for row in of] for of in seeds]
        edges = [_loss(row) for of in seeds for row in of if 1 in (abs(float(row["alpha"])), abs(float(row["beta"])))]
        trained, lost = [of[len(of) // 2] for of in losses], [loss for of in losses for loss in of if loss == math.inf]
        values = (fmean(trained), fmean(map(min, losses)), median(edges))
        rows.append((arm, [*(f"{value:.4g}" for value in values), f"{100 * len(lost) / sum(map(len, losses)):.0f} %"]))
        at_lowest = sum(loss == min(of) for loss, of in zip(trained, losses, strict=True))
        sentences.append(f"  {arm}: in {at_lowest} of {len(seeds)} the loss is lowest at the trained weights")
    return [*_columns("loss", names, rows), *sentences]


def _loss(row: dict[str, str]) -> float:
    value = float(row["val_loss"])
    return math.inf if math.isnan(value) else value


TEXTS: dict[str, tuple[str, Callable[[dict[str, Seeds]], list[str]]]] = {
    "lesion": ("lesion: error in % without one block's branch", _lesion_text),
    "scale": ("scale: error in % with every shortcut scaled by s", _scale_text),
    "surface": ("surface: loss around the trained weights", _surface_text),
}
