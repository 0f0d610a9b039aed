"""The content of a report; HTML, Markdown and plain text print it in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resexp import claims, runs
from resexp.claims import Claim, Judgment, Verdict
from resexp.comparison import Comparison, LayerGradients
from resexp.config import Experiment
from resexp.figures import FigureData, available_figures
from resexp.runs import Launch, PairSummary, Results
from resexp.tables import published_rows
from resexp.tables.answer import answer
from resexp.tables.at_initialization import InitDiagnostics
from resexp.tables.compared import limits, precision_notes
from resexp.tables.findings import Finding, headline
from resexp.tables.formats import dead_lines
from resexp.tables.model import Table
from resexp.tables.published import MatchRow, published_table
from resexp.tables.recipes import untuned
from resexp.tables.reversals import reversals

READ_FILES = (
    "metrics.csv",
    "signals.csv",
    "gradients.csv",
)  # the files of a trial that a report reads, in addition to its result


@dataclass(frozen=True)
class ExperimentContent:
    """One experiment: images, their classes by label, remarks on them, pair summaries, launches, costs and config."""

    folder: Path
    images: str
    classes: str
    remarks: tuple[str, ...]
    pair_summaries: list[PairSummary]
    launches: list[Launch]
    costs: list[dict[str, str]]
    config: str


@dataclass(frozen=True)
class Content:
    """data: everything that figures are made from. figures: the names of those with data.

    pair_findings: one finding for each pair. recipe: learning rate and budget. untuned: lines if there is one learning rate.
    at_initialization: gradients, measured and predicted. layer_gradients: weight gradients at the first and the last layer.
    claim_verdicts: verdicts on each claim.
    """

    data: FigureData
    results: Results
    comparison: Comparison
    recipe: str
    untuned: list[str]
    answer: list[str]
    headline: str
    pair_findings: list[Finding]
    reversals: list[str]
    figures: list[str]
    at_initialization: list[InitDiagnostics]
    layer_gradients: list[LayerGradients]
    claim_verdicts: list[tuple[Claim, list[Judgment]]]
    primary: list[Judgment]
    published: Table[MatchRow]
    sources: list[ExperimentContent]


def collect(results: Results, tune: Sequence[str] = ()) -> Content:
    """The content of a report on all finished trials; tune: axes of which each arm has its best value, as in `compare --tune`.

    Raises:
        ConfigError: a key in `tune` that is not an axis.
        RunsError: no trial has finished, or a damaged file.
    """
    if not any(record.result for record in results.records):
        raise runs.RunsError(f"{results.sources[0][0]}: no trial has finished yet; nothing to report")
    data = FigureData(results, tune)
    compared, pair_findings, figures = data.comparison, data.pair_findings, available_figures(data)
    sources = [_source(folder, experiment) for folder, experiment in results.sources]
    return Content(
        data=data,
        results=results,
        comparison=compared,
        recipe=data.recipe,
        untuned=untuned(results),
        answer=[
            *limits(results),
            *dead_lines(compared.cells),
            *precision_notes(compared),
            *answer(compared, pair_findings, [summary for source in sources for summary in source.pair_summaries]),
        ],
        headline=headline(compared.cells, pair_findings, data.recipe),
        pair_findings=pair_findings,
        reversals=reversals(pair_findings),
        figures=figures,
        at_initialization=data.at_initialization,
        layer_gradients=data.layer_gradients if "weight-gradient" in figures else [],
        claim_verdicts=_claim_verdicts(results),
        primary=claims.primaries(results),
        published=published_table(published_rows(results)),
        sources=sources,
    )


def _source(folder: Path, experiment: Experiment) -> ExperimentContent:
    launches = runs.launches(folder)
    training, validation, test = launches[-1].images
    name = experiment.shared.data.name
    return ExperimentContent(
        folder=folder,
        images=f"{training:,} training, {validation:,} validation and {test:,} test images of {name}",
        classes=", ".join(f"{n} {name}" for n, name in enumerate(launches[-1].classes)),
        remarks=launches[-1].remarks,
        pair_summaries=runs.pair_summaries(folder),
        launches=launches,
        costs=runs.read_rows(folder / "cost.csv"),
        config=runs.to_yaml(experiment.settings),
    )


def _claim_verdicts(results: Results) -> list[tuple[Claim, list[Judgment]]]:
    """Verdicts on the shipped claims. Files without a tested claim are left out, except the tutorial."""
    verdicts: list[tuple[Claim, list[Judgment]]] = []
    for name in claims.shipped():
        judgments = [(claim, claims.judge(claim.expectation, results)) for claim in claims.read(name)]
        if name == "tutorial" or any(
            judgment.verdict != Verdict.NOT_TESTED for _, claim_judgments in judgments for judgment in claim_judgments
        ):
            verdicts += judgments
    return verdicts
