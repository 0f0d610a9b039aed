"""What arms are compared by: figures of result.json, or of a step in metrics.csv."""

from dataclasses import dataclass, replace

from resexp import config, runs
from resexp.runs import Results, TrialRecord

MAX_DIGITS = 16  # of a step
MAX_STEPS = 6  # that are named where one is not there
SAMPLE = 10_000  # of the training part, on which training figures are measured at most


@dataclass(frozen=True)
class Metric:
    """better: 1 where more is better, -1 where less is, 0 where neither. part: the images that it is a share of, by place."""

    label: str
    percent: bool = True
    better: int = 1
    split: int | None = 2


LAST = "of the final weights"
METRICS = {
    "test_accuracy": Metric(f"test accuracy {LAST}"),
    "best_test_accuracy": Metric("test accuracy of the weights with the best validation accuracy"),
    "train_accuracy": Metric(f"training accuracy {LAST}", split=0),
    "val_accuracy": Metric(f"validation accuracy {LAST}", split=1),
    "test_loss": Metric(f"test loss {LAST}", percent=False, better=-1, split=None),
    "best_test_loss": Metric(
        "test loss of the weights with the best validation accuracy", percent=False, better=-1, split=None
    ),
    "train_loss": Metric(f"training loss {LAST}", percent=False, better=-1, split=None),
    "slope_start": Metric("slope of the gradient before the first step", percent=False, better=0, split=None),
    "slope_end": Metric("slope of the gradient after the first epoch", percent=False, better=0, split=None),
}
OF_STEPS = {
    "train_accuracy": Metric("training accuracy", split=0),
    "val_accuracy": Metric("validation accuracy", split=1),
    "train_loss": Metric("training loss", percent=False, better=-1, split=None),
    "val_loss": Metric("validation loss", percent=False, better=-1, split=None),
}

ANYWHERE = {**OF_STEPS, **METRICS}


def find_metric(name: str, at: str) -> tuple[str, Metric, int | None]:
    """(key in a result, what it is, the step or None) of a figure `at` last, best or step:N.

    Raises:
        ConfigError: an unknown figure or place, or a figure that is not measured there, with those that are.
    """
    kind, _, step = at.partition(":")
    of_step = kind == "step" and step.isdecimal() and len(step) < MAX_DIGITS
    if at == "best":
        name = f"best_{name}"
    elif at != "last" and not of_step:
        raise config.ConfigError(f"{at!r} is not one of last, best, step:N", where="--at")
    measured = OF_STEPS if of_step else METRICS
    if name not in measured:
        why = "; the test part is read once, at the end" if of_step else ""
        raise config.ConfigError(f"{name!r} is not one of {', '.join(measured)}{why}", where="--metric")
    metric = measured[name]
    return (name, replace(metric, label=f"{metric.label} at step {int(step)}"), int(step)) if of_step else (name, metric, None)


def select_metric(results: Results, name: str, at: str) -> tuple[Results, str, Metric]:
    """The results with that figure in every result, its key, and what it is.

    Raises:
        ConfigError: as `find_metric`; a step that was not read.
    """
    key, metric, step = find_metric(name, at)
    return (results if step is None else _at_step(results, key, step)), key, metric


def _at_step(results: Results, name: str, step: int) -> Results:
    return replace(results, records=tuple(_state_at(record, name, step) for record in results.records))


def _state_at(record: TrialRecord, name: str, step: int) -> TrialRecord:
    if record.result is None:
        return record
    rows = runs.read_rows(record.folder / "metrics.csv")
    found = {int(row["step"]): row[name] for row in rows}
    if step not in found and record.result["outcome"] != "diverged":
        near = sorted(sorted(found, key=lambda other: abs(other - step))[:MAX_STEPS])
        steps = ", ".join(map(str, near)) + (f" and {len(found) - len(near)} others" if len(found) > len(near) else "")
        raise config.ConfigError(f"{record.trial.name} has no row of step {step}; it has {steps or 'none'}", where="--at")
    return replace(record, result={**record.result, name: float(found[step]) if found.get(step) else None})


def resolution(results: Results, metric: Metric) -> float | None:
    """The least by which a figure can differ: one image of the smallest part among the experiments."""
    if metric.split is None:
        return None
    counts = [launches[-1]["images"][metric.split] for folder, _ in results.sources if (launches := runs.launches(folder))]
    fewest = min((count for count in counts if count), default=0)
    return 1 / (min(fewest, SAMPLE) if metric.split == 0 else fewest) if fewest else None
