"""Published test errors, compared with measured ones only for the same network and the same training recipe.

Each file of resexp/published/ is one publication. Networks must agree in all keys of `network`, recipes in all keys that the
publication states. A published value with `never` is never compared, because its recipe has a part that no key expresses. A
different number of runs is reported, but it does not prevent a comparison.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationError, model_validator

from resexp import config
from resexp.comparison import groups, summary
from resexp.config import ConfigError, NetworkSettings, Settings
from resexp.config.parsing import read_document
from resexp.config.types import Model, PositiveFloat
from resexp.inference import Summary
from resexp.runs import Results
from resexp.tables.labels import label_text
from resexp.tables.model import Column, Table
from resexp.tables.text_layout import plain_lines

FOLDER = Path(__file__).parent.parent / "published"
RecipeKey = Annotated[str, Field(pattern=r"^(data|training)\.\w+$")]


class PublishedValue(Model):
    """One test error in percent, or `fail` if only a failure is published (above 20%); keys in addition to those of the file.

    `never`: the part of its training that no key of a config expresses, so that it is never compared with a measurement.
    """

    network: dict[str, Any] = Field({})
    recipe: dict[RecipeKey, Any] = Field({})
    where: str
    error: PositiveFloat | None = None
    fail: bool = False
    sd: PositiveFloat | None = None
    runs: PositiveInt
    statistic: Literal["single", "median", "mean"]
    note: str | None = None
    never: str | None = None

    @model_validator(mode="after")
    def _check_consistency(self) -> "PublishedValue":
        if self.fail == (self.error is not None):
            raise ValueError("has either an error in percent or fail: true")
        if (self.runs == 1) != (self.statistic == "single"):
            raise ValueError(f"statistic: {self.statistic} is not possible with runs: {self.runs}")
        return self


class Publication(Model):
    """A file: its source, the shared keys of its networks and recipes, its values."""

    authors: str
    title: str
    reference: str
    note: str | None = None
    never: str | None = None
    network: dict[str, Any]
    recipe: dict[RecipeKey, Any]
    entries: Annotated[list[PublishedValue], Field(min_length=1)]


@dataclass(frozen=True)
class Entry:
    """A published value with the settings of its network and recipe, and the keys that the recipe states."""

    source: str
    value: PublishedValue
    note: str | None
    settings: Settings
    stated: tuple[str, ...]
    never: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublishedResult:
    """A published result of a network, in percent; without `differences` in the recipe it is compared with a measurement."""

    source: str
    where: str
    error: float | None
    sd: float | None
    runs: int
    statistic: str
    failed: bool
    note: str | None
    differences: list[str]
    samples: str


# Configuration, arm, measured test accuracy, published results.
PublishedRow = tuple[str, str, Summary, Sequence[PublishedResult]]


# ---- reading ------------------------------------------------------------------------------------------------------------


@functools.cache
def entries(folder: Path = FOLDER) -> tuple[Entry, ...]:
    """All published values, file by file.

    Raises:
        ConfigError: a file is damaged; the message names it.
    """
    return tuple(entry for path in sorted(folder.glob("*.yaml")) for entry in _read(path))


def _read(path: Path) -> list[Entry]:
    try:
        publication = Publication.model_validate(read_document(path)[0])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(first["msg"], key=key, where=str(path)) from None
    return [_entry(path, publication, index) for index in range(len(publication.entries))]


def _entry(path: Path, publication: Publication, index: int) -> Entry:
    value = publication.entries[index]
    recipe = {**publication.recipe, **value.recipe}
    network = {**publication.network, **value.network, "plain": False}
    raw: dict[str, Any] = {"name": "published", "seeds": 1, "network": network, "data": {}, "training": {}}
    for key, setting in recipe.items():
        section, name = key.split(".")
        raw[section][name] = setting
    try:
        trials = config.experiment_from(raw).trials
    except ConfigError as error:
        raise ConfigError(error.problem, key=f"entries.{index}: {error.key}", where=str(path)) from None
    if len(trials) != 1:
        raise ConfigError(
            "a published value has one network and one recipe; remove the list", key=f"entries.{index}", where=str(path)
        )
    notes = [note for note in (publication.note, value.note) if note]
    never = tuple(reason for reason in (publication.never, value.never) if reason)
    return Entry(publication.reference, value, "; ".join(notes) or None, trials[0].settings, tuple(recipe), never)


# ---- matching -----------------------------------------------------------------------------------------------------------


def published_rows(results: Results) -> list[PublishedRow]:
    """The published results for all configurations and arms, except parameter-matched baselines, which have none."""
    rows: list[PublishedRow] = []
    if results.table:
        return rows
    for label, arms in groups(results):
        for arm, records in arms.items():
            measured = summary(records, "test_accuracy")
            if measured.n and records[0].trial.parameters_of is None:
                matches = published_results(records[0].trial.settings, measured.n)
                rows.append((label_text(label) if label else "", arm, measured, matches))
    return rows


def published_results(settings: Settings, seeds: int) -> list[PublishedResult]:
    """The published results for the network of a trial that was trained with this number of seeds.

    Not for parameter-matched baselines: their settings contain the width of the residual network.
    """
    network = _identity(settings.network)
    return [_published_result(entry, settings, seeds) for entry in entries() if _identity(entry.settings.network) == network]


def _identity(network: NetworkSettings) -> dict[str, Any]:
    """The keys that identify a network, with the parameters of variants and their defaults."""
    without = {"plain", "plain_width", *(["block_layers"] if network.block == "bottleneck" else [])}  # a bottleneck has 3
    variants = {"shortcut": config.variant(network.shortcut), "activation": config.variant(network.activation)}
    return {**network.model_dump(exclude=without), **variants}


def _published_result(entry: Entry, settings: Settings, seeds: int) -> PublishedResult:
    value = entry.value
    runs = "a single run" if value.statistic == "single" else f"{value.statistic} of {value.runs} runs"
    return PublishedResult(
        source=entry.source,
        failed=value.fail,
        note=entry.note,
        **value.model_dump(include={"where", "error", "sd", "runs", "statistic"}),
        differences=_differences(settings, entry),
        samples=f"{seeds} seed{'' if seeds == 1 else 's'}; published: {runs}",
    )


# Keys whose meaning depends on another key; if that key differs, only that difference is printed.
_DEPENDS_ON = {
    "training.momentum": "training.optimizer",
    "training.nesterov": "training.optimizer",
    "training.milestones": "training.schedule",
    "training.gamma": "training.schedule",
}
_ALTERNATIVE = {"training.steps": "training.epochs", "training.epochs": "training.steps"}


def _differences(settings: Settings, entry: Entry) -> list[str]:
    """'training.lr 0.01, not 0.1' for every stated key of the recipe that differs, and differences that no key expresses."""
    differing = [key for key in entry.stated if _value(settings, key) != _value(entry.settings, key)]
    return [
        *(_phrase(key, settings, entry.settings) for key in differing if _DEPENDS_ON.get(key) not in differing),
        *entry.never,
    ]


def _phrase(key: str, ours: Settings, theirs: Settings) -> str:
    alternative = _ALTERNATIVE.get(key)
    if alternative and _value(ours, key) is None:  # 'training.epochs 1, not 64000 steps'
        unit = key.removeprefix("training.")
        return f"{alternative} {_shown(_value(ours, alternative))}, not {_shown(_value(theirs, key))} {unit}"
    return f"{key} {_shown(_value(ours, key))}, not {_shown(_value(theirs, key))}"


def _value(settings: Settings, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(settings, section), name)


def _shown(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, Model):
        return " ".join(f"{name} {_shown(setting)}" for name, setting in value)
    return config.format_value(value)


# ---- the table ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MatchRow:
    """A network, its measured accuracy, and a published result that is compared with it."""

    name: str
    measured: Summary
    result: PublishedResult

    @property
    def source(self) -> str:
        note = f" ({self.result.note})" if self.result.note else ""
        return f"{self.result.source}: {self.result.samples}{note}"


def published_table(rows: Sequence[PublishedRow]) -> Table[MatchRow]:
    """Measured and published test errors; the notes name publications on the same networks, without values of other recipes.

    It has neither rows nor notes if there is no publication on any of the networks.
    """
    results = [
        MatchRow(f"{arm} at {cell}" if cell else arm, measured, result)
        for cell, arm, measured, matches in rows
        for result in matches
    ]
    compared = sorted((row for row in results if not row.result.differences), key=lambda row: row.source)
    columns = [
        Column[MatchRow]("network", lambda row: row.name),
        Column[MatchRow]("measured", lambda row: _measured(row.measured), number=True),
        Column[MatchRow]("published", lambda row: _with_sd(row.result.error, row.result.sd), number=True),
        Column[MatchRow]("where", lambda row: row.result.where),
    ]
    return Table(
        title="Published (test error, percent)",
        columns=columns if compared else [],
        rows=compared,
        group=Column("source", lambda row: row.source),
        notes=_other_recipes([row for row in results if row.result.differences]),
    )


def published_lines(rows: Sequence[PublishedRow]) -> list[str]:
    """The table for a terminal of 80 columns."""
    table = published_table(rows)
    return [table.title, *plain_lines(table)] if table.rows or table.notes else []


def _other_recipes(rows: Sequence[MatchRow]) -> list[str]:
    others: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in rows:
        others.setdefault((row.result.source, _shortened(row.result.differences)), []).append((row.result.where, row.name))
    lines = []
    for (source, differences), pairs in sorted(others.items()):
        tables, names = (dict.fromkeys(column) for column in zip(*pairs, strict=True))
        lines.append(f"{source} {' and '.join(tables)} has {', '.join(names)}; not compared: {differences}")
    return lines


def _shortened(differences: Sequence[str]) -> str:
    """All differences; if even the data differ, only that difference and the number of the others."""
    images = [phrase for phrase in differences if phrase.startswith("data.name ")]
    more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
    return f"{images[0]}{more}" if images else "; ".join(differences)


def _measured(accuracy: Summary) -> str:
    """'8.61 ± 0.20': the error of all seeds; 'median 9.10' if outcomes differ; '-' without a value."""
    if accuracy.mean is None:
        return "-" if accuracy.median is None else f"median {100 * (1 - accuracy.median):.2f}"
    return _with_sd(100 * (1 - accuracy.mean), None if accuracy.sd is None else 100 * accuracy.sd)


def _with_sd(error: float | None, sd: float | None) -> str:
    """'6.61 ± 0.16'; '> 20' if only a failure is published."""
    return "> 20" if error is None else f"{error:.2f}" + (f" ± {sd:.2f}" if sd is not None else "")
