"""Hypothesis and results -> a verdict for each arm, with its scope: the configurations on which it was tested."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from resexp import config, inference
from resexp.claims.matching import matching_records
from resexp.claims.quantities import FILE_METRIC, MEASURES, UNITS, MeasuredCells, MeasuredValues, Unit
from resexp.comparison import trainability
from resexp.config import ANY_RESIDUAL, TRAINABILITY, Expectation, Relation, Side
from resexp.runs import Results, TrialRecord

DIGITS = 12  # after the decimal point; smaller differences are rounding errors


class Verdict(StrEnum):
    """The verdict on a hypothesis; its scope, the number of configurations, is printed separately."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    UNDECIDED = "undecided"
    NOT_TESTED = "not tested"


RULES = {
    Verdict.SUPPORTED: "every configuration that matches the claim supports it",
    Verdict.NOT_SUPPORTED: "the data contradict the claim in at least one configuration (after Holm if it states a level)",
    Verdict.UNDECIDED: "no configuration contradicts the claim, and at least one is undecided",
    Verdict.NOT_TESTED: "no configuration has everything that the claim names",
}
WORST_FIRST = (Verdict.NOT_SUPPORTED, Verdict.UNDECIDED, Verdict.SUPPORTED)


@dataclass(frozen=True)
class CellVerdict:
    """The verdict in one configuration; evidence: the numbers that decide it; n: number of seeds."""

    label: dict[str, str]
    verdict: Verdict
    evidence: str
    n: int


@dataclass(frozen=True)
class Judgment:
    """The verdict on a hypothesis (for one arm if it names `residual`): the worst verdict of its configurations.

    over: the number of configurations that one verdict covers, if it is about all of them together.
    """

    expectation: Expectation
    arm: str | None
    verdict: Verdict
    cells: tuple[CellVerdict, ...]
    images: tuple[str, ...]
    over: int | None = None

    @property
    def scope(self) -> str:
        """'supported in 3, undecided in 1 of 4 configurations of digits, n = 5', 'over 4 configurations of digits, n = 5'."""
        if not self.cells:
            return "no configuration has everything that the claim names"
        verdicts = [cell.verdict for cell in self.cells]
        seeds = sorted({cell.n for cell in self.cells if cell.n})
        n = f", n = {' or '.join(map(str, seeds))}" if seeds else ""
        total = self.over or len(verdicts)
        configurations = f"{total} configuration{'' if total == 1 else 's'} of {', '.join(self.images)}{n}"
        if self.over:
            return f"over {configurations}"
        counts = [f"{kind} in {verdicts.count(kind)}" for kind in reversed(WORST_FIRST) if kind in verdicts]
        return f"{', '.join(counts)} of {configurations}"


def judge(expectation: Expectation, results: Results) -> list[Judgment]:
    """One verdict, or one for each arm with a shortcut if the hypothesis names `residual`.

    Raises:
        RunsError: a damaged log that the measure needs.
    """
    records = matching_records(expectation, results)
    if expectation.measure == TRAINABILITY:
        return [_by_predictors(expectation, replace(results, records=tuple(records)))]
    folders = {record.folder for record in records}
    measure = MEASURES[expectation.measure] if results.table is None else FILE_METRIC
    cells = [cell for cell in measure(results, expectation.number) if cell[2].folder in folders]
    if ANY_RESIDUAL not in expectation.arms:
        return [_judgment(expectation, None, cells)]
    residual = [record.trial.arm for record in records if record.trial.parameters_of is None]
    arms = [arm for arm in dict.fromkeys(residual) if arm not in (results.baseline, *expectation.arms)]
    judgments = [replace(_judgment(_for_arm(expectation, arm), arm, cells), expectation=expectation) for arm in arms]
    return judgments if any(judgment.cells for judgment in judgments) else [_judgment(expectation, None, [])]


def primaries(results: Results) -> list[Judgment]:
    """Verdicts on the primary (confirmatory) hypothesis of each experiment, `compare.primary`; all else is exploratory."""
    texts = dict.fromkeys(experiment.shared.compare.primary for _, experiment in results.sources)
    expectations = [config.parse_expectation(text) for text in texts if text is not None]
    return [judgment for expectation in expectations for judgment in judge(expectation, results)]


def _for_arm(expectation: Expectation, arm: str) -> Expectation:
    """The hypothesis with an arm in the place of `residual`."""

    def with_arm(side: Side) -> Side:
        return replace(side, arm=arm) if side.arm == ANY_RESIDUAL else side

    relations = tuple(
        Relation(with_arm(relation.left), relation.sign, with_arm(relation.right)) for relation in expectation.relations
    )
    return replace(expectation, relations=relations)


# ---- trainability -----------------------------------------------------------------------------------------------------------


def _by_predictors(expectation: Expectation, results: Results) -> Judgment:
    """One verdict for all configurations together, because a correlation is over all of their arms."""
    arms = trainability(results)
    tests, over = [], None
    for relation in expectation.relations:
        left, right = relation.left.arm, relation.right.arm
        negated, name = left is None, left or right or ""
        correlation = arms.correlation(name, right if left else None, expectation.level or inference.LEVEL)
        if correlation is None:
            return Judgment(expectation, None, Verdict.NOT_TESTED, (), ())
        sign = 1.0 if relation.sign.startswith(">") else -1.0
        shift = relation.left.offset - relation.right.offset
        ends = [correlation.value] if expectation.level is None else [correlation.low, correlation.high]
        signed = [sign * ((-end if negated else end) + shift) for end in ends if end is not None]
        verdict = _side_of_zero(signed, loose=relation.sign.endswith("=")) if signed else Verdict.UNDECIDED
        plus = "+" if left and right else ""
        ends_text = "" if correlation.low is None else f" [{correlation.low:{plus}.2f}, {correlation.high:{plus}.2f}]"
        evidence = f"correlation {correlation.value:{plus}.2f}{ends_text}, {correlation.arms} arms"
        tests.append(_Test(verdict, evidence, min(arm.n for arm in arms.arms)))
        over = correlation.configurations
    cell = _cell_verdict({}, tests)
    images = tuple(dict.fromkeys(record.trial.settings.data.name for record in results.records))
    return Judgment(expectation, None, cell.verdict, (cell,), images, over)


# ---- verdicts ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Test:
    """One relation in one configuration: its verdict, the numbers that decide it, and the number of seeds.

    p: one-sided p-value of the relation; None without a level, or if nothing is estimated from seeds.
    """

    verdict: Verdict
    evidence: str
    n: int
    p: float | None = None


def _judgment(expectation: Expectation, arm: str | None, cells: MeasuredCells) -> Judgment:
    tested = [(label, arms, record) for label, arms, record in cells if all(name in arms for name in expectation.arms)]
    unit = UNITS.get(expectation.measure, Unit())
    tests = [
        [_relation(relation, arms, expectation.level, unit) for relation in expectation.relations] for _, arms, _ in tested
    ]
    verdicts = tuple(
        _cell_verdict(label, cell_tests)
        for (label, _, _), cell_tests in zip(tested, _corrected(tests, expectation.level), strict=True)
    )
    verdict = next((kind for kind in WORST_FIRST if any(cell.verdict == kind for cell in verdicts)), Verdict.NOT_TESTED)
    images = tuple(dict.fromkeys(_images(record) for _, _, record in tested))
    return Judgment(expectation, arm, verdict, verdicts, images)


def _images(record: TrialRecord) -> str:
    """The data set; of a run from a file, the file."""
    return record.trial.settings.data.name if "settings" in record.trial.model_fields_set else record.folder.parent.name


def _corrected(tests: Sequence[Sequence[_Test]], level: float | None) -> list[list[_Test]]:
    """With Holm's correction over all tests of all configurations; tests that are no longer significant become undecided.

    Support needs no correction, because every configuration must support the claim.
    """
    p_values = [test.p for cell_tests in tests for test in cell_tests if test.p is not None]
    if level is None or len(p_values) < 2:
        return [list(cell_tests) for cell_tests in tests]
    holm = iter(inference.holm(p_values))

    def corrected(test: _Test) -> _Test:
        if test.p is None:
            return test
        p = next(holm)
        if test.verdict != Verdict.NOT_SUPPORTED or p <= (1 - level) / 2:
            return test
        return replace(
            test,
            verdict=Verdict.UNDECIDED,
            evidence=f"{test.evidence}; no longer significant after correction for {len(p_values)} tests (Holm)",
        )

    return [[corrected(test) for test in cell_tests] for cell_tests in tests]


def _cell_verdict(label: dict[str, str], tests: Sequence[_Test]) -> CellVerdict:
    verdict = next(kind for kind in WORST_FIRST if any(test.verdict == kind for test in tests))
    evidence = "; ".join(dict.fromkeys(test.evidence for test in tests))
    return CellVerdict(label, verdict, evidence, min(test.n for test in tests))


def _relation(relation: Relation, measured: dict[str, MeasuredValues], level: float | None, unit: Unit) -> _Test:
    """Left minus right, with the sign chosen so that positive values agree with the claim."""
    sides = [measured[side.arm] if side.arm else None for side in (relation.left, relation.right)]
    sign = 1.0 if relation.sign.startswith(">") else -1.0
    loose = relation.sign.endswith("=")
    arms = [values for values in sides if values is not None]
    shift = relation.left.offset - relation.right.offset
    if any(values.single for values in arms):
        text = " and ".join(_number_text(values.single[1]) for values in arms if values.single) + unit.value
        ranges = [values.single if values else (0.0, 0.0, 0.0) for values in sides]
        return replace(_by_ranges(ranges, shift, sign, loose=loose), evidence=text)
    if len({values.depths for values in arms}) > 1:
        evidence = f"between depths {', and '.join(' and '.join(map(str, values.depths)) for values in arms)}"
        return _Test(Verdict.UNDECIDED, evidence, 0)
    finished = set.intersection(*({*(values.seeds or {}), *values.diverged} for values in arms))
    seeds = sorted(seed for seed in finished if not any(seed in values.diverged for values in arms))
    if len(seeds) < len(finished):
        evidence = f"no value at {len(finished) - len(seeds)} of {len(finished)} seeds, which diverged"
        return _Test(Verdict.UNDECIDED, evidence, len(seeds))
    mixed = any(values.has_mixed_outcomes(seeds) for values in arms)
    tests = []
    for ends in ((1, 1), (0, 2), (2, 0)):  # of the range of a value, if it has one
        left, right = (
            [values.at(seed, end) if values else 0.0 for seed in seeds] for values, end in zip(sides, ends, strict=True)
        )
        paired, negated = len(arms) > 1, sides[0] is None
        text = _measured_text(left, right, level, unit, paired=paired, negated=negated)
        text += f", margin {-shift * unit.factor + 0.0:.4g}" if paired and text else ""
        tests.append(_by_seeds(left, right, shift, sign, level, text, loose=loose, mixed=mixed, paired=paired))
    first = tests[0]
    if any(test.verdict != first.verdict for test in tests):
        reasons = {
            "the logging interval": any(values.earliest for values in arms),
            "the steps between learning rates": any(values.error for values in arms),
            "the quartiles of the times": True,
        }
        reason = next(text for text, applies in reasons.items() if applies)
        return replace(first, verdict=Verdict.UNDECIDED, evidence=f"{first.evidence}; undecided within {reason}")
    return replace(first, p=None if first.p is None else max(test.p or 0.0 for test in tests))


def _by_ranges(singles: Sequence[tuple[float, float, float] | None], shift: float, sign: float, *, loose: bool) -> _Test:
    """From values that are the same for all seeds; if they are ranges (quartiles of times), these must not overlap."""
    left, right = (single or (math.nan,) * 3 for single in singles)
    ends = (left[0] - right[2] + shift, left[2] - right[0] + shift)
    return _Test(_side_of_zero([sign * end for end in ends], loose=loose), "", 0)


def _number_text(value: float) -> str:
    """An integer with all digits, any other number with four significant digits."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"


def _measured_text(
    left: Sequence[float], right: Sequence[float], level: float | None, unit: Unit, *, paired: bool, negated: bool
) -> str:
    """'+9 points [+3.3, +14.7]' for the difference of two arms, '97.2% [96.1, 98.3]' for one arm; '' without finite values.

    negated: the left side is a number, so the value is that of the right side.
    """
    values = [(b - a if negated else a - b) * unit.factor for a, b in zip(left, right, strict=True)]
    if not values or not all(map(math.isfinite, values)):
        return ""
    difference = inference.paired_difference(values, level or inference.LEVEL)
    sign, name = ("+", unit.difference) if paired else ("", unit.value)
    ends = "" if difference.low is None else f" [{difference.low:{sign}.4g}, {difference.high:{sign}.4g}]"
    return f"{difference.mean:{sign}.4g}{name}{ends}"


def _by_seeds(
    left: Sequence[float], right: Sequence[float], shift: float, sign: float, level: float | None, evidence: str, *,
    loose: bool, mixed: bool, paired: bool,
) -> _Test:  # fmt: skip
    differences = [a - b + shift for a, b in zip(left, right, strict=True)]
    if not differences:
        return _Test(Verdict.UNDECIDED, "no seed in common", 0)
    n, unreached = len(differences), sum(map(math.isnan, differences))
    if unreached:
        return _Test(Verdict.UNDECIDED, f"neither arm reaches the loss at {unreached} of {n} seeds", n)
    if any(map(math.isinf, differences)):
        p = inference.mann_whitney([a + shift for a in left], right) / 2 if paired else 2.0**-n
        return _by_order([sign * value for value in differences], p, level, loose=loose)
    difference = inference.paired_difference(differences, level or inference.LEVEL)
    low, high = difference.low, difference.high
    if level is None:
        return _Test(_side_of_zero([sign * difference.mean], loose=loose), evidence, n)
    if mixed:
        return _Test(Verdict.UNDECIDED, "outcomes differ across the seeds of one arm, so there is no interval", n)
    if low is None or high is None or difference.sd is None:
        return _Test(Verdict.UNDECIDED, f"{evidence}; one seed has no interval", n)
    verdict = _side_of_zero([sign * low, sign * high], loose=loose)
    return _Test(verdict, evidence, n, inference.p_below(sign * difference.mean, difference.sd, n))


def _by_order(signed: Sequence[float], p: float, level: float | None, *, loose: bool) -> _Test:
    """If an arm never reaches the loss at some seeds, all seeds must agree.

    With a level, the one-sided p-value must agree as well: of an exact Mann-Whitney test between two arms, or of a sign test
    against a number.
    """
    n = len(signed)
    evidence = f"one arm never reaches the loss at {sum(map(math.isinf, signed))} of {n} seeds"
    verdict = _side_of_zero(signed, loose=loose)
    if level is None:
        return _Test(verdict, evidence, n)
    if verdict != Verdict.UNDECIDED and p > (1 - level) / 2:
        return _Test(Verdict.UNDECIDED, f"{evidence}; {n} seeds are too few for {100 * level:g}%", n, 1.0)
    return _Test(verdict, evidence, n, p if verdict == Verdict.NOT_SUPPORTED else 1.0)


def _side_of_zero(signed: Sequence[float], *, loose: bool) -> Verdict:
    """Supported if all values are above 0, not supported if none is; rounding errors (0.71 - 0.7 - 0.01) count as 0."""
    values = [round(value, DIGITS) for value in signed]
    above = [value > 0 or (loose and value == 0) for value in values]
    if all(above):
        return Verdict.SUPPORTED
    below = [value < 0 or (not loose and value == 0) for value in values]
    return Verdict.NOT_SUPPORTED if all(below) else Verdict.UNDECIDED
