"""Validation of a cell as `Settings`, with the errors of pydantic in plain words."""

import re
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from resexp.config.expectations import NUMBER
from resexp.config.keys import hint_for_unknown
from resexp.config.models import Settings
from resexp.config.parsing import ConfigError, did_you_mean
from resexp.config.types import CUSTOM_HINT, STORED

Problem = tuple[str, str]  # dotted key, message

_WORDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_unicode": "must be text without unpaired surrogates",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "finite_number": "must be a finite number",
    "too_short": "must have more entries",
}
_PRINTED = str.maketrans("\u2212\u2013\u2018\u2019\u201c\u201d", '--""""')  # typographic minus signs and quotes
_BOUNDS = {
    "greater_than": "must be greater than",
    "greater_than_equal": "must be at least",
    "less_than": "must be less than",
    "less_than_equal": "must be at most",
    "too_long": "may have no more entries than",
    "string_too_long": "may have no more characters than",
}


def validated(cell: dict[str, Any], *, stored: bool = False) -> Settings:
    """The cell as `Settings`; stored: whether it was checked before, so that custom names are allowed.

    Raises:
        ConfigError: the first invalid key, without file and line.
    """
    try:
        return Settings.model_validate(cell, context=STORED if stored else None)
    except ValidationError as error:
        key, problem = _translate(error.errors()[0])
        raise ConfigError(problem, key=key) from None


def _translate(error: ErrorDetails) -> Problem:
    keys = _known_path(error["loc"])
    key, value, kind, context = ".".join(keys), error["input"], error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return key, f"unknown key{hint_for_unknown(keys, _fields_at(keys[:-1]))}"
    if kind == "literal_error":
        allowed = _literals_at(keys)
        hint = CUSTOM_HINT if key in ("data.name", "network.norm", "network.init") else ""
        return key, f"{value_text(value)} is not one of {', '.join(allowed)}{did_you_mean(value, allowed) or hint}"
    if kind == "value_error":
        return key, f"{value_text(value)} {context['error']}"
    if kind == "model_type":
        return key, f"{value_text(value)} {_WORDS[kind]}, such as {key}.{_fields_at(keys)[0]}"
    if kind == "missing" and isinstance(error["loc"][-1], int):
        return key, f"{value_text(value)} {_WORDS['too_short']}"
    if kind == "missing":
        return key, "is missing"
    return key, broken_rule(error)


def broken_rule(error: ErrorDetails) -> str:
    """The message about a value that breaks a rule: '1.5 must be less than 1'."""
    kind = error["type"]
    context = error.get("ctx", {})
    bound = f"{_BOUNDS[kind]} {context.get('max_length', next(iter(context.values())))}" if kind in _BOUNDS else None
    value = error["input"]
    return f"{value_text(value)} {bound or _WORDS.get(kind, error['msg'].lower())}{_rewritten(value, kind)}"


def _rewritten(value: Any, kind: str) -> str:
    """'; write 0.9' for a number in another notation, and similar hints; empty if no value is likely."""
    if kind == "bool_type":
        return did_you_mean(value, ("true", "false"))
    if kind in ("int_type", "int_from_float") and isinstance(value, float) and value.is_integer():
        return f"; write {value:.0f}"
    if kind in ("int_type", "float_type") and isinstance(value, str):
        plain = value.translate(_PRINTED).strip(" '\"")
        if re.fullmatch(r"[-+]?[0-9]+(,[0-9]+)+", plain):
            return f"; write {plain.replace(',', '.' if kind == 'float_type' else '')}"
        if re.fullmatch(NUMBER, plain):
            return "; write it without quotes" if plain == value else f"; write {plain}"
        if kind == "int_type" and (several := re.fullmatch(r"([0-9]+)\W+([0-9]+)", plain)):
            return f"; write several values as {several[1]},{several[2]}"
        if plain.lower() == "none":
            return "; write null"
    return ""


def value_text(value: Any) -> str:
    text = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, bool | None) else repr(value)
    return str(text) if len(str(text)) <= 60 else f"{str(text)[:57]}..."


def _model_at(keys: Iterable[str]) -> type[BaseModel] | None:
    """The model at the dotted keys; None if a value is there."""
    model: type[BaseModel] | None = Settings
    for key in keys:
        field = model.model_fields.get(key) if model else None
        types = [field.annotation, *get_args(field.annotation)] if field else []
        model = next((kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return model


def _fields_at(keys: list[str]) -> list[str]:
    model = _model_at(keys)
    return list(model.model_fields) if model else []


def _known_path(location: tuple[int | str, ...]) -> list[str]:
    """The key as written in the file, without the union branch or list index that pydantic appends."""
    keys: list[str] = []
    for part in location:
        if not isinstance(part, str) or (keys and not _fields_at(keys)):
            break
        keys.append(part)
    return keys


def _literals_at(keys: list[str]) -> list[str]:
    model = _model_at(keys[:-1])
    annotation = model.model_fields[keys[-1]].annotation if model else None
    if get_origin(annotation) is tuple:
        annotation = get_args(annotation)[0]
    values = get_args(annotation) if get_origin(annotation) is Literal else ()
    return [str(value) for value in values]
