"""The grammar of what is expected: `--expect`, `compare.primary`, files of claims and published windows.

    test_accuracy: identity > plain + 0.01 @ 95% at depth=64, norm=layer
    test_error: 0.08 < identity < 0.088 at data.name=cifar10
    steps_to_loss(0.5): residual > plain

MEASURE: SIDE SIGN SIDE [SIGN SIDE] [@ LEVEL%] [at KEY=VALUE, ...]. A side is an arm, a number, or an arm plus or minus a
number; `residual` is each arm with a shortcut in turn. With a level the bound of the paired interval must hold, not the mean
alone. It must hold in every cell that is compared, or in those named; depth=deepest is the deepest, depth=shallowest the other
end. A list is written without spaces: training.milestones=[32000,48000].
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from resexp.config.keys import SHORT
from resexp.config.models import AXES, Data, Network, Training
from resexp.config.parsing import ConfigError, did_you_mean
from resexp.config.types import Model

MEASURES = (
    "test_accuracy", "best_test_accuracy", "train_accuracy", "val_accuracy", "test_error", "train_error", "val_error",
    "test_loss", "train_loss", "slope_start", "slope_end", "gradient_growth", "above_chance", "degradation", "parameters",
    "multiply_adds", "step_seconds", "epoch_seconds", "memory_bytes", "activation_bytes", "steps_to_loss", "time_to_loss",
)  # fmt: skip
WITH_NUMBER = ("steps_to_loss", "time_to_loss")
ANY_RESIDUAL = "residual"
MAX_LENGTH = 1000  # letters of an expectation

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_MEASURE = re.compile(r"\s*([\w.-]+)\s*(?:\(([^()]*)\))?\s*:(.*)", re.DOTALL)
_SIDE = re.compile(rf"\s*(?:({NUMBER})|([A-Za-z][\w.-]*)(?:\s+([-+])\s+(\.?\d[\w.+-]*))?)\s*")
_AT = re.compile(r"\sat(?:\s+|$)")
_SEPARATORS = re.compile(r"[,\s]+(?![^\[]*\])")  # none within a list
Wrong = Callable[[str], ConfigError]
_SECTIONS: dict[str, type[Model]] = {"data": Data, "network": Network, "training": Training}
_WHOLE = ("precision", "compile", "deterministic", "device", "images")  # keys of a cell in no section
_KEYS = (*(f"{name}.{key}" for name, section in _SECTIONS.items() for key in section.model_fields), *_WHOLE)
_NAMED = tuple(key.split(".")[1] for key in AXES if key != "network.shortcut")  # in an error; a shortcut is an arm


@dataclass(frozen=True)
class Side:
    """arm's figure plus `offset`; without an arm the number alone."""

    arm: str | None
    offset: float


@dataclass(frozen=True)
class Relation:
    """left > right, or with one of >= < <=."""

    left: Side
    sign: str
    right: Side


@dataclass(frozen=True)
class Expectation:
    """One expectation; `level` in (0, 1) or None; `where`: dotted key and value of the cells that it is about."""

    text: str
    measure: str
    number: float | None
    relations: tuple[Relation, ...]
    level: float | None
    where: tuple[tuple[str, str], ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that it names, each once."""
        sides = (side for relation in self.relations for side in (relation.left, relation.right))
        return tuple(dict.fromkeys(side.arm for side in sides if side.arm is not None))


def parse_expectation(text: str, where: str = "--expect") -> Expectation:
    """Reads one expectation.

    Raises:
        ConfigError: what cannot be read, where, and how it is written.
    """

    def wrong(problem: str) -> ConfigError:
        return ConfigError(f"{problem}; such as 'test_accuracy: identity > plain + 0.01 @ 95% at depth=64'", where=where)

    shown = " ".join(text.split())
    if len(text) > MAX_LENGTH:
        raise wrong(f"an expectation of {len(text):,} letters")
    found = _MEASURE.fullmatch(text)
    if not found:
        raise wrong(f"{shown!r} has no measure and colon")
    measure, number, rest = found.groups()
    if measure not in MEASURES:
        raise ConfigError(f"{measure!r} is not one of {', '.join(MEASURES)}{did_you_mean(measure, MEASURES)}", where=where)
    body, *cells = _AT.split(rest, maxsplit=1)
    sides, level = ([*body.split("@", 1), ""])[:2]
    relations = _relations(sides, wrong)
    if "@" in body and not _level(level):
        raise wrong(f"{level.strip()!r} is no level between 50% and 100%")
    named = _where(cells[0], where, wrong) if cells else ()
    return Expectation(shown, measure, _number(measure, number, wrong), relations, _level(level), named)


def _number(measure: str, text: str | None, wrong: Wrong) -> float | None:
    if measure not in WITH_NUMBER:
        if text is not None:
            raise wrong(f"{measure} takes no number")
        return None
    number = float(text) if text is not None and re.fullmatch(rf"\s*{NUMBER}\s*", text) else math.nan
    if not math.isfinite(number):
        raise wrong(f"{measure} needs a number: {measure}(0.5)")
    return number


def _relations(text: str, wrong: Wrong) -> tuple[Relation, ...]:
    parts = re.split(r"(>=|<=|>|<)", text)
    if len(parts) not in (3, 5):
        raise wrong(f"{text.strip()!r} has {'no' if len(parts) == 1 else 'too many'} signs of > >= < <=")
    sides = [_side(part, wrong) for part in parts[::2]]
    found = tuple(Relation(sides[at], sign, sides[at + 1]) for at, sign in enumerate(parts[1::2]))
    if any(of.left.arm is None and of.right.arm is None for of in found):
        raise wrong(f"{text.strip()!r} compares two numbers and no arm")
    return found


def _side(text: str, wrong: Wrong) -> Side:
    found = _SIDE.fullmatch(text)
    if not found:
        raise wrong(f"{text.strip()!r} is no arm, no number, and no arm plus or minus a number")
    number, arm, sign, offset = found.groups()
    try:
        value = float(number or f"{sign or ''}{offset or 0}")
    except ValueError:
        raise wrong(f"{offset!r} is no number") from None
    if not math.isfinite(value):
        raise wrong(f"{text.strip()!r} is not finite")
    return Side(arm, value)


def _level(text: str) -> float | None:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    level = float(found[1]) / 100 if found else 0.0
    return level if 0.5 <= level < 1 else None


def _where(text: str, where: str, wrong: Wrong) -> tuple[tuple[str, str], ...]:
    found = []
    for part in _SEPARATORS.split(text.strip()):
        key, _, value = part.partition("=")
        if not key or not value:
            raise wrong(f"at: {part!r} is no key=value")
        whole = SHORT.get(key, key)
        if whole not in _KEYS or whole == "network.shortcut":
            allowed = f"{', '.join([*_NAMED, *_WHOLE])}, or another key such as data.name"
            raise ConfigError(f"at: {key!r} is not one of {allowed}{did_you_mean(key, [*_NAMED, *_KEYS])}", where=where)
        found.append((whole, value))
    return tuple(found)
