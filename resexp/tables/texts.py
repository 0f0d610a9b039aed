"""Numbers of a comparison in a few characters each."""

from collections.abc import Sequence

from resexp import config
from resexp.comparison import Arm, Cell, Choice, Metric, OverDepth, Tuned
from resexp.runs import State
from resexp.statistics import Difference, Summary

SHARE = Metric("")
NAMED = 4  # of trials that share a fate, so many are named
NO_CONTRAST = "outcomes mixed or diverged"


def outcome_text(arm: Arm) -> str:
    """'5/5', '3/5 2 stuck', '0/5 5 diverged': how many of the finished ones trained, and what the others did."""
    others = [f"{count} {name}" for name, count in arm.summary.outcomes.items() if name != "trained"]
    return " ".join([f"{arm.summary.outcomes.get('trained', 0)}/{arm.summary.n}", *others])


def diverged_text(arm: Arm) -> str:
    """'seed 0 at step 101, seed 3 at step 88'; of more than four 'seeds at steps 88 to 240'; nothing where none diverged."""
    steps = [step for _, step in arm.diverged]
    if len(steps) > NAMED:
        return f"{len(steps)} seeds at steps {min(steps)} to {max(steps)}"
    return ", ".join(f"seed {seed} at step {step}" for seed, step in arm.diverged)


def dead_text(arm: Arm) -> str:
    """'no gradient reached 62 layers, blocks.0.layer1 to blocks.30.layer2, in 2 of 3 seeds'; nothing where all were trained."""
    if not arm.dead_layers:
        return ""
    layers = list(dict.fromkeys(name for _, names in arm.dead_layers for name in names))
    some = f"{len(layers)} layers, {layers[0]} to {layers[-1]}," if len(layers) > 2 else " and ".join(layers)
    return f"no gradient reached {some} in {len(arm.dead_layers)} of {arm.summary.n} seeds"


def dead_lines(cells: Sequence[Cell]) -> list[str]:
    """A line for each arm in which some layer has a gradient of exactly 0 at every logging step, the first few by name."""
    lines = [f"{named(cell.label)}, {arm.name}: {dead_text(arm)}" for cell in cells for arm in cell.arms if arm.dead_layers]
    more = [f"and {len(lines) - NAMED} more arms with layers that no gradient reached"] if len(lines) > NAMED else []
    return [*lines[:NAMED], *more]


def dead_trials(states: Sequence[State]) -> list[str]:
    """The same of finished trials: a line for each arm, with the first few of its trials."""
    lines = []
    for arm in dict.fromkeys(state.trial.arm for state in states):
        dead = {state.trial.name: state.result.get("dead_layers", []) for state in states
                if state.trial.arm == arm and state.result and state.result.get("dead_layers")}  # fmt: skip
        if dead:
            names = list(dead)
            fewest, most = min(map(len, dead.values())), max(map(len, dead.values()))
            layers = f"{'up to ' if fewest < most else ''}{most} layer{'' if most == 1 else 's'}"
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            lines.append(
                f"{arm}: the gradient of {layers} was exactly 0 at every logging step: {', '.join(names[:NAMED])}{more}"
            )
    return lines


def progress_text(states: Sequence[State], noun: str = "trials") -> str:
    """'5 of 6 trials finished, 1 at chance, 1 diverged: identity-d8-s0 at step 101'."""
    finished = [state for state in states if state.result]
    at_chance = sum(state.result["outcome"] == "stuck" for state in finished if state.result)
    diverged = [f"{state.trial.name} at step {state.diverged_at}" for state in finished if state.diverged_at is not None]
    more = f" and {len(diverged) - NAMED} more" if len(diverged) > NAMED else ""
    parts = [f"{len(finished)} of {len(states)} {noun} finished"]
    parts += [f"{at_chance} at chance"] if at_chance else []
    parts += [f"{len(diverged)} diverged: {', '.join(diverged[:NAMED])}{more}"] if diverged else []
    return ", ".join(parts)


def missing_text(arm: Arm) -> str:
    """'n = 4 of 5, 1 failed'; nothing where all have finished."""
    total = arm.summary.n + sum(arm.missing.values())
    lost = [f"{count} {state}" for state, count in arm.missing.items()]
    return f"n = {arm.summary.n} of {total}, {', '.join(lost)}" if lost else ""


def seeds_text(cells: Sequence[Cell], word: str = " or ") -> str:
    """'3 or 5': how many seeds the arms have that have any."""
    return word.join(map(str, sorted({arm.summary.n for cell in cells for arm in cell.arms if arm.summary.n} or {0})))


def accuracy_text(summary: Summary, metric: Metric = SHARE) -> str:
    """'96.2 ± 0.7' in percent; where outcomes are mixed 'median 91.2 (8.1 to 96.0)'; '-' for none."""
    if summary.median is None:
        return "-"
    if summary.mean is not None:
        return figure(summary.mean, metric) + (f" ± {figure(summary.sd, metric)}" if summary.sd is not None else "")
    return f"median {figure(summary.median, metric)} ({figure(summary.lowest, metric)} to {figure(summary.highest, metric)})"


def figure(value: float | None, metric: Metric = SHARE, sign: str = "") -> str:
    """A share in percent with one digit, any other number with four."""
    if value is None or metric.percent:
        return percent(value, sign)
    return f"{value:{sign}.4g}"


def percent(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{100 * value:{sign}.1f}"


def slope_text(value: float | None) -> str:
    return "-" if value is None else f"{value + 0.0:+.2f}".replace("-0.00", "+0.00")


def difference_text(difference: Difference | None, metric: Metric = SHARE, resolution: float | None = None) -> str:
    """'+2.8 [+2.1, +3.5]' in points; where all seeds differ by the same, which has no interval, '+0.0 (1 image: 0.28)'."""
    if difference is None:
        return ""
    text = figure(difference.mean, metric, "+")
    if difference.low is None:
        return text
    if not difference.sd:
        return f"{text} (1 image: {100 * resolution:.2g})" if resolution is not None else f"{text} in all {difference.n} seeds"
    return f"{text} [{figure(difference.low, metric, '+')}, {figure(difference.high, metric, '+')}]"


def contrast_text(arm: Arm, metric: Metric = SHARE, resolution: float | None = None) -> str:
    """The difference; where outcomes are mixed the exact test of their counts."""
    if arm.contrast.outcomes is not None:
        return f"k of n: {p_equals(arm.contrast.outcomes)}"
    return difference_text(arm.difference, metric, resolution)


def p_text(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


def p_equals(p: float) -> str:
    return f"p {'' if p < 0.001 else '= '}{p_text(p)}"


def flip_text(arm: Arm) -> str:
    """'sign-flip p 0.062, Holm 0.75, least possible 0.062'; nothing without a difference."""
    of = arm.contrast
    if of.sign_flip is None or of.holm is None or of.least is None:
        return ""
    return f"sign-flip p {p_text(of.sign_flip)}, Holm {p_text(of.holm)}, least possible {p_text(of.least)}"


def images_text(arm: Arm) -> str:
    """'± 1.9 over other test images'; nothing where it was not asked for."""
    return "" if arm.contrast.images is None else f"± {percent(arm.contrast.images)} over other test images"


def beyond_width_text(arm: Arm, cell: Cell, metric: Metric = SHARE, resolution: float | None = None) -> str:
    """'+2.8 [+2.1, +3.5] against plain-as-gate (42,832 parameters)': the second difference of a residual arm."""
    name = config.control_arm(arm.name)
    (control,) = (other for other in cell.arms if other.name == name)
    return f"{difference_text(arm.beyond_width, metric, resolution)} against {name} ({control.parameters:,} parameters)"


def is_best(arm: Arm, cell: Cell, metric: Metric) -> bool:
    """Whether no other arm of the cell has as good a mean; never where some arm has none, or neither way is better."""
    means = [other.summary.mean for other in cell.arms]
    mine = arm.summary.mean
    if not metric.better or mine is None or len(means) < 2 or None in means:
        return False
    shown = [metric.better * float(figure(mean, metric)) for mean in means]
    best = metric.better * float(figure(mine, metric))
    return best == max(shown) and shown.count(best) == 1


def named(label: dict[str, str]) -> str:
    """'depth 64, norm layer'; 'all' where nothing tells cells apart."""
    return ", ".join(f"{key} {value}" for key, value in label.items()) or "all"


# ---- best against best ------------------------------------------------------------------------------------------------------


def tuned_text(row: Tuned, metric: Metric = SHARE, resolution: float | None = None) -> str:
    """The difference of two choices, or why there is none."""
    ended = [choice.summary.outcomes for choice in (row.plain, row.residual)]
    apart = any(len(of) > 1 or "diverged" in of for of in ended)
    reason = "; ".join(row.unmatched) or (NO_CONTRAST if apart else "no pair has finished")
    return difference_text(row.difference, metric, resolution) or f"no difference: {reason}"


def choice_text(choice: Choice) -> str:
    """'lr 0.01 (lr at the edge of the grid)'."""
    flags = f" ({'; '.join(choice.flags)})" if choice.flags else ""
    return f"{named(choice.setting)}{flags}"


# ---- training error over depth ------------------------------------------------------------------------------------------


def verdict_text(of: OverDepth) -> str:
    """'degrades', 'cannot tell with n = 5', 'does not degrade, nor train'."""
    if of.found.verdict == "does not degrade" and not of.trained[0]:
        return "does not degrade, nor train"
    return f"cannot tell with n = {of.found.n}" if of.found.verdict == "cannot tell" else of.found.verdict


def rise_text(of: OverDepth) -> str:
    """'trend p < 0.001; +88.0 [+85.9, +90.1]'."""
    return f"{trend_text(of)}{difference_text(of.found.contrast) or NO_CONTRAST}"


def trend_text(of: OverDepth) -> str:
    """'trend p < 0.001; ', nothing where there is no test."""
    trend = of.found.trend
    return "" if trend is None else f"trend {p_equals(trend)}; "
