"""A comparison for a terminal of 80 columns."""

from collections.abc import Sequence
from itertools import groupby

from resexp import config
from resexp.comparison import ALL_ELSE_EQUAL, THRESHOLD, Arm, Cell, Comparison, TunedComparison, pairing_gain, seed_budget
from resexp.runs import Outcome, Results
from resexp.tables.answer import answer_lines
from resexp.tables.budget import budget_text, command_lines, longer_commands
from resexp.tables.definitions import legend
from resexp.tables.formats import (
    accuracy_text,
    beyond_width_text,
    bound_text,
    choice_text,
    closing_text,
    contrast_text,
    dead_text,
    difference_text,
    diverged_text,
    ends_text,
    images_text,
    looks_coverage,
    looks_text,
    missing_text,
    outcome_text,
    percent,
    ranks_text,
    rise_text,
    seeds_needed_text,
    seeds_text,
    sign_flip_text,
    slope_text,
    sources_text,
    train_error_text,
    tuned_text,
    verdict_text,
)
from resexp.tables.labels import label_text
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
MAX_NAME = 20  # characters of an arm's name in the row of its numbers; a longer name is printed on a separate line
MAX_OUTCOME = 17  # characters of the column of outcomes: '0/5 (5 at chance)'
MAX_ACCURACY = 12
DEPTH_TERMS = ("degradation avoided", "margin")


def as_text(comparison: Comparison, judgments: Sequence[str] = (), *, p_values: bool = False, summary: bool = True) -> str:
    """The comparison; judgments: lines with the verdicts on hypotheses; p_values: whether to print exact p-values."""
    unit = " in percent" if comparison.metric.percent else ""
    lines = [f"{comparison.results.name}: {comparison.metric.label}{unit}, mean ± SD over seeds", *comparison.results.questions]
    lines += [f"trained at {recipe(comparison.results)}"]
    lines += [f"fixed: {label_text(comparison.results.common)}"] if comparison.results.common else []
    lines += ["", *opening] if summary and (opening := answer_lines(comparison)) else []
    lines += ["", *judgments] if judgments else []
    widths = _widths(comparison.cells)
    mean, unit = ("accuracy", "points ") if comparison.metric.percent else ("mean", "")
    lines += ["", *_row(widths, ("", "", "", "train", "", "residual - plain,"))]
    lines += _row(widths, ("arm", "above chance", mean, "error", "slope", f"{unit}[95% CI]"))
    for cell in comparison.cells:
        lines += ["", *fitted([heading(cell)])]
        lines += [line for arm in cell.arms for line in _arm_lines(arm, cell, widths, comparison, p_values=p_values)]
    lines += [
        "",
        *notes(comparison),
        *untuned(comparison.results),
        *_depth_lines(comparison),
        *_tuned_lines(comparison),
        *seed_budget_lines(comparison),
    ]
    lines += [*_published(comparison.results), *remarks(comparison.results)]
    return "\n".join(fitted(lines)) + "\n"


def _widths(cells: Sequence[Cell]) -> tuple[int, int]:
    """The widths of the columns of arms and of outcomes, with a space."""
    arms = [arm for cell in cells for arm in cell.arms]
    names = [len(arm.name) for arm in arms if len(arm.name) <= MAX_NAME]
    outcomes = [len(text) for arm in arms if len(text := outcome_text(arm)) <= MAX_OUTCOME]
    return max([9, *names]) + 1, max([len("above chance"), *outcomes]) + 1


def _row(widths: tuple[int, int], cells: tuple[str, str, str, str, str, str]) -> list[str]:
    """A row of the table. Text that is too long for its column is printed on a separate line above or below the row."""
    name, outcomes, accuracy, error, slope, difference = cells
    first, second = widths
    long_name, long_outcomes, long_accuracy = len(name) >= first, len(outcomes) >= second, len(accuracy) > MAX_ACCURACY
    numbers = f"{'' if long_accuracy else accuracy:<{MAX_ACCURACY}}{error:>5}{slope:>7}"
    row = f"  {'' if long_name else name:<{first}}{'' if long_outcomes else outcomes:<{second}}{numbers}  {difference}".rstrip()
    lines = [f"  {name}"] if long_name else []
    lines += [f"  {'':{first}}{outcomes}"] if long_outcomes else []
    lines += [row] if len(row) <= WIDTH else [row.removesuffix(difference).rstrip(), f"{difference:>{WIDTH}}"]
    return [*lines, f"  {'':{first + second}}{accuracy}"] if long_accuracy else lines


def _arm_lines(arm: Arm, cell: Cell, widths: tuple[int, int], comparison: Comparison, *, p_values: bool) -> list[str]:
    accuracy, error, slope = accuracy_text(arm.summary, comparison.metric), train_error_text(arm), slope_text(arm.slope_start)
    difference = contrast_text(arm, comparison.metric, comparison.resolution)
    lines = _row(widths, (arm.name, outcome_text(arm), accuracy, error, slope, difference))
    below = [ranks_text(arm.contrast, comparison.metric), images_text(arm), sign_flip_text(arm) if p_values else ""]
    below += [beyond_width_text(arm, cell, comparison.metric, comparison.resolution)] if arm.beyond_width else []
    lines += [f"{text:>{WIDTH}}" for text in below if text]
    diverged = diverged_text(arm)
    lines += [
        f"    {text}" for text in (missing_text(arm), f"diverged: {diverged}" if diverged else "", dead_text(arm)) if text
    ]
    if arm.same_as_plain:
        lines.append("    the same network as plain: the shortcut has no parameters")
    if arm.unmatched:
        status = "compared with a plain arm that" if arm.difference else "not compared: the closest plain arm"
        lines.append(f"    {status} differs in {'; '.join(arm.unmatched)}")
    return lines


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


def notes(comparison: Comparison) -> list[str]:
    """The legend of the table: definitions of the terms in it, and how the numbers were obtained."""
    arms = [arm for cell in comparison.cells for arm in cell.arms]
    lines = [
        f"n = {seeds_text(comparison.cells)} seeds.",
        *legend(*terms(comparison)),
        "Slopes are measured at initialization.",
        f"Slope x blocks is in orders of magnitude: below -{THRESHOLD:g} gradients vanish, above {THRESHOLD:g} they explode.",
        *looks_lines(comparison),
    ]
    if any(arm.contrast.shown for arm in arms):
        lines += [f"The p-values for * cover {sources_text(arms)}."]
    if any(len(arm.summary.outcomes) > 1 for arm in arms):
        lines += ["Where outcomes differ across the seeds of an arm: median and range, no mean and no interval."]
    if any(arm.contrast.ranks for arm in arms):
        lines += ["In parentheses after ranks: the smallest attainable p-value. Differences: their range over pairs."]
    if any(arm.dead_layers for arm in arms):
        lines += ["No gradient reached: the weight gradient of these layers was exactly 0 at every logging step."]
    lines += precision_notes(comparison)
    if gain := pairing_gain(comparison):
        spread = f"{gain.lowest:+.2f} to {gain.highest:+.2f} (median {gain.median:+.2f}, {gain.pairs} pairs)"
        correlation = f"{gain.median:+.2f}" if gain.pairs == 1 else spread
        lines += [
            f"Pairing by seed: correlation between arms {correlation}; SD of paired differences = {gain.ratio:.2f} x unpaired."
        ]
    return lines


def terms(comparison: Comparison) -> list[str]:
    """The terms that appear in the table of a comparison and need a definition."""
    arms = [arm for cell in comparison.cells for arm in cell.arms]
    outcomes = {outcome for arm in arms for outcome in arm.summary.outcomes}
    compares_counts = any(arm.contrast.outcomes is not None for arm in arms)
    conditional = {
        "±": any(arm.summary.sd is not None for arm in arms),
        "95% CI": any(arm.difference and arm.difference.low is not None for arm in arms),
        "at chance": Outcome.AT_CHANCE in outcomes,
        "diverged": Outcome.DIVERGED in outcomes,
        "counts": compares_counts,
        "ranks": compares_counts,
        "beyond width": any(arm.beyond_width for arm in arms),
        "*": any(arm.contrast.shown for arm in arms),
    }
    return ["above chance", "train error", "slope", *(term for term, appears in conditional.items() if appears)]


def looks_lines(comparison: Comparison) -> list[str]:
    """How often the experiment has grown, and the resulting coverage; nothing if it has not."""
    if len(comparison.looks) < 2:
        return []
    coverage = f"If you stop because an interval excludes 0, it covers {looks_coverage(comparison.looks)} of the time, not 95%."
    return [f"{looks_text(comparison.looks)}. {coverage}"]


def precision_notes(comparison: Comparison) -> list[str]:
    """The numeric precision of gradient norms, if it is neither float32 nor float64."""
    precisions = dict.fromkeys(record.trial.settings.precision for record in comparison.results.records)
    coarse = [precision for precision in precisions if precision in config.COARSE]
    return [SENTENCES["precision"].format(precisions=" and ".join(coarse))] if coarse else []


# ---- below the table ------------------------------------------------------------------------------------------------------


def _depth_lines(comparison: Comparison) -> list[str]:
    if not comparison.depths:
        return []
    lines = ["", depths_heading(comparison)]
    shared_ends = _shared_ends(comparison)
    for condition, arms in groupby(comparison.depths, key=lambda row: label_text(row.condition)):
        lines += [f"  {condition}"]
        for row in arms:
            ends = "" if ends_text(row) == shared_ends else ends_text(row)
            details = "; ".join(filter(None, (ends, bound_text(row), f"slope at initialization {slope_text(row.slope)}")))
            avoided = f"degradation avoided vs plain: {difference_text(row.reduction)}" if row.reduction else ""
            lines += [f"    {row.arm:<14} {verdict_text(row):<25} {rise_text(row)}"]
            lines += [f"    {'':<14} {text}" for text in (details, avoided, closing_text(row)) if text]
    longer = [line for command in longer_commands(comparison) for line in command_lines(command, "    ")]
    lines += [f"  {line}" for line in legend(*DEPTH_TERMS)]
    return [*lines, *(["  To train longer:", *longer] if longer else [])]


def depths_heading(comparison: Comparison) -> str:
    """'Training error after 20 epochs, depth 64 - depth 8, points [95% CI], margin 1.0'."""
    budget = budget_text(comparison)
    after = f" after {budget}" if budget else ""
    depths = _shared_ends(comparison) or "deepest - best shallower depth"
    return f"Training error{after}, {depths}, points [95% CI], margin {percent(comparison.margin)}"


def _shared_ends(comparison: Comparison) -> str:
    """The depths that all rows with an interval compare; '' if they compare different ones."""
    ends = {ends_text(row) for row in comparison.depths if row.degradation.contrast}
    return ends.pop() if len(ends) == 1 else ""


def _tuned_lines(comparison: Comparison) -> list[str]:
    if not comparison.tuned:
        return []
    lines = ["", tuned_heading(comparison), *fitted([f"  ({SELECTED})"])]
    return lines + [line for row in comparison.tuned for line in _tuned_row(row, comparison)]


SELECTED = "selected by mean validation accuracy of one half of the seeds, reported on the other"


def tuned_heading(comparison: Comparison) -> str:
    return f"Each at its best {', '.join(comparison.tuned_keys) if comparison.tuned_keys else 'setting'}, difference [95% CI]"


def _tuned_row(row: TunedComparison, comparison: Comparison) -> list[str]:
    metric, selection = comparison.metric, f", {row.how}" if comparison.tuned_keys else ""
    head = f"  {label_text(row.label)}{selection}: {tuned_text(row, metric, comparison.resolution)}"
    if row.how == ALL_ELSE_EQUAL:
        accuracies = (
            f"{accuracy_text(row.plain.summary, metric)}, {row.residual.arm} {accuracy_text(row.residual.summary, metric)}"
        )
        return [head, f"    both at {choice_text(row.plain)}: plain {accuracies}"]
    settings = [
        f"    {choice.arm:<14} {accuracy_text(choice.summary, metric):<13} {choice_text(choice)}"
        for choice in (row.plain, row.residual)
    ]
    return [head, *settings]


def seed_budget_lines(comparison: Comparison) -> list[str]:
    """The current precision, and the number of seeds for half the margin, with its 95% CI."""
    precision = seed_budget(comparison)
    if not precision:
        return []
    median, widest = precision.median, precision.widest
    has_several_pairs = precision.pairs > 1
    current = f"Precision: 95% CI half-width ±{percent(median.half)} points" + (
        f" (median of {precision.pairs} pairs), ±{percent(widest.half)} (widest)" if has_several_pairs else ""
    )
    if widest.half <= precision.aim:
        return ["", f"{current}; enough for differences of {percent(comparison.margin)} points."]
    needed = seeds_needed_text(median)
    if has_several_pairs:
        needed = f"{seeds_needed_text(median, 'median pair')} or {seeds_needed_text(widest, 'widest')}"
    return ["", f"{current}. For ±{percent(precision.aim)} points you need about {needed}."]


def _published(results: Results) -> list[str]:
    lines = published_lines(published_rows(results))
    return ["", *lines] if lines else []


def limits(results: Results) -> list[str]:
    """The reasons why these numbers are not a result: parts of the validation or test set were not used."""
    return list(dict.fromkeys(line for _, experiment in results.sources for line in config.limits(experiment.shared)))


def remarks(results: Results) -> list[str]:
    lines = [line for limit in limits(results) for line in ("", limit)]
    trials = {"left out, no longer in the config": results.orphaned_trials, "damaged, counted as missing": results.damaged}
    for remark, names in trials.items():
        lines += ["", f"{remark}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"] if names else []
    if results.repeated:
        lines += ["", f"{results.repeated} trials are in more than one folder and are counted once"]
    return lines
