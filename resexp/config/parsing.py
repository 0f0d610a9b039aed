"""Strict YAML: predictable types, no duplicate keys, the line of every key.

A file may come from an untrusted source. Its size, depth and number of values are limited; aliases and tags are refused.
"""

import codecs
import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from resexp import renamed
from resexp.config.synonyms import VALUES

MAX_BYTES = 1_000_000  # of a file; larger than ten thousand seeds and a thousand values for each axis
MAX_VALUES = 50_000  # scalars, lists and mappings in a file
MAX_DEPTH = 8  # of nested mappings and lists; trial.yaml has 5
MAX_CHARACTERS = 100  # of a key
# Byte order marks, which PowerShell writes; longer ones come first.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str, kept: str = "") -> str:
    r"""`text` with characters that affect a terminal escaped, except those in `kept`: ESC becomes the 4 characters `\x1b`.

    Escaped are control characters, line breaks, changes of the writing direction, and unpaired surrogates.
    """
    return _CONTROLS.sub(lambda match: match[0] if match[0] in kept else ascii(match[0])[1:-1], text)


class ConfigError(Exception):
    """A config that cannot be used: the location, the problem, and how to fix it (exit code 2)."""

    def __init__(self, problem: str, key: str = "", where: str = "") -> None:
        super().__init__(problem, key, where)
        self.problem, self.key, self.where = problem, key, where

    def __str__(self) -> str:
        return escape_controls(": ".join(part for part in (self.where, self.key, self.problem) if part))


def did_you_mean(name: object, allowed: Iterable[str]) -> str:
    """'; did you mean X?' if an allowed name is close to `name`, else an empty text."""
    near = closest(name, allowed)
    return f"; did you mean {near}?" if near else ""


def closest(name: object, allowed: Iterable[str]) -> str | None:
    """The allowed name that is a synonym of `name` or most similar to it; None if none is close."""
    word, names = str(name)[:MAX_CHARACTERS].lower(), list(allowed)
    if VALUES.get(word) in names:
        return VALUES[word]
    return next(iter(difflib.get_close_matches(word, names, n=1, cutoff=0.5)), None)


class _CoreSchemaLoader(yaml.SafeLoader):
    """YAML 1.2 scalars: `1e-3` is a number, `no` and `off` are text, `1:30` and `010` are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own protocol
    where = ""
    depth = values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuses tags, deep nesting and too many values before any value is built."""
        event = self.peek_event()  # type: ignore[no-untyped-call] # PyYAML's stubs leave it out
        here = f"{self.where}:{event.start_mark.line + 1}"
        if getattr(event, "tag", None) is not None:
            raise ConfigError("tags (!...) are not supported; write the value without a tag", where=here)
        if self.depth > MAX_DEPTH:
            raise ConfigError(f"is not a config: nested deeper than {MAX_DEPTH} levels", where=here)
        if self.values == MAX_VALUES:
            raise ConfigError(f"is not a config: more than {MAX_VALUES} values", where=here)
        self.depth, self.values = self.depth + 1, self.values + 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


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
        ConfigError: invalid YAML, a duplicate key, a key that is not text, an alias, a tag, several documents, a limit.
    """
    try:
        loader = _CoreSchemaLoader(text)
        loader.where = where
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


def _check(node: yaml.Node, prefix: str, lines: dict[str, int], where: str, seen: set[int]) -> None:
    here = f"{where}:{node.start_mark.line + 1}"
    if id(node) in seen:
        raise ConfigError("aliases (*name) are not supported; repeat the value instead", key=prefix, where=here)
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):  # entries of a list may have the same keys
            _check(item, f"{prefix}[{index}]", lines, where, seen)
    elif isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag != "tag:yaml.org,2002:str" or len(key_node.value) > MAX_CHARACTERS:
                key_text = repr(key_node.value)[:60] if isinstance(key_node, yaml.ScalarNode) else "of several values"
                problem = f"key {key_text} is not text of at most {MAX_CHARACTERS} characters"
                raise ConfigError(problem, key=prefix, where=f"{where}:{line}")
            key = f"{prefix}.{key_node.value}" if prefix else str(key_node.value)
            if key in lines:
                raise ConfigError(
                    f"appears twice (first in line {lines[key]}); remove one of the two", key=key, where=f"{where}:{line}"
                )
            lines[key] = line
            _check(value_node, key, lines, where, seen)


def read_document(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The mapping in a YAML file and the lines of its keys.

    Raises:
        ConfigError: missing, a folder, unreadable, too large, not Unicode, not a mapping, or as `parse_yaml`.
    """
    try:
        if path.is_dir():
            raise ConfigError("is a folder; name a YAML file", where=str(path))
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"is larger than the limit of {MAX_BYTES} bytes for a config", where=str(path))
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise ConfigError("is not a text file (UTF-8 YAML expected); save it as UTF-8", where=str(path)) from None
    value, lines = parse_yaml(text, str(path))
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ConfigError("is not a config: a mapping of keys to values is expected", where=str(path))
    if renamed.is_layout_1(text):
        lines = {renamed.present_key(key) or key: line for key, line in lines.items()}
        return renamed.settings(value), lines
    return value, lines
