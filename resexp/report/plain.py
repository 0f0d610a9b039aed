"""The same content for a README or a terminal."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from resexp import tables
from resexp.figures import chosen
from resexp.report.content import Content, Source, collect, sentences
from resexp.runs import Results
from resexp.tables.documents import as_markdown
from resexp.tables.frames import profiles
from resexp.tables.terminal import shade, shade_levels
from resexp.tables.verdict_lines import PRIMARY, verdict_lines


def text(results: Results) -> str:
    """For a terminal of 80 columns.

    Raises:
        RunsError: nothing finished yet, or a damaged file.
    """
    content = collect(results)
    sections = {
        "Summary": [f"- {line}" for line in content.answer],
        "Results by condition": tables.TABLES["table"](content.comparison).splitlines(),
        **_shared(content),
    }
    lines = [*(results.questions or [results.name]), "=" * 80, tables.progress_text(results.records)]
    for heading, of in sections.items():
        lines += ["", heading, "-" * len(heading), *of] if of else []
    return "\n".join(tables.fitted(lines)) + "\n"


def markdown(results: Results) -> str:
    """For a README.

    Raises:
        RunsError: nothing finished yet, or a damaged file.
    """
    content = collect(results)
    whole, _, cells = as_markdown(content.comparison).partition("\n")
    lines = [f"# {' '.join(results.questions) or whole.removeprefix('# ')}", "", tables.progress_text(results.records), ""]
    lines += [*(f"- {line}" for line in content.answer)]
    lines += ["", f"## {whole.removeprefix('# ')}", cells.rstrip()]
    for heading, of in _shared(content).items():
        lines += ["", f"## {heading}", "", "```text", *tables.fitted(of), "```"] if of else []
    return "\n".join(lines) + "\n"


def _shared(content: Content) -> dict[str, list[str]]:
    """What both have, as lines."""
    return {
        "Primary hypothesis": verdict_lines(PRIMARY, content.primary),
        "What the charts show": [line for name in chosen(content.frames) for line in sentences(name, content)],
        "Gradients by block and reading": heat_lines(content),
        "Reversals": content.reversals,
        "Claims and verdicts": [
            line for claim, judgments in content.claimed for line in ["", *verdict_lines(claim.text, judgments)]
        ],
        "Cost": [line for of in content.sources if of.costs for line in tables.cost_lines(of.folder.name, of.costs)],
        "What is equal, and what else changed": [
            line for of in content.sources for line in tables.pair_summary_lines(of.pair_summaries)
        ],
        "How to repeat this": [line for of in content.sources for line in _repeat(of)],
    }


def _repeat(source: Source) -> list[str]:
    lines = []
    for start in source.launches:
        machine = f"{start['system']}, {start['processor']}, {start['cores']} cores, device {start['device']}"
        if start.get("kernels"):
            machine += f", CPU kernels {start['kernels']}"
        lines += [" ".join(start["command"])]
        lines += [f"  {start['time']}; resexp {start['resexp']}, Python {start['python']}, {machine}"]
    lines += [f"  {source.images}", *(f"  {remark}" for remark in source.remarks)]
    return [*lines, *([f"  classes by label: {source.classes}"] if source.classes else [])]


# ---- heat maps of block characters -------------------------------------------------------------------------------------------

READINGS = 6


def heat_lines(content: Content) -> list[str]:
    """The deepest networks' gradient, input first: a row per reading, full where it is as large as at the arm's last block."""
    if content.frames.signals.empty:
        return []
    found = profiles(content.frames.signals)
    deepest = found[found["depth"] == found["depth"].max()].dropna(subset=["relative"])
    lines = [f"depth {found['depth'].max()}, from the stem to the last block; full: as large as at the last block, blank: 1e-6"]
    rows = deepest.groupby(["condition", "arm"], sort=False)
    for condition, arms in groupby(rows, key=lambda row: row[0][0]):
        lines += ["", str(condition)]
        for (_, arm), of_arm in arms:
            lines += _heat(str(arm), of_arm)
    return lines


def _heat(arm: str, of_arm: pd.DataFrame) -> list[str]:
    steps: Sequence[Any] = sorted(of_arm["step"].unique())
    chosen = sorted({steps[round(n * (len(steps) - 1) / max(1, min(READINGS, len(steps)) - 1))] for n in range(READINGS)
                     if n < len(steps)})  # fmt: skip
    lines = []
    for step in chosen:
        flow = [10 ** min(float(value), 300.0) for value in of_arm[of_arm["step"] == step].sort_values("index")["relative"]]
        bar = "".join(shade(level) for level in shade_levels(flow, 1.0))
        lines.append(f"  {arm if step == chosen[0] else '':<20} step {step:>7}  |{bar}|")
    return lines
