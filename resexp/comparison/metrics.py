"""Metrics for comparing arms: values of result.json, or of one step in metrics.csv."""

from dataclasses import dataclass, replace

from resexp import config, runs
from resexp.runs import Results, TrialRecord

MAX_DIGITS = 16  # of a step
MAX_STEPS = 6  # that are listed if a step is missing
MAX_SAMPLE = 10_000  # training images on which training accuracy is measured


@dataclass(frozen=True)
class Metric:
    """better: 1 if higher is better, -1 if lower is, 0 if neither. split: index of the data set that it is a share of."""

    label: str
    percent: bool = True
    better: int = 1
    split: int | None = 2


FINAL = "of the final weights"
METRICS = {
    "test_accuracy": Metric(f"test accuracy {FINAL}"),
    "best_test_accuracy": Metric("test accuracy of the weights with the best validation accuracy"),
    "train_accuracy": Metric(f"training accuracy {FINAL}", split=0),
    "val_accuracy": Metric(f"validation accuracy {FINAL}", split=1),
    "test_loss": Metric(f"test loss {FINAL}", percent=False, better=-1, split=None),
    "best_test_loss": Metric(
        "test loss of the weights with the best validation accuracy", percent=False, better=-1, split=None
    ),
    "train_loss": Metric(f"training loss {FINAL}", percent=False, better=-1, split=None),
    "slope_start": Metric("gradient slope at initialization", percent=False, better=0, split=None),
    "slope_end": Metric("gradient slope after epoch 1", percent=False, better=0, split=None),
}
STEP_METRICS = {
    "train_accuracy": Metric("training accuracy", split=0),
    "val_accuracy": Metric("validation accuracy", split=1),
    "train_loss": Metric("training loss", percent=False, better=-1, split=None),
    "val_loss": Metric("validation loss", percent=False, better=-1, split=None),
}

ALL_METRICS = {**STEP_METRICS, **METRICS}


FILE_METRIC = "value"  # key of the metric in results from a file


def metric_of(results: Results, key: str) -> Metric:
    """The metric with this key in the results; of a file, its column. A column named like a metric of ours is printed alike."""
    table = results.table
    if table is None:
        return ALL_METRICS[key]
    known = METRICS.get(table.metric, Metric(table.metric, percent=False))
    return replace(known, better=table.better, split=None)


def find_metric(name: str, at: str) -> tuple[str, Metric, int | None]:
    """(key in a result, metric, step or None) of a metric `at` last, best or step:N.

    Raises:
        ConfigError: an unknown `at`, or a metric that is not measured there; the message lists those that are.
    """
    kind, _, step = at.partition(":")
    is_step = kind == "step" and step.isdecimal() and len(step) < MAX_DIGITS
    if at == "best":
        name = f"best_{name}"
    elif at != "last" and not is_step:
        raise config.ConfigError(f"{at!r} is not one of last, best, step:N", where="--at")
    available = STEP_METRICS if is_step else METRICS
    if name not in available:
        why = "; the test set is evaluated once, after training" if is_step else ""
        raise config.ConfigError(f"{name!r} is not one of {', '.join(available)}{why}", where="--metric")
    metric = available[name]
    return (name, replace(metric, label=f"{metric.label} at step {int(step)}"), int(step)) if is_step else (name, metric, None)


def select_metric(results: Results, name: str, at: str) -> tuple[Results, str, Metric]:
    """The results with this metric in every result, its key, and the metric.

    Raises:
        ConfigError: as `find_metric`; a step without a logged row.
    """
    key, metric, step = find_metric(name, at)
    if step is not None:
        results = replace(results, records=tuple(_record_at(record, key, step) for record in results.records))
    return results, key, metric


def _record_at(record: TrialRecord, name: str, step: int) -> TrialRecord:
    if record.result is None:
        return record
    rows = runs.read_rows(record.folder / "metrics.csv")
    values = {int(row["step"]): row[name] for row in rows}
    if step not in values and record.diverged_at is None:
        near = sorted(sorted(values, key=lambda other: abs(other - step))[:MAX_STEPS])
        steps = ", ".join(map(str, near)) + (f" and {len(values) - len(near)} others" if len(values) > len(near) else "")
        raise config.ConfigError(f"{record.trial.name} has no row for step {step}; it has {steps or 'none'}", where="--at")
    number = float(values[step]) if values.get(step) else None
    return replace(record, result=record.result.model_copy(update={name: number}))


def resolution(results: Results, metric: Metric) -> float | None:
    """The smallest possible difference: one image of the smallest data set among the experiments."""
    if metric.split is None:
        return None
    counts = [launches[-1].images[metric.split] for folder, _ in results.sources if (launches := runs.launches(folder))]
    smallest = min((count for count in counts if count), default=0)
    return 1 / (min(smallest, MAX_SAMPLE) if metric.split == 0 else smallest) if smallest else None
