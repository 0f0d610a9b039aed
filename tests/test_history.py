"""benchmarks/history.csv: every published ratio is recorded, and the chart finds the ratios that it shows."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
TEXT = """
### Two arms

|  | ms | speed relative to conventional |
| --- | --- | --- |
| conventional | 2.0 (1.9 to 2.1) | 1.00 (1.00 to 1.00) |
| resexp | 1.0 (0.9 to 1.2) | 2.00 (1.75 to 2.11) |

### Another table

| command | wall relative to `import torch` | processes |
| --- | --- | --- |
| `train` | 1.87 (1.75 to 1.99) | 3 |
"""


@pytest.fixture(scope="module")
def history() -> ModuleType:
    spec = importlib.util.spec_from_file_location("history", BENCHMARKS / "history.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ratios_of_all_tables_are_recorded_and_times_are_not(history: ModuleType, tmp_path: Path):
    file = tmp_path / "history.csv"
    for date in ("2026-01-01", "2026-01-02"):
        history.append("speed", f"CPU, 2 cores; {date}", TEXT, "abc", file)

    frame = pd.read_csv(file)
    assert list(frame["date"]) == ["2026-01-01"] * 3 + ["2026-01-02"] * 3
    assert frame[["row", "median", "low", "high"]].to_numpy().tolist()[:3] == [
        ["conventional", 1.0, 1.0, 1.0],
        ["resexp", 2.0, 1.75, 2.11],
        ["`train`", 1.87, 1.75, 1.99],
    ]
    assert set(frame["machine"]) == {"CPU, 2 cores"}


def test_every_panel_of_the_chart_has_values_in_the_committed_history(history: ModuleType):
    frame = pd.read_csv(BENCHMARKS / "history.csv")

    recorded = set(zip(frame["row"], frame["ratio"], strict=True))
    assert set(history.CHARTED) <= recorded
    panels = history.chart(frame).to_dict()["datasets"]
    assert {row["title"] for rows in panels.values() for row in rows} == set(history.CHARTED.values())
