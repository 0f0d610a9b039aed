"""The answer in at most five lines, the last of which says how fair it is; every line is counted from the comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

from resexp.comparison import BEST, Comparison, OverDepth
from resexp.tables.findings import FLAT, Finding
from resexp.tables.texts import choice_text, difference_text, named, percent, seeds_text

TOLD = {
    "rescues": "makes {} trainable",
    "helps": "helps in {}",
    "ruins": "makes {} untrainable",
    "hurts": "hurts in {}",
    "no difference shown": "shows no difference in {}",
    "neither trains": "leaves {} untrained on both sides",
    "a single pair": "has a single pair of seeds in {}",
    "no seed in common": "has no seed in common with its twin in {}",
    "mixed": "leaves seeds that ended differently in {}",
}


def answer(of: Comparison, found: Sequence[Finding], cards: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the shortcut did, each at its best, training error, gradients, fairness: those that there is something to say of."""
    lines = [_pairs(found), _best(of), _degradation(of), _gradients(of), _fairness(of, cards)]
    return [line for line in lines if line]


def _pairs(found: Sequence[Finding]) -> str:
    effects = [finding.effect for finding in found]
    counted = [words.format(effects.count(effect)) for effect, words in TOLD.items() if effect in effects]
    return f"Of {len(found)} pair{'' if len(found) == 1 else 's'} the shortcut {', '.join(counted)}." if found else ""


def _best(of: Comparison) -> str:
    rows = [row for row in of.tuned if row.how == BEST and row.difference]
    if not rows:
        return ""
    row = rows[-1]
    arms = f"{row.residual.arm} with {choice_text(row.residual)} against plain with {choice_text(row.plain)}"
    return f"Each at its best, {named(row.label)}: {difference_text(row.difference, of.metric)} points ({arms})."


def _degradation(of: Comparison) -> str:
    plain = [row for row in of.depths if row.arm == "plain"]
    if not plain:
        return ""
    rising = [row for row in plain if row.found.verdict == "degrades"]
    removed = [row for row in of.depths if row.removed and row.removed.low is not None]
    less = [row for row in removed if row.removed and row.removed.low is not None and row.removed.low > 0]
    compared = f"; it rises less with a shortcut in {len(less)} of {len(removed)} pairs" if removed else ""
    return f"Training error of plain networks rises with depth in {len(rising)} of {_corners(plain)}{compared}."


def _corners(rows: Sequence[OverDepth]) -> str:
    return f"{len(rows)} corner{'' if len(rows) == 1 else 's'}"


def _gradients(of: Comparison) -> str:
    plain = [row for row in of.depths if row.arm == "plain" and row.slope is not None]
    if not plain:
        return ""
    kinds = {"vanish": 0, "keep their size": 0, "explode": 0}
    for row in plain:
        kinds[kind(row.slope or 0.0)] += 1
    counted = ", ".join(f"{word} in {count}" for word, count in kinds.items() if count)
    healthy = sum(row.found.verdict == "degrades" and kind(row.slope or 0.0) == "keep their size" for row in plain)
    yet = f"; {healthy} of these degrade{'s' if healthy == 1 else ''} although gradients are healthy" if healthy else ""
    return f"Before the first step the gradients of the deepest plain networks {counted} of {_corners(plain)}{yet}."


def kind(slope: float) -> str:
    """What a slope in decades per block comes to."""
    return "vanish" if slope < -FLAT else "explode" if slope > FLAT else "keep their size"


def _fairness(of: Comparison, cards: Sequence[Mapping[str, Any]]) -> str:
    """What pairs share, as their cards have it, and what a number rests on."""
    equal = [all(value is not False for value in card["equal"].values()) for card in cards]
    twins = [arm for cell in of.cells if cell.arms[0].name == "plain" for arm in cell.arms[1:] if not arm.unmatched]
    fair = "Fair: pairs share every weight they have in common, every batch and the recipe"
    shared = fair if twins else "Nothing is compared: there is no pair"
    if cards and not all(equal):
        shared = f"Not fair: {equal.count(False)} of {len(cards)} cards show what is not equal"
    unmatched = sum(bool(arm.unmatched) for cell in of.cells for arm in cell.arms)
    apart = f"; {unmatched} arms are no pair and are not compared" if unmatched else ""
    image = f"; one image is {100 * of.resolution:.2g} points" if of.resolution else ""
    lost = sum(sum(arm.missing.values()) for cell in of.cells for arm in cell.arms)
    missing = f"; {lost} trials are missing" if lost else ""
    margin = f"; {percent(of.margin)} matters" if of.metric.percent else ""
    return f"{shared}{apart}; n = {seeds_text(of.cells)} seeds{missing}{image}{margin}; the test part is read once."
