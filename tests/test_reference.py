"""The generated pages of docs/reference are current and complete; links and navigation of the documentation site are valid."""

import json
import re
import runpy
from pathlib import Path

import fabricated
import pytest
import typer.main

import resexp
from resexp import cli, config, runs, tables

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
GENERATORS = {page: f"{page}_reference" for page in ("cli", "files", "hypotheses", "python", "tables")}


def script(name):
    return runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"))


def page(name):
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def sections(text):
    """The title of each section -> the code in the first cells of its tables."""
    parts = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return {title: re.findall(r"^\| `(.*?)`", body, flags=re.MULTILINE) for title, body in parts}


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generated_page_is_current(name):
    generator = script(GENERATORS[name])

    assert generator["DOCUMENT"] == REFERENCE / f"{name}.md"
    assert page(name) == generator["document"]()


# ---- commands ---------------------------------------------------------------------------------------------------------


def parameters(command, name="resexp"):
    yield from ((name, option, parameter) for parameter in command.params for option in parameter.opts)
    for child, subcommand in getattr(command, "commands", {}).items():
        yield from parameters(subcommand, f"{name} {child}")


def test_every_option_is_described_at_its_command():
    described = {title: re.split(r"[ ,]+", " ".join(names)) for title, names in sections(page("cli")).items()}
    options = [(name, option) for name, option, _ in parameters(typer.main.get_command(cli.app)) if option.startswith("-")]

    assert len(options) > 100
    assert [(name, option) for name, option in options if option not in described[f"`{name}`"]] == []


def test_the_page_of_commands_has_the_help_of_every_argument_and_option():
    text = page("cli").replace("\\|", "|")

    assert [
        name for name, _, parameter in parameters(typer.main.get_command(cli.app)) if f"| {parameter.help} |" not in text
    ] == []


# ---- files ------------------------------------------------------------------------------------------------------------


def test_every_column_of_every_csv_file_is_described():
    described = sections(page("files"))

    assert len(runs.COLUMNS) > 10
    assert {file: described[file] for file in runs.COLUMNS} == {file: list(names) for file, names in runs.COLUMNS.items()}


def test_every_column_of_accuracy_csv_is_described(tmp_path):
    results = fabricated.results(tmp_path, lambda _trial: {"test_accuracy": 0.9}, "seeds=1")
    columns, _ = tables.documents.trial_rows(results)

    assert [name for name in columns if name not in (*results.columns, *sections(page("files"))["accuracy.csv"])] == []


def test_every_file_of_an_experiment_is_described(tmp_path):
    folder, experiment = fabricated.experiment(tmp_path, lambda _trial: {"test_accuracy": 0.9}, "seeds=1")
    tables.write_accuracy(runs.results_of(folder, experiment))
    described = {name for names in sections(page("files")).values() for name in names}
    written = {path.name for path in folder.rglob("*") if path.is_file()}

    assert {"metrics.csv", "accuracy.md", "plan.json"} <= written
    assert written | {*runs.CHECKSUMMED, *runs.ABLATION_FILES.values()} <= described


def test_every_key_of_every_json_file_is_described():
    described = sections(page("files"))
    models = script("files_reference")["RECORDS"]
    keys = {file: [key for model in places.values() for key in model.model_fields] for file, places in models.items()}
    json_files = [value for value in vars(runs.records).values() if isinstance(value, runs.records.JsonFile)]

    assert len(json_files) == len(models)
    assert {file: described[file] for file in keys} == keys


# ---- tables -----------------------------------------------------------------------------------------------------------


def headings(markdown):
    """The headings of all tables in a text."""
    rows = re.findall(r"^(\|.*)\n\| ?-", markdown, flags=re.MULTILINE)
    return {cell.strip() for row in rows for cell in re.split(r"(?<!\\)\|", row)} - {""}


def test_every_heading_of_a_comparison_is_described(tmp_path):
    accuracies = {"identity": 0.9, "plain": 0.5}
    results = fabricated.results(tmp_path, lambda trial: {"test_accuracy": accuracies[trial.arm]}, "seeds=3")
    comparison = resexp.load(results.sources[0][0]).compare().comparison
    described = set(re.findall(r"^\| (.*?) \|", page("tables"), flags=re.MULTILINE))
    printed = headings(tables.FORMATS["md"](comparison, p_values=True))

    assert {"arm", "sign-flip p", "residual - plain, points [95% CI]"} <= printed
    assert printed - set(results.columns) - described == set()


def test_every_csv_column_of_a_comparison_is_described(tmp_path):
    results = fabricated.results(tmp_path, lambda _trial: {"test_accuracy": 0.9}, "seeds=3")
    columns = tables.FORMATS["csv"](resexp.load(results.sources[0][0]).compare().comparison).splitlines()[0].split(",")

    assert len(columns) > 20
    assert [name for name in columns if name not in results.columns and f"`{name}`" not in page("tables")] == []


def test_no_meaning_of_a_heading_is_superfluous():
    generator = script("tables_reference")
    columns = list(generator["headings"]())
    used = {column.heading for column in columns} | {(column.module, column.heading) for column in columns}

    assert len(columns) > 100
    assert {*generator["MEANINGS"], *generator["REPLACED"]} - used == set()


def test_the_csv_of_a_probed_network_has_the_described_columns():
    source = (ROOT / "resexp" / "tables" / "module_probe_lines.py").read_text(encoding="utf-8")

    assert f"writerow({json.dumps(list(script('tables_reference')['MODULE_PROBE']))})".translate({91: "(", 93: ")"}) in source


# ---- hypotheses and the Python API ------------------------------------------------------------------------------------


def test_every_measure_of_a_hypothesis_is_described():
    described = sections(page("hypotheses"))

    assert [name.partition("(")[0] for name in described["Measures"]] == list(config.expectations.MEASURES)
    assert described["Predictors"] == list(config.expectations.PREDICTORS)


def test_every_public_name_is_in_the_page_of_the_python_api():
    text = page("python")

    assert [name for name in resexp._EXPORTS if not re.search(rf"^(\| `resexp|::: .*)\.{name}\b", text, re.MULTILINE)] == []
    assert [name for name in ("train", "load", "probe", "compare_frame") if f"::: resexp.{name}\n" not in text] == []


# ---- the site ---------------------------------------------------------------------------------------------------------


def test_links_are_valid_and_the_navigation_contains_every_page():
    assert script("staged_docs")["problems"]() == []


def test_no_page_contains_text_that_browsers_take_for_a_tag():
    staged_docs = script("staged_docs")
    texts = {source: (ROOT / source).read_text(encoding="utf-8") for source in staged_docs["pages"]() if source.endswith(".md")}
    prose = {
        source: re.sub(r"(?m)^    .*$|<!--.*?-->", "", staged_docs["CODE"].sub("", text)) for source, text in texts.items()
    }

    assert [
        (source, tag) for source, text in prose.items() for tag in re.findall(r"<[A-Za-z/][^>\n]*>", text) if tag[:4] != "<img"
    ] == []


def test_links_of_a_page_are_translated(tmp_path, monkeypatch):
    (tmp_path / "docs" / "how-to").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://example.org/r"\n', encoding="utf-8")
    (tmp_path / "docs" / "how-to" / "a.md").write_text(
        "[b](../b.md#c) [r](../../README.md) [f](../../pyproject.toml) [d](../..) [w](https://x.org) [no](no.md)\n"
        "`[code](no.md)` | `A\\|B`\n",
        encoding="utf-8",
    )
    staged = script("staged_docs")["staged"]
    monkeypatch.setitem(staged.__globals__, "ROOT", tmp_path)
    targets = {"docs/how-to/a.md": "how-to/a.md", "docs/b.md": "b.md", "README.md": "overview.md"}
    broken = []

    links, code = staged("docs/how-to/a.md", targets, broken).splitlines()

    assert re.findall(r"\[(\w+)\]\((.*?)\)", links) == [
        ("b", "../b.md#c"),
        ("r", "../overview.md"),
        ("f", "https://example.org/r/blob/main/pyproject.toml"),
        ("d", "https://example.org/r/tree/main/."),
        ("w", "https://x.org"),
        ("no", "https://example.org/r/blob/main/docs/how-to/no.md"),
    ]
    assert code == "`[code](no.md)` | `A|B`"
    assert broken == ["docs/how-to/a.md:1: no.md does not exist"]


def test_the_bibliography_contains_every_cited_paper():
    patterns = (
        "README.md",
        "docs/**/*.md",
        "configs/*.yaml",
        "resexp/claims/*.yaml",
        "resexp/theory/*.py",
        "resexp/tables/*.py",
    )
    texts = {path: path.read_text(encoding="utf-8") for pattern in patterns for path in ROOT.glob(pattern)}
    bibliography = texts.pop(ROOT / "docs" / "bibliography.md")
    listed = re.findall(r"\[arXiv:([\d.]+\d)\]\(https://arxiv.org/abs/\1\)", bibliography)
    cited = {number for text in texts.values() for number in re.findall(r"(?i)arxiv(?::|\.org/abs/)(\d{4}\.\d{4,5})", text)}

    assert len(set(listed)) == len(listed) > 30
    assert cited - {"0000.00000"} == set(listed)


def test_the_examples_of_three_different_things_have_the_numbers_of_the_demo():
    demo = json.loads((ROOT / "docs" / "demo.json").read_text(encoding="utf-8"))
    names = {"no normalization": "none", "layer norm": "layer"}
    text = (ROOT / "docs" / "explanation" / "three-different-things.md").read_text(encoding="utf-8")
    pattern = r"^\| (\S+), (no normalization|layer norm), (\w+) initialization \| (.*) \| (\w+), (.*) \| (\w+), (.*) \|$"
    rows = re.findall(pattern, text, flags=re.MULTILINE)

    assert len(rows) == 7
    for arm, norm, init, accuracy, flow, growth, inputs, distance in rows:
        label = {"depth": "64", "norm": names[norm], "init": init.lower()}
        (measured,) = [row for cell in demo["cells"] if cell["label"] == label for row in cell["arms"] if row["name"] == arm]
        assert f"{100 * measured['summary']['mean']:.1f}" == accuracy
        assert f"{measured['growth_start']:+.1f}" == growth
        assert flow == ("vanish" if float(growth) < -1 else "explode" if float(growth) > 1 else "stable")
        assert f"{measured['distance_start']:.2g}" == distance
        assert inputs == ("collapse" if float(distance) < 0.01 else "distinct")
