"""Verdicts on hypotheses and claims, in lines."""

from collections.abc import Sequence
from itertools import groupby

from resexp.claims import Judgment, Verdict
from resexp.tables.labels import label_text
from resexp.tables.sentences import Sentence

SENTENCES = {
    "primary": Sentence("primary hypothesis (everything else is exploratory)", "the config has compare.primary"),
    "verdict": Sentence("{arm}{verdict} ({scope})", "always; the verdict is one of Verdict"),
    "configuration": Sentence("{configuration}: {numbers}", "the configuration has the verdict of the claim"),
    "more": Sentence("and {count} more", "more configurations have that verdict than are listed"),
}
PRIMARY = SENTENCES["primary"].text
MAX_CONFIGURATIONS = 4  # printed under a verdict


def verdict_line(judgment: Judgment) -> str:
    """'identity: not supported (supported in 3, not supported in 1 of 4 configurations of digits, n = 5)'."""
    arm = f"{judgment.arm}: " if judgment.arm else ""
    return SENTENCES["verdict"].format(arm=arm, verdict=judgment.verdict, scope=judgment.scope)


def configuration_lines(judgment: Judgment) -> list[str]:
    """The configurations that decide a verdict, at most four; one if every configuration supports the claim."""
    cells = [cell for cell in judgment.cells if cell.verdict == judgment.verdict]
    count = 1 if judgment.verdict == Verdict.SUPPORTED else MAX_CONFIGURATIONS
    lines = [
        SENTENCES["configuration"].format(configuration=label_text(cell.label), numbers=cell.evidence) for cell in cells[:count]
    ]
    return [*lines, *([SENTENCES["more"].format(count=len(cells) - count)] if len(cells) > count else [])]


def verdict_lines(heading: str, judgments: Sequence[Judgment]) -> list[str]:
    """The heading, then each hypothesis with its verdicts and the configurations that decide them."""
    lines = [heading] if judgments else []
    for text, group in groupby(judgments, key=lambda judgment: judgment.expectation.text):
        lines.append(f"  {text}")
        for judgment in group:
            lines += [f"  {verdict_line(judgment)}", *(f"    {line}" for line in configuration_lines(judgment))]
    return lines
