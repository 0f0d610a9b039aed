"""Variants of users: `--import FILE.py|MODULE`, and entry points of installed packages. torch is imported with them.

A file or module adds entries to the dicts of variants, such as resexp.SHORTCUTS["mine"]. An entry point `mine` of the group
resexp.shortcuts is one such entry; its module is imported when an experiment uses the name. Processes that train inherit the
list of what to import, with SHA-256 digests, in an environment variable.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from resexp import config, runs
from resexp.config import ConfigError, Experiment
from resexp.runs import ImportRecord
from resexp.runs.records import LAUNCHES, read_record
from resexp.user_code import UserCode, import_code

VARIABLE = "RESEXP_IMPORT"


class Group(NamedTuple):
    """A dict of variants: its module and name, and the field of a config that names its entries."""

    module: str
    name: str
    field: str

    @property
    def entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = getattr(import_module(self.module), self.name)
        return entries


GROUPS = {
    "resexp.shortcuts": Group("resexp.shortcuts", "SHORTCUTS", "shortcut"),
    "resexp.activations": Group("resexp.networks", "ACTIVATIONS", "activation"),
    "resexp.inits": Group("resexp.networks", "INITS", "init"),
    "resexp.norms": Group("resexp.networks", "NORMS", "norm"),
    "resexp.datasets": Group("resexp.datasets", "DATASETS", "name"),
    "resexp.probes": Group("resexp.probes", "PROBES", "probes"),
}


# ---- in the process of the command ---------------------------------------------------------------------------------------


def begin(references: Sequence[str]) -> None:
    """Imports files and modules, and allows their names and those of entry points in configs.

    Raises:
        ConfigError: an import fails, adds no variant, or replaces one; two packages offer one name.
    """
    absolute = [str(Path(name).expanduser().resolve()) if name.endswith(".py") else name for name in references]
    for reference in dict.fromkeys([*(reference for reference, _ in _inherited()), *absolute]):
        _pass_on(reference)
    for group, offered in _offered().items():
        config.CUSTOM_NAMES.setdefault(GROUPS[group].field, set()).update(offered)


def use(experiment: Experiment) -> list[ImportRecord]:
    """Imports the entry points that an experiment uses; returns everything that was imported, for environment.json.

    Raises:
        ConfigError: an import fails.
    """
    for reference in _used_entry_points(experiment):
        _pass_on(reference)
    return [record for _, record in _inherited()]


def use_as_recorded(experiment: Experiment, folder: Path) -> list[ImportRecord]:
    """As `use`, and compares the imports with those of the experiment in a folder, if it has been started before.

    Raises:
        RunsError: one is missing now, or has another digest; the message names the option.
    """
    records = use(experiment)
    starts = None
    with suppress(runs.RunsError):  # if the file is damaged, training repairs it
        starts = read_record(folder / "environment.json", LAUNCHES)
    digests = {record.sha256 for record in records}
    for record in starts[-1].imports if starts else ():
        if record.sha256 in digests:
            continue
        now = next((other for other in records if other.name == record.name), None)
        if now is None:
            option = f"add --import {record.name}" if ":" not in record.name else f"install the package of {record.name}"
            raise runs.RunsError(f"{folder}: was trained with variants of {record.name}; {option}")
        raise runs.RunsError(
            f"{folder}: {record.name} has changed since this experiment began "
            f"(SHA-256 {record.sha256[:12]}, now {now.sha256[:12]}); restore it, or train with name=... to keep both"
        )
    return records


# ---- in every process ---------------------------------------------------------------------------------------------------


def load_inherited() -> None:
    """Imports in this process what the command has imported.

    Raises:
        ConfigError: a file is missing on this machine, or differs.
    """
    for reference, record in _inherited():
        with redirect_stdout(StringIO()):  # the command has shown what the file prints
            here = _imported(reference).record
        if here.sha256 != record.sha256:
            raise ConfigError(
                f"differs on this machine (SHA-256 {here.sha256[:12]}, not {record.sha256[:12]}); copy the file here",
                where=f"--import {record.name}",
            )


Reference = tuple[str, ImportRecord]  # a file, a module, or GROUP:NAME of an entry point


def _inherited() -> list[Reference]:
    return [(reference, ImportRecord(**record)) for reference, record in json.loads(os.environ.get(VARIABLE) or "[]")]


class Imported(NamedTuple):
    """What an import has added: the names for each field of a config."""

    record: ImportRecord
    added: dict[str, list[str]]


def _pass_on(reference: str) -> None:
    """Imports, allows the added names in configs, and adds the reference to the list that other processes inherit."""
    imported = _imported(reference)
    for field, names in imported.added.items():
        config.CUSTOM_NAMES.setdefault(field, set()).update(names)
    references = [*(known for known in _inherited() if known[0] != reference), (reference, imported.record)]
    os.environ[VARIABLE] = json.dumps([(name, record.content) for name, record in references])


@cache
def _imported(reference: str) -> Imported:
    if ":" in reference and not reference.endswith(".py"):
        return Imported(_imported_entry_point(*reference.rsplit(":", 1)), {})
    before = {group: dict(variants.entries) for group, variants in GROUPS.items()}
    module = import_code(reference)
    record = ImportRecord(name=Path(reference).name, sha256=_digest(module.__file__, reference))
    added = {}
    for group, variants in GROUPS.items():
        changed = [name for name, entry in variants.entries.items() if before[group].get(name) is not entry]
        if replaced := [name for name in changed if name in before[group]]:
            problem = f"replaces {variants.name}[{replaced[0]!r}], which already exists; choose another name"
            raise ConfigError(problem, where=f"--import {reference}")
        added[variants.field] = changed
    if not any(added.values()):
        problem = "adds no variant; it must set an entry such as resexp.SHORTCUTS['mine'] when it is imported"
        raise ConfigError(problem, where=f"--import {reference}")
    return Imported(record, added)


def _imported_entry_point(group: str, name: str) -> ImportRecord:
    point = _offered().get(group, {}).get(name)
    if point is None:
        raise ConfigError(f"no installed package offers {name} in {group}; install it on this machine", where=name)
    with UserCode(f"the entry point {name} of {group}"):
        GROUPS[group].entries[name] = point.load()
    package = f" ({point.dist.name} {point.dist.version})" if point.dist else ""
    return ImportRecord(name=f"{group}:{name}{package}", sha256=_digest(sys.modules[point.module].__file__, point.module))


def _digest(file: str | None, name: str) -> str:
    if file is None:
        raise ConfigError("has no file, so its version cannot be recorded; name a module with a file", where=f"--import {name}")
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@cache
def _offered() -> dict[str, dict[str, EntryPoint]]:
    """The entry points of installed packages, without importing them: group -> name -> entry point."""
    offered: dict[str, dict[str, EntryPoint]] = {}
    for group in GROUPS:
        for point in entry_points(group=group):
            other = offered.setdefault(group, {}).setdefault(point.name, point)
            if other.value != point.value:
                packages = " and ".join(p.dist.name if p.dist else p.value for p in (other, point))
                raise ConfigError(f"{packages} both offer {point.name!r}; uninstall one of them", where=group)
            shipped = _shipped(group)
            if point.name in shipped:
                package = point.dist.name if point.dist else point.value
                raise ConfigError(f"{package} offers {point.name!r}, which resexp contains; uninstall it", where=group)
    return offered


def _shipped(group: str) -> Sequence[str]:
    """The names of this package, without importing torch."""
    return {
        "resexp.shortcuts": config.SHORTCUT_NAMES,
        "resexp.activations": config.ACTIVATION_NAMES,
        "resexp.inits": config.INIT_NAMES,
        "resexp.norms": config.NORM_NAMES,
        "resexp.datasets": config.DATASET_NAMES,
        "resexp.probes": config.PROBE_NAMES,
    }[group]


def _used_entry_points(experiment: Experiment) -> Iterator[str]:
    offered = _offered()
    if not offered:
        return
    used: dict[str, set[str]] = {group: set() for group in GROUPS}
    for trial in experiment.trials:
        settings = trial.settings
        used["resexp.shortcuts"].add(config.shortcut_name(settings.network.shortcut))
        used["resexp.activations"].add(config.variant(settings.network.activation)[0])
        used["resexp.inits"].add(settings.network.init)
        used["resexp.norms"].add(settings.network.norm)
        used["resexp.datasets"].add(settings.data.name)
        used["resexp.probes"].update(settings.gradients.probes)
    for group, names in used.items():
        yield from (f"{group}:{name}" for name in sorted(names) if name in offered.get(group, {}))
