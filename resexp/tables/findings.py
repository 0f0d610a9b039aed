"""One sentence on the results of each pair; every verdict is from `comparison.effect`, which requires evidence."""

from dataclasses import dataclass

from resexp.comparison import Arm, Cell, Effect, Flow, Part, effect, flow, part
from resexp.tables.formats import counts_text, evidence_text, growth_text, points_text, ranks_text, train_error_text
from resexp.tables.sentences import Sentence

ACCURACY = (Effect.MORE_ACCURATE, Effect.LESS_ACCURATE)
LEADS = {
    Effect.MAKES_TRAINABLE: Sentence("The shortcut makes the network trainable at this learning rate: {counts}; {numbers}."),
    Effect.MAKES_UNTRAINABLE: Sentence(
        "The shortcut makes the network untrainable at this learning rate: {counts}; {numbers}."
    ),
    Effect.MORE_ACCURATE: Sentence("The network with the shortcut is more accurate: {numbers}."),
    Effect.LESS_ACCURATE: Sentence("The network with the shortcut is less accurate: {numbers}."),
    Effect.INCONCLUSIVE: Sentence("Inconclusive: {numbers}."),
    Effect.MIXED: Sentence("Outcomes differ across seeds and no difference is shown: {counts}; {numbers}."),
    Effect.NEITHER: Sentence("Neither network trains at this learning rate: {counts}."),
    Effect.TOO_FEW: Sentence("Too few seeds for a verdict: {counts}; {numbers}."),
    Effect.NO_PAIR: Sentence("The arms have no finished seed in common yet, so no difference is given."),
}
ACCURATE = "the verdict is 'more accurate' or 'less accurate'"
PARTS = {
    Part.TRAINING: Sentence("It is a difference in training: {errors}.", ACCURATE),
    Part.GENERALIZATION: Sentence("It is a difference in generalization, not in training: {errors}.", ACCURATE),
    Part.BOTH: Sentence("It is a difference in training and in generalization: {errors}.", ACCURATE),
    Part.UNCLEAR: Sentence("It cannot be attributed to training or generalization: {errors}.", ACCURATE),
}
HEADLINES = {
    "results": Sentence(
        "Results by condition at depth {depth} ({recipe})", "there is a pair of which both arms have finished trials"
    ),
    "unfinished": Sentence("No pair has finished yet", "there is a pair, and an arm of it has no finished trial"),
    "no pair": Sentence("The arms are not a pair: {reason}", "no residual arm has a matching plain arm"),
}
SENTENCES = {
    "flows": Sentence(
        "Gradients at initialization, orders of magnitude from output to input: {arms}.", "both arms have finished trials"
    ),
    "later": Sentence(", {gradients} at the end of epoch 1", "gradients are then of another kind than at initialization"),
    "stable": Sentence(
        "Gradients of the plain network are stable at initialization{yet}; it still does not train at this learning rate.",
        "the shortcut makes the network trainable, and gradients of the plain one are stable at initialization",
    ),
    "yet": Sentence(", but they vanish by the end of epoch 1", "in addition, they vanish at the end of epoch 1"),
}


@dataclass(frozen=True)
class Finding:
    """A pair, the effect of the shortcut, the part of the accuracy that differs, and the sentence that states both."""

    label: dict[str, str]
    plain: Arm
    residual: Arm
    effect: Effect
    part: Part
    sentence: str

    @property
    def chip(self) -> str:
        """The effect; for a difference in accuracy also whether it is in training or in generalization."""
        return f"{self.effect}: {self.part}" if self.effect in ACCURACY and self.part != Part.UNCLEAR else str(self.effect)


def findings(cells: list[Cell]) -> list[Finding]:
    """One finding for every residual arm with a plain counterpart in its cell, once both have finished trials."""
    pair_findings = []
    for label, plain, arm in _pairs(cells):
        if plain.summary.n and arm.summary.n:
            kind = effect(plain, arm)
            pair_findings.append(Finding(label, plain, arm, kind, part(arm), _sentence(plain, arm, kind)))
    return pair_findings


def headline(cells: list[Cell], pair_findings: list[Finding], recipe: str) -> str:
    """The heading of the conditions, with learning rate and budget, or why there are none."""
    if pair_findings:
        return HEADLINES["results"].format(depth=deepest(pair_findings), recipe=recipe)
    if _pairs(cells):
        return HEADLINES["unfinished"].text
    refused = any(arm.unmatched for cell in cells for arm in cell.arms)
    reason = "they differ in more than the shortcut" if refused else "a pair requires a plain and a residual arm"
    return HEADLINES["no pair"].format(reason=reason)


def deepest(pair_findings: list[Finding]) -> int:
    return max((int(finding.label["depth"]) for finding in pair_findings), default=0)


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


def _sentence(plain: Arm, residual: Arm, kind: Effect) -> str:
    counts = counts_text(plain, residual)
    points = f"test accuracy {points_text(residual.difference)}" if residual.difference else ""
    numbers = points or ranks_text(residual.contrast)
    first = LEADS[kind].format(counts=counts, numbers=numbers)
    evidence = "" if kind in (Effect.NEITHER, Effect.TOO_FEW, Effect.NO_PAIR) else evidence_text(residual)
    parts = [first, evidence, _part(plain, residual) if kind in ACCURACY else "", _flows(plain, residual), _stable(plain, kind)]
    return " ".join(filter(None, parts))


def _part(plain: Arm, residual: Arm) -> str:
    """Whether a difference in test accuracy is one of training or of generalization."""
    errors = f"training error {train_error_text(residual)}%, plain {train_error_text(plain)}%"
    return PARTS[part(residual)].format(errors=errors)


def _flows(plain: Arm, residual: Arm) -> str:
    arms = [f"{arm.name} {gradient_words(arm.growth_start)}{_later(arm)}" for arm in (plain, residual)]
    return SENTENCES["flows"].format(arms="; ".join(arms))


def _later(arm: Arm) -> str:
    """', vanishing (-6.0) at the end of epoch 1', if the kind has changed since initialization."""
    if arm.growth_start is None or arm.growth_end is None or flow(arm.growth_start) == flow(arm.growth_end):
        return ""
    return SENTENCES["later"].format(gradients=gradient_words(arm.growth_end))


def _stable(plain: Arm, kind: Effect) -> str:
    """A sentence if a plain network does not train although its gradients are stable at initialization."""
    if kind != Effect.MAKES_TRAINABLE or plain.growth_start is None or flow(plain.growth_start) != Flow.STABLE:
        return ""
    later = plain.growth_end is not None and flow(plain.growth_end) == Flow.VANISHING
    return SENTENCES["stable"].format(yet=SENTENCES["yet"].text if later else "")


def gradient_words(growth: float | None) -> str:
    """'vanishing (-24.3)', 'stable' or 'exploding', by the change of log10 |dL/dx| from the output to the input."""
    return "not measured" if growth is None else f"{flow(growth)} ({growth_text(growth)})"
