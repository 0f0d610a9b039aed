"""The table of configurations: the accuracy of each arm, its difference from plain, and its gradients."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from resexp.comparison import Arm, Cell, Comparison
from resexp.inference import Difference
from resexp.runs import Outcome
from resexp.tables.formats import (
    accuracy_text,
    beyond_width_text,
    contrast_text,
    dead_text,
    difference_text,
    distance_text,
    diverged_text,
    images_text,
    missing_text,
    outcome_text,
    p_text,
    ranks_text,
    sign_flip_text,
    slope_text,
    train_error_spread,
    train_error_text,
)
from resexp.tables.labels import label_text
from resexp.tables.model import EVERYWHERE, IN_TEXT, Column, Medium, Table, Value, lines_text


@dataclass(frozen=True)
class ArmRow:
    """An arm of a cell."""

    cell: Cell
    arm: Arm


IN_RECORD = EVERYWHERE - {Medium.JSON}  # columns whose data are fields of Arm, which JSON contains completely
WITH_LABELS = frozenset({Medium.TEXT, Medium.HTML})  # whose groups state all settings and the number of parameters
IN_PAPERS = frozenset({Medium.MARKDOWN, Medium.LATEX})


def configurations(comparison: Comparison, notes: Sequence[str] = (), *, p_values: bool = False) -> Table[ArmRow]:
    """One row for each arm of each cell; CSV contains shares in [0, 1]. p_values: whether people see exact p-values."""
    columns = [*map(_key, comparison.results.shown), *_results(comparison), *_differences(comparison)]
    gradients = [] if comparison.results.table else GRADIENTS
    columns += [*gradients, *(_p_values() if p_values else []), *REMARKS]
    return Table(
        title=f"{comparison.results.name}: {comparison.metric.label}",
        columns=columns,
        rows=[ArmRow(cell, arm) for cell in comparison.cells for arm in cell.arms],
        group=Column("configuration", lambda row: heading(row.cell), media=WITH_LABELS),
        notes=notes,
        record=lambda row: asdict(row.arm),
    )


def _key(key: str) -> Column[ArmRow]:
    def value(row: ArmRow) -> str:
        return row.cell.label[key]

    return Column(key, value, shared=True, data={key: value}, media=IN_RECORD - WITH_LABELS)


def heading(cell: Cell) -> str:
    """'depth 64, layer norm  (100 parameters each)'."""
    counts = {arm.name: arm.parameters for arm in cell.arms if arm.parameters is not None}
    label = label_text(cell.label)
    if not counts:
        return label
    if len(set(counts.values())) == 1:
        text = f"{next(iter(counts.values())):,} parameters{' each' if len(counts) > 1 else ''}"
    else:
        text = "parameters: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())
    no_block = "; nothing to skip at depth 2" if cell.label.get("depth") == "2" else ""
    return f"{label}  ({text}{no_block})"


def _outcome_data(outcome: Outcome) -> Callable[[ArmRow], Value]:
    return lambda row: row.arm.summary.outcomes.get(outcome, 0)


def _results(comparison: Comparison) -> list[Column[ArmRow]]:
    percent, table = comparison.metric.percent, comparison.results.table
    counts = "above chance" if table is None or table.has_outcomes else "seeds"
    columns = [
        Column(
            "arm", lambda row: row.arm.name, "arm", arm=True, data={"arm": lambda row: row.arm.name}, media=IN_RECORD,
        ),
        Column(
            counts,
            lambda row: lines_text(
                str(row.arm.summary.n) if counts == "seeds" else outcome_text(row.arm), missing_text(row.arm)
            ),
            "above chance" if counts == "above chance" else "",
            media=IN_RECORD,
            data={
                "n": lambda row: row.arm.summary.n,
                "missing": lambda row: sum(row.arm.missing.values()),
                **{outcome: _outcome_data(outcome) for outcome in Outcome},
            },
        ),
        Column(
            "accuracy (%)" if percent else "mean", lambda row: accuracy_text(row.arm.summary, comparison.metric), "±",
            number=True, media=IN_RECORD,
            data={"mean": lambda row: row.arm.summary.mean, "sd": lambda row: row.arm.summary.sd},
        ),
    ]  # fmt: skip
    return columns if table else [*columns, *TRAIN_ERROR]


TRAIN_ERROR: list[Column[ArmRow]] = [
    Column("train error (%)", lambda row: train_error_text(row.arm), number=True, media=IN_TEXT),
    Column("train error (%)", lambda row: train_error_spread(row.arm), "train error", number=True, media=EVERYWHERE - IN_TEXT),
]


def _interval(
    name: str, low: str, high: str, difference: Callable[[ArmRow], Difference | None]
) -> dict[str, Callable[[ArmRow], Value]]:
    return {
        name: lambda row: value.mean if (value := difference(row)) else None,
        low: lambda row: value.low if (value := difference(row)) else None,
        high: lambda row: value.high if (value := difference(row)) else None,
    }


def _differences(comparison: Comparison) -> list[Column[ArmRow]]:
    metric, resolution, baseline = comparison.metric, comparison.resolution, comparison.results.baseline
    arms = "residual - plain" if baseline == "plain" else f"arm - {baseline}"

    def difference(row: ArmRow) -> str:
        contrast = row.arm.contrast
        return lines_text(contrast_text(row.arm, metric, resolution), ranks_text(contrast, metric), images_text(row.arm))

    def beyond(row: ArmRow) -> str:
        return beyond_width_text(row.arm, row.cell, metric, resolution) if row.arm.beyond_width else ""

    return [
        Column(
            f"{arms}{', points' if metric.percent else ''} [95% CI]", difference, "95% CI", number=True,
            media=IN_RECORD, data=_interval("difference", "low", "high", lambda row: row.arm.difference),
        ),
        Column(
            "beyond width [95% CI]", lambda row: difference_text(row.arm.beyond_width, metric, resolution), "beyond width",
            number=True, media=IN_RECORD - IN_TEXT - {Medium.HTML, Medium.LATEX},
            data=_interval("beyond_width", "beyond_width_low", "beyond_width_high", lambda row: row.arm.beyond_width),
        ),
        Column("beyond width [95% CI]", beyond, "beyond width", below="", media=IN_TEXT | {Medium.HTML}),
        Column(data=TESTS, media=IN_RECORD),
    ]  # fmt: skip


# The tests of each difference, and the training error, which people see next to the accuracy.
TESTS: dict[str, Callable[[ArmRow], Value]] = {
    "outcomes_p": lambda row: row.arm.contrast.outcomes,
    "ranks_p": lambda row: ranks.p if (ranks := row.arm.contrast.ranks) else None,
    "ranks_least_p": lambda row: ranks.least if (ranks := row.arm.contrast.ranks) else None,
    "lowest": lambda row: ranks.lowest if (ranks := row.arm.contrast.ranks) else None,
    "highest": lambda row: ranks.highest if (ranks := row.arm.contrast.ranks) else None,
    "correlation": lambda row: pairing.correlation if (pairing := row.arm.contrast.pairing) else None,
    "sd_paired": lambda row: pairing.paired if (pairing := row.arm.contrast.pairing) else None,
    "sd_unpaired": lambda row: pairing.unpaired if (pairing := row.arm.contrast.pairing) else None,
    "sign_flip_p": lambda row: row.arm.contrast.sign_flip,
    "holm_p": lambda row: row.arm.contrast.holm,
    "least_p": lambda row: row.arm.contrast.least,
    "images": lambda row: row.arm.contrast.images,
    "half": lambda row: row.arm.contrast.half,
    "p": lambda row: row.arm.contrast.p,
    "p_table": lambda row: row.arm.contrast.p_table,
    "train_error": lambda row: error.mean if (error := row.arm.train_error) else None,
    "train_error_sd": lambda row: error.sd if (error := row.arm.train_error) else None,
}


def _p_values() -> list[Column[ArmRow]]:
    def p_value(p: Callable[[ArmRow], float | None]) -> Callable[[ArmRow], str]:
        return lambda row: "" if row.arm.contrast.sign_flip is None or (value := p(row)) is None else p_text(value)

    return [
        Column("sign-flip test", lambda row: sign_flip_text(row.arm), below="", media=IN_TEXT),
        Column("sign-flip p", p_value(lambda row: row.arm.contrast.sign_flip), number=True, media=IN_PAPERS),
        Column("Holm p", p_value(lambda row: row.arm.contrast.holm), number=True, media=IN_PAPERS),
        Column("smallest p", p_value(lambda row: row.arm.contrast.least), number=True, media=IN_PAPERS),
    ]


GRADIENTS: list[Column[ArmRow]] = [
    Column(
        "slope at init", lambda row: slope_text(row.arm.slope_start), "slope", number=True, media=IN_RECORD,
        data={"slope": lambda row: row.arm.slope_start},
    ),
    Column(
        "slope after epoch 1", lambda row: slope_text(row.arm.slope_end), "slope", number=True, media=frozenset({Medium.HTML})
    ),
    Column(
        "distance at init", lambda row: distance_text(row.arm.distance_start), "distance", number=True,
        media=IN_RECORD - IN_TEXT - {Medium.LATEX}, data={"distance": lambda row: row.arm.distance_start},
    ),
]  # fmt: skip


def _remarks(row: ArmRow) -> str:
    """Where training diverged, layers without a gradient, and why an arm is not compared."""
    arm = row.arm
    diverged = diverged_text(arm)
    verdict = "compared with a plain arm that" if arm.difference else "not compared: the closest plain arm"
    return lines_text(
        f"diverged: {diverged}" if diverged else "",
        dead_text(arm),
        "the same network as plain: the shortcut has no parameters" if arm.same_as_plain else "",
        f"{verdict} differs in {'; '.join(arm.unmatched)}" if arm.unmatched else "",
    )


REMARKS: list[Column[ArmRow]] = [
    Column(
        "parameters", lambda row: "" if row.arm.parameters is None else f"{row.arm.parameters:,}", number=True,
        data={"parameters": lambda row: row.arm.parameters}, media=IN_RECORD - WITH_LABELS - {Medium.LATEX},
    ),
    Column(
        "remarks", _remarks, below="", media=IN_RECORD - {Medium.LATEX},
        data={
            "unmatched": lambda row: "; ".join(row.arm.unmatched),
            "dead_layers": lambda row: "; ".join(dict.fromkeys(name for _, names in row.arm.dead_layers for name in names)),
        },
    ),
]  # fmt: skip
