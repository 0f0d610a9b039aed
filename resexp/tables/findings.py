"""What was measured, one sentence a pair: a rule over outcomes, the paired interval and the slopes, never an expectation."""

from dataclasses import dataclass

from resexp.comparison import Arm, Cell
from resexp.statistics import Difference, Summary
from resexp.tables.texts import difference_text, slope_text

FLAT = 0.1  # decades per block; 31 blocks at this slope lose or gain a factor of a thousand


@dataclass(frozen=True)
class Finding:
    """A pair, what the shortcut did there (`effect`, a key for colours), and the sentence that says so."""

    label: dict[str, str]
    plain: Arm
    residual: Arm
    effect: str
    sentence: str


def findings(cells: list[Cell]) -> list[Finding]:
    """One finding for every residual arm with a plain twin in its cell, once both have finished trials."""
    found = []
    for label, plain, arm in _pairs(cells):
        if plain.summary.n and arm.summary.n:
            effect = _effect(plain.summary, arm.summary, arm.difference)
            found.append(Finding(label, plain, arm, effect, _sentence(plain, arm, effect)))
    return found


def headline(cells: list[Cell], found: list[Finding]) -> str:
    """What the corners are about, or why there are none."""
    if found:
        return f"What the shortcut did at depth {deepest(found)}"
    if _pairs(cells):
        return "No pair has finished yet"
    refused = any(arm.unmatched for cell in cells for arm in cell.arms)
    reason = "they differ in more than the shortcut" if refused else "it takes a plain and a residual one"
    return f"The arms are no pair: {reason}"


def deepest(found: list[Finding]) -> int:
    return max((int(finding.label["depth"]) for finding in found), default=0)


def _pairs(cells: list[Cell]) -> list[tuple[dict[str, str], Arm, Arm]]:
    """(label, plain, residual) of all that may be compared: arms that are no pair and second controls apart."""
    return [
        (cell.label, plain, arm)
        for cell in cells
        for plain in cell.arms
        if plain.name == "plain"
        for arm in cell.arms
        if arm is not plain and not arm.control and not arm.unmatched
    ]


def _effect(plain: Summary, residual: Summary, difference: Difference | None) -> str:
    """What the rule finds: the first that holds, of those that it returns."""
    trained, twins = residual.outcomes.get("trained", 0), plain.outcomes.get("trained", 0)
    if trained == residual.n and not twins:
        return "rescues"
    if twins == plain.n and not trained:
        return "ruins"
    if not trained and not twins:
        return "neither trains"
    if difference is None:
        return "mixed" if max(len(plain.outcomes), len(residual.outcomes)) > 1 else "no seed in common"
    if difference.low is None or difference.high is None:
        return "a single pair"
    return "helps" if difference.low > 0 else "hurts" if difference.high < 0 else "no difference shown"


def _sentence(plain: Arm, residual: Arm, effect: str) -> str:
    words = {
        "rescues": "The shortcut makes it trainable",
        "ruins": "The shortcut makes it untrainable",
        "helps": "The shortcut helps",
        "hurts": "The shortcut hurts",
        "mixed": "Seeds of one arm end differently, so no difference is given",
        "no difference shown": "No difference is shown",
        "neither trains": "Neither arm trains",
        "a single pair": "A single pair of seeds, which has no interval, differs",
        "no seed in common": "The arms have no finished seed in common yet, so no difference is given",
    }
    counted = effect in ("helps", "hurts", "a single pair")
    compared = f" by {difference_text(residual.difference)} points" if counted else ""
    healthy = effect == "rescues" and plain.slope_start is not None and abs(plain.slope_start) < FLAT
    yet = " Degradation without gradients that vanish at the start." if healthy else ""
    flows = f"Before the first step {plain.name}: {gradient_words(plain.slope_start)}; {residual.name}: "
    return f"{words[effect]}{compared}. {flows}{gradient_words(residual.slope_start)}.{yet}"


def gradient_words(slope: float | None) -> str:
    """'gradients vanish (-0.78)' in decades per block, 'explode', or 'keep their size'."""
    if slope is None:
        return "no slope of the gradient"  # not read, too few blocks, or 0
    word = "vanish" if slope < -FLAT else "explode" if slope > FLAT else "keep their size"
    return f"gradients {word} ({slope_text(slope)})"
