"""What came out of a repetition, in lines for a terminal. No torch."""

from collections import Counter
from collections.abc import Iterable, Sequence

from resexp.reproduction.verdicts import (
    DIFFERENT,
    IDENTICAL,
    ROUNDED,
    VERDICTS,
    PredictionInterval,
    ReproducedArm,
    Reproduction,
    worst,
)
from resexp.runs import Outcome


def lines(found: Reproduction) -> list[str]:
    """What `compare` found: one line when all is identical, else those of each arm; then the environment."""
    head = f"{found.name}: {found.verdict}: {sum(len(arm.repeats) for arm in found.arms)} of {found.finished} trials"
    if found.verdict == IDENTICAL:
        text = [f"{head}, byte for byte"]
    else:
        counts = Counter(arm.verdict for arm in found.arms)
        text = [f"{head}, of {len(found.arms)} arms {_listed(counts, VERDICTS)}"] if found.arms else [head]
        wide = max((len(arm.name) for arm in found.arms), default=0)
        for cell in dict.fromkeys(arm.cell for arm in found.arms):
            text += ["", cell, *(line for arm in found.arms if arm.cell == cell for line in _arm(arm, wide))]
        text += _legend([of for arm in found.arms for of in arm.intervals])
    text += ["", "environment: nothing differs"] if not found.environment else ["", "environment:"]
    return text + [f"  {what}: {before}, again {again}" for what, before, again in found.environment]


def _listed(counts: Counter[str], order: Iterable[str]) -> str:
    return ", ".join(f"{counts[key]} {key}" for key in order if counts[key])


def _arm(arm: ReproducedArm, wide: int) -> list[str]:
    own = worst(of.verdict for of in arm.repeats)
    figures = [_rounding(arm)] if own == ROUNDED else _outcomes(arm) if own == DIFFERENT else []
    figures += [_figures(of) for of in arm.intervals]
    head, *more = figures or [""]
    place = f"  {'':<{wide}}  {'':<{len(VERDICTS[2])}}  "
    return [f"  {arm.name:<{wide}}  {arm.verdict:<{len(VERDICTS[2])}}  {head}".rstrip(), *(f"{place}{line}" for line in more)]


def _rounding(arm: ReproducedArm) -> str:
    deviation, files = max(of.deviation for of in arm.repeats), {name for of in arm.repeats for name in of.files}
    weights = files != set() and all(name.endswith(".pt") for name in files)
    return f"losses to {deviation:.0e}" if deviation else "all but the weights" if weights else "losses to the last digit"


def _outcomes(arm: ReproducedArm) -> list[str]:
    step = min((of.apart for of in arm.repeats if of.apart is not None), default=None)
    text = [f"losses apart from step {step} on"] if step is not None else []
    one, other = (Counter(outcomes) for outcomes in zip(*(of.outcomes for of in arm.repeats), strict=True))
    if {*one, *other} != {Outcome.ABOVE_CHANCE}:
        text.append(f"{_listed(one, Outcome)}, again {_listed(other, Outcome)}")
    return text + ["one seed, no interval"] * (len(arm.repeats) == 1)


def _figures(of: PredictionInterval) -> str:
    sign = "" if of.what == "accuracy" else "+"
    before, again, low, high = (f"{100 * value:{sign}.1f}" for value in (of.before, of.again, of.low, of.high))
    return f"{of.what} {before}, again {again} ({low} to {high})"


def _legend(intervals: Sequence[PredictionInterval]) -> list[str]:
    missed = sum(not of.covered for of in intervals)
    text = ["", "Accuracies in percent; in brackets where 95 % of repetitions have their mean."] if intervals else []
    return [*text, f"{missed} of {len(intervals)} are missed; one in twenty is by chance."] if missed else text
