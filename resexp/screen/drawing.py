"""Rendering of a snapshot as the live display; a pure function."""

import math
import textwrap
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from resexp.screen.snapshots import Snapshot, TrialRow, percent, work_done
from resexp.tables.colors import arm_colors
from resexp.tables.terminal import BAR_WIDTH, shade, shade_levels

MAX_RUNNING_ROWS, MAX_CELL_ROWS = 8, 16
MAX_NAMED = 3  # diverged trials that are named
ARMS = 6  # arms side by side in 80 columns
MIN_ARM_WIDTH, MIN_LABEL_WIDTH = 10, 13  # columns of arms and of cell labels, in characters
MAX_BAR_WIDTH = 40
MAX_TABLE_WIDTH = 100  # of the table of running trials; longer rows are hard to read
EIGHTHS = " ▏▎▍▌▋▊▉"  # last characters of a bar


def gradient_bar(norms: Sequence[float]) -> Text:
    """Gradient norm at each block relative to the last one, input on the left: full is 1 or more, dark is 1e-6 or less."""
    text = Text()
    for level in shade_levels(norms, norms[-1] if norms else 0.0):
        color = 60 + round(195 * level)
        text.append(shade(level), style=f"rgb({color},{color // 2 + 60},60)")
    return text


def clock(seconds: float) -> str:
    """Formats a duration as 1:02:03, or 2:03 below an hour."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def render(shot: Snapshot, width: int = 80, height: int = 50) -> RenderableType:
    """The display for a terminal of this size: progress, running trials, and the arms of each cell side by side."""
    colors = arm_colors(row.trial.arm for row in shot.rows)
    running = [row for row in shot.rows if row.is_training]
    shown = running[: min(MAX_RUNNING_ROWS, max(2, height // 4))]
    above = 4 + len(textwrap.wrap(shot.question or "", width)) + len(shown) + (len(shown) < len(running))
    diverged = _diverged(shot.rows)
    above += sum(len(textwrap.wrap(text.plain, width)) for text in diverged)
    bar_and_line = Table.grid(padding=(0, 1))
    bar_and_line.add_row(ProgressBar(total=1.0, completed=work_done(shot.rows), width=20), progress_line(shot))
    return Group(
        Text(shot.name, style="bold"),
        *([Text(shot.question)] if shot.question else []),
        bar_and_line,
        *_running(shown, len(running) - len(shown), colors, width),
        *_cells(shot.rows, colors, width, height - above),
        *diverged,
    )


def progress_line(shot: Snapshot) -> str:
    """The number of trials in each state, and the time left once it can be estimated."""
    states = [row.state for row in shot.rows]
    counts = {
        "running": sum(row.is_training for row in shot.rows),
        "diverged": sum(row.diverged is not None for row in shot.rows),
        "failed": states.count("failed"),
        "damaged": states.count("damaged"),
    }
    share = work_done(shot.rows)
    parts = [f"{states.count('finished')} of {len(states)} trials finished"]
    parts += [f"{count} {state}" for state, count in counts.items() if count]
    if share > shot.done_before and shot.elapsed > 0 and share < 1:
        parts += [f"{clock(shot.elapsed * (1 - share) / (share - shot.done_before))} left"]
    return ", ".join(parts)


def _running(rows: Sequence[TrialRow], more: int, colors: Mapping[str, str], width: int) -> list[RenderableType]:
    if not rows:
        return []
    table = Table(box=None, padding=(0, 1, 0, 0), width=min(width, MAX_TABLE_WIDTH))
    table.add_column("running", header_style="dim", overflow="fold")
    table.add_column("", overflow="fold", ratio=1)
    for heading, columns in (("epoch", 5), ("val %", 5), ("|dL/dx|, input→", BAR_WIDTH)):
        table.add_column(heading, width=columns, no_wrap=True, header_style="dim")
    for row in rows:
        arm, label = Text(row.trial.arm, style=colors[row.trial.arm]), Text(f"{row.cell} s{row.trial.seed}")
        table.add_row(arm, label, str(row.epoch), percent(row.val_accuracy), gradient_bar(row.gradient_norms))
    return [table, *([Text(f"and {more} more", style="dim")] if more else [])]


def _diverged(rows: Sequence[TrialRow]) -> list[Text]:
    names = [f"{row.trial.name} at step {row.diverged}" for row in rows if row.diverged is not None]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return [Text(f"diverged: {', '.join(names[:MAX_NAMED])}{more}")] if names else []


def _cells(rows: Sequence[TrialRow], colors: Mapping[str, str], width: int, height: int) -> list[RenderableType]:
    """Mean validation accuracy so far, running trials included: one row for each cell, one column for each arm."""
    arms = list(dict.fromkeys(row.trial.arm for row in rows))
    grouped: dict[str, dict[str, list[TrialRow]]] = {}
    for row in rows:
        if row.state in ("finished", "running"):
            grouped.setdefault(row.cell, {}).setdefault(row.trial.arm, []).append(row)
    if not grouped:
        return []
    shown, label_width, arm_width = layout(arms, list(grouped), width)
    names = {arm: textwrap.wrap(arm, arm_width) for arm in shown}
    table = Table(box=None, padding=(0, 1, 0, 0), width=width)
    table.add_column("", width=label_width, overflow="fold")
    for arm in shown:
        table.add_column(Text("\n".join(names[arm]), style=colors[arm]), width=arm_width, overflow="fold")
    bars = {cell: [_mean_bar(by_arm.get(arm, []), arm_width, colors[arm]) for arm in shown] for cell, by_arm in grouped.items()}
    free_lines = height - 2 - max(map(len, names.values())) - (len(shown) < len(arms))
    shown_cells = _fitting(bars, label_width, free_lines)
    for cell in shown_cells:
        table.add_row(Text(cell), *bars[cell])
    hidden = {"configurations": len(bars) - len(shown_cells), "arms": len(arms) - len(shown)}
    note = ", ".join(f"{count} more {noun}" for noun, count in hidden.items() if count)
    title = Text("mean validation accuracy in % so far (number of trials)", style="dim")
    return [title, table, *([Text(note, style="dim")] if note else [])]


def layout(arms: Sequence[str], labels: Sequence[str], width: int) -> tuple[Sequence[str], int, int]:
    """(arms that fit side by side, width of the label column, width of the column of an arm)."""
    label_width = max(map(len, labels))
    if label_width + min(len(arms), ARMS) * (MIN_ARM_WIDTH + 1) > width - 1:  # long labels are wrapped
        label_width = min(label_width, max(MIN_LABEL_WIDTH, width - 1 - min(len(arms), ARMS) * (MIN_ARM_WIDTH + 1)))
    shown = arms[: max(1, (width - 1 - label_width) // (MIN_ARM_WIDTH + 1))]
    return shown, label_width, (width - 1 - label_width) // len(shown) - 1


def _fitting(bars: Mapping[str, Sequence[Text]], label_width: int, lines: int) -> list[str]:
    """The last cells that fit into so many lines, at least one."""
    cells: list[str] = []
    for cell in [*bars][::-1][:MAX_CELL_ROWS]:
        lines -= max(len(textwrap.wrap(cell, label_width)), *(text.plain.count("\n") + 1 for text in bars[cell]))
        if lines < 0 and cells:
            break
        cells.insert(0, cell)
    return cells


def _mean_bar(rows: Sequence[TrialRow], width: int, color: str) -> Text:
    """'90.0 (2) ███████', with the bar on a separate line in a narrow column; then the number of diverged trials."""
    values = [row.val_accuracy for row in rows if row.val_accuracy is not None and not math.isnan(row.val_accuracy)]
    diverged = [row.diverged for row in rows if row.diverged is not None]
    lines = []
    if values:
        mean = math.fsum(values) / len(values)
        text = f"{100 * mean:4.1f} ({len(values)})"
        remaining = width - len("100.0 (00) ")
        narrow = remaining < 6
        size = min(MAX_BAR_WIDTH, width if narrow else remaining)
        lines.append(Text(text if narrow else f"{text:<10} ") + Text(("\n" if narrow else "") + bar(mean, size), style=color))
    if diverged:
        lines.append(Text(f"diverged at step {diverged[0]}" if len(rows) == 1 else f"{len(diverged)} diverged"))
    return Text("\n").join(lines)


def bar(share: float, width: int) -> str:
    """A bar whose length is this share of `width` characters, rounded to an eighth of a character."""
    full, eighths = divmod(round(8 * width * min(1.0, max(0.0, share))), 8)
    return "█" * full + (EIGHTHS[eighths] if eighths else "")
