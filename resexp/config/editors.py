"""The JSON schema of a config, for editors."""

from typing import Any

from resexp.config.keys import SECTIONS, SHORT
from resexp.config.models import AXES, Settings
from resexp.config.types import MAX_SEED, MAX_SEEDS, MAX_VALUES


def schema() -> dict[str, Any]:
    """The JSON schema of a config, in which axes may be lists."""
    document = Settings.model_json_schema()
    document["required"] = []
    for key in AXES:
        section, name = key.split(".")
        properties = document["$defs"][SECTIONS[section].__name__]["properties"]
        field = properties[name]
        annotations = {key: field.pop(key) for key in ("default", "title", "description") if key in field}
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
        "anyOf": [count_schema, _list_of(seed_schema, MAX_SEEDS)],
    }
    document["properties"]["exclude"] = {
        "description": "Combinations of axis values that are not trained, for example [{init: he, norm: [layer, batch]}].",
        "type": "array",
        "items": {"type": "object", "minProperties": 1},
    }
    return document


def _list_of(items: dict[str, Any], max_items: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": max_items}
