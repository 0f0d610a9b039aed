"""The entry of a figure, and the data from which figures, their titles and their sentences are made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd

from resexp import comparison
from resexp.comparison import Comparison, LayerGradients, LayerLog, layer_gradients, layer_logs
from resexp.figures.ablation_rows import read_ablation
from resexp.runs import ABLATION_FILES, Results, Track
from resexp.tables.at_initialization import InitDiagnostics, logged_init_diagnostics
from resexp.tables.findings import Finding, findings
from resexp.tables.frames import Frames, layer_frame, profiles, read_frames
from resexp.tables.planes import is_plane
from resexp.tables.recipes import recipe
from resexp.tables.sentences import Sentence

Chart = alt.FacetChart | alt.VConcatChart | alt.HConcatChart


class Section(StrEnum):
    """The section of the report in which a figure appears; the value is the name of its anchor."""

    ANSWER = "answer"
    MAP = "map"
    GRADIENTS = "gradients"
    INPUTS = "inputs"
    ERROR = "error"
    CONDITIONS = "conditions"
    ABLATION = "dissection"


@dataclass(frozen=True)
class FigureData:
    """Everything that figures are made from. Each part is computed, or read from its files, at first access.

    track: yields the trials whose logs are read, and can show the progress.

    Raises:
        RunsError: at access, a damaged file; the message names it.
    """

    results: Results
    tune: Sequence[str] = ()
    track: Track = iter

    @cached_property
    def comparison(self) -> Comparison:
        return comparison.compare_results(self.results, tune=self.tune)

    @cached_property
    def pair_findings(self) -> list[Finding]:
        return findings(self.comparison.cells)

    @cached_property
    def recipe(self) -> str:
        return recipe(self.results)

    @cached_property
    def frames(self) -> Frames:
        return read_frames(self.results, self.track)

    @cached_property
    def has_heat_map(self) -> bool:
        return is_plane(self.frames.results)

    @cached_property
    def has_gradients(self) -> bool:
        """Whether gradients of activations were logged, and some are positive and finite."""
        return not self.frames.signals.empty and bool(self.profiles["relative"].notna().any())

    @cached_property
    def has_distances(self) -> bool:
        """Whether cosine distances of activations were logged; earlier releases did not."""
        return bool(np.isfinite(self.frames.signals["activation_cosine_distance"]).any())

    @cached_property
    def profiles(self) -> pd.DataFrame:
        """Gradient norms and distances over block boundaries at each logging step, averaged over seeds: `profiles`."""
        return profiles(self.frames.signals)

    @cached_property
    def layer_logs(self) -> dict[Path, LayerLog]:
        return layer_logs(self.results, self.track)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """Weight gradients and relative updates of each layer at some logging steps: `layer_frame`."""
        return layer_frame(self.results, self.layer_logs)

    @cached_property
    def layer_gradients(self) -> list[LayerGradients]:
        """Weight gradients of each arm at initialization, after epoch 1 and at the end."""
        return layer_gradients(self.results, self.layer_logs)

    @cached_property
    def at_initialization(self) -> list[InitDiagnostics]:
        """Values at initialization, measured and predicted; empty if there is a heat map or no log of activations."""
        return [] if self.has_heat_map or self.frames.signals.empty else logged_init_diagnostics(self.results)

    @cached_property
    def ablations(self) -> dict[str, pd.DataFrame]:
        """The rows of each part of `resexp dissect`."""
        return {part: read_ablation(self.results, part) for part in ABLATION_FILES}


def _always(_data: FigureData) -> bool:
    return True


def _no_finding(_data: FigureData) -> str:
    return ""


def _no_lines(_data: FigureData) -> list[str]:
    return []


@dataclass(frozen=True)
class Figure:
    """One figure: its chart and all its texts. An entry of `FIGURES` is all that a new figure needs.

    question: its title, unless `finding` returns a statement on which all results agree. condition: whether it has data.
    sentences: statements that follow from its data, without numbers that the chart shows. letters: the chart in plain text.
    beside_map: whether it is also drawn next to a heat map, which replaces the figures over depth.
    """

    section: Section
    question: str
    caption: str
    chart: Callable[[FigureData], Chart]
    condition: Callable[[FigureData], bool] = _always
    finding: Callable[[FigureData], str] = _no_finding
    sentences: Callable[[FigureData], list[str]] = _no_lines
    letters: Callable[[FigureData], list[str]] = _no_lines
    beside_map: bool = False

    def title(self, data: FigureData) -> str:
        """A finding if all results agree; otherwise the question."""
        return self.finding(data) or self.question


TITLES = {"trained": Sentence("{finding} ({recipe})", "the finding is about trained networks")}


def after_training(finding: str, data: FigureData) -> str:
    """The finding with learning rate and budget, to which it is limited; '' without a finding."""
    return TITLES["trained"].format(finding=finding, recipe=data.recipe) if finding else ""
