"""The live display of an experiment, and lines of text for output that is not a terminal."""

from resexp.screen.drawing import bar, clock, gradient_bar, layout, progress_line, render
from resexp.screen.snapshots import (
    epoch_lines,
    live,
    read_row,
    replay,
    snapshot,
    snapshot_reader,
    work_done,
)

FRAME_SECONDS = 0.25
