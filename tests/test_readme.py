"""The front page: its commands exist, its examples run, its numbers are those of docs/demo.json."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from resexp import cli, config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = json.loads((ROOT / "docs" / "demo.json").read_text(encoding="utf-8"))


def condition(depth, norm, init):
    label = {"depth": depth, "norm": norm, "init": init}
    (arms,) = [cell["arms"] for cell in DEMO["cells"] if cell["label"] == label]
    return arms


def accuracy(summary):
    if summary["mean"] is None:
        return f"median {100 * summary['median']:.1f} ({100 * summary['lowest']:.1f} to {100 * summary['highest']:.1f})"
    return f"{100 * summary['mean']:.1f} ± {100 * summary['sd']:.1f}"


def slope(value):
    return f"{value + 0.0:+.2f}".replace("-0.00", "+0.00")


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("init", ["pytorch", "he"])
def test_the_table_of_corners_is_the_committed_result(norm, init):
    cells = []
    for arm in condition("64", norm, init):
        trained = f"{arm['summary']['outcomes'].get('above_chance', 0)}/{arm['summary']['n']}"
        cells.append(f"{accuracy(arm['summary'])} | {trained} | {slope(arm['slope_start'])}")
    expected = f"| {norm} | {init} | {' | '.join(cells)} |"

    assert expected in README


def test_the_transcript_of_compare_has_the_committed_numbers():
    for norm, init in (("none", "pytorch"), ("none", "he"), ("layer", "pytorch"), ("layer", "he")):
        heading = README.index(f"depth 64, norm {norm}, init {init}  (")
        block = README[heading:].split("\n\n")[0]
        for arm in condition("64", norm, init):
            assert accuracy(arm["summary"]) in block
            if arm["difference"]:
                assert f"{100 * arm['difference']['mean']:+.1f} [{100 * arm['difference']['low']:+.1f}, " in block


def test_every_command_that_it_names_exists_and_every_command_is_named():
    program = typer.main.get_command(cli.app)
    named = set(
        re.findall(
            r"resexp (train|probe|compare|report|watch|show|time|reproduce|dissect|doctor|export|configs|schema)\b", README
        )
    )

    assert named == set(program.commands)


def test_every_option_that_its_table_names_exists():
    program = typer.main.get_command(cli.app)
    rows = re.findall(r"^\| `resexp (\w+)[^`]*` \|(.*)$", README, flags=re.MULTILINE)

    assert len(rows) == len(program.commands)
    for name, text in rows:
        known = {option for parameter in program.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"`(--?[a-z][a-z-]*)", text)) <= known


def test_the_config_that_it_shows_loads(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    path = tmp_path / "example.yaml"
    path.write_text(text, encoding="utf-8")

    assert yaml.safe_load(text)
    assert len(config.load(path).trials) == 2 * 3 * 5


QUICK = '"network.depth=4", "network.init=he", "network.norm=none", "seeds=2", "training.steps=2", "gradients.every=1")'


@pytest.fixture
def python(tmp_path, monkeypatch, torch_state):
    """Runs the example under a heading in an empty folder, with a training of two steps; its names."""
    from resexp.shortcuts import SHORTCUTS  # noqa: PLC0415 - restored below

    before = dict(SHORTCUTS)
    monkeypatch.chdir(tmp_path)

    def run(heading):
        (text,) = re.findall(rf"## {heading}\n\n```python\n(.*?)```", README, flags=re.DOTALL)
        quick, count = re.subn(r'(resexp\.train\("digits")(.*)\)', rf"\1\2, {QUICK}", text)
        names = {}
        exec(quick, names)
        assert count == 1
        return names

    yield run
    SHORTCUTS.clear()
    SHORTCUTS.update(before)


def test_the_shortcut_of_your_own_is_a_working_program(tmp_path, python):
    python("Add your own shortcut")

    assert (tmp_path / "runs" / "digits" / "trials" / "half-d4-s0" / "result.json").exists()


def test_the_example_from_python_is_a_working_program(python, capsys):
    names = python("From Python")

    assert capsys.readouterr().out == f"{names['comparison']}\n"
    assert len(names["run"].trials) == 4


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!http)[^)]+)\)", README))
def test_a_link_leads_somewhere(target):
    assert (ROOT / target).exists()


def commands(path):
    """The shell commands in a text: lines of blocks without a language or for a console, inline code, cells and docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        sources = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
        lines = [line.removeprefix("!") for source in sources for line in source.splitlines()]
    elif path.suffix == ".md":
        blocks = re.findall(r"^```(?:console|sh|bash)?\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
        lines = [*"".join(blocks).splitlines(), *re.findall(r"`([^`\n|]+)`", text)]
    else:
        lines = text.splitlines()
    bare = (re.sub(r"^[#\s$]*([A-Z_]+=\S+ )*(\.venv/bin/)?", "", line) for line in lines)
    return [line.split(" # ")[0] for line in bare if re.match(r"(resexp|pip|python3?) [a-z-]", line)]


def unquoted(command):
    """What a shell sees outside quotes, word by word."""
    return [re.sub(r"'[^']*'|\"[^\"]*\"", "", word) for word in shlex.split(command, posix=False)]


TEXTS = [
    path
    for pattern in ("*.md", "docs/*.md", "docs/*.ipynb", "runs/*.md", "configs/*.yaml", "benchmarks/*.py", "resexp/**/*.py")
    for path in ROOT.glob(pattern)
]


def test_zsh_takes_every_command_for_what_it_is():
    """Without quotes zsh refuses [8,64], and other shells read {8,64} as two words; a pattern of paths is meant as one.

    A whole word in brackets, such as [NAME], is an argument that may be left out.
    """
    every = {command: str(path) for path in TEXTS for command in commands(path)}
    refused = [
        (path, command)
        for command, path in every.items()
        for word in unquoted(command)
        if re.search(r"[\[{*?]" if "=" in word else r"[\[{]", word) and not re.fullmatch(r"\[\w+\]", word)
    ]

    assert len(every) > 30
    assert refused == []


def test_the_two_commands_are_targets_of_make():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    for target in ("demo", "test", "lint", "bench", "stress"):
        assert f"\n{target}:" in makefile
