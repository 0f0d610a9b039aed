"""Event files for TensorBoard, a folder for each trial: <experiment>/tensorboard/<trial>/."""

import time
from collections.abc import Callable, Iterable
from operator import attrgetter
from pathlib import Path
from typing import Any

from resexp import runs
from resexp.config import Experiment
from resexp.runs import Track
from resexp.trackers.points import not_installed, points

POLL_SECONDS = 2.0  # interval of checks for new rows in the logs
FOLDER = "tensorboard"


def live(folder: Path, trials: Iterable[str]) -> Callable[[], None]:
    """Returns a function that appends new rows in the logs of these trials to their event files; call it repeatedly.

    Existing event files are read first, so that each curve continues after its last step.
    """
    need_tensorboard()
    curves = {name: Curves(folder, name) for name in trials}
    updated_at = 0.0

    def update() -> None:
        nonlocal updated_at
        done = all(runs.has_result(runs.trial_folder(folder, name)) for name in curves)
        if done or time.monotonic() - updated_at > POLL_SECONDS:
            for trial_curves in curves.values():
                trial_curves.update()
            updated_at = time.monotonic()

    return update


def export(folder: Path, experiment: Experiment, target: Path, track: Track = iter) -> list[Path]:
    """Writes event files of each trial that has logs to target/<trial>; existing curves are continued."""
    need_tensorboard()
    exported = []
    for trial in track(experiment.trials):
        curves = Curves(folder, trial.name, target)
        curves.update()
        exported += [curves.folder] if curves.folder.is_dir() else []
    return exported


class Curves:
    """The event files of one trial; `update` appends what is new in the logs."""

    def __init__(self, experiment_folder: Path, name: str, target: Path | None = None) -> None:
        self.trial_path = runs.trial_folder(experiment_folder, name)
        self.folder = (target or experiment_folder / FOLDER) / name
        self._last_steps: dict[str, int] | None = None
        self._size = -1

    def update(self) -> None:
        """Appends points after the last step of each curve; reads nothing if the logs have not grown."""
        size = sum(path.stat().st_size for path in self.trial_path.glob("*.csv"))
        if size in (self._size, 0):
            return
        self._size = size
        if self._last_steps is None:
            self._last_steps = last_steps(self.folder)
        new_points = [point for point in points(self.trial_path) if point.step > self._last_steps.get(point.tag, -1)]
        if not new_points:
            return
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415 - an extra
        from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415 - as above

        writer = need_tensorboard()(str(self.folder))
        for point in sorted(new_points, key=attrgetter("step")):
            summary = Summary(value=[Summary.Value(tag=point.tag, simple_value=point.value)])
            writer.add_event(Event(wall_time=time.time(), step=point.step, summary=summary))
            self._last_steps[point.tag] = max(point.step, self._last_steps.get(point.tag, -1))
        writer.close()


def last_steps(folder: Path) -> dict[str, int]:
    """The last step of each curve in the event files of a trial; a truncated last record is ignored."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # noqa: PLC0415 - an extra

    steps: dict[str, int] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                steps[value.tag] = max(event.step, steps.get(value.tag, -1))
    return steps


def need_tensorboard() -> Any:
    """TensorBoard's writer of event files; raises ConfigError if TensorBoard is not installed."""
    try:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415 - an extra
    except ImportError:
        raise not_installed("tensorboard", "'resexp[tensorboard]'") from None
    return EventFileWriter
