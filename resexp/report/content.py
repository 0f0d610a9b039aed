"""The content of a report: sections, which the writers of HTML, Markdown and plain text print in the same order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from resexp import claims, inference, runs
from resexp.claims import Claim, Judgment, Verdict
from resexp.comparison import Comparison
from resexp.config import Experiment
from resexp.figures import FIGURES, FigureData, available_figures
from resexp.figures import Section as FigureSection
from resexp.runs import Launch, Results, Track
from resexp.tables import progress_text, published_rows
from resexp.tables.answer import best_lines, matching_line, question_lines
from resexp.tables.best_settings import SELECTED, best_settings
from resexp.tables.budget import longer_commands
from resexp.tables.by_layer import weight_gradients
from resexp.tables.claim_table import claim_table, primary_table
from resexp.tables.compared import limits, notes, precision_notes, seed_budget_lines
from resexp.tables.comparison_tables import added_tables
from resexp.tables.configurations import configurations
from resexp.tables.costs import costs_of_steps
from resexp.tables.error_over_depth import error_over_depth
from resexp.tables.findings import headline, pair_verdicts
from resexp.tables.formats import dead_lines, sources_text
from resexp.tables.labels import Labels, cell_labels, label_text
from resexp.tables.model import Table
from resexp.tables.pair_summaries import matched_pairs
from resexp.tables.predictors import predictors
from resexp.tables.probe_lines import slopes
from resexp.tables.published import published_table
from resexp.tables.recipes import untuned
from resexp.tables.remedies import advice, trained_diagnoses
from resexp.tables.reversals import reversals

READ_FILES = (
    "metrics.csv",
    "signals.csv",
    "gradients.csv",
)  # the files of a trial that a report reads, in addition to its result


@dataclass(frozen=True)
class Points:
    """Sentences as a list."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Listing:
    """Commands or a file; title: what the reader opens to see it, '' if it is always visible."""

    lines: Sequence[str]
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure with its texts. letters: the chart in plain text, for formats without pictures."""

    name: str
    title: str
    caption: str
    sentences: Sequence[str]
    letters: Sequence[str]


Part = str | Points | Listing | Picture | Table[Any]


@dataclass(frozen=True)
class Section:
    """A section of the report; short: its title in the table of contents."""

    name: str
    title: str
    parts: Sequence[Part]
    short: str = ""


@dataclass(frozen=True)
class Content:
    """title: the question. sections: those that have a part."""

    data: FigureData
    title: str
    sections: Sequence[Section]

    @cached_property
    def pictures(self) -> list[Picture]:
        return [part for section in self.sections for part in section.parts if isinstance(part, Picture)]

    @property
    def answer(self) -> Sequence[str]:
        """The sentences with which the report begins."""
        return next((part.lines for part in self.sections[0].parts if isinstance(part, Points)), ())


def collect(results: Results, tune: Sequence[str] = (), track: Track = iter) -> Content:
    """The content of a report on all finished trials.

    tune: axes of which each arm has its best value, as in `compare --tune`. track: as in `FigureData`.

    Raises:
        ConfigError: a key in `tune` that is not an axis.
        RunsError: no trial has finished, or a damaged file.
    """
    if not any(record.result for record in results.records):
        raise runs.RunsError(f"{results.sources[0][0]}: no trial has finished yet; nothing to report")
    data = FigureData(results, tune, track)
    title = " ".join(results.questions) or results.name
    return Content(data, title, [section for section in _sections(data) if section.parts])


def _lead(data: FigureData) -> str:
    """The experiment: its trials, its images and its recipe."""
    results = data.results
    images = [_images(runs.launches(folder)[-1], experiment) for folder, experiment in results.sources]
    lead = f"{results.name}: {progress_text(results.records)}; {'; '.join(dict.fromkeys(images))}. Trained at {data.recipe}."
    return f"{lead} Fixed: {label_text(results.common)}." if results.common else lead


Pictures = Mapping[FigureSection, Sequence[Picture]]


def _sections(data: FigureData) -> list[Section]:
    """The answer, the three questions, the results, and what they rest on."""
    pictures = _pictures(data)
    summaries = [summary for folder, _ in data.results.sources for summary in runs.pair_summaries(folder)]
    labels = cell_labels(*(experiment for _, experiment in data.results.sources))
    pairs = matched_pairs(summaries, labels)
    return [
        _answer(data, pictures, summaries),
        *_questions(data, pictures),
        *_results(data, pictures),
        _section("cost", "Cost", *(_costs(folder, labels) for folder, _ in data.results.sources)),
        _section("dissection", "Ablation", *pictures[FigureSection.ABLATION]),
        _section("pairs", "Pair summaries: matched properties and other changes", PAIRS, pairs, short="Pairs"),
        _section("reproduce", "Reproduce this report", *_reproduction(data.results), short="Reproduce"),
    ]


def _answer(data: FigureData, pictures: Pictures, summaries: Sequence[runs.PairSummary]) -> Section:
    results, comparison = data.results, data.comparison
    warnings = [*limits(results), *dead_lines(comparison.cells), *precision_notes(comparison)]
    return _section(
        "answer",
        "Summary",
        Points([*warnings, *question_lines(comparison, data.pair_findings)]),
        *pictures[FigureSection.ANSWER],
        *pictures[FigureSection.MAP],
        primary_table(claims.primaries(results)),
        Points(best_lines(comparison, data.pair_findings)),
        _lead(data),
        matching_line(comparison, summaries),
        " ".join(untuned(results)),
        f"Damaged, counted as missing: {', '.join(results.damaged)}" if results.damaged else "",
    )


def _questions(data: FigureData, pictures: Pictures) -> Iterator[Section]:
    """The three questions, in the order of the signal: gradients, inputs, training error; then what often helps."""
    gradients = pictures[FigureSection.GRADIENTS]
    measured = slopes(data.at_initialization if gradients else [])
    has_weights = any(picture.name == "weight-gradient" for picture in gradients)
    by_layer = weight_gradients(data.layer_gradients if has_weights else [])
    yield _section("gradients", "Do gradients reach the first layer?", *gradients, measured, by_layer, short="Gradients")
    question = "Do different inputs still look different at the last layer?"
    yield _section("inputs", question, *pictures[FigureSection.INPUTS], predictors(data.comparison), short="Different inputs")
    longer = longer_commands(data.comparison)
    yield _section(
        "error",
        "Does training error rise with depth?",
        *([DEGRADATION] if data.comparison.depths else []),
        *pictures[FigureSection.ERROR],
        error_over_depth(data.comparison) if data.comparison.depths else "",
        Listing(longer, "A gap is still closing. Commands that train longer") if longer else "",
        short="Training error over depth",
    )
    yield _section("advice", "What often helps?", Points(advice(trained_diagnoses(data.results))))


def _results(data: FigureData, pictures: Pictures) -> Iterator[Section]:
    """Results by condition, best settings, claims and published values."""
    comparison = data.comparison
    yield _section(
        "conditions",
        headline(comparison.cells, data.pair_findings, data.recipe),
        _evidence(comparison) if not data.has_heat_map else "",
        Points(reversals(data.pair_findings)),
        *pictures[FigureSection.CONDITIONS],
        pair_verdicts(data.pair_findings),
        configurations(comparison, notes(comparison)),
        " ".join(filter(None, seed_budget_lines(comparison))),
        short="Results by condition",
    )
    tuned, published = best_settings(comparison), published_table(published_rows(data.results))
    introduction = f"Settings are {SELECTED}." if tuned.rows else ""
    yield _section("best", "Each arm at its best setting", introduction, tuned, short="At the best setting")
    yield _section(
        "claims",
        "Claims and verdicts",
        CLAIMS,
        claim_table(_claim_verdicts(data.results)),
        PUBLISHED if published.rows or published.notes else "",
        published,
        *added_tables(comparison).values(),
    )


def _section(name: str, title: str, *parts: Part, short: str = "") -> Section:
    """A section without its empty parts."""
    return Section(name, title, [part for part in parts if not _is_empty(part)], short or title)


def _is_empty(part: Part) -> bool:
    if isinstance(part, Table):
        return not part.rows and not part.notes
    return not (part.lines if isinstance(part, (Points, Listing)) else part)


def _pictures(data: FigureData) -> dict[FigureSection, list[Picture]]:
    """The figures of each section that have data, with their texts."""
    pictures: dict[FigureSection, list[Picture]] = {section: [] for section in FigureSection}
    for name in available_figures(data):
        figure = FIGURES[name]
        texts = figure.title(data), figure.caption, figure.sentences(data), figure.letters(data)
        pictures[figure.section].append(Picture(name, *texts))
    return pictures


def _images(launch: Launch, experiment: Experiment) -> str:
    training, validation, test = launch.images
    return f"{training:,} training, {validation:,} validation and {test:,} test images of {experiment.shared.data.name}"


def _evidence(comparison: Comparison) -> str:
    """What a verdict on a pair requires: number of seeds, significance levels and sources of uncertainty."""
    sources = sources_text([arm for cell in comparison.cells for arm in cell.arms])
    levels = f"p ≤ {inference.ALPHA:g} over {sources} (p ≤ {inference.RANK_TEST_ALPHA:g} by ranks)"
    return (
        "Test accuracy is that of the final weights in percent: mean ± SD over seeds, or the median if outcomes differ across "
        f"seeds. A verdict requires at least {inference.MIN_SEEDS} seeds and {levels}, corrected over all pairs of the table "
        "(Holm)."
    )


def _costs(folder: Path, labels: Labels) -> Part:
    costs = runs.read_rows(folder / "cost.csv")
    return costs_of_steps(folder.name, costs, labels) if costs else f"{folder.name}: {NO_COSTS}"


def _reproduction(results: Results) -> Iterator[Part]:
    """Commands, machines, images and the config of each experiment."""
    for folder, experiment in results.sources:
        launches = runs.launches(folder)
        for launch in launches:
            machine = f"{launch.system}, {launch.processor}, {launch.cores} cores, device {launch.device}"
            machine += f" ({launch.accelerator})" if launch.accelerator != launch.device else ""
            machine += f", CPU kernels {launch.kernels}" if launch.kernels else ""
            versions = ", ".join(f"{name} {version}" for name, version in launch.packages.items())
            start = f"{launch.time}; resexp {launch.resexp}, Python {launch.python}, {versions}"
            yield Listing([" ".join(launch.command)])
            yield f"{start}; {machine}; images SHA-256 {launch.data_sha256[:16]}"
        classes = ", ".join(f"{number} {name}" for number, name in enumerate(launches[-1].classes))
        yield f"Classes by label: {classes}" if classes else ""
        yield from launches[-1].remarks
        yield Listing(runs.to_yaml(experiment.settings).splitlines(), title=f"Complete config of {experiment.name}")
    orphans = ", ".join(results.orphaned_trials)
    yield f"Left out because it is no longer in the config: {orphans}" if orphans else ""
    yield f"{results.repeated} trials are in more than one folder and are counted once" if results.repeated else ""


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


DEGRADATION = (
    "Degradation means that training error is higher at the deepest than at the best shallower depth, by the margin or more, "
    "after this length of training. Test error alone cannot show it. The best shallower depth is selected on one half of the "
    "seeds and compared on the other."
)
CLAIMS = (
    "The number of configurations that a verdict covers is printed next to it. With @ 95%, the whole paired 95% CI must "
    "satisfy the claim in every configuration. A claim is not supported if one configuration contradicts it after Holm "
    "correction over all configurations."
)
PUBLISHED = (
    "A published value is compared with a measured one only if the network and all stated parts of the training recipe are "
    "the same."
)
NO_COSTS = (
    "step times were not measured. Run resexp time. Training times cannot be compared, because several networks train in one "
    "stack."
)
PAIRS = (
    "Measured at initialization on the first batch of the first seed. A pair measures the total effect of adding the shortcut, "
    "which also changes output scale, initial loss and effective step size."
)
