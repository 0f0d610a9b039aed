"""The grammar of what is expected: `--expect`, `compare.primary`, files of claims and published windows.

    test_accuracy: identity > plain + 0.01 @ 95% at depth=64, norm=layer
    test_error: 0.08 < identity < 0.088 at data.name=cifar10
    steps_to_loss(0.5): residual > plain

MEASURE: SIDE SIGN SIDE [SIGN SIDE] [@ LEVEL%] [at KEY=VALUE, ...]. A side is an arm, a number, or an arm plus or minus a
number; `residual` is each arm with a shortcut in turn. With a level the bound of the paired interval must hold, not the mean
alone. It must hold in every cell that is compared, or in those named; depth=deepest is the deepest, depth=shallowest the other
end.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from resexp.config.documents import ConfigError, nearest
from resexp.config.models import AXES

MEASURES = (
    "test_accuracy", "best_test_accuracy", "train_accuracy", "val_accuracy", "test_error", "train_error", "val_error",
    "test_loss", "train_loss", "slope_start", "slope_end", "trained", "degradation", "parameters", "multiply_adds",
    "step_seconds", "epoch_seconds", "memory_bytes", "activation_bytes", "steps_to_loss", "time_to_loss",
)  # fmt: skip
WITH_NUMBER = ("steps_to_loss", "time_to_loss")
ANY_RESIDUAL = "residual"
LONGEST = 1000  # letters of an expectation

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_MEASURE = re.compile(rf"\s*([a-z_]+)\s*(?:\(\s*({NUMBER})\s*\))?\s*:\s*(.*)", re.DOTALL)
_SIDE = re.compile(rf"\s*(?:({NUMBER})|([A-Za-z][\w.-]*)(?:\s+([-+])\s+(\d[\w.+-]*))?)\s*")
Wrong = Callable[[str], ConfigError]
_SHORT = {key.split(".")[1]: key for key in AXES}


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
    if len(text) > LONGEST:
        raise wrong(f"an expectation of {len(text):,} letters")
    found = _MEASURE.fullmatch(text)
    if not found:
        raise wrong(f"{shown!r} has no measure and colon")
    measure, number, rest = found.groups()
    if measure not in MEASURES:
        raise ConfigError(f"{measure!r} is not one of {', '.join(MEASURES)}{nearest(measure, MEASURES)}", where=where)
    if (number is not None) != (measure in WITH_NUMBER):
        raise wrong(f"{measure} {'takes no number' if number else 'needs a number, such as ' + measure + '(0.5)'}")
    body, cells = ([*re.split(r"\bat\b", rest, maxsplit=1), ""])[:2]
    sides, level = ([*body.split("@", 1), ""])[:2]
    relations = _relations(sides, wrong)
    if not any(side.arm for relation in relations for side in (relation.left, relation.right)):
        raise wrong(f"{shown!r} names no arm")
    if "@" in body and not _level(level):
        raise wrong(f"{level.strip()!r} is no level between 50% and 100%")
    return Expectation(
        shown, measure, None if number is None else float(number), relations, _level(level), _where(cells, wrong)
    )


def _relations(text: str, wrong: Wrong) -> tuple[Relation, ...]:
    parts = re.split(r"(>=|<=|>|<)", text)
    if len(parts) not in (3, 5):
        raise wrong(f"{text.strip()!r} has {'no' if len(parts) == 1 else 'too many'} signs of > >= < <=")
    sides = [_side(part, wrong) for part in parts[::2]]
    return tuple(Relation(sides[at], sign, sides[at + 1]) for at, sign in enumerate(parts[1::2]))


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


def _where(text: str, wrong: Wrong) -> tuple[tuple[str, str], ...]:
    found = []
    for part in filter(None, re.split(r"[,\s]+", text)):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise wrong(f"{part!r} is no key=value")
        if "." not in key and key not in _SHORT:
            raise ConfigError(f"{key!r} is not one of {', '.join(_SHORT)}, or a dotted key{nearest(key, _SHORT)}", where="at")
        found.append((_SHORT.get(key, key), value))
    return tuple(found)
