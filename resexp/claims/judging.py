"""An expectation and results -> a verdict for each arm that it is about, with its scope: the cells that were read, no more."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from resexp import config, inference
from resexp.claims.quantities import MEASURES, Cells, MeasuredValues
from resexp.config import ANY_RESIDUAL, Expectation, Relation, Side
from resexp.config.expectations import NUMBER
from resexp.runs import Results, TrialRecord

ENDS = {"deepest": max, "shallowest": min}
DIGITS = 12  # after the decimal point, beyond which a difference is rounding


class Verdict(StrEnum):
    """The verdict of results on an expectation; its scope, the number of configurations, is printed separately."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    UNDECIDED = "undecided"
    NOT_TESTED = "not tested"


RULES = {
    Verdict.SUPPORTED: "every configuration that matches the claim supports it",
    Verdict.NOT_SUPPORTED: (
        "in at least one configuration the data contradict the claim; if it states a confidence level, corrected over the "
        "configurations (Holm)"
    ),
    Verdict.UNDECIDED: "no configuration contradicts the claim, and at least one is undecided",
    Verdict.NOT_TESTED: "no configuration has everything that the claim names",
}
WORST = (Verdict.NOT_SUPPORTED, Verdict.UNDECIDED, Verdict.SUPPORTED)


@dataclass(frozen=True)
class CellVerdict:
    """One configuration: its verdict, and the number that decides it."""

    label: dict[str, str]
    verdict: Verdict
    evidence: str
    n: int


@dataclass(frozen=True)
class Judgment:
    """The verdict of one expectation, on one arm where it says `residual`: the worst of its configurations decides."""

    expectation: Expectation
    arm: str | None
    verdict: Verdict
    cells: tuple[CellVerdict, ...]
    images: tuple[str, ...]

    @property
    def scope(self) -> str:
        """'supported in 3, undecided in 1 of 4 configurations of digits, n = 5'."""
        if not self.cells:
            return "no configuration has everything that it names"
        verdicts = [place.verdict for place in self.cells]
        counts = [f"{kind} in {verdicts.count(kind)}" for kind in reversed(WORST) if kind in verdicts]
        seeds = sorted({place.n for place in self.cells if place.n})
        counted = f", n = {' or '.join(map(str, seeds))}" if seeds else ""
        several = f"{len(verdicts)} configuration{'' if len(verdicts) == 1 else 's'}"
        return f"{', '.join(counts)} of {several} of {', '.join(self.images)}{counted}"


def judge(expectation: Expectation, results: Results) -> list[Judgment]:
    """One verdict; for `residual` one for each arm with a shortcut.

    Raises:
        RunsError: a damaged log, where the measure reads one.
    """
    records = _named(expectation, results)
    folders = {record.folder for record in records}
    cells = [cell for cell in MEASURES[expectation.measure](results, expectation.number) if cell[2].folder in folders]
    if ANY_RESIDUAL not in expectation.arms:
        return [_judgment(expectation, None, cells)]
    residual = [record.trial.arm for record in records if record.trial.parameters_of is None]
    arms = [arm for arm in dict.fromkeys(residual) if arm not in ("plain", *expectation.arms)]
    bound = [replace(_judgment(_bound(expectation, arm), arm, cells), expectation=expectation) for arm in arms]
    return bound if any(of.cells for of in bound) else [_judgment(expectation, None, [])]


def primaries(results: Results) -> list[Judgment]:
    """Verdicts on the one contrast that each experiment names as confirmatory (`compare.primary`); all else is descriptive."""
    named = dict.fromkeys(experiment.shared.compare.primary for _, experiment in results.sources)
    return [of for text in named if text is not None for of in judge(config.parse_expectation(text), results)]


def _bound(expectation: Expectation, arm: str) -> Expectation:
    def side(of: Side) -> Side:
        return replace(of, arm=arm) if of.arm == ANY_RESIDUAL else of

    relations = tuple(Relation(side(of.left), of.sign, side(of.right)) for of in expectation.relations)
    return replace(expectation, relations=relations)


# ---- which cells ------------------------------------------------------------------------------------------------------------


def _named(expectation: Expectation, results: Results) -> list[TrialRecord]:
    """The trials of the cells that it names, of all where it names none; deepest is the deepest that the other keys leave."""
    found = list(results.records)
    for key, wanted in sorted(expectation.where, key=_is_end):
        if _is_end((key, wanted)):
            depths = [record.trial.settings.network.depth for record in found]
            found = [record for record, depth in zip(found, depths, strict=True) if depth == ENDS[wanted](depths)]
        else:
            found = [record for record in found if _is_value(record.conditions.get(key), wanted)]
    return found


def _is_end(of: tuple[str, str]) -> bool:
    return of[0] == "network.depth" and of[1] in ENDS


def _is_value(value: Any, wanted: str) -> bool:
    """Whether a condition is written so: as a cell names it, as Python prints it, or as any spelling of its number."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and re.fullmatch(NUMBER, wanted)
    return wanted in (config.format_value(value), str(value).replace(" ", "")) or (bool(number) and float(wanted) == value)


# ---- verdicts ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Test:
    """One relation in one configuration: verdict, the number in words, seeds; `against`: one-sided p that the relation holds.

    None where no level was asked for, or nothing is estimated from seeds.
    """

    verdict: Verdict
    words: str
    n: int
    against: float | None = None


def _judgment(expectation: Expectation, arm: str | None, cells: Cells) -> Judgment:
    tested = [(label, figures, record) for label, figures, record in cells if all(name in figures for name in expectation.arms)]
    tests = [
        [_relation(relation, figures, expectation.level) for relation in expectation.relations] for _, figures, _ in tested
    ]
    places = tuple(
        _cell_verdict(label, each) for (label, _, _), each in zip(tested, _corrected(tests, expectation.level), strict=True)
    )
    verdict = next((kind for kind in WORST if any(row.verdict == kind for row in places)), Verdict.NOT_TESTED)
    images = tuple(dict.fromkeys(record.trial.settings.data.name for _, _, record in tested))
    return Judgment(expectation, arm, verdict, places, images)


def _corrected(tests: Sequence[Sequence[_Test]], level: float | None) -> list[list[_Test]]:
    """With Holm's correction over all tests of all configurations: tests that are then not significant become undecided.

    Support needs no correction, because every configuration must support the claim.
    """
    against = [test.against for each in tests for test in each if test.against is not None]
    if level is None or len(against) < 2:
        return [list(each) for each in tests]
    holm = iter(inference.holm(against))

    def corrected(test: _Test) -> _Test:
        if test.against is None:
            return test
        p = next(holm)
        if test.verdict != Verdict.NOT_SUPPORTED or p <= (1 - level) / 2:
            return test
        return replace(
            test,
            verdict=Verdict.UNDECIDED,
            words=f"{test.words}; no longer significant after correction for {len(against)} tests (Holm)",
        )

    return [[corrected(test) for test in each] for each in tests]


def _cell_verdict(label: dict[str, str], tests: Sequence[_Test]) -> CellVerdict:
    verdict = next(kind for kind in WORST if any(test.verdict == kind for test in tests))
    return CellVerdict(label, verdict, "; ".join(dict.fromkeys(test.words for test in tests)), min(test.n for test in tests))


def _relation(relation: Relation, figures: dict[str, MeasuredValues], level: float | None) -> _Test:
    """Left minus right, with the sign chosen so that positive values agree with the claim."""
    sides = [figures[side.arm] if side.arm else None for side in (relation.left, relation.right)]
    turn = 1.0 if relation.sign.startswith(">") else -1.0
    loose = relation.sign.endswith("=")
    arms = [figure for figure in sides if figure is not None]
    shift = relation.left.offset - relation.right.offset
    if any(figure.single for figure in arms):
        return _by_ranges([figure.single if figure else (0.0, 0.0, 0.0) for figure in sides], shift, turn, loose=loose)
    if len({figure.depths for figure in arms}) > 1:
        words = f"between depths {', and '.join(' and '.join(map(str, figure.depths)) for figure in arms)}"
        return _Test(Verdict.UNDECIDED, words, 0)
    finished = set.intersection(*({*(figure.seeds or {}), *figure.lost} for figure in arms))
    seeds = sorted(seed for seed in finished if not any(seed in figure.lost for figure in arms))
    if len(seeds) < len(finished):
        words = f"no value at {len(finished) - len(seeds)} of {len(finished)} seeds, which diverged"
        return _Test(Verdict.UNDECIDED, words, len(seeds))
    mixed = any(figure.has_mixed_outcomes(seeds) for figure in arms)
    tests = []
    for ends in ((1, 1), (0, 2), (2, 0)):  # of the range that a value may have, if there is one
        left, right = (
            [figure.at(seed, end) if figure else 0.0 for seed in seeds] for figure, end in zip(sides, ends, strict=True)
        )
        tests.append(_by_seeds(left, right, shift, turn, level, loose=loose, mixed=mixed, paired=len(arms) > 1))
    first = tests[0]
    if any(test.verdict != first.verdict for test in tests):
        reason = "the logging interval" if any(figure.since for figure in arms) else "the quartiles of the times"
        return replace(first, verdict=Verdict.UNDECIDED, words=f"{first.words}; within {reason}")
    return replace(first, against=None if first.against is None else max(test.against or 0.0 for test in tests))


def _by_ranges(singles: Sequence[tuple[float, float, float] | None], shift: float, turn: float, *, loose: bool) -> _Test:
    """By values that are the same for all seeds; where they have a range (quartiles of times), the ranges must not overlap."""
    left, right = (end or (math.nan,) * 3 for end in singles)
    ends = (left[0] - right[2] + shift, left[2] - right[0] + shift)
    return _Test(_side_of_zero([turn * end for end in ends], loose=loose), f"{_written(left[1])} and {_written(right[1])}", 0)


def _written(value: float) -> str:
    """A count to the last one, a time with four digits."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"


def _by_seeds(
    left: Sequence[float], right: Sequence[float], shift: float, turn: float, level: float | None, *, loose: bool, mixed: bool,
    paired: bool,
) -> _Test:  # fmt: skip
    each = [a - b + shift for a, b in zip(left, right, strict=True)]
    if not each:
        return _Test(Verdict.UNDECIDED, "no seed in common", 0)
    n, neither = len(each), sum(map(math.isnan, each))
    if neither:
        return _Test(Verdict.UNDECIDED, f"neither arm reaches the loss at {neither} of {n} seeds", n)
    if any(map(math.isinf, each)):
        p = inference.mann_whitney([a + shift for a in left], right) / 2 if paired else 2.0**-n
        return _by_order([turn * value for value in each], p, level, loose=loose)
    found = inference.paired_difference(each, level or inference.LEVEL)
    words = f"{found.mean:+.4g}" + ("" if found.low is None else f" [{found.low:+.4g}, {found.high:+.4g}]")
    if level is None:
        return _Test(_side_of_zero([turn * found.mean], loose=loose), words, n)
    if mixed:
        return _Test(Verdict.UNDECIDED, "outcomes differ across the seeds of one arm, so there is no interval", n)
    if found.low is None or found.high is None or found.sd is None:
        return _Test(Verdict.UNDECIDED, f"{words}; one seed has no interval", n)
    verdict = _side_of_zero([turn * found.low, turn * found.high], loose=loose)
    return _Test(verdict, words, n, inference.p_below(turn * found.mean, found.sd, n))


def _by_order(turned: Sequence[float], p: float, level: float | None, *, loose: bool) -> _Test:
    """If an arm never reaches the loss at some seeds: only what is true at every seed counts.

    With a level also by p, one-sided: of an exact Mann-Whitney test between two arms, of a sign test against a number.
    """
    n = len(turned)
    words, verdict = (
        f"one arm never reaches the loss at {sum(map(math.isinf, turned))} of {n} seeds",
        _side_of_zero(turned, loose=loose),
    )
    if level is None:
        return _Test(verdict, words, n)
    if verdict != Verdict.UNDECIDED and p > (1 - level) / 2:
        return _Test(Verdict.UNDECIDED, f"{words}; {n} seeds are too few for {100 * level:g}%", n, 1.0)
    return _Test(verdict, words, n, p if verdict == Verdict.NOT_SUPPORTED else 1.0)


def _side_of_zero(turned: Sequence[float], *, loose: bool) -> Verdict:
    """Supported if all are above 0, not supported if none is; rounding residue (0.71 - 0.7 - 0.01) is 0."""
    values = [round(value, DIGITS) for value in turned]
    above = [value > 0 or (loose and value == 0) for value in values]
    if all(above):
        return Verdict.SUPPORTED
    below = [value < 0 or (not loose and value == 0) for value in values]
    return Verdict.NOT_SUPPORTED if all(below) else Verdict.UNDECIDED
