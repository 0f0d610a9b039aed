"""Draws the pictures of docs/gallery.md from the committed results, without training.

    python benchmarks/gallery.py                      # docs/gallery/NAME.png of every experiment
    python benchmarks/gallery.py RUNS/NAME ...        # first replaces the committed results of these experiments

docs/gallery/NAME.tar.xz has the settings and the result of every trial, and the logs that its picture needs.
"""

import hashlib
import io
import json
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt

import resexp
from resexp import report
from resexp.api import ExperimentResults
from resexp.figures import FIGURES, Chart, FigureData

GALLERY = Path(__file__).parent.parent / "docs" / "gallery"
DIGESTS = GALLERY / "specifications.json"


@dataclass(frozen=True)
class Entry:
    """The picture of an experiment: a figure of the report, or "learning-rates"; what it shows; and the logs that it needs."""

    figure: str
    where: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()


ENTRIES = {
    "digits": Entry("accuracy"),
    "without-shortcuts": Entry("accuracy", where=("lr=0.001",)),
    "depth-scaling": Entry("learning-rates"),
    "atlas": Entry("atlas"),
    "tutorial": Entry("accuracy"),
    "fashion-cnn": Entry("paired-differences"),
    "color-cnn": Entry("overview", logs=("signals.csv",)),
    "balanced": Entry("accuracy"),
}


def main() -> None:
    for folder in map(Path, sys.argv[1:]):
        pack(folder)
    digests = {}
    for name in committed():
        chart = picture(name)
        report.save_chart(chart, GALLERY / f"{name}.png")
        digests[name] = digest(chart)
        print(GALLERY / f"{name}.png")
    DIGESTS.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


# ---- results ------------------------------------------------------------------------------------------------------------


def committed() -> list[str]:
    return [name for name in ENTRIES if (GALLERY / f"{name}.tar.xz").exists()]


def pack(folder: Path) -> None:
    """Writes the archive of a finished experiment; equal results give equal bytes."""
    name = resexp.load(folder).results.sources[0][1].name
    kept = ("experiment.yaml", "plan.json", "environment.json", "result.json", *ENTRIES[name].logs)
    with tarfile.open(GALLERY / f"{name}.tar.xz", "w:xz", preset=9) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.name in kept):
            content = launches(path) if path.name == "environment.json" else path.read_bytes()
            entry = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def launches(path: Path) -> bytes:
    """environment.json without what is particular to one machine: its name and its folders."""
    private = {"host", "command", "imports"}
    entries = [
        {"command": [], **{key: value for key, value in launch.items() if key not in private}}
        for launch in json.loads(path.read_text(encoding="utf-8"))
    ]
    return json.dumps(entries, indent=1).encode()


def results(name: str, target: Path) -> ExperimentResults:
    """The committed results of an experiment, unpacked to a folder."""
    with tarfile.open(GALLERY / f"{name}.tar.xz") as archive:
        archive.extractall(target, filter="data")
    return resexp.load(target / name)


# ---- pictures -----------------------------------------------------------------------------------------------------------


def picture(name: str) -> Chart:
    with tempfile.TemporaryDirectory() as folder:
        return drawn(name, results(name, Path(folder)))


def drawn(name: str, experiment: ExperimentResults) -> Chart:
    entry = ENTRIES[name]
    if entry.figure == "learning-rates":
        return learning_rates(experiment)
    return FIGURES[entry.figure].chart(FigureData(report.restricted(experiment.results, entry.where)))


def learning_rates(experiment: ExperimentResults) -> Chart:
    """Test accuracy over the learning rate: a panel for each arm, a line through the medians of each depth."""
    rows = experiment.trials[["arm", "depth", "lr", "seed", "test_accuracy"]]
    base = alt.Chart(rows).encode(
        x=alt.X(
            "lr:Q",
            title="learning rate",
            scale=alt.Scale(type="log", domain=[0.00025, 0.025]),
            axis=alt.Axis(values=sorted(set(rows["lr"]))),
        ),
        y=alt.Y("test_accuracy:Q", title="test accuracy", axis=alt.Axis(format="%")),
        color=alt.Color("depth:O", title="depth", scale=alt.Scale(scheme="viridis", reverse=True)),
    )
    layers = base.mark_circle(opacity=0.5) + base.mark_line().encode(y=alt.Y("median(test_accuracy):Q"))
    arms = list(dict.fromkeys(rows["arm"]))
    chart: Chart = layers.properties(width=300, height=180).facet(alt.Facet("arm:N", title=None, sort=arms), columns=2)
    return chart


def digest(chart: Chart) -> str:
    """SHA-256 of the specification with its data, with 6 significant digits; without the version of Vega-Lite."""
    specification = chart.to_dict()
    specification.pop("$schema")
    datasets = specification.pop("datasets", {})
    text = json.dumps(rounded(specification), sort_keys=True)
    for number, name in enumerate(sorted(datasets, key=text.find)):  # names are hashes of the unrounded data
        text = text.replace(name, f"data-{number}") + json.dumps(rounded(datasets[name]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def rounded(value: Any) -> Any:
    """The same JSON value with floats of 6 significant digits, on which all platforms agree."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
