"""The JSON schema of a config, for editors."""

import re
from typing import Any

from resexp.config.keys import SECTIONS, SHORT
from resexp.config.models import AXES, Settings
from resexp.config.types import MAX_SEED, MAX_SEEDS, MAX_VALUES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_FILE = "resexp.schema.json"  # the first line of every shipped config names it, for editors


def schema() -> dict[str, Any]:
    """The JSON schema of a config, in which axes may be lists."""
    document = {"$schema": DIALECT, **Settings.model_json_schema(), "title": "Config of resexp", "required": []}
    for key in AXES:
        section, name = key.split(".")
        properties = document["$defs"][SECTIONS[section].__name__]["properties"]
        field = properties[name]
        annotations = {key: field.pop(key) for key in ("default", "title", "description", "examples") if key in field}
        properties[name] = {**annotations, "anyOf": [field, _list_of(field, MAX_VALUES)]}
    # A key may be written without its section; the file must not contain the section then.
    for short, key in SHORT.items():
        section = key.split(".")[0]
        document["properties"][short] = document["$defs"][SECTIONS[section].__name__]["properties"][short]
        document.setdefault("dependentSchemas", {})[short] = {"not": {"required": [section]}}
    seed_schema = {"type": "integer", "minimum": 0, "maximum": MAX_SEED}
    count_schema = {"type": "integer", "minimum": 1, "maximum": MAX_SEEDS}
    seeds = document["properties"]["seeds"]
    document["properties"]["seeds"] = {
        "default": seeds["default"],
        "description": seeds["description"],
        "examples": seeds["examples"],
        "anyOf": [count_schema, _list_of(seed_schema, MAX_SEEDS)],
    }
    document["properties"]["exclude"] = {
        "description": "Combinations of axis values that are not trained, for example [{init: he, norm: [layer, batch]}].",
        "examples": [[{"init": "he", "norm": ["layer", "batch"]}]],
        "type": "array",
        "items": {"type": "object", "minProperties": 1},
    }
    return document


def named_values(key: str) -> list[str]:
    """The values of a dotted key that have names, and its examples that a shell passes without quotes."""
    section, _, name = key.rpartition(".")
    document = schema()
    properties = document["$defs"][SECTIONS[section].__name__]["properties"] if section else document["properties"]
    values = [*_names(properties[name]), *properties[name].get("examples", ())]
    return [text for text in dict.fromkeys(map(str, values)) if re.fullmatch(r"[\w.:-]+", text)]


def _names(entry: dict[str, Any]) -> list[str]:
    """The names in a part of the schema: of an enumeration, or true and false."""
    nested = [*entry.get("anyOf", ()), *([entry["items"]] if isinstance(entry.get("items"), dict) else [])]
    own = [*entry.get("enum", ()), *([entry["const"]] if "const" in entry else [])]
    return [
        *own,
        *(["true", "false"] if entry.get("type") == "boolean" else []),
        *(name for part in nested for name in _names(part)),
    ]


def _list_of(items: dict[str, Any], max_items: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": max_items}
