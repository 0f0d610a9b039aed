"""A comparison for a paper: a booktabs table and a paragraph on methods."""

import unicodedata
from collections.abc import Sequence

from resexp import config, runs
from resexp.comparison import Arm, Cell, Comparison
from resexp.tables.compared import SELECTED, looks_lines, precision_notes, terms
from resexp.tables.definitions import legend
from resexp.tables.formats import (
    accuracy_text,
    choice_text,
    contrast_text,
    dead_lines,
    diverged_text,
    images_text,
    missing_text,
    number_text,
    outcome_text,
    p_text,
    ranks_text,
    seeds_text,
    slope_text,
    sources_text,
    train_error_spread,
    tuned_text,
)
from resexp.tables.labels import label_text
from resexp.tables.recipes import networks_text, recipe, training_text
from resexp.tables.tuned import tuned_arms

ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$",
    "|": r"\textbar{}", "\n": " ", "\t": " ",
}  # fmt: skip
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0327": "c"}

EXACT = ("$p$", "Holm", "min. $p$")


def latex(text: str) -> str:
    """Text that LaTeX prints unchanged under any input encoding; characters that its fonts lack become question marks."""
    return "".join(ESCAPES.get(letter) or _letter(letter) for letter in text).replace("--", "-{}-")


def _letter(letter: str) -> str:
    if letter.isascii():
        return letter if letter.isprintable() else "?"
    parts = unicodedata.normalize("NFD", letter)
    known = len(parts) == 2 and parts[0].isascii() and parts[1] in ACCENTS
    return rf"\{ACCENTS[parts[1]]}{{{parts[0]}}}" if known else "?"


def as_latex(comparison: Comparison, judgments: Sequence[str] = (), *, p_values: bool = False) -> str:
    """A table that requires only the package booktabs."""
    keys = list(comparison.results.shown)
    mean = r"mean $\pm$ SD (\%)" if comparison.metric.percent else r"mean $\pm$ SD"
    columns = [
        *keys,
        "arm",
        "above chance",
        mean,
        r"train error (\%)",
        r"residual $-$ plain [95\% CI]",
        "slope",
        *(EXACT if p_values else []),
    ]
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{_caption(comparison)}}}"]
    lines += [r"\footnotesize", r"\setlength{\tabcolsep}{2.5pt}"]  # eight columns fit the width of an article
    lines += [rf"\begin{{tabular}}{{@{{}}{'l' * (len(keys) + 2)}rrrr{'rrr' if p_values else ''}@{{}}}}", r"\toprule"]
    lines += [" & ".join([*map(latex, columns[: len(keys)]), *columns[len(keys) :]]) + r" \\", r"\midrule"]
    for index, cell in enumerate(comparison.cells):
        lines += [r"\addlinespace"] if index else []
        lines += [_row(comparison, cell, arm, first=arm is cell.arms[0], p_values=p_values) for arm in cell.arms]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}", *_tuned_table(comparison), "", r"\paragraph{Methods.}"]
    lines += [*_methods(comparison, p_values=p_values), *map(latex, [*_remarks(comparison), *judgments])]
    return "\n".join(lines) + "\n"


def _caption(comparison: Comparison) -> str:
    common = f" Fixed: {latex(label_text(comparison.results.common))}." if comparison.results.common else ""
    trained = f" Trained at {latex(recipe(comparison.results))}."
    sources = sources_text([arm for cell in comparison.cells for arm in cell.arms])
    definitions = " ".join(map(_definition, legend(*terms(comparison))))
    return (
        f"{latex(comparison.results.name)}: {latex(comparison.metric.label)}.{trained}{common} {definitions} "
        f"Slopes are measured at initialization; the $p$-values for * cover {sources}."
    )


def _definition(line: str) -> str:
    """A line of the legend as a sentence, with its formulas in math mode."""
    words = latex(line[:1].upper() + line[1:]).replace(latex("log10 |dL/dx|"), r"$\log_{10} |\partial L/\partial x|$")
    return words.replace(latex("<="), r"$\le$")


def _row(comparison: Comparison, cell: Cell, arm: Arm, *, first: bool, p_values: bool) -> str:
    label = [latex(value) if first else "" for value in cell.label.values()]
    outcomes = ", ".join(text for text in (outcome_text(arm), missing_text(arm)) if text)
    cells = [*label, latex(arm.name), latex(outcomes), _mean(comparison, arm), _signed(train_error_spread(arm))]
    differences = (
        contrast_text(arm, comparison.metric, comparison.resolution),
        ranks_text(arm.contrast, comparison.metric),
        images_text(arm),
    )
    difference = "; ".join(filter(None, differences))
    cells += [_signed(difference), _signed(slope_text(arm.slope_start))]
    return " & ".join([*cells, *(map(latex, _exact(arm)) if p_values else [])]) + r" \\"


def _exact(arm: Arm) -> list[str]:
    contrast = arm.contrast
    return [
        "" if p is None or contrast.sign_flip is None else p_text(p)
        for p in (contrast.sign_flip, contrast.holm, contrast.least)
    ]


def _mean(comparison: Comparison, arm: Arm) -> str:
    summary = arm.summary
    if summary.mean is not None:
        sd = "" if summary.sd is None else rf" $\pm$ {number_text(summary.sd, comparison.metric)}"
        return f"{_signed(number_text(summary.mean, comparison.metric))}{sd}"
    if summary.median is None:
        return "--"
    ends = f"{number_text(summary.lowest, comparison.metric)} to {number_text(summary.highest, comparison.metric)}"
    return f"median {number_text(summary.median, comparison.metric)} ({ends})"


def _signed(text: str) -> str:
    """Hyphens before digits are minus signs."""
    words = latex(text)
    for digit in "0123456789":
        words = words.replace(f"-{digit}", f"$-${digit}")
    return "--" if words == "-" else words


# ---- methods ----------------------------------------------------------------------------------------------------------------


INTERVALS = (
    r"Differences are means over seeds of residual minus plain, with 95\,\% Student intervals of the paired differences. No "
    "interval is given if outcomes (above chance, at chance, diverged) differ across the seeds of an arm, or if all its "
    "networks diverge. Counts above chance are then compared by Fisher's exact test, values by an exact Mann-Whitney test."
)
TESTS = (
    "$p$: two-sided exact sign-flip test of the paired differences. Holm: corrected for all contrasts of the table. min.~$p$: "
    "smallest attainable $p$ for this number of pairs."
)


def _methods(comparison: Comparison, *, p_values: bool) -> list[str]:
    """n, split, networks, recipe, test and tuning. Everything but the last paragraph is on equal settings."""
    pairs = (
        "Plain and residual networks are trained as pairs: shared weights have equal initial values, and all batches and "
        rf"hyperparameters are identical (resexp {_version(comparison)}); $n = {seeds_text(comparison.cells, ', ')}$ seeds."
        f"{_looks(comparison)}"
    )
    return [
        pairs,
        *_splits(comparison),
        latex(networks_text(comparison.results)),
        latex(training_text(comparison.results)),
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
    return "".join(f" {latex(line)}" for line in looks_lines(comparison))


def _version(comparison: Comparison) -> str:
    launches = runs.launches(comparison.results.sources[0][0])
    return latex(launches[-1]["resexp"]) if launches else ""


def _splits(comparison: Comparison) -> list[str]:
    lines = []
    for folder, experiment in comparison.results.sources:
        launches = runs.launches(folder)
        if launches:
            training, validation, test = launches[-1]["images"]
            sets = f"{training:,} training images, {validation:,} validation images and {test:,} test images"
            evaluation = "the test set was evaluated once, after training"
            lines.append(f"{latex(experiment.shared.data.name)}: {sets}; {evaluation}.")
            lines += map(latex, config.limits(experiment.shared))
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
    return ["", r"\paragraph{Tuned settings.}", *map(latex, (equal, best, ranges))]


def _tuned_table(comparison: Comparison) -> list[str]:
    """With `--tune`, a second table: a row for each arm at its own best setting."""
    arms = tuned_arms(comparison) if comparison.tuned_keys else []
    if not arms:
        return []
    metric, keys = comparison.metric, list(arms[0].label)
    caption = f"{comparison.results.name}: {metric.label}, each arm at its best {', '.join(comparison.tuned_keys)}."
    mean = r"mean $\pm$ SD (\%)" if metric.percent else r"mean $\pm$ SD"
    columns = [*map(latex, [*keys, "arm", "best setting"]), mean, r"residual $-$ plain [95\% CI]"]
    lines = ["", r"\begin{table}", r"\centering", rf"\caption{{{latex(caption)}}}", r"\footnotesize"]
    lines += [r"\setlength{\tabcolsep}{2.5pt}", rf"\begin{{tabular}}{{@{{}}{'l' * len(keys)}lp{{3cm}}rr@{{}}}}", r"\toprule"]
    lines += [rf"{' & '.join(columns)} \\", r"\midrule"]
    for arm in arms:
        label = list(arm.label.values()) if arm.compared is None else [""] * len(keys)
        difference = tuned_text(arm.compared, metric, comparison.resolution) if arm.compared else ""
        cells = [*map(latex, [*label, arm.choice.arm, choice_text(arm.choice)])]
        lines.append(" & ".join([*cells, _signed(accuracy_text(arm.choice.summary, metric)), _signed(difference)]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]
