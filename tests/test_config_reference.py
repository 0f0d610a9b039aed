"""docs/reference/config.md is current and describes every key."""

import json
import sys
from pathlib import Path

import pytest
from commands import Program
from jsonschema import Draft202012Validator

from resexp import config

ROOT = Path(__file__).parents[1]
SCHEMA = config.schema()


@pytest.fixture
def generator(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import config_reference  # noqa: PLC0415 - a script outside the package

    yield config_reference
    sys.modules.pop("config_reference")


def keys(properties, prefix=""):
    for name, entry in properties.items():
        section = SCHEMA["$defs"].get(entry.get("$ref", "").rsplit("/", 1)[-1])
        if section:
            yield from keys(section["properties"], f"{name}.")
        elif prefix or name not in config.SHORT:
            yield f"{prefix}{name}", entry


KEYS = dict(keys(SCHEMA["properties"]))


def test_the_page_is_current(generator):
    assert generator.DOCUMENT.read_text(encoding="utf-8") == generator.document()


def test_the_schema_file_for_editors_is_current(generator):
    assert generator.SCHEMA.read_text(encoding="utf-8") == generator.schema_text()


@pytest.mark.parametrize("key", KEYS)
def test_a_key_has_a_description(key):
    assert KEYS[key]["description"].endswith(".")


@pytest.mark.parametrize("key", KEYS)
def test_a_key_without_an_enumeration_has_examples_that_are_allowed(key):
    section, _, name = key.rpartition(".")
    examples = KEYS[key].get("examples", [])
    documents = [{section: {name: example}} if section else {name: example} for example in examples]

    assert examples or "enum" in str(KEYS[key]) or "boolean" in str(KEYS[key])
    assert [document for document in documents if list(Draft202012Validator(SCHEMA).iter_errors(document))] == []


@pytest.mark.parametrize("key", sorted(KEYS.keys() - {"name", "exclude"}))
def test_a_key_has_a_default(key):
    assert "default" in KEYS[key]


def test_the_page_names_every_key(generator):
    page = generator.document()

    assert len(KEYS) > 50
    assert [key for key in KEYS if f"| `{key}` |" not in page] == []


def test_a_copied_config_names_the_schema_next_to_it(call: Program, tmp_path: Path):
    (tmp_path / "other").mkdir()
    answers = [call("configs", "cp", "lesson", tmp_path / name) for name in ("my.yaml", "other")]
    (tmp_path / config.SCHEMA_FILE).write_text("{}", encoding="utf-8")
    answers.append(call("configs", "cp", "digits", tmp_path / "second.yaml"))
    first = (tmp_path / "my.yaml").read_text(encoding="utf-8").splitlines()[0]

    assert [answer.code for answer in answers] == [0, 0, 0]
    assert first.endswith(f"$schema={config.SCHEMA_FILE}")
    assert json.loads((tmp_path / "other" / config.SCHEMA_FILE).read_text(encoding="utf-8")) == SCHEMA
    assert (tmp_path / config.SCHEMA_FILE).read_text(encoding="utf-8") == "{}"  # an existing file is kept
    assert config.load(tmp_path / "my.yaml").settings == {**config.load("lesson").settings, "name": "my"}
