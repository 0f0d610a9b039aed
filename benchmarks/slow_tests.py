"""Writes tests/slow_tests.txt: tests that `make test` leaves out, because all their cases take 0.7 seconds or more.

pytest --junitxml=times.xml; python benchmarks/slow_tests.py times.xml
"""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

DOCUMENT = Path(__file__).parent.parent / "tests" / "slow_tests.txt"
SECONDS = 0.7


def slow_tests(times: Path) -> list[str]:
    """The names of the slow tests, as file::function, in alphabetical order."""
    seconds = Counter[str]()
    for case in ET.parse(times).iter("testcase"):  # noqa: S314 - a file that pytest has written
        name = f"{case.attrib['classname'].rpartition('.')[2]}::{case.attrib['name'].partition('[')[0]}"
        seconds[name] += float(case.attrib["time"])
    return sorted(name for name, total in seconds.items() if total >= SECONDS)


if __name__ == "__main__":
    DOCUMENT.write_text("\n".join(slow_tests(Path(sys.argv[1]))) + "\n", encoding="utf-8")
