"""README.md: commands exist, examples run, numbers are those of docs/demo.json."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from resexp import cli, config, inference

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


LABELS = {
    (norm, init): f"{name}, {initialization} init"
    for norm, name in {"none": "no normalization", "layer": "layer norm"}.items()
    for init, initialization in {"pytorch": "PyTorch", "he": "He", "identity": "identity"}.items()
}
(TRANSCRIPT,) = re.findall(r"<!-- begin transcript -->\n(.*?)<!-- end transcript -->\n", README, flags=re.DOTALL)


def points(value):
    return f"{100 * value:+.1f}"


def counts(summary):
    above, at_chance = (summary["outcomes"].get(outcome, 0) for outcome in ("above_chance", "at_chance"))
    return f"{above}/{summary['n']}" + (f" ({at_chance} at chance)" if at_chance else "")


PRINTED = [("none", "pytorch"), ("none", "he")]


@pytest.mark.parametrize(("norm", "init"), PRINTED)
def test_transcript_of_compare_has_the_committed_numbers(norm, init):
    assert len(re.findall("^depth 64, ", TRANSCRIPT, flags=re.MULTILINE)) == len(PRINTED)
    block = TRANSCRIPT[TRANSCRIPT.index(f"depth 64, {LABELS[norm, init]}  (") :].split("\n\n")[0]
    for arm, line in zip(condition("64", norm, init), block.splitlines()[1:3], strict=True):
        values = [arm["name"], counts(arm["summary"]), accuracy(arm["summary"])]
        values.append(f"{100 * arm['train_error']['mean']:.1f}")
        if arm["difference"]:
            mean, low, high = (points(arm["difference"][key]) for key in ("mean", "low", "high"))
            values.append(f"{mean} [{low}, {high}]" + "*" * (arm["contrast"]["p_table"] <= 0.01))
        values.append(slope(arm["slope_start"]))
        assert line.split() == " ".join(values).split()


def interval(difference):
    return "{} [{}, {}]".format(*(points(difference[key]) for key in ("mean", "low", "high")))


@pytest.mark.parametrize("depth", ["8", "64"])
def test_first_table_has_both_committed_differences(depth):
    differences = [cell["arms"][1]["difference"] for cell in DEMO["cells"] if cell["label"]["depth"] == depth]
    (best,) = [row["difference"] for row in DEMO["best_settings"] if row["label"] == {"depth": depth}]
    lowest, *_, highest = sorted(differences, key=lambda difference: difference["mean"])

    assert len(differences) == len(LABELS)
    assert f"| {depth} | {interval(lowest)} to {interval(highest)} | {interval(best)} |\n" in README


def test_findings_have_the_committed_numbers():
    findings = re.findall(r"^\d\. \*\*(.*?)(?=^\d\.|^## )", README, flags=re.MULTILINE | re.DOTALL)
    trainable, plain_trains, hurts = (" ".join(finding.split()) for finding in findings)
    vanishing, stable = trainable.split("Stable gradients")
    for finding, norm in ((vanishing, "none"), (stable, "layer")):
        plain, identity = condition("64", norm, "pytorch")
        assert plain["summary"]["outcomes"] == {"at_chance": 4}
        assert f"{100 * plain['summary']['mean']:.1f}%" in finding
        assert f"{100 * identity['summary']['mean']:.1f}%" in finding
    slopes = [condition("64", norm, "pytorch")[0] for norm in ("none", "layer")]
    assert f"{-slopes[0]['slope_start']:.2f} orders of magnitude" in vanishing
    assert slopes[0]["growth_start"] < -1 < slopes[1]["growth_start"] < 1
    assert slopes[1]["growth_end"] < -1

    best = DEMO["best_settings"][-1]
    assert (best["label"]["depth"], best["plain"]["setting"]) == ("64", {"norm": "none", "init": "identity"})
    assert f"{100 * best['plain']['summary']['mean']:.1f}%" in plain_trains
    mean, low, high = (points(best["difference"][key]) for key in ("mean", "low", "high"))
    assert f"{mean} points, 95% CI {low} to {high}" in plain_trains

    pairs = [condition("64", "none", init) for init in ("he", "identity")]
    for plain, identity in pairs:
        accuracies = [100 * arm["summary"]["mean"] for arm in (plain, identity)]
        mean, low, high = (points(identity["difference"][key]) for key in ("mean", "low", "high"))
        assert "from {:.1f}% to {:.1f}%".format(*accuracies) in hurts
        assert f"({mean} points, 95% CI {low} to {high})" in hurts
        assert identity["growth_start"] > 1
    p = [identity["contrast"]["p_table"] for _, identity in pairs]
    assert min(p) > inference.ALPHA
    assert f"p is {p[0]:.2g} and {p[1]:.2g}" in hurts


def test_commands_in_readme_are_the_commands_of_the_program():
    program = typer.main.get_command(cli.app)
    named = set(
        re.findall(
            r"resexp (train|ls|pack|rm|probe|compare|report|watch|show|time|reproduce|dissect|doctor|export|configs|schema)\b",
            README,
        )
    )

    assert named == set(program.commands)


def test_options_in_the_table_of_commands_exist():
    program = typer.main.get_command(cli.app)
    rows = re.findall(r"^\| `resexp (\w+)[^`]*` \|(.*)$", README, flags=re.MULTILINE)

    assert {name for name, _ in rows} == set(program.commands)
    for name, text in rows:
        known = {option for parameter in program.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"`(--?[a-z][a-z-]*)", text)) <= known


def test_example_config_loads(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    path = tmp_path / "example.yaml"
    path.write_text(text, encoding="utf-8")

    assert yaml.safe_load(text)
    assert len(config.load(path).trials) == 2 * 3 * 5


FEW_STEPS = '"network.depth=4", "network.init=he", "network.norm=none", "seeds=2", "training.steps=2", "gradients.every=1")'


@pytest.fixture
def python(tmp_path, monkeypatch, torch_state):
    """Runs the example under a heading in an empty folder, with two training steps; returns its variables."""
    from resexp.shortcuts import SHORTCUTS  # noqa: PLC0415 - restored below

    before = dict(SHORTCUTS)
    monkeypatch.chdir(tmp_path)

    def run(heading, source=README):
        (text,) = re.findall(rf"## {heading}\n[^#]*?```python\n(.*?)```", source, flags=re.DOTALL)
        fast, count = re.subn(r'(resexp\.train\("digits")(.*)\)', rf"\1\2, {FEW_STEPS}", text)
        names = {}
        exec(fast, names)
        assert count == 1
        return names

    yield run
    SHORTCUTS.clear()
    SHORTCUTS.update(before)


def test_custom_shortcut_with_parameters_is_a_working_program(tmp_path, python):
    python("Custom shortcuts", (ROOT / "docs" / "networks.md").read_text(encoding="utf-8"))

    assert (tmp_path / "runs" / "digits" / "trials" / "weighted-d4-s0" / "result.json").exists()


def test_example_from_python_is_a_working_program(python, capsys):
    names = python("Python and custom variants")

    assert capsys.readouterr().out == f"{names['comparison']}\n"
    assert len(names["run"].trials) == 4


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!http)[^)]+)\)|src=\"([^\"]+)\"", README))
def test_links_and_images_exist(target):
    path, _, heading = "".join(target).partition("#")
    page = ROOT / (path or "README.md")
    assert page.exists()
    assert not heading or f"\n## {heading.replace('-', ' ').capitalize()}\n" in page.read_text(encoding="utf-8")


def commands(path):
    """Shell commands in a text: lines of blocks for a console or without a language, inline code, cells and docstrings."""
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
    """The words of a command without quoted parts."""
    return [re.sub(r"'[^']*'|\"[^\"]*\"", "", word) for word in shlex.split(command, posix=False)]


TEXTS = [
    path
    for pattern in ("*.md", "docs/**/*.md", "docs/*.ipynb", "runs/*.md", "configs/*.yaml", "benchmarks/*.py", "resexp/**/*.py")
    for path in ROOT.glob(pattern)
]


def test_commands_quote_brackets_and_braces():
    """Without quotes zsh refuses [8,64], and other shells expand {8,64} to two words. Patterns of paths need no quotes.

    A whole word in brackets, such as [NAME], is an optional argument. `[NAME ...]`, `[--option N]` and `A|B` are synopses.
    """
    paths = {command: str(path) for path in TEXTS for command in commands(path) if not re.search(r"\.\.\.\]|\||\[--", command)}
    unsafe = [
        (path, command)
        for command, path in paths.items()
        for word in unquoted(command)
        if re.search(r"[\[{*?]" if "=" in word else r"[\[{]", word) and not re.fullmatch(r"\[\w+\]", word)
    ]

    assert len(paths) > 30
    assert unsafe == []


def test_targets_of_make_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    for target in ("demo", "test", "lint", "bench", "stress"):
        assert f"\n{target}:" in makefile
