"""A comparison for a paper: a booktabs table and a paragraph on methods."""

from collections.abc import Sequence
from dataclasses import replace

from resexp import __version__, config, runs
from resexp.comparison import EACH_AT_BEST, Comparison
from resexp.tables.best_settings import SELECTED, best_settings
from resexp.tables.compared import looks_lines, precision_notes, terms
from resexp.tables.comparison_tables import added_tables
from resexp.tables.configurations import configurations
from resexp.tables.definitions import legend
from resexp.tables.formats import (
    dead_lines,
    diverged_text,
    seeds_text,
    sources_text,
)
from resexp.tables.labels import label_text
from resexp.tables.recipes import networks_text, recipe, training_text
from resexp.tables.writers import latex_lines, latex_text, latex_words


def as_latex(comparison: Comparison, judgments: Sequence[str] = (), *, p_values: bool = False) -> str:
    """Tables that require only the package booktabs."""
    tables = [latex_lines(configurations(comparison, _caption(comparison), p_values=p_values))]
    if comparison.tuned_keys:
        tuned = best_settings(comparison)
        rows = [row for row in tuned.rows if row.comparison.how == EACH_AT_BEST]
        tables.append(latex_lines(replace(tuned, rows=rows)))
    tables += map(latex_lines, added_tables(comparison).values())
    lines = [line for table in tables for line in [*table, ""]]
    texts = map(latex_words, [*_remarks(comparison), *judgments])
    methods = [r"\paragraph{Methods.}", *_methods(comparison, p_values=p_values)]
    return "\n".join([r"% \usepackage{booktabs}", *lines, *methods, *texts]) + "\n"


def _caption(comparison: Comparison) -> list[str]:
    if comparison.results.table:
        shown = any(arm.contrast.shown for cell in comparison.cells for arm in cell.arms)
        return [*legend(*terms(comparison)), *(["the p-values for * cover seeds."] if shown else [])]
    sources = sources_text([arm for cell in comparison.cells for arm in cell.arms])
    return [
        f"trained at {recipe(comparison.results)}.",
        *([f"fixed: {label_text(comparison.results.common)}."] if comparison.results.common else []),
        *legend(*terms(comparison)),
        f"slopes are measured at initialization; the p-values for * cover {sources}.",
    ]


# ---- methods ----------------------------------------------------------------------------------------------------------------


INTERVALS = (
    r"Differences are means over seeds of residual minus plain, with 95\,\% Student intervals of the paired differences. No "
    "interval is given if outcomes (above chance, at chance, diverged) differ across the seeds of an arm, or if all its "
    "networks diverge. Counts above chance are then compared by Fisher's exact test, values by an exact Mann-Whitney test."
)
TESTS = (
    "Sign-flip $p$: two-sided exact sign-flip test of the paired differences. Holm $p$: corrected for all contrasts of the "
    "table. Smallest $p$: attainable for this number of pairs."
)


def _methods(comparison: Comparison, *, p_values: bool) -> list[str]:
    """n, split, networks, recipe, test and tuning. Everything but the last paragraph is on equal settings."""
    if table := comparison.results.table:
        text = (
            f"{table.metric} is compared with that of {table.baseline} in pairs of runs with the same {table.pair} "
            f"(resexp {__version__});"
        )
        count = rf"$n = {seeds_text(comparison.cells, ', ')}$ seeds."
        intervals = INTERVALS.replace("residual minus plain", latex_text(f"each arm minus {table.baseline}"))
        return [latex_text(text) + " " + count, intervals, *([TESTS] if p_values else [])]
    pairs = (
        "Plain and residual networks are trained as pairs: shared weights have equal initial values, and all batches and "
        rf"hyperparameters are identical (resexp {_version(comparison)}); $n = {seeds_text(comparison.cells, ', ')}$ seeds."
        f"{_looks(comparison)}"
    )
    return [
        pairs,
        *_splits(comparison),
        latex_text(networks_text(comparison.results)),
        latex_text(training_text(comparison.results)),
        INTERVALS,
        *([TESTS] if p_values else []),
        *_tuning(comparison),
    ]


def _remarks(comparison: Comparison) -> list[str]:
    """Facts that the table does not show: where training diverged, layers without a gradient, the precision of norms."""
    diverged = [
        f"{label_text(cell.label)}, {arm.name}: diverged: {diverged_text(arm)}"
        for cell in comparison.cells
        for arm in cell.arms
        if arm.diverged
    ]
    return [*(f"{line}." for line in [*diverged, *dead_lines(comparison.cells)]), *precision_notes(comparison)]


def _looks(comparison: Comparison) -> str:
    return "".join(f" {latex_text(line)}" for line in looks_lines(comparison))


def _version(comparison: Comparison) -> str:
    launches = runs.launches(comparison.results.sources[0][0])
    return latex_text(launches[-1].resexp) if launches else ""


def _splits(comparison: Comparison) -> list[str]:
    lines = []
    for folder, experiment in comparison.results.sources:
        launches = runs.launches(folder)
        if launches:
            training, validation, test = launches[-1].images
            sets = f"{training:,} training images, {validation:,} validation images and {test:,} test images"
            evaluation = "the test set was evaluated once, after training"
            lines.append(f"{latex_text(experiment.shared.data.name)}: {sets}; {evaluation}.")
            lines += map(latex_text, config.limits(experiment.shared))
    return list(dict.fromkeys(lines))


UNTUNED = "No setting was tuned: both arms of a pair have the same settings."


def _tuning(comparison: Comparison) -> list[str]:
    if not comparison.tuned_keys:
        return [UNTUNED]
    keys = ", ".join(comparison.tuned_keys)
    equal = "In the first table, both arms of a pair have the same settings."
    best = f"In the second table, each arm has its best {keys}, {SELECTED}."
    ranges = (
        "Its differences are residual minus plain, each at its own best setting, and its intervals allow for the selection."
    )
    return ["", r"\paragraph{Tuned settings.}", *map(latex_text, (equal, best, ranges))]
