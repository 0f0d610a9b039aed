"""Values as JSON and YAML text, in the format of the files of runs/."""

import json
import math
import re
from typing import Any

import yaml


def to_json(value: object) -> str:
    return json.dumps(_finite(value), indent=1, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _PlainDumper(yaml.SafeDumper):
    """Lists of scalars stay on one line; floats are written so that every YAML reader sees a number."""


_PlainDumper.add_representer(
    list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)
)
_PlainDumper.add_representer(
    float,
    lambda dumper, value: dumper.represent_scalar(
        "tag:yaml.org,2002:float", text if "." in (text := repr(value)) or "n" in text else text.replace("e", ".0e")
    ),
)

# Quotes text that YAML 1.2 reads as a number (1e3); PyYAML by default does not.
_PlainDumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def to_yaml(value: object) -> str:
    """YAML with keys in their original order."""
    return yaml.dump(value, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=120)
