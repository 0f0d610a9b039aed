"""Use by programs: JSON and its schemas, exit codes, environment variables, and the example of a CI workflow."""

import json
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from commands import Program
from jsonschema import Draft202012Validator

from resexp import cli, tables
from resexp.cli import program, running

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "programs.md").read_text(encoding="utf-8")
NETWORK = "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Flatten(), *[nn.Linear(8, 8) for _ in range(4)])\n"

COMMANDS = {
    "compare": ["compare", "--by-layer"],
    "compare, tuned": ["compare", "--tune", "depth"],
    "report": ["report", "-o", "OUT/report.html", "--figures", "svg", "--charts", "accuracy"],
    "probe": ["probe", "EXPERIMENT"],
    "probe-module": ["probe", "OUT/five_layers.py:make", "--input", "8", "--classes", "8"],
    "show": ["show", "EXPERIMENT"],
    "show, all": ["show", "EXPERIMENT", "--all"],
    "time": ["time", "EXPERIMENT"],
    "dissect": ["dissect", "--parts", "lesion,scale,surface", "--grid", "3"],
    "reproduce": ["reproduce", "--jobs", "1"],
    "watch": ["watch"],
    "doctor": ["doctor"],
    "ls": ["ls"],
    "pack": ["pack", "-o", "OUT/digits.zip"],
    "rm": ["rm", "OUT/copy"],
    "configs-ls": ["configs", "ls"],
    "configs-show": ["configs", "show", "digits"],
    "export": ["export", "safetensors", "--to", "OUT/weights"],
}


@pytest.fixture(scope="module")
def trained(tiny_runs: Callable[..., Path]) -> Path:
    """The results folder of a plain and an identity network of digits, two seeds."""
    return tiny_runs("name=digits", "network.norm=none", "network.init=he", "seeds=2")


def closed(schema: Any) -> Any:
    """The same schema without keys that it does not name."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return {**inner, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else inner


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("case", COMMANDS)
def test_the_json_of_a_command_has_the_schema_that_is_printed_for_it(case: str, call: Program, trained: Path, tmp_path: Path):
    (tmp_path / "five_layers.py").write_text(NETWORK, encoding="utf-8")
    shutil.copytree(trained / "digits", tmp_path / "copy")
    name = case.partition(",")[0]
    words = {"EXPERIMENT": str(trained / "digits")}
    arguments = [words.get(word, word.replace("OUT", str(tmp_path))) for word in COMMANDS[case]]
    runs_dir = [] if arguments[0] == "configs" else ["--runs", trained]
    answer = call(*arguments, "--json", *runs_dir)
    document = json.loads(answer.out, parse_constant=pytest.fail)
    schema = json.loads(call("schema", name).out)

    assert answer.code == 0, answer.err
    assert list(document)[:1] == ["schema"]
    assert document["schema"] == tables.schema_name(name) == schema["properties"]["schema"]["const"]
    assert document.keys() == {"schema", *tables.DOCUMENTS[name]}
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(closed(schema)).validate(document)


def test_every_schema_belongs_to_a_tested_command_and_is_documented():
    assert {case.partition(",")[0] for case in COMMANDS} == set(tables.DOCUMENTS)
    assert set(re.findall(r"^\| `resexp .* \| `([a-z-]+)` \|$", PAGE, flags=re.MULTILINE)) == set(tables.DOCUMENTS)


def test_the_committed_comparison_of_the_demo_has_the_schema():
    demo = json.loads((ROOT / "docs" / "demo.json").read_text(encoding="utf-8"))

    Draft202012Validator(closed(tables.output_schema("compare"))).validate(demo)


def test_a_number_that_is_not_finite_is_null_and_a_wrong_type_is_refused_by_the_schema():
    written = json.loads(tables.document("watch", {"name": "x", "question": None, "done": float("nan"), "trials": ()}))
    validator = Draft202012Validator(tables.output_schema("watch"))

    assert (written["done"], written["trials"]) == (None, [])
    assert validator.is_valid(written)
    assert not validator.is_valid({**written, "done": "half"})
    assert not validator.is_valid({**written, "schema": "resexp.watch/2"})
    assert not validator.is_valid({key: value for key, value in written.items() if key != "name"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["schema", "train"], "'train' is not one of compare"),
        (["report", "-o", "-", "--json"], "--json needs a file"),
        (["watch", "EXPERIMENT", "--json", "--speed", "2"], "omit --speed"),
    ],
)
def test_json_that_does_not_exist_is_refused_with_one_line(call: Program, trained: Path, arguments: list[str], words: str):
    answer = call(*(trained / "digits" if word == "EXPERIMENT" else word for word in arguments))

    assert (answer.code, answer.out, len(answer.err.splitlines())) == (program.USAGE, "", 1)
    assert words in answer.err


def test_the_documented_exit_codes_are_those_of_the_program():
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)}
    stopped = {running._exit_code(number) for number in (signal.SIGINT, signal.SIGTERM)}

    assert codes == {0, program.FAILED, program.USAGE, program.UNMET, *stopped}


def test_every_environment_variable_that_the_code_reads_is_documented():
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "resexp").rglob("*.py"))
    read = set(re.findall(r"os\.environ(?:\.get\(|\.setdefault\(|\[)\"([A-Z_]+)\"", source))
    named = set(re.findall(r"\"((?:RESEXP|OMP|CUBLAS)_[A-Z_]+)\"", source))

    assert read
    assert {name for name in read | named if f"`{name}`" not in PAGE} == set()


# ---- the example of a workflow ----------------------------------------------------------------------------------------------

WORKFLOW = yaml.safe_load((ROOT / "examples" / "ci-gate.yml").read_text(encoding="utf-8"))


def gates() -> Iterator[list[str]]:
    """The commands of the program in the workflow, as words."""
    for step in WORKFLOW["jobs"]["gates"]["steps"]:
        if step.get("run", "").startswith("resexp "):
            yield shlex.split(step["run"])


def options(command: str) -> set[str]:
    group = typer.main.get_group(cli.program.app)
    return {name for parameter in group.commands[command].params for name in parameter.opts}


def test_the_workflow_has_a_gate_on_a_network_and_one_on_results():
    assert [words[1] for words in gates()] == ["probe", "compare"]


@pytest.mark.parametrize("words", list(gates()), ids=lambda words: words[1])
def test_the_options_of_a_gate_exist(words: list[str]):
    given = {word for word in words if word.startswith("--")}

    assert given
    assert given <= options(words[1])
