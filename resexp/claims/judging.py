"""An expectation and results -> a verdict for each arm that it is about, with its scope: the cells that were read, no more."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from resexp import config, statistics
from resexp.claims.measures import MEASURES, Cells, Figures
from resexp.config import ANY_RESIDUAL, Expectation, Relation, Side
from resexp.runs import Results, State

SUPPORTED, CONTRADICTED = "supported here", "contradicted here"
UNDECIDED, NOT_TESTED = "undecided", "not tested here"
WORST = (CONTRADICTED, UNDECIDED, SUPPORTED)
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
    cells = _wanted(MEASURES[expectation.measure](results, expectation.number), expectation, results)
    if ANY_RESIDUAL not in expectation.arms:
        return [_judged(expectation, None, cells)]
    arms = dict.fromkeys(arm for _, figures, _ in cells for arm in figures if arm != "plain" and not _is_control(arm, results))
    bound = [_judged(_bound(expectation, arm), arm, cells) for arm in arms]
    return [replace(of, expectation=expectation) for of in bound] or [_judged(expectation, None, [])]


def primaries(results: Results) -> list[Judged]:
    """Verdicts on the one contrast that each experiment names as confirmatory (`compare.primary`); all else is descriptive."""
    named = dict.fromkeys(experiment.shared.compare.primary for _, experiment in results.sources)
    return [of for text in named if text is not None for of in judge(config.parse_expectation(text), results)]


def _is_control(arm: str, results: Results) -> bool:
    return any(state.trial.arm == arm and state.trial.parameters_of is not None for state in results.states)


def _bound(expectation: Expectation, arm: str) -> Expectation:
    def side(of: Side) -> Side:
        return replace(of, arm=arm) if of.arm == ANY_RESIDUAL else of

    relations = tuple(Relation(side(of.left), of.sign, side(of.right)) for of in expectation.relations)
    return replace(expectation, relations=relations)


# ---- which cells ------------------------------------------------------------------------------------------------------------


def _wanted(cells: Cells, expectation: Expectation, results: Results) -> Cells:
    """The cells that it names; all of them where it names none."""
    depths = sorted({state.trial.settings.network.depth for state in results.states})
    ends = {"deepest": depths[-1:], "shallowest": depths[:1]}
    found = cells
    for key, wanted in expectation.where:
        depth = key == "network.depth" and wanted in ends
        values = {str(of) for of in ends[wanted]} if depth else {wanted}
        found = [cell for cell in found if _value(cell[2], key) & values]
    return found


def _value(state: State, key: str) -> set[str]:
    """How a condition may be written: as a cell names it, or as Python prints it."""
    if key not in state.conditions:
        return set()
    return {config.format_value(state.conditions[key]), str(state.conditions[key])}


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
    sides = [(figures[side.arm] if side.arm else None, side.offset) for side in (relation.left, relation.right)]
    turn = 1.0 if relation.sign.startswith(">") else -1.0
    loose = relation.sign.endswith("=")
    arms = [of for of, _ in sides if of is not None]
    shift = sides[0][1] - sides[1][1]
    if any(of.single for of in arms):
        return _by_ranges([of.single if of else (0.0, 0.0, 0.0) for of, _ in sides], shift, turn, loose=loose)
    seeds = set.intersection(*(set(of.seeds or {}) for of in arms))
    each = [_at(sides[0][0], seed) - _at(sides[1][0], seed) + shift for seed in sorted(seeds)]
    return (*_by_seeds(each, turn, level, loose=loose, mixed=any(of.mixed for of in arms)), len(each))


def _at(figures: Figures | None, seed: int) -> float:
    return figures.seeds[seed] if figures and figures.seeds else 0.0


def _by_ranges(
    singles: Sequence[tuple[float, float, float] | None], shift: float, turn: float, *, loose: bool
) -> tuple[str, str, int]:
    """By figures that are the same for all seeds; where they have a range (quartiles of times), the ranges must not overlap."""
    left, right = (of or (math.nan,) * 3 for of in singles)
    words = f"{left[1]:.6g} and {right[1]:.6g}"
    ends = sorted(turn * of for of in (left[0] - right[2] + shift, left[2] - right[0] + shift))
    if ends[0] > 0 or (loose and ends[0] >= 0):
        return SUPPORTED, words, 0
    if ends[1] < 0 or (not loose and ends[1] <= 0):
        return CONTRADICTED, words, 0
    return UNDECIDED, words, 0


def _by_seeds(each: Sequence[float], turn: float, level: float | None, *, loose: bool, mixed: bool) -> tuple[str, str]:
    if not each or any(math.isnan(value) for value in each):
        return UNDECIDED, "no figure at any seed" if not each else "reached by neither arm"
    turned = [turn * value for value in each]
    if any(math.isinf(value) for value in each):
        return _by_order(turned)
    found = statistics.paired(each, level or statistics.LEVEL)
    words = f"{found.mean:+.4g}" + ("" if found.low is None else f" [{found.low:+.4g}, {found.high:+.4g}]")
    if level is None:
        mean = turn * found.mean
        return (SUPPORTED if mean > 0 or (loose and mean >= 0) else CONTRADICTED), words
    if mixed:
        return UNDECIDED, "seeds of one arm end differently, so there is no interval"
    if found.low is None or found.high is None:
        return UNDECIDED, f"{words}; one seed has no interval"
    low, high = sorted((turn * found.low, turn * found.high))
    if low > 0 or (loose and low >= 0):
        return SUPPORTED, words
    return (CONTRADICTED if high < 0 or (not loose and high <= 0) else UNDECIDED), words


def _by_order(turned: Iterable[float]) -> tuple[str, str]:
    """Where an arm never gets there at some seeds: only what is so at every seed counts."""
    values = list(turned)
    words = f"one arm never gets there at {sum(map(math.isinf, values))} of {len(values)} seeds"
    if all(value > 0 for value in values):
        return SUPPORTED, words
    return (CONTRADICTED if all(value < 0 for value in values) else UNDECIDED), words
