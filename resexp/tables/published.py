"""Published test errors, set beside measured ones only where the network is the same and no stated part of the recipe differs.

A file of resexp/published/ is one publication. A network is every key of `network`; a recipe is compared in the keys that
the publication states and in no other; what no key can say (`never`) always differs. Runs never make a mismatch: they are
said.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationError, model_validator

from resexp import config
from resexp.comparison import groups, summary
from resexp.config import ConfigError, Network, Settings
from resexp.config.parsing import read_document
from resexp.config.types import Model, PositiveFloat
from resexp.inference import Summary
from resexp.runs import Results
from resexp.tables.terminal import fitted

FOLDER = Path(__file__).parent.parent / "published"
RecipeKey = Annotated[str, Field(pattern=r"^(data|training)\.\w+$")]


class PublishedValue(Model):
    """One test error in percent, or `fail` where only a failure is printed (above 20 %); keys beside those of the file.

    `never`: what of its training no key of a config can say, so that it never stands beside a measurement.
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
    def _whole(self) -> "PublishedValue":
        if self.fail == (self.error is not None):
            raise ValueError("has either an error in percent or fail: true")
        if (self.runs == 1) != (self.statistic == "single"):
            raise ValueError(f"statistic: {self.statistic} does not go with runs: {self.runs}")
        return self


class Publication(Model):
    """A file: its source, what its networks and recipes share, its figures."""

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
    """A figure with the settings that its network and recipe come to, and the keys that the recipe states."""

    source: str
    figure: PublishedValue
    note: str | None
    settings: Settings
    stated: tuple[str, ...]
    never: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """What is published on a network: percent; `differences` in the recipe, none where it may stand beside a measurement."""

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


PublishedRow = tuple[
    str, str, Summary, Sequence[Published]
]  # cell, arm, measured test accuracy, what is published on its network


# ---- reading ------------------------------------------------------------------------------------------------------------


@functools.cache
def entries(folder: Path = FOLDER) -> tuple[Entry, ...]:
    """Every published figure, file by file.

    Raises:
        ConfigError: a damaged file, by name.
    """
    return tuple(entry for path in sorted(folder.glob("*.yaml")) for entry in _read(path))


def _read(path: Path) -> list[Entry]:
    try:
        publication = Publication.model_validate(read_document(path)[0])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(first["msg"], key=key, where=str(path)) from None
    return [_entry(path, publication, place) for place in range(len(publication.entries))]


def _entry(path: Path, publication: Publication, place: int) -> Entry:
    figure = publication.entries[place]
    recipe = {**publication.recipe, **figure.recipe}
    network = {**publication.network, **figure.network, "plain": False}
    raw: dict[str, Any] = {"name": "published", "seeds": 1, "network": network, "data": {}, "training": {}}
    for key, value in recipe.items():
        section, name = key.split(".")
        raw[section][name] = value
    try:
        trials = config.experiment_from(raw).trials
    except ConfigError as error:
        raise ConfigError(error.problem, key=f"entries.{place}: {error.key}", where=str(path)) from None
    if len(trials) != 1:
        raise ConfigError("a figure belongs to one network and one recipe; no lists", key=f"entries.{place}", where=str(path))
    notes = [note for note in (publication.note, figure.note) if note]
    never = tuple(reason for reason in (publication.never, figure.never) if reason)
    return Entry(publication.reference, figure, "; ".join(notes) or None, trials[0].settings, tuple(recipe), never)


# ---- matching -----------------------------------------------------------------------------------------------------------


def published_rows(results: Results) -> list[PublishedRow]:
    """What is published on the networks of all cells, the second control apart: that one is of our own making."""
    rows: list[PublishedRow] = []
    for label, arms in groups(results):
        for arm, records in arms.items():
            measured = summary(records, "test_accuracy")
            if measured.n and records[0].trial.parameters_of is None:
                matches = published_for(records[0].trial.settings, measured.n)
                rows.append((" ".join(f"{key} {value}" for key, value in label.items()), arm, measured, matches))
    return rows


def published_for(settings: Settings, seeds: int) -> list[Published]:
    """What is published on the network of a trial, of which `seeds` were trained.

    Not for the second control: its settings hold the width that it was made from, not its own.
    """
    network = _identity(settings.network)
    return [_published(entry, settings, seeds) for entry in entries() if _identity(entry.settings.network) == network]


def _identity(network: Network) -> dict[str, Any]:
    """What makes a network the same network: every key that shapes it, parameters of the shortcut with their defaults."""
    without = {"plain", "plain_width", *(["block_layers"] if network.block == "bottleneck" else [])}  # a bottleneck has 3
    name = config.shortcut_name(network.shortcut)
    given = network.shortcut[name] if isinstance(network.shortcut, dict) else {}
    model = config.SHORTCUT_PARAMETERS.get(name)
    parameters = model.model_validate(given).model_dump() if model else given
    return {**network.model_dump(exclude=without), "shortcut": (name, parameters)}


def _published(entry: Entry, settings: Settings, seeds: int) -> Published:
    figure = entry.figure
    runs = "a single run" if figure.statistic == "single" else f"{figure.statistic} of {figure.runs} runs"
    return Published(
        source=entry.source,
        failed=figure.fail,
        note=entry.note,
        **figure.model_dump(include={"where", "error", "sd", "runs", "statistic"}),
        differences=_differences(settings, entry),
        samples=f"{seeds} seed{'' if seeds == 1 else 's'}; published: {runs}",
    )


# Keys that mean nothing, or something else, under another value of the key beside them: that one already says it.
_BESIDE = {
    "training.momentum": "training.optimizer",
    "training.nesterov": "training.optimizer",
    "training.milestones": "training.schedule",
    "training.gamma": "training.schedule",
}
_OTHER_LENGTH = {"training.steps": "training.epochs", "training.epochs": "training.steps"}


def _differences(settings: Settings, entry: Entry) -> list[str]:
    """'training.lr 0.01, not 0.1' for every stated key of the recipe that differs, and what no key can say."""
    differing = [key for key in entry.stated if _value(settings, key) != _value(entry.settings, key)]
    return [*(_phrase(key, settings, entry.settings) for key in differing if _BESIDE.get(key) not in differing), *entry.never]


def _phrase(key: str, ours: Settings, theirs: Settings) -> str:
    other = _OTHER_LENGTH.get(key)
    if other and _value(ours, key) is None:  # 'training.epochs 1, not 64000 steps'
        return f"{other} {_shown(_value(ours, other))}, not {_shown(_value(theirs, key))} {key.removeprefix('training.')}"
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
        return " ".join(f"{name} {_shown(of)}" for name, of in value)
    return config.format_value(value)


# ---- text ---------------------------------------------------------------------------------------------------------------


def published_lines(rows: Sequence[PublishedRow]) -> list[str]:
    """Measured beside published for a terminal of 80 columns; then what is published on these networks under other recipes.

    Figures of other recipes are not printed. No lines where nothing is published on any of the networks.
    """
    found = [(f"{cell} {arm}".strip(), measured, of) for cell, arm, measured, matches in rows for of in matches]
    if not found:
        return []
    wide = min(40, max([34, *(len(name) + 4 for name, _, of in found if not of.differences)]))
    form = f"{{:<{wide}}}{{:<15}}{{:<13}}{{}}"
    beside: dict[str, list[str]] = {}
    apart: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, measured, of in found:
        if of.differences:
            apart.setdefault((of.source, _in_short(of.differences)), []).append((of.where, name))
            continue
        group = beside.setdefault(f"{of.source}: {of.samples}" + (f" ({of.note})" if of.note else ""), [])
        late = [] if len(name) + 4 <= wide else [f"  {name}"]
        error = "> 20" if of.error is None else _with_sd(of.error, of.sd)
        group += [*late, form.format("" if late else f"  {name}", _measured(measured), error, of.where)]
    columns = ("measured", "published") if beside else ("", "")
    lines = [form.format("Published (test error, percent)", *columns, "").rstrip()]
    for head, group in sorted(beside.items()):
        lines += [head, *group]
    for (source, differences), pairs in sorted(apart.items()):
        places, names = (dict.fromkeys(words) for words in zip(*pairs, strict=True))
        lines.append(f"{source} {' and '.join(places)} has {', '.join(names)}; not set beside: {differences}")
    return fitted(lines)


def _in_short(differences: Sequence[str]) -> str:
    """All differences; where even the images are others, that one and how many more."""
    images = [phrase for phrase in differences if phrase.startswith("data.name ")]
    more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
    return f"{images[0]}{more}" if images else "; ".join(differences)


def _measured(summary: Summary) -> str:
    """'8.61 ± 0.20': the error of all seeds; 'median 9.10' where they ended differently; '-' where there is none."""
    if summary.mean is None:
        return "-" if summary.median is None else f"median {100 * (1 - summary.median):.2f}"
    return _with_sd(100 * (1 - summary.mean), None if summary.sd is None else 100 * summary.sd)


def _with_sd(error: float, sd: float | None) -> str:
    return f"{error:.2f}" + (f" ± {sd:.2f}" if sd is not None else "")
