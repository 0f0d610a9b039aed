"""The result of a reproduction, as lines for a terminal. No torch."""

from collections import Counter
from collections.abc import Iterable, Sequence

from resexp.reproduction.verdicts import PredictionInterval, ReproducedArm, Reproduction, ReproductionVerdict, worst
from resexp.runs import Outcome

VERDICT_WIDTH = max(map(len, ReproductionVerdict))


def lines(reproduction: Reproduction) -> list[str]:
    """One line if all results are identical, otherwise lines for each arm; then differences of the environments."""
    compared = sum(len(arm.repeats) for arm in reproduction.arms)
    head = f"{reproduction.name}: {reproduction.verdict}: {compared} of {reproduction.finished} trials"
    if reproduction.verdict is ReproductionVerdict.IDENTICAL:
        text = [f"{head}, byte for byte"]
    else:
        counts = Counter[str](arm.verdict for arm in reproduction.arms)
        arms = f"; {len(reproduction.arms)} arms: {_counted(counts, ReproductionVerdict)}"
        text = [f"{head}{arms if reproduction.arms else ''}"]
        width = max((len(arm.name) for arm in reproduction.arms), default=0)
        for cell in dict.fromkeys(arm.cell for arm in reproduction.arms):
            text += ["", cell, *(line for arm in reproduction.arms if arm.cell == cell for line in _arm(arm, width))]
        text += _legend([interval for arm in reproduction.arms for interval in arm.intervals])
    text += ["", "environment:" if reproduction.environment else "environment: no differences"]
    return text + [f"  {key}: {original}, again {rerun}" for key, original, rerun in reproduction.environment]


def _counted(counts: Counter[str], order: Iterable[str]) -> str:
    """'3 above chance, 1 diverged': the counts that are not 0, in the given order."""
    return ", ".join(f"{counts[key]} {key.replace('_', ' ')}" for key in order if counts[key])


def _arm(arm: ReproducedArm, width: int) -> list[str]:
    trials = worst(repeat.verdict for repeat in arm.repeats)
    reasons = []
    if trials is ReproductionVerdict.ROUNDED:
        reasons = [_rounding(arm)]
    elif trials is ReproductionVerdict.DIFFERENT:
        reasons = _outcomes(arm)
    head, *more = [*reasons, *map(_interval, arm.intervals)] or [""]
    indent = f"  {'':<{width}}  {'':<{VERDICT_WIDTH}}  "
    return [f"  {arm.name:<{width}}  {arm.verdict:<{VERDICT_WIDTH}}  {head}".rstrip(), *(f"{indent}{line}" for line in more)]


def _rounding(arm: ReproducedArm) -> str:
    deviation = max(repeat.deviation for repeat in arm.repeats)
    files = {name for repeat in arm.repeats for name in repeat.files}
    if deviation:
        return f"losses agree to {deviation:.0e}"
    only_weights = files != set() and all(name.endswith(".pt") for name in files)
    return "only the weights differ" if only_weights else "losses agree in all digits"


def _outcomes(arm: ReproducedArm) -> list[str]:
    step = min((repeat.differs_from for repeat in arm.repeats if repeat.differs_from is not None), default=None)
    text = [f"losses differ from step {step} on"] if step is not None else []
    original, rerun = (Counter(outcomes) for outcomes in zip(*(repeat.outcomes for repeat in arm.repeats), strict=True))
    if {*original, *rerun} != {Outcome.ABOVE_CHANCE}:
        text += [f"{_counted(original, Outcome)},", f"again {_counted(rerun, Outcome)}"]
    return text + ["one seed, so no interval"] * (len(arm.repeats) == 1)


def _interval(interval: PredictionInterval) -> str:
    sign = "" if interval.quantity == "accuracy" else "+"
    values = interval.original, interval.rerun, interval.low, interval.high
    original, rerun, low, high = (f"{100 * value:{sign}.1f}" for value in values)
    return f"{interval.quantity} {original}, again {rerun} ({low} to {high})"


def _legend(intervals: Sequence[PredictionInterval]) -> list[str]:
    if not intervals:
        return []
    outside = sum(not interval.covered for interval in intervals)
    text = [
        "",
        "Means over seeds: accuracies in percent, differences between arms in points.",
        "In parentheses: 95% prediction interval for the mean of a repetition.",
    ]
    return [*text, f"{outside} of {len(intervals)} means are outside; 1 in 20 is expected by chance."] if outside else text
