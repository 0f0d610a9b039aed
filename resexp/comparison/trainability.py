"""What predicts trainability: quantities at initialization, and their rank correlation with final training accuracy."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from resexp import inference, runs
from resexp.comparison.gradients import growth
from resexp.comparison.groups import Label, groups, value
from resexp.inference import RankCorrelation
from resexp.runs import Results, TrialRecord

MIN_ARMS = 8
CLASSES = 10  # if environment.json was written by an earlier release, which did not store them


@dataclass(frozen=True)
class Predictor:
    """A quantity at initialization. sign: -1 if a small value helps training. log: whether its axis is logarithmic."""

    label: str
    read: Callable[[TrialRecord], float | None]
    sign: int
    log: bool


def _growth(record: TrialRecord) -> float | None:
    change = growth(record)
    return None if change is None else abs(change)


def _initial_loss(record: TrialRecord) -> float | None:
    """The loss on the training sample before the first step; infinite if it is not finite."""
    rows = runs.read_rows(record.folder / "metrics.csv")
    if not rows or int(rows[0]["step"]):
        return None
    loss = float(rows[0]["train_loss"])
    return loss if math.isfinite(loss) else math.inf


PREDICTORS: dict[str, Predictor] = {
    "distance": Predictor("cosine distance", lambda record: value(record, "distance_start"), 1, log=True),
    "growth": Predictor("|gradient growth|", _growth, -1, log=False),
    "loss": Predictor("loss at initialization", _initial_loss, -1, log=True),
}


@dataclass(frozen=True)
class TrainedArm:
    """An arm of a configuration: means over its finished seeds; a diverged network has the accuracy of guessing.

    configuration: its number. initial: predictor -> value, without those that have none.
    """

    label: Label
    configuration: int
    name: str
    n: int
    train_accuracy: float
    initial: dict[str, float]


@dataclass(frozen=True)
class Trainability:
    """The arms with a finished trial; there are no correlations below eight arms."""

    arms: tuple[TrainedArm, ...]

    def correlation(self, name: str, minus: str | None = None, level: float = inference.LEVEL) -> RankCorrelation | None:
        """Spearman correlation of a predictor with training accuracy, less that of `minus`; positive if it helps training.

        It is over the arms with a value of both predictors; None for fewer than eight.
        """
        names = [name] if minus is None else [name, minus]
        arms = [arm for arm in self.arms if all(other in arm.initial for other in names)]
        if len(arms) < MIN_ARMS:
            return None
        values = [[PREDICTORS[other].sign * arm.initial[other] for arm in arms] for other in names]
        return inference.rank_correlation(
            values[0],
            [arm.train_accuracy for arm in arms],
            [arm.configuration for arm in arms],
            minus=None if minus is None else values[1],
            level=level,
        )

    def correlations(self) -> dict[str, RankCorrelation]:
        """Predictor -> its correlation, without those that have none."""
        correlations = {name: self.correlation(name) for name in PREDICTORS}
        return {name: correlation for name, correlation in correlations.items() if correlation}


def trainability(results: Results) -> Trainability:
    """The arms of all configurations; without values at initialization if there are fewer than eight.

    Raises:
        RunsError: a damaged metrics.csv.
    """
    finished = [
        (label, number, name, [record for record in records if record.result])
        for number, (label, arms) in enumerate(groups(results))
        for name, records in arms.items()
    ]
    finished = [arm for arm in finished if arm[3]]
    predictors = PREDICTORS if len(finished) >= MIN_ARMS else {}
    return Trainability(
        tuple(
            TrainedArm(
                label,
                number,
                name,
                len(records),
                math.fsum(_train_accuracy(record, results) for record in records) / len(records),
                {
                    key: math.fsum(values) / len(values)
                    for key, predictor in predictors.items()
                    if (values := [read for record in records if (read := predictor.read(record)) is not None])
                },
            )
            for label, number, name, records in finished
        )
    )


def _train_accuracy(record: TrialRecord, results: Results) -> float:
    accuracy = value(record, "train_accuracy")
    if accuracy is not None:
        return accuracy
    folder = next(folder for folder, _ in results.sources if folder in record.folder.parents)
    return 1 / (len(runs.launches(folder)[-1].classes) or CLASSES)
