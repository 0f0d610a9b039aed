"""What has been trained, of one experiment or of several read side by side. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resexp import config
from resexp.config import Experiment
from resexp.runs.files import read_json
from resexp.runs.folders import left_out, read_experiment, read_plan, result, status, trial_folder


@dataclass(frozen=True)
class State:
    """Where one trial stands: finished, failed, interrupted, running or waiting.

    `conditions` are everything that decides what a trial becomes but its shortcut and its seed, by dotted key: its settings,
    the device that they became, the checksum of the images.
    """

    trial: config.Trial
    folder: Path
    state: str
    result: dict[str, Any] | None
    conditions: dict[str, Any]


@dataclass(frozen=True)
class Results:
    """The trials of one experiment, or of several.

    `axes` are the dotted keys that tell cells apart: those that an experiment varies (the shortcut apart), and every key in
    which several experiments differ. `repeated` counts trials that stand in more than one folder; each is taken once.
    """

    sources: tuple[tuple[Path, Experiment], ...]
    axes: tuple[str, ...]
    states: tuple[State, ...]
    repeated: int = 0

    @property
    def name(self) -> str:
        return " + ".join(experiment.name for _, experiment in self.sources)

    @property
    def questions(self) -> list[str]:
        """The question of each source, each once."""
        return list(dict.fromkeys(experiment.question for _, experiment in self.sources if experiment.question))

    @property
    def left_out(self) -> list[str]:
        """Trials that lie in the folders but are no longer part of the experiments."""
        return [name for folder, experiment in self.sources for name in left_out(folder, experiment)]

    def label(self, state: State) -> dict[str, str]:
        """What names the cell of a trial: {'depth': '64', 'norm': 'layer'}."""
        return {_short(key): config.format_value(state.conditions.get(key)) for key in self.axes}


def _short(key: str) -> str:
    return key.split(".")[1] if key in config.AXES else key


def states(folder: Path, experiment: Experiment) -> list[State]:
    """Every trial of the experiment."""
    plan = read_plan(folder)
    starts = read_json(folder / "environment.json") or [{}]
    ground = {"device": plan and plan.device, "images": str(starts[-1].get("data_sha256"))[:12]}
    found = []
    for trial in experiment.trials:
        place = trial_folder(folder, trial.name)
        done = result(place)
        state = "finished" if done else status(place)["state"]
        found.append(State(trial, place, state, done, {**config.conditions(trial.settings), **ground}))
    return found


def results_of(folder: Path, experiment: Experiment) -> Results:
    """What has been trained of one experiment."""
    axes = tuple(key for key in experiment.axes if key != "network.shortcut")
    return Results(((folder, experiment),), axes, tuple(states(folder, experiment)))


def read_results(folders: Sequence[Path]) -> Results:
    """What has been trained in each of the folders, side by side.

    Raises:
        RunsError: a damaged experiment, plan or result.
    """
    parts = [results_of(folder, read_experiment(folder)) for folder in folders]
    everything = [state for part in parts for state in part.states]
    kept = {_identity(state): state for state in reversed(everything)}  # the first of equal ones stays
    found = tuple(reversed(kept.values()))
    differing = {key for state in found for key in state.conditions if state.conditions[key] != found[0].conditions.get(key)}
    axes = differing.union(*(part.axes for part in parts))
    order = [*(key for key in config.AXES if key in axes), *sorted(axes - config.AXES.keys())]
    sources = tuple(source for part in parts for source in part.sources)
    return Results(sources, tuple(order), found, len(everything) - len(found))


def _identity(state: State) -> str:
    return repr((state.trial.arm, state.trial.seed, sorted(state.conditions.items())))
