"""One file and its overrides -> an experiment: the resolved settings, its axes, its trials."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resexp import renamed
from resexp.config.keys import SHORT
from resexp.config.models import AXES, PROBE_NAMES, NetworkSettings, Settings, Trial
from resexp.config.overrides import apply_overrides, expand_keys
from resexp.config.parsing import ConfigError, did_you_mean, read_document
from resexp.config.properties import SHORTCUT_NAMES
from resexp.config.rules import incompatible_values, unused_key
from resexp.config.types import MAX_PATH, MAX_SEED, MAX_TRIALS, MAX_VALUES, Variant
from resexp.config.validation import validated
from resexp.config.variants import (
    arm_name,
    control_arm,
    format_value,
    parameter_model,
    shortcut_name,
    shortcut_properties,
    variant,
)

ALWAYS_AXES = ("network.depth", "network.shortcut")
# Keys that do not affect what a trial computes: descriptions, locations, choice of arms, checkpoints and comparison. They may
# change after trials have finished.
FREE_KEYS = (
    "question", "data.root", "data.labels", "data.download", "network.plain", "network.plain_width",
    "training.checkpoint_every", "compare", "exclude",
)  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """A resolved experiment.

    `settings` is the content of experiment.yaml: all keys including defaults, axes as lists. `axes` are the dotted keys that
    vary. `trials` are in training order: seeds are the outermost loop, so that every cell has a first result early.
    """

    name: str
    question: str | None
    settings: dict[str, Any]
    axes: tuple[str, ...]
    trials: tuple[Trial, ...]

    @property
    def shared(self) -> Settings:
        """The settings of the first trial, for keys that all trials share."""
        return self.trials[0].settings


def shipped() -> dict[str, Path]:
    """The paths of the shipped configs by name."""
    package = Path(__file__).parent.parent
    folder = next(path for path in (package / "configs", package.parent / "configs") if path.is_dir())
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load(
    source: str | Path,
    overrides: Sequence[str] = (),
    shortcuts: Iterable[str] | None = SHORTCUT_NAMES,
    probes: Iterable[str] = PROBE_NAMES,
) -> Experiment:
    """The experiment in a file or in a shipped config, after `key=value` overrides.

    `shortcuts` are the names allowed under network.shortcut; None allows any shortcuts and probes (a stored experiment was
    checked before). `probes` are those allowed under gradients.probes.

    Raises:
        ConfigError: with file, line, dotted key, the problem and the allowed values.
    """
    path = _find(source)
    raw, lines = read_document(path)
    if not raw:
        hint = "write at least one line such as depth: 8, or copy a shipped config with `resexp configs cp digits`"
        raise ConfigError(f"is empty, so there is nothing to train; {hint}", where=str(path))
    for key, line in lines.items():
        if present := renamed.present_key(key):
            raise ConfigError(f"{key} is now {present}", where=f"{path}:{line}")
    raw, where = expand_keys(raw, {key: f"{path}:{line}" for key, line in lines.items()})
    raw.setdefault("name", path.stem)
    apply_overrides(overrides, raw, where)
    try:
        return experiment_from(raw, shortcuts, probes)
    except ConfigError as error:
        location = where.get(error.key) or where.get(error.key.rsplit(".", 1)[0])
        inner_locations = (where[key] for key in where if key.startswith(f"{error.key}."))
        location = location or next(inner_locations, None) or str(path)
        raise ConfigError(error.problem, key=error.key, where=location) from None


def _find(source: str | Path) -> Path:
    text, names, path = str(source), shipped(), Path(source)
    if text in names:
        return names[text]
    if not _is_missing(path):
        return path
    same_folder = [str(file) for file in path.parent.glob("*.y*ml")]
    near = did_you_mean(text.replace("\\", "/"), [*same_folder, *names]) or did_you_mean(path.stem, names)
    if path.suffix in (".yaml", ".yml") or len(path.parts) != 1:
        raise ConfigError(f"no such file{near}", where=text)
    raise ConfigError(f"neither a file nor a shipped config ({', '.join(names)}){near}", where=text)


def _is_missing(path: Path) -> bool:
    """Whether the path does not exist; a path that cannot be read is not missing."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in a path
        return True
    except OSError:
        return False
    return False


def experiment_from(
    raw: dict[str, Any], shortcuts: Iterable[str] | None = SHORTCUT_NAMES, probes: Iterable[str] = PROBE_NAMES
) -> Experiment:
    """The experiment described by plain values, as read from YAML.

    Raises:
        ConfigError: with the dotted key, without file and line.
    """
    stored = shortcuts is None
    raw, exclude = {key: value for key, value in raw.items() if key != "exclude"}, raw.get("exclude", [])
    axes = {key: values for key in AXES if (values := _axis_values(key, raw)) is not None}
    first = {key: values[0] for key, values in axes.items()}
    seeds = _validated_cell(raw, first, stored=stored).seeds
    _check_number_of_trials({**{key: len(values) for key, values in axes.items()}, "seeds": len(seeds)})
    cells = [
        _validated_cell(raw, dict(zip(axes, values, strict=True)), stored=stored)
        for values in itertools.product(*axes.values())
    ]
    cells = _without_excluded([_with_default_epochs(cell) for cell in cells], exclude, raw, first)
    defaults = dict(flat(Settings(name="defaults").model_dump(mode="json"), ""))
    written = {key for key, value in flat(raw, "") if value != defaults.get(key)}  # restating a default is harmless
    problem = next(filter(None, (incompatible_values(cell, shortcuts, probes) for cell in cells)), None) or unused_key(
        written, cells
    )
    if problem:
        raise ConfigError(problem[1], key=problem[0])
    varied = tuple(key for key in AXES if key in axes or key in ALWAYS_AXES)
    trials = _trials(cells, varied)
    settings = cells[0].model_dump(mode="json")
    for key in varied:
        section, name = key.split(".")
        settings[section][name] = axes.get(key, [settings[section][name]])
    if exclude:
        settings["exclude"] = exclude
    return Experiment(cells[0].name, cells[0].question, settings, varied, trials)


def _check_number_of_trials(lengths: dict[str, int]) -> None:
    """Refuses a grid with too many trials before it is built, given the number of values of each axis and of seeds."""
    trials = math.prod(lengths.values())
    if trials > MAX_TRIALS:
        product = " x ".join(f"{number} ({key})" for key, number in lengths.items() if number > 1)
        longest = max(lengths, key=lambda key: lengths[key])
        raise ConfigError(f"{product} = {trials} trials; reduce them to at most {MAX_TRIALS}", key=longest)


def _axis_values(key: str, raw: dict[str, Any]) -> list[Any] | None:
    section, name = key.split(".")
    inner = raw.get(section)
    values = inner.get(name) if isinstance(inner, dict) else None
    if not isinstance(values, list):
        return None
    if not values:
        raise ConfigError("an empty list leaves nothing to train; write at least one value", key=key)
    if len(values) > MAX_VALUES:
        raise ConfigError(f"has {len(values)} values; reduce them to at most {MAX_VALUES}", key=key)
    names = [_name_of(value) for value in values]
    repeated = [value for i, value in enumerate(values) if names[i] in names[:i]]
    if repeated:
        raise ConfigError(
            f"{repeated[0]!r} appears twice in the list (as {_name_of(repeated[0])}); remove one of the two", key=key
        )
    return values


def _name_of(value: Any) -> str:
    """The text of a value in trial names, a variant with all its parameters; two values with one text would share a trial."""
    has_parameters = isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), dict)
    if has_parameters or (isinstance(value, str) and parameter_model(value)):
        name, parameters = variant(value)
        return " ".join([name, *(f"{key} {_name_of(parameter)}" for key, parameter in sorted(parameters.items()))])
    number = isinstance(value, float) or (
        type(value) is int and abs(value) <= MAX_SEED
    )  # a larger int may exceed the range of floats
    return format_value(float(value)) if number else str(value)


def _validated_cell(raw: dict[str, Any], chosen: dict[str, Any], *, stored: bool = False) -> Settings:
    cell = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    for key, value in chosen.items():
        section, name = key.split(".")
        cell.setdefault(section, {})[name] = value
    return validated(cell, stored=stored)


def _without_excluded(cells: list[Settings], exclude: Any, raw: dict[str, Any], first: dict[str, Any]) -> list[Settings]:
    """The cells that no entry of `exclude` matches. An entry has one or several values for each of its axes.

    raw, first: the config and the first value of each axis, to validate the values of an entry.
    """
    if not isinstance(exclude, list) or not all(isinstance(entry, dict) and entry for entry in exclude):
        raise ConfigError("must be a list of combinations, for example [{init: he, norm: [layer, batch]}]", key="exclude")
    for entry in exclude:
        matched: dict[str, set[str]] = {}
        for written, values in entry.items():
            key = SHORT.get(written, written)
            if key not in AXES:
                raise ConfigError(f"{written!r} is not one of {', '.join(AXES)}{did_you_mean(written, AXES)}", key="exclude")
            try:
                chosen = [_validated_cell(raw, {**first, key: value}) for value in _as_list(values)]
            except ConfigError as error:
                raise ConfigError(f"{written}: {error.problem}", key="exclude") from None
            matched[key] = {_value_in(cell, key) for cell in chosen}
        cells = [cell for cell in cells if not all(_value_in(cell, key) in values for key, values in matched.items())]
    if not cells:
        raise ConfigError("leaves nothing to train; remove a combination", key="exclude")
    return cells


def _as_list(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]


def _value_in(cell: Settings, key: str) -> str:
    section, name = key.split(".")
    return _name_of(getattr(getattr(cell, section), name))


def _with_default_epochs(cell: Settings) -> Settings:
    if cell.training.epochs is None and cell.training.steps is None:
        return cell.model_copy(update={"training": cell.training.model_copy(update={"epochs": 20})})
    return cell


# ---- trials -----------------------------------------------------------------------------------------------------


def _trials(cells: list[Settings], axes: tuple[str, ...]) -> tuple[Trial, ...]:
    trials: dict[str, Trial] = {}
    for seed in cells[0].seeds:
        for cell in cells:
            for arm, shortcut, parameters_of in _arms(cell.network):
                network = cell.network.model_copy(update={"shortcut": shortcut})
                settings = cell.model_copy(update={"network": network, "seeds": (seed,)})
                name = name_of_trial(arm, settings, axes, seed)
                _check_length(cell.name, name, axes)
                trial = Trial(name=name, arm=arm, seed=seed, settings=settings, parameters_of=parameters_of)
                if trials.setdefault(name.lower(), trial) != trial:  # some file systems ignore case
                    raise ConfigError(f"two networks would be trained as {name}; rename a shortcut", key="network.shortcut")
    return tuple(trials.values())


def name_of_trial(arm: str, settings: Settings, axes: Iterable[str], seed: int) -> str:
    """plain-d8-norm-none-s0: the arm, the tags of the axes and the seed."""
    return "-".join([arm, *axis_tags(settings, axes).values(), f"s{seed}"])


def _check_length(experiment: str, trial: str, axes: Iterable[str]) -> None:
    """Refuses a trial whose paths would be too long for some systems."""
    if len(experiment) + len(trial) > MAX_PATH:
        hint = f"shorten the name of the experiment or of the shortcut, or vary fewer keys ({', '.join(axes)})"
        raise ConfigError(f"{experiment}/{trial} is longer than {MAX_PATH} characters; {hint}", key="name")


def _arms(network: NetworkSettings) -> Iterable[tuple[str, Variant, Variant | None]]:
    """(arm, shortcut, shortcut to match in parameters): plain, its parameter-matched baseline if set, and the shortcut."""
    arm, name = arm_name(network.shortcut), shortcut_name(network.shortcut)
    if network.plain:
        yield "plain", "plain", None
    has_parameters = network.depth > 2 and shortcut_properties(name).has_weights
    if network.plain and network.plain_width == "parameters" and has_parameters:
        yield control_arm(arm), "plain", name if name in SHORTCUT_NAMES else network.shortcut
    yield arm, network.shortcut, None


def axis_tags(settings: Settings, axes: Iterable[str]) -> dict[str, str]:
    """The values of all axes except the shortcut, as tags: {'network.depth': 'd8', 'network.norm': 'norm-layer'}."""
    tags = {}
    for key in axes:
        if key != "network.shortcut":
            section, name = key.split(".")
            tags[key] = AXES[key].format(format_value(getattr(getattr(settings, section), name)))
    return tags


# ---- data of an experiment --------------------------------------------------------------------------------------


def with_data_root(experiment: Experiment, root: str) -> Experiment:
    """The same experiment with another folder of images."""
    settings = {**experiment.settings, "data": {**experiment.settings["data"], "root": root}}
    data = experiment.shared.data.model_copy(update={"root": root})
    trials = tuple(
        trial.model_copy(update={"settings": trial.settings.model_copy(update={"data": data})}) for trial in experiment.trials
    )
    return replace(experiment, settings=settings, trials=trials)


def limits(settings: Settings) -> list[str]:
    """A remark for each test or validation set that is only partly used, so that the numbers are not a result."""
    data = settings.data
    values = {"test": data.limit_test, "validation": data.limit_validation}
    return [
        f"not a result: data.limit_{split}={number} uses only {number} {split} images; omit it for a result"
        for split, number in values.items()
        if number is not None
    ]


def conditions(settings: Settings) -> dict[str, Any]:
    """The settings that affect the result of a trial, without shortcut and seed: values by dotted key.

    Every trial has the same keys, so an optional section (training.warmup) is one value.
    """
    ignored = {"name", "seeds", "device", "gradients", "network.shortcut", *FREE_KEYS}
    values: dict[str, Any] = {}
    for name, value in settings.model_dump(mode="json").items():
        values |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return {key: value for key, value in values.items() if key not in ignored and key.split(".")[0] not in ignored}


def flat(settings: dict[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    """(dotted key, value) of nested settings; the value of an axis is not opened."""
    for key, value in settings.items():
        if isinstance(value, dict) and f"{prefix}{key}" not in AXES:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
