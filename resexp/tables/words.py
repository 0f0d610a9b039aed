"""One or two sentences on each chart; every statement follows from the data of the chart."""

from collections.abc import Callable, Sequence
from itertools import groupby

import pandas as pd

from resexp.comparison import DepthTrend, Effect, Flow, flow
from resexp.inference import DegradationVerdict
from resexp.tables import labels
from resexp.tables.findings import Finding, gradient_words
from resexp.tables.formats import closing_text, ends_text, growth_text, percent, points_text
from resexp.tables.frames import Frames, profiles
from resexp.tables.planes import MIXED, plane
from resexp.tables.sentences import Sentence

MIN_CHANGE = 0.05  # of accuracy, in the sentences on heat maps
GOOD = {
    Effect.MAKES_TRAINABLE: Sentence("makes networks trainable ({})"),
    Effect.MORE_ACCURATE: Sentence("makes them more accurate ({})"),
}
BAD = {
    Effect.MAKES_UNTRAINABLE: Sentence("makes them untrainable ({})"),
    Effect.LESS_ACCURATE: Sentence("makes them less accurate ({})"),
}
SENTENCES = {
    "reversal": Sentence(
        "The effect of {arm} reverses at depth {depth}: it {first}, and {second}.",
        "at this depth the shortcut helps under one condition and hurts under another (a verdict of each kind)",
    ),
    "error": Sentence("{arm}: training error {verdict}.{addition}", "the arm has finished networks of at least 2 depths"),
    "closing": Sentence("; {closing} of training", "as 'closing' in resexp.tables.formats"),
    "rises": Sentence(
        " Its gradients at initialization are {gradients}, so training error can rise without vanishing gradients.",
        "the verdict is 'degrades', and gradients of the deepest networks are not vanishing at initialization",
    ),
    "vanishes": Sentence(
        " Its gradients at initialization are {gradients}, so gradients can vanish although training error does not rise.",
        "the verdict is 'does not degrade', and the deepest networks are all above chance with gradients that are vanishing at "
        "initialization",
    ),
    "profile": Sentence(
        "{arm}, depth {depth}: gradients are {flow} at initialization ({growth} orders of magnitude from output to "
        "input){later}.",
        "gradients of networks of one stage were logged, at initialization at least",
    ),
    "always": Sentence(
        ", and {flow} at every later logging step, up to step {step}", "the gradients are of one kind at all logging steps"
    ),
    "comes and goes": Sentence(
        "; {other} at step {step}, {flow} again at the last logging step",
        "the gradients are of the same kind at the first and last logging step, and of another in between",
    ),
    "from": Sentence(
        "; {flow} from step {step} on",
        "the kind at the last logging step differs from that at initialization, and is the same from this step on",
    ),
    "accuracy": Sentence("{arms}.", "always: medians over seeds at the smallest and the largest depth"),
    "diverged": Sentence("{count} of {total} diverged", "networks diverged at this depth"),
    "map": Sentence(
        "{arm}: at least {change} points above plain in {better} of {total} configurations, at least {change} below in {worse} "
        "(range {lowest} to {highest}).",
        "both arms have an accuracy in a configuration of the heat map",
    ),
    "mixed": Sentence(
        "outcomes differ across seeds in {count} of {total} configurations (circles)",
        "seeds of a configuration of the heat map have different outcomes",
    ),
    "diverged networks": Sentence("{count} of {total} networks diverged", "networks of the heat map diverged"),
    "blank": Sentence(
        "{count} configurations are blank because their median network diverged",
        "the median network of a configuration diverged",
    ),
    "theory": Sentence("{arm}: {sides}.", "a formula predicts the trainability limit"),
    "side": Sentence(
        "{side}: {count} configurations, median accuracy {median}% (range {lowest}% to {highest}%)",
        "configurations are on this side of the predicted limit",
    ),
}


def words(name: str, frames: Frames) -> list[str]:
    """The sentences on a figure; empty for figures without sentences."""
    return WORDS[name](frames) if name in WORDS else []


def reversals(findings: Sequence[Finding]) -> list[str]:
    """The shortcuts that have opposite effects under two conditions at one depth."""
    lines = []
    by_arm = sorted(findings, key=lambda finding: (finding.residual.name, int(finding.label["depth"])))
    for (arm, depth), group in groupby(by_arm, key=lambda finding: (finding.residual.name, int(finding.label["depth"]))):
        members = list(group)
        good, bad = ([finding for finding in members if finding.effect in effects] for effects in (GOOD, BAD))
        if good and bad:
            first, second = ((GOOD | BAD)[finding.effect].format(_condition(finding.label)) for finding in (good[0], bad[0]))
            lines.append(SENTENCES["reversal"].format(arm=arm, depth=depth, first=first, second=second))
    return lines


def _named(condition: object, *arm: object) -> str:
    """'layer norm, plain'; without the condition if there is only one."""
    return ", ".join(str(part) for part in (condition, *arm) if part != labels.NO_AXIS)


def _condition(label: dict[str, str]) -> str:
    text = labels.condition(label)
    return "these settings" if text == labels.NO_AXIS else text


# ---- training error over depth -----------------------------------------------------------------------------------------

VERDICTS = {
    DegradationVerdict.DEGRADES: Sentence("is higher at the deepest than at the best shallower depth"),
    DegradationVerdict.DOES_NOT_DEGRADE: Sentence("does not rise with depth by the margin"),
    DegradationVerdict.INCONCLUSIVE: Sentence("is not shown to rise with depth"),
    DegradationVerdict.UNTRAINED: Sentence("is at chance, or training diverged"),
}


def training_error(rows: Sequence[DepthTrend]) -> list[str]:
    """The verdict on each arm's training error, and whether its gradients would suggest another one."""
    return [
        SENTENCES["error"].format(
            arm=_named(labels.condition(row.condition), row.arm),
            verdict=f"{VERDICTS[row.degradation.verdict].text}{_by(row)}",
            addition=_contrast_with_gradients(row),
        )
        for row in rows
    ]


def _by(row: DepthTrend) -> str:
    contrast, closing = row.degradation.contrast, closing_text(row)
    text = (
        f": {points_text(contrast)}, {ends_text(row)}"
        if contrast and row.degradation.verdict != DegradationVerdict.UNTRAINED
        else ""
    )
    return text + (SENTENCES["closing"].format(closing=closing) if closing else "")


def _contrast_with_gradients(row: DepthTrend) -> str:
    """A sentence on the difference between degradation and vanishing gradients, if this arm shows only one of them."""
    if row.growth is None:
        return ""
    vanishing = flow(row.growth) == Flow.VANISHING
    if row.degradation.verdict == DegradationVerdict.DEGRADES and not vanishing:
        return SENTENCES["rises"].format(gradients=gradient_words(row.growth))
    if (
        row.degradation.verdict == DegradationVerdict.DOES_NOT_DEGRADE
        and vanishing
        and row.above_chance[0] == row.above_chance[1]
    ):
        return SENTENCES["vanishes"].format(gradients=gradient_words(row.growth))
    return ""


# ---- gradients ---------------------------------------------------------------------------------------------------------


def _gradient_profile(frames: Frames) -> list[str]:
    """The gradients of the deepest networks at initialization, and the logging step at which their kind changes."""
    return [
        SENTENCES["profile"].format(
            arm=_named(condition, arm),
            depth=depth,
            flow=flow(growths.iloc[0]),
            growth=growth_text(growths.iloc[0]),
            later=_later(growths),
        )
        for condition, arm, depth, growths in _growths(frames)
    ]


def _growths(frames: Frames) -> list[tuple[str, str, int, pd.Series]]:
    """(condition, arm, depth, growth over the whole network by step) of the deepest networks: mean profile, inner boundaries.

    Only networks of one stage are included, in which all blocks have the same shape.
    """
    level = profiles(frames.signals[~frames.signals["staged"]]).dropna(subset=["relative"])
    rows = []
    for (condition, arm), arm_rows in level.groupby(["condition", "arm"], sort=False):
        deepest = arm_rows[arm_rows["depth"] == arm_rows["depth"].max()]
        blocks = deepest["index"].max()
        inner = deepest[(deepest["index"] > 0) & (deepest["index"] < blocks)]
        growths = blocks * inner.groupby("step").apply(_slope, include_groups=False).dropna()
        if len(growths):
            rows.append((str(condition), str(arm), int(deepest["depth"].iloc[0]), growths))
    return rows


def _slope(rows: pd.DataFrame) -> float:
    x, y = rows["index"] - rows["index"].mean(), rows["relative"]
    return -float((x * y).sum() / (x * x).sum()) if len(rows) > 1 else float("nan")


def _later(growths: pd.Series) -> str:
    """'; vanishing from step 5 on'; or that the kind never changes, or that it changes and returns."""
    kinds = [flow(growth) for growth in growths]
    if len(kinds) < 2:
        return ""
    if len(set(kinds)) == 1:
        return SENTENCES["always"].format(flow=kinds[0], step=growths.index[-1])
    if kinds[-1] == kinds[0]:
        other = next(index for index, kind in enumerate(kinds) if kind != kinds[0])
        return SENTENCES["comes and goes"].format(other=kinds[other], step=growths.index[other], flow=kinds[-1])
    last_other = max(index for index, kind in enumerate(kinds) if kind != kinds[-1])
    return SENTENCES["from"].format(flow=kinds[-1], step=growths.index[last_other + 1])


# ---- accuracy over depth -------------------------------------------------------------------------------------------------


def _accuracy(frames: Frames) -> list[str]:
    """The median of each arm at the smallest and at the largest depth, for each condition."""
    lines = []
    for condition, rows in frames.results.groupby("condition", sort=False):
        spans = "; ".join(_span(str(arm), arm_rows) for arm, arm_rows in rows.groupby("arm", sort=False))
        lines.append(SENTENCES["accuracy"].format(arms=f"{_named(condition)}: {spans}" if condition != "all" else spans))
    return lines


def _span(arm: str, rows: pd.DataFrame) -> str:
    """'plain 94.2% at depth 8, 10.0% (1 of 3 diverged) at depth 64'."""
    ends = [rows[rows["depth"] == depth] for depth in sorted({rows["depth"].min(), rows["depth"].max()})]
    return f"{arm} " + ", ".join(f"{_median(rows_at)} at depth {rows_at['depth'].iloc[0]}" for rows_at in ends)


def _median(rows: pd.DataFrame) -> str:
    """'94.2%'; diverged networks are left out of the median and counted."""
    known = rows["test_accuracy"].dropna().astype(float)
    missing = len(rows) - len(known)
    diverged = SENTENCES["diverged"].format(count=missing, total=len(rows)) if missing else ""
    if not len(known):
        return diverged
    return f"{percent(known.median())}%" + (f" ({diverged})" if diverged else "")


# ---- heat maps ----------------------------------------------------------------------------------------------------------


def _atlas(frames: Frames) -> list[str]:
    """The number of configurations in which each shortcut helps or hurts, and the accuracies around the predicted limit."""
    lines = []
    for (region, arm), arm_rows in plane(frames.results).groupby(["region", "arm"], sort=False):
        differences = arm_rows["difference"].dropna()
        if arm != "plain" and len(differences):
            lowest, highest = (percent(value, sign="+") for value in (differences.min(), differences.max()))
            better, worse = int((differences >= MIN_CHANGE).sum()), int((differences <= -MIN_CHANGE).sum())
            counts = {"better": better, "worse": worse, "total": len(differences)}
            ends = {"change": f"{100 * MIN_CHANGE:g}", "lowest": lowest, "highest": highest}
            lines.append(SENTENCES["map"].format(arm=_named(region, arm), **counts, **ends))
        lines += _sides(_named(region, arm), arm_rows, frames.boundaries)
    return [*lines, *_outcomes(frames.results)]


def _outcomes(results: pd.DataFrame) -> list[str]:
    """For each arm: configurations whose seeds have different outcomes, diverged networks, configurations without a median."""
    with_scale = results.dropna(subset=["init_scale"])
    lines = []
    for (region, arm), cells in plane(results).groupby(["region", "arm"], sort=False):
        outcomes = with_scale[(with_scale["region"] == region) & (with_scale["arm"] == arm)]["outcome"]
        diverged, mixed, blank = (outcomes == "diverged").sum(), (cells["mark"] == MIXED).sum(), cells["accuracy"].isna().sum()
        parts = [SENTENCES["mixed"].format(count=mixed, total=len(cells))] if mixed else []
        parts += [SENTENCES["diverged networks"].format(count=diverged, total=len(outcomes))] if diverged else []
        parts += [SENTENCES["blank"].format(count=blank)] if blank else []
        if parts:
            lines.append(f"{_named(region, arm)}: {', '.join(parts)}.")
    return lines


def _sides(name: str, arm_rows: pd.DataFrame, limits: pd.DataFrame) -> list[str]:
    """The accuracies within and beyond the predicted limit; empty if no formula is known."""
    known = arm_rows.dropna(subset=["accuracy"]).merge(limits, on=["region", "arm", "init_scale"])
    near = known["depth"] <= known["reach"]
    sides = (
        [("within the predicted limit", near), ("beyond it", ~near)]
        if not near.all()
        else [("no limit is predicted in this range", near)]
    )
    counts = [
        SENTENCES["side"].format(
            side=side,
            count=inside.sum(),
            lowest=percent(known["accuracy"][inside].min()),
            highest=percent(known["accuracy"][inside].max()),
            median=percent(known["accuracy"][inside].median()),
        )
        for side, inside in sides
        if inside.any()
    ]
    return [SENTENCES["theory"].format(arm=name, sides="; ".join(counts))] if counts else []


WORDS: dict[str, Callable[[Frames], list[str]]] = {
    "atlas": _atlas,
    "accuracy": _accuracy,
    "gradient-profile": _gradient_profile,
}
