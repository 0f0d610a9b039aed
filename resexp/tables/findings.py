"""The verdict on each pair and its evidence; every verdict is from `comparison.effect`."""

from collections.abc import Sequence
from dataclasses import dataclass

from resexp.comparison import THRESHOLD, Arm, Cell, Effect, Part, effect, flow, part
from resexp.comparison.effects import RULES
from resexp.tables.colors import verdict_tone
from resexp.tables.formats import evidence_text, growth_text
from resexp.tables.labels import label_text
from resexp.tables.model import Column, Table
from resexp.tables.sentences import Sentence

ACCURACY = (Effect.MORE_ACCURATE, Effect.LESS_ACCURATE)
HEADLINES = {
    "results": Sentence("Results by condition ({recipe})", "there is a pair of which both arms have finished trials"),
    "unfinished": Sentence("No pair has finished yet", "there is a pair, and an arm of it has no finished trial"),
    "no pair": Sentence("The arms are not a pair: {reason}", "no residual arm has a matching plain arm"),
}
SENTENCES = {
    "later": Sentence(", {gradients} at the end of epoch 1", "gradients are then of another kind than at initialization"),
}
GROWTH = (
    "Change of log10 |dL/dx| from the last block to the first, in orders of magnitude: "
    f"vanishing below -{THRESHOLD:g}, exploding above {THRESHOLD:g}."
)
WITHOUT_EVIDENCE = (Effect.NEITHER, Effect.TOO_FEW, Effect.NO_PAIR)


@dataclass(frozen=True)
class Finding:
    """A pair, the effect of the shortcut, and the part of the accuracy that differs."""

    label: dict[str, str]
    plain: Arm
    residual: Arm
    effect: Effect
    part: Part

    @property
    def chip(self) -> str:
        """The effect; for a difference in accuracy also whether it is in training or in generalization."""
        return f"{self.effect} ({self.part})" if self.effect in ACCURACY and self.part != Part.UNCLEAR else str(self.effect)

    @property
    def evidence(self) -> str:
        """The p-values on which the verdict rests."""
        return "" if self.effect in WITHOUT_EVIDENCE else evidence_text(self.residual)


def findings(cells: list[Cell]) -> list[Finding]:
    """One finding for every residual arm with a plain counterpart in its cell, once both have finished trials."""
    return [
        Finding(label, plain, arm, effect(plain, arm), part(arm))
        for label, plain, arm in _pairs(cells)
        if plain.summary.n and arm.summary.n
    ]


def headline(cells: list[Cell], pair_findings: list[Finding], recipe: str) -> str:
    """The heading of the results, with learning rate and budget, or why there are none."""
    if pair_findings:
        return HEADLINES["results"].format(recipe=recipe)
    if _pairs(cells):
        return HEADLINES["unfinished"].text
    refused = any(arm.unmatched for cell in cells for arm in cell.arms)
    reason = "they differ in more than the shortcut" if refused else "a pair requires a plain and a residual arm"
    return HEADLINES["no pair"].format(reason=reason)


def at_deepest(pair_findings: Sequence[Finding]) -> list[Finding]:
    """The findings on the deepest networks."""
    depth = max((int(finding.label["depth"]) for finding in pair_findings), default=0)
    return [finding for finding in pair_findings if int(finding.label["depth"]) == depth]


def pair_verdicts(pair_findings: Sequence[Finding]) -> Table[Finding]:
    """One row for each pair."""
    return Table(
        title="Verdicts on pairs",
        columns=[
            Column("arm", lambda pair: pair.residual.name, "arm", arm=True),
            Column(
                "effect of the shortcut", lambda pair: pair.chip, tone=lambda pair: verdict_tone(pair.effect),
                meaning=lambda pair: (pair.chip, _rule(pair)),
            ),
            Column("gradients of plain", lambda pair: _gradients(pair.plain), GROWTH, below="gradients of plain: "),
            Column("gradients of the arm", lambda pair: _gradients(pair.residual), GROWTH, below="gradients: "),
            Column("evidence", lambda pair: pair.evidence, below=""),
        ],
        rows=pair_findings,
        group=Column("configuration", lambda pair: label_text(pair.label)),
    )  # fmt: skip


def _rule(pair: Finding) -> str:
    rules = [RULES[pair.effect], *([RULES[pair.part]] if pair.chip != pair.effect else [])]
    return "; ".join(rules)


def _pairs(cells: list[Cell]) -> list[tuple[dict[str, str], Arm, Arm]]:
    """(label, plain, residual) of all matched pairs, without parameter-matched baselines."""
    return [
        (cell.label, plain, arm)
        for cell in cells
        for plain in cell.arms
        if plain.name == "plain"
        for arm in cell.arms
        if arm is not plain and not arm.control and not arm.unmatched
    ]


def _gradients(arm: Arm) -> str:
    """'stable (-0.3), vanishing (-6.0) at the end of epoch 1': the kind at initialization, and a later one that differs."""
    if arm.growth_start is None:
        return ""
    later = arm.growth_end is not None and flow(arm.growth_end) != flow(arm.growth_start)
    words = SENTENCES["later"].format(gradients=_flow_text(arm.growth_end)) if later and arm.growth_end is not None else ""
    return _flow_text(arm.growth_start) + words


def _flow_text(growth: float) -> str:
    """'vanishing (-24.3)'."""
    return f"{flow(growth)} ({growth_text(growth)})"
