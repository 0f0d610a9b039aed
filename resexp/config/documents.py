"""YAML in, plain values out: no surprising types, no silent duplicates, and the line of every key."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml


class ConfigError(Exception):
    """A config that cannot be used: says where, what, what is allowed, how to mend it (exit code 2)."""

    def __init__(self, problem: str, key: str = "", where: str = "") -> None:
        super().__init__(problem, key, where)
        self.problem, self.key, self.where = problem, key, where

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.problem) if part)


def nearest(name: object, allowed: Iterable[str]) -> str:
    """'; did you mean X?' when one of the allowed names is close to `name`, else nothing."""
    close = difflib.get_close_matches(str(name).lower(), list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


class _CoreSchemaLoader(yaml.SafeLoader):
    """YAML 1.2 scalars: `1e-3` is a number, `no` and `off` are text, `1:30` and `010` are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own protocol


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _CoreSchemaLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


def parse_yaml(text: str, where: str) -> tuple[Any, dict[str, int]]:
    """The value of a YAML text, and the 1-based line of each dotted key.

    Raises:
        ConfigError: not YAML, a duplicate key, a key that is not text, an alias, more than one document.
    """
    try:
        loader = _CoreSchemaLoader(text)
        node = loader.get_single_node()
        lines: dict[str, int] = {}
        if node is None:
            return None, lines
        _check(node, "", lines, where, set())
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"not valid YAML: {error.problem or error.context}", where=f"{where}{line}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=where) from None
    except RecursionError:
        raise ConfigError("not a config: nested too deeply", where=where) from None


def _check(node: yaml.Node, prefix: str, lines: dict[str, int], where: str, seen: set[int]) -> None:
    here = f"{where}:{node.start_mark.line + 1}"
    if id(node) in seen:
        raise ConfigError("aliases (*name) are not supported; write the value out", key=prefix, where=here)
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):  # a key may stand once in each entry of a list
            _check(item, f"{prefix}[{place}]", lines, where, seen)
    elif isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag != "tag:yaml.org,2002:str":
                raise ConfigError(f"key {key_node.value!r} is not text", key=prefix, where=f"{where}:{line}")
            key = f"{prefix}.{key_node.value}" if prefix else str(key_node.value)
            if key in lines:
                raise ConfigError(f"stands twice (first in line {lines[key]})", key=key, where=f"{where}:{line}")
            lines[key] = line
            _check(value_node, key, lines, where, seen)


def read_document(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The mapping in a YAML file and the lines of its keys.

    Raises:
        ConfigError: missing, a folder, unreadable, not UTF-8, not a mapping, or as `parse_yaml`.
    """
    if path.is_dir():
        raise ConfigError("is a folder; a config is one YAML file", where=str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("is not a text file (UTF-8 YAML expected)", where=str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    value, lines = parse_yaml(text, str(path))
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ConfigError("is not a config: a mapping of keys to values is expected", where=str(path))
    return value, lines
