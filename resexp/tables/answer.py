"""The summary in at most five lines; the last one states what was matched. All counts are from the comparison."""

import shlex
from collections.abc import Sequence

from resexp import runs
from resexp.comparison import EACH_AT_BEST, Arm, Comparison, Effect, Flow, Part, flow
from resexp.tables.findings import ACCURACY, Finding, findings
from resexp.tables.formats import choice_text, difference_text, percent, seeds_text
from resexp.tables.labels import label_text
from resexp.tables.recipes import recipe, untuned
from resexp.tables.sentences import Sentence
from resexp.tables.terminal import fitted

EFFECTS = {
    Effect.MAKES_TRAINABLE: Sentence("made the network trainable in {}"),
    Effect.MORE_ACCURATE: Sentence("improved test accuracy in {}"),
    Effect.MAKES_UNTRAINABLE: Sentence("made the network untrainable in {}"),
    Effect.LESS_ACCURATE: Sentence("reduced test accuracy in {}"),
}
NO_EFFECTS = {
    Effect.INCONCLUSIVE: Sentence("the comparison was inconclusive in {}"),
    Effect.MIXED: Sentence("outcomes varied across seeds in {}"),
    Effect.NEITHER: Sentence("neither network was above chance in {}"),
    Effect.TOO_FEW: Sentence("there were too few seeds for a verdict in {}"),
    Effect.NO_PAIR: Sentence("no seed has finished in both networks in {}"),
}
FLOWS = {
    Flow.VANISHING: Sentence("vanish under {}"),
    Flow.STABLE: Sentence("are stable under {}"),
    Flow.EXPLODING: Sentence("explode under {}"),
}
SENTENCES = {
    "pairs": Sentence("In {pairs} at {recipe}, {clauses}.", "there is a pair of which both arms have finished trials"),
    "shortcut": Sentence("the shortcut {clauses}", "there is a pair with a verdict other than those that need more data"),
    "generalization": Sentence(
        " (in {count} through generalization, not training)",
        "the verdict is 'more accurate' or 'less accurate', and the difference is in generalization",
    ),
    "best": Sentence(
        "Each at its best setting, {cell}: {difference} points ({arms}).",
        "both arms have a best setting by validation accuracy, and a difference there",
    ),
    "degradation": Sentence(
        "At {recipe}, training error of plain networks rises with depth under {rising} of {conditions}{reduction}.",
        "plain networks have at least 2 depths; counted are those whose verdict is 'degrades'",
    ),
    "removed": Sentence(
        "; it rises less with a shortcut in {less} of {pairs}",
        "pairs have an interval of the degradation avoided; counted are those whose interval is above 0",
    ),
    "gradients": Sentence(
        "At initialization, gradients of the deepest plain networks {counted} of {conditions}", "gradients were logged"
    ),
    "later": Sentence(
        "under {later} of those {stable} they vanish by the end of epoch 1",
        "gradients are stable at initialization and vanishing at the end of epoch 1",
    ),
    "still": Sentence(
        "under {rising} of those {stable}, training error still rises with depth",
        "gradients are stable at initialization, and the verdict of the same networks is 'degrades'",
    ),
    "matching": Sentence(
        "Matching: within a pair, shared weights have equal initial values, and all batches and hyperparameters are identical",
        "every pair summary (pairs.json) confirms it",
    ),
    "no pair": Sentence("Nothing is compared: there is no matched pair", "no arm has a matching plain network"),
    "not matched": Sentence(
        "Not matched: {count} of {total} pair summaries (pairs.json) show a difference",
        "a pair summary (pairs.json) shows a difference",
    ),
    "unmatched": Sentence(
        "; {count} arms have no matching plain network and are not compared",
        "an arm differs from plain in more than the shortcut",
    ),
    "missing": Sentence("{count} trials are missing", "trials have failed or have not finished"),
    "facts": Sentence("{shared}. {facts}; the test set was evaluated once, after training.", "always"),
    "next": Sentence("Next: {command}", "the answer is printed by `compare` or `train`, not in a report"),
}
TEST_ACCURACY = ("test_accuracy", "best_test_accuracy")  # metrics that the sentences on pairs and best settings can state


def answer(comparison: Comparison, pair_findings: Sequence[Finding], pair_summaries: Sequence[runs.PairSummary]) -> list[str]:
    """Sentences on effects, best settings, training error, gradients and matching; topics without results have none."""
    is_accuracy = comparison.key in TEST_ACCURACY
    lines = [
        _pairs(comparison, pair_findings) if is_accuracy else "",
        _best(comparison) if is_accuracy else "",
        _degradation(comparison),
        _gradients(comparison),
        _matching(comparison, pair_summaries),
    ]
    return [line for line in lines if line]


def answer_lines(comparison: Comparison, commands: Sequence[str] = ("report",), mark: str = "- ") -> list[str]:
    """The summary of a report, and the next commands to type; empty before a trial has finished.

    commands: subcommands that print more of these results; their arguments are folders, which depend on the machine.
    """
    if not any(arm.summary.n for cell in comparison.cells for arm in cell.arms):
        return []
    folders = [folder for folder, _ in comparison.results.sources]
    summaries = [summary for folder in folders if (folder / "pairs.json").exists() for summary in runs.pair_summaries(folder)]
    lines = [f"{mark}{line}" for line in answer(comparison, findings(comparison.cells), summaries)]
    return [
        *lines,
        *(mark + SENTENCES["next"].format(command=shlex.join(["resexp", command, *map(str, folders)])) for command in commands),
    ]


def trained_lines(comparison: Comparison) -> list[str]:
    """The end of `resexp train`, for a terminal of 80 columns: the summary, and commands that compare, report and tune."""
    lines = answer_lines(comparison, ("compare", "report"))
    return fitted([*lines, *untuned(comparison.results)]) if lines else []


def _pairs(comparison: Comparison, pair_findings: Sequence[Finding]) -> str:
    if not pair_findings:
        return ""
    effects = [finding.effect for finding in pair_findings]
    shown = [
        sentence.format(effects.count(kind)) + _generalizing(pair_findings, kind)
        for kind, sentence in EFFECTS.items()
        if kind in effects
    ]
    others = [sentence.format(effects.count(kind)) for kind, sentence in NO_EFFECTS.items() if kind in effects]
    clauses = [SENTENCES["shortcut"].format(clauses=", ".join(shown))] if shown else []
    pairs = f"{len(pair_findings)} matched pair{'' if len(pair_findings) == 1 else 's'}"
    return SENTENCES["pairs"].format(pairs=pairs, recipe=recipe(comparison.results), clauses="; ".join([*clauses, *others]))


def _generalizing(pair_findings: Sequence[Finding], kind: Effect) -> str:
    """The number of pairs in which training error does not explain the difference in test accuracy."""
    count = sum(finding.effect == kind and finding.part == Part.GENERALIZATION for finding in pair_findings)
    return SENTENCES["generalization"].format(count=count) if count and kind in ACCURACY else ""


def _best(comparison: Comparison) -> str:
    rows = [row for row in comparison.tuned if row.how == EACH_AT_BEST and row.difference]
    if not rows:
        return ""
    row = rows[-1]
    arms = f"{row.residual.arm} with {choice_text(row.residual)} against plain with {choice_text(row.plain)}"
    difference = difference_text(row.difference, comparison.metric)
    return SENTENCES["best"].format(cell=label_text(row.label), difference=difference, arms=arms)


def _degradation(comparison: Comparison) -> str:
    plain = [row for row in comparison.depths if row.arm == "plain"]
    if not plain:
        return ""
    rising = sum(row.degradation.verdict == "degrades" for row in plain)
    reduction = [row for row in comparison.depths if row.reduction and row.reduction.low is not None]
    less = [row for row in reduction if row.reduction and row.reduction.low is not None and row.reduction.low > 0]
    pairs = f"{len(reduction)} pair{'' if len(reduction) == 1 else 's'}"
    compared = SENTENCES["removed"].format(less=len(less), pairs=pairs) if reduction else ""
    return SENTENCES["degradation"].format(
        recipe=recipe(comparison.results), rising=rising, conditions=_conditions(len(plain)), reduction=compared
    )


def _conditions(count: int) -> str:
    return f"{count} condition{'' if count == 1 else 's'}"


def _gradients(comparison: Comparison) -> str:
    """Gradients of the deepest plain networks of every condition, at initialization and at the end of the first epoch."""
    plain = {key: arm for key, arm in _deepest_plain(comparison).items() if arm.growth_start is not None}
    if not plain:
        return ""
    kinds = {key: flow(arm.growth_start or 0.0) for key, arm in plain.items()}
    counts = [(sentence, list(kinds.values()).count(kind)) for kind, sentence in FLOWS.items()]
    counted = ", ".join(sentence.format(count) for sentence, count in counts if count)
    stable = [key for key, kind in kinds.items() if kind == Flow.STABLE]
    later = sum((end := plain[key].growth_end) is not None and flow(end) == Flow.VANISHING for key in stable)
    degrading = {
        tuple(row.condition.items())
        for row in comparison.depths
        if row.arm == "plain" and row.degradation.verdict == "degrades"
    }
    rising = sum(key in degrading for key in stable)
    clauses = [SENTENCES["gradients"].format(counted=counted, conditions=_conditions(len(plain)))]
    clauses += [SENTENCES["later"].format(later=later, stable=len(stable))] if later else []
    clauses += [SENTENCES["still"].format(rising=rising, stable=len(stable))] if rising else []
    return "; ".join(clauses) + "."


def _deepest_plain(comparison: Comparison) -> dict[tuple[tuple[str, str], ...], Arm]:
    """Condition (a label without the depth) -> its deepest plain arm."""
    deepest: dict[tuple[tuple[str, str], ...], Arm] = {}
    for cell in sorted(comparison.cells, key=lambda cell: int(cell.label["depth"])):
        plain = next((arm for arm in cell.arms if arm.name == "plain" and arm.summary.n), None)
        if plain:
            deepest[tuple((key, value) for key, value in cell.label.items() if key != "depth")] = plain
    return deepest


def _matching(comparison: Comparison, pair_summaries: Sequence[runs.PairSummary]) -> str:
    """The matched properties of pairs according to their summaries, number of seeds, resolution and margin."""
    equal = [all(value is not False for value in summary.equal.content.values()) for summary in pair_summaries]
    pairs = [arm for cell in comparison.cells if cell.arms[0].name == "plain" for arm in cell.arms[1:] if not arm.unmatched]
    shared = SENTENCES["matching" if pairs else "no pair"].text
    if pair_summaries and not all(equal):
        shared = SENTENCES["not matched"].format(count=equal.count(False), total=len(pair_summaries))
    unmatched = sum(bool(arm.unmatched) for cell in comparison.cells for arm in cell.arms)
    exceptions = SENTENCES["unmatched"].format(count=unmatched) if unmatched else ""
    facts = [f"n = {seeds_text(comparison.cells)} seeds"]
    facts += [f"one test image = {100 * comparison.resolution:.2g} points"] if comparison.resolution else []
    facts += [f"margin = {percent(comparison.margin)} points"] if comparison.metric.percent else []
    missing = sum(sum(arm.missing.values()) for cell in comparison.cells for arm in cell.arms)
    facts += [SENTENCES["missing"].format(count=missing)] if missing else []
    return SENTENCES["facts"].format(shared=f"{shared}{exceptions}", facts="; ".join(facts))
