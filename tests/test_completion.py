"""Completion in the shell: commands, experiments, config keys and their values; and the order and examples of the help."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fabricated
import pytest
import typer.main
from jsonschema import Draft202012Validator

from resexp import cli, config
from resexp.cli import completion
from resexp.cli.advice import PANELS
from resexp.comparison.metrics import METRICS
from resexp.config.parsing import parse_yaml

PROGRAM = typer.main.get_command(cli.app)
PROTOCOL = "import sys; from resexp import cli; sys.argv = ['resexp']; cli.main()"


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    for name in ("lesson-2", "mine"):
        fabricated.experiment(tmp_path, lambda _: {}, f"name={name}", "seeds=1")
    (tmp_path / ".trash").mkdir()
    return tmp_path


def read_override(text: str) -> object:
    return parse_yaml(text, "")[0]


def context(**params: object) -> completion.Context:
    return SimpleNamespace(params=params)


def completed(words: list[str], folder: Path) -> list[str]:
    """What the shell is offered for the last word, by the protocol of bash."""
    variables = {"COMP_WORDS": " ".join(["resexp", *words]), "COMP_CWORD": str(len(words)), "_RESEXP_COMPLETE": "complete_bash"}
    command = [sys.executable, "-W", "error", "-c", PROTOCOL]
    done = subprocess.run(
        command,
        env={**os.environ, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


# ---- values ---------------------------------------------------------------------------------------------------------------


def test_a_config_is_a_shipped_one_or_an_experiment(runs_dir: Path):
    assert completion.sources(context(runs_dir=runs_dir), "l") == ["lesson", "lesson-2"]
    assert completion.sources(context(runs_dir=runs_dir), "") == [*config.shipped(), "lesson-2", "mine"]


def test_an_experiment_is_one_of_the_results_folder(runs_dir: Path):
    assert completion.experiments(context(runs_dir=runs_dir), "") == ["lesson-2", "mine"]
    assert completion.experiments(context(runs_dir=runs_dir / "none"), "") == []


@pytest.mark.parametrize(
    ("before", "word", "offered"),
    [
        ([], "optim", ["optimizer="]),
        ([], "training.opt", ["training.optimizer="]),
        ([], "optimizer=", ["optimizer=sgd", "optimizer=adam", "optimizer=adamw"]),
        ([], "training.optimizer=s", ["training.optimizer=sgd"]),
        ([], "norm=none,l", ["norm=none,layer"]),
        ([], "nesterov=", ["nesterov=true", "nesterov=false"]),
        ([], "shortcut=sk", ["shortcut=skipinit"]),
        ([], "lr=", ["lr=0.0001", "lr=0.001", "lr=0.1"]),
        ([], "probes=e", ["probes=eps_bound"]),
        ([], "device=c", ["device=cpu", "device=cuda", "device=cuda:0"]),
        ([], "nothing=", []),
        (["optimizer"], "", ["sgd", "adam", "adamw"]),  # bash, with the cursor after =
        (["lr=1", "optimizer", "="], "a", ["adam", "adamw"]),
        (["norm", "="], "none,l", ["none,layer"]),
        (["optimizer=adam"], "mom", ["momentum="]),
    ],
)
def test_a_key_is_completed_and_then_its_values(before: list[str], word: str, offered: list[str]):
    assert completion.overrides(context(overrides=before), word) == offered


def test_a_config_with_a_completed_value_has_no_error_about_the_value():
    validator, completed = Draft202012Validator(config.schema()), {key: config.named_values(key) for key in config.KEYS}
    documents = []
    for key, names in completed.items():
        section, _, name = key.rpartition(".")
        values = [[read_override(value)] if key == "gradients.probes" else read_override(value) for value in names]
        documents += [{section: {name: value}} if section else {name: value} for value in values]

    assert len(documents) > sum(map(bool, completed.values())) > 20
    assert [document for document in documents if list(validator.iter_errors(document))] == []


def test_metrics_and_keys_of_options():
    assert completion.metrics("") == list(METRICS)
    assert completion.axes("b") == ["block", "block_layers", "batch_size"]


# ---- the protocol of the shell ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tr"], ["train"]),
        (["train", "less"], ["lesson", "lesson-2"]),
        (["train", "lesson", "optimizer", "=", "ad"], ["adam", "adamw"]),
        (["compare", ""], ["lesson-2", "mine"]),
        (["rm", "mine", ""], ["lesson-2", "mine"]),
        (["configs", "show", "les"], ["lesson"]),
        (["train", "a.yaml", "b.yaml", "optim"], ["optimizer="]),
    ],
    ids=" ".join,
)
def test_the_shell_is_offered_these_words(words: list[str], offered: list[str], runs_dir: Path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("current")
    (folder / "runs").symlink_to(runs_dir)

    assert completed(words, folder) == offered


def test_completion_imports_neither_torch_nor_pandas():
    code = f"import atexit, sys; atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr)); {PROTOCOL}"
    variables = {"COMP_WORDS": "resexp train lesson network.norm = ", "COMP_CWORD": "5", "_RESEXP_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.stdout.split() == ["none", "batch", "layer", "group"]
    assert "'resexp.config'" in done.stderr
    assert [name for name in ("torch", "pandas", "altair", "scipy", "numpy") if f"'{name}'" in done.stderr] == []


# ---- the help -------------------------------------------------------------------------------------------------------------


def test_every_command_is_in_one_panel_of_the_help():
    names = [name for panel in PANELS.values() for name in panel]

    assert sorted(names) == sorted(PROGRAM.commands)
    assert PROGRAM.list_commands(typer.Context(PROGRAM)) == names


def commands(group, *before):
    for name, command in group.commands.items():
        yield (*before, name), command
        if hasattr(command, "commands"):
            yield from commands(command, *before, name)


@pytest.mark.parametrize(
    ("words", "command"), list(commands(PROGRAM)), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_the_help_of_a_command_ends_with_an_example_of_it(words, command):
    example = command.epilog.removeprefix("Example: ").split()

    assert example[: len(words) + 1] == ["resexp", *words]
