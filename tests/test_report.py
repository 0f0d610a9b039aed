"""The report: one file, no network, the numbers of the runs in it."""

import colorsys
import json
import re
import shutil
import subprocess

import fabricated
import pandas as pd
import pytest

from resexp import report, runs
from resexp.config import ConfigError
from resexp.figures import FIGURES, charts

SMALL = ("network.depth=[8,64]", "network.norm=[none]", "seeds=3")


def values(trial):
    low = trial.arm == "plain" and trial.settings.network.depth == 64
    return {"test_accuracy": 0.1 if low else 0.9123, "outcome": "stuck" if low else "trained", "slope_start": -0.787}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder, found = fabricated.experiment(tmp_path_factory.mktemp("runs"), values, *SMALL)
    return folder, found, report.html(runs.results_of(folder, found))


def test_nothing_in_it_is_fetched_from_anywhere(page):
    body = re.sub(r"<script>.*?</script>", "", page[2], flags=re.DOTALL)

    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", body)
    assert "@import" not in body
    assert "url(" not in body


def test_it_states_the_question_the_corners_the_command_and_the_environment(page):
    for expected in (
        "What does a shortcut change",
        "What the shortcut did at depth 64",
        "rescues",
        "91.2 ± 0.0",
        "-0.79",
        "resexp train digits",
        "a processor",
        "init: [pytorch, he]",
    ):
        assert expected in page[2]


def test_every_figure_is_there_with_its_caption_and_valid_data(page):
    specs = json.loads(re.search(r"const specs = (\{.*\});\n", page[2]).group(1).replace("<\\/script", "</script"))

    assert list(specs) == [name for name in FIGURES if name != "atlas"]
    for name, spec in specs.items():
        assert f'id="figure-{name}"' in page[2]
        assert report.caption(name).split(".")[0].replace("'", "&#39;") in page[2]
        assert all(spec["datasets"].values())


def test_it_says_what_is_no_pair_and_finds_nothing_there(tmp_path):
    one_arm = ("network.depth=[8]", "network.norm=[none]", "seeds=2", "network.plain=false")
    plain, _ = fabricated.experiment(tmp_path, values, *one_arm, "name=a", "network.shortcut=[plain]")
    other, _ = fabricated.experiment(tmp_path, values, *one_arm, "name=b", "network.shortcut=[identity]", "training.lr=0.1")
    page = report.html(runs.read_results([plain, other]))

    assert "<h2>The arms are no pair: they differ in more than the shortcut</h2>" in page
    assert "nearest plain arm differs in lr 0.001 and 0.1" in page
    assert 'class="corner"' not in page
    assert "The shortcut" not in page


def test_it_says_what_lies_beyond_width(tmp_path):
    def wider(trial):
        return {**values(trial), "parameters": 42_832 if trial.parameters_of else 100}

    gate = ("network.depth=[8]", "network.norm=[none]", "seeds=2", "network.shortcut=[gate]", "network.plain_width=parameters")
    results = fabricated.results(tmp_path, wider, *gate)
    same = fabricated.results(tmp_path / "same", values, *gate)

    assert "+0.0 (1 image: 0.28) against plain-as-gate (42,832 parameters)" in report.html(results)
    assert "against plain-as-gate" not in report.html(same)
    assert report.html(same).count("the same network as plain") == 2  # in both cells, of pytorch's and of He's start


@pytest.mark.parametrize("arms", [17, 19])
def test_every_arm_has_a_colour_of_its_own_and_controls_have_tones_of_plains(arms):
    names = [f"arm{n}" for n in range(arms - 1)] + ["plain", "plain-as-gate", "plain-as-rezero"]
    scale = charts.colour(pd.DataFrame({"arm": names})).to_dict()["scale"]
    paint = dict(zip(scale["domain"], scale["range"], strict=True))
    hues = {arm: colorsys.rgb_to_hsv(*(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0] for arm, c in paint.items()}

    assert len(set(paint.values())) == len(names)
    assert paint["plain"] == "#D55E00"
    assert all(abs(hues[arm] - hues["plain"]) < 0.06 for arm in ("plain-as-gate", "plain-as-rezero"))


def test_the_scripts_are_javascript_that_parses(page, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    scripts = re.findall(r"<script>(.*?)</script>", page[2], flags=re.DOTALL)
    (tmp_path / "all.js").write_text("\n;\n".join(scripts))

    assert len(scripts) == 2
    assert subprocess.run([node, "--check", tmp_path / "all.js"], capture_output=True, check=False).stderr == b""


def test_text_from_a_config_cannot_become_markup(tmp_path):
    folder, found = fabricated.experiment(tmp_path, values, *SMALL, "question=<b>bold</script>")

    assert "<b>bold" not in report.html(runs.results_of(folder, found))


def test_without_a_finished_trial_there_is_one_clear_line(tmp_path):
    folder, found = fabricated.experiment(tmp_path, lambda _trial: {}, *SMALL)

    with pytest.raises(runs.RunsError, match="no trial has finished yet"):
        report.html(runs.results_of(folder, found))


def test_without_signals_the_figures_of_gradients_are_left_out(tmp_path):
    folder, found = fabricated.experiment(tmp_path, values, *SMALL)
    for log in folder.glob("trials/*/signals.csv"):
        log.unlink()

    page = report.html(runs.results_of(folder, found))

    assert 'id="figure-accuracy"' in page
    assert 'id="figure-gradient-map"' not in page


@pytest.mark.parametrize(
    ("flows", "missing"),
    [
        pytest.param({"0": "0", "20": "1"}, {"gradient-at-start"}, id="0 at the start"),
        pytest.param({"0": "nan", "20": "inf"}, {"gradient-at-start", "gradient-profile", "gradient-map"}, id="never finite"),
    ],
)
def test_figures_of_gradients_that_were_0_or_not_finite_are_left_out(flows, missing, tmp_path):
    folder, found = fabricated.experiment(tmp_path, values, *SMALL)
    for log in folder.glob("trials/*/signals.csv"):
        head, *rows = log.read_text(encoding="utf-8").splitlines()
        log.write_text("\n".join([head, *(f"{row.rsplit(',', 1)[0]},{flows[row.split(',')[0]]}" for row in rows), ""]))
    page = report.html(runs.results_of(folder, found))

    for name in ("accuracy", "gradient-at-start", "gradient-profile", "gradient-map"):
        assert (f'id="figure-{name}"' in page) == (name not in missing)


@pytest.mark.parametrize(("form", "magic"), [("png", b"\x89PNG"), ("svg", b"<svg"), ("pdf", b"%PDF")])
def test_figures_are_written_as(page, form, magic):
    written = report.save_figures(runs.results_of(*page[:2]), page[0] / "figures", [form])

    assert [path.name for path in written] == [f"{name}.{form}" for name in FIGURES if name != "atlas"]
    assert all(path.read_bytes().startswith(magic) for path in written)


def test_panels_are_named_where_there_are_several(page, tmp_path):
    one = fabricated.results(tmp_path, values, SMALL[0], "network.norm=none", "network.init=he", "seeds=1")

    for path in report.save_figures(one, tmp_path / "figures", ["svg"]):
        assert ">all<" not in path.read_text(encoding="utf-8")
    for path in report.save_figures(runs.results_of(*page[:2]), tmp_path / "several", ["svg"]):
        assert "init pytorch<" in path.read_text(encoding="utf-8")


def test_an_unknown_figure_format_is_refused(page):
    with pytest.raises(ConfigError, match="'gif' is not one of png, svg, pdf"):
        report.save_figures(runs.results_of(*page[:2]), page[0] / "figures", ["gif"])
