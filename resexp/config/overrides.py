"""Overrides from the command line (`key=value`), and the same short forms in files.

The section of a key is optional if only one section has the key: depth=8 is network.depth=8. If a key accepts a list,
comma-separated values are a list: training.lr=0.1,0.01.
"""

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from resexp import renamed
from resexp.config.keys import KEYS, LISTS, MAPPINGS, SECTIONS, SHORT, TEXTS, is_float, suggested_key
from resexp.config.parsing import MAX_DEPTH, ConfigError, parse_yaml

_ASSIGNMENT = re.compile(r"\s*[A-Za-z_][\w.-]*\s*=")


def expand_keys(raw: dict[str, Any], where: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a file and the location of each key, with all sections and lists: {depth: 8} becomes {network: {depth: 8}}.

    Raises:
        ConfigError: a short key next to its section; a decimal comma.
    """
    values: dict[str, Any] = {key: value for key, value in raw.items() if key not in SHORT}
    for key in filter(SHORT.__contains__, raw):
        section, name = SHORT[key].split(".")
        if section in raw:
            raise ConfigError(f"is outside the section {section}; move it there", key=key, where=where[key])
        values.setdefault(section, {})[name] = raw[key]
    heads = {key: re.split(r"[.\[]", key, maxsplit=1)[0] for key in where}
    lines = {SHORT.get(head, head) + key[len(head) :]: where[key] for key, head in heads.items()}
    for key in LISTS:
        *sections, name = key.split(".")
        inner = values.get(sections[0]) if sections else values
        if isinstance(inner, dict) and isinstance(text := inner.get(name), str) and "," in text:
            inner[name] = _value(key, text, lines[key])
    return values, lines


def join_words(words: Sequence[str]) -> list[str]:
    """Overrides joined again after a shell has split them at spaces: ['lr', '=', '0.1,', '0.01'] becomes ['lr = 0.1, 0.01']."""
    overrides: list[str] = []
    for word in words:
        last = overrides[-1] if overrides else ""
        is_open = ("=" not in last and word.startswith("=")) or last.endswith(("=", ",")) or _is_open(last)
        if last and is_open and not _ASSIGNMENT.match(word):
            overrides[-1] = f"{last} {word}"
        else:
            overrides.append(word)
    return overrides


def _is_open(text: str) -> bool:
    return sum(map(text.count, "[{")) > sum(map(text.count, "]}"))


def apply_overrides(overrides: Sequence[str], raw: dict[str, Any], where: dict[str, str]) -> None:
    """Writes each override into `raw`, and the override itself into `where`.

    Raises:
        ConfigError: with the override, the problem and what to write.
    """
    previous = ""
    for override in join_words(overrides):
        source = f"override {override!r}"
        key, equals, text = (part.strip() for part in override.partition("="))
        if not equals or key.count(".") >= MAX_DEPTH or not re.fullmatch(r"[^\W\d][\w-]*(\.[^\W\d][\w-]*)*", key):
            raise ConfigError(f"is not an override: {_hint(override, previous)}", where=source)
        if present := renamed.present_key(key):
            raise ConfigError(f"{key} is now {present}", where=source)
        key = SHORT.get(key, key)
        if not _is_known(key) and (meant := suggested_key(key)):
            raise ConfigError(f"unknown key; did you mean {meant}?", key=key, where=source)
        _set(raw, key, _value(key, text, source))
        where[key] = source
        previous = override


def _is_known(key: str) -> bool:
    return key in SECTIONS or any(f"{key}.".startswith(f"{known}.") for known in KEYS)


def _hint(override: str, previous: str) -> str:
    """The advice for an argument that is not an override; `previous` is the override before it."""
    name = re.match(r"[\w.-]*", override)
    key = suggested_key(name[0]) if name else None
    previous_key = previous.partition("=")[0].strip()
    if name and key:
        return f"write {key}={override[name.end() :].lstrip(':= ') or 'VALUE'}"
    if SHORT.get(previous_key, previous_key) in LISTS:
        return f"separate several values with commas: {previous},{override}"
    return "write key=value, for example training.lr=0.01"


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    section = raw
    *parents, last = key.split(".")
    for parent in parents:
        inner = section.get(parent)
        section[parent] = section = dict(inner) if isinstance(inner, dict) else {}
    section[last] = value
    if key in ("training.steps", "training.epochs") and value is not None:  # the command line replaces the other key
        section.pop("epochs" if last == "steps" else "steps", None)


def _value(key: str, text: str, where: str) -> Any:
    """The value of a YAML text. Brackets of lists, spaces after colons and quotes are optional, depending on the key."""
    if key in TEXTS and text.lower() not in ("", "~", "null") and text[0] not in "'\"":
        return text  # YAML would read a colon as a mapping and # as a comment
    if key.startswith(MAPPINGS) and "{" in text:
        text = re.sub(r"(?<=\w):(?=\S)", ": ", text)
    if key in LISTS:
        text = re.sub(r"\((.*)\)", r"\1", text) if re.fullmatch(r"\(.*\)", text) else text  # a tuple, from Python
    pieces = _pieces(text) if key in LISTS else [text]
    if len(pieces) > 1:
        _check_decimal_commas(key, pieces, where)
        text = f"[{text}]"
    return parse_yaml(text, where)[0]


def _pieces(text: str) -> list[str]:
    """The parts of a text between commas that are outside all brackets."""
    depths = accumulate((letter in "[{") - (letter in "]}") for letter in text)
    commas = [index for index, (letter, depth) in enumerate(zip(text, depths, strict=True)) if letter == "," and depth == 0]
    return [text[start + 1 : end] for start, end in pairwise([-1, *commas, len(text)])]


def _check_decimal_commas(key: str, pieces: list[str], where: str) -> None:
    """Refuses 0,01 and 1,000, which are one number in some locales but two values here."""
    zeros = any(re.fullmatch(r"\s*0[0-9]+", piece) for piece in pieces[1:])
    pair = is_float(key) and len(pieces) == 2
    ambiguous = zeros or (pair and re.fullmatch(r"[-+]?0", pieces[0]))
    if not ambiguous or not all(re.fullmatch(r"[-+]?[0-9]+", piece.strip()) for piece in pieces):
        return
    if pair:
        hint = f"{'.'.join(pieces)} for one number" + ("" if zeros else f", [{','.join(pieces)}] for two")
    else:
        hint = "decimals with a point, as in 0.1,0.01" if is_float(key) else f"{''.join(pieces)} for one number"
    raise ConfigError(f"a comma separates values; write {hint}", key=key, where=where)
