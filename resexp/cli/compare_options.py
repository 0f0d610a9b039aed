"""Options of `resexp compare`, and how those for result files of other programs are applied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated

import typer

from resexp import config
from resexp.cli import completion
from resexp.runs import Results

FILES = "Result files of other programs"
MetricOption = Annotated[
    str,
    typer.Option(
        help="Metric: test_accuracy, train_accuracy, val_accuracy, test_loss, train_loss, slope_start, slope_end.",
        autocompletion=completion.metrics,
    ),
]
TuneOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY",
        help="Also compare each variant at its best KEY, selected by validation accuracy. Repeatable.",
        autocompletion=completion.axes,
    ),
]
ByOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY", help="Sort configurations by this key first. Repeatable.", autocompletion=completion.axes),
]
ExpectOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="EXPR|FILE",
        help="Check 'test_loss: identity < plain', or claims: cifar10, he2015, trainability, tutorial, or a file.",
    ),
]
AtOption = Annotated[
    str, typer.Option(help="Point in training: last, best (highest validation accuracy), or step:N of metrics.csv.")
]
MissingOption = Annotated[
    bool,
    typer.Option("--allow-missing", help="Exit 0 even if some trials are unfinished; leave out incomplete pairs of a file."),
]
UnmatchedOption = Annotated[
    bool, typer.Option("--allow-unmatched", help="Also compare networks that differ in more than the shortcut.")
]
ByLayerOption = Annotated[
    bool, typer.Option("--by-layer", help="Add weight gradients at the first and the last layer of each network.")
]
ArmOption = Annotated[str | None, typer.Option(metavar="COLUMN", rich_help_panel=FILES, help="The column of arms.")]
BaselineOption = Annotated[
    str | None,
    typer.Option(metavar="ARM", rich_help_panel=FILES, help="The arm to compare with. Default: plain, baseline or control."),
]
PairOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", rich_help_panel=FILES, help="The column of pairs, such as seed.")
]
LowerOption = Annotated[
    bool, typer.Option("--lower-is-better", rich_help_panel=FILES, help="Lower values of the metric are better.")
]
MarginOption = Annotated[float | None, typer.Option(rich_help_panel=FILES, help="The smallest effect of interest.")]
OutcomeOption = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", rich_help_panel=FILES, help="The column of outcomes: above_chance, at_chance or diverged."),
]
LastOption = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        rich_help_panel=FILES,
        help="Keep the row of each run with the largest value of this column (metric: best).",
    ),
]
IgnoreOption = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN", rich_help_panel=FILES, help="A column that is not a setting. Repeatable.")
]


@dataclass(frozen=True)
class FileOptions:
    """The options that only result files have; a field that is not None, False or empty was given."""

    arm: str | None
    pair: str | None
    baseline: str | None
    outcome: str | None
    last: str | None
    ignore: Sequence[str]
    lower_is_better: bool
    margin: float | None

    def refuse(self) -> None:
        """Refuses these options for experiments.

        Raises:
            ConfigError: an option was given; the message names it.
        """
        given = [
            field.name for field in fields(self) if (value := getattr(self, field.name)) not in (None, False) and value != []
        ]
        if given:
            option = f"--{given[0].replace('_', '-')}"
            problem = "applies to result files, such as results.csv; experiments state their arms and seeds themselves"
            raise config.ConfigError(problem, where=option)

    def read(
        self, sources: Sequence[str], metric: str, by: Sequence[str], *, missing: bool, refused: Mapping[str, bool]
    ) -> Results:
        """The results in the files. refused: options that were given, and need what files do not have.

        Raises:
            ConfigError: an option is missing or cannot be used, or the files cannot be compared.
        """
        from resexp import result_files  # noqa: PLC0415 - `--help` starts without it

        other = [source for source in sources if not result_files.is_table(source)]
        if other:
            raise config.ConfigError("is not a result file; compare files and experiments separately", where=other[0])
        for option, given in refused.items():
            if given:
                raise config.ConfigError("needs an experiment; a result file does not have what it shows", where=option)
        if self.arm is None or self.pair is None:
            option, example = ("--arm", "model") if self.arm is None else ("--pair", "seed")
            table = result_files.read_tables(sources[:1])
            problem = f"is needed, as in {option} {example}; columns of {sources[0]}: {', '.join(table.columns)}"
            raise config.ConfigError(problem, where=option)
        columns = result_files.Columns(
            arm=self.arm, pair=self.pair, metric=metric, baseline=self.baseline, by=tuple(dict.fromkeys(by)),
            outcome=self.outcome, last=self.last, ignored=tuple(self.ignore), lower_is_better=self.lower_is_better,
            margin=self.margin, missing=missing,
        )  # fmt: skip
        return result_files.results_of(result_files.read_tables(sources), columns)


def is_file(sources: Sequence[str]) -> bool:
    """Whether any source is a result file."""
    from resexp import result_files  # noqa: PLC0415 - as above

    return any(map(result_files.is_table, sources))
