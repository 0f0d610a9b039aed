"""The content of a report as Markdown or plain text."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from resexp import tables
from resexp.figures import FIGURES
from resexp.report.content import Content, ExperimentContent, collect
from resexp.runs import Results
from resexp.tables.by_layer import weight_gradients
from resexp.tables.claim_table import claim_table
from resexp.tables.costs import costs_of_steps
from resexp.tables.documents import as_markdown
from resexp.tables.model import Table
from resexp.tables.pair_summaries import matched_pairs
from resexp.tables.predictors import predictors
from resexp.tables.terminal import shade, shade_levels
from resexp.tables.text_layout import plain_lines
from resexp.tables.verdict_lines import PRIMARY, verdict_lines
from resexp.tables.writers import markdown_lines


def text(results: Results, tune: Sequence[str] = ()) -> str:
    """Plain text for a terminal of 80 columns; `tune` as in `collect`.

    Raises:
        RunsError: no trial has finished, or a damaged file.
    """
    content = collect(results, tune)
    sections = {
        "Summary": [f"- {line}" for line in content.answer],
        "Results by condition": tables.TABLES["table"](content.comparison, summary=False).splitlines(),
        **{heading: _text_section(section) for heading, section in _shared_sections(content).items()},
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
        lines += ["", f"## {section_heading}", *_markdown_section(section)] if section else []
    return "\n".join(lines) + "\n"


Section = Sequence[str | Table[Any]]


def _text_section(section: Section) -> list[str]:
    return [
        line for entry in section for line in ([entry] if isinstance(entry, str) else [entry.title, "", *plain_lines(entry)])
    ]


def _markdown_section(section: Section) -> list[str]:
    """Lines as a block of text, tables as tables."""
    texts = [entry for entry in section if isinstance(entry, str)]
    lines = ["", "```text", *tables.fitted(texts), "```"] if texts else []
    for table in (entry for entry in section if isinstance(entry, Table)):
        lines += ["", f"{table.title}:", "", *markdown_lines(table)]
    return lines


def _shared_sections(content: Content) -> dict[str, Section]:
    """The sections of both formats: heading -> lines and tables."""
    return {
        "Primary hypothesis": verdict_lines(PRIMARY, content.primary),
        "What the charts show": [line for name in content.figures for line in FIGURES[name].sentences(content.data)],
        "Gradients by block and logging step": heat_lines(content),
        "Weight gradients by layer": [weight_gradients(content.layer_gradients)] if content.layer_gradients else [],
        "What predicts trainability?": [predictors(content.comparison)] if "trainability" in content.figures else [],
        "Reversals": content.reversals,
        "Claims and verdicts": [claim_table(content.claim_verdicts)],
        "Cost": [costs_of_steps(source.folder.name, source.costs) for source in content.sources if source.costs],
        "Pair summaries: matched properties and other changes": [
            matched_pairs(source.pair_summaries) for source in content.sources if source.pair_summaries
        ],
        "Reproduce this report": [line for source in content.sources for line in _launch_lines(source)],
    }


def _launch_lines(source: ExperimentContent) -> list[str]:
    lines = []
    for launch in source.launches:
        machine = f"{launch.system}, {launch.processor}, {launch.cores} cores, device {launch.device}"
        if launch.kernels:
            machine += f", CPU kernels {launch.kernels}"
        lines += [" ".join(launch.command)]
        lines += [f"  {launch.time}; resexp {launch.resexp}, Python {launch.python}, {machine}"]
    lines += [f"  {source.images}", *(f"  {remark}" for remark in source.remarks)]
    return [*lines, *([f"  classes by label: {source.classes}"] if source.classes else [])]


# ---- heat maps of block characters -------------------------------------------------------------------------------------------

MAX_STEPS = 6  # logging steps per arm


def heat_lines(content: Content) -> list[str]:
    """Gradient norms of the deepest networks, input first: one row per logging step, relative to the arm's last block."""
    if content.data.frames.signals.empty:
        return []
    levels = content.data.profiles
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
