"""How alike a finished experiment and its repetition are: trial by trial, arm by arm over seeds, and their environments.

The errors of float32 either stay what they are, or a training is chaotic and they grow to everything within an epoch or two.
Seen on 48 trials with other kernels or other stacks: losses end within 3e-5, or no nearer than 5e-4. No torch.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resexp import config, inference, runs
from resexp.config import Experiment, Trial
from resexp.runs import Outcome, TrialRecord

READ = ("metrics.csv",)
OUTPUTS = tuple(
    name for name in runs.CHECKSUMMED if name != "trial.yaml"
)  # that one goes in, and later versions know more keys
UNEQUAL = (
    "time",
    "command",
    "host",
    "packages",
    "data_sha256",
    "images",
    "experiment_sha256",
    "classes",
    "remarks",
)  # of two starts, or listed under another name
LOSSES = ("lr", "train_loss", "val_loss")
ROUNDING = 1e-4  # largest relative difference of a loss that is called rounding
IDENTICAL, ROUNDED, WITHIN, DIFFERENT = VERDICTS = ("identical", "equal to rounding", "within the interval", "different")

Json = dict[str, Any]


# ---- how alike two trials are ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Repeat:
    """One trial and its repetition: their results and how alike they are, seen alone.

    `files` are finished files of another content, `deviation` is the largest relative difference of a loss, `apart` the first
    logged step with one above ROUNDING.
    """

    trial: Trial
    before: Json
    again: Json
    verdict: str
    files: tuple[str, ...]
    deviation: float
    apart: int | None

    @property
    def outcomes(self) -> tuple[str, str]:
        return self.before["outcome"], self.again["outcome"]

    @property
    def accuracies(self) -> tuple[float, float]:
        return self.before["test_accuracy"], self.again["test_accuracy"]


def repeat(before: TrialRecord, again: TrialRecord, grain: float) -> Repeat:
    """Two finished trials side by side; `grain` is the accuracy of one test image.

    Raises:
        RunsError: a damaged log.
    """
    a, b = before.result or {}, again.result or {}
    files = tuple(name for name in OUTPUTS if a["sha256"].get(name) != b["sha256"].get(name))
    logged = _deviations(before.folder, again.folder)
    deviation = max([*logged.values(), relative(a["test_loss"], b["test_loss"])])
    equal = {key for key, value in a.items() if b.get(key) == value}
    close = a["test_accuracy"] == b["test_accuracy"] or _distance(a, b) <= grain * (1 + 1e-6)
    if not files and equal >= a.keys() - {"sha256", "seal"}:
        verdict = IDENTICAL
    elif equal >= {"outcome", "steps"} and deviation <= ROUNDING and close:
        verdict = ROUNDED
    else:
        verdict = DIFFERENT
    apart = next((step for step, of in logged.items() if of > ROUNDING), None)
    return Repeat(before.trial, a, b, verdict, files, deviation, apart)


def _distance(a: Json, b: Json) -> float:
    values = [a["test_accuracy"], b["test_accuracy"]]
    return math.inf if None in values else abs(values[0] - values[1])


def _deviations(before: Path, again: Path) -> dict[int, float]:
    """The largest relative difference of a loss by logged step; inf where only one of the two has that step."""
    one, other = ({int(row["step"]): row for row in runs.read_rows(of / "metrics.csv")} for of in (before, again))
    return {
        step: max(relative(*(float(of[step][key]) for of in (one, other))) for key in LOSSES)
        if step in one and step in other
        else math.inf
        for step in sorted({*one, *other})
    }


def relative(a: float | None, b: float | None) -> float:
    """|a - b| over the larger of both; 0 where neither is a number, inf where one is none."""
    a, b = (math.nan if of is None else of for of in (a, b))
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    return abs(a - b) / max(abs(a), abs(b)) if math.isfinite(a) and math.isfinite(b) else math.inf


# ---- how alike two arms are, over seeds ------------------------------------------------------------------------------------

CellKey = tuple[str, str]  # cell, arm
Pairs = Sequence[tuple[Repeat, Repeat]]  # a twin and the trial that is compared with it, of each seed


@dataclass(frozen=True)
class PredictionInterval:
    """A mean accuracy or difference, that of the repetition, and where 95 % of repetitions have theirs."""

    what: str
    before: float
    again: float
    low: float
    high: float

    @property
    def covered(self) -> bool:
        return self.low <= self.again <= self.high


@dataclass(frozen=True)
class ReproducedArm:
    """One arm of a cell and its repetition."""

    cell: str
    name: str
    verdict: str
    repeats: tuple[Repeat, ...]
    intervals: tuple[PredictionInterval, ...]


@dataclass(frozen=True)
class Reproduction:
    """An experiment and its repetition; `environment` lists (what, before, again) where they differ.

    `finished` counts the trials that the experiment has, whether or not they were finished again.
    """

    name: str
    finished: int
    arms: tuple[ReproducedArm, ...]
    environment: tuple[tuple[str, str, str], ...]

    @property
    def verdict(self) -> str:
        return worst(arm.verdict for arm in self.arms)


def worst(verdicts: Iterable[str]) -> str:
    return max(verdicts, key=VERDICTS.index, default=DIFFERENT)


def compare(folder: Path, again: Path, experiment: Experiment) -> Reproduction:
    """What is finished in both folders, arm by arm.

    Raises:
        RunsError: a damaged or missing file, by name.
    """
    grain = 1 / max(1, runs.launches(folder)[-1]["images"][2])
    one, other = (
        {of.trial.name: of for of in runs.trial_records(place, experiment, READ) if of.result} for place in (folder, again)
    )
    repeats = {name: repeat(one[name], other[name], grain) for name in one if name in other}
    trials = [of.trial for of in repeats.values()]
    twins: dict[CellKey, dict[str, list[tuple[Repeat, Repeat]]]] = {}
    for twin, trial in config.pairs(trials, experiment.axes):
        of_arm = twins.setdefault(_place(trial, experiment), {})
        of_arm.setdefault(twin.arm, []).append((repeats[twin.name], repeats[trial.name]))
    arms: dict[CellKey, list[Repeat]] = {}
    for trial in trials:
        arms.setdefault(_place(trial, experiment), []).append(repeats[trial.name])
    judgments = (judge(*place, of, twins.get(place, {}), grain) for place, of in arms.items())
    return Reproduction(experiment.name, len(one), tuple(judgments), tuple(environment(folder, again, repeats)))


def _place(trial: Trial, experiment: Experiment) -> CellKey:
    return " ".join(config.cell_label(trial.settings, experiment.axes)), trial.arm


def judge(cell: str, name: str, repeats: Sequence[Repeat], twins: Mapping[str, Pairs], grain: float) -> ReproducedArm:
    """The verdict on one arm: that on its trials or, where more than rounding tells them apart, that of its intervals.

    Of a single seed there are none, nor where a trial did not train: there the outcomes are the result.
    """
    own = worst(of.verdict for of in repeats)
    found = [interval("accuracy", [of.accuracies for of in repeats], grain)] if _speak(repeats) else []
    for twin, pairs in twins.items():
        if len(pairs) > 1 and _speak([of for pair in pairs for of in pair]):
            both = [(a.accuracies, b.accuracies) for a, b in pairs]
            found.append(interval(f"minus {twin}", [(b[0] - a[0], b[1] - a[1]) for a, b in both], grain))
    alike = Counter(of.outcomes[0] for of in repeats) == Counter(of.outcomes[1] for of in repeats)
    if own == DIFFERENT and alike and len(repeats) > 1:
        own = WITHIN
    return ReproducedArm(cell, name, own if all(of.covered for of in found) else DIFFERENT, tuple(repeats), tuple(found))


def _speak(repeats: Sequence[Repeat]) -> bool:
    """Whether intervals are asked: of several trials that all trained, apart by more than rounding."""
    trained = {outcome for of in repeats for outcome in of.outcomes} == {Outcome.ABOVE_CHANCE}
    return len(repeats) > 1 and trained and worst(of.verdict for of in repeats) == DIFFERENT


def interval(what: str, values: Sequence[tuple[float, float]], grain: float) -> PredictionInterval:
    """Where the mean of as many new seeds lies in 95 % of cases: sqrt(2) as wide as the t-interval of the mean itself.

    Of both means the variance is that of one seed over n, and chaos makes the same seed again as good as a new one. Never
    narrower than one test image, `grain`, on either side.
    """
    before, again = (inference.paired_difference(side) for side in zip(*values, strict=True))
    assert before.high is not None  # several seeds
    half = max(math.sqrt(2) * (before.high - before.mean), grain)
    return PredictionInterval(what, before.mean, again.mean, before.mean - half, before.mean + half)


# ---- in what the environments differ ---------------------------------------------------------------------------------------


def environment(folder: Path, again: Path, trials: Iterable[str]) -> list[tuple[str, str, str]]:
    """(what, before, again) of everything in which starts or stacks differ; several values of several starts."""
    before, after = (_environment(place, set(trials)) for place in (folder, again))
    keys = dict.fromkeys([*before, *after])
    rows = ((key, before.get(key, {"-"}), after.get(key, {"-"})) for key in keys)
    return [(key, " / ".join(a), " / ".join(b)) for key, a, b in rows if set(a) != set(b)]


def _environment(folder: Path, trials: set[str]) -> dict[str, dict[str, None]]:
    plan = runs.read_plan(folder)
    found: dict[str, dict[str, None]] = {}
    for start in runs.launches(folder):
        rest = {key: value for key, value in start.items() if key not in UNEQUAL}
        for key, value in {"images": start["data_sha256"][:12], **rest, **start["packages"]}.items():
            found.setdefault(key, {})[str(value or "-")] = None
    for stack in (of for of in plan.stacks if trials & set(of.trials)) if plan else ():
        found.setdefault("threads", {})[str(stack.threads)] = None
        found.setdefault("trials in a stack", {})[str(len(stack.trials))] = None
    return found
