"""Names of layout 1 and what they are called now: refused in a config, translated when an older results folder is read."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KEYS = {
    "network.gain": "network.init_scale",
    "network.zero_last": "network.zero_init_residual",
    "training.cohort": "training.stack",
}
OUTCOMES = {"trained": "above_chance", "stuck": "at_chance"}
FILES = {"dose.csv": "shortcut_scale.csv"}
COLUMNS = {"shortcut_scale.csv": {"dose": "scale"}, "lesion.csv": {"left": "without"}}
TAGS = {"gain": "scale", "zero-last-": "zero-init-residual-"}  # of an axis, in the names of trials and the labels of cells
MEASURES = {"trained": "above_chance"}  # of a hypothesis
_HEADER = re.compile(r"# layout 1\r?\n")


def is_layout_1(text: str) -> bool:
    """Whether a YAML text is the experiment.yaml of a folder in layout 1."""
    return _HEADER.match(text) is not None


def present_key(key: str) -> str | None:
    """The present name of a config key that was renamed, with or without its section; None for any other key."""
    return KEYS.get(key) or {old.split(".")[1]: new for old, new in KEYS.items()}.get(key)


def settings(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of an experiment or a trial, nested as in their file, under their present names."""
    for old, new in KEYS.items():
        section, name = old.split(".")
        inner = values.get(section)
        if isinstance(inner, dict) and name in inner:
            present = {new.split(".")[1] if key == name else key: value for key, value in inner.items()}
            values = {**values, section: present}
    compare = values.get("compare")
    if isinstance(compare, dict) and isinstance(compare.get("primary"), str):
        primary = re.sub(r"\w+", lambda word: _WORDS.get(word[0], word[0]), compare["primary"])
        values = {**values, "compare": {**compare, "primary": primary}}
    return values


def trial(values: dict[str, Any]) -> dict[str, Any]:
    """The content of a trial.yaml; one of layout 1 has keys that were renamed."""
    inner = values.get("settings")
    if not isinstance(inner, dict) or not any(_has(inner, key) for key in KEYS):
        return values
    return {**values, "settings": settings(inner), "name": label(str(values.get("name")))}


def _has(values: dict[str, Any], key: str) -> bool:
    section, name = key.split(".")
    return isinstance(values.get(section), dict) and name in values[section]


def record(name: str, content: Any) -> Any:
    """The content of a JSON file of a results folder, not yet validated; the same object if nothing was renamed."""
    try:
        if name == "result.json" and content["outcome"] in OUTCOMES:
            return {**content, "outcome": OUTCOMES[content["outcome"]], "trial": label(content["trial"])}
        if name == "plan.json" and "cohorts" in content:
            stacks = [
                {**stack, "name": label(stack["name"]), "trials": list(map(label, stack["trials"]))}
                for stack in content["cohorts"]
            ]
            return {**{key: value for key, value in content.items() if key != "cohorts"}, "stacks": stacks}
        if name == "pairs.json" and isinstance(content, list):
            differing = {"zero_last": "zero_init_residual"}
            return [
                {
                    **pair,
                    "cell": label(pair["cell"]),
                    "start_differs": [differing.get(key, key) for key in pair["start_differs"]],
                }
                for pair in content
            ]
    except (KeyError, TypeError):  # damaged: validation says how
        pass
    return content


def label(text: str) -> str:
    """The name of a trial or stack, or the label of a cell, with its present tags."""
    return _TAG.sub(lambda tag: TAGS[tag[0]], text)


def existing(path: Path) -> Path:
    """The path of a trial, checkpoint or log; the one of layout 1 if only that exists."""
    old_name = _PRESENT.sub(lambda name: _OLD[name[0]], path.name)
    if old_name != path.name and not path.exists() and (old := path.with_name(old_name)).exists():
        return old
    return path


def columns(name: str, header: Sequence[str]) -> list[str]:
    """The columns of a log under their present names."""
    return [COLUMNS.get(FILES.get(name, name), {}).get(column, column) for column in header]


_WORDS = {**MEASURES, **{old.split(".")[1]: new.split(".")[1] for old, new in KEYS.items()}}  # of a hypothesis
_TAG = re.compile(r"(?<![\w])(gain(?=[\d.])|zero-last-)")
_OLD = {new: old for old, new in {**TAGS, **FILES}.items()}
_PRESENT = re.compile(r"(?<![\w])(scale(?=[\d.])|zero-init-residual-|shortcut_scale\.csv$)")
