"""Weight gradients by layer, from gradients.csv. Only the rows of a few logging steps are parsed, because the file is large."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from resexp import inference, runs
from resexp.comparison.groups import Label, groups
from resexp.inference import Difference
from resexp.runs import Results, Track, TrialRecord

LOG = "gradients.csv"
MAX_STEPS = 16  # logging steps of a heat map


class Moment(StrEnum):
    """A logging step with a meaning. A training of one epoch has no separate step after epoch 1."""

    START = "at initialization"
    EPOCH_1 = "after epoch 1"
    END = "at the end"


@dataclass(frozen=True)
class LayerLog:
    """Lines of one gradients.csv by step: those of the moments, and those of at most 16 logging steps for a heat map.

    ranks: number of each of these steps among all logging steps of the trial. stride: the heat map has the steps whose rank is
    a multiple of this power of 2. A trial that diverged has a smaller stride; its steps include those of the other trials.
    """

    moments: dict[Moment, int]
    ranks: dict[int, int]
    stride: int
    lines: dict[int, list[str]]


@dataclass(frozen=True)
class LayerGradients:
    """|dL/dW| of one arm of a cell at one moment.

    norms: geometric mean over the seeds whose norm is positive and finite, by layer in the order of depth; None without any.
    growth: change of log10 |dL/dW| from the last to the first weighted layer, over the seeds in which both are positive and
    finite. step: the largest of all seeds.
    """

    label: Label
    arm: str
    moment: Moment
    step: int
    n: int
    norms: dict[str, float | None]
    growth: Difference | None

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The norms at the first and at the last weighted layer."""
        norms = list(self.norms.values())
        return norms[0], norms[-1]


def layer_logs(results: Results, track: Track = iter) -> dict[Path, LayerLog]:
    """The logs of all finished trials by folder; trials without weight gradients have none. `track` as in `read_results`.

    Raises:
        RunsError: a log is damaged; the message names the file.
    """
    finished = [record for record in results.records if record.result]
    tracked = zip(finished, track([record.trial for record in finished]), strict=True)
    logs = {record.folder: _read(record.folder / LOG) for record, _ in tracked}
    return {folder: log for folder, log in logs.items() if log}


def _read(path: Path) -> LayerLog | None:
    columns, text = runs.log_text(path)
    rows = text.splitlines()
    if not rows:
        return None
    first = rows[0].partition(",")[0] + ","
    layers = next((number for number, row in enumerate(rows) if not row.startswith(first)), len(rows))
    try:
        starts, ends = ([_step_and_epoch(row) for row in rows[start::layers]] for start in (0, layers - 1))
    except ValueError:
        raise runs.RunsError(f"{path}: damaged (a step or an epoch is not a number)") from None
    if starts != ends or len(rows) % layers:
        raise runs.RunsError(f"{path}: damaged (every step must have a row for each of {layers} layers)")
    epochs = dict(starts)
    steps = list(epochs)
    moments = {
        Moment.START: steps[0],
        Moment.EPOCH_1: max((step for step in steps if epochs[step] == 0), default=steps[0]),
        Moment.END: steps[-1],
    }
    if moments[Moment.EPOCH_1] in (steps[0], steps[-1]):
        del moments[Moment.EPOCH_1]
    stride = 2 ** max(0, math.ceil(math.log2(len(steps) / MAX_STEPS)))
    ranks = {step: rank for rank, step in enumerate(steps) if rank % stride == 0 or step in moments.values()}
    lines = {step: rows[rank * layers : (rank + 1) * layers] for step, rank in ranks.items()}
    if {line.count(",") for step_lines in lines.values() for line in step_lines} != {len(columns) - 1}:
        raise runs.RunsError(f"{path}: damaged (columns {','.join(columns)} expected in every line)")
    return LayerLog(moments, ranks, stride, lines)


def _step_and_epoch(row: str) -> tuple[int, int]:
    step, epoch, _ = row.split(",", 2)
    return int(step), int(epoch)


def layer_gradients(results: Results, logs: Mapping[Path, LayerLog]) -> list[LayerGradients]:
    """Each arm of each cell at each moment that its trials have logged.

    Raises:
        RunsError: a row of a log is damaged; the message names the file.
    """
    rows = []
    for label, arms in groups(results):
        for arm, records in arms.items():
            logged = [(record, logs[record.folder]) for record in records if record.folder in logs]
            for moment in Moment:
                at_moment = [(record, log) for record, log in logged if moment in log.moments]
                if at_moment:
                    rows.append(_layer_gradients(label, arm, moment, at_moment))
    return rows


def _layer_gradients(label: Label, arm: str, moment: Moment, logged: Sequence[tuple[TrialRecord, LayerLog]]) -> LayerGradients:
    steps = [log.moments[moment] for _, log in logged]
    seeds = [_log_norms(record, log.lines[step]) for (record, log), step in zip(logged, steps, strict=True)]
    means = {layer: _mean([norms[layer] for norms in seeds if layer in norms]) for layer in seeds[0]}
    first, last = next(iter(means)), list(means)[-1]
    growths = [norms[first] - norms[last] for norms in seeds if first in norms and last in norms]
    growths = [growth for growth in growths if math.isfinite(growth)]
    return LayerGradients(
        label=label,
        arm=arm,
        moment=moment,
        step=max(steps),
        n=len(seeds),
        norms={layer: None if mean is None else 10**mean for layer, mean in means.items()},
        growth=inference.paired_difference(growths) if growths else None,
    )


def _log_norms(record: TrialRecord, lines: Sequence[str]) -> dict[str, float]:
    """log10 |dL/dW| by layer; nan for norms that are 0 or not finite."""
    layer, norm = (runs.COLUMNS[LOG].index(column) for column in ("layer", "weight_grad_norm"))
    try:
        norms = {cells[layer]: float(cells[norm]) for cells in (line.split(",") for line in lines)}
    except (ValueError, IndexError):
        raise runs.RunsError(f"{record.folder / LOG}: damaged (a gradient norm is not a number)") from None
    return {name: math.log10(value) if 0 < value < math.inf else math.nan for name, value in norms.items()}


def _mean(log_norms: Sequence[float]) -> float | None:
    finite = [value for value in log_norms if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else None
