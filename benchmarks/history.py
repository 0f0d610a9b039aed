"""The history of the published ratios: `tables.publish` appends them to benchmarks/history.csv, this script draws the chart.

    python benchmarks/history.py

`make bench` runs it last. Only ratios of interleaved measurements are recorded, because absolute times depend on the machine.
"""

import csv
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import altair as alt
import pandas as pd

FILE = Path(__file__).with_name("history.csv")
CHART = Path(__file__).parent.parent / "docs" / "benchmark-history.png"
COLUMNS = ("date", "commit", "machine", "benchmark", "row", "ratio", "median", "low", "high")
RATIO = re.compile(r"relative|ratio|share|speed|import torch")  # headings of columns that do not depend on the clock alone
VALUE = re.compile(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)")
CHARTED = {  # (row, heading of the column) -> title
    ("stacks, all cores", "relative to conventional"): "MLP grid: speed / conventional loop",
    ("stacks, all cores", "share of peak"): "MLP grid: share of the peak of matrix products",
    ("plain: resexp", "speed relative to conventional"): "ResNet-20, plain: speed / eager NCHW",
    ("identity: resexp", "speed relative to conventional"): "ResNet-20, identity: speed / eager NCHW",
    ("MLP, depth 20, every 25 steps", "ratio"): "MLP: time with logging / without",
    ("`train`", "wall relative to `import torch`"): "Tiny experiment: time / import torch",
}


AXIS = alt.Axis(labelAngle=0, labelExpr="split(datum.label, ' ')")  # date and commit below each other


def ratios(text: str) -> Iterator[tuple[str, str, float, float, float]]:
    """(row, heading, median, low, high) of each ratio in the Markdown tables of a benchmark."""
    headings: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells or set(line) <= set("|- "):
            headings = headings if cells else []
            continue
        if not headings:
            headings = cells
            continue
        for heading, cell in zip(headings[1:], cells[1:], strict=True):
            if RATIO.search(heading) and (value := VALUE.fullmatch(cell)):
                yield cells[0], heading, float(value[1]), float(value[2]), float(value[3])


def append(benchmark: str, machine: str, text: str, commit: str | None = None, file: Path = FILE) -> None:
    """Adds the ratios of one run, with the commit and what `tables.machine` says."""
    hardware, _, date = machine.rpartition("; ")
    command = ["git", "describe", "--always", "--dirty"]
    revision = commit or subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    is_new = not file.exists()
    with file.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([COLUMNS] if is_new else [])
        writer.writerows((date, revision, hardware, benchmark, *ratio) for ratio in ratios(text))


def chart(frame: pd.DataFrame) -> alt.FacetChart:
    """One panel per ratio: the median with its range, over the runs in order."""
    titles = [CHARTED.get(key) for key in zip(frame["row"], frame["ratio"], strict=True)]
    rows = frame.assign(title=titles, run=frame["date"] + " " + frame["commit"]).dropna(subset="title")
    base = alt.Chart(rows).encode(x=alt.X("run:N", sort=None, title=None, axis=AXIS))
    layers = base.mark_rule().encode(y=alt.Y("low:Q", title=None), y2="high:Q") + base.mark_point(filled=True).encode(
        y="median:Q"
    )
    panels = layers.properties(width=300, height=110).facet(
        facet=alt.Facet("title:N", title=None, sort=list(CHARTED.values())), columns=2
    )
    return panels.resolve_scale(x="independent", y="independent")


if __name__ == "__main__":
    chart(pd.read_csv(FILE)).save(CHART, scale_factor=2)
    print(f"{CHART}: {len(pd.read_csv(FILE))} ratios in {FILE}")
