"""An expectation and results -> a verdict for each arm that it is about, with its scope: the cells that were read, no more."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from resexp import config, statistics
from resexp.claims.measures import MEASURES, Cells, Figures
from resexp.config import ANY_RESIDUAL, Expectation, Relation, Side
from resexp.config.expectations import NUMBER
from resexp.runs import Results, State

SUPPORTED, CONTRADICTED = "supported here", "contradicted here"
UNDECIDED, NOT_TESTED = "undecided", "not tested here"
WORST = (CONTRADICTED, UNDECIDED, SUPPORTED)
ENDS = {"deepest": max, "shallowest": min}
DIGITS = 12  # behind the point, beyond which a difference is rounding
SHORT = {CONTRADICTED: "contradicted", UNDECIDED: "undecided", SUPPORTED: "supported"}


@dataclass(frozen=True)
class Place:
    """One cell: its verdict, and the figure that it rests on."""

    label: dict[str, str]
    verdict: str
    words: str
    n: int


@dataclass(frozen=True)
class Judged:
    """The verdict of one expectation, on one arm where it says `residual`: contradicted in any cell it is contradicted."""

    expectation: Expectation
    arm: str | None
    verdict: str
    places: tuple[Place, ...]
    images: tuple[str, ...]

    @property
    def scope(self) -> str:
        """'supported in 3, undecided in 1 of 4 cells of digits, n = 5'."""
        if not self.places:
            return "no cell has all that it names"
        verdicts = [place.verdict for place in self.places]
        counts = [f"{SHORT[of]} in {verdicts.count(of)}" for of in reversed(WORST) if of in verdicts]
        seeds = sorted({place.n for place in self.places if place.n})
        counted = f", n = {' or '.join(map(str, seeds))}" if seeds else ""
        cells = f"{len(verdicts)} cell{'' if len(verdicts) == 1 else 's'}"
        return f"{', '.join(counts)} of {cells} of {', '.join(self.images)}{counted}"


def judge(expectation: Expectation, results: Results) -> list[Judged]:
    """One verdict; for `residual` one for each arm with a shortcut.

    Raises:
        RunsError: a damaged log, where the measure reads one.
    """
    states = _named(expectation, results)
    folders = {state.folder for state in states}
    cells = [cell for cell in MEASURES[expectation.measure](results, expectation.number) if cell[2].folder in folders]
    if ANY_RESIDUAL not in expectation.arms:
        return [_judged(expectation, None, cells)]
    residual = [state.trial.arm for state in states if state.trial.parameters_of is None]
    arms = [arm for arm in dict.fromkeys(residual) if arm not in ("plain", *expectation.arms)]
    bound = [replace(_judged(_bound(expectation, arm), arm, cells), expectation=expectation) for arm in arms]
    return bound if any(of.places for of in bound) else [_judged(expectation, None, [])]


def primaries(results: Results) -> list[Judged]:
    """Verdicts on the one contrast that each experiment names as confirmatory (`compare.primary`); all else is descriptive."""
    named = dict.fromkeys(experiment.shared.compare.primary for _, experiment in results.sources)
    return [of for text in named if text is not None for of in judge(config.parse_expectation(text), results)]


def _bound(expectation: Expectation, arm: str) -> Expectation:
    def side(of: Side) -> Side:
        return replace(of, arm=arm) if of.arm == ANY_RESIDUAL else of

    relations = tuple(Relation(side(of.left), of.sign, side(of.right)) for of in expectation.relations)
    return replace(expectation, relations=relations)


# ---- which cells ------------------------------------------------------------------------------------------------------------


def _named(expectation: Expectation, results: Results) -> list[State]:
    """The trials of the cells that it names, of all where it names none; deepest is the deepest that the other keys leave."""
    found = list(results.states)
    for key, wanted in sorted(expectation.where, key=_is_end):
        if _is_end((key, wanted)):
            depths = [state.trial.settings.network.depth for state in found]
            found = [state for state, depth in zip(found, depths, strict=True) if depth == ENDS[wanted](depths)]
        else:
            found = [state for state in found if _is_value(state.conditions.get(key), wanted)]
    return found


def _is_end(of: tuple[str, str]) -> bool:
    return of[0] == "network.depth" and of[1] in ENDS


def _is_value(value: Any, wanted: str) -> bool:
    """Whether a condition is written so: as a cell names it, as Python prints it, or as any spelling of its number."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and re.fullmatch(NUMBER, wanted)
    return wanted in (config.format_value(value), str(value)) or (bool(number) and float(wanted) == value)


# ---- verdicts ---------------------------------------------------------------------------------------------------------------


def _judged(expectation: Expectation, arm: str | None, cells: Cells) -> Judged:
    tested = [(label, figures, state) for label, figures, state in cells if all(name in figures for name in expectation.arms)]
    places = tuple(_place(expectation, label, figures) for label, figures, _ in tested)
    verdict = next((of for of in WORST if any(place.verdict == of for place in places)), NOT_TESTED)
    images = tuple(dict.fromkeys(state.trial.settings.data.name for _, _, state in tested))
    return Judged(expectation, arm, verdict, places, images)


def _place(expectation: Expectation, label: dict[str, str], figures: dict[str, Figures]) -> Place:
    found = [_relation(of, figures, expectation.level) for of in expectation.relations]
    verdict = next(of for of in WORST if any(each[0] == of for each in found))
    return Place(label, verdict, "; ".join(dict.fromkeys(words for _, words, _ in found)), min(n for _, _, n in found))


def _relation(relation: Relation, figures: dict[str, Figures], level: float | None) -> tuple[str, str, int]:
    """(verdict, the figure, seeds) of left minus right, turned so that more is what was expected."""
    sides = [figures[side.arm] if side.arm else None for side in (relation.left, relation.right)]
    turn = 1.0 if relation.sign.startswith(">") else -1.0
    loose = relation.sign.endswith("=")
    arms = [of for of in sides if of is not None]
    shift = relation.left.offset - relation.right.offset
    if any(of.single for of in arms):
        return _by_ranges([of.single if of else (0.0, 0.0, 0.0) for of in sides], shift, turn, loose=loose)
    if len({of.depths for of in arms}) > 1:
        return UNDECIDED, f"between depths {', and '.join(' and '.join(map(str, of.depths)) for of in arms)}", 0
    finished = set.intersection(*({*(of.seeds or {}), *of.lost} for of in arms))
    seeds = sorted(seed for seed in finished if not any(seed in of.lost for of in arms))
    if len(seeds) < len(finished):
        return UNDECIDED, f"no figure at {len(finished) - len(seeds)} of {len(finished)} seeds, which diverged", len(seeds)
    mixed = any(of.mixes(seeds) for of in arms)
    found = []
    for ends in ((1, 1), (0, 2), (2, 0)):  # of the range of times, if there is one
        left, right = ([_at(of, seed, end) for seed in seeds] for of, end in zip(sides, ends, strict=True))
        each = [a - b + shift for a, b in zip(left, right, strict=True)]
        found.append(_by_seeds(each, turn, level, loose=loose, mixed=mixed))
    verdict, words = found[0]
    if any(of != verdict for of, _ in found):
        verdict, words = UNDECIDED, f"{words}; within the quartiles of the times"
    return verdict, words, len(seeds)


def _at(figures: Figures | None, seed: int, end: int) -> float:
    return figures.seeds[seed] * figures.times[end] if figures and figures.seeds else 0.0


def _by_ranges(
    singles: Sequence[tuple[float, float, float] | None], shift: float, turn: float, *, loose: bool
) -> tuple[str, str, int]:
    """By figures that are the same for all seeds; where they have a range (quartiles of times), the ranges must not overlap."""
    left, right = (of or (math.nan,) * 3 for of in singles)
    ends = (left[0] - right[2] + shift, left[2] - right[0] + shift)
    return _side_of_zero([turn * of for of in ends], loose=loose), f"{_written(left[1])} and {_written(right[1])}", 0


def _written(value: float) -> str:
    """A count to the last one, a time with four digits."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"


def _by_seeds(each: Sequence[float], turn: float, level: float | None, *, loose: bool, mixed: bool) -> tuple[str, str]:
    if not each:
        return UNDECIDED, "no seed in common"
    neither = sum(map(math.isnan, each))
    if neither:
        return UNDECIDED, f"neither arm gets there at {neither} of {len(each)} seeds"
    if any(map(math.isinf, each)):
        return _by_order([turn * value for value in each], loose=loose)
    found = statistics.paired(each, level or statistics.LEVEL)
    words = f"{found.mean:+.4g}" + ("" if found.low is None else f" [{found.low:+.4g}, {found.high:+.4g}]")
    if level is None:
        return _side_of_zero([turn * found.mean], loose=loose), words
    if mixed:
        return UNDECIDED, "seeds of one arm end differently, so there is no interval"
    if found.low is None or found.high is None:
        return UNDECIDED, f"{words}; one seed has no interval"
    return _side_of_zero([turn * found.low, turn * found.high], loose=loose), words


def _by_order(turned: Sequence[float], *, loose: bool) -> tuple[str, str]:
    """Where an arm never gets there at some seeds: only what is so at every seed counts."""
    words = f"one arm never gets there at {sum(map(math.isinf, turned))} of {len(turned)} seeds"
    return _side_of_zero(turned, loose=loose), words


def _side_of_zero(turned: Sequence[float], *, loose: bool) -> str:
    """Supported where all lie above 0, contradicted where none does; what is left of rounding (0.71 - 0.7 - 0.01) is 0."""
    values = [round(value, DIGITS) for value in turned]
    above = [value > 0 or (loose and value == 0) for value in values]
    if all(above):
        return SUPPORTED
    below = [value < 0 or (not loose and value == 0) for value in values]
    return CONTRADICTED if all(below) else UNDECIDED
