"""Loading any config gives an experiment or a one-line error: generated and mutated configs.

`pytest --configs N` sets their total number; one in fifty is also passed to the command line. Examples are the same in
every run.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, configuration, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from resexp import cli, config, runs
from resexp.config import ConfigError, Experiment

configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "resexp-hypothesis")  # not in the source tree

MAX_CALLS = 50_000_000  # function calls while one config is loaded; the largest allowed experiment takes 30 million
SHIPPED = {name: path.read_bytes() for name, path in config.shipped().items()}
SCHEMA = config.schema()
NASTY = [
    0, -1, 1.5, 10**12, 10**30, 10**400, -(10**400), 2**53, 1e308, 5e-324, float("nan"), float("inf"), True, None, "", "no",
    "auto", "digits", "../x", "a/b", "CON", "\x1b[31m", "\ud800", "\x00", "a\nb", "[/red]", "x" * 5000, [], {}, [[]], [1, 1],
    {"": {}}, {"gate": {"bias": None}}, {"mine": {"a b": "/"}}, list(range(2000)), "1e-3", "0x10", "~", "<<", "🎲", "&a", "*a",
]  # fmt: skip


# ---- configs ------------------------------------------------------------------------------------------------------------


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a part of the JSON schema allows, often at its bounds."""
    if "$ref" in schema:
        return values_of(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return st.one_of(*map(values_of, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    if "properties" in schema:
        return section_of(schema["properties"])
    minimum = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    maximum = schema.get("maximum", schema.get("exclusiveMaximum", 1000))
    kinds: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "boolean": st.booleans,
        "null": st.none,
        "integer": lambda: (
            st.integers(minimum, minimum + 9) | st.sampled_from([8, 64, maximum, maximum + 1, minimum, minimum - 1])
        ),
        "number": lambda: st.floats(minimum, maximum) | st.sampled_from([0.1, 1e-3, 1, 0.5]),
        "string": lambda: st.sampled_from(["cpu", "60s", "auto", "mine", "question?", *config.SHORTCUT_NAMES]),
        "object": lambda: shortcuts,
        "array": lambda: lists_of(schema),
    }
    return kinds[schema["type"]]()


def lists_of(schema: dict[str, Any]) -> st.SearchStrategy[list[Any]]:
    if "prefixItems" in schema:
        return st.tuples(*map(values_of, schema["prefixItems"])).map(list)
    return st.lists(rarely(junk, values_of(schema["items"])), min_size=schema.get("minItems", 0), max_size=3)


def section_of(properties: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A few of the keys; one value in ten is junk, and one section in ten has an unknown key."""

    def fill(keys: list[str]) -> st.SearchStrategy[dict[str, Any]]:
        allowed = st.fixed_dictionaries({key: rarely(junk, values_of(properties[key])) for key in keys})
        unknown = rarely(st.dictionaries(junk_keys, junk, max_size=1), st.just({}))
        return st.tuples(allowed, unknown).map(lambda parts: {**parts[0], **parts[1]})

    return st.lists(st.sampled_from(list(properties)), max_size=3, unique=True).flatmap(fill)


def rarely(rare: st.SearchStrategy[Any], common: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda number: rare if number == 9 else common)


scalars = st.sampled_from(NASTY) | st.integers() | st.floats() | st.text(max_size=20) | st.booleans() | st.none()
junk_keys = st.sampled_from(["\x1b[2J", "a\nb", "\u202e", "<<", "k" * 200, ""]) | st.text(max_size=9)
junk = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(junk_keys, inner, max_size=3))
parameters = st.dictionaries(
    st.sampled_from(["bias", "scale", "branch", "p", "survival"]), st.sampled_from([0, 0.5, -6, 1e30]), max_size=2
)
shortcuts = st.dictionaries(st.sampled_from([*config.SHORTCUT_NAMES, "mine"]), parameters, min_size=1, max_size=1)
sections = section_of({key: schema for key, schema in SCHEMA["properties"].items() if key not in ("name", "question")})
shaped = st.tuples(sections | rarely(junk, sections), st.sampled_from([json.dumps, runs.to_yaml]))
structured = shaped.map(lambda pair: pair[1](pair[0]).encode("utf-8", "replace"))

KEYS = [*SCHEMA["properties"], *(key for section in SCHEMA["$defs"].values() for key in section["properties"])]
PLAIN = ["0", "8", "[4, 8]", "1e-3", "true", "~", ".inf", "none", "layer", "'8'", *config.SHORTCUT_NAMES]
ODD = [
    "", ": ", ":", "- ", "\t", "[", "]", "{", "}", ",", "&a ", "*a", "!!int ", "!x ", "|", ">-", "'", '"', "#", "%YAML 1.2",
    "---", "...", "? ", "<<: ", '"\\x1b"', '"\\ud800"', "\x1b", "\r", "\ufeff", "\x85", "\u2028", "é", "`", "@", "1" * 5000,
    "[" * 99, "x" * 2000,
]  # fmt: skip
odd = st.sampled_from(ODD) | st.text(max_size=3)
entries = st.tuples(
    st.sampled_from(["", "", "", "  ", "  ", " ", "- "]),
    st.sampled_from(KEYS),
    st.sampled_from([": ", ": ", ": ", ":"]),
    rarely(odd, st.just("")),
    st.sampled_from(["", *PLAIN]),
    rarely(odd, st.just("")),
)
lines_of_text = rarely(odd, entries.map("".join))
texts = st.lists(lines_of_text, max_size=6).map(lambda lines: "\n".join(lines).encode("utf-8", "replace"))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A shipped config after one to three random edits."""
    lines = SHIPPED[draw(st.sampled_from(sorted(SHIPPED)))].split(b"\n")
    for _ in range(draw(st.integers(1, 3))):
        index, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        edit = draw(st.sampled_from(["delete", "duplicate", "value", "bytes", "swap", "indent", "cut"]))
        line = lines[index]
        if edit == "delete":
            lines[index : index + 1] = [b""]
        elif edit == "duplicate":
            lines.insert(other, line)
        elif edit == "value":
            value = json.dumps(draw(st.sampled_from(NASTY))).encode()
            key, colon, _ = line.partition(b": ")
            lines[index] = key + (colon and colon + value)
        elif edit == "bytes":
            position = draw(st.integers(0, len(line)))
            lines[index] = line[:position] + draw(st.binary(min_size=1, max_size=3)) + line[position:]
        elif edit == "swap":
            lines[index], lines[other] = lines[other], line
        elif edit == "indent":
            lines[index] = b" " * draw(st.integers(0, 5)) + line.lstrip()
        else:
            lines[index] = line[: draw(st.integers(0, len(line)))]
    return b"\n".join(lines)


# ---- the result of loading ----------------------------------------------------------------------------------------------


class TooMuch(Exception):  # noqa: N818 - not a ValueError or AssertionError, which validators may turn into a refusal
    """More function calls than loading a config may take."""


@contextmanager
def at_most(calls: int) -> Iterator[None]:
    """Raises TooMuch after this number of function calls; unlike a time limit, it is independent of the machine."""
    remaining = calls

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal remaining
        remaining -= event in ("call", "c_call")
        if remaining < 0:
            raise TooMuch

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)


def load(path: Path) -> Experiment | None:
    """The experiment; None if it was refused with one line. Every other error is a failure."""
    try:
        with at_most(MAX_CALLS):
            return config.load(path, shortcuts=[*config.SHORTCUT_NAMES, "mine"])
    except ConfigError as error:
        assert_one_line(str(error), path)
        return None


def assert_one_line(line: str, path: Path) -> None:
    assert line.startswith(str(path))
    assert len(line) > len(f"{path}: ")
    assert len(line) < len(str(path)) + 1500
    assert config.escape_controls(line) == line


def assert_valid(experiment: Experiment, folder: Path) -> None:
    """Checks that the stored form loads as the same experiment, and that trial names are distinct, safe and short."""
    names = [trial.name for trial in experiment.trials]
    assert len({name.lower() for name in names}) == len(names)
    assert max(len(f"runs/{experiment.name}/trials/{name}/.predictions.csv.gz.1234567") for name in names) < 200
    TypeAdapter(list[config.TrialName]).validate_python(names)

    stored = folder / "experiment.yaml"
    runs.write_text(stored, runs.to_yaml(experiment.settings))
    assert config.load(stored, shortcuts=None) == experiment
    for trial in (experiment.trials[0], experiment.trials[-1]):
        runs.write_text(stored, runs.to_yaml(trial.model_dump(mode="json")))
        assert config.Trial.model_validate(config.read_document(stored)[0]) == trial


Check = Callable[[bytes], None]


def for_all(configs: st.SearchStrategy[bytes], number: int, check: Check) -> None:
    suppressed = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example, HealthCheck.filter_too_much]
    options = settings(max_examples=number, derandomize=True, database=None, deadline=None, suppress_health_check=suppressed)
    options(given(configs)(check))()


@pytest.mark.parametrize(
    ("configs", "share", "min_loaded"),
    [
        pytest.param(texts, 4, 0.0, id="texts of YAML characters and config keys"),
        pytest.param(structured, 4, 0.1, id="values that follow the schema"),
        pytest.param(mutated(), 2, 0.1, id="edited shipped configs"),
    ],
)
def test_a_config_gives_an_experiment_or_one_line(
    configs: st.SearchStrategy[bytes], share: int, min_loaded: float, tmp_path: Path, request: pytest.FixtureRequest
):
    number = max(1, request.config.getoption("--configs") // share)
    outcomes: Counter[bool] = Counter()

    def check(content: bytes) -> None:
        path = tmp_path / "mine.yaml"
        path.write_bytes(content)
        experiment = load(path)
        outcomes[experiment is not None] += 1
        if experiment is not None:
            assert_valid(experiment, tmp_path)

    for_all(configs, number, check)

    assert outcomes.total() >= number * 0.9
    assert outcomes[True] >= min_loaded * number  # else hardly any valid config was tried


# ---- the command line -----------------------------------------------------------------------------------------------------

SMALL = (
    "data.name=digits", "data.augment=none", "data.limit=64", "network.depth=8", "network.width=8", "training.steps=2",
    "training.batch_size=16", "training.threads=1", "seeds=1", "device=cpu", "compile=false",
)  # fmt: skip


def assert_answered(code: object, out: str, err: str) -> None:
    """Checks that the result is exit code 0 and a plan, or 2 and one line."""
    if code == 0:
        assert re.search(r"trials? in \d+ stacks?", out)
        assert config.escape_controls(out, kept="\n\t") == out
    else:
        assert code == 2
        assert out == ""
        assert err.startswith("resexp: ")
        assert err.count("\n") == 1
    assert "Traceback" not in err
    assert config.escape_controls(err, kept="\n\t") == err


def test_the_command_line_answers_every_config_with_a_plan_or_one_line(
    in_process: None,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """A dry run, up to the networks and their first steps, with small sizes set on the command line."""
    number = max(1, request.config.getoption("--configs") // 50)
    outcomes: Counter[object] = Counter()
    monkeypatch.setattr(sys, "argv", ["resexp", "train", str(tmp_path / "mine.yaml"), "--dry-run", *SMALL])

    def check(content: bytes) -> None:
        (tmp_path / "mine.yaml").write_bytes(content)
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        torch.set_flush_denormal(False)  # hypothesis also generates denormal numbers
        outcomes[code] += 1
        assert_answered(code, *capsys.readouterr())

    for_all(st.one_of(structured, mutated(), texts), number, check)

    assert outcomes.total() >= number * 0.9
    assert min(outcomes[0], outcomes[2]) >= number // 10


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"network: {shortcut: [identity, gate]}", 0, id="a config"),
        pytest.param(b"network: {shortcut: identity\x1b}", 2, id="a byte that YAML does not allow"),
        pytest.param(b'"\\e[31mred[/red]\\n": 1', 2, id="a key with a color code"),
        pytest.param(b"a: &a [1]\nb: [*a, *a]\n", 2, id="aliases"),
    ],
)
def test_the_program_gives_the_same_answers(content: bytes, code: int, tmp_path: Path):
    (tmp_path / "mine.yaml").write_bytes(content)
    command = [sys.executable, "-m", "resexp", "train", "mine.yaml", "--dry-run", "--jobs", "1", *SMALL]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)

    assert done.returncode == code, done.stderr
    assert_answered(done.returncode, done.stdout, done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
