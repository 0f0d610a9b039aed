"""Event files for TensorBoard, a folder for each trial: <experiment>/tensorboard/<trial>/."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from resexp import runs
from resexp.config import Experiment
from resexp.trackers.points import absent, points

LOOK_SECONDS = 2.0  # between two looks at the logs
FOLDER = "tensorboard"


def live(folder: Path, trials: Iterable[str]) -> Callable[[], None]:
    """What is called now and then: writes what the logs of these trials have more than their event files.

    What an earlier start has written is read first, so a curve goes on where it ended.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    need_tensorboard()
    curves = {name: Curves(folder, name) for name in trials}
    looked = 0.0

    def look() -> None:
        nonlocal looked
        done = all(runs.has_result(runs.trial_folder(folder, name)) for name in curves)
        if done or time.monotonic() - looked > LOOK_SECONDS:
            for of in curves.values():
                of.go_on()
            looked = time.monotonic()

    return look


def export(folder: Path, experiment: Experiment, target: Path) -> list[Path]:
    """Event files of every trial that has logs, under target/<trial>; those that lie there go on.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    need_tensorboard()
    curves = [Curves(folder, trial.name, target) for trial in experiment.trials]
    for of in curves:
        of.go_on()
    return [of.place for of in curves if of.place.is_dir()]


class Curves:
    """The event files of one trial; `go_on` appends what the logs have more."""

    def __init__(self, folder: Path, name: str, target: Path | None = None) -> None:
        self.logs = runs.trial_folder(folder, name)
        self.place = (target or folder / FOLDER) / name
        self._written: dict[str, int] | None = None
        self._size = -1

    def go_on(self) -> None:
        """Appends points behind the last step of each curve; nothing is read while the logs have not grown."""
        size = sum(path.stat().st_size for path in self.logs.glob("*.csv"))
        if size in (self._size, 0):
            return
        self._size = size
        if self._written is None:
            self._written = written(self.place)
        fresh = [point for point in points(self.logs) if point.step > self._written.get(point.tag, -1)]
        if not fresh:
            return
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415 - an extra
        from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415 - as above

        writer = _writer_class()(str(self.place))
        for point in sorted(fresh, key=lambda of: of.step):
            summary = Summary(value=[Summary.Value(tag=point.tag, simple_value=point.value)])
            writer.add_event(Event(wall_time=time.time(), step=point.step, summary=summary))
            self._written[point.tag] = max(point.step, self._written.get(point.tag, -1))
        writer.close()


def written(place: Path) -> dict[str, int]:
    """The last step of each curve in the event files of a trial; a torn last record is as if it were not there."""
    last: dict[str, int] = {}
    for tag, step in _events(place):
        last[tag] = max(step, last.get(tag, -1))
    return last


def _events(place: Path) -> Iterator[tuple[str, int]]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # noqa: PLC0415 - an extra

    for file in sorted(place.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(file)).Load():
            yield from ((value.tag, event.step) for value in event.summary.value)


def need_tensorboard() -> None:
    """Raises ConfigError where TensorBoard is not installed."""
    _writer_class()


def _writer_class() -> Any:
    try:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415 - an extra
    except ImportError:
        raise absent("tensorboard", "'resexp[tensorboard]'") from None
    return EventFileWriter
