"""Rank correlation of each predictor with training accuracy."""

from resexp import inference
from resexp.comparison import PREDICTORS, Comparison
from resexp.inference import RankCorrelation
from resexp.inference.ranks import RESAMPLES
from resexp.tables.model import Column, Table


def interval_text(correlation: RankCorrelation) -> str:
    """'[0.71, 0.93]'; '' without an interval."""
    return "" if correlation.low is None else f"[{correlation.low:.2f}, {correlation.high:.2f}]"


EXPLAIN = (
    "Rank correlation with final training accuracy over arms. It is positive in the direction that helps training: more "
    "distance, less growth, less loss."
)
PredictorRow = tuple[str, RankCorrelation]


def predictors(comparison: Comparison) -> Table[PredictorRow]:
    """One row for each quantity that was measured at initialization in at least eight arms."""
    rows = list(comparison.trainability.correlations().items())
    return Table(
        title="Spearman correlation with training accuracy",
        columns=[
            Column("predictor", lambda row: PREDICTORS[row[0]].label, data={"predictor": lambda row: row[0]}),
            Column(
                "Spearman", lambda row: f"{row[1].value:.2f}", EXPLAIN, number=True,
                data={"spearman": lambda row: row[1].value},
            ),
            Column(
                f"{100 * inference.LEVEL:.0f}% CI", lambda row: interval_text(row[1]), number=True,
                data={"low": lambda row: row[1].low, "high": lambda row: row[1].high},
            ),
            Column("arms", lambda row: str(row[1].arms), number=True, data={"arms": lambda row: row[1].arms}),
            Column(
                "configurations", lambda row: str(row[1].configurations), number=True,
                data={"configurations": lambda row: row[1].configurations},
            ),
        ],
        rows=rows,
        notes=[
            f"Spearman: {EXPLAIN[:1].lower()}{EXPLAIN[1:]}",
            f"95% CI: percentiles of {RESAMPLES:,} resamples of configurations.",
        ] if rows else [],
    )  # fmt: skip
