"""A sentence that the tool prints, together with the condition under which it may be printed.

Module-level dicts of sentences make the templates enumerable: `benchmarks/sentences.py` lists them in docs/sentences.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """A template in the syntax of `str.format` and its condition; for a verdict, only additions to its rule."""

    text: str
    condition: str = ""

    def format(self, *values: object, **named: object) -> str:
        return self.text.format(*values, **named)


def grouped(kinds: Mapping[tuple[str, str], str]) -> list[str]:
    """(arm, condition) -> kind, as 'identity, gate: stable in all 4 conditions.': one line for arms with the same kinds."""
    by_arm: dict[str, dict[str, list[str]]] = {}
    for (arm, condition), kind in kinds.items():
        by_arm.setdefault(arm, {}).setdefault(kind, []).append(condition)
    arms: dict[str, list[str]] = {}
    for arm, conditions in by_arm.items():
        arms.setdefault(_kinds_text(conditions), []).append(arm)
    return [f"{', '.join(names)}: {text}." for text, names in arms.items()]


def _kinds_text(conditions: Mapping[str, Sequence[str]]) -> str:
    total = sum(map(len, conditions.values()))
    parts = [
        f"{kind}{counted_conditions(len(names), total, names[0], last=number == len(conditions))}"
        for number, (kind, names) in enumerate(conditions.items(), 1)
    ]
    return "; ".join(parts)


def counted_conditions(count: int, total: int, name: str, *, last: bool = True) -> str:
    """' in all 4 conditions', ' in 3 of 4 conditions', ' in 1 of 4 conditions (layer norm, He init)'; '' if there is only one.

    last: whether this is the last of several counts, which states the total.
    """
    if total == 1:
        return ""
    if count == total:
        return f" in all {total} conditions"
    return f" in {count}{f' of {total} conditions' if last else ''}{f' ({name})' if count == 1 else ''}"
