"""Numbers of a comparison in a few characters each."""

from collections.abc import Sequence

from resexp import config
from resexp.comparison import Arm, Cell, Choice, Contrast, Metric, OverDepth, Tuned
from resexp.statistics import Difference, Summary

SHARE = Metric("")
NO_CONTRAST = "outcomes mixed or diverged"


def outcome_text(arm: Arm) -> str:
    """'5/5', '3/5 2 stuck', '0/5 5 diverged': how many of the finished ones trained, and what the others did."""
    others = [f"{count} {name}" for name, count in arm.summary.outcomes.items() if name != "trained"]
    return " ".join([f"{arm.summary.outcomes.get('trained', 0)}/{arm.summary.n}", *others])


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


def points_text(difference: Difference) -> str:
    """'+87.5 [+86.5, +88.6] points', '+0.3 points in all 4 seeds', or without an interval '+0.3 points'."""
    if difference.low is not None and not difference.sd:
        return f"{percent(difference.mean, '+')} points in all {difference.n} seeds"
    return f"{difference_text(difference)} points"


def contrast_text(arm: Arm, metric: Metric = SHARE, resolution: float | None = None) -> str:
    """The difference, '*' where it is shown; where outcomes differ the exact test of their counts."""
    if arm.contrast.outcomes is not None:
        return f"counts: {p_equals(arm.contrast.outcomes)}"
    return difference_text(arm.difference, metric, resolution) + _star(arm.contrast)


def _star(contrast: Contrast) -> str:
    return "*" if contrast.shown else ""


def ranks_text(contrast: Contrast, metric: Metric = SHARE) -> str:
    """'ranks: p = 0.1 (smallest 0.1); differences +64.6 to +74.1': Mann-Whitney, and the range of the paired differences."""
    ranks = contrast.ranks
    if ranks is None:
        return ""
    words = f"ranks: {p_equals(ranks.p)}{_star(contrast)} (smallest {p_text(ranks.least)})"
    if ranks.lowest is None:
        return words
    return f"{words}; differences {figure(ranks.lowest, metric, '+')} to {figure(ranks.highest, metric, '+')}"


def counts_text(plain: Arm, residual: Arm) -> str:
    """'5/5 seeds above chance against 0/5 (plain)', with Fisher's exact test where there is one."""
    above, of_plain = (f"{arm.summary.outcomes.get('trained', 0)}/{arm.summary.n}" for arm in (residual, plain))
    p = residual.contrast.outcomes
    return f"{above} seeds above chance against {of_plain} (plain){'' if p is None else f', Fisher {p_equals(p)}'}"


def evidence_text(arm: Arm) -> str:
    """What a verdict rests on: 'Evidence: p = 0.0001 over seeds and test images (+-4.2 points), corrected over the table.'."""
    of = arm.contrast
    if of.p is None or of.p_table is None:
        return ""
    counted = "seeds and test images" if of.over_images else "seeds alone, as predictions of test images are missing"
    source = "from the ranks" if of.half is None else f"over {counted} (95% CI ±{percent(of.half)} points)"
    return f"Evidence: {p_equals(of.p)} {source}; {p_equals(of.p_table)} corrected over the table (Holm)."


def sources_text(arms: Sequence[Arm]) -> str:
    """'seeds and test images' where every verdict counts both, else 'seeds'."""
    both = [arm.contrast.over_images for arm in arms if arm.contrast.half is not None]
    return "seeds and test images" if both and all(both) else "seeds"


def train_error_text(arm: Arm) -> str:
    """Error on the training set in percent: the mean, where outcomes differ the median; '-' for none."""
    summary = arm.train_error
    if summary is None or summary.median is None:
        return "-"
    return percent(summary.median if summary.mean is None else summary.mean)


def train_error_spread(arm: Arm) -> str:
    """'1.6 ± 0.4' in percent; where outcomes differ 'median 89.9 (2.1 to 90.0)'."""
    return "-" if arm.train_error is None else accuracy_text(arm.train_error)


def growth_text(growth: float) -> str:
    """Orders of magnitude with one digit."""
    return f"{growth + 0.0:+.1f}".replace("-0.0", "+0.0")


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
