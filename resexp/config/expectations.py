"""The grammar of hypotheses: `--expect`, `compare.primary`, claims files and published acceptance ranges.

    test_accuracy: identity > plain + 0.01 @ 95% at depth=64, norm=layer
    test_error: 0.08 < identity < 0.088 at data.name=cifar10
    steps_to_loss(0.5): residual > plain
    trainability: distance > growth @ 95%

MEASURE: SIDE SIGN SIDE [SIGN SIDE] [@ LEVEL%] [at KEY=VALUE, ...]. A side is an arm, a number, or an arm plus or minus a
number. `residual` means each arm with a shortcut. With a level, the relation must hold for the bound of the paired confidence
interval at that level; without one, it must hold for the mean. It must hold in every cell that is compared, or in the cells
after `at`. depth=deepest and depth=shallowest name the greatest and the smallest depth. A list has no spaces:
training.milestones=[32000,48000].

The sides of trainability are predictors instead of arms: the value of one is its rank correlation with training accuracy, over
the arms of all cells.
"""

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from resexp import renamed
from resexp.config.keys import SHORT
from resexp.config.models import AXES, DataSettings, NetworkSettings, TrainingSettings
from resexp.config.parsing import ConfigError, did_you_mean
from resexp.config.types import Model

MEASURES = (
    "test_accuracy", "best_test_accuracy", "train_accuracy", "val_accuracy", "test_error", "train_error", "val_error",
    "test_loss", "train_loss", "slope_start", "slope_end", "gradient_growth", "above_chance", "degradation", "parameters",
    "multiply_adds", "step_seconds", "epoch_seconds", "memory_bytes", "activation_bytes", "steps_to_loss", "time_to_loss",
    "lr_exponent", "trainability",
)  # fmt: skip
TRAINABILITY = "trainability"  # its sides are predictors
PREDICTORS = ("distance", "growth", "loss")
WITH_NUMBER = ("steps_to_loss", "time_to_loss")
ANY_RESIDUAL = "residual"
MAX_LENGTH = 1000  # characters of a hypothesis

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_MEASURE = re.compile(r"\s*([\w.-]+)\s*(?:\(([^()]*)\))?\s*:(.*)", re.DOTALL)
_SIDE = re.compile(rf"\s*(?:({NUMBER})|([A-Za-z][\w.-]*)(?:\s+([-+])\s+(\.?\d[\w.+-]*))?)\s*")
_AT = re.compile(r"\sat(?:\s+|$)")
_SEPARATORS = re.compile(r"[,\s]+(?![^\[]*\])")  # not inside a list
ErrorFactory = Callable[[str], ConfigError]
_SECTIONS: dict[str, type[Model]] = {"data": DataSettings, "network": NetworkSettings, "training": TrainingSettings}
_TOP_LEVEL = ("precision", "compile", "deterministic", "device", "images")  # keys of a cell outside all sections
_KEYS = (*(f"{name}.{key}" for name, section in _SECTIONS.items() for key in section.model_fields), *_TOP_LEVEL)
_SHORT_AXES = tuple(key.split(".")[1] for key in AXES if key != "network.shortcut")  # the shortcut is the arm


@dataclass(frozen=True)
class Side:
    """The value of an arm, or of a predictor of trainability, plus `offset`; without an arm, only the number."""

    arm: str | None
    offset: float


@dataclass(frozen=True)
class Relation:
    """left > right, or with >=, < or <=."""

    left: Side
    sign: str
    right: Side


@dataclass(frozen=True)
class Expectation:
    """One hypothesis. `level` is a confidence level or None; `where` has dotted keys and values that select cells."""

    text: str
    measure: str
    number: float | None
    relations: tuple[Relation, ...]
    level: float | None
    where: tuple[tuple[str, str], ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The named arms without duplicates."""
        sides = (side for relation in self.relations for side in (relation.left, relation.right))
        return tuple(dict.fromkeys(side.arm for side in sides if side.arm is not None))


def parse_expectation(text: str, where: str = "--expect", table: tuple[str, Collection[str]] | None = None) -> Expectation:
    """The hypothesis that a text states.

    table: the metric of results from a file, also called `metric`, and the columns that may follow `at`.

    Raises:
        ConfigError: with `where`, the part that cannot be parsed, and an example.
    """

    def error(problem: str) -> ConfigError:
        return ConfigError(
            f"{problem}; write, for example, 'test_accuracy: identity > plain + 0.01 @ 95% at depth=64'", where=where
        )

    one_line = " ".join(text.split())
    if len(text) > MAX_LENGTH:
        raise error(f"has {len(text):,} characters, more than the limit of {MAX_LENGTH:,}")
    match = _MEASURE.fullmatch(text)
    if not match:
        raise error(f"{one_line!r} does not begin with a measure and a colon")
    measure, number, rest = match.groups()
    if table is None and measure in renamed.MEASURES:
        raise ConfigError(f"{measure} is now {renamed.MEASURES[measure]}", where=where)
    measures = MEASURES if table is None else tuple(dict.fromkeys((table[0], "metric")))
    if measure not in measures:
        raise ConfigError(f"{measure!r} is not one of {', '.join(measures)}{did_you_mean(measure, measures)}", where=where)
    body, *cells = _AT.split(rest, maxsplit=1)
    sides, level = ([*body.split("@", 1), ""])[:2]
    relations = _relations(sides, error)
    if "@" in body and not _level(level):
        raise error(f"{level.strip()!r} is not a level from 50% to below 100%")
    selection = _where(cells[0], where, error, None if table is None else table[1]) if cells else ()
    expectation = Expectation(one_line, measure, _number(measure, number, error), relations, _level(level), selection)
    if table is None:  # arms of a file have any name
        _check_arms(expectation, where)
    return expectation


def _check_arms(expectation: Expectation, where: str) -> None:
    for name in expectation.arms:
        if expectation.measure == TRAINABILITY and name not in PREDICTORS:
            problem = f"{name!r} is not one of the predictors {', '.join(PREDICTORS)}{did_you_mean(name, PREDICTORS)}"
            raise ConfigError(problem, where=where)
        if expectation.measure != TRAINABILITY and name in PREDICTORS:
            raise ConfigError(f"{name!r} is a predictor of {TRAINABILITY}, not an arm", where=where)


def _number(measure: str, text: str | None, error: ErrorFactory) -> float | None:
    if measure not in WITH_NUMBER:
        if text is not None:
            raise error(f"{measure} takes no number")
        return None
    number = float(text) if text is not None and re.fullmatch(rf"\s*{NUMBER}\s*", text) else math.nan
    if not math.isfinite(number):
        raise error(f"{measure} needs a number: {measure}(0.5)")
    return number


def _relations(text: str, error: ErrorFactory) -> tuple[Relation, ...]:
    parts = re.split(r"(>=|<=|>|<)", text)
    if len(parts) not in (3, 5):
        raise error(f"{text.strip()!r} contains {'none' if len(parts) == 1 else 'too many'} of > >= < <=")
    sides = [_side(part, error) for part in parts[::2]]
    relations = tuple(Relation(sides[index], sign, sides[index + 1]) for index, sign in enumerate(parts[1::2]))
    if any(relation.left.arm is None and relation.right.arm is None for relation in relations):
        raise error(f"{text.strip()!r} compares two numbers, and neither side is an arm")
    return relations


def _side(text: str, error: ErrorFactory) -> Side:
    match = _SIDE.fullmatch(text)
    if not match:
        raise error(f"{text.strip()!r} is neither an arm, nor a number, nor an arm plus or minus a number")
    number, arm, sign, offset = match.groups()
    try:
        value = float(number or f"{sign or ''}{offset or 0}")
    except ValueError:
        raise error(f"{offset!r} is not a number") from None
    if not math.isfinite(value):
        raise error(f"{text.strip()!r} is not finite")
    return Side(arm, value)


def _level(text: str) -> float | None:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    level = float(match[1]) / 100 if match else 0.0
    return level if 0.5 <= level < 1 else None


def _where(text: str, where: str, error: ErrorFactory, columns: Collection[str] | None) -> tuple[tuple[str, str], ...]:
    selection = []
    for part in _SEPARATORS.split(text.strip()):
        key, _, value = part.partition("=")
        if not key or not value:
            raise error(f"at: {part!r} is not of the form key=value")
        if columns is not None:
            if key not in columns:
                allowed = ", ".join(columns) or "none, because --by names no column"
                raise ConfigError(f"at: {key!r} is not one of {allowed}{did_you_mean(key, columns)}", where=where)
            selection.append((SHORT.get(key, key), value))
            continue
        if present := renamed.present_key(key):
            raise ConfigError(f"at: {key} is now {present}", where=where)
        dotted_key = SHORT.get(key, key)
        if dotted_key not in _KEYS or dotted_key == "network.shortcut":
            allowed = f"{', '.join([*_SHORT_AXES, *_TOP_LEVEL])}, or another key such as data.name"
            raise ConfigError(f"at: {key!r} is not one of {allowed}{did_you_mean(key, [*_SHORT_AXES, *_KEYS])}", where=where)
        selection.append((dotted_key, value))
    return tuple(selection)
