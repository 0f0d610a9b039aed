"""Overrides from the command line (`key=value`), and the same short forms in files.

A key may leave its section out where only one section has it: depth=8 is network.depth=8. Where a list is allowed, values with
commas between them are one: training.lr=0.1,0.01.
"""

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from resexp import renamed
from resexp.config.keys import KEYS, LISTS, MAPPINGS, SECTIONS, SHORT, TEXTS, is_float, key_meant
from resexp.config.parsing import MAX_DEPTH, ConfigError, parse_yaml

_ASSIGNMENT = re.compile(r"\s*[A-Za-z_][\w.-]*\s*=")


def written_out(raw: dict[str, Any], where: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """A file's values, and where each key is, with every section and every list: {depth: 8} becomes {network: {depth: 8}}.

    Raises:
        ConfigError: a short key in addition to its section; a decimal comma.
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


def joined(words: Sequence[str]) -> list[str]:
    """The overrides that a shell has split at spaces, whole again: ['lr', '=', '0.1,', '0.01'] becomes ['lr = 0.1, 0.01']."""
    overrides: list[str] = []
    for word in words:
        begun = overrides[-1] if overrides else ""
        is_open = ("=" not in begun and word.startswith("=")) or begun.endswith(("=", ",")) or _is_open(begun)
        if begun and is_open and not _ASSIGNMENT.match(word):
            overrides[-1] = f"{begun} {word}"
        else:
            overrides.append(word)
    return overrides


def _is_open(text: str) -> bool:
    return sum(map(text.count, "[{")) > sum(map(text.count, "]}"))


def lay_over(overrides: Sequence[str], raw: dict[str, Any], where: dict[str, str]) -> None:
    """Writes each override into `raw`, and into `where` which one it was.

    Raises:
        ConfigError: with the override, what is wrong with it and what to write.
    """
    before = ""
    for override in joined(overrides):
        source = f"override {override!r}"
        key, equals, text = (part.strip() for part in override.partition("="))
        if not equals or key.count(".") >= MAX_DEPTH or not re.fullmatch(r"[^\W\d][\w-]*(\.[^\W\d][\w-]*)*", key):
            raise ConfigError(f"is not an override: {_cure(override, before)}", where=source)
        if present := renamed.present_key(key):
            raise ConfigError(f"{key} is now {present}", where=source)
        key = SHORT.get(key, key)
        if not _is_known(key) and (meant := key_meant(key)):
            raise ConfigError(f"unknown key; did you mean {meant}?", key=key, where=source)
        _set(raw, key, _value(key, text, source))
        where[key] = source
        before = override


def _is_known(key: str) -> bool:
    return key in SECTIONS or any(f"{key}.".startswith(f"{known}.") for known in KEYS)


def _cure(override: str, before: str) -> str:
    """What to write instead of an argument that is not an override; `before`: the previous override."""
    name = re.match(r"[\w.-]*", override)
    key = key_meant(name[0]) if name else None
    before_key = before.partition("=")[0].strip()
    if name and key:
        return f"write {key}={override[name.end() :].lstrip(':= ') or 'VALUE'}"
    if SHORT.get(before_key, before_key) in LISTS:
        return f"write several values with commas between them, {before},{override}"
    return "write key=value, for example training.lr=0.01"


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    section = raw
    *parents, last = key.split(".")
    for parent in parents:
        inner = section.get(parent)
        section[parent] = section = dict(inner) if isinstance(inner, dict) else {}
    section[last] = value
    if key in ("training.steps", "training.epochs") and value is not None:  # naming one on the command line replaces the other
        section.pop("epochs" if last == "steps" else "steps", None)


def _value(key: str, text: str, place: str) -> Any:
    """The value of a text in YAML, in which lists need no brackets, mappings no space after the colon, and words no quotes."""
    if key in TEXTS and text.lower() not in ("", "~", "null") and text[0] not in "'\"":
        return text  # YAML would read a colon as a mapping and # as a comment
    if key.startswith(MAPPINGS) and "{" in text:
        text = re.sub(r"(?<=\w):(?=\S)", ": ", text)
    if key in LISTS:
        text = re.sub(r"\((.*)\)", r"\1", text) if re.fullmatch(r"\(.*\)", text) else text  # a tuple, from Python
    pieces = _pieces(text) if key in LISTS else [text]
    if len(pieces) > 1:
        _check_decimal_commas(key, pieces, place)
        text = f"[{text}]"
    return parse_yaml(text, place)[0]


def _pieces(text: str) -> list[str]:
    """The parts between the commas outside all brackets."""
    depths = accumulate((letter in "[{") - (letter in "]}") for letter in text)
    commas = [index for index, (letter, depth) in enumerate(zip(text, depths, strict=True)) if letter == "," and depth == 0]
    return [text[start + 1 : end] for start, end in pairwise([-1, *commas, len(text)])]


def _check_decimal_commas(key: str, pieces: list[str], place: str) -> None:
    """Refuses 0,01 and 1,000: one number in some locales, but two values here."""
    zeros = any(re.fullmatch(r"\s*0[0-9]+", piece) for piece in pieces[1:])
    pair = is_float(key) and len(pieces) == 2
    doubtful = zeros or (pair and re.fullmatch(r"[-+]?0", pieces[0]))
    if not doubtful or not all(re.fullmatch(r"[-+]?[0-9]+", piece.strip()) for piece in pieces):
        return
    if pair:
        cure = f"{'.'.join(pieces)} for one number" + ("" if zeros else f", [{','.join(pieces)}] for two")
    else:
        cure = "decimals with a point, as in 0.1,0.01" if is_float(key) else f"{''.join(pieces)} for one number"
    raise ConfigError(f"a comma separates values; write {cure}", key=key, where=place)
