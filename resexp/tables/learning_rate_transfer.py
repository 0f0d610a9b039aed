"""The table of best learning rates over depth, with the exponent of the best rate over the number of blocks."""

from dataclasses import asdict

from resexp.comparison import Comparison, RateTransfer, rate_transfers
from resexp.tables.labels import label_text
from resexp.tables.model import EVERYWHERE, IN_TEXT, Column, Table
from resexp.tables.sentences import Sentence

SENTENCES = {
    "exponent": Sentence(
        "exponent p: best learning rate ~ blocks^p, by least squares in logs; mean over seeds.",
        "`--tune lr`, an arm with at least 3 depths and 2 learning rates",
    ),
    "best": Sentence(
        "The best rate of a seed has its highest validation accuracy among networks above chance; rates are geometric means.",
        "as above",
    ),
    "resolution": Sentence(
        "95% CI: Student's t over seeds, extended by the resolution of the grid: an error of half a step in each best rate.",
        "as above",
    ),
    "edge": Sentence(
        "at the edge: the best rate of a seed is the smallest or the largest one; a better one may be outside the grid.",
        "such a rate exists",
    ),
    "published": Sentence(
        "Published: p = -3/2 for unscaled branches (arXiv:2602.07494), 0 for branches times 1/sqrt(blocks) (arXiv:2310.02244).",
        "an arm is a residual network",
    ),
    "none": Sentence("-: no seed has a best rate at 3 depths.", "such an arm exists"),
}


def learning_rate_transfer(comparison: Comparison) -> Table[RateTransfer]:
    """One row for each arm under each condition; none unless the learning rate is tuned."""
    rows = rate_transfers(comparison.results) if "lr" in comparison.tuned_keys else []
    notes = [SENTENCES[key].format() for key in ("exponent", "best", "resolution") if rows]
    notes += [SENTENCES["edge"].format()] if any(row.edges for row in rows) else []
    notes += [SENTENCES["none"].format()] if any(row.exponent is None for row in rows) else []
    notes += [SENTENCES["published"].format()] if any(row.arm != "plain" for row in rows) else []
    return Table(
        title="Best learning rate over depth",
        columns=[
            Column(data={"condition": lambda row: label_text(row.condition)}),
            Column("arm", lambda row: row.arm, "arm", arm=True, data={"arm": lambda row: row.arm}),
            Column(
                "exponent [95% CI]", exponent_text, "Exponent p of best learning rate ~ blocks^p.", number=True,
                data={
                    "exponent": lambda row: row.exponent and row.exponent.mean,
                    "low": lambda row: row.interval and row.interval[0],
                    "high": lambda row: row.interval and row.interval[1],
                    "n": lambda row: len(row.exponents),
                },
            ),
            Column("resolution", lambda row: f"±{row.resolution:.2f}", "Resolution: error from half a step in each best rate.",
                   number=True, data={"resolution": lambda row: row.resolution}),
            Column("best rate by depth", _rates, media=EVERYWHERE - IN_TEXT,
                   data={"rates": lambda row: "; ".join(f"{depth}: {rate:.9g}" for depth, rate in row.rates.items())}),
            Column("best rate by depth", _rates, below="best rate: ", media=IN_TEXT),
            Column("at the edge", _edges, "Depths at which a best rate is the smallest or the largest of the grid.",
                   data={"edges": _edges}),
        ],
        rows=rows,
        group=Column("condition", lambda row: label_text(row.condition)),
        notes=notes,
        record=lambda row: {"exponents": row.exponents, "over_seeds": row.exponent and asdict(row.exponent)},
    )  # fmt: skip


def exponent_text(row: RateTransfer) -> str:
    """'-0.52 [-0.71, -0.33]'; '-' without an exponent."""
    interval = row.interval and f" [{row.interval[0]:+.2f}, {row.interval[1]:+.2f}]"
    return f"{row.exponent.mean:+.2f}{interval or ''}" if row.exponent else "-"


def _rates(row: RateTransfer) -> str:
    return ", ".join(f"{rate:.2g} at depth {depth}" for depth, rate in row.rates.items()) or "-"


def _edges(row: RateTransfer) -> str:
    return ", ".join(map(str, row.edges))
