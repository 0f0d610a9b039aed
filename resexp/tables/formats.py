"""Numbers of a comparison as short texts."""

from collections.abc import Sequence

from resexp import config, inference
from resexp.comparison import Arm, Cell, Choice, Contrast, DepthTrend, Metric, SeedEstimate, TunedComparison
from resexp.inference import DegradationVerdict, Difference, Summary
from resexp.runs import Outcome, TrialRecord
from resexp.tables.labels import label_text
from resexp.tables.sentences import Sentence

SHARE = Metric("")
MAX_LISTED = 4  # trials with the same outcome
SENTENCES = {
    "no contrast": Sentence(
        "mixed outcomes or diverged networks",
        "outcomes differ across the seeds of a configuration that is compared, or a network diverged",
    ),
    "looks": Sentence("n = {counts} seeds: looked at {times}", "seeds were added to the experiment after a first training"),
    "ranks": Sentence("ranks: {p} (smallest {least})", "outcomes of the two arms differ, and both have finished networks"),
    "range": Sentence("; differences {lowest} to {highest}", "in addition, both networks of a pair have a value"),
    "evidence": Sentence(
        "Evidence: {p} {source}; {corrected} corrected over the table (Holm).", "the verdict rests on a test: at least 3 seeds"
    ),
    "by ranks": Sentence("from the ranks", "outcomes differ across the seeds of an arm"),
    "by seeds": Sentence("over {sources} (95% CI ±{half} points)", "all seeds of each arm have the same outcome"),
    "both": Sentence("seeds and test images", "predictions of the test images exist"),
    "seeds only": Sentence(
        "seeds only, as predictions of test images are missing or damaged",
        "predictions of the test images are missing or damaged, or of different images",
    ),
    "no difference": Sentence("no difference: {reason}", "the best settings of the two arms cannot be compared"),
    "biased": Sentence(
        "{difference} (selected and reported on the same seed: biased)", "a single seed selects the best setting"
    ),
    "dead": Sentence(
        "no gradient reached {layers} in {count} of {total} seeds",
        "the weight gradient of the layers was exactly 0 at every logging step",
    ),
    "bound": Sentence(
        "at most {most} above any shallower depth",
        "the verdict is not 'degrades', and this bound is higher than the end of the interval",
    ),
    "closing": Sentence(
        "the gap is still closing: {change} over the last tenth",
        "the verdict is 'degrades' with an interval, and the 95% CI of the gap's change over the last tenth of training is "
        "below 0",
    ),
}
NO_CONTRAST = SENTENCES["no contrast"].text
TIMES = {2: "twice", 3: "three times", 4: "four times"}


def outcome_text(arm: Arm) -> str:
    """'5/5', '3/5 (2 at chance)', '0/5 (5 diverged)': how many finished trials are above chance, and the other outcomes."""
    outcomes, n = arm.summary.outcomes, arm.summary.n
    others = [f"{count} {name.replace('_', ' ')}" for name, count in outcomes.items() if name != Outcome.ABOVE_CHANCE]
    return f"{outcomes.get(Outcome.ABOVE_CHANCE, 0)}/{n}" + (f" ({', '.join(others)})" if others else "")


def diverged_text(arm: Arm) -> str:
    """'seed 0 at step 101, seed 3 at step 88'; for more than four 'seeds at steps 88 to 240'; '' if none diverged."""
    steps = [step for _, step in arm.diverged]
    if len(steps) > MAX_LISTED:
        return f"{len(steps)} seeds at steps {min(steps)} to {max(steps)}"
    return ", ".join(f"seed {seed} at step {step}" for seed, step in arm.diverged)


def dead_text(arm: Arm) -> str:
    """'no gradient reached 62 layers, blocks.0.layer1 to blocks.30.layer2, in 2 of 3 seeds'; '' if all have a gradient."""
    if not arm.dead_layers:
        return ""
    layers = list(dict.fromkeys(name for _, names in arm.dead_layers for name in names))
    names = f"{len(layers)} layers, {layers[0]} to {layers[-1]}," if len(layers) > 2 else " and ".join(layers)
    return SENTENCES["dead"].format(layers=names, count=len(arm.dead_layers), total=arm.summary.n)


def dead_lines(cells: Sequence[Cell]) -> list[str]:
    """A line for each arm with a layer whose gradient is exactly 0 at every logging step; four at most."""
    lines = [
        f"{label_text(cell.label)}, {arm.name}: {dead_text(arm)}" for cell in cells for arm in cell.arms if arm.dead_layers
    ]
    more = [f"and {len(lines) - MAX_LISTED} more arms with layers that no gradient reached"] if len(lines) > MAX_LISTED else []
    return [*lines[:MAX_LISTED], *more]


def dead_trials(records: Sequence[TrialRecord]) -> list[str]:
    """The arms of finished trials with such layers: a line for each arm, which lists a few trials."""
    lines = []
    for arm in dict.fromkeys(record.trial.arm for record in records):
        dead = {record.trial.name: record.result.dead_layers for record in records
                if record.trial.arm == arm and record.result and record.result.dead_layers}  # fmt: skip
        if dead:
            names = list(dead)
            fewest, most = min(map(len, dead.values())), max(map(len, dead.values()))
            layers = f"{'up to ' if fewest < most else ''}{most} layer{'' if most == 1 else 's'}"
            more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
            lines.append(
                f"{arm}: the gradient of {layers} was exactly 0 at every logging step: {', '.join(names[:MAX_LISTED])}{more}"
            )
    return lines


def progress_text(records: Sequence[TrialRecord], noun: str = "trials") -> str:
    """'5 of 6 trials finished, 1 at chance, 1 diverged: identity-d8-s0 at step 101'."""
    finished = [record for record in records if record.result]
    at_chance = sum(record.result.outcome == Outcome.AT_CHANCE for record in finished if record.result)
    diverged = [f"{record.trial.name} at step {record.diverged_at}" for record in finished if record.diverged_at is not None]
    more = f" and {len(diverged) - MAX_LISTED} more" if len(diverged) > MAX_LISTED else ""
    parts = [f"{len(finished)} of {len(records)} {noun} finished"]
    parts += [f"{at_chance} at chance"] if at_chance else []
    parts += [f"{len(diverged)} diverged: {', '.join(diverged[:MAX_LISTED])}{more}"] if diverged else []
    return ", ".join(parts)


def missing_text(arm: Arm) -> str:
    """'n = 4 of 5, 1 failed'; '' if all trials have finished."""
    total = arm.summary.n + sum(arm.missing.values())
    states = [f"{count} {state}" for state, count in arm.missing.items()]
    return f"n = {arm.summary.n} of {total}, {', '.join(states)}" if states else ""


def seeds_text(cells: Sequence[Cell], word: str = " or ") -> str:
    """'3 or 5': the numbers of seeds of all arms that have any."""
    return word.join(map(str, sorted({arm.summary.n for cell in cells for arm in cell.arms if arm.summary.n} or {0})))


def looks_text(looks: Sequence[int]) -> str:
    """'n = 5, then 10 seeds: looked at twice'; '' if the experiment has not grown."""
    times = TIMES.get(len(looks), f"{len(looks)} times")
    return SENTENCES["looks"].format(counts=", then ".join(map(str, looks)), times=times) if len(looks) > 1 else ""


def looks_coverage(looks: Sequence[int]) -> str:
    """'92%': coverage of the interval at which you stop because it excludes 0; '< 85%' for more looks than were simulated."""
    coverage = inference.COVERAGE_OF_LOOKS
    known = len(looks) in coverage
    return f"{'' if known else '< '}{coverage[len(looks) if known else max(coverage)]:.0%}"


def accuracy_text(summary: Summary, metric: Metric = SHARE) -> str:
    """'96.2 ± 0.7' in percent; 'median 91.2 (8.1 to 96.0)' if outcomes differ; '-' without a value."""
    if summary.median is None:
        return "-"
    if summary.mean is not None:
        return number_text(summary.mean, metric) + (f" ± {number_text(summary.sd, metric)}" if summary.sd is not None else "")
    lowest, highest = (number_text(end, metric) for end in (summary.lowest, summary.highest))
    return f"median {number_text(summary.median, metric)} ({lowest} to {highest})"


def number_text(value: float | None, metric: Metric = SHARE, sign: str = "") -> str:
    """A share in percent with one digit, any other number with four."""
    if value is None or metric.percent:
        return percent(value, sign)
    return f"{value:{sign}.4g}"


def percent(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{100 * value:{sign}.1f}"


def slope_text(value: float | None) -> str:
    return "-" if value is None else f"{value + 0.0:+.2f}".replace("-0.00", "+0.00")


def distance_text(value: float | None) -> str:
    """'0.34' or '2.9e-4'; '' for a distance that was not measured."""
    if value is None:
        return ""
    if value >= 0.001 or value == 0:
        return f"{value:.2g}"
    return "<1e-16" if value < 1e-16 else f"{value:.1e}".replace("e-0", "e-")


def difference_text(difference: Difference | None, metric: Metric = SHARE, resolution: float | None = None) -> str:
    """'+2.8 [+2.1, +3.5]' in points; '+0.0 (1 image: 0.28)' if the difference is the same for all seeds."""
    if difference is None:
        return ""
    text = number_text(difference.mean, metric, "+")
    if difference.low is None:
        return text
    if not difference.sd:
        return f"{text} (1 image: {100 * resolution:.2g})" if resolution is not None else f"{text} in all {difference.n} seeds"
    return f"{text} [{number_text(difference.low, metric, '+')}, {number_text(difference.high, metric, '+')}]"


def contrast_text(arm: Arm, metric: Metric = SHARE, resolution: float | None = None) -> str:
    """The difference, with '*' if it is shown; if outcomes differ, the exact test of their counts."""
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
    test = SENTENCES["ranks"].format(p=f"{p_equals(ranks.p)}{_star(contrast)}", least=p_text(ranks.least))
    if ranks.lowest is None:
        return test
    lowest, highest = (number_text(end, metric, "+") for end in (ranks.lowest, ranks.highest))
    return test + SENTENCES["range"].format(lowest=lowest, highest=highest)


def evidence_text(arm: Arm) -> str:
    """'Evidence: p = 0.0001 over seeds and test images (95% CI ±4.2 points); p = 0.001 corrected over the table (Holm).'."""
    contrast = arm.contrast
    if contrast.p is None or contrast.p_table is None:
        return ""
    source = SENTENCES["by ranks"].text
    if contrast.half is not None:
        sources = SENTENCES["both" if contrast.over_images else "seeds only"].text
        source = SENTENCES["by seeds"].format(sources=sources, half=percent(contrast.half))
    return SENTENCES["evidence"].format(p=p_equals(contrast.p), source=source, corrected=p_equals(contrast.p_table))


def sources_text(arms: Sequence[Arm]) -> str:
    """'seeds and test images' if every verdict uses both, else 'seeds'."""
    both = [arm.contrast.over_images for arm in arms if arm.contrast.half is not None]
    return "seeds and test images" if both and all(both) else "seeds"


def train_error_text(arm: Arm) -> str:
    """Train error in percent: the mean, or the median if outcomes differ; '-' without a value."""
    summary = arm.train_error
    if summary is None or summary.median is None:
        return "-"
    return percent(summary.median if summary.mean is None else summary.mean)


def train_error_spread(arm: Arm) -> str:
    """'1.6 ± 0.4' in percent; 'median 89.9 (2.1 to 90.0)' if outcomes differ."""
    return "-" if arm.train_error is None else accuracy_text(arm.train_error)


def growth_text(growth: float) -> str:
    """Orders of magnitude with one digit."""
    return f"{growth + 0.0:+.1f}".replace("-0.0", "+0.0")


def p_text(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


def p_equals(p: float) -> str:
    return f"p {'' if p < 0.001 else '= '}{p_text(p)}"


def sign_flip_text(arm: Arm) -> str:
    """'sign-flip p 0.062, Holm 0.75, smallest attainable 0.062'; '' without a difference."""
    contrast = arm.contrast
    if contrast.sign_flip is None or contrast.holm is None or contrast.least is None:
        return ""
    smallest = f"smallest attainable {p_text(contrast.least)}"
    return f"sign-flip p {p_text(contrast.sign_flip)}, Holm {p_text(contrast.holm)}, {smallest}"


def images_text(arm: Arm) -> str:
    """'± 1.9 over other test images', a 95% CI half-width; '' if it was not requested."""
    return "" if arm.contrast.images is None else f"± {percent(arm.contrast.images)} over other test images"


def beyond_width_text(arm: Arm, cell: Cell, metric: Metric = SHARE, resolution: float | None = None) -> str:
    """'+2.8 [+2.1, +3.5] beyond width (plain-as-gate, 42,832 parameters)'."""
    name = config.control_arm(arm.name)
    (control,) = (other for other in cell.arms if other.name == name)
    return f"{difference_text(arm.beyond_width, metric, resolution)} beyond width ({name}, {control.parameters:,} parameters)"


# ---- each at its best setting ------------------------------------------------------------------------------------------


def tuned_text(row: TunedComparison, metric: Metric = SHARE, resolution: float | None = None) -> str:
    """The difference of two selections, or the reason why there is none; a selection by a single seed is marked as biased."""
    outcomes = [choice.summary.outcomes for choice in (row.plain, row.residual)]
    mixed = any(len(counts) > 1 or Outcome.DIVERGED in counts for counts in outcomes)
    reason = "; ".join(row.unmatched) or (NO_CONTRAST if mixed else "no pair has finished")
    text = difference_text(row.difference, metric, resolution)
    if not text:
        return SENTENCES["no difference"].format(reason=reason)
    return text if row.cross_fitted else SENTENCES["biased"].format(difference=text)


def choice_text(choice: Choice) -> str:
    """'lr 0.01 (lr at the edge of the grid)', 'lr 0.01 (by half: lr 0.1; lr 0.01)'."""
    halves = [f"by half: {'; '.join(map(label_text, choice.halves))}"] if choice.halves else []
    notes = "; ".join([*halves, *choice.flags])
    return f"{label_text(choice.setting)} ({notes})" if notes else label_text(choice.setting)


# ---- training error over depth ------------------------------------------------------------------------------------------


def verdict_text(row: DepthTrend) -> str:
    """'degrades', 'inconclusive, n = 5', 'degrades, 5/5 diverged'."""
    seeds = f", n = {row.degradation.n}" if row.degradation.verdict == DegradationVerdict.INCONCLUSIVE else ""
    diverged = f", {row.diverged}/{row.above_chance[1]} diverged" if row.diverged else ""
    return f"{row.degradation.verdict}{seeds}{diverged}"


def ends_text(row: DepthTrend) -> str:
    """'depth 64 - depth 8', 'depth 64 - depth 8 or 16' if the halves of the seeds select different shallower depths.

    Without an interval the test that decides: 'rank test p = 0.031'.
    """
    if row.degradation.contrast is None:
        return f"rank test {p_equals(row.degradation.rank_p)}"
    return f"depth {row.degradation.depths[-1]} - depth {' or '.join(map(str, sorted(set(row.degradation.best.values()))))}"


def rise_text(row: DepthTrend) -> str:
    """'+88.0 [+85.9, +90.1]', or why there is no interval."""
    return difference_text(row.degradation.contrast) or NO_CONTRAST


def bound_text(row: DepthTrend) -> str:
    """'at most +1.3 above any shallower depth', if this bound is above the interval and decides the verdict."""
    degradation = row.degradation
    if degradation.most is None or degradation.contrast is None or degradation.verdict == DegradationVerdict.DEGRADES:
        return ""
    is_higher = degradation.contrast.high is not None and percent(degradation.most) != percent(degradation.contrast.high)
    return SENTENCES["bound"].format(most=percent(degradation.most, "+")) if is_higher else ""


def closing_text(row: DepthTrend) -> str:
    """'the gap is still closing: -3.1 [-4.0, -2.2] over the last tenth'; '' if it is not."""
    return SENTENCES["closing"].format(change=difference_text(row.change)) if row.closing else ""


# ---- precision ----------------------------------------------------------------------------------------------------------


def seeds_needed_text(needed: SeedEstimate, pair: str = "") -> str:
    """'63 seeds (median pair; 95% CI 23 to 520)'."""
    seeds, low, high = ("over a million" if n is None else f"{n:,}" for n in (needed.seeds, needed.low, needed.high))
    return f"{seeds} seeds ({f'{pair}; ' if pair else ''}95% CI {low} to {high})"
