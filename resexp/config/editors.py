"""What a config may hold, for editors."""

from typing import Any

from resexp.config.keys import SHORT
from resexp.config.models import AXES, Settings
from resexp.config.types import MAX_SEED, MAX_SEEDS, MAX_VALUES


def schema() -> dict[str, Any]:
    """JSON schema of a config for editors; axes may be lists."""
    document = Settings.model_json_schema()
    document["required"] = []
    for key in AXES:
        section, name = key.split(".")
        properties = document["$defs"][section.capitalize()]["properties"]
        field = properties[name]
        kept = {k: field.pop(k) for k in ("default", "title") if k in field}
        properties[name] = {**kept, "anyOf": [field, _list_of(field, MAX_VALUES)]}
    # A key written without its section; the file then must not contain the section.
    for short, key in SHORT.items():
        section = key.split(".")[0]
        document["properties"][short] = document["$defs"][section.capitalize()]["properties"][short]
        document.setdefault("dependentSchemas", {})[short] = {"not": {"required": [section]}}
    seed = {"type": "integer", "minimum": 0, "maximum": MAX_SEED}
    number = {"type": "integer", "minimum": 1, "maximum": MAX_SEEDS}
    document["properties"]["seeds"] = {"anyOf": [number, _list_of(seed, MAX_SEEDS)]}
    return document


def _list_of(items: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}
