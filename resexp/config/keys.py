"""The dotted keys of a config: short forms, lists, and suggestions for unknown keys."""

import re
from collections.abc import Sequence

from resexp.config.models import AXES, Settings
from resexp.config.parsing import closest
from resexp.config.synonyms import KEYS as SYNONYMS
from resexp.config.types import Model

SECTIONS: dict[str, type[Model]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Model)
}
KEYS = (
    *(name for name in Settings.model_fields if name not in SECTIONS),
    *(f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields),
)
_LAST = [key.rpartition(".")[2] for key in KEYS]
# Keys that may be written without their section, in files and in overrides: every name that occurs in one section only.
SHORT = {name: key for name, key in zip(_LAST, KEYS, strict=True) if "." in key and _LAST.count(name) == 1}
LISTS = (*AXES, "seeds", "training.betas", "training.milestones", "gradients.probes")
TEXTS = ("question", "data.root", "compare.primary")  # values that may be any text
MAPPINGS = ("network.shortcut", "network.activation", "training.warmup")  # values that are mappings


def is_float(key: str) -> bool:
    """Whether the value of a dotted key is a float."""
    section, _, name = key.rpartition(".")
    return section in SECTIONS and "float" in str(SECTIONS[section].model_fields[name].annotation)


def suggested_key(name: str) -> str | None:
    """The key that `name` probably means: in other spelling, in another section, or a term of another tool; else None."""
    dotted_keys = {_letters(key): key for key in KEYS}
    short_keys = {_letters(name): key for name, key in SHORT.items()}
    for word in (_letters(name), _letters(name.rpartition(".")[2])):
        for form in (word, f"{word}s", word.removesuffix("s")):
            if key := dotted_keys.get(form) or short_keys.get(form) or SYNONYMS.get(form):
                return key
    return None


def hint_for_unknown(keys: Sequence[str], fields: Sequence[str]) -> str:
    """The end of the message about an unknown key: a similar key; empty if there is none.

    Args:
        keys: the parts of the dotted key.
        fields: the allowed values of the last part.
    """
    dotted, section = ".".join(keys), ".".join(keys[:-1])
    if dotted in KEYS:  # a single part that contains a dot
        section, name = dotted.split(".")
        return f"; in a file write {section}: {{{name}: ...}}"
    near = closest(keys[-1], [*fields, *SHORT])
    meant = suggested_key(dotted) or (f"{section}.{near}".lstrip(".") if near in fields else SHORT.get(near or ""))
    if meant is None:
        return ""
    return f"; did you mean {meant.removeprefix(f'{section}.')}?"


def _letters(name: str) -> str:
    """A name in lower case without punctuation, so that Batch-Size equals batch_size."""
    return re.sub(r"[\W_]", "", name).lower()
