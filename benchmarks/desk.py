"""How long `compare` and `report` take over a thousand trials, and how large the page is.

resexp train digits seeds=42 name=thousand
python benchmarks/desk.py [runs] [rounds]
"""

import sys
import tempfile
from pathlib import Path

from tables import publish, resexp, seconds, spread, table


def main() -> None:
    runs = sys.argv[1] if len(sys.argv) > 1 else "runs"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    trials = sum(1 for _ in Path(runs, "thousand", "trials").glob("*/result.json"))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        commands = {
            "compare": ("compare", "thousand", "--runs", runs),
            "compare, with tests and claims": (
                "compare",
                "thousand",
                "--runs",
                runs,
                "--p-values",
                "--expect",
                "parameters: plain > 1",
            ),
            "report": ("report", "thousand", "--runs", runs, "-o", str(page)),
        }
        found = {name: [seconds(lambda of=command: resexp(*of)) for _ in range(rounds)] for name, command in commands.items()}
        rows = [(name, spread(times, ".2f")) for name, times in found.items()]
        rows.append(("size of the page, MB", f"{page.stat().st_size / 1e6:.2f}"))
    text = table(f"The desk, {trials:,} trials", rows, ("", "seconds, median (range)"))
    publish("desk", "resexp train digits seeds=42 name=thousand && python benchmarks/desk.py", text)


if __name__ == "__main__":
    main()
