"""What was trained, for scripts and notebooks: frames, comparisons and charts of experiments as they stood when loaded.

run = load("digits")                                             # a name or a path; several are read side by side
run.trials, run.metrics                                          # pandas frames
run.compare().expect("test_accuracy: identity > plain @ 95%")    # verdicts
run.charts()["accuracy"]                                         # an Altair chart
"""

import csv
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from resexp import claims, comparison, config, report, runs, tables
from resexp.claims import Judgment, Verdict
from resexp.comparison import Comparison
from resexp.figures import Figure
from resexp.runs import Outcome, Results, TrialRecord
from resexp.tables.answer import answer
from resexp.tables.findings import findings
from resexp.tables.frames import read_frames

WORDS, INTEGERS = ("layer", "block"), ("step", "epoch", "index", "parameters")  # columns of logs; all others are floats
NAMES = ("arm", "unmatched", "dead_layers")  # columns of a comparison that are no numbers
CHECKSUMS = ("trial", "arm", "seed", "status", "sha256", "seal")  # what stands in result.json beside figures


def load(sources: Sequence[str | Path], runs_dir: str | Path) -> "ExperimentResults":
    """Experiments by path, or by name in `runs_dir`; the one that was started last where none is named.

    Raises:
        RunsError: nothing there; a damaged or missing file, by name.
    """
    named: Sequence[str | None] = [str(source) for source in sources] or [None]
    return ExperimentResults(runs.read_results([runs.find(source, Path(runs_dir)) for source in named]))


# ---- verdicts and charts, which show themselves ---------------------------------------------------------------------------


class Verdicts(list[Judgment]):
    """What these experiments say to one expectation: a verdict for each arm that it is about."""

    @property
    def met(self) -> bool:
        """Whether all of them are `supported`, as in the exit code of `resexp compare --expect`."""
        return all(claim.verdict == Verdict.SUPPORTED for claim in self)

    def __repr__(self) -> str:
        return "\n".join(tables.fitted(tables.verdict_lines("expected", self)))


class Charts(dict[str, Figure]):
    """Charts by name; a notebook shows all of them, one below the other."""

    def __repr__(self) -> str:
        return f"charts: {', '.join(self)}"

    def _ipython_display_(self) -> None:
        for chart in self.values():
            chart.display()


# ---- a comparison -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class ComparisonView:
    """`comparison`, the numbers; printed it is the table of `resexp compare`."""

    results: Results
    comparison: Comparison

    def __str__(self) -> str:
        lines = tables.verdict_lines(tables.PRIMARY, claims.primaries(self.results))
        return config.escape_controls(tables.TABLES["table"](self.comparison, lines), kept="\n\t").removesuffix("\n")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row per arm of each cell, with the columns of `resexp compare --format csv`; shares in [0, 1]."""
        rows = list(csv.DictReader(StringIO(tables.TABLES["csv"](self.comparison))))
        whole = (*self.results.shown, "n", "missing", *Outcome, "parameters")
        columns = {column: [row[column] for row in rows] for column in rows[0]}
        return pd.DataFrame({key: _parsed(of, whole=key in whole) if key not in NAMES else of for key, of in columns.items()})

    def expect(self, text: str) -> Verdicts:
        """Verdicts on an expectation in the grammar of `--expect`, such as "test_accuracy: identity > plain @ 95%".

        Raises:
            ConfigError: no expectation, with what is wrong.
            RunsError: a damaged log, where the measure reads one.
        """
        return Verdicts(claims.judge(config.parse_expectation(text), self.results))


# ---- experiments -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class ExperimentResults:
    """One experiment, or several side by side, as they stood when they were loaded.

    Frames hold finished trials only, and are read when they are first asked for. All have `trial`, `arm`, a column for each
    axis and `seed`; an axis with the name of another column there, such as lr of metrics.csv, has its dotted name.
    """

    results: Results

    @property
    def finished(self) -> list[TrialRecord]:
        return [record for record in self.results.records if record.result]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row per trial: its place in the grid, and the figures of its result.json; of dead_layers their number."""
        found = [record.result or {} for record in self.finished]
        figures = [key for key in dict.fromkeys(key for result in found for key in result) if key not in CHECKSUMS]
        counted = [{key: len(value) if isinstance(value, list) else value for key, value in result.items()} for result in found]
        columns = {key: pd.Series([result.get(key) for result in counted]) for key in figures}
        numbers = {
            key: of if key == "outcome" else of.astype("float64" if of.hasnans else of.dtype) for key, of in columns.items()
        }
        return pd.concat([self._places(figures), pd.DataFrame(numbers)], axis=1)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Every row of metrics.csv: losses and accuracies over steps.

        Raises:
            RunsError: a log that is damaged or missing, by name.
        """
        return self._log("metrics.csv")

    @cached_property
    def gradients(self) -> pd.DataFrame:
        """Every row of gradients.csv: the weights of each layer and their gradients at each reading.

        Raises:
            RunsError: as `metrics`.
        """
        return self._log("gradients.csv")

    @cached_property
    def signals(self) -> pd.DataFrame:
        """Every row of signals.csv: the activations of each block boundary and their gradients at each reading.

        Raises:
            RunsError: as `metrics`.
        """
        return self._log("signals.csv")

    def compare(
        self,
        metric: str = "test_accuracy",
        at: str = "last",
        *,
        tune: str | Sequence[str] = (),
        images: bool = False,
        unmatched: bool = False,
    ) -> ComparisonView:
        """Plain and residual networks, paired over seeds; options as `resexp compare` has them.

        Args:
            metric: test_accuracy, train_accuracy, val_accuracy, test_loss, train_loss, slope_start or slope_end.
            at: last, best (of validation), or step:N of metrics.csv.
            tune: axes, of which each arm is compared at its own best, too.
            images: with the uncertainty of the test images.
            unmatched: compare arms that differ in more than the shortcut, too.

        Raises:
            ConfigError: an unknown metric, place or axis.
            RunsError: damaged logs, where they are read.
        """
        keys = (tune,) if isinstance(tune, str) else tuple(tune)
        found = comparison.compare_results(self.results, metric, at, tune=keys, unmatched=unmatched, images=images)
        return ComparisonView(self.results, found)

    def charts(self) -> Charts:
        """The charts of the report by name.

        Raises:
            RunsError: nothing finished yet; a log that is damaged or missing, by name.
        """
        if not self.finished:
            raise runs.RunsError(f"{self.results.sources[0][0]}: no trial has finished yet; nothing to draw")
        self._check(report.READ)
        return Charts(report.figures_of(self.results, read_frames(self.results)))

    def __repr__(self) -> str:
        arms = dict.fromkeys(record.trial.arm for record in self.results.records)
        axes = {
            key: dict.fromkeys(self.results.label(record)[key] for record in self.results.records) for key in self.results.shown
        }
        grid = "; ".join([f"arms {' '.join(arms)}", *(f"{key} {' '.join(values)}" for key, values in axes.items())])
        return f"<{self.results.name}: {self._progress()}; {grid}; {', '.join(str(of) for of, _ in self.results.sources)}>"

    def _repr_html_(self) -> str:
        words = [*self.results.questions, self._progress(), *(self._answer() if self.finished else [])]
        return f"<h4>{escape(self.results.name)}</h4>" + "".join(f"<p>{escape(line)}</p>" for line in words)

    def _progress(self) -> str:
        return tables.progress_text(self.results.records)

    def _answer(self) -> list[str]:
        found = comparison.compare_results(self.results)
        pair_summaries = [pair_summary for folder, _ in self.results.sources for pair_summary in runs.pair_summaries(folder)]
        return answer(found, findings(found.cells), pair_summaries)

    # ---- reading

    def _places(self, taken: Collection[str]) -> pd.DataFrame:
        """trial, arm, the axes and seed of every finished trial."""
        named = zip(self.results.axes, self.results.columns, strict=True)
        columns: dict[str, list[Any]] = {"trial": [record.trial.name for record in self.finished]}
        columns["arm"] = [record.trial.arm for record in self.finished]
        for key, short in named:
            columns[key if short in taken else short] = [_plain(record.conditions.get(key)) for record in self.finished]
        columns["seed"] = [record.trial.seed for record in self.finished]
        return pd.DataFrame(columns)

    def _log(self, name: str) -> pd.DataFrame:
        self._check([name])
        columns = runs.COLUMNS[name]
        logs = [_columns(runs.read_rows(record.folder / name), columns) for record in self.finished]
        rows = np.repeat(np.arange(len(logs)), [len(log[columns[0]]) for log in logs])
        places = self._places(columns).take(rows).reset_index(drop=True)
        read = {column: np.concatenate([_column(column, []), *(log[column] for log in logs)]) for column in columns}
        return pd.concat([places, pd.DataFrame(read)], axis=1)

    def _check(self, names: Sequence[str]) -> None:
        for record in self.finished:
            runs.check_digests(record.folder, record.result or {}, names)


def _plain(value: Any) -> Any:
    """The value of an axis; one that is a mapping in words."""
    return config.format_value(value) if isinstance(value, dict | list | tuple) else value


def _columns(rows: Sequence[dict[str, str]], columns: Sequence[str]) -> dict[str, np.ndarray]:
    return {column: _column(column, [row[column] for row in rows]) for column in columns}


def _column(name: str, cells: Sequence[str]) -> np.ndarray:
    """The cells of a log with their type; an empty one is no number."""
    if name in WORDS:
        return np.array(cells, dtype=object)
    return np.array([int(of) for of in cells], np.int64) if name in INTEGERS else np.array([float(of or "nan") for of in cells])


def _parsed(cells: Sequence[str], *, whole: bool) -> list[Any]:
    """Numbers where all cells are numbers or empty, `whole` ones where they can be; else the cells."""
    kinds: list[Callable[[str], float]] = [int, float] if whole else [float]
    for kind in kinds:
        with suppress(ValueError):
            return [kind(of or "nan") for of in cells]
    return list(cells)
