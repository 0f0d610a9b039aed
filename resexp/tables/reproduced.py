"""The result of `resexp reproduce`: one row for each arm, and differences of the environments."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from resexp.reproduction import PredictionInterval, ReproducedArm, Reproduction, ReproductionVerdict, worst
from resexp.runs import Outcome
from resexp.tables.labels import Labels, cell_text
from resexp.tables.model import Column, Part, Table, Tone

TONES = {ReproductionVerdict.DIFFERENT: Tone.BAD, ReproductionVerdict.WITHIN: Tone.OPEN}


def reproduced(reproduction: Reproduction, labels: Labels, *, show_arms: bool = False) -> list[Part]:
    """One line if all results are identical, otherwise a table of the arms; then differences of the environments.

    labels: of the cells, by their tags. show_arms: whether the table follows even if all results are identical.
    """
    compared = sum(len(arm.repeats) for arm in reproduction.arms)
    head = f"{reproduction.name}: {reproduction.verdict}: {compared} of {reproduction.finished} trials"
    counts = Counter[str](arm.verdict for arm in reproduction.arms)
    is_identical = reproduction.verdict is ReproductionVerdict.IDENTICAL
    if is_identical:
        head += ", byte for byte"
    elif reproduction.arms:
        head += f"; {len(reproduction.arms)} arms: {_counted(counts, ReproductionVerdict)}"
    table = reproduced_arms(reproduction, labels)
    environment = ["", "environment:" if reproduction.environment else "environment: no differences"]
    environment += [f"  {key}: {original}, again {rerun}" for key, original, rerun in reproduction.environment]
    return [head, *([table] if table.rows and (show_arms or not is_identical) else []), *environment]


def reproduced_arms(reproduction: Reproduction, labels: Labels) -> Table[ReproducedArm]:
    """One row for each arm of each configuration."""

    def record(arm: ReproducedArm) -> dict[str, Any]:
        keys = ("verdict", "files", "deviation", "differs_from", "outcomes", "accuracies")
        trials = [{"trial": repeat.trial.name, **{key: getattr(repeat, key) for key in keys}} for repeat in arm.repeats]
        return {"trials": trials, "intervals": [asdict(interval) for interval in arm.intervals]}

    intervals = [interval for arm in reproduction.arms for interval in arm.intervals]
    return Table(
        title="Original and reproduction",
        key="arms",
        columns=[
            Column(
                "arm", lambda arm: arm.name, "arm", arm=True,
                data={"configuration": lambda arm: cell_text(arm.cell, labels), "arm": lambda arm: arm.name},
            ),
            Column(
                "verdict", lambda arm: arm.verdict, tone=lambda arm: TONES.get(arm.verdict, Tone.GOOD),
                data={"verdict": lambda arm: arm.verdict},
            ),
            Column("original, again", lambda arm: "\n".join([*_reasons(arm), *map(_interval, arm.intervals)])),
        ],
        rows=reproduction.arms,
        group=Column("configuration", lambda arm: cell_text(arm.cell, labels)),
        notes=_legend(intervals),
        record=record,
    )  # fmt: skip


def _counted(counts: Counter[str], order: Iterable[str]) -> str:
    """'3 above chance, 1 diverged': the counts that are not 0, in the given order."""
    return ", ".join(f"{counts[key]} {key.replace('_', ' ')}" for key in order if counts[key])


def _reasons(arm: ReproducedArm) -> list[str]:
    """By how much losses differ, and how outcomes differ."""
    verdict = worst(repeat.verdict for repeat in arm.repeats)
    if verdict is ReproductionVerdict.ROUNDED:
        deviation = max(repeat.deviation for repeat in arm.repeats)
        files = {name for repeat in arm.repeats for name in repeat.files}
        only_weights = files != set() and all(name.endswith(".pt") for name in files)
        return [f"losses agree to {deviation:.0e}" if deviation else
                "only the weights differ" if only_weights else "losses agree in all digits"]  # fmt: skip
    if verdict is not ReproductionVerdict.DIFFERENT:
        return []
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
        "Means over seeds: accuracies in percent, differences between arms in points.",
        "In parentheses: 95% prediction interval for the mean of a repetition.",
    ]
    return [*text, f"{outside} of {len(intervals)} means are outside; 1 in 20 is expected by chance."] if outside else text
