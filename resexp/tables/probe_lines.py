"""What `resexp probe` and the report say of gradients at initialisation: lines for a terminal of 80 columns, and sentences."""

import math
from collections.abc import Sequence
from itertools import groupby

from resexp.tables.at_initialization import QUANTITIES, InitDiagnostics, Spread
from resexp.tables.terminal import fitted, shade, shade_levels

FORM = "  {:<9} {:<23} {:<21} {:>5} {}"
MAX_LENGTH = 9  # of the names that stand in a row with everything else


def probe_lines(name: str, found: Sequence[InitDiagnostics], batches: int, batch_size: int) -> list[str]:
    """For a terminal of 80 columns: each arm's slope, measured and predicted, a chart of its profile, levels below."""
    seeds = max((of.seeds for of in found), default=0)
    lines = [f"{name}: at initialisation, {seeds} seed(s), {batches} batch(es) of {batch_size}, nothing trained"]
    lines += ["slope: decades per block by which the gradient grows towards the input"]
    lines += ["chart: dL/dx from the stem to the last block; full: its largest, blank: 1e-6"]
    lines += ["below: at the first and last block boundary or layer; norms, of x the RMS"]
    lines += ["", FORM.format("arm", "slope [95 %]", "predicted", "ratio", "dL/dx").rstrip()]
    for cell, arms in groupby(found, key=lambda of: of.cell):
        lines += ["", cell]
        for arm in arms:
            lines += _arm_lines(arm)
    return fitted([*lines, "", *reasons(found)])


def _arm_lines(arm: InitDiagnostics) -> list[str]:
    flow = [_value(of) for of in arm.spreads["activation_grad_norm"]]
    chart = "".join(shade(level) for level in shade_levels(flow, max(flow)))
    values = (measured_text(arm), predicted_text(arm), ratio_text(arm), chart)
    long = len(arm.arm) > MAX_LENGTH
    lines = [f"  {arm.arm}"] if long else []
    lines += [FORM.format("" if long else arm.arm, *values).rstrip()]
    words = {"activation_grad_norm": "dL/dx", "activation_rms": "x", "weight_grad_norm": "dL/dW"}
    ends = [f"{word} {_level(arm.spreads[name][0])} to {_level(arm.spreads[name][-1])}" for name, word in words.items()]
    return [*lines, f"    {', '.join(ends)}", *(f"    {warning}" for warning in _warnings(arm))]


def _value(of: Spread) -> float:
    return 0.0 if of.mean is None else math.inf if of.mean > 308 else 10**of.mean


def _level(of: Spread) -> str:
    """The geometric mean; 0 and inf only where nothing else was seen."""
    if of.mean is None:
        return "0" if of.zero else "not finite"
    exponent = math.floor(of.mean)
    tenths = round(10 ** (of.mean - exponent + 1))
    return f"{tenths / 10}e{exponent}" if tenths < 100 else f"1.0e{exponent + 1}"


def measured_text(arm: InitDiagnostics) -> str:
    """The slope with its interval over seeds, or why there is none."""
    slope = arm.slope
    if slope is None:
        lost = any(of.zero or of.infinite for of in arm.spreads["activation_grad_norm"][1:-1])
        return "- (0 or not finite)" if lost else "- (too few blocks)"
    return _decades(slope.mean) + ("" if slope.low is None else f" [{_decades(slope.low)}, {_decades(slope.high or 0.0)}]")


def _decades(value: float) -> str:
    return f"{value:+.3f}".replace("-0.000", "+0.000")


def predicted_text(arm: InitDiagnostics) -> str:
    """The slope that theory predicts, with two standard deviations over seeds where it knows them."""
    expected, spread = arm.prediction.slope(), arm.prediction.slope_spread()
    if expected is None:
        return "-" if arm.prediction.known else "no formula"
    low, high = (_decades(of) for of in expected)
    return (low if low == high else f"{low}..{high}") + ("" if spread is None else f" ±{spread:.3f}")


def ratio_text(arm: InitDiagnostics) -> str:
    return "-" if arm.ratio is None else f"{arm.ratio:.2f}"


def _warnings(arm: InitDiagnostics) -> list[str]:
    """What was left out of means and slopes, and the cure."""
    lines = []
    faint = any(of.zero for of in arm.spreads["activation_grad_norm"])  # else weights have no gradient behind zeros
    for name in QUANTITIES[1:]:
        spreads = arm.spreads.get(name, ())
        gone, total = sum(of.zero > 0 for of in spreads), len(spreads)
        exact = arm.precision == "float64" or gone == total or not faint
        cure = "" if exact else f" (< 1e-38 in {arm.precision}; precision=float64 shows it)"
        lines += [f"{name} is 0 at {gone} of {total} places{cure}"] if gone else []
        wild = sum(of.infinite > 0 for of in spreads)
        lines += [f"{name} is not finite at {wild} of {total} places (precision=float64 has more room)"] if wild else []
    return lines


def reasons(found: Sequence[InitDiagnostics]) -> list[str]:
    """The law, source and limits of each prediction, or why there is none, once for all arms that share it."""
    arms: dict[str, list[str]] = {}
    for of in found:
        limits = f"; not for {of.prediction.not_for}" if of.prediction.not_for else ""
        words = f"{of.prediction.law}: {of.prediction.source}{limits}" if of.prediction.known else of.prediction.source
        arms.setdefault(words, []).append(of.arm)
    return [f"{', '.join(dict.fromkeys(names))}: {words}" for words, names in arms.items()]


# ---- sentences --------------------------------------------------------------------------------------------------------------

CLOSE = 0.05  # of a ratio to 1


def agreement(found: Sequence[InitDiagnostics]) -> list[str]:
    """How many arms grow per block as predicted, which one lies farthest off, and for which there is no formula."""
    lines = []
    compared = [(of, of.ratio) for of in found if of.ratio is not None]
    if compared:
        close = sum(abs(ratio - 1) <= CLOSE for _, ratio in compared)
        of, ratio = max(compared, key=lambda pair: abs(math.log(pair[1])))
        lines.append(
            f"The factor by which the gradient grows per block is within {CLOSE:.0%} of the predicted one in {close} of "
            f"{len(compared)} arms; farthest off is {of.arm} at {of.cell}: {ratio:.3g} times the predicted factor."
        )
    if unknown := sum(not of.prediction.known for of in found):
        lines.append(f"For {unknown} of {len(found)} arms no formula is known; why stands below the table.")
    return lines
