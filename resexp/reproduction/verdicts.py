"""Comparison of a finished experiment and its reproduction: each trial, each arm over seeds, and the environments. No torch.

Rounding errors of float32 either stay small, or training is chaotic and they grow to any size within an epoch or two. In 48
trials with other kernels or other stacks, final losses agreed within 3e-5, or differed by at least 5e-4.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from resexp import config, inference, runs
from resexp.config import Experiment, Trial
from resexp.runs import Outcome, Result, Track, TrialRecord

COMPARED_FILES = ("metrics.csv",)
# trial.yaml is an input, to which later versions add keys
OUTPUTS = tuple(name for name in runs.CHECKSUMMED if name != "trial.yaml")
IGNORED = (  # keys of environment.json that may differ between two starts, or that are compared under another name
    "time",
    "command",
    "host",
    "packages",
    "data_sha256",
    "images",
    "experiment_sha256",
    "classes",
    "remarks",
)
LOSSES = ("lr", "train_loss", "val_loss")
ROUNDING = 1e-4  # largest relative difference between losses that are equal to rounding


class ReproductionVerdict(StrEnum):
    """Result of comparing a retrained trial or arm with the original, from best to worst."""

    IDENTICAL = "identical"
    ROUNDED = "equal to rounding"
    WITHIN = "within the interval"
    DIFFERENT = "different"


def worst(verdicts: Iterable[ReproductionVerdict]) -> ReproductionVerdict:
    return max(verdicts, key=list(ReproductionVerdict).index, default=ReproductionVerdict.DIFFERENT)


# ---- trials ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Repeat:
    """The results of one trial and its reproduction, and the verdict on these two.

    files: output files whose content differs. deviation: the largest relative difference between losses. differs_from: the
    first logged step at which it exceeds ROUNDING.
    """

    trial: Trial
    original: Result
    rerun: Result
    verdict: ReproductionVerdict
    files: tuple[str, ...]
    deviation: float
    differs_from: int | None

    @property
    def outcomes(self) -> tuple[str, str]:
        return self.original.outcome, self.rerun.outcome

    @property
    def accuracies(self) -> tuple[float, float]:
        return accuracy_of(self.original), accuracy_of(self.rerun)


def accuracy_of(result: Result) -> float:
    """The test accuracy; nan if training diverged."""
    return math.nan if result.test_accuracy is None else result.test_accuracy


def compare_trials(original: TrialRecord, rerun: TrialRecord, one_image: float) -> Repeat:
    """Compares two finished trials; `one_image` is the accuracy of one test image.

    Raises:
        RunsError: a damaged log.
    """
    a, b = original.result, rerun.result
    assert a is not None  # finished
    assert b is not None
    files = tuple(name for name in OUTPUTS if a.sha256.get(name) != b.sha256.get(name))
    by_step = _deviations(original.folder, rerun.folder)
    deviation = max([*by_step.values(), relative_difference(a.test_loss, b.test_loss)])
    equal = {key for key, value in a.content.items() if b.content.get(key) == value}
    distance = abs(accuracy_of(a) - accuracy_of(b))  # nan if one of them has no accuracy
    close = a.test_accuracy == b.test_accuracy or distance <= one_image * (1 + 1e-6)
    if not files and equal >= a.content.keys() - {"sha256", "seal"}:
        verdict = ReproductionVerdict.IDENTICAL
    elif equal >= {"outcome", "steps"} and deviation <= ROUNDING and close:
        verdict = ReproductionVerdict.ROUNDED
    else:
        verdict = ReproductionVerdict.DIFFERENT
    differs_from = next((step for step, difference in by_step.items() if difference > ROUNDING), None)
    return Repeat(original.trial, a, b, verdict, files, deviation, differs_from)


def _deviations(original: Path, rerun: Path) -> dict[int, float]:
    """The largest relative difference between losses at each logged step; inf if only one of the two logs has the step."""
    a, b = ({int(row["step"]): row for row in runs.read_rows(folder / "metrics.csv")} for folder in (original, rerun))

    def difference(step: int) -> float:
        if step not in a or step not in b:
            return math.inf
        return max(relative_difference(float(a[step][key]), float(b[step][key])) for key in LOSSES)

    return {step: difference(step) for step in sorted({*a, *b})}


def relative_difference(a: float | None, b: float | None) -> float:
    """|a - b| divided by the larger absolute value; 0 if neither is a number, inf if only one is a finite number."""
    a, b = (math.nan if value is None else value for value in (a, b))
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    return abs(a - b) / max(abs(a), abs(b)) if math.isfinite(a) and math.isfinite(b) else math.inf


# ---- arms ------------------------------------------------------------------------------------------------------------------

ArmKey = tuple[str, str]  # cell, arm
Pairs = Sequence[tuple[Repeat, Repeat]]  # for each seed, the plain trial and the trial that is compared with it


@dataclass(frozen=True)
class PredictionInterval:
    """A mean over seeds, that of the reproduction, and the interval that contains it in 95% of reproductions.

    quantity: "accuracy", or "minus plain" for the difference from a plain arm.
    """

    quantity: str
    original: float
    rerun: float
    low: float
    high: float

    @property
    def covered(self) -> bool:
        return self.low <= self.rerun <= self.high


@dataclass(frozen=True)
class ReproducedArm:
    """One arm of a cell and its reproduction."""

    cell: str
    name: str
    verdict: ReproductionVerdict
    repeats: tuple[Repeat, ...]
    intervals: tuple[PredictionInterval, ...]


@dataclass(frozen=True)
class Reproduction:
    """An experiment and its reproduction; `environment` lists differences as (key, original, rerun).

    finished: number of finished trials of the original, whether or not their reproduction has finished.
    """

    name: str
    finished: int
    arms: tuple[ReproducedArm, ...]
    environment: tuple[tuple[str, str, str], ...]

    @property
    def verdict(self) -> ReproductionVerdict:
        return worst(arm.verdict for arm in self.arms)


def compare(folder: Path, rerun: Path, experiment: Experiment, track: Track = iter) -> Reproduction:
    """Compares all trials that have finished in both folders; track: yields trials, and can show the progress.

    Raises:
        RunsError: a damaged or missing file.
    """
    one_image = 1 / max(1, runs.launches(folder)[-1].images[2])
    originals, reruns = (
        {record.trial.name: record for record in runs.trial_records(parent, experiment, COMPARED_FILES, track) if record.result}
        for parent in (folder, rerun)
    )
    repeats = {name: compare_trials(originals[name], reruns[name], one_image) for name in originals if name in reruns}
    trials = [compared.trial for compared in repeats.values()]
    pairs: dict[ArmKey, dict[str, list[tuple[Repeat, Repeat]]]] = {}
    for plain, trial in config.pairs(trials, experiment.axes):
        by_plain_arm = pairs.setdefault(_key(trial, experiment), {})
        by_plain_arm.setdefault(plain.arm, []).append((repeats[plain.name], repeats[trial.name]))
    arms: dict[ArmKey, list[Repeat]] = {}
    for trial in trials:
        arms.setdefault(_key(trial, experiment), []).append(repeats[trial.name])
    judged = (judge_arm(*key, arm_repeats, pairs.get(key, {}), one_image) for key, arm_repeats in arms.items())
    return Reproduction(experiment.name, len(originals), tuple(judged), tuple(environment(folder, rerun, repeats)))


def _key(trial: Trial, experiment: Experiment) -> ArmKey:
    return " ".join(config.cell_label(trial.settings, experiment.axes)), trial.arm


def judge_arm(cell: str, name: str, repeats: Sequence[Repeat], pairs: Mapping[str, Pairs], one_image: float) -> ReproducedArm:
    """The verdict on one arm: the worst of its trials or, if they differ by more than rounding, that of its intervals.

    With a single seed, or if a trial is not above chance, there is no interval, and outcomes are compared instead.
    """
    verdict = worst(trial.verdict for trial in repeats)
    intervals = [interval("accuracy", [trial.accuracies for trial in repeats], one_image)] if _has_interval(repeats) else []
    for plain, seed_pairs in pairs.items():
        if len(seed_pairs) > 1 and _has_interval([trial for pair in seed_pairs for trial in pair]):
            accuracies = [(a.accuracies, b.accuracies) for a, b in seed_pairs]
            differences = [(b[0] - a[0], b[1] - a[1]) for a, b in accuracies]
            intervals.append(interval(f"minus {plain}", differences, one_image))
    same_outcomes = Counter(trial.outcomes[0] for trial in repeats) == Counter(trial.outcomes[1] for trial in repeats)
    if verdict is ReproductionVerdict.DIFFERENT and same_outcomes and len(repeats) > 1:
        verdict = ReproductionVerdict.WITHIN
    if not all(prediction.covered for prediction in intervals):
        verdict = ReproductionVerdict.DIFFERENT
    return ReproducedArm(cell, name, verdict, tuple(repeats), tuple(intervals))


def _has_interval(repeats: Sequence[Repeat]) -> bool:
    """Whether an interval is computed: several trials, all above chance, that differ by more than rounding."""
    above_chance = {outcome for trial in repeats for outcome in trial.outcomes} == {Outcome.ABOVE_CHANCE}
    different = worst(trial.verdict for trial in repeats) is ReproductionVerdict.DIFFERENT
    return len(repeats) > 1 and above_chance and different


def interval(quantity: str, values: Sequence[tuple[float, float]], one_image: float) -> PredictionInterval:
    """The 95% prediction interval for the mean of as many new seeds: sqrt(2) times as wide as the t interval of the mean.

    The variance of each mean is that of one seed divided by n, and in chaotic training the same seed again is as good as a new
    one. On either side the interval is at least one test image wide.
    """
    original, rerun = (inference.paired_difference(side) for side in zip(*values, strict=True))
    assert original.high is not None  # several seeds
    half = max(math.sqrt(2) * (original.high - original.mean), one_image)
    return PredictionInterval(quantity, original.mean, rerun.mean, original.mean - half, original.mean + half)


# ---- environments ----------------------------------------------------------------------------------------------------------


def environment(folder: Path, rerun: Path, trials: Iterable[str]) -> list[tuple[str, str, str]]:
    """(key, original, rerun) for each difference between starts or stacks; a key has several values if starts differ."""
    a, b = (_environment(parent, set(trials)) for parent in (folder, rerun))
    rows = ((key, a.get(key, {"-"}), b.get(key, {"-"})) for key in dict.fromkeys([*a, *b]))
    return [(key, " / ".join(original), " / ".join(new)) for key, original, new in rows if set(original) != set(new)]


def _environment(folder: Path, trials: set[str]) -> dict[str, dict[str, None]]:
    plan = runs.read_plan(folder)
    values: dict[str, dict[str, None]] = {}
    for entry in runs.launches(folder):
        rest = {key: value for key, value in entry.content.items() if key not in IGNORED}
        for key, value in {"images": entry.data_sha256[:12], **rest, **entry.packages}.items():
            values.setdefault(key, {})[str(value or "-")] = None
    for stack in (stack for stack in plan.stacks if trials & set(stack.trials)) if plan else ():
        values.setdefault("threads", {})[str(stack.threads)] = None
        values.setdefault("trials in a stack", {})[str(len(stack.trials))] = None
    return values
