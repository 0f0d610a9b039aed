"""The table of claims: the verdict on each, its scope, and the configurations that decide it."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from resexp.claims import Claim, Judgment
from resexp.tables.colors import verdict_tone
from resexp.tables.model import Column, Medium, Table
from resexp.tables.verdict_lines import configuration_lines


@dataclass(frozen=True)
class ClaimRow:
    """A claim, and the verdict on it for one arm or for all arms."""

    claim: Claim
    judgment: Judgment


def claim_table(claim_verdicts: Sequence[tuple[Claim, Sequence[Judgment]]]) -> Table[ClaimRow]:
    """One row for each verdict."""
    return Table(
        title="Verdicts on claims",
        columns=[
            Column(
                "verdict", lambda row: str(row.judgment.verdict), tone=lambda row: verdict_tone(row.judgment.verdict),
            ),
            Column("arm", lambda row: row.judgment.arm or "", "arm", arm=True),
            Column("scope", lambda row: row.judgment.scope),
            Column(
                "hypothesis", lambda row: row.claim.expect, shared=True, below="hypothesis: ",
                media=frozenset({Medium.TEXT, Medium.MARKDOWN}),
            ),
            Column("configurations", lambda row: "\n".join(configuration_lines(row.judgment)), below=""),
        ],
        rows=[ClaimRow(claim, judgment) for claim, judgments in claim_verdicts for judgment in judgments],
        group=Column("claim", lambda row: row.claim.text, markup=_claim_markup),
    )  # fmt: skip


def _claim_markup(row: ClaimRow) -> Markup:
    """The claim, its quotation in its language, its source, and the hypothesis that is checked."""
    claim = row.claim
    quotation = (
        Markup('<blockquote lang="{}">{}</blockquote>').format(claim.language, claim.quotation) if claim.quotation else ""
    )
    parts = Markup('{}{}<div class="caption">{}</div><code>{}</code>')
    return parts.format(claim.text, quotation, claim.source, claim.expect)
