"""The summary: a line for each depth on both differences, and at most five more; all counts are from the comparison."""

import shlex
from collections.abc import Sequence

from resexp import runs
from resexp.comparison import EACH_AT_BEST, Arm, Comparison, Effect, Flow, Part, best_settings, flow
from resexp.inference import DegradationVerdict
from resexp.tables.findings import ACCURACY, Finding, at_deepest, findings
from resexp.tables.formats import choice_text, difference_text, number_text, percent, seeds_text
from resexp.tables.guess_table import guess_table
from resexp.tables.labels import condition, label_text
from resexp.tables.recipes import recipe, untuned
from resexp.tables.remedies import advice, trained_diagnoses
from resexp.tables.sentences import Sentence, counted_conditions
from resexp.tables.terminal import fitted
from resexp.tables.text_layout import plain_lines

EFFECTS = {
    Effect.MAKES_TRAINABLE: Sentence("{arms} made networks trainable{where}"),
    Effect.MORE_ACCURATE: Sentence("{arms} improved test accuracy{where}"),
    Effect.MAKES_UNTRAINABLE: Sentence("{arms} made networks untrainable{where}"),
    Effect.LESS_ACCURATE: Sentence("{arms} reduced test accuracy{where}"),
}
NO_EFFECTS = {
    Effect.INCONCLUSIVE: Sentence("the comparison of {arms} was inconclusive{where}"),
    Effect.MIXED: Sentence("outcomes of {arms} varied across seeds{where}"),
    Effect.NEITHER: Sentence("neither plain nor {arms} was above chance{where}"),
    Effect.TOO_FEW: Sentence("there were too few seeds for a verdict on {arms}{where}"),
    Effect.NO_PAIR: Sentence("no seed has finished in both plain and {arms}{where}"),
}
FLOWS = {
    Flow.VANISHING: Sentence("vanish{where}"),
    Flow.STABLE: Sentence("are stable{where}"),
    Flow.EXPLODING: Sentence("explode{where}"),
}
MAX_CLAUSES = 4  # of a sentence that names arms and conditions
SETTINGS = {"init": "initialization", "init_scale": "initialization scale", "norm": "normalization", "lr": "learning rate"}
SENTENCES = {
    "headline": Sentence(
        "At depth {depth} ({recipe}), {arms} changed test accuracy by {differences} points (95% CI) with the same {settings} "
        "in both arms ({count}){best}.",
        "the first depth with at least 2 conditions and a pair with a difference",
    ),
    "headline, next": Sentence("At depth {depth}: {differences} points ({count}){best}.", "each further depth, likewise"),
    "headline, best": Sentence(
        "; each arm at its best setting: {difference}",
        "both arms have a best setting by validation accuracy at this depth, and a difference there",
    ),
    "pairs": Sentence(
        "At depth {depth}{recipe}, {clauses}.",
        "there is a pair of which both arms have finished trials, at the deepest depth; recipe unless a line above states it",
    ),
    "generalization": Sentence(
        " ({count} through generalization, not training)",
        "the verdict is 'more accurate' or 'less accurate', and the difference is in generalization",
    ),
    "best": Sentence(
        "Each at its best setting, {cell}: {difference} points ({arms}).",
        "both arms have a best setting by validation accuracy, and a difference there, which no line above states",
    ),
    "settings": Sentence("Best settings, {cell}: {arms}.", "the same; a line above states the difference"),
    "degradation": Sentence(
        "Training error of plain networks rises with depth{where}{reduction}.",
        "plain networks have at least 2 depths; counted are those whose verdict is 'degrades'",
    ),
    "no degradation": Sentence(
        "Training error of plain networks is not shown to rise with depth{where}.",
        "plain networks have at least 2 depths, and none has the verdict 'degrades'",
    ),
    "removed": Sentence(
        "; it rises less with a shortcut in {less} of {pairs}",
        "pairs have an interval of the degradation avoided; counted are those whose interval is above 0",
    ),
    "gradients": Sentence("At initialization, gradients of the deepest plain networks {counted}", "gradients were logged"),
    "later": Sentence(
        "; they vanish by the end of epoch 1{where}",
        "gradients are stable at initialization and vanishing at the end of epoch 1",
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
    "missing": Sentence("missing trials: {count}", "trials have failed or have not finished"),
    "facts": Sentence("{shared}. {facts}; the test set was evaluated once, after training.", "always"),
    "file": Sentence(
        "Pairs: rows of two arms with the same {pair}, n = {count} seeds; {better} is better{margin}.",
        "the results are from a file",
    ),
    "next": Sentence("Next: {command}", "the answer is printed by `compare` or `train`, not in a report"),
}
TEST_ACCURACY = ("test_accuracy", "best_test_accuracy")  # metrics that the sentences on pairs and best settings can state


def answer(comparison: Comparison, pair_findings: Sequence[Finding], pair_summaries: Sequence[runs.PairSummary]) -> list[str]:
    """Sentences on effects, gradients, training error, best settings and matching; topics without results have none."""
    best = best_lines(comparison, pair_findings)
    return [*question_lines(comparison, pair_findings), *best, matching_line(comparison, pair_summaries)]


def question_lines(comparison: Comparison, pair_findings: Sequence[Finding]) -> list[str]:
    """The differences at each depth, the effects at the deepest one, and a sentence on each question that has an answer."""
    headline = headline_lines(comparison, pair_findings)
    stated = "" if headline else f" ({recipe(comparison.results)})"
    effects = _pairs(pair_findings, stated) if comparison.key in TEST_ACCURACY else ""
    return [*headline, *filter(None, (effects, _gradients(comparison), _degradation(comparison)))]


def headline_lines(comparison: Comparison, pair_findings: Sequence[Finding]) -> list[str]:
    """For each depth: the lowest and highest difference with equal settings, and the difference at the best settings."""
    if comparison.key not in TEST_ACCURACY:
        return []
    tuned = best_settings(comparison.results, comparison.key) if comparison.tuned_keys else comparison.tuned
    best = {row.label["depth"]: row.difference for row in tuned if row.difference}
    lines: list[str] = []
    for depth in sorted({finding.label["depth"] for finding in pair_findings}, key=int):
        pairs = [finding for finding in pair_findings if finding.label["depth"] == depth]
        differences = [finding.residual.difference for finding in pairs if finding.residual.difference]
        if len({condition(finding.label) for finding in pairs}) < 2 or not differences:
            continue
        ends = sorted(differences, key=lambda difference: difference.mean)
        texts = [difference_text(end, comparison.metric) for end in (ends[0], ends[-1])]
        arms = list(dict.fromkeys(finding.residual.name for finding in pairs))
        some = "" if len(differences) == len(pairs) else f"{len(differences)} of "
        line = SENTENCES["headline, next" if lines else "headline"].format(
            depth=depth,
            recipe=recipe(comparison.results),
            arms="the shortcut" if len(arms) == 1 else "shortcuts",
            differences=" to ".join(dict.fromkeys(texts)),
            settings=_listed([SETTINGS.get(key, key) for key in pairs[0].label if key != "depth"]),
            count=f"{some}{len(pairs)} {'conditions' if len(arms) == 1 else 'pairs'}",
            best=SENTENCES["headline, best"].format(difference=difference_text(best[depth], comparison.metric))
            if depth in best
            else "",
        )
        lines.append(line)
    return lines


def answer_lines(comparison: Comparison, commands: Sequence[str] = ("report",), mark: str = "- ") -> list[str]:
    """The summary of a report, and the next commands to type; empty before a trial has finished.

    commands: subcommands that print more of these results; their arguments are folders, which depend on the machine.
    """
    if not any(arm.summary.n for cell in comparison.cells for arm in cell.arms):
        return []
    if comparison.results.table:
        return [f"{mark}{file_line(comparison)}"]
    folders = [folder for folder, _ in comparison.results.sources]
    summaries = [summary for folder in folders if (folder / "pairs.json").exists() for summary in runs.pair_summaries(folder)]
    lines = [f"{mark}{line}" for line in answer(comparison, findings(comparison.cells), summaries)]
    return [
        *lines,
        *(mark + SENTENCES["next"].format(command=shlex.join(["resexp", command, *map(str, folders)])) for command in commands),
    ]


def file_line(comparison: Comparison) -> str:
    """How the runs of a file are paired, their number and the margin."""
    table = comparison.results.table
    margin = number_text(comparison.margin, comparison.metric) + (" points" if comparison.metric.percent else "")
    return SENTENCES["file"].format(
        pair=table.pair if table else "",
        count=seeds_text(comparison.cells),
        better="higher" if comparison.metric.better > 0 else "lower",
        margin=f"; margin = {margin}" if comparison.margin else "",
    )


def trained_lines(comparison: Comparison) -> list[str]:
    """The end of `resexp train`, for a terminal of 80 columns: summary, commands, advice on failed networks, guesses."""
    lines = answer_lines(comparison, ("compare", "report"))
    failed = [diagnosis for diagnosis in trained_diagnoses(comparison.results) if diagnosis.failed]
    guesses = guess_table(comparison)
    below = ["", *fitted([f"{guesses.title}:"]), "", *plain_lines(guesses)] if guesses.rows else []
    return [*fitted([*lines, *advice(failed), *untuned(comparison.results)]), *below] if lines else []


def _pairs(pair_findings: Sequence[Finding], stated: str) -> str:
    """The effects at the deepest depth: arms with the same effect under the same conditions are named together."""
    deepest = at_deepest(pair_findings)
    if not deepest:
        return ""
    total = len({condition(finding.label) for finding in deepest})
    groups: dict[tuple[Effect, tuple[str, ...]], list[str]] = {}
    for effect in [*EFFECTS, *NO_EFFECTS]:
        for arm in dict.fromkeys(finding.residual.name for finding in deepest):
            names = [condition(pair.label) for pair in deepest if (pair.residual.name, pair.effect) == (arm, effect)]
            if names:
                groups.setdefault((effect, tuple(names)), []).append(arm)
    if len(groups) <= MAX_CLAUSES:
        clauses = [
            (EFFECTS | NO_EFFECTS)[effect].format(
                arms=_listed(arms), where=counted_conditions(len(names), total, names[0], last=number == 0)
            )
            for number, ((effect, names), arms) in enumerate(groups.items())
        ]
    else:
        effects = [finding.effect for finding in deepest]
        clauses = [
            (EFFECTS | NO_EFFECTS)[effect].format(
                arms="shortcuts", where=f" in {effects.count(effect)}{'' if number else f' of {len(effects)} pairs'}"
            )
            for number, effect in enumerate(dict.fromkeys(effect for effect, _ in groups))
        ]
    generalizing = sum(pair.effect in ACCURACY and pair.part == Part.GENERALIZATION for pair in deepest)
    clauses[-1] += SENTENCES["generalization"].format(count=generalizing) if generalizing else ""
    depth = deepest[0].label["depth"]
    return SENTENCES["pairs"].format(depth=depth, recipe=stated, clauses="; ".join(clauses))


def _listed(names: Sequence[str]) -> str:
    """'identity', 'identity and gate', 'identity, gate and rezero'."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def best_lines(comparison: Comparison, pair_findings: Sequence[Finding]) -> list[str]:
    """The best settings of the arms at the deepest depth, and their difference unless the first lines state it."""
    rows = [row for row in comparison.tuned if row.how == EACH_AT_BEST and row.difference]
    if not rows or comparison.key not in TEST_ACCURACY:
        return []
    row = rows[-1]
    arms = f"{row.residual.arm} with {choice_text(row.residual)} against plain with {choice_text(row.plain)}"
    difference = difference_text(row.difference, comparison.metric)
    stated = not comparison.tuned_keys and any(headline_lines(comparison, pair_findings))
    return [SENTENCES["settings" if stated else "best"].format(cell=label_text(row.label), difference=difference, arms=arms)]


def _degradation(comparison: Comparison) -> str:
    plain = [row for row in comparison.depths if row.arm == "plain"]
    if not plain:
        return ""
    degrading = [row for row in plain if row.degradation.verdict == DegradationVerdict.DEGRADES]
    if not degrading:
        return SENTENCES["no degradation"].format(where=counted_conditions(len(plain), len(plain), ""))
    reduction = [row.reduction for row in comparison.depths if row.reduction and row.reduction.low is not None]
    less = sum(difference.low is not None and difference.low > 0 for difference in reduction)
    pairs = f"{len(reduction)} pair{'' if len(reduction) == 1 else 's'}"
    compared = SENTENCES["removed"].format(less=less, pairs=pairs) if reduction else ""
    where = counted_conditions(len(degrading), len(plain), condition(degrading[0].condition))
    return SENTENCES["degradation"].format(where=where, reduction=compared)


def _gradients(comparison: Comparison) -> str:
    """Gradients of the deepest plain networks of every condition, at initialization and at the end of the first epoch."""
    plain = {key: arm for key, arm in _deepest_plain(comparison).items() if arm.growth_start is not None}
    if not plain:
        return ""
    kinds = {key: flow(arm.growth_start or 0.0) for key, arm in plain.items()}
    counts = [(sentence, [key for key in kinds if kinds[key] == kind]) for kind, sentence in FLOWS.items()]
    counts = [(sentence, keys) for sentence, keys in counts if keys]
    counted = [
        sentence.format(where=counted_conditions(len(keys), len(plain), condition(dict(keys[0])), last=keys is counts[-1][1]))
        for sentence, keys in counts
    ]
    stable = [key for key, kind in kinds.items() if kind == Flow.STABLE]
    later = sum((end := plain[key].growth_end) is not None and flow(end) == Flow.VANISHING for key in stable)
    where = f" in {later} of these {len(stable)}" if len(plain) > 1 else ""
    text = SENTENCES["gradients"].format(counted=_listed(counted))
    return text + (SENTENCES["later"].format(where=where) if later else "") + "."


def _deepest_plain(comparison: Comparison) -> dict[tuple[tuple[str, str], ...], Arm]:
    """Condition (a label without the depth) -> its deepest plain arm."""
    deepest: dict[tuple[tuple[str, str], ...], Arm] = {}
    for cell in sorted(comparison.cells, key=lambda cell: int(cell.label["depth"])):
        plain = next((arm for arm in cell.arms if arm.name == "plain" and arm.summary.n), None)
        if plain:
            deepest[tuple((key, value) for key, value in cell.label.items() if key != "depth")] = plain
    return deepest


def matching_line(comparison: Comparison, pair_summaries: Sequence[runs.PairSummary]) -> str:
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
