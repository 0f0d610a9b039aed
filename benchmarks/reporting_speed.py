"""Times of `compare` and `report` for a thousand trials, and the size of the report; writes docs/benchmarks.md.

resexp train digits seeds=42 name=thousand
python benchmarks/reporting_speed.py [runs] [rounds]
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

from tables import publish, resexp, seconds, spread, table


def main() -> None:
    runs = sys.argv[1] if len(sys.argv) > 1 else "runs"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    trials = sum(1 for _ in Path(runs, "thousand", "trials").glob("*/result.json"))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.html"
        commands = {
            "compare": ("compare", "thousand", "--runs", runs),
            "compare, with p-values and a hypothesis": (
                "compare", "thousand", "--runs", runs, "--p-values", "--expect", "parameters: plain > 1",
            ),
            "report": ("report", "thousand", "--runs", runs, "-o", str(report)),
        }  # fmt: skip
        times = {name: [seconds(partial(resexp, *command)) for _ in range(rounds)] for name, command in commands.items()}
        rows = [(name, spread(values, ".2f")) for name, values in times.items()]
        rows.append(("size of the report, MB", f"{report.stat().st_size / 1e6:.2f}"))
    text = table(f"Reporting commands, {trials:,} trials", rows, ("", "seconds, median (range)"))
    publish("reporting-speed", "resexp train digits seeds=42 name=thousand && python benchmarks/reporting_speed.py", text)


if __name__ == "__main__":
    main()
