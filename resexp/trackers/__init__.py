"""Runs -> trackers: curves into event files while they are trained, or a finished run into a tracker that is installed.

Each tracker is an extra; without it there is one line that names it.
"""

from resexp.trackers.exports import TRACKERS
from resexp.trackers.points import Point, points, settings_of
from resexp.trackers.tensorboard import live, need_tensorboard

__all__ = ["TRACKERS", "Point", "live", "need_tensorboard", "points", "settings_of"]
