"""The report: one self-contained file with the numbers of the experiment."""

import colorsys
import itertools
import json
import re
import shutil
import subprocess

import fabricated
import pandas as pd
import pytest

from resexp import claims, report, runs
from resexp.comparison import Effect
from resexp.comparison.effects import RULES
from resexp.config import ConfigError
from resexp.figures import FIGURES, Figure, FigureData, panels
from resexp.report import pages
from resexp.report.content import collect
from resexp.report.pictures import figures_of, specification

ONE_CELL = ("network.depth=[8]", "network.norm=none", "network.init=he", "seeds=1")
RECIPE = " (learning rate 0.001, 20 epochs)"
DRAWN = [name for name in FIGURES if name not in ("atlas", *runs.ABLATION_FILES)]
SMALL = ("network.depth=[8,64]", "network.norm=[none]", "network.init=[pytorch,he]", "seeds=3")


def values(trial):
    low = trial.arm == "plain" and trial.settings.network.depth == 64
    return {"test_accuracy": 0.1 if low else 0.9123, "outcome": "at_chance" if low else "above_chance", "slope_start": -0.787}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder, experiment = fabricated.experiment(tmp_path_factory.mktemp("runs"), values, *SMALL)
    return folder, experiment, report.html(runs.results_of(folder, experiment))


def test_the_page_loads_nothing_from_a_server(page):
    body = re.sub(r"<script>.*?</script>", "", page[2], flags=re.DOTALL)

    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", body)
    assert "@import" not in body
    assert "url(" not in body


def test_the_page_states_the_question_conditions_command_and_environment(page):
    for expected in (
        "What do shortcuts change",
        "Results by condition (learning rate 0.001, 20 epochs)",
        "makes trainable",
        "91.2 ± 0.0",
        "-0.79",
        "resexp train digits",
        "a processor",
        "init: [pytorch, he]",
    ):
        assert expected in page[2]


def test_the_page_has_every_figure_with_its_caption_and_data(page):
    specs = json.loads(re.search(r"const specs = (\{.*\});\n", page[2]).group(1).replace("<\\/script", "</script"))

    assert list(specs) == DRAWN
    for name, spec in specs.items():
        assert f'id="figure-{name}"' in page[2]
        assert FIGURES[name].caption.split(".")[0].replace("'", "&#39;") in page[2]
        assert all(spec["datasets"].values())


def test_verdicts_and_columns_are_explained_for_the_mouse_and_in_a_legend(page):
    rule = RULES[Effect.MAKES_TRAINABLE].replace("<", "&lt;").replace("'", "&#39;")

    assert f'<span class="chip good" title="{rule}">makes trainable</span>' in page[2]
    assert f"<dt>makes trainable</dt><dd>{rule}</dd>" in page[2]


def test_the_contents_link_to_every_section(page):
    links = re.findall(r'<li><a href="#([a-z]+)">', page[2])

    assert links == re.findall(r'<section id="([a-z]+)"', page[2])
    assert links[:6] == ["answer", "gradients", "inputs", "error", "advice", "conditions"]


def test_arms_that_are_not_a_pair_are_reported_without_a_finding(tmp_path):
    one_arm = ("network.depth=[8]", "network.norm=[none]", "seeds=2", "network.plain=false")
    plain, _ = fabricated.experiment(tmp_path, values, *one_arm, "name=a", "network.shortcut=[plain]")
    other, _ = fabricated.experiment(tmp_path, values, *one_arm, "name=b", "network.shortcut=[identity]", "training.lr=0.1")
    page = report.html(runs.read_results([plain, other]))

    assert ">The arms are not a pair: they differ in more than the shortcut</h2>" in page
    assert "closest plain arm differs in lr 0.001 and 0.1" in page
    assert "Verdicts on pairs" not in page


def test_the_page_has_differences_beyond_width(tmp_path):
    def wider(trial):
        return {**values(trial), "parameters": 42_832 if trial.parameters_of else 100}

    gate = ("network.depth=[8]", "network.norm=[none]", "network.init=[pytorch,he]", "seeds=2", "network.shortcut=[gate]")
    gate += ("network.plain_width=parameters",)
    page = report.html(fabricated.results(tmp_path, wider, *gate))
    same = report.html(fabricated.results(tmp_path / "same", values, *gate))

    assert "+0.0 (1 image: 0.28) beyond width (plain-as-gate, 42,832 parameters)" in page
    assert "beyond width (plain-as-gate" not in same
    assert same.count("the same network as plain") == 2  # for both initializations


@pytest.mark.parametrize("arms", [17, 19])
def test_every_arm_has_a_different_color_and_parameter_matched_arms_have_shades_of_plain(arms):
    names = [f"arm{n}" for n in range(arms - 1)] + ["plain", "plain-as-gate", "plain-as-rezero"]
    scale = panels.color(pd.DataFrame({"arm": names})).to_dict()["scale"]
    colors = dict(zip(scale["domain"], scale["range"], strict=True))
    hues = {arm: colorsys.rgb_to_hsv(*(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0] for arm, c in colors.items()}

    assert len(set(colors.values())) == len(names)
    assert colors["plain"] == "#D55E00"
    assert all(abs(hues[arm] - hues["plain"]) < 0.06 for arm in ("plain-as-gate", "plain-as-rezero"))


def test_the_scripts_are_valid_javascript(page, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    scripts = re.findall(r"<script>(.*?)</script>", page[2], flags=re.DOTALL)
    (tmp_path / "all.js").write_text("\n;\n".join(scripts))

    assert len(scripts) == 2
    assert subprocess.run([node, "--check", tmp_path / "all.js"], capture_output=True, check=False).stderr == b""


# ---- its data --------------------------------------------------------------------------------------------------------------


def specs_of(html):
    return json.loads(re.search(r"const specs = (\{.*\});\n", html).group(1))


def unpacked(columns):
    """The rows of packed columns: names by index, and runs of equal values."""

    def values(column):
        if isinstance(column, list):
            return column
        if "names" in column:
            return [column["names"][index] for index in values(column["at"])]
        return [value for value, count in zip(column["values"], column["counts"], strict=True) for _ in range(count)]

    lists = [values(column) for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def test_the_columns_of_the_page_contain_the_rows_of_the_charts(page):
    results = runs.results_of(*page[:2])
    charts_of_results = figures_of(FigureData(results))

    for name, spec in specs_of(page[2]).items():
        expected = specification(charts_of_results[name])["datasets"]
        assert {key: unpacked(columns) for key, columns in spec["datasets"].items()} == json.loads(json.dumps(expected))


def test_the_page_unpacks_columns_to_the_rows_of_the_charts(page, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    function = re.search(r"function unpack.*?\n}\n", page[2], flags=re.DOTALL).group()
    sets = [columns for spec in specs_of(page[2]).values() for columns in spec["datasets"].values()]
    odd = [{}, {"a": []}, {"a": [1, 2, 3]}, {"a": [None, 1.5], "b": {"names": [None, "</SCRIPT>", "names"], "at": [2, 0]}}]
    odd += [{"a": {"values": [None, 2], "counts": [3, 1]}, "b": {"names": ["x", "y"], "at": {"values": [1], "counts": [4]}}}]
    program = f"{function}console.log(JSON.stringify({json.dumps([*sets, *odd])}.map(unpack)));"
    (tmp_path / "unpack.js").write_text(program, encoding="utf-8")
    result = subprocess.run([node, tmp_path / "unpack.js"], capture_output=True, check=True, timeout=60)

    assert json.loads(result.stdout) == [unpacked(columns) for columns in [*sets, *odd]]


def test_no_text_in_the_data_can_close_the_script(page, monkeypatch):
    monkeypatch.setattr(Figure, "title", lambda *_: "</SCRIPT><img src=x onerror=alert(1)><!--<script>")
    html = report.html(runs.results_of(*page[:2]))

    assert html.lower().count("</script") == page[2].lower().count("</script") == 2
    assert "<img src=x" not in html
    assert specs_of(html)["accuracy"]["description"] == "</SCRIPT><img src=x onerror=alert(1)><!--<script>"


# ---- questions in a config --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "escaped"),
    [
        pytest.param("<b>bold</script>", "&lt;b&gt;bold&lt;/script&gt;", id="markup"),
        pytest.param("<SCRIPT>alert('1')</SCRIPT>", "&lt;SCRIPT&gt;alert(&#39;1&#39;)&lt;/SCRIPT&gt;", id="a script"),
        pytest.param("Is \"it\" 'so' & not {{ 7 * 7 }}?", "Is &#34;it&#34; &#39;so&#39; &amp; not {{ 7 * 7 }}?", id="quotes"),
        pytest.param("why?! " * 83 + "ok", "why?! " * 83 + "ok", id="500 characters"),
        pytest.param(
            "\u6b8b\u5dee\u7f51\u7edc\u6709\u7528\u5417\uff1f", "\u6b8b\u5dee\u7f51\u7edc\u6709\u7528\u5417\uff1f", id="Chinese"
        ),
        pytest.param("Deep \U0001f680 or \U0001f422?", "Deep \U0001f680 or \U0001f422?", id="emoji"),
    ],
)
def test_a_question_is_shown_unchanged_and_never_as_markup(tmp_path, monkeypatch, question, escaped):
    monkeypatch.setattr(pages.vl_convert, "javascript_bundle", lambda *_, **__: "")  # seconds faster
    monkeypatch.setattr(pages, "figures_of", lambda _data: {})  # charts do not contain the question
    results = fabricated.results(tmp_path, values, *ONE_CELL, f"question={json.dumps(question, ensure_ascii=False)}")
    html = report.html(results)

    assert f">{escaped}" in html
    assert html.lower().count("<script>") == html.lower().count("</script>") == 2
    assert "<b>bold" not in html
    text = report.text(results)
    assert "".join(question.split()) in "".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert report.markdown(results).splitlines()[0] == f"# {question}"


# ---- titles and the three formats ------------------------------------------------------------------------------------------


def better(trial):
    accuracy = 0.5 + 0.01 * trial.seed + (0.2 + 0.001 * trial.seed if trial.arm != "plain" else 0.0)
    return {"test_accuracy": accuracy, "slope_start": -0.5}


def rising(trial):
    drop = 0.3 if trial.settings.network.depth == 64 and trial.arm == "plain" else 0.0
    return {"test_accuracy": 0.9 - drop + (0.001, 0.004, 0.002)[trial.seed] * (1 + drop), "slope_start": -0.01}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param(better, "At depth 64 networks with a shortcut are more accurate", id="every interval above 0"),
        pytest.param(
            lambda t: {"test_accuracy": 1 - better(t)["test_accuracy"]},
            "At depth 64 networks with a shortcut are less accurate",
            id="every interval below 0",
        ),
        pytest.param(
            lambda t: better(t) if t.settings.network.init == "he" else {"test_accuracy": 0.5 + 0.1 * t.seed},
            FIGURES["accuracy"].question,
            id="one of two intervals contains 0",
        ),
        pytest.param(
            lambda t: better(t) if t.seed or t.arm == "plain" else {"test_accuracy": 0.1, "outcome": "at_chance"},
            FIGURES["accuracy"].question,
            id="outcomes differ",
        ),
        pytest.param(lambda t: better(t) if t.seed == 1 else {}, FIGURES["accuracy"].question, id="a single pair"),
        pytest.param(lambda _: {"test_accuracy": 0.9}, FIGURES["accuracy"].question, id="ties"),
    ],
)
def test_the_title_of_accuracies_is_a_finding_only_if_all_intervals_agree(tmp_path, values, words):
    data = FigureData(fabricated.results(tmp_path, values, *SMALL))

    assert FIGURES["accuracy"].title(data).removesuffix(RECIPE) == words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param(
            rising,
            "Training error of plain networks rises with depth, and less with a shortcut",
            id="rises less with a shortcut",
        ),
        pytest.param(
            lambda t: {"test_accuracy": 0.9 - (0.3 + t.seed / 1000 if t.settings.network.depth == 64 else 0)},
            "Training error of plain networks rises with depth",
            id="rises in both arms",
        ),
        pytest.param(
            lambda t: rising(t) if t.settings.network.init == "he" else {"test_accuracy": 0.9},
            FIGURES["training-error"].question,
            id="under one of two conditions",
        ),
        pytest.param(better, FIGURES["training-error"].question, id="no rise"),
    ],
)
def test_the_title_of_training_errors_is_a_finding_only_if_every_plain_arm_degrades(tmp_path, values, words):
    title = FIGURES["training-error"].title(FigureData(fabricated.results(tmp_path, values, *SMALL)))

    assert title.removesuffix(RECIPE) == words
    assert title.endswith((RECIPE, "?"))


@pytest.mark.parametrize(
    ("slope", "words"),
    [
        # 31 blocks: one order of magnitude over the network is 0.032 per block
        pytest.param(-0.5, "Gradients of plain networks vanish at initialization", id="vanish"),
        pytest.param(-0.1, "Gradients of plain networks vanish at initialization", id="vanish slowly"),
        pytest.param(0.02, "Gradients of plain networks are stable at initialization", id="stable"),
        pytest.param(0.5, "Gradients of plain networks explode at initialization", id="explode"),
        pytest.param(-0.033, FIGURES["gradient-at-start"].question, id="in between"),
    ],
)
def test_the_title_of_gradients_is_about_plain_networks_at_initialization(tmp_path, slope, words):
    data = FigureData(fabricated.results(tmp_path, lambda t: {**better(t), "slope_start": slope + t.seed / 1000}, *SMALL))

    assert FIGURES["gradient-at-start"].title(data) == words


def test_text_and_markdown_have_the_content_of_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(pages.vl_convert, "javascript_bundle", lambda *_, **__: "")
    primary = "compare.primary='test_accuracy: identity > plain @ 95%'"
    folder, experiment = fabricated.experiment(tmp_path, rising, *SMALL, primary)
    (runs.trial_folder(folder, experiment.trials[-1].name) / "result.json").write_text("{")
    results = runs.results_of(folder, experiment)
    monkeypatch.setattr(pages, "figures_of", lambda _data: {})
    html, text, markdown = (" ".join(form(results).split()) for form in (report.html, report.text, report.markdown))
    content = collect(results)

    assert 2 < len(content.answer) <= 5
    primary = claims.primaries(results)
    assert primary
    texts = [*content.answer, "Damaged, counted as missing: " + results.damaged[0], "resexp train digits"]
    texts += [row.degradation.verdict for row in content.data.comparison.depths]
    texts += [judgment.expectation.text for judgment in primary]
    for form in (text, markdown):
        assert [words for words in texts if words.lower() not in form.lower()] == []
    assert [words for words in texts if words.replace(">", "&gt;").lower() not in html.lower()] == []
    for heading in (
        "Claims and verdicts",
        "Reproduce this report",
        FIGURES["gradient-map"].question,
        "Primary hypothesis",
    ):
        assert heading in html
        assert heading in text
        assert f"## {heading}" in markdown


def test_all_formats_have_the_same_sections_in_the_same_order(page):
    results = runs.results_of(*page[:2])
    sections = [(section.name, section.title) for section in collect(results).sections]

    assert re.findall(r'<h2 id="heading-([a-z]+)">([^<]+)</h2>', page[2]) == sections
    assert re.findall(r"^## (.*)$", report.markdown(results), flags=re.MULTILINE) == [title for _, title in sections]
    lines = report.text(results).splitlines()
    assert [title for title, line in itertools.pairwise(lines) if line == "-" * len(title) != ""] == [
        title for _, title in sections
    ]


def test_a_report_without_a_finished_trial_is_an_error(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, lambda _trial: {}, *SMALL)

    with pytest.raises(runs.RunsError, match="no trial has finished yet"):
        report.html(runs.results_of(folder, experiment))


def test_the_figures_of_gradients_are_left_out_without_signals(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, *SMALL)
    for log in folder.glob("trials/*/signals.csv"):
        log.unlink()

    page = report.html(runs.results_of(folder, experiment))

    assert 'id="figure-accuracy"' in page
    assert 'id="figure-gradient-map"' not in page


@pytest.mark.parametrize(
    ("flows", "missing"),
    [
        pytest.param({"0": "0", "20": "1"}, {"gradient-at-start"}, id="0 at initialization"),
        pytest.param({"0": "nan", "20": "inf"}, {"gradient-at-start", "gradient-profile", "gradient-map"}, id="never finite"),
    ],
)
def test_figures_of_gradients_that_are_0_or_not_finite_are_left_out(flows, missing, tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, values, *SMALL)
    for log in folder.glob("trials/*/signals.csv"):
        head, *rows = log.read_text(encoding="utf-8").splitlines()
        position = head.split(",").index("activation_grad_norm")
        cells = [row.split(",") for row in rows]
        lines = [",".join([*row[:position], flows[row[0]], *row[position + 1 :]]) for row in cells]
        log.write_text("\n".join([head, *lines, ""]))
    page = report.html(runs.results_of(folder, experiment))

    for name in ("accuracy", "gradient-at-start", "gradient-profile", "gradient-map"):
        assert (f'id="figure-{name}"' in page) == (name not in missing)


@pytest.fixture(scope="module")
def pictures(page):
    """An SVG file of every figure."""
    return report.save_figures(runs.results_of(*page[:2]), page[0] / "figures", report.Pictures(["svg"]))


def test_every_figure_is_written(pictures):
    assert [path.name for path in pictures] == [f"{name}.svg" for name in DRAWN]


def test_figures_are_written_in_every_format(page, tmp_path):
    beginnings = {"png": b"\x89PNG", "svg": b"<svg", "pdf": b"%PDF"}
    few = report.Pictures(list(beginnings), ["accuracy", "gradient-map"])
    written = report.save_figures(runs.results_of(*page[:2]), tmp_path, few)

    assert [path.name for path in written] == [f"{name}.{form}" for name in few.charts for form in beginnings]
    assert all(path.read_bytes().startswith(beginnings[path.suffix[1:]]) for path in written)


def test_panels_have_titles_if_there_are_several(pictures, tmp_path):
    one = fabricated.results(tmp_path, values, SMALL[0], "network.norm=none", "network.init=he", "seeds=1")

    for path in report.save_figures(one, tmp_path / "figures", report.Pictures(["svg"])):
        assert ">all<" not in path.read_text(encoding="utf-8")
    for path in pictures:
        has_titles = path.stem != "trainability"  # whose panels are quantities, not conditions
        assert ("PyTorch init<" in path.read_text(encoding="utf-8")) == has_titles


def test_an_unknown_figure_format_is_refused(page):
    with pytest.raises(ConfigError, match="'gif' is not one of png, svg, pdf"):
        report.save_figures(runs.results_of(*page[:2]), page[0] / "figures", report.Pictures(["gif"]))
