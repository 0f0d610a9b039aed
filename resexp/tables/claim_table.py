"""The table of claims: the verdict on each, its scope, and the configurations that decide it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from resexp.claims import Claim, Judgment
from resexp.claims.judging import RULES
from resexp.tables.colors import verdict_tone
from resexp.tables.model import Column, Medium, Row, Table
from resexp.tables.verdict_lines import PRIMARY, configuration_lines


@dataclass(frozen=True)
class ClaimRow:
    """A claim, and the verdict on it for one arm or for all arms."""

    claim: Claim
    judgment: Judgment


def claim_table(claim_verdicts: Sequence[tuple[Claim, Sequence[Judgment]]]) -> Table[ClaimRow]:
    """One row for each verdict."""
    media = frozenset({Medium.TEXT, Medium.MARKDOWN})
    columns: list[Column[ClaimRow]] = _columns(lambda row: row.judgment)
    columns.insert(-1, Column("hypothesis", lambda row: row.claim.expect, shared=True, below="hypothesis: ", media=media))
    return Table(
        title="Verdicts on claims",
        columns=columns,
        rows=[ClaimRow(claim, judgment) for claim, judgments in claim_verdicts for judgment in judgments],
        group=Column("claim", lambda row: row.claim.text, markup=_claim_markup),
    )


def primary_table(judgments: Sequence[Judgment]) -> Table[Judgment]:
    """The verdicts on the primary hypothesis."""
    return Table(
        title=f"{PRIMARY[:1].upper()}{PRIMARY[1:]}",
        columns=_columns(lambda judgment: judgment),
        rows=judgments,
        group=Column("hypothesis", lambda judgment: judgment.expectation.text),
    )


def _columns(judgment: Callable[[Row], Judgment]) -> list[Column[Row]]:
    """Verdict, arm, scope, and the configurations that decide the verdict."""
    return [
        Column(
            "verdict", lambda row: str(judgment(row).verdict), tone=lambda row: verdict_tone(judgment(row).verdict),
            meaning=lambda row: (str(judgment(row).verdict), RULES[judgment(row).verdict]),
        ),
        Column("arm", lambda row: judgment(row).arm or "", "arm", arm=True),
        Column("scope", lambda row: judgment(row).scope),
        Column("configurations", lambda row: "\n".join(configuration_lines(judgment(row))), below=""),
    ]  # fmt: skip


def _claim_markup(row: ClaimRow) -> Markup:
    """The claim, its quotation in its language, its source, and the hypothesis that is checked."""
    claim = row.claim
    quotation = (
        Markup('<blockquote lang="{}">{}</blockquote>').format(claim.language, claim.quotation) if claim.quotation else ""
    )
    parts = Markup('{}{}<div class="caption">{}</div><code>{}</code>')
    return parts.format(claim.text, quotation, claim.source, claim.expect)
