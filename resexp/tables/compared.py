"""A comparison for a terminal of 80 columns."""

from collections.abc import Sequence
from itertools import groupby

from resexp import config, inference
from resexp.comparison import ALL_ELSE_EQUAL, THRESHOLD, Arm, Cell, Comparison, TunedComparison, pairing_gain, seed_budget
from resexp.runs import Results
from resexp.tables.budget import budget_text, command_lines, longer_commands
from resexp.tables.formats import (
    accuracy_text,
    beyond_width_text,
    choice_text,
    closing_text,
    contrast_text,
    dead_text,
    diverged_text,
    ends_text,
    flip_text,
    images_text,
    looks_coverage,
    looks_text,
    missing_text,
    most_text,
    named,
    needed_text,
    outcome_text,
    percent,
    ranks_text,
    rise_text,
    seeds_text,
    slope_text,
    sources_text,
    train_error_text,
    tuned_text,
    verdict_text,
)
from resexp.tables.formats import difference_text as points
from resexp.tables.published import published_lines, published_rows
from resexp.tables.recipes import recipe, untuned
from resexp.tables.sentences import Sentence
from resexp.tables.terminal import WIDTH, fitted

SENTENCES = {
    "precision": Sentence(
        "Gradient norms and slopes were measured in {precisions}, the training precision.",
        "networks were trained in bfloat16 or TF32",
    ),
}
MAX_LENGTH = 20  # of the names that stand in a row with everything else; longer ones have a line of their own


def as_text(of: Comparison, judgments: Sequence[str] = (), *, test: bool = False) -> str:
    """The comparison; `judged`: the lines of what was to be confirmed; `test`: with exact p-values."""
    unit = " in percent" if of.metric.percent else ""
    lines = [f"{of.results.name}: {of.metric.label}{unit}, mean ± SD over seeds", *of.results.questions]
    lines += [f"trained at {recipe(of.results)}"]
    lines += [f"fixed: {named(of.results.common)}"] if of.results.common else []
    lines += ["", *judgments] if judgments else []
    names = [arm.name for cell in of.cells for arm in cell.arms]
    wide = max([14, *(len(name) for name in names if len(name) <= MAX_LENGTH)]) + 1
    lines += ["", *_row(wide, "", "", "", "train", "", "residual - plain")]
    lines += _row(wide, "arm", "above chance", "accuracy" if of.metric.percent else "mean", "error", "slope", "[95% CI]")
    for cell in of.cells:
        lines += ["", *fitted([heading(cell)])]
        lines += [line for arm in cell.arms for line in _arm_lines(arm, cell, wide, of, test=test)]
    lines += ["", *notes(of), *untuned(of.results), *_depth_lines(of), *_tuned_lines(of), *seed_budget_lines(of)]
    lines += [*_published(of.results), *remarks(of.results)]
    return "\n".join(fitted(lines)) + "\n"


def _row(wide: int, name: str, above: str, accuracy: str, error: str, slope: str, compared: str) -> list[str]:
    """A row of the table; what is too long for its column has a line of its own, before it or after it."""
    early, late = len(name) > MAX_LENGTH, len(accuracy) > 12
    figures = f"{above:<13} {'' if late else accuracy:<12}{error:>6}{slope:>7}"
    row = f"  {'' if early else name:<{wide}}{figures}  {compared}".rstrip()
    lines = [f"  {name}"] if early else []
    lines += [row] if len(row) <= WIDTH else [row.removesuffix(compared).rstrip(), f"{compared:>{WIDTH}}"]
    return [*lines, f"{'':{wide + 16}}{accuracy}"] if late else lines


def _arm_lines(arm: Arm, cell: Cell, wide: int, of: Comparison, *, test: bool) -> list[str]:
    accuracy, error, slope = accuracy_text(arm.summary, of.metric), train_error_text(arm), slope_text(arm.slope_start)
    lines = _row(wide, arm.name, outcome_text(arm), accuracy, error, slope, contrast_text(arm, of.metric, of.resolution))
    below = [ranks_text(arm.contrast, of.metric), images_text(arm), flip_text(arm) if test else ""]
    below += [beyond_width_text(arm, cell, of.metric, of.resolution)] if arm.beyond_width else []
    lines += [f"{text:>{WIDTH}}" for text in below if text]
    ended = diverged_text(arm)
    lines += [f"    {text}" for text in (missing_text(arm), f"diverged: {ended}" if ended else "", dead_text(arm)) if text]
    if arm.same_as_plain:
        lines.append("    the same network as plain: the shortcut brings no parameters")
    if arm.unmatched:
        verdict = "compared with a plain arm that" if arm.difference else "no difference: the nearest plain arm"
        lines.append(f"    {verdict} differs in {'; '.join(arm.unmatched)}")
    return lines


def heading(cell: Cell) -> str:
    """'depth 64, norm layer  (100 parameters each)'."""
    counts = {arm.name: arm.parameters for arm in cell.arms if arm.parameters is not None}
    label = named(cell.label)
    if not counts:
        return label
    if len(set(counts.values())) == 1:
        text = f"{next(iter(counts.values())):,} parameters{' each' if len(counts) > 1 else ''}"
    else:
        text = "parameters: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())
    nothing = "; nothing to skip at depth 2" if cell.label.get("depth") == "2" else ""
    return f"{label}  ({text}{nothing})"


def notes(of: Comparison) -> list[str]:
    """How the table is read, as far as it needs to be."""
    arms = [arm for cell in of.cells for arm in cell.arms]
    lines = [
        f"n = {seeds_text(of.cells)} seeds. Train error: error on the training set, final weights, in percent.",
        "Slope: change of log10 |dL/dx| per block from output to input, at initialization.",
        f"Slope x blocks is in orders of magnitude: below -{THRESHOLD:g} gradients vanish, above {THRESHOLD:g} they explode.",
        *looks_lines(of),
    ]
    if any(arm.contrast.shown for arm in arms):
        limits_of_p = f"p <= {inference.ALPHA:g} over {sources_text(arms)}, by ranks {inference.RANK_TEST_ALPHA:g}"
        lines += [f"*: a difference ({limits_of_p}), corrected over the table (Holm)."]
    if any(len(arm.summary.outcomes) > 1 for arm in arms):
        lines += ["Where outcomes differ across the seeds of an arm: median and range, no mean and no interval."]
    if any(arm.contrast.outcomes is not None for arm in arms):
        lines += ["counts: Fisher's exact test of how many networks are above chance."]
        lines += ["ranks: exact Mann-Whitney test of the values, with its smallest attainable p;"]
        lines += ["differences: their range over pairs."]
    if any(arm.dead_layers for arm in arms):
        lines += ["No gradient reached: the weight gradient of these layers was exactly 0 at every logging step."]
    lines += precision_notes(of)
    if pairs := pairing_gain(of):
        several = f"{pairs.lowest:+.2f} to {pairs.highest:+.2f} (median {pairs.median:+.2f}, {pairs.pairs} pairs)"
        spread = f"{pairs.median:+.2f}" if pairs.pairs == 1 else several
        lines += [
            f"Pairing by seed: correlation between arms {spread}; SD of paired differences = {pairs.ratio:.2f} x unpaired."
        ]
    return lines


def looks_lines(of: Comparison) -> list[str]:
    """How often the experiment has grown, and the resulting coverage; nothing if it has not."""
    if len(of.looks) < 2:
        return []
    coverage = f"If you stop because an interval excludes 0, it covers {looks_coverage(of.looks)} of the time, not 95%."
    return [f"{looks_text(of.looks)}. {coverage}"]


def precision_notes(of: Comparison) -> list[str]:
    """The precision of gradient norms, if it is neither float32 nor float64."""
    precisions = dict.fromkeys(record.trial.settings.precision for record in of.results.records)
    coarse = [precision for precision in precisions if precision in config.COARSE]
    return [SENTENCES["precision"].format(precisions=" and ".join(coarse))] if coarse else []


# ---- below the table ------------------------------------------------------------------------------------------------------


def _depth_lines(of: Comparison) -> list[str]:
    if not of.depths:
        return []
    lines = ["", depths_heading(of)]
    shared = _shared_ends(of)
    for condition, arms in groupby(of.depths, key=lambda row: named(row.condition)):
        lines += [f"  {condition}"]
        for row in arms:
            ends = "" if ends_text(row) == shared else ends_text(row)
            below = "; ".join(filter(None, (ends, most_text(row), f"slope at initialization {slope_text(row.slope)}")))
            avoided = f"degradation avoided vs plain: {points(row.reduction)}" if row.reduction else ""
            lines += [f"    {row.arm:<14} {verdict_text(row):<25} {rise_text(row)}"]
            lines += [f"    {'':<14} {text}" for text in (below, avoided, closing_text(row)) if text]
    longer = [line for command in longer_commands(of) for line in command_lines(command, "    ")]
    return [*lines, *(["  train longer:", *longer] if longer else [])]


def depths_heading(of: Comparison) -> str:
    """'Training error after 20 epochs, depth 64 - depth 8, points [95% CI], margin 1.0'."""
    budget = budget_text(of)
    after = f" after {budget}" if budget else ""
    shown = _shared_ends(of) or "deepest - best shallower depth"
    return f"Training error{after}, {shown}, points [95% CI], margin {percent(of.margin)}"


def _shared_ends(of: Comparison) -> str:
    """The depths that all rows with an interval compare; '' if they compare different ones."""
    ends = {ends_text(row) for row in of.depths if row.degradation.contrast}
    return ends.pop() if len(ends) == 1 else ""


def _tuned_lines(of: Comparison) -> list[str]:
    if not of.tuned:
        return []
    lines = ["", tuned_heading(of), f"  ({SELECTED})"]
    return lines + [line for row in of.tuned for line in _tuned_row(row, of)]


SELECTED = "selected by mean validation accuracy of one half of the seeds, reported on the other"


def tuned_heading(of: Comparison) -> str:
    return f"Each at its best {', '.join(of.asked) if of.asked else 'setting'}, difference [95% CI]"


def _tuned_row(row: TunedComparison, of: Comparison) -> list[str]:
    metric, how = of.metric, f", {row.how}" if of.asked else ""
    head = f"  {named(row.label)}{how}: {tuned_text(row, metric, of.resolution)}"
    if row.how == ALL_ELSE_EQUAL:
        at = choice_text(row.plain)
        summaries = (
            f"{accuracy_text(row.plain.summary, metric)}, {row.residual.arm} {accuracy_text(row.residual.summary, metric)}"
        )
        return [head, f"    both at {at}: plain {summaries}"]
    chosen = [
        f"    {choice.arm:<14} {accuracy_text(choice.summary, metric):<13} {choice_text(choice)}"
        for choice in (row.plain, row.residual)
    ]
    return [head, *chosen]


def seed_budget_lines(of: Comparison) -> list[str]:
    """The current precision, and the number of seeds for half the margin, with its 95% CI."""
    precision = seed_budget(of)
    if not precision:
        return []
    median, widest = precision.median, precision.widest
    several = precision.pairs > 1
    now = f"Precision: 95% CI half-width ±{percent(median.half)} points" + (
        f" (median of {precision.pairs} pairs), ±{percent(widest.half)} (widest)" if several else ""
    )
    if widest.half <= precision.aim:
        return ["", f"{now}; enough for differences of {percent(of.margin)} points."]
    needed = f"{needed_text(median, 'median pair')} or {needed_text(widest, 'widest')}" if several else needed_text(median)
    return ["", f"{now}. Seeds for ±{percent(precision.aim)}: about {needed}."]


def _published(results: Results) -> list[str]:
    lines = published_lines(published_rows(results))
    return ["", *lines] if lines else []


def limits(results: Results) -> list[str]:
    """Why these numbers are not a result: validation or test sets that were not measured in full."""
    return list(dict.fromkeys(line for _, experiment in results.sources for line in config.limits(experiment.shared)))


def remarks(results: Results) -> list[str]:
    lines = [line for limit in limits(results) for line in ("", limit)]
    said = {"left out, no longer in the config": results.orphaned_trials, "damaged, counted as missing": results.damaged}
    for words, names in said.items():
        lines += ["", f"{words}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"] if names else []
    if results.repeated:
        lines += ["", f"{results.repeated} trials stand in more than one folder and are counted once"]
    return lines
