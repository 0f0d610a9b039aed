"""The content of a report as Markdown or plain text."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from resexp import tables
from resexp.figures import available_figures
from resexp.report.content import Content, ExperimentContent, collect, sentences
from resexp.runs import Results
from resexp.tables.documents import as_markdown
from resexp.tables.frames import profiles
from resexp.tables.terminal import shade, shade_levels
from resexp.tables.verdict_lines import PRIMARY, verdict_lines


def text(results: Results, tune: Sequence[str] = ()) -> str:
    """Plain text for a terminal of 80 columns; `tune` as in `collect`.

    Raises:
        RunsError: no trial has finished, or a damaged file.
    """
    content = collect(results, tune)
    sections = {
        "Summary": [f"- {line}" for line in content.answer],
        "Results by condition": tables.TABLES["table"](content.comparison, summary=False).splitlines(),
        **_shared_sections(content),
    }
    lines = [*(results.questions or [results.name]), "=" * 80, tables.progress_text(results.records)]
    for heading, section in sections.items():
        lines += ["", heading, "-" * len(heading), *section] if section else []
    return "\n".join(tables.fitted(lines)) + "\n"


def markdown(results: Results, tune: Sequence[str] = ()) -> str:
    """Markdown, for example for a README; `tune` as in `collect`.

    Raises:
        RunsError: no trial has finished, or a damaged file.
    """
    content = collect(results, tune)
    heading, _, tables_text = as_markdown(content.comparison, summary=False).partition("\n")
    heading = heading.removeprefix("# ")
    lines = [f"# {' '.join(results.questions) or heading}", "", tables.progress_text(results.records), ""]
    lines += [*(f"- {line}" for line in content.answer)]
    lines += ["", f"## {heading}", tables_text.rstrip()]
    for section_heading, section in _shared_sections(content).items():
        lines += ["", f"## {section_heading}", "", "```text", *tables.fitted(section), "```"] if section else []
    return "\n".join(lines) + "\n"


def _shared_sections(content: Content) -> dict[str, list[str]]:
    """The sections of both formats: heading -> lines."""
    return {
        "Primary hypothesis": verdict_lines(PRIMARY, content.primary),
        "What the charts show": [line for name in available_figures(content.frames) for line in sentences(name, content)],
        "Gradients by block and logging step": heat_lines(content),
        "Reversals": content.reversals,
        "Claims and verdicts": [
            line for claim, judgments in content.claim_verdicts for line in ["", *verdict_lines(claim.text, judgments)]
        ],
        "Cost": [
            line for source in content.sources if source.costs for line in tables.cost_lines(source.folder.name, source.costs)
        ],
        "Pair summaries: matched properties and other changes": [
            line for source in content.sources for line in tables.pair_summary_lines(source.pair_summaries)
        ],
        "Reproduce this report": [line for source in content.sources for line in _launch_lines(source)],
    }


def _launch_lines(source: ExperimentContent) -> list[str]:
    lines = []
    for launch in source.launches:
        machine = f"{launch['system']}, {launch['processor']}, {launch['cores']} cores, device {launch['device']}"
        if launch.get("kernels"):
            machine += f", CPU kernels {launch['kernels']}"
        lines += [" ".join(launch["command"])]
        lines += [f"  {launch['time']}; resexp {launch['resexp']}, Python {launch['python']}, {machine}"]
    lines += [f"  {source.images}", *(f"  {remark}" for remark in source.remarks)]
    return [*lines, *([f"  classes by label: {source.classes}"] if source.classes else [])]


# ---- heat maps of block characters -------------------------------------------------------------------------------------------

MAX_STEPS = 6  # logging steps per arm


def heat_lines(content: Content) -> list[str]:
    """Gradient norms of the deepest networks, input first: one row per logging step, relative to the arm's last block."""
    if content.frames.signals.empty:
        return []
    levels = profiles(content.frames.signals)
    deepest = levels[levels["depth"] == levels["depth"].max()].dropna(subset=["relative"])
    depth = levels["depth"].max()
    lines = [f"depth {depth}, |dL/dx| from the stem to the last block; full: norm of the last block, blank: 1e-6 of it"]
    rows = deepest.groupby(["condition", "arm"], sort=False)
    for condition, arms in groupby(rows, key=lambda row: row[0][0]):
        lines += ["", str(condition)]
        for (_, arm), arm_rows in arms:
            lines += _heat(str(arm), arm_rows)
    return lines


def _heat(arm: str, arm_rows: pd.DataFrame) -> list[str]:
    steps: Sequence[Any] = sorted(arm_rows["step"].unique())
    shown_steps = sorted({steps[round(n * (len(steps) - 1) / max(1, min(MAX_STEPS, len(steps)) - 1))] for n in range(MAX_STEPS)
                     if n < len(steps)})  # fmt: skip
    lines = []
    for step in shown_steps:
        levels = arm_rows[arm_rows["step"] == step].sort_values("index")["relative"]
        norms = [10 ** min(float(level), 300.0) for level in levels]
        bar = "".join(shade(level) for level in shade_levels(norms, 1.0))
        lines.append(f"  {arm if step == shown_steps[0] else '':<20} step {step:>7}  |{bar}|")
    return lines
