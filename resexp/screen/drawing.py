"""A snapshot -> the live display, as a pure function."""

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

RUNNING_ROWS, CELL_ROWS = 8, 16
NAMED = 3  # diverged trials that are named
ARMS = 6  # arms side by side in 80 columns
ARM_WIDTH, LABEL_WIDTH, LONGEST_BAR = (
    10,
    13,
    40,
)  # minimum width of an arm's and of a label's column; maximum of a bar; in characters
WIDEST = 100  # characters of the table of running trials, whose rows are read along a line
PARTS = " ▏▎▍▌▋▊▉"  # of the last character of a bar, in eighths


def gradient_bar(flow: Sequence[float]) -> Text:
    """Gradient at each block relative to the last one, input on the left: full is 1 or more, dark is 1e-6 or less."""
    bar = Text()
    for level in shade_levels(flow, flow[-1] if flow else 0.0):
        color = 60 + round(195 * level)
        bar.append(shade(level), style=f"rgb({color},{color // 2 + 60},60)")
    return bar


def clock(seconds: float) -> str:
    """1:02:03, or 2:03."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def render(shot: Snapshot, width: int = 80, height: int = 50) -> RenderableType:
    """The display for a terminal of that size: progress, trials in training, and each cell's arms side by side."""
    colors = arm_colors(row.trial.arm for row in shot.rows)
    running = [row for row in shot.rows if row.trains]
    shown = running[: min(RUNNING_ROWS, max(2, height // 4))]
    above = 4 + len(textwrap.wrap(shot.question or "", width)) + len(shown) + (len(shown) < len(running))
    named = _diverged(shot.rows)
    above += sum(len(textwrap.wrap(text.plain, width)) for text in named)
    return Group(
        *_head(shot),
        *_running(shown, len(running) - len(shown), colors, width),
        *_cells(shot.rows, colors, width, height - above),
        *named,
    )


def _head(shot: Snapshot) -> list[RenderableType]:
    states = [row.state for row in shot.rows]
    counts = {
        "running": sum(row.trains for row in shot.rows),
        "diverged": sum(row.diverged is not None for row in shot.rows),
        "failed": states.count("failed"),
        "damaged": states.count("damaged"),
    }
    share = work_done(shot.rows)
    parts = [f"{states.count('finished')} of {len(states)} trials finished"]
    parts += [f"{count} {word}" for word, count in counts.items() if count]
    if share > shot.done_before and shot.elapsed > 0 and share < 1:
        parts += [f"{clock(shot.elapsed * (1 - share) / (share - shot.done_before))} left"]
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=1.0, completed=share, width=20), ", ".join(parts))
    question = [Text(shot.question)] if shot.question else []
    return [Text(shot.name, style="bold"), *question, grid]


def _running(rows: Sequence[TrialRow], more: int, colors: Mapping[str, str], width: int) -> list[RenderableType]:
    if not rows:
        return []
    table = Table(box=None, padding=(0, 1, 0, 0), width=min(width, WIDEST))
    table.add_column("in training", header_style="dim", overflow="fold")
    table.add_column("", overflow="fold", ratio=1)
    for name, columns in (("epoch", 5), ("val %", 5), ("gradient, input→", BAR_WIDTH)):
        table.add_column(name, width=columns, no_wrap=True, header_style="dim")
    for row in rows:
        arm, label = Text(row.trial.arm, style=colors[row.trial.arm]), Text(f"{row.cell} s{row.trial.seed}")
        table.add_row(arm, label, str(row.epoch), percent(row.val_accuracy), gradient_bar(row.flow))
    return [table, *([Text(f"and {more} more", style="dim")] if more else [])]


def _diverged(rows: Sequence[TrialRow]) -> list[Text]:
    names = [f"{row.trial.name} at step {row.diverged}" for row in rows if row.diverged is not None]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [Text(f"diverged: {', '.join(names[:NAMED])}{more}")] if names else []


def _cells(rows: Sequence[TrialRow], colors: Mapping[str, str], width: int, height: int) -> list[RenderableType]:
    """Mean validation accuracy so far, one row a cell, one column an arm; running trials included."""
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
    made = {cell: [_mean_bar(by_arm.get(arm, []), arm_width, colors[arm]) for arm in shown] for cell, by_arm in grouped.items()}
    left = height - 2 - max(map(len, names.values())) - (len(shown) < len(arms))
    kept = _fitting(made, label_width, left)
    for cell in kept:
        table.add_row(Text(cell), *made[cell])
    below = [
        f"{count} more {noun}" for noun, count in (("cells", len(made) - len(kept)), ("arms", len(arms) - len(shown))) if count
    ]
    title = Text("mean validation accuracy in % so far (number of trials)", style="dim")
    return [title, table, *([Text(", ".join(below), style="dim")] if below else [])]


def layout(arms: Sequence[str], labels: Sequence[str], width: int) -> tuple[Sequence[str], int, int]:
    """(the arms that fit side by side, the width of the column of labels, the width of an arm's column)."""
    label_width = max(map(len, labels))
    if label_width + min(len(arms), ARMS) * (ARM_WIDTH + 1) > width - 1:  # labels take two lines, then
        label_width = min(label_width, max(LABEL_WIDTH, width - 1 - min(len(arms), ARMS) * (ARM_WIDTH + 1)))
    shown = arms[: max(1, (width - 1 - label_width) // (ARM_WIDTH + 1))]
    return shown, label_width, (width - 1 - label_width) // len(shown) - 1


def _fitting(made: Mapping[str, Sequence[Text]], label_width: int, lines: int) -> list[str]:
    """The last cells that fit into so many lines, one at least."""
    kept: list[str] = []
    for cell in [*made][::-1][:CELL_ROWS]:
        lines -= max(len(textwrap.wrap(cell, label_width)), *(text.plain.count("\n") + 1 for text in made[cell]))
        if lines < 0 and kept:
            break
        kept.insert(0, cell)
    return kept


def _mean_bar(rows: Sequence[TrialRow], width: int, color: str) -> Text:
    """'90.0 (2) ███████', the bar on a line of its own where the column is narrow; then how many diverged."""
    values = [row.val_accuracy for row in rows if row.val_accuracy is not None and not math.isnan(row.val_accuracy)]
    diverged = [row.diverged for row in rows if row.diverged is not None]
    lines = []
    if values:
        mean = math.fsum(values) / len(values)
        text = f"{100 * mean:4.1f} ({len(values)})"
        beside = width - len("100.0 (00) ")
        narrow = beside < 6
        size = min(LONGEST_BAR, width if narrow else beside)
        lines.append(Text(text if narrow else f"{text:<10} ") + Text(("\n" if narrow else "") + bar(mean, size), style=color))
    if diverged:
        lines.append(Text(f"diverged at step {diverged[0]}" if len(rows) == 1 else f"{len(diverged)} diverged"))
    return Text("\n").join(lines)


def bar(share: float, width: int) -> str:
    """A bar of that share of `width` characters, to an eighth of one."""
    whole, part = divmod(round(8 * width * min(1.0, max(0.0, share))), 8)
    return "█" * whole + (PARTS[part] if part else "")
