"""Pair summaries as text: matched properties, the extra cost of the shortcut, and what else changes at initialization."""

import math
from collections.abc import Sequence
from functools import partial

from resexp.runs import PairSummary
from resexp.tables.formats import slope_text
from resexp.tables.labels import NO_AXIS, Labels, cell_text, condition, grouped
from resexp.tables.model import Column, Part, Table

MAX_PRECISION_GAP = 0.05  # relative difference of gradient norms from float32, above which there is a warning

MATCHED = {"first_batch": "first batch", "recipe": "hyperparameters"}
AT_INITIALIZATION = {"loss": "loss", "output_rms": "RMS of the logits", "slope": "gradient slope", "distance": "distance"}
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
    finite = [value if value is not None and math.isfinite(value) else None for value in values]
    if key == "slope" and digits < 4:
        return " / ".join(map(slope_text, finite))
    return " / ".join("-" if value is None else f"{value:.{digits}g}" for value in finite)


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


def _has_distances(summaries: Sequence[PairSummary]) -> bool:
    """Whether distances were measured; earlier releases did not."""
    return any(values.distance is not None for summary in summaries for values in summary.at_start.values())


def matched_pairs(summaries: Sequence[PairSummary], labels: Labels) -> Table[PairSummary]:
    """One row for each pair, with its record in JSON."""
    return Table(
        title="Matched pairs",
        key="pairs",
        columns=[
            Column("pair", lambda summary: f"{summary.plain} / {summary.residual}"),
            Column("matched", equalities, below=""),
            Column("extra cost", lambda summary: ", ".join(extra_cost(summary)), "extra cost", below="extra cost: "),
            _start_column("initial loss", "loss"),
            _start_column("output RMS", "output_rms"),
            _start_column("slope at init", "slope", "slope"),
            *([_start_column("distance at init", "distance", "distance")] if _has_distances(summaries) else []),
            Column("notes", lambda summary: "\n".join(pair_notes(summary)), below="note: "),
            Column(data={"label": lambda summary: cell_text(summary.cell, labels)}),
        ],
        rows=summaries,
        group=Column("configuration", lambda summary: cell_text(summary.cell, labels)),
        record=lambda summary: summary.content,
    )


# ---- many pair summaries in few lines -----------------------------------------------------------------------------------


def pair_overview(summaries: Sequence[PairSummary], labels: Labels) -> list[Part]:
    """What pairs have in common, their extra cost and notes, each once for all pairs; then one row of values for each pair."""
    names = [_pair_name(summary, summaries, cell_text(summary.cell, labels)) for summary in summaries]
    sentences = [(name, sentence) for name, summary in zip(names, summaries, strict=True) for sentence in _sentences(summary)]

    def condition_of(summary: PairSummary) -> str:
        text = condition(labels.get(summary.cell, {}))
        return "" if text == NO_AXIS else text

    def name_in_condition(summary: PairSummary) -> str:
        label = labels.get(summary.cell, {})
        cell = f"depth {label['depth']}" if "depth" in label else summary.cell
        return _pair_name(summary, summaries, cell)

    conditions = list(dict.fromkeys(map(condition_of, summaries)))
    table = Table(
        title="Values of plain / residual at initialization",
        columns=[
            Column("pair", name_in_condition),
            *(Column[PairSummary](heading, partial(at_start_text, key=key, digits=3), number=True)
              for key, heading in AT_INITIALIZATION.items() if key != "distance" or _has_distances(summaries)),
        ],
        rows=sorted(summaries, key=lambda summary: conditions.index(condition_of(summary))),
        group=Column("condition", condition_of),
        key="pairs",
    )  # fmt: skip
    count = f"{len(summaries)} pair{'' if len(summaries) == 1 else 's'}, plain / residual:"
    return [count, *grouped(sentences, names), table] if summaries else []


def _pair_name(summary: PairSummary, summaries: Sequence[PairSummary], cell: str) -> str:
    """The cell of a pair, with its residual arm if there are several, and its plain arm if that is a matched baseline."""
    arm = f", {summary.residual}" if len({other.residual for other in summaries}) > 1 else ""
    return f"{cell}{arm}{_over(summary)}"


def _over(summary: PairSummary) -> str:
    return "" if summary.plain == "plain" else f" over {summary.plain}"


def _sentences(summary: PairSummary) -> list[str]:
    """Matched parts (without the number of weights, which differs between pairs), extra cost and notes."""
    equal = summary.equal
    all_equal = equal.weights_bit_equal is not None and all(getattr(equal, key) for key in ("weights_bit_equal", *MATCHED))
    return [
        f"shared weights, {' and '.join(MATCHED.values())} equal" if all_equal else equalities(summary),
        f"extra cost of {summary.residual}{_over(summary)}: {', '.join(extra_cost(summary))}",
        *(f"note: {note}" for note in pair_notes(summary)),
    ]
