"""Pair summaries as text: matched properties, the extra cost of the shortcut, and what else changes at initialization."""

import math
from collections.abc import Callable, Sequence

from resexp.runs import PairSummary
from resexp.tables.formats import slope_text
from resexp.tables.model import Column, Table
from resexp.tables.terminal import WIDTH, fitted
from resexp.tables.text_layout import plain_lines

MAX_PRECISION_GAP = 0.05  # relative difference of gradient norms from float32, above which there is a warning

MATCHED = {"first_batch": "first batch", "recipe": "hyperparameters"}
AT_INITIALIZATION = {"loss": "loss", "output_rms": "RMS of the logits", "slope": "gradient slope"}
INITIALIZATION_NOTES = {
    "zero_init_residual": "initialization differs: the plain counterpart has no zero_init_residual",
    "fixup": "initialization differs: the plain counterpart has init he, not fixup",
}
NOTES = {
    "same_function_class": "same function class: both networks differ only in initialization and updates",
    "nothing_to_skip": "depth 2: nothing to skip",
    "same_as_plain": "the same network as plain: this shortcut has no parameters",
}


def equalities(summary: PairSummary) -> str:
    """The matched and unmatched parts of a pair; a parameter-matched baseline has a different width and other weights."""
    equal, arms = summary.equal, (summary.plain, summary.residual)
    verdicts = {True: "equal", False: "DIFFERENT"}
    if equal.weights_bit_equal is None:
        plain, residual = (f"{summary.at_start[arm].parameters:,}" for arm in arms)
        widths = " and ".join(str(summary.width[arm]) for arm in arms)
        weights = f"width {widths}, at least as many parameters ({plain} and {residual}), different weights"
    else:
        weights = f"{equal.weights} shared weight tensors {verdicts[equal.weights_bit_equal]}"
    return ", ".join([weights, *(f"{name} {verdicts[getattr(equal, key)]}" for key, name in MATCHED.items())])


def extra_cost(summary: PairSummary) -> list[str]:
    """The extra cost of the residual arm over plain: parameters, multiply-adds and activation memory per image."""
    costs = summary.beyond
    parts = [f"{costs.parameters:+,} parameters", f"{costs.multiply_adds:+,} multiply-adds"]
    return ["none"] if costs.is_none else [*parts, f"{costs.activation_bytes:+,} B activation memory per image"]


def at_start_text(summary: PairSummary, key: str, digits: int = 4) -> str:
    """A value of both arms at initialization: '2.31 / 4.05'."""
    values = [getattr(summary.at_start[arm], key) for arm in (summary.plain, summary.residual)]
    return " / ".join(f"{value:.{digits}g}" if value is not None and math.isfinite(value) else "-" for value in values)


def pair_notes(summary: PairSummary) -> list[str]:
    """Remarks on a pair, in addition to its numbers."""
    remarks = [
        *(INITIALIZATION_NOTES[key] for key in summary.start_differs),
        *(text for key, text in NOTES.items() if getattr(summary, key)),
    ]
    rounds = [f"{_seeds(extension.seeds)} in round {extension.round}" for extension in summary.rounds]
    remarks += pair_warnings(summary)
    return [*remarks, f"seeds were added later: {', '.join(rounds)}"] if len(rounds) > 1 else remarks


def pair_warnings(summary: PairSummary) -> list[str]:
    """Warnings about a pair: gradient norms that differ from float32, channels that never learn."""
    gaps = {arm: summary.at_start[arm].precision_gap for arm in (summary.plain, summary.residual)}
    lines = [
        f"{arm}: initial gradient norms in {summary.precision} differ by up to {100 * gap:.0f}% from float32"
        for arm, gap in gaps.items()
        if gap is not None and gap > MAX_PRECISION_GAP
    ]
    if summary.padded_channels_dead:
        lines.append(
            f"{summary.residual}: zero channels that the shortcut adds never receive a gradient, because branches are "
            "0 at initialization and relu'(0) = 0; network.shortcut=projection trains them"
        )
    return lines


def _seeds(seeds: Sequence[int]) -> str:
    """'seeds 0-4' for consecutive seeds, otherwise 'seeds 0, 7'."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]}-{seeds[-1]}"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _start_column(heading: str, key: str, explain: str = "") -> Column[PairSummary]:
    name = AT_INITIALIZATION[key]
    below = f"{name} at initialization, plain / residual: "
    return Column(heading, lambda summary: at_start_text(summary, key), explain, number=True, below=below)


def matched_pairs(summaries: Sequence[PairSummary]) -> Table[PairSummary]:
    """One row for each pair."""
    return Table(
        title="Matched pairs",
        columns=[
            Column("pair", lambda summary: f"{summary.plain} / {summary.residual}"),
            Column("matched", equalities, below=""),
            Column("extra cost", lambda summary: ", ".join(extra_cost(summary)), "extra cost", below="extra cost: "),
            _start_column("initial loss", "loss"),
            _start_column("output RMS", "output_rms"),
            _start_column("slope at init", "slope", "slope"),
            Column("notes", lambda summary: "\n".join(pair_notes(summary)), below="note: "),
        ],
        rows=summaries,
        group=Column("configuration", lambda summary: summary.cell),
    )


def pair_summary_lines(summaries: Sequence[PairSummary]) -> list[str]:
    """All pair summaries for a terminal of 80 columns."""
    return ["", *plain_lines(matched_pairs(summaries))] if summaries else []


# ---- many pair summaries in few lines -----------------------------------------------------------------------------------

LOSS, RMS, SLOPE = 16, 18, 15  # widths of columns: '2.4 / 1.08e+06', '0.418 / 6.82e+05', '-0.78 / +0.00'


def pair_overview_lines(pair_summaries: Sequence[PairSummary]) -> list[str]:
    """What pairs have in common, their extra cost and notes, each once for all pairs; then one row of values for each pair."""
    if not pair_summaries:
        return []
    count = f"{len(pair_summaries)} pair{'' if len(pair_summaries) == 1 else 's'}"
    names = _names(pair_summaries)
    lines = [f"{count}, plain / residual, at initialization"]
    lines += _grouped(pair_summaries, names, lambda summary: [_equal_parts(summary)])
    lines += _grouped(
        pair_summaries,
        names,
        lambda summary: [f"extra cost of {summary.residual}{_over(summary)}: {', '.join(extra_cost(summary))}"],
    )
    lines += _grouped(pair_summaries, names, lambda summary: [f"note: {note}" for note in pair_notes(summary)])
    width = WIDTH - LOSS - RMS - SLOPE
    lines.append(f"{'':<{width}}{'loss':>{LOSS}}{'RMS of logits':>{RMS}}{'gradient slope':>{SLOPE}}")
    for name, summary in zip(names, pair_summaries, strict=True):
        row = f"{at_start_text(summary, 'loss', 3):>{LOSS}}{at_start_text(summary, 'output_rms', 3):>{RMS}}"
        row += f"{_slopes(summary):>{SLOPE}}"
        lines += [f"  {name:<{width - 2}}{row}"] if len(name) <= width - 2 else [f"  {name}", f"{'':<{width}}{row}"]
    return fitted(lines)


def _names(pair_summaries: Sequence[PairSummary]) -> list[str]:
    """The cell of each pair, with its residual arm if there are several, and its plain arm if that is a matched baseline."""
    has_several = len({summary.residual for summary in pair_summaries}) > 1
    return [
        " ".join([summary.cell, *([summary.residual] if has_several else [])]) + _over(summary) for summary in pair_summaries
    ]


def _over(summary: PairSummary) -> str:
    return "" if summary.plain == "plain" else f" over {summary.plain}"


def _slopes(summary: PairSummary) -> str:
    values = [summary.at_start[arm].slope for arm in (summary.plain, summary.residual)]
    return " / ".join(slope_text(value if value is not None and math.isfinite(value) else None) for value in values)


def _equal_parts(summary: PairSummary) -> str:
    """The matched and unmatched parts, without the number of weights, which differs between pairs."""
    equal = summary.equal
    if equal.weights_bit_equal is None or not all(getattr(equal, key) for key in ("weights_bit_equal", *MATCHED)):
        return equalities(summary)
    return f"shared weights, {' and '.join(MATCHED.values())} equal"


def _grouped(
    pair_summaries: Sequence[PairSummary], names: Sequence[str], sentences_of: Callable[[PairSummary], Sequence[str]]
) -> list[str]:
    """Each sentence once, with the pairs that it is about unless these are all."""
    members: dict[str, list[str]] = {}
    for name, summary in zip(names, pair_summaries, strict=True):
        for sentence in sentences_of(summary):
            members.setdefault(sentence, []).append(name)
    where = {sentence: "" if len(pairs) == len(names) else f" ({', '.join(pairs)})" for sentence, pairs in members.items()}
    return [f"  {sentence}{pairs}" for sentence, pairs in where.items()]
