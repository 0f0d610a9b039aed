"""JSON for programs: one object per command, which begins with the name and the version of its schema."""

import json
import math
from collections.abc import Mapping
from typing import Any

VERSION = 1


def schema_name(command: str) -> str:
    """'resexp.compare/1'."""
    return f"resexp.{command}/{VERSION}"


def document(command: str, content: Mapping[str, Any]) -> str:
    """The output of a command as JSON; null for numbers that are not finite. `schemas.DOCUMENTS` has the types."""
    return json.dumps({"schema": schema_name(command), **finite(dict(content))}, indent=1) + "\n"


def finite(value: Any) -> Any:
    """The same value with None for NaN and infinity, and lists for tuples."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
