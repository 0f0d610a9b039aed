"""A comparison for a terminal of 80 columns."""

from collections.abc import Sequence

from rich.text import Text

from resexp import config
from resexp.comparison import THRESHOLD, Comparison, pairing_gain, seed_budget
from resexp.runs import Outcome, Results
from resexp.tables.answer import answer_lines
from resexp.tables.best_settings import SELECTED, best_settings
from resexp.tables.budget import command_lines, longer_commands
from resexp.tables.comparison_tables import added_tables
from resexp.tables.configurations import configurations
from resexp.tables.definitions import legend
from resexp.tables.error_over_depth import error_over_depth
from resexp.tables.formats import (
    looks_coverage,
    looks_text,
    number_text,
    seeds_needed_text,
    seeds_text,
    sources_text,
)
from resexp.tables.labels import label_text
from resexp.tables.published import published_lines, published_rows
from resexp.tables.recipes import recipe, untuned
from resexp.tables.sentences import Sentence
from resexp.tables.terminal import WIDTH
from resexp.tables.text_layout import text_lines, wrapped_lines

SENTENCES = {
    "precision": Sentence(
        "Gradient norms and slopes were measured in {precisions}, the training precision.",
        "networks were trained in bfloat16 or TF32",
    ),
}

SLOPES = (
    "Slopes are measured at initialization.",
    f"Slope x blocks is in orders of magnitude: below -{THRESHOLD:g} gradients vanish, above {THRESHOLD:g} they explode.",
)


def as_text(comparison: Comparison, judgments: Sequence[str] = (), *, p_values: bool = False) -> str:
    """The comparison for 80 columns.

    judgments: lines with the verdicts on hypotheses; p_values: whether to print p-values.
    """
    lines = comparison_lines(comparison, judgments, p_values=p_values)
    return "\n".join(line.plain for line in lines) + "\n"


def comparison_lines(
    comparison: Comparison,
    judgments: Sequence[str] = (),
    *,
    p_values: bool = False,
    width: int = WIDTH,
) -> list[Text]:
    """The same for a terminal of another width, with colors."""
    unit = " in percent" if comparison.metric.percent else ""
    head = [f"{comparison.results.name}: {comparison.metric.label}{unit}, mean ± SD over seeds", *comparison.results.questions]
    head += [] if comparison.results.table else [f"trained at {recipe(comparison.results)}"]
    head += [f"fixed: {label_text(comparison.results.common)}"] if comparison.results.common else []
    head += ["", *opening] if (opening := answer_lines(comparison)) else []
    head += ["", *judgments] if judgments else []
    arms = [record.trial.arm for record in comparison.results.records]
    table = configurations(comparison, [*notes(comparison), *untuned(comparison.results)], p_values=p_values)
    lines = [*wrapped_lines([*head, ""], width), *text_lines(table, width, arms)]
    if comparison.depths:
        depths = error_over_depth(comparison)
        longer = [line for command in longer_commands(comparison) for line in command_lines(command, "  ")]
        lines += [*wrapped_lines(["", depths.title], width), *text_lines(depths, width, arms)]
        lines += wrapped_lines(["To train longer:", *longer] if longer else [], width)
    if comparison.tuned:
        tuned = best_settings(comparison)
        lines += [*wrapped_lines(["", tuned.title, f"  ({SELECTED})"], width), *text_lines(tuned, width, arms)]
    for added in added_tables(comparison).values():
        lines += [*wrapped_lines(["", added.title, ""], width), *text_lines(added, width, arms)]
    published = published_lines(published_rows(comparison.results))
    below = [*seed_budget_lines(comparison), *([""] if published else []), *published, *remarks(comparison.results)]
    return [*lines, *wrapped_lines(below, width)]


def notes(comparison: Comparison) -> list[str]:
    """The legend of the table: definitions of the terms in it, and how the numbers were obtained."""
    arms = [arm for cell in comparison.cells for arm in cell.arms]
    lines = [
        f"n = {seeds_text(comparison.cells)} seeds.",
        *legend(*terms(comparison)),
        *([] if comparison.results.table else SLOPES),
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
    always = ["above chance", "train error", "slope"]
    if table := comparison.results.table:
        always = ["above chance"] if table.has_outcomes else []
    return [*always, *(term for term, appears in conditional.items() if appears)]


def looks_lines(comparison: Comparison) -> list[str]:
    """How often the experiment has grown, and the resulting coverage; nothing if it has not."""
    if len(comparison.looks) < 2:
        return []
    coverage = f"If you stop because an interval excludes 0, it covers {looks_coverage(comparison.looks)} of the time, not 95%."
    return [f"{looks_text(comparison.looks)}. {coverage}"]


def precision_notes(comparison: Comparison) -> list[str]:
    """The numeric precision of gradient norms, if it is neither float32 nor float64."""
    if comparison.results.table:
        return []
    precisions = dict.fromkeys(record.trial.settings.precision for record in comparison.results.records)
    coarse = [precision for precision in precisions if precision in config.COARSE]
    return [SENTENCES["precision"].format(precisions=" and ".join(coarse))] if coarse else []


# ---- below the tables -----------------------------------------------------------------------------------------------------


def seed_budget_lines(comparison: Comparison) -> list[str]:
    """The current precision, and the number of seeds for half the margin, with its 95% CI."""
    precision = seed_budget(comparison)
    if not precision:
        return []
    median, widest = precision.median, precision.widest
    has_several_pairs = precision.pairs > 1
    half, least, margin, aim = (
        number_text(value, comparison.metric) for value in (median.half, widest.half, comparison.margin, precision.aim)
    )
    points = " points" if comparison.metric.percent else ""
    current = f"Precision: 95% CI half-width ±{half}{points}" + (
        f" (median of {precision.pairs} pairs), ±{least} (widest)" if has_several_pairs else ""
    )
    if widest.half <= precision.aim:
        return ["", f"{current}; enough for differences of {margin}{points}."]
    needed = seeds_needed_text(median)
    if has_several_pairs:
        needed = f"{seeds_needed_text(median, 'median pair')} or {seeds_needed_text(widest, 'widest')}"
    return ["", f"{current}. For ±{aim}{points} you need about {needed}."]


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
