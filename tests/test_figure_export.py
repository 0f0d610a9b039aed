"""Charts as files: their width, their configurations, slides."""

import re
import struct
from dataclasses import replace
from io import StringIO
from pathlib import Path

import fabricated
import pytest
import torch
from commands import Program
from rich.console import Console
from test_figures import SMALL, better, chart_rows
from torch import nn

import resexp
from resexp import config, datasets, networks, report, runs, screen, tables
from resexp.cli import program
from resexp.comparison import compare_results
from resexp.config import ConfigError
from resexp.figures import FIGURES, FigureData
from resexp.report import Pictures, restricted, save_figures


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> runs.Results:
    several = [setting for setting in SMALL if not setting.startswith("network.norm")]
    return fabricated.results(tmp_path_factory.mktemp("runs"), better, *several, "network.norm=[none,layer]")


FORMATS = ("svg", "pdf", "png")


def written(results: runs.Results, folder: Path, pictures: Pictures) -> list[bytes]:
    """The content of the files of one chart, in the order of their formats."""
    return [path.read_bytes() for path in save_figures(results, folder, pictures)]


def png_size(content: bytes) -> tuple[int, int]:
    return struct.unpack(">II", content[16:24])


def pdf_width(content: bytes) -> float:
    return float(re.search(rb"/MediaBox ?\[0 0 ([\d.]+)", content)[1])


# ---- width ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "points", "pixels"),
    [("3.25in", 234, 975), ("8cm", 226.772, 944), ("120mm", 340.157, 1417), ("400pt", 400, 1666), ("640px", 480, 640)],
)
def test_the_whole_picture_has_the_requested_width_in_every_format(
    results: runs.Results, tmp_path: Path, width: str, points: float, pixels: int
):
    svg, pdf, png = written(results, tmp_path, Pictures(FORMATS, ["accuracy"], width=width))

    assert float(re.match(rb'<svg [^>]*?\bwidth="([\d.]+)pt"', svg)[1]) == pytest.approx(points, abs=0.01)
    assert pdf_width(pdf) == pytest.approx(points, abs=0.01)
    assert png_size(png)[0] == pytest.approx(pixels, abs=1)


@pytest.mark.parametrize("name", ["accuracy", "gradient-profile", "gradient-map", "weight-gradient", "paired-differences"])
@pytest.mark.parametrize("width", ["3.25in", "6.75in"])
def test_fonts_have_7_to_9_points(results: runs.Results, tmp_path: Path, name: str, width: str):
    svg = written(results, tmp_path, Pictures(["svg"], [name], width=width))[0].decode()
    points = float(re.match(r'<svg [^>]*?\bwidth="([\d.]+)pt"', svg)[1])
    left, inner = re.search(r'<svg [^>]*?x="0"[^>]*? width="([\d.]+)"[^>]*?viewBox="0 0 ([\d.]+)', svg).groups()
    sizes = {float(size) * float(left) / float(inner) for size in re.findall(r'font-size="([\d.]+)px"', svg)}

    assert points == float(left)
    assert sizes
    assert all(6.9 <= size <= 9.1 for size in sizes)


@pytest.mark.parametrize(
    ("width", "problem"),
    [
        ("3.25", "'3.25' is not a number with one of the units in, cm, mm, pt, px"),
        ("-3in", "'-3in' is not"),
        ("0.1in", "0.1in is not from 1in"),
    ],
)
def test_a_width_without_unit_or_out_of_range_is_refused(results: runs.Results, tmp_path: Path, width: str, problem: str):
    with pytest.raises(ConfigError, match=re.escape(f"--width: {problem}")):
        save_figures(results, tmp_path, Pictures(["svg"], width=width))


def test_a_width_below_that_of_the_axes_is_refused_with_the_name_of_the_chart(results: runs.Results, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"--width: gradient-map needs \d\.\d\din for its axes"):
        save_figures(results, tmp_path, Pictures(["svg"], ["gradient-map"], width="1in"))

    assert not list(tmp_path.iterdir())


# ---- configurations and names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "rows"),
    [([], 24), (["depth=8"], 12), (["depth=8", "depth=64"], 24), (["depth=8", "norm=layer"], 6), (["network.norm=layer"], 12)],
)
def test_a_chart_contains_the_trials_of_the_requested_configurations(results: runs.Results, where: list[str], rows: int):
    shown = chart_rows("accuracy", restricted(results, where))
    depths = {text.removeprefix("depth=") for text in where if text.startswith("depth=")} or {"8", "64"}

    assert len(shown) == rows
    assert {str(row["depth"]) for row in shown} == depths


def test_where_restricts_the_written_charts_and_not_the_report(results: runs.Results, tmp_path: Path, call: Program):
    ((folder, _),) = results.sources
    outputs = ["-o", tmp_path / "report.html", "--figures", "svg", "--charts", "curves,accuracy"]
    answer = call("report", folder, *outputs, "--where", "depth=8")
    everything = (tmp_path / "report.html").read_text("utf-8")
    circles = (tmp_path / "figures" / "accuracy.svg").read_text("utf-8").count('aria-roledescription="circle"')

    assert answer.code == 0
    assert answer.out.split() == [
        str(tmp_path / name) for name in ("figures/curves.svg", "figures/accuracy.svg", "report.html")
    ]
    assert everything == report.html(results)
    assert circles == len(chart_rows("accuracy", restricted(results, ["depth=8"])))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--figures", "svg", "--charts", "acuracy"], r"--charts: 'acuracy' is not one of .*; did you mean accuracy\?"),
        (["--figures", "svg", "--charts", "lesion"], "--charts: lesion has no data here; charts with data: overview, "),
        (["--figures", "svg", "--where", "depth=20"], "--where: no configuration has depth=20; values: 8, 64"),
        (["--figures", "svg", "--where", "dept=8"], r"--where: 'dept' does not vary here; .*; did you mean depth\?"),
        (["--figures", "svg", "--where", "depth"], "--where: 'depth' is not KEY=VALUE"),
        (["--figures", "svg", "--slides", "--width", "3in"], "--slides: slides have a fixed size"),
        (["--charts", "accuracy"], "--charts: .*; add --figures"),
        (["--where", "depth=8"], "--where: .*; add --figures"),
        (["--width", "3in"], "--width: .*; add --figures"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used_are_refused_in_one_line(
    results: runs.Results, tmp_path: Path, call: Program, options: list[str], problem: str
):
    ((folder, _),) = results.sources
    answer = call("report", folder, "-o", tmp_path / "report.html", *options)

    assert answer.code == 2
    assert re.match(f"resexp: {problem}", answer.err.splitlines()[-1])
    assert not (tmp_path / "figures").exists()


# ---- slides -----------------------------------------------------------------------------------------------------------------


def test_slides_are_png_files_unless_a_format_is_named(results: runs.Results, tmp_path: Path, call: Program):
    ((folder, _),) = results.sources
    answer = call("report", folder, "-o", tmp_path / "report.html", "--slides", "--charts", "accuracy")

    assert answer.code == 0
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["accuracy.png"]


def test_a_slide_has_the_size_of_a_screen_and_contains_title_and_sentences(results: runs.Results, tmp_path: Path):
    svg, pdf, png = written(results, tmp_path, Pictures(FORMATS, ["training-error"], slides=True))
    texts = " ".join(re.findall(r"<text[^>]*>([^<]+)</text>", svg.decode()))
    data = FigureData(results)

    assert png_size(png) == (1920, 1080)
    assert re.search(rb"/MediaBox ?\[0 0 1920 1080\]", pdf)
    assert FIGURES["training-error"].title(data) in texts
    assert FIGURES["training-error"].sentences(data)
    for sentence in FIGURES["training-error"].sentences(data):
        assert sentence in texts


def test_sentences_that_do_not_fit_a_slide_are_counted(results: runs.Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    many = replace(FIGURES["accuracy"], sentences=lambda _data: [f"Sentence {number}: {'word ' * 30}." for number in range(20)])
    monkeypatch.setitem(FIGURES, "accuracy", many)
    svg = written(results, tmp_path, Pictures(["svg"], ["accuracy"], slides=True))[0].decode()
    shown = len(re.findall(r"Sentence \d+:", svg))

    assert 0 < shown < 20
    assert f"{20 - shown} more sentences in the report" in svg


# ---- colors -----------------------------------------------------------------------------------------------------------------


def test_an_arm_has_one_color_in_charts_tables_and_on_the_terminal(tmp_path: Path):
    three_arms = [*SMALL[1:], "network.depth=[8]", "network.shortcut=[identity,gate,rezero]"]
    results = fabricated.results(tmp_path, lambda trial: better(trial) if trial.arm != "gate" else {}, *three_arms)
    colors = {"plain": "#D55E00", "identity": "#0072B2", "gate": "#009E73", "rezero": "#CC79A7"}
    encoding = FIGURES["accuracy"].chart(FigureData(results)).to_dict()["spec"]["layer"][0]["encoding"]
    chart = dict(zip(encoding["color"]["scale"]["domain"], encoding["color"]["scale"]["range"], strict=True))
    page = dict(re.findall(r'class="arm" style="--arm: (#\w+)">(\w+)<', report.html(results)))
    lines = tables.comparison_lines(compare_results(results))
    terminal = {line.plain[span.start : span.end]: str(span.style) for line in lines for span in line.spans}
    ((folder, experiment),) = results.sources
    console = Console(
        force_terminal=True, color_system="truecolor", record=True, width=120, file=StringIO(), legacy_windows=False
    )
    console.print(screen.render(screen.snapshot(folder, experiment, 0.0, {}), 120))
    display = console.export_html(inline_styles=True)

    assert chart == {arm: color for arm, color in colors.items() if arm != "gate"}
    assert {arm: color for color, arm in page.items()} == colors
    assert {arm: terminal[arm] for arm in colors} == colors
    assert all(re.search(rf"color: {color.lower()}[^>]*>{arm} *<", display) for arm, color in chart.items())


# ---- from Python ------------------------------------------------------------------------------------------------------------


def test_python_writes_the_same_charts(results: runs.Results, tmp_path: Path):
    ((folder, _),) = results.sources
    paths = resexp.load(folder).save_charts(tmp_path, ["pdf"], charts=["accuracy"], where=["depth=8"], width="3.25in")

    assert paths == [tmp_path / "accuracy.pdf"]
    assert pdf_width(paths[0].read_bytes()) == pytest.approx(234)


# ---- variants from outside --------------------------------------------------------------------------------------------------


def test_norms_activations_initializations_and_data_sets_are_extended_from_outside(
    monkeypatch: pytest.MonkeyPatch, tiny_file: Path, tmp_path: Path, call: Program, torch_state: None
):
    class Halved(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 2

    read = []

    def bright(source: datasets.Source, split: str) -> datasets.Images:
        read.append(split)
        return datasets.DATASETS["digits"](source, split)

    monkeypatch.setitem(resexp.NORMS, "halved", (lambda _: Halved(), lambda _: Halved()))
    monkeypatch.setitem(resexp.ACTIVATIONS, "silu-like", lambda _layers: nn.SiLU())
    monkeypatch.setitem(resexp.INITS, "tenth", replace(networks.INITS["he"], draw=lambda w, **_: w.fill_(0.1)))
    monkeypatch.setitem(resexp.DATASETS, "bright", bright)
    custom = ("data.name=bright", "network.norm=halved", "network.activation=silu-like", "network.init=tenth")
    folder = resexp.train(tiny_file, *custom, runs_dir=tmp_path)
    with pytest.raises(ConfigError, match="'he' is not one of none, batch, layer, group"):
        resexp.train(tiny_file, "network.norm=he", runs_dir=tmp_path / "other")
    monkeypatch.setattr(config.types, "CUSTOM_NAMES", {})  # as in another program
    network = runs.read_experiment(folder).shared.network

    assert (network.norm, network.activation, network.init) == ("halved", "silu-like", "tenth")
    assert set(read) == {"train", "test"}
    assert len(resexp.load(folder).trials) == 2
    assert call("compare", folder).code == 0
    with pytest.raises(ConfigError, match="'halved' is not one of none, batch, layer, group"):
        config.load(tiny_file, ["network.norm=halved"])


# ---- progress and formats ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("terminal", "patience", "shown"), [(True, 0.0, True), (True, 60.0, False), (False, 0.0, False)])
def test_a_bar_counts_trials_on_a_terminal_if_reading_takes_long(
    monkeypatch: pytest.MonkeyPatch, results: runs.Results, *, terminal: bool, patience: float, shown: bool
):
    output = StringIO()
    monkeypatch.setattr(program, "errors", Console(file=output, force_terminal=terminal, width=80))
    monkeypatch.setattr(program, "PATIENCE", patience)
    with program.reading() as track:
        read = runs.read_results([folder for folder, _ in results.sources], track=track)

    assert read == runs.read_results([folder for folder, _ in results.sources])
    assert ("24/24" in output.getvalue()) == shown
    assert bool(output.getvalue()) == shown
