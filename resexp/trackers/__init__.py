"""Experiment trackers: event files during training, or export of an experiment to an installed tracker.

Each tracker is an optional dependency; if it is missing, an error of one line names it.
"""

from resexp.trackers.exports import TRACKERS
from resexp.trackers.points import points, settings_of
from resexp.trackers.tensorboard import live, need_tensorboard
