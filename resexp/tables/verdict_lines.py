"""Verdicts on expectations and claims, in lines."""

from collections.abc import Sequence
from itertools import groupby

from resexp.claims import Judgment, Verdict
from resexp.tables.formats import named
from resexp.tables.sentences import Sentence

SENTENCES = {
    "primary": Sentence("primary hypothesis (everything else is exploratory)", "the config has compare.primary"),
    "verdict": Sentence("{arm}{verdict} ({scope})", "always; the verdict is one of Verdict"),
    "place": Sentence("{configuration}: {numbers}", "the configuration has the verdict of the claim"),
    "more": Sentence("and {count} more", "more configurations have that verdict than are listed"),
}
PRIMARY = SENTENCES["primary"].text
MAX_PLACES = 4  # that are printed under a verdict


def verdict_line(of: Judgment) -> str:
    """'identity: not supported (supported in 3, not supported in 1 of 4 configurations of digits, n = 5)'."""
    arm = f"{of.arm}: " if of.arm else ""
    return SENTENCES["verdict"].format(arm=arm, verdict=of.verdict, scope=of.scope)


def place_lines(of: Judgment) -> list[str]:
    """The configurations that decide a verdict, at most four; one if every configuration supports the claim."""
    places = [place for place in of.cells if place.verdict == of.verdict]
    most = 1 if of.verdict == Verdict.SUPPORTED else MAX_PLACES
    lines = [SENTENCES["place"].format(configuration=named(place.label), numbers=place.evidence) for place in places[:most]]
    return [*lines, *([SENTENCES["more"].format(count=len(places) - most)] if len(places) > most else [])]


def verdict_lines(kind: str, judgments: Sequence[Judgment]) -> list[str]:
    """'expected', each expectation, and below it the verdicts with the configurations that decide them."""
    lines = [kind] if judgments else []
    for text, found in groupby(judgments, key=lambda of: of.expectation.text):
        lines.append(f"  {text}")
        for of in found:
            lines += [f"  {verdict_line(of)}", *(f"    {line}" for line in place_lines(of))]
    return lines
