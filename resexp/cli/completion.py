"""Values that the shell completes: configs, experiments, config keys and their values, metrics. Reads names only."""

from collections.abc import Iterable
from pathlib import Path

import typer

from resexp import config, runs

Context = typer.Context
METRICS = (  # those of comparison.METRICS, which takes longer to import than a shell may wait
    "test_accuracy", "best_test_accuracy", "train_accuracy", "val_accuracy", "test_loss", "best_test_loss", "train_loss",
    "slope_start", "slope_end",
)  # fmt: skip
NAMES = (*config.SHORT, *config.KEYS)  # of keys in an override


def experiments(ctx: Context, incomplete: str) -> list[str]:
    """The experiments in the results folder of --runs."""
    folder = Path(ctx.params.get("runs_dir") or "runs")
    try:
        return _starting(incomplete, [path.name for path in runs.experiments(folder) if path != folder])
    except OSError:
        return []


def configs(incomplete: str) -> list[str]:
    """The shipped configs."""
    return _starting(incomplete, config.shipped())


def sources(ctx: Context, incomplete: str) -> list[str]:
    """The shipped configs and the experiments."""
    return list(dict.fromkeys([*configs(incomplete), *experiments(ctx, incomplete)]))


def metrics(incomplete: str) -> list[str]:
    """The metrics of `resexp compare`."""
    return _starting(incomplete, METRICS)


def axes(incomplete: str) -> list[str]:
    """The keys that may have several values, without their section."""
    return _starting(incomplete, (key.partition(".")[2] for key in config.AXES if key != "network.shortcut"))


def overrides(ctx: Context, incomplete: str) -> list[str]:
    """The config keys followed by =, or the values of a key.

    Bash splits words at =, so the key may be in the words before: ["norm", "=", "la"]. Other shells pass "norm=la".
    """
    key, equals, typed = incomplete.partition("=")
    if equals:
        return [f"{key}={value}" for value in _values(key, typed)]
    before = [*(ctx.params.get("overrides") or [])]
    if before[-1:] == ["="] or (before and before[-1] in NAMES and not incomplete):
        return _values("".join(before[-2:]).removesuffix("=") if before[-1] == "=" else before[-1], incomplete)
    return _starting(incomplete, (f"{name}=" for name in NAMES))


def _values(name: str, typed: str) -> list[str]:
    """The values of a key that begin with the text; after a comma, those of the next element of a list."""
    head, comma, last = typed.rpartition(",")
    values = config.named_values(config.SHORT.get(name, name)) if name in NAMES else []
    return [f"{head}{comma}{value}" for value in _starting(last, values)]


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
