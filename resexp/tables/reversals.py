"""Shortcuts that help under one condition and hurt under another."""

from collections.abc import Sequence
from itertools import groupby

from resexp.comparison import Effect
from resexp.tables import labels
from resexp.tables.findings import Finding
from resexp.tables.sentences import Sentence

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
}


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


def _condition(label: dict[str, str]) -> str:
    text = labels.condition(label)
    return "these settings" if text == labels.NO_AXIS else text
