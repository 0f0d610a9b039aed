"""The summary in at most five lines, the last of which states what was matched; every line is counted from the comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

from resexp.comparison import BEST, Arm, Comparison, Effect, Flow, Part, flow
from resexp.tables.findings import ACCURACY, Finding
from resexp.tables.recipes import recipe
from resexp.tables.texts import choice_text, difference_text, named, percent, seeds_text

WORDS = {
    Effect.MAKES_TRAINABLE: "made the network trainable in {}",
    Effect.MORE_ACCURATE: "improved test accuracy in {}",
    Effect.MAKES_UNTRAINABLE: "made the network untrainable in {}",
    Effect.LESS_ACCURATE: "reduced test accuracy in {}",
    Effect.NOT_SHOWN: "made no detectable difference in {}",
}
REST = {
    Effect.MIXED: "outcomes varied across seeds in {}",
    Effect.NEITHER: "neither network was above chance in {}",
    Effect.TOO_FEW: "there were too few seeds for a verdict in {}",
    Effect.NO_PAIR: "no seed was finished by both networks in {}",
}


def answer(of: Comparison, found: Sequence[Finding], cards: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the shortcut did, each at its best, training error, gradients, matching: those that there is something to say of."""
    lines = [_pairs(of, found), _best(of), _degradation(of), _gradients(of), _matching(of, cards)]
    return [line for line in lines if line]


def _pairs(of: Comparison, found: Sequence[Finding]) -> str:
    if not found:
        return ""
    effects = [finding.effect for finding in found]
    done = [words.format(effects.count(kind)) + _generalizing(found, kind) for kind, words in WORDS.items() if kind in effects]
    rest = [words.format(effects.count(kind)) for kind, words in REST.items() if kind in effects]
    clauses = [f"the shortcut {', '.join(done)}"] if done else []
    pairs = f"{len(found)} matched pair{'' if len(found) == 1 else 's'}"
    return f"In {pairs} at {recipe(of.results)}, {'; '.join([*clauses, *rest])}."


def _generalizing(found: Sequence[Finding], kind: Effect) -> str:
    """In how many of them training error does not explain the difference in test accuracy."""
    count = sum(finding.effect == kind and finding.part == Part.GENERALIZATION for finding in found)
    return f" (in {count} through generalization, not training)" if count and kind in ACCURACY else ""


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
    rising = sum(row.found.verdict == "degrades" for row in plain)
    removed = [row for row in of.depths if row.removed and row.removed.low is not None]
    less = [row for row in removed if row.removed and row.removed.low is not None and row.removed.low > 0]
    compared = (
        f"; it rises less with a shortcut in {len(less)} of {len(removed)} pair{'' if len(removed) == 1 else 's'}"
        if removed
        else ""
    )
    return (
        f"At {recipe(of.results)}, training error of plain networks rises with depth under {rising} of "
        f"{_conditions(len(plain))}{compared}."
    )


def _conditions(count: int) -> str:
    return f"{count} condition{'' if count == 1 else 's'}"


def _gradients(of: Comparison) -> str:
    """Gradients of the deepest plain networks of every condition, at initialization and at the end of the first epoch."""
    plain = {key: arm for key, arm in _deepest_plain(of).items() if arm.growth_start is not None}
    if not plain:
        return ""
    kinds = {key: flow(arm.growth_start or 0.0) for key, arm in plain.items()}
    verbs = {Flow.VANISHING: "vanish", Flow.STABLE: "are stable", Flow.EXPLODING: "explode"}
    here = [(verb, list(kinds.values()).count(kind)) for kind, verb in verbs.items()]
    counted = ", ".join(f"{verb} under {count}" for verb, count in here if count)
    stable = [key for key, kind in kinds.items() if kind == Flow.STABLE]
    later = sum((end := plain[key].growth_end) is not None and flow(end) == Flow.VANISHING for key in stable)
    degrading = {tuple(row.corner.items()) for row in of.depths if row.arm == "plain" and row.found.verdict == "degrades"}
    rising = sum(key in degrading for key in stable)
    clauses = [f"At initialization, gradients of the deepest plain networks {counted} of {_conditions(len(plain))}"]
    clauses += [f"under {later} of those {len(stable)} they vanish by the end of epoch 1"] if later else []
    clauses += [f"under {rising} of those {len(stable)}, training error still rises with depth"] if rising else []
    return "; ".join(clauses) + "."


def _deepest_plain(of: Comparison) -> dict[tuple[tuple[str, str], ...], Arm]:
    """Condition (all of a label but the depth) -> its deepest plain arm."""
    found: dict[tuple[tuple[str, str], ...], Arm] = {}
    for cell in sorted(of.cells, key=lambda cell: int(cell.label["depth"])):
        plain = next((arm for arm in cell.arms if arm.name == "plain" and arm.summary.n), None)
        if plain:
            found[tuple((key, value) for key, value in cell.label.items() if key != "depth")] = plain
    return found


def _matching(of: Comparison, cards: Sequence[Mapping[str, Any]]) -> str:
    """What pairs share, as their summaries have it, and what a number rests on."""
    equal = [all(value is not False for value in card["equal"].values()) for card in cards]
    pairs = [arm for cell in of.cells if cell.arms[0].name == "plain" for arm in cell.arms[1:] if not arm.unmatched]
    shared = "Matching: within a pair, shared weights start equal and all batches and hyperparameters are identical"
    if not pairs:
        shared = "Nothing is compared: there is no matched pair"
    if cards and not all(equal):
        shared = f"Not matched: {equal.count(False)} of {len(cards)} pair summaries show what is not equal"
    unmatched = sum(bool(arm.unmatched) for cell in of.cells for arm in cell.arms)
    apart = f"; {unmatched} arms have no matching plain network and are not compared" if unmatched else ""
    facts = [f"n = {seeds_text(of.cells)} seeds"]
    facts += [f"one test image = {100 * of.resolution:.2g} points"] if of.resolution else []
    facts += [f"margin = {percent(of.margin)} points"] if of.metric.percent else []
    lost = sum(sum(arm.missing.values()) for cell in of.cells for arm in cell.arms)
    facts += [f"{lost} trials are missing"] if lost else []
    return f"{shared}{apart}. {'; '.join(facts)}; the test set was evaluated once, after training."
