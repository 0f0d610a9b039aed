"""A comparison for a terminal of 80 columns."""

from collections.abc import Sequence
from itertools import groupby

from resexp import config
from resexp.comparison import ALIKE, Arm, Cell, Comparison, Tuned, bought, plan
from resexp.runs import Results
from resexp.tables.lines import WIDTH, fitted
from resexp.tables.published import published_lines, published_rows
from resexp.tables.texts import (
    NO_CONTRAST,
    accuracy_text,
    beyond_width_text,
    choice_text,
    contrast_text,
    dead_text,
    diverged_text,
    flip_text,
    images_text,
    is_best,
    missing_text,
    named,
    outcome_text,
    percent,
    seeds_text,
    slope_text,
    trend_text,
    tuned_text,
    verdict_text,
)
from resexp.tables.texts import difference_text as points

LONGEST = 20  # of the names that stand in a row with everything else; longer ones have a line of their own


def as_text(of: Comparison, judged: Sequence[str] = (), *, test: bool = False) -> str:
    """The comparison; `judged`: the lines of what was to be confirmed; `test`: with exact p-values."""
    unit = " in percent" if of.metric.percent else ""
    lines = [f"{of.results.name}: {of.metric.words}{unit}, mean ± sd over seeds", *of.results.questions]
    lines += [f"everywhere: {named(of.results.common)}"] if of.results.common else []
    lines += ["", *judged] if judged else []
    names = [arm.name for cell in of.cells for arm in cell.arms]
    wide = max([14, *(len(name) for name in names if len(name) <= LONGEST)]) + 1
    difference = "residual - plain [95 %]" if wide <= 20 else "difference [95 %]"  # 80 columns
    lines += ["", *_row(wide, "arm", "trained", "accuracy" if of.metric.percent else "mean", "slope", difference)]
    for cell in of.cells:
        lines += ["", *fitted([heading(cell)])]
        lines += [line for arm in cell.arms for line in _arm_lines(arm, cell, wide, of, test=test)]
    lines += ["", *notes(of), *_depth_lines(of), *_tuned_lines(of), *plan_lines(of)]
    lines += [*_published(of.results), *remarks(of.results)]
    return "\n".join(fitted(lines)) + "\n"


def _row(wide: int, name: str, trained: str, accuracy: str, slope: str, compared: str) -> list[str]:
    """A row of the table; what is too long for its column has a line of its own, before it or after it."""
    early, late = len(name) > LONGEST, len(accuracy) > 12
    row = f"  {'' if early else name:<{wide}}{trained:<13} {'' if late else accuracy:<12}{slope:>7}  {compared}".rstrip()
    lines = [f"  {name}"] if early else []
    lines += [row] if len(row) <= WIDTH else [row.removesuffix(compared).rstrip(), f"{compared:>{WIDTH}}"]
    return [*lines, f"{'':{wide + 16}}{accuracy}"] if late else lines


def _arm_lines(arm: Arm, cell: Cell, wide: int, of: Comparison, *, test: bool) -> list[str]:
    accuracy = accuracy_text(arm.summary, of.metric) + ("*" if is_best(arm, cell, of.metric) else "")
    compared = contrast_text(arm, of.metric, of.resolution)
    lines = _row(wide, arm.name, outcome_text(arm), accuracy, slope_text(arm.slope_start), compared)
    below = [images_text(arm), flip_text(arm) if test else ""]
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
    arms = [(arm, cell) for cell in of.cells for arm in cell.arms]
    lines = [f"n = {seeds_text(of.cells)} seeds. Slope: decades per block towards the input in the gradient of the"]
    lines += ["activations before the first update; below 0 it vanishes, above 0 it explodes."]
    if any(is_best(arm, cell, of.metric) for arm, cell in arms):
        lines += ["*: best mean of its cell."]
    if any(len(arm.summary.outcomes) > 1 for arm, _ in arms):
        lines += ["Where seeds of one arm ended differently no mean and no interval is given."]
    if any(arm.contrast.outcomes is not None for arm, _ in arms):
        lines += ["k of n: exact test (Fisher) of how many trained."]
    if any(arm.dead_layers for arm, _ in arms):
        lines += ["No gradient reached: the weight gradient was exactly 0 at every logging step."]
    lines += precision_notes(of)
    if pairs := bought(of):
        several = f"{pairs.lowest:+.2f} to {pairs.highest:+.2f}, median {pairs.median:+.2f} over {pairs.pairs}"
        spread = f"{pairs.median:+.2f}" if pairs.pairs == 1 else several
        lines += [f"Pairing by seed: correlation of the arms {spread}; sd {pairs.ratio:.2f} of the unpaired one."]
    return lines


def precision_notes(of: Comparison) -> list[str]:
    """At which precision gradient norms were read, where it is neither float32 nor float64."""
    found = dict.fromkeys(state.trial.settings.precision for state in of.results.states)
    coarse = [precision for precision in found if precision in config.COARSE]
    return [f"Gradient norms and slopes were read in {' and '.join(coarse)}, as trained."] if coarse else []


# ---- below the table ------------------------------------------------------------------------------------------------------


def _depth_lines(of: Comparison) -> list[str]:
    if not of.depths:
        return []
    depths = of.depths[0].found.depths
    ends = f"depth {depths[-1]} minus depth {depths[0]}"
    lines = ["", f"Training error, {ends}, in points [95 %]; {percent(of.margin)} matters"]
    for corner, arms in groupby(of.depths, key=lambda row: named(row.corner)):
        lines += [f"  {corner}"]
        for row in arms:
            mine = row.found.depths
            other = "" if (mine[0], mine[-1]) == (depths[0], depths[-1]) else f"; depth {mine[-1]} minus {mine[0]}"
            contrast = points(row.found.contrast) or NO_CONTRAST
            lines += [f"    {row.arm:<14} {verdict_text(row):<25} {contrast}{other}"]
            lines += [f"    {'':<14} {trend_text(row)}slope at the start {slope_text(row.slope)}"]
            if row.removed:
                lines += [f"    {'':<14} plain's rise minus this one: {points(row.removed)}"]
    return lines


def _tuned_lines(of: Comparison) -> list[str]:
    if not of.tuned:
        return []
    lines = ["", f"{tuned_heading(of)} (chosen by mean validation accuracy)"]
    return lines + [line for row in of.tuned for line in _tuned_row(row, of)]


def tuned_heading(of: Comparison) -> str:
    return f"Tuned over {', '.join(of.asked)}" if of.asked else "Best against best"


def _tuned_row(row: Tuned, of: Comparison) -> list[str]:
    metric, how = of.metric, f", {row.how}" if of.asked else ""
    head = f"  {named(row.label)}{how}: {tuned_text(row, metric, of.resolution)}"
    if row.how == ALIKE:
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


def plan_lines(of: Comparison) -> list[str]:
    found = plan(of)
    if not found:
        return []
    now = f"±{percent(found.median)} points now" + (
        f" in the median of {found.pairs} pairs, ±{percent(found.widest)} in the widest" if found.pairs > 1 else ""
    )
    if found.widest <= found.aim:
        return ["", f"Plan: {now}; enough for differences of {percent(of.margin)}."]
    most = "more than a million" if found.most is None else f"{found.most:,}"
    seeds = "more than a million" if found.seeds is None else f"{found.seeds:,}"
    needed = f"about {seeds}" + (f" and {most}" if found.pairs > 1 else "")
    return ["", f"Plan: {now}; for ±{percent(found.aim)} {needed} seeds."]


def _published(results: Results) -> list[str]:
    lines = published_lines(published_rows(results))
    return ["", *lines] if lines else []


def limits(results: Results) -> list[str]:
    """What makes these figures no result: sets that are not measured in full."""
    return list(dict.fromkeys(line for _, experiment in results.sources for line in config.limits(experiment.shared)))


def remarks(results: Results) -> list[str]:
    lines = [line for limit in limits(results) for line in ("", limit)]
    said = {"left out, no longer in the config": results.left_out, "damaged, counted as missing": results.damaged}
    for words, names in said.items():
        lines += ["", f"{words}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"] if names else []
    if results.repeated:
        lines += ["", f"{results.repeated} trials stand in more than one folder and are counted once"]
    return lines
