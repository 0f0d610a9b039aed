"""Every `resexp` command in the documentation is accepted by the program; options and config keys in the text exist.

A command runs until it would build a network, train, or read an experiment. By then it has checked its options and its config.
Names in capital letters, optional arguments in brackets, and `...` are placeholders. The exact output is tested for the
tutorials only, in test_tutorials.py.
"""

import itertools
import re
import shlex
import textwrap
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
import typer.main

from resexp import cli, config, executors, extensions, runs
from resexp.cli import training

ROOT = Path(__file__).parent.parent
PROGRAM: Any = typer.main.get_command(cli.app)
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "runs/*.md", "examples/**/*.md", "examples/*.yml")
    for path in ROOT.glob(pattern)
)
PLACEHOLDERS = {
    "COMMAND": "ls", "CONFIG": "digits", "FILE": "digits", "FORMAT": "tensorboard", "MODULE:FACTORY": "net.py:make",
    "NAME": "digits", "RUN": "digits", "RUNS": "runs", "runs/NAME": "runs/digits", "key=value": "seeds=1",
}  # fmt: skip
CUSTOM_SHORTCUTS = ("balanced", "channel-scale", "half")  # of the pages on custom shortcuts
CLASS = ("*", "lesson")  # experiments of the lesson: of one person, and of all
RESULTS = "model,seed,accuracy\nold,0,0.90\nold,1,0.92\nold,2,0.91\nnew,0,0.93\nnew,1,0.94\nnew,2,0.94\n"
WITH_CONFIG = {"probe", "show", "time", "train"}  # commands whose first argument is a config
INCOMPLETE = {"compare FILE.csv", "configs cp", "configs show", "probe net.py:make"}  # without some of their arguments
GRID_OPTIONS = ("--by", "--tune", "--where")
OTHER_KEYS = {"gradients.csv", "network.gain", "network.zero_last", "training.cohort"}  # a file, and earlier names
OTHER_OPTIONS = {"--multirun", "--signal", "--small"}  # of Hydra, Slurm and a benchmark
SECTIONS = {key.partition(".")[0] for key in config.KEYS if "." in key}


class Reached(BaseException):
    """A command would now build a network, train, or read an experiment."""


class Command(NamedTuple):
    """The words of a command after `resexp`, and the output that the page shows."""

    words: list[str]
    shown: str


def documented(path: Path) -> list[Command]:
    """The commands of a page, in blocks and in the text, in this order, each once."""
    commands = [*commands_in_blocks(path), *(Command(words_of(code), "") for code in inline_code(path))]
    return [command for index, command in enumerate(commands) if command.words and command not in commands[:index]]


def commands_in_blocks(path: Path) -> Iterator[Command]:
    text = path.read_text(encoding="utf-8").replace("\\|", "|")
    if path.suffix == ".yml":
        text = re.sub(r"run: >-\n((?: {10}.*\n)+)", lambda run: f"```sh\n{' '.join(run[1].split())}\n```\n", text)
    for language, block in re.findall(r"^ *```(\w*).*?\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        joined = re.sub(r"\\\n", " ", block)
        if language == "console":
            sessions = re.findall(r"^ *\$ (.*)\n((?:(?! *\$ ).*\n)*)", joined, re.MULTILINE)
        else:
            sessions = [(line, "") for line in joined.splitlines() if language in ("", "sh", "bash")]
        yield from (Command(words_of(line), shown) for line, shown in sessions)


def inline_code(path: Path) -> list[str]:
    """The code in the text of a page, outside of blocks."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(code.replace("\\|", "|").split()) for code in re.findall(r"(?<!`)`([^`]+)`", text)]


def words_of(line: str) -> list[str]:
    """The words after `resexp` of a line of a shell, with placeholders replaced; empty if there is no such command."""
    match = re.search(r"(?:^|[;|&] *|\bdo |\bexec |[A-Z_]+=\S+ )resexp (.*)", line.strip())
    if not match or "[OPTIONS]" in line:
        return []
    text = re.sub(r"(?<!\S)\[[^\]]*\](?!\S)|(?<!\S)\.\.\.(?!\S)", "", re.sub(r"\$\(\(.*?\)\)|\$\{?\w+\}?", "1", match[1]))
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if word in {">", "|", ";", "&", "&&"}:
            break
        words.append(PLACEHOLDERS.get(word, word))
    return words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("resexp compare digits --json > digits.json", "compare digits --json"),
        ("printf 'no\\n' | resexp train lesson --predict", "train lesson --predict"),
        ("for i in 1 2; do X=$((i-1)) resexp train digits --shard $i/4 & done", "train digits --shard 1/4"),
        ("resexp train CONFIG key=value ... --quiet", "train digits seeds=1 --quiet"),
        ("resexp rm NAME ...    # moves", "rm digits"),
        ("resexp compare [NAME ...] --by depth", "compare --by depth"),
        ("pip install resexp torch", ""),
    ],
)
def test_words_of_a_line(line: str, words: str):
    assert words_of(line) == words.split()


class Documentation(NamedTuple):
    """How the experiments of a page were trained (name -> config and overrides), and a function that runs a command.

    The function takes the words of the command and the names of custom shortcuts, and returns the error, or "".
    """

    trained: dict[str, list[str]]
    run: Callable[[list[str], Collection[str]], str]


@pytest.fixture
def documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Documentation:
    """Commands run until they would build a network, train, or read an experiment."""
    from resexp import describe, doctor, modules  # noqa: PLC0415 - need torch

    trained = {name: [name] for name in [*config.shipped(), *CLASS]}

    def reached(*_arguments: object, **_options: object) -> NoReturn:
        raise Reached

    def find(source: str | None, _runs_dir: Path) -> NoReturn:
        assert source is None or Path(source).name in trained, f"{source} is not trained on this page"
        raise Reached

    def run(words: list[str], shortcuts: Collection[str]) -> str:
        monkeypatch.setitem(config.CUSTOM_NAMES, "shortcut", shortcuts)
        try:
            PROGRAM.main(words, prog_name="resexp")
        except (config.ConfigError, runs.RunsError) as error:
            return str(error)
        except SystemExit as end:
            return f"exit status {end.code}" if end.code else ""
        except Reached:
            return ""

    for module, name in (
        (executors, "Pool"), (executors, "Cluster"), (describe, "describe"), (doctor, "installation"), (modules, "load")
    ):  # fmt: skip
        monkeypatch.setattr(module, name, reached)
    monkeypatch.setattr(runs, "find", find)
    for name in ("begin", "use", "use_as_recorded"):
        monkeypatch.setattr(extensions, name, lambda *_: [])
    monkeypatch.setattr(training, "asked", lambda *_, **__: [])
    monkeypatch.chdir(tmp_path)
    return Documentation(trained, run)


def write_files(page: Path) -> None:
    """Writes the configs, result files and claims files that a page shows."""
    text = page.read_text(encoding="utf-8")
    Path("results.csv").write_text(RESULTS, encoding="utf-8")
    for name, content in re.findall(r"^```text (\S+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        Path(name).write_text(content, encoding="utf-8")
    for content, name in re.findall(r"^```yaml\n((?:(?!```).)*)^```.*?saved as `(\S+\.yaml)`", text, re.DOTALL | re.MULTILINE):
        Path(name).write_text(content, encoding="utf-8")
    for content in re.findall(r"^ *```yaml\n(.*?claims:.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        Path("claims.yaml").write_text(textwrap.dedent(content), encoding="utf-8")


def check_keys(words: list[str]) -> None:
    """The keys of a grid that options name are config keys, unless the command reads a result file."""
    options = [value.partition("=")[0] for option, value in itertools.pairwise(words) if option in GRID_OPTIONS]
    assert words[1].endswith(".csv") or set(options) <= {key.partition(".")[2] for key in config.AXES}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_a_page_is_accepted(page: Path, documentation: Documentation):
    """If the page shows an error, the command has that error."""
    write_files(page)
    for words, shown in documented(page):
        command, *rest = words
        assert command in PROGRAM.commands or command.startswith("-"), command
        if not rest or " ".join(words) in INCOMPLETE:
            continue
        if command in WITH_CONFIG:
            source, rest = ("digits", rest) if rest[0].startswith("-") else (rest[0], rest[1:])
            name = Path(source).name
            rest = [*([source] if source in config.shipped() else documentation.trained.get(name, [source])), *rest]
        match = re.search(r"resexp: (?!not met)(.*)", shown)
        expected = match[1].rstrip(".") if match else ""
        error = documentation.run([command, *rest], () if expected else CUSTOM_SHORTCUTS)
        assert (error[: len(expected)] if expected else error) == expected, shlex.join(words)
        if expected:
            continue
        check_keys(words)
        if command == "train":
            overrides = [word for word in rest[1:] if "=" in word and not word.startswith("-")]
            names = [word.removeprefix("name=") for word in overrides if word.startswith("name=")]
            documentation.trained[names[-1] if names else name] = [rest[0], *overrides]


def options_of(command: Any) -> set[str]:
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return options.union(*(options_of(child) for child in getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_option_in_the_text_of_a_page_exists(page: Path):
    for code in inline_code(page):
        program = re.match(r"(?:resexp )?([a-z][a-z-]*)", code)
        command = PROGRAM.commands.get(program[1]) if program else None
        if (program and not command) or code.startswith("-k "):
            continue  # another program, or options of pytest
        options = set(re.findall(r"(?<!\S)(--[a-z][a-z-]*)", code))
        assert options <= options_of(command or PROGRAM) | OTHER_OPTIONS, code


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_key_in_the_text_of_a_page_exists(page: Path):
    for code in inline_code(page):
        key = re.match(rf"((?:{'|'.join(SECTIONS)})\.\w+)(?:[=:]|$)", code)
        assert not key or key[1] in config.KEYS or key[1] in OTHER_KEYS, code
