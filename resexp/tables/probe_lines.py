"""Gradients and distances at initialization, for `resexp probe` and the report: a table, and sentences."""

import math
from collections.abc import Sequence
from types import MappingProxyType

from resexp.comparison import Flow, Inputs
from resexp.tables.at_initialization import DISTANCE, InitDiagnostics, Spread
from resexp.tables.definitions import legend
from resexp.tables.formats import distance_text
from resexp.tables.labels import Labels, cell_text
from resexp.tables.model import EVERYWHERE, IN_TEXT, Column, Part, Table, Tone
from resexp.tables.terminal import shade, shade_levels


def slopes(diagnostics: Sequence[InitDiagnostics], labels: Labels = MappingProxyType({})) -> Table[InitDiagnostics]:
    """One row for each arm of each configuration: slope and distance, measured and predicted; on a terminal also norms.

    labels: of the cells, by their tags; without them, cells are printed as they are.
    """
    return Table(
        title="Slopes and distances, measured and predicted",
        columns=[
            Column("arm", lambda arm: arm.arm, "arm", arm=True),
            Column("slope [95% CI]", measured_text, "slope", number=True),
            Column("predicted slope", predicted_text, "The slope from theory, ± two SDs over seeds if theory predicts them.",
                   number=True),
            Column("ratio", ratio_text, "ratio", number=True),
            Column("gradients", lambda arm: arm.flow or "-", "The norm of dL/dx over the whole network.", tone=_flow_tone,
                   media=EVERYWHERE - IN_TEXT),
            Column("inputs", lambda arm: arm.inputs or "-", "inputs collapse", tone=_inputs_tone, media=EVERYWHERE - IN_TEXT),
            Column("law", lambda arm: arm.prediction.law, media=EVERYWHERE - IN_TEXT),
            Column("distance", lambda arm: distance_text(arm.distance), "distance", number=True, media=EVERYWHERE - IN_TEXT),
            Column("predicted distance", predicted_distance_text, PREDICTED_DISTANCE, number=True, media=EVERYWHERE - IN_TEXT),
            Column("|dL/dx|", _chart, media=IN_TEXT),
            Column("verdicts", _verdicts, below="", media=IN_TEXT),
            Column("distance", _distances, below="distance ", media=IN_TEXT),
            Column("norms", _norms, below="", media=IN_TEXT),
            Column("warnings", lambda arm: "\n".join(_warnings(arm)), below="", media=IN_TEXT),
        ],
        rows=diagnostics,
        group=Column("configuration", lambda arm: cell_text(arm.cell, labels)),
        notes=reasons(diagnostics),
    )  # fmt: skip


def probe_parts(
    name: str, diagnostics: Sequence[InitDiagnostics], batches: int, batch_size: int, labels: Labels = MappingProxyType({})
) -> list[Part]:
    """Measured and predicted slope of each arm, a chart of its profile, and its norms, below their definitions."""
    seeds = max((arm.seeds for arm in diagnostics), default=0)
    counts = f"n = {seeds} seed{'' if seeds == 1 else 's'}, {batches} batch{'' if batches == 1 else 'es'} of {batch_size}"
    lines = [f"{name}: at initialization, without training; {counts}"]
    lines += legend("slope", "distance", "ratio", "95% CI", "inputs collapse")
    lines += ["predicted slope: slope from theory, ± two SDs over seeds if theory predicts them"]
    lines += ["chart: |dL/dx| from the stem to the last block; full: its maximum, blank: 1e-6 of it"]
    lines += ["below each arm: verdicts, then distances and norms at the first and last block boundary or layer; RMS for x"]
    return [*lines, slopes(diagnostics, labels)]


def _chart(arm: InitDiagnostics) -> str:
    means = [spread.mean for spread in arm.spreads["activation_grad_norm"]]
    flow = [0.0 if mean is None else math.inf if mean > 308 else 10**mean for mean in means]
    return "".join(shade(level) for level in shade_levels(flow, max(flow)))


def _distances(arm: InitDiagnostics) -> str:
    """'0.3 to 0.0021, predicted 0.0019..0.0024': at the first and at the last block boundary."""
    if arm.distance is None or DISTANCE not in arm.spreads:
        return ""
    first = arm.spreads[DISTANCE][0].mean
    predicted = predicted_distance_text(arm)
    ends = f"{distance_text(0.0 if first is None else 10**first)} to {distance_text(arm.distance)}"
    return f"{ends}, predicted {predicted}" if arm.distances.known else f"{ends}, {predicted}"


def _norms(arm: InitDiagnostics) -> str:
    symbols = {"activation_grad_norm": "dL/dx", "activation_rms": "x", "weight_grad_norm": "dL/dW"}
    ends = [(symbol, arm.spreads[name]) for name, symbol in symbols.items() if name in arm.spreads]
    return ", ".join(f"{symbol} {_level(spreads[0])} to {_level(spreads[-1])}" for symbol, spreads in ends)


def _verdicts(arm: InitDiagnostics) -> str:
    """'gradients vanishing, inputs collapsed', as far as they were measured."""
    verdicts = {"gradients": arm.flow, "inputs": arm.inputs}
    return ", ".join(f"{name} {verdict}" for name, verdict in verdicts.items() if verdict)


def _flow_tone(arm: InitDiagnostics) -> Tone:
    return Tone.NONE if arm.flow in (None, Flow.STABLE) else Tone.BAD


def _inputs_tone(arm: InitDiagnostics) -> Tone:
    return Tone.BAD if arm.inputs == Inputs.COLLAPSED else Tone.NONE


def _level(spread: Spread) -> str:
    """The geometric mean; '0' or 'not finite' if there is no positive finite value."""
    if spread.mean is None:
        return "0" if spread.zero else "not finite"
    exponent = math.floor(spread.mean)
    tenths = round(10 ** (spread.mean - exponent + 1))
    return f"{tenths / 10}e{exponent}" if tenths < 100 else f"1.0e{exponent + 1}"


def measured_text(arm: InitDiagnostics) -> str:
    """The slope with its interval over seeds, or the reason why there is none."""
    slope = arm.slope
    if slope is None:
        has_gaps = any(spread.zero or spread.infinite for spread in arm.spreads["activation_grad_norm"][1:-1])
        return "- (0 or not finite)" if has_gaps else "- (too few blocks)"
    return signed(slope.mean) + ("" if slope.low is None else f" [{signed(slope.low)}, {signed(slope.high or 0.0)}]")


def signed(value: float) -> str:
    return f"{value:+.3f}".replace("-0.000", "+0.000")


def predicted_text(arm: InitDiagnostics) -> str:
    """The predicted slope, with two SDs over seeds if theory predicts them; a range includes them."""
    expected, spread, predicted = arm.prediction.slope(), arm.prediction.slope_spread(), arm.predicted
    if expected is None or predicted is None:
        return "-" if arm.prediction.known else "no formula"
    low, high = (signed(end) for end in expected)
    if low == high:
        return low + ("" if spread is None else f" ±{spread:.3f}")
    return "..".join(map(signed, predicted))


PREDICTED_DISTANCE = "The distance from theory: from the median over seeds to the limit of large widths, ± two SDs over seeds."


def predicted_distance_text(arm: InitDiagnostics) -> str:
    """The predicted range at the last block boundary; '' if the distance was not measured."""
    if arm.distance is None:
        return ""
    if not arm.distances.known:
        return "no formula"
    ends = arm.distances.low[-1], arm.distances.high[-1]
    return "..".join(dict.fromkeys(map(distance_text, ends)))


def ratio_text(arm: InitDiagnostics) -> str:
    return "-" if arm.ratio is None else f"{arm.ratio:.2f}"


def _warnings(arm: InitDiagnostics) -> list[str]:
    """The values that are missing from means and slopes, and how to measure them."""
    lines = []
    underflow = any(spread.zero for spread in arm.spreads["activation_grad_norm"])  # otherwise zeros are exact
    for name in ("activation_grad_norm", "weight_grad_norm"):
        spreads = arm.spreads.get(name, ())
        zeros, total = sum(spread.zero > 0 for spread in spreads), len(spreads)
        exact = arm.precision == "float64" or zeros == total or not underflow
        advice = "" if exact else f" (< 1e-38 in {arm.precision}; use precision=float64)"
        lines += [f"{name} is 0 at {zeros} of {total} positions{advice}"] if zeros else []
        infinite = sum(spread.infinite > 0 for spread in spreads)
        lines += [f"{name} is not finite at {infinite} of {total} positions (use precision=float64)"] if infinite else []
    return lines


def reasons(diagnostics: Sequence[InitDiagnostics]) -> list[str]:
    """The law, source and limits of each prediction, or why there is none; one line for all arms that share them."""
    arms: dict[str, list[str]] = {}
    for arm in diagnostics:
        prediction = arm.prediction
        limits = f"; not for {prediction.not_for}" if prediction.not_for else ""
        reason = f"{prediction.law}: {prediction.source}{limits}" if prediction.known else prediction.source
        arms.setdefault(reason, []).append(arm.arm)
    return [f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in arms.items()]


# ---- sentences --------------------------------------------------------------------------------------------------------------


def agreement(diagnostics: Sequence[InitDiagnostics]) -> list[str]:
    """The number of arms that agree with the prediction, the arm that differs most, and the number without a formula."""
    lines = []
    compared = [(arm, arm.gap) for arm in diagnostics if arm.gap is not None]
    if compared:
        close = sum(gap == 0 for _, gap in compared)
        arm, gap = max(compared, key=lambda pair: pair[1])
        farthest = f" The gap is largest in {arm.arm} ({arm.cell}): {measured_text(arm)}, predicted {predicted_text(arm)}."
        lines.append(
            f"The 95% CI of the measured slope overlaps the predicted range in {close} of {len(compared)} arms."
            f"{farthest if gap else ''}"
        )
    if unknown := sum(not arm.prediction.known for arm in diagnostics):
        lines.append(f"No formula is known for {unknown} of {len(diagnostics)} arms; the reasons are below the table.")
    return lines
