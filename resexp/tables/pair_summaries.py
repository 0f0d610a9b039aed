"""The card of a pair in words: what is equal, what the shortcut adds, what else it changed before the first step."""

import math
from collections.abc import Sequence
from typing import Any

from resexp.tables.terminal import fitted

PairSummary = dict[str, Any]

FAR = 0.05  # relative difference of gradient norms from those of float32

EQUAL = {"first_batch": "first batch", "recipe": "recipe"}
AT_START = {"loss": "loss", "output_rms": "RMS of the logits", "slope": "slope of the gradient"}
START = {
    "zero_init_residual": "start differs: the plain twin starts without zero_init_residual",
    "fixup": "start differs: the plain twin starts from he, not from fixup",
}
NOTES = {
    "same_function_class": "same function class: arms differ only in their start and their steps",
    "nothing_to_skip": "depth 2: nothing to skip",
    "same_as_plain": "the same network as plain: this shortcut brings no parameters, which only the networks themselves show",
}


def equalities(pair_summary: PairSummary) -> str:
    """What a card shows to be equal, and what not; the second control has a width and weights of its own."""
    equal, arms = pair_summary["equal"], (pair_summary["plain"], pair_summary["residual"])
    words = {True: "equal", False: "DIFFERENT"}
    if equal["weights_bit_equal"] is None:
        plain, residual = (f"{pair_summary['at_start'][arm]['parameters']:,}" for arm in arms)
        widths = " and ".join(str(pair_summary["width"][arm]) for arm in arms)
        weights = f"width {widths}, at least as many parameters ({plain} and {residual}), weights of its own"
    else:
        weights = f"{equal['weights']} shared weight tensors {words[equal['weights_bit_equal']]}"
    return ", ".join([weights, *(f"{name} {words[equal[key]]}" for key, name in EQUAL.items())])


def beyond(pair_summary: PairSummary) -> list[str]:
    """What the residual arm has beyond its twin: parameters, multiply-adds and bytes kept for backward, per image."""
    costs = pair_summary["beyond"]
    parts = [f"{costs['parameters']:+,} parameters", f"{costs['multiply_adds']:+,} multiply-adds"]
    return [*parts, f"{costs['activation_bytes']:+,} B kept for backward"] if any(costs.values()) else ["nothing"]


def at_start(pair_summary: PairSummary, key: str) -> str:
    """A value measured of both arms before the first update: '2.31 / 4.05'."""
    values = [pair_summary["at_start"][arm][key] for arm in (pair_summary["plain"], pair_summary["residual"])]
    return " / ".join(f"{value:.4g}" if value is not None and math.isfinite(value) else "-" for value in values)


def notes(pair_summary: PairSummary) -> list[str]:
    """What has to be said of a pair beside its numbers."""
    told = [*(START[key] for key in pair_summary["start_differs"]), *(text for key, text in NOTES.items() if pair_summary[key])]
    grown = [f"{_seeds(of['seeds'])} in round {of['round']}" for of in pair_summary.get("rounds", ())]
    told += warnings(pair_summary)
    return [*told, f"planned at different times: {', '.join(grown)}"] if len(grown) > 1 else told


def warnings(pair_summary: PairSummary) -> list[str]:
    """Warnings about a pair: gradient norms that differ from float32, channels that never learn."""
    gaps = {
        arm: pair_summary["at_start"][arm].get("precision_gap") for arm in (pair_summary["plain"], pair_summary["residual"])
    }
    lines = [
        f"{arm}: at initialization gradient norms in {pair_summary['precision']} are up to {100 * gap:.0f}% off those in float32"
        for arm, gap in gaps.items()
        if gap is not None and gap > FAR
    ]
    if pair_summary.get("padded_channels_dead"):
        lines.append(
            f"{pair_summary['residual']}: the zero channels with which the shortcut pads never receive a gradient, as branches "
            "start at 0 and relu'(0) = 0; network.shortcut=projection trains them"
        )
    return lines


def _seeds(seeds: Sequence[int]) -> str:
    """'seeds 0-4' where they follow each other, else 'seeds 0, 7'."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]}-{seeds[-1]}"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def pair_summary_lines(pair_summaries: Sequence[PairSummary]) -> list[str]:
    """All cards for a terminal of 80 columns."""
    lines = []
    for pair_summary in pair_summaries:
        lines += [
            "",
            f"{pair_summary['cell']}: {pair_summary['plain']} / {pair_summary['residual']}",
            f"  {equalities(pair_summary)}",
        ]
        lines += [
            f"  beyond its twin: {', '.join(beyond(pair_summary)[:2])}",
            *(f"    {part}" for part in beyond(pair_summary)[2:]),
        ]
        lines += [f"  at step 0, {name}: {at_start(pair_summary, key)}" for key, name in AT_START.items()]
        lines += [f"  note: {text}" for text in notes(pair_summary)]
    return fitted(lines)
