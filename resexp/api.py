"""Results for scripts and notebooks: frames, comparisons and charts of experiments, as stored when they were loaded.

results = load("digits")                                             # a name or a path; accepts several
results.trials, results.metrics                                      # pandas frames
results.compare().expect("test_accuracy: identity > plain @ 95%")    # verdicts
results.charts()["accuracy"]                                         # an Altair chart
"""

import csv
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from resexp import claims, comparison, config, figures, report, result_files, runs, tables
from resexp.claims import Judgment, Verdict
from resexp.comparison import Comparison
from resexp.figures import Chart, FigureData
from resexp.runs import Outcome, Results, TrialRecord
from resexp.tables import ModuleProbe
from resexp.tables.frames import read_logs
from resexp.tables.predictors import predictors
from resexp.tables.tuned import TUNED_COLUMNS, TUNED_TEXT_COLUMNS, tuned_records
from resexp.tables.writers import json_rows

COMPARISON_TEXT_COLUMNS = ("arm", "unmatched", "dead_layers")
TRIAL_NUMBER = "number of the trial"
METADATA = ("trial", "arm", "seed", "status", "sha256", "seal")  # keys of result.json that are not results


def load(sources: Sequence[str | Path], runs_dir: str | Path) -> "ExperimentResults":
    """Experiments by path, or by name in `runs_dir`; the experiment that was started last if `sources` is empty.

    Raises:
        RunsError: no such experiment, or a damaged or missing file; the message names it.
    """
    names: Sequence[str | None] = [str(source) for source in sources] or [None]
    return ExperimentResults(runs.read_results([runs.find(name, Path(runs_dir)) for name in names]))


def compare_frame(frame: pd.DataFrame, columns: result_files.Columns) -> "ComparisonView":
    """The comparison of the runs in a frame.

    Raises:
        ConfigError: the rows cannot be compared; the message names the column or the row.
    """
    results = result_files.results_of(result_files.from_frame(frame), columns)
    return ComparisonView(results, comparison.compare_table(results))


# ---- verdicts and charts with a custom display ------------------------------------------------------------------------------


class Verdicts(list[Judgment]):
    """The verdicts on one hypothesis: one for each arm that it is about."""

    @property
    def met(self) -> bool:
        """Whether all verdicts are `supported`; determines the exit status of `resexp compare --expect`."""
        return all(judgment.verdict == Verdict.SUPPORTED for judgment in self)

    def __repr__(self) -> str:
        return "\n".join(tables.fitted(tables.verdict_lines("hypothesis", self)))


class Charts(dict[str, Chart]):
    """Charts by name; a notebook displays all of them, one below the other."""

    def __repr__(self) -> str:
        return f"charts: {', '.join(self)}"

    def _ipython_display_(self) -> None:
        for chart in self.values():
            chart.display()


# ---- a comparison -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class ComparisonView:
    """A comparison that prints as the table of `resexp compare`; `comparison` contains the numbers."""

    results: Results
    comparison: Comparison

    def __str__(self) -> str:
        lines = tables.verdict_lines(tables.PRIMARY, claims.primaries(self.results))
        return config.escape_controls(tables.FORMATS["table"](self.comparison, lines), kept="\n\t").removesuffix("\n")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per arm of each cell, with the columns of `resexp compare --format csv`; shares in [0, 1]."""
        rows = list(csv.DictReader(StringIO(tables.FORMATS["csv"](replace(self.comparison, tuned_keys=())))))
        integers = (*self.results.shown, "n", "missing", *Outcome, "parameters")
        columns = {column: [row[column] for row in rows] for column in rows[0]}
        return pd.DataFrame(
            {
                key: cells if key in COMPARISON_TEXT_COLUMNS else _parsed(cells, integer=key in integers)
                for key, cells in columns.items()
            }
        )

    @cached_property
    def tuned(self) -> pd.DataFrame:
        """One row per arm at its own best setting, which the columns of the axes contain; shares in [0, 1].

        Without `tune`, the best settings over all axes. difference, low, high: residual minus plain, each at its own best.
        """
        records = tuned_records(self.comparison)
        numbers = (*self.results.shown, *(key for key in TUNED_COLUMNS if key not in TUNED_TEXT_COLUMNS))
        columns = {key: [record[key] for record in records] for key in (*self.results.shown, *TUNED_COLUMNS)}
        return pd.DataFrame(
            {
                key: _parsed([runs.format_cell(cell) for cell in cells], integer=True) if key in numbers else cells
                for key, cells in columns.items()
            }
        )

    @cached_property
    def trainability(self) -> pd.DataFrame:
        """What predicts trainability: one row per quantity at initialization, with its rank correlation and interval."""
        return pd.DataFrame(json_rows(predictors(self.comparison)))

    def expect(self, text: str) -> Verdicts:
        """Verdicts on a hypothesis in the grammar of `--expect`, such as "test_accuracy: identity > plain @ 95%".

        Raises:
            ConfigError: `text` is not a valid hypothesis; the message states why.
            RunsError: a damaged log that the measure needs.
        """
        table = self.results.table
        grammar = (table.metric, self.results.columns) if table else None
        return Verdicts(claims.judge(config.parse_expectation(text, table=grammar), self.results))


# ---- any network -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class ProbedModule(ModuleProbe):
    """The result of `resexp.probe`, with its chart."""

    def chart(self) -> Chart:
        """log10 |dL/dx| and log10 of the cosine distance over the boundaries."""
        return figures.module_profile(self)


# ---- experiments -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class ExperimentResults:
    """Results of one or several experiments, as stored when they were loaded.

    Frames contain finished trials only, and are read at first access. All have `trial`, `arm`, a column for each axis, and
    `seed`. An axis whose name is also another column, such as lr of metrics.csv, has its dotted name.
    """

    results: Results

    @property
    def finished(self) -> list[TrialRecord]:
        return [record for record in self.results.records if record.result]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial: its configuration and the values of its result.json; of dead_layers their number."""
        results = [record.result.content for record in self.finished if record.result]
        keys = [key for key in dict.fromkeys(key for result in results for key in result) if key not in METADATA]
        counted = [
            {key: len(value) if isinstance(value, list) else value for key, value in result.items()} for result in results
        ]
        columns = {key: pd.Series([result.get(key) for result in counted]) for key in keys}
        typed = {
            key: column if key == "outcome" else column.astype("float64" if column.hasnans else column.dtype)
            for key, column in columns.items()
        }
        return pd.concat([self._configurations(keys), pd.DataFrame(typed)], axis=1)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """All rows of metrics.csv: losses and accuracies over steps.

        Raises:
            RunsError: a damaged or missing log; the message names it.
        """
        return self._log("metrics.csv")

    @cached_property
    def gradients(self) -> pd.DataFrame:
        """All rows of gradients.csv: weights of each layer and their gradients at each logging step.

        Raises:
            RunsError: as `metrics`.
        """
        return self._log("gradients.csv")

    @cached_property
    def signals(self) -> pd.DataFrame:
        """All rows of signals.csv: activations at each block boundary and their gradients at each logging step.

        Raises:
            RunsError: as `metrics`.
        """
        return self._log("signals.csv")

    def log(self, probe: str) -> pd.DataFrame:
        """All rows of the log of a probe, also of one that was added to `resexp.PROBES`.

        Raises:
            RunsError: as `metrics`.
        """
        return self._log(runs.probe_file(probe))

    def compare(
        self,
        metric: str = "test_accuracy",
        at: str = "last",
        *,
        tune: str | Sequence[str] = (),
        images: bool = False,
        unmatched: bool = False,
    ) -> ComparisonView:
        """Comparison of plain and residual networks, paired by seed, with the options of `resexp compare`.

        Args:
            metric: test_accuracy, train_accuracy, val_accuracy, test_loss, train_loss, slope_start or slope_end.
            at: last, best (highest validation accuracy), or step:N of metrics.csv.
            tune: axes; also compare each arm at its best setting by validation accuracy.
            images: add the uncertainty due to the choice of test images.
            unmatched: also compare networks that differ in more than the shortcut.

        Raises:
            ConfigError: an unknown metric, `at` or axis.
            RunsError: a damaged log that the comparison needs.
        """
        keys = (tune,) if isinstance(tune, str) else tuple(tune)
        compared = comparison.compare_results(self.results, metric, at, tune=keys, unmatched=unmatched, images=images)
        return ComparisonView(self.results, compared)

    def charts(self) -> Charts:
        """The charts of the report by name.

        Raises:
            RunsError: no trial has finished yet, or a damaged or missing log; the message names it.
        """
        if not self.finished:
            raise runs.RunsError(f"{self.results.sources[0][0]}: no trial has finished yet, so there are no charts")
        self._check(report.READ_FILES)
        return Charts(report.figures_of(FigureData(self.results)))

    def save_charts(
        self,
        folder: str | Path,
        formats: Sequence[str] = ("png",),
        *,
        charts: Sequence[str] = (),
        where: Sequence[str] = (),
        width: str = "",
        slides: bool = False,
    ) -> list[Path]:
        """Writes charts as png, svg or pdf with the options of `resexp report --figures`; returns the files.

        Raises:
            ConfigError: an option that cannot be used.
            RunsError: as `charts`.
        """
        self._check(report.READ_FILES)
        return report.save_figures(self.results, Path(folder), report.Pictures(formats, charts, where, width, slides))

    def __repr__(self) -> str:
        arms = dict.fromkeys(record.trial.arm for record in self.results.records)
        axes = {
            key: dict.fromkeys(self.results.label(record)[key] for record in self.results.records) for key in self.results.shown
        }
        grid = "; ".join([f"arms {' '.join(arms)}", *(f"{key} {' '.join(values)}" for key, values in axes.items())])
        return (
            f"<{self.results.name}: {self._progress()}; {grid}; {', '.join(str(folder) for folder, _ in self.results.sources)}>"
        )

    def _repr_html_(self) -> str:
        lines = [*self.results.questions, self._progress(), *(self._answer() if self.finished else [])]
        return f"<h4>{escape(self.results.name)}</h4>" + "".join(f"<p>{escape(line)}</p>" for line in lines)

    def _progress(self) -> str:
        return tables.progress_text(self.results.records)

    def _answer(self) -> list[str]:
        return tables.answer_lines(comparison.compare_results(self.results), commands=(), mark="")

    # ---- reading

    def _configurations(self, taken: Collection[str]) -> pd.DataFrame:
        """trial, arm, axes and seed of every finished trial; an axis whose short name is `taken` has its dotted name."""
        names = zip(self.results.axes, self.results.columns, strict=True)
        columns: dict[str, list[Any]] = {"trial": [record.trial.name for record in self.finished]}
        columns["arm"] = [record.trial.arm for record in self.finished]
        for key, short in names:
            columns[key if short in taken else short] = [_plain(record.conditions.get(key)) for record in self.finished]
        columns["seed"] = [record.trial.seed for record in self.finished]
        return pd.DataFrame(columns)

    def _log(self, name: str) -> pd.DataFrame:
        self._check([name])
        numbers = pd.DataFrame({TRIAL_NUMBER: range(len(self.finished))})
        rows = read_logs(name, self.finished, numbers)
        trials = rows.pop(TRIAL_NUMBER).to_numpy(int)
        return pd.concat([self._configurations(rows.columns).take(trials).reset_index(drop=True), rows], axis=1)

    def _check(self, names: Sequence[str]) -> None:
        for record in self.finished:
            if record.result:
                runs.check_digests(record.folder, record.result, names)


def _plain(value: Any) -> Any:
    """The value of an axis; mappings and lists are formatted as text."""
    return config.format_value(value) if isinstance(value, dict | list | tuple) else value


def _parsed(cells: Sequence[str], *, integer: bool) -> list[Any]:
    """Numbers if all cells are numbers or empty, as integers if possible and `integer`; otherwise the cells."""
    parsers: list[Callable[[str], float]] = [int, float] if integer else [float]
    for parse in parsers:
        with suppress(ValueError):
            return [parse(cell or "nan") for cell in cells]
    return list(cells)
