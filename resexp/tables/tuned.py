"""`compare --tune`: one row for each arm at its own best setting, as CSV and for pandas frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resexp.comparison import EACH_AT_BEST, Choice, Comparison, TunedComparison
from resexp.runs import Outcome
from resexp.tables.labels import label_text

# Three columns follow those of the CSV of a comparison. selection: "each at its best", empty in the rows of configurations.
# by_half: the settings that each half of the seeds selects, if they differ. flags: ties, values at the edge of the grid.
SELECTION_COLUMNS = ("selection", "by_half", "flags")
TUNED_TEXT_COLUMNS = ("arm", "unmatched", *SELECTION_COLUMNS)
TUNED_COLUMNS = ("arm", "n", *Outcome, "mean", "sd", "difference", "low", "high", "unmatched", *SELECTION_COLUMNS)


@dataclass(frozen=True)
class TunedArm:
    """An arm at its best setting; `compared`: its comparison with plain at the best setting of plain, None for plain itself."""

    label: Mapping[str, str]
    choice: Choice
    compared: TunedComparison | None


def tuned_arms(comparison: Comparison) -> list[TunedArm]:
    """For each configuration of the other keys: plain, then each residual arm, each at its own best setting."""
    arms: list[TunedArm] = []
    for row in comparison.tuned:
        if row.how == EACH_AT_BEST:
            is_new = not arms or arms[-1].label != row.label
            arms += [TunedArm(row.label, row.plain, None)] if is_new else []
            arms.append(TunedArm(row.label, row.residual, row))
    return arms


def tuned_records(comparison: Comparison) -> list[dict[str, Any]]:
    """One record for each arm at its best setting; the columns of the axes contain this setting. Shares are in [0, 1].

    difference, low, high: residual minus plain, each at its own best setting; empty if outcomes are mixed.
    """
    records = []
    for arm in tuned_arms(comparison):
        summary, difference = arm.choice.summary, arm.compared.difference if arm.compared else None
        setting = {**arm.label, **arm.choice.setting}
        interval = [difference.mean, difference.low, difference.high] if difference else [None] * 3
        counts = [summary.outcomes.get(outcome, 0) for outcome in Outcome]
        texts = [arm.compared.unmatched if arm.compared else (), map(label_text, arm.choice.halves), arm.choice.flags]
        unmatched, by_half, flags = ("; ".join(part) for part in texts)
        values = [arm.choice.arm, summary.n, *counts, summary.mean, summary.sd, *interval, unmatched, EACH_AT_BEST, by_half]
        axes = {key: setting.get(key, "") for key in comparison.results.shown}
        records.append({**axes, **dict(zip(TUNED_COLUMNS, [*values, flags], strict=True))})
    return records
