"""What `resexp probe MODULE:FACTORY` prints: verdicts, advice, tables, JSON and CSV."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from resexp import runs
from resexp.comparison import Flow, Inputs
from resexp.inference import Difference
from resexp.tables.definitions import legend
from resexp.tables.formats import distance_text
from resexp.tables.model import Column, Part, Table
from resexp.tables.module_probe import ModuleProbe, Row
from resexp.tables.probe_lines import signed
from resexp.tables.programs import document
from resexp.tables.sentences import Sentence

MAX_ROWS = 16  # boundaries or layers that are printed without --all

GRADIENTS = {
    Flow.VANISHING: Sentence("Gradients vanish: {growth} orders of magnitude from the last boundary to the first", "below -1"),
    Flow.STABLE: Sentence("Gradients are stable: {growth} orders of magnitude from the last boundary to the first", "-1 to 1"),
    Flow.EXPLODING: Sentence("Gradients explode: {growth} orders of magnitude from the last boundary to the first", "above 1"),
}
INPUTS = {
    Inputs.COLLAPSED: Sentence("Inputs collapse: their cosine distance at the last boundary is {distance}", "below 0.01"),
    Inputs.DISTINCT: Sentence("Inputs are distinct: their cosine distance at the last boundary is {distance}", "0.01 or more"),
}
DEGRADATION = "Degradation is not measured: training error at several depths decides, which needs training."
ADVICE = {
    "vanishing": Sentence(
        "Initialize with a larger scale (nn.init.kaiming_normal_ for ReLU), normalize, or add shortcuts; then probe again.",
        "gradients vanish",
    ),
    "exploding": Sentence(
        "Reduce the scale of the initialization or of residual branches (1/sqrt(blocks) or 0), or normalize; then probe again.",
        "gradients explode",
    ),
    "collapsed": Sentence(
        "Keep inputs apart: shortcuts, an identity-like initialization, or fewer layers between shortcuts; then probe again.",
        "gradients are stable and inputs collapse",
    ),
    "sound": Sentence(
        "Initialization does not explain a failure to train; try other learning rates, and check data, labels and loss.",
        "gradients are stable and inputs are distinct",
    ),
    "unknown": Sentence(
        "There are too few boundaries for a verdict; name more of them with --at GLOB.", "the gradient growth is not known"
    ),
}
CHECKS = {
    "passed": Sentence("Self-checks: {n} of {n} agree with finite differences in float64.", "all errors are at most 5%"),
    "chain": Sentence(
        "Gradients also flow around the boundaries ({name}): growth between neighbors is not that of one block. "
        "Other boundaries can be named with --at GLOB.",
        "a check of the chain rule fails, and the one of the weights does not",
    ),
    "weights": Sentence(
        "Self-check failed: along a direction of the weights the loss changes by {difference:.3g}, by autograd {autograd:.3g}. "
        "The forward pass may be random in a way that seeds do not determine, or not differentiable.",
        "the check of the weights fails",
    ),
}


def module_parts(probe: ModuleProbe, *, all_rows: bool = False) -> list[Part]:
    """Verdicts, advice and remarks, then the boundaries and the weights."""
    first, seeds = probe.first, len(probe.measurements)
    counts = f"n = {seeds} seed{'' if seeds == 1 else 's'}, one batch of {first.batch}"
    lines: list[Part] = [f"{probe.name}: at initialization, without training; {counts}"]
    lines += [f"boundaries: {first.rule}; {len(probe.boundaries)} in all", "", *verdicts(probe)]
    lines += [
        f"Advice: {advice(probe)}",
        "",
        *(f"{remark[:1].upper()}{remark[1:]}." for remark in first.remarks),
        *check_lines(probe),
    ]
    lines += ["", "growth: change of log10 |dL/dx| from the next boundary to this one"]
    lines += legend("distance", *(["95% CI"] if seeds > 1 else []))
    hidden = max(len(probe.boundaries), len(probe.layers)) > MAX_ROWS and not all_rows
    parts = [*lines, boundary_table(probe, all_rows=all_rows), layer_table(probe, all_rows=all_rows)]
    return [*parts, *(["", "To print every boundary and layer, add --all."] if hidden else [])]


def verdicts(probe: ModuleProbe) -> Iterator[str]:
    """The answers to the three questions: gradients, inputs, degradation."""
    if probe.flow and probe.gradient_growth:
        growth = _interval(probe.gradient_growth)
        slope = f", slope {_interval(probe.slope)} per boundary" if probe.slope else ""
        yield f"{GRADIENTS[probe.flow].format(growth=growth)}{slope}."
    else:
        yield "No verdict on gradients: dL/dx is 0, or there are too few boundaries."
    if probe.inputs:
        yield f"{INPUTS[probe.inputs].format(distance=distance_text(probe.distance))}."
    else:
        yield "No verdict on inputs: activations are 0, or the batch has one example."
    yield DEGRADATION


def advice(probe: ModuleProbe) -> str:
    """What to try first."""
    if probe.flow is None:
        return ADVICE["unknown"].text
    if probe.flow != Flow.STABLE:
        return ADVICE[probe.flow].text
    return ADVICE["collapsed" if probe.inputs == Inputs.COLLAPSED else "sound"].text


def check_lines(probe: ModuleProbe) -> Iterator[str]:
    """Whether the gradients agree with finite differences."""
    if not probe.first.checks:
        return
    failed, (weights, *_) = probe.failed_checks, probe.first.checks
    if weights in failed:
        yield CHECKS["weights"].format(difference=weights.difference, autograd=weights.autograd)
    elif failed:
        yield CHECKS["chain"].format(name=failed[0].name.removeprefix("chain rule "))
    else:
        yield CHECKS["passed"].format(n=len(probe.first.checks))


def boundary_table(probe: ModuleProbe, *, all_rows: bool = True) -> Table[Row]:
    """One row for each boundary, from the input to the output."""
    return Table(
        title="Boundaries, from input to output",
        columns=[
            Column("boundary", lambda row: row.name, "Output of this module; `input` is the input of the first one."),
            Column("RMS of x", _number("activation_rms"), "Root mean square of the activations.", number=True),
            Column("distance", _distance, "distance", number=True),
            Column("|dL/dx|", _number("activation_grad_norm"), "RMS over examples of the norm of dL/dx.", number=True),
            Column("growth [95% CI]", lambda row: _interval(row.growth) if row.growth else "-", "slope", number=True),
        ],
        rows=probe.boundaries if all_rows else _some(probe.boundaries),
        key="boundaries",
    )  # fmt: skip


def layer_table(probe: ModuleProbe, *, all_rows: bool = True) -> Table[Row]:
    """One row for each weight with two or more axes."""
    return Table(
        title="Weights",
        columns=[
            Column("layer", lambda row: row.name, "Name of the parameter, without `.weight`."),
            Column("|W|", _number("weight_norm"), "Norm of the weights.", number=True),
            Column("|dL/dW|", _number("weight_grad_norm"), "Norm of the gradient of the loss with respect to W.", number=True),
        ],
        rows=probe.layers if all_rows else _some(probe.layers),
        key="layers",
    )


def _some(rows: Sequence[Row]) -> Sequence[Row]:
    """At most `MAX_ROWS` rows, evenly spaced, with the first and the last."""
    if len(rows) <= MAX_ROWS:
        return rows
    return [rows[round(number * (len(rows) - 1) / (MAX_ROWS - 1))] for number in range(MAX_ROWS)]


def _number(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row.mean(key):.3g}"


def _distance(row: Row) -> str:
    value = row.mean("activation_cosine_distance")
    return distance_text(value) if math.isfinite(value) else "-"


def _interval(difference: Difference) -> str:
    interval = "" if difference.low is None else f" [{signed(difference.low)}, {signed(difference.high or 0.0)}]"
    return signed(difference.mean) + interval


# ---- for programs -----------------------------------------------------------------------------------------------------------


def module_json(probe: ModuleProbe) -> str:
    """Everything that was measured, for each seed, with verdicts and quantities; null for values that do not exist."""
    measurements = [
        {
            **asdict(measurement),
            "boundaries": [row._asdict() for row in measurement.boundaries],
            "layers": [row._asdict() for row in measurement.layers],
            "checks": [{**asdict(check), "error": check.error} for check in measurement.checks],
        }
        for measurement in probe.measurements
    ]
    content = {
        "name": probe.name,
        "quantities": probe.quantities,
        "slope": asdict(probe.slope) if probe.slope else None,
        "gradient_growth": asdict(probe.gradient_growth) if probe.gradient_growth else None,
        "gradients": probe.flow,
        "inputs": probe.inputs,
        "advice": advice(probe),
        "failed_checks": [check.name for check in probe.failed_checks],
        "measurements": measurements,
    }
    return document("probe-module", content)


def module_csv(probe: ModuleProbe) -> str:
    """One row per seed, position and quantity."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("seed", "kind", "index", "name", "quantity", "value"))
    for kind, rows in (("boundary", probe.boundaries), ("layer", probe.layers)):
        for row in rows:
            for key, seeds in row.values.items():
                for measurement, value in zip(probe.measurements, seeds, strict=True):
                    writer.writerow((measurement.seed, kind, row.index, row.name, key, runs.format_cell(value)))
    return text.getvalue()
