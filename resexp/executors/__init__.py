"""Where cohorts run: processes of this machine."""

from resexp.executors.cohorts import train_cohorts, train_here
from resexp.executors.machine import cores, jobs_for
from resexp.executors.pool import Pool, forecast, prepare, survey, time_arms
from resexp.executors.workers import STOPPING, OutOfMemoryError

__all__ = [
    "STOPPING",
    "OutOfMemoryError",
    "Pool",
    "cores",
    "forecast",
    "jobs_for",
    "prepare",
    "survey",
    "time_arms",
    "train_cohorts",
    "train_here",
]
