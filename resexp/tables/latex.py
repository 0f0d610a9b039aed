"""A comparison for a paper: a table in booktabs, and a paragraph of methods under it."""

import unicodedata
from collections.abc import Sequence

from resexp import config, inference, runs
from resexp.comparison import EACH_AT_BEST, Arm, Cell, Comparison, TunedComparison
from resexp.config import Settings
from resexp.runs import Results
from resexp.tables.compared import SELECTED, looks_lines, precision_notes
from resexp.tables.formats import (
    choice_text,
    contrast_text,
    dead_lines,
    diverged_text,
    images_text,
    missing_text,
    named,
    number_text,
    outcome_text,
    p_text,
    ranks_text,
    seeds_text,
    slope_text,
    sources_text,
    train_error_spread,
)
from resexp.tables.recipes import recipe

ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$",
    "|": r"\textbar{}", "\n": " ", "\t": " ",
}  # fmt: skip
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0327": "c"}

EXACT = ("$p$", "Holm", "least")


def latex(text: str) -> str:
    """Text that LaTeX prints as it is, with whatever input encoding; what its fonts lack as a question mark."""
    return "".join(ESCAPES.get(letter) or _letter(letter) for letter in text).replace("--", "-{}-")


def _letter(letter: str) -> str:
    if letter.isascii():
        return letter if letter.isprintable() else "?"
    parts = unicodedata.normalize("NFD", letter)
    known = len(parts) == 2 and parts[0].isascii() and parts[1] in ACCENTS
    return rf"\{ACCENTS[parts[1]]}{{{parts[0]}}}" if known else "?"


def as_latex(of: Comparison, judgments: Sequence[str] = (), *, test: bool = False) -> str:
    """Needs the package booktabs and nothing else."""
    keys = list(of.results.shown)
    mean = r"mean $\pm$ sd (\%)" if of.metric.percent else r"mean $\pm$ sd"
    columns = [
        *keys,
        "arm",
        "above chance",
        mean,
        r"train error (\%)",
        r"difference [95\% CI]",
        "slope",
        *(EXACT if test else []),
    ]
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{_caption(of)}}}"]
    lines += [r"\footnotesize", r"\setlength{\tabcolsep}{2.5pt}"]  # eight columns fit the width of an article
    lines += [rf"\begin{{tabular}}{{@{{}}{'l' * (len(keys) + 2)}rrrr{'rrr' if test else ''}@{{}}}}", r"\toprule"]
    lines += [" & ".join([*map(latex, columns[: len(keys)]), *columns[len(keys) :]]) + r" \\", r"\midrule"]
    for place, cell in enumerate(of.cells):
        lines += [r"\addlinespace"] if place else []
        lines += [_row(of, cell, arm, first=arm is cell.arms[0], test=test) for arm in cell.arms]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}", "", r"\paragraph{Methods.}"]
    return "\n".join([*lines, *_methods(of, test=test), *map(latex, [*_remarks(of), *judgments])]) + "\n"


def _caption(of: Comparison) -> str:
    common = f" Fixed: {latex(named(of.results.common))}." if of.results.common else ""
    slope = r"Slope: change of $\log_{10} |\partial L/\partial x|$ per block from output to input, at initialization."
    trained = f" Trained at {latex(recipe(of.results))}."
    sources = sources_text([arm for cell in of.cells for arm in cell.arms])
    alpha, by_ranks = inference.ALPHA, inference.RANK_TEST_ALPHA
    star = rf"*: $p \le {alpha:g}$ over {sources} ($p \le {by_ranks:g}$ by ranks), corrected over the table (Holm)."
    return f"{latex(of.results.name)}: {latex(of.metric.label)}.{trained}{common} {slope} {star}"


def _row(of: Comparison, cell: Cell, arm: Arm, *, first: bool, test: bool) -> str:
    label = [latex(value) if first else "" for value in cell.label.values()]
    trained = ", ".join(text for text in (outcome_text(arm), missing_text(arm)) if text)
    cells = [*label, latex(arm.name), latex(trained), _mean(of, arm), _signed(train_error_spread(arm))]
    compared = (contrast_text(arm, of.metric, of.resolution), ranks_text(arm.contrast, of.metric), images_text(arm))
    difference = "; ".join(filter(None, compared))
    cells += [_signed(difference), _signed(slope_text(arm.slope_start))]
    return " & ".join([*cells, *(map(latex, _exact(arm)) if test else [])]) + r" \\"


def _exact(arm: Arm) -> list[str]:
    of = arm.contrast
    return ["" if p is None or of.sign_flip is None else p_text(p) for p in (of.sign_flip, of.holm, of.least)]


def _mean(of: Comparison, arm: Arm) -> str:
    summary = arm.summary
    if summary.mean is not None:
        sd = "" if summary.sd is None else rf" $\pm$ {number_text(summary.sd, of.metric)}"
        return f"{_signed(number_text(summary.mean, of.metric))}{sd}"
    if summary.median is None:
        return "--"
    ends = f"{number_text(summary.lowest, of.metric)} to {number_text(summary.highest, of.metric)}"
    return f"median {number_text(summary.median, of.metric)} ({ends})"


def _signed(text: str) -> str:
    """Hyphens before digits are minus signs."""
    words = latex(text)
    for digit in "0123456789":
        words = words.replace(f"-{digit}", f"$-${digit}")
    return "--" if words == "-" else words


# ---- methods ----------------------------------------------------------------------------------------------------------------


INTERVALS = (
    r"Differences are means over seeds of residual minus plain with 95\,\% Student intervals of the paired differences. Where "
    "outcomes (above chance, at chance, diverged) differ across the seeds of an arm, or all its networks diverge, no interval "
    "is given; the counts above chance are compared by Fisher's exact test, the values by an exact Mann-Whitney test."
)
TESTS = (
    "$p$: exact sign-flip test of the paired differences, two-sided; Holm: corrected for all contrasts of the table; least: "
    "the smallest $p$ that so many pairs can have."
)


def _methods(of: Comparison, *, test: bool) -> list[str]:
    """n, split, recipe, test, and what was tuned: one sentence each."""
    pairs = (
        "Plain and residual networks are trained as pairs that share every weight they have in common and every batch "
        rf"(resexp {_version(of)}); $n = {seeds_text(of.cells, ', ')}$ seeds.{_looks(of)}"
    )
    return [pairs, *_splits(of), _recipe(of.results), INTERVALS, _tuning(of.tuned, of.asked), *([TESTS] if test else [])]


def _remarks(of: Comparison) -> list[str]:
    """What a table of figures does not show: where training diverged, layers without a gradient, the precision of norms."""
    diverged = [f"{named(cell.label)}, {arm.name}: diverged: {diverged_text(arm)}" for cell in of.cells for arm in cell.arms
                if arm.diverged]  # fmt: skip
    return [*(f"{line}." for line in [*diverged, *dead_lines(of.cells)]), *precision_notes(of)]


def _looks(of: Comparison) -> str:
    return "".join(f" {latex(line)}" for line in looks_lines(of))


def _version(of: Comparison) -> str:
    launches = runs.launches(of.results.sources[0][0])
    return latex(launches[-1]["resexp"]) if launches else ""


def _splits(of: Comparison) -> list[str]:
    lines = []
    for folder, experiment in of.results.sources:
        launches = runs.launches(folder)
        if launches:
            training, validation, test = launches[-1]["images"]
            parts = f"{training:,} images to train on, {validation:,} held out for validation, {test:,} to test"
            lines.append(f"{latex(experiment.shared.data.name)}: {parts}; the test part is read once, at the end.")
            lines += map(latex, config.limits(experiment.shared))
    return list(dict.fromkeys(lines))


def _recipe(results: Results) -> str:
    """Of the first experiment, without the keys that vary."""
    settings: Settings = results.sources[0][1].shared
    of = settings.training
    words = {
        "training.epochs": f"{of.epochs} epochs" if of.epochs is not None else "",
        "training.steps": f"{of.steps} steps" if of.steps is not None else "",
        "training.batch_size": f"batches of {of.batch_size}",
        "training.optimizer": of.optimizer,
        "training.lr": f"learning rate {of.lr:g}",
        "training.schedule": f"{of.schedule} schedule",
        "training.weight_decay": f"weight decay {of.weight_decay:g}" if of.weight_decay else "",
        "data.augment": f"augmentation {settings.data.augment}",
    }
    varying = {key for key, name in zip(results.axes, results.columns, strict=True) if name in results.shown}
    alike = ", ".join(text for key, text in words.items() if text and key not in varying)
    return latex(f"Training: {alike}; keys that vary stand in the table.")


def _tuning(rows: Sequence[TunedComparison], asked: Sequence[str]) -> str:
    if not asked:
        return "Nothing was tuned: both arms of a pair have the same settings."
    selections = [f"{named(row.label)}: {choice.arm} {choice_text(choice)}" for row in rows if row.how == EACH_AT_BEST
             for choice in (row.plain, row.residual)]  # fmt: skip
    chosen = "; ".join(dict.fromkeys(selections))
    return latex(f"Each arm at its best {', '.join(asked)}, {SELECTED}; all seeds together select {chosen}.")
